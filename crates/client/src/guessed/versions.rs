//! The versions of secrets. ScaiVault's page mentions two calls, their cost, and that they return no values.
//! Their routes and bodies are guessed.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use scaivault_contract::SecretPath;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    AnswerFault, Error, ErrorKind, Operation, SecretVersion, documented,
    envelope::{EnvelopeError, json},
    length::time,
    transport::{Answer, Content},
};

/// The route for many secrets.
pub(crate) const BATCH_ROUTE: &str = "/v1/secrets/batch/metadata";

/// Possible names of the member with the secrets, the most likely first. The first is that of batch reads.
const SECRETS: [&str; 6] = ["secrets", "metadata", "data", "results", "items", "entries"];

/// Possible names of the number of the current version.
const NUMBERS: [&str; 5] = ["current_version", "version", "latest_version", "version_number", "number"];

/// Possible names of the time at which the current version was created.
const VERSION_TIMES: &[&str] = &["version_created_at", "current_version_created_at"];

/// Possible names of the time of the last change. A version written by a user does not change the time of the
/// last rotation.
const CHANGE_TIMES: &[&str] = &["updated_at", "last_updated_at", "rotated_at", "last_rotated_at"];

/// The name of the creation time of the secret, or of the version in an entry about one version.
const CREATION_TIMES: &[&str] = &["created_at"];

/// Possible names of the time at which the previous version stops working. The first is that of events.
const ENDS: [&str; 4] =
    ["grace_period_ends", "grace_period_ends_at", "previous_version_expires_at", "previous_version_ends"];

/// How far the server's clock may be ahead. Without a limit, a version from the future would make all later
/// ones look old.
const AHEAD_LIMIT: Duration = Duration::from_hours(24);

/// The maximum depth of a secret's metadata in an answer.
const DEPTH_LIMIT: usize = 3;

/// The route for one secret.
pub(crate) fn single_route(path: &SecretPath) -> String {
    format!("{}/metadata", documented::read_route(path, None))
}

/// The body for many secrets.
pub(crate) fn batch(paths: &[SecretPath]) -> Content {
    #[derive(Serialize)]
    struct Batch<'a> {
        paths: &'a [SecretPath],
    }
    Content::json(&Batch { paths })
}

/// Whether an answer with an error says that the server has no such route. A missing secret is an entry of the answer.
pub(crate) fn is_missing_route(error: &Error) -> bool {
    let ErrorKind::Refused(refusal) = &error.kind else { return false };
    let is_of_caller = matches!(refusal.code.as_str(), "tenant_not_found" | "identity_not_found");
    error.operation == Operation::ReadVersions && matches!(refusal.status, 404 | 405 | 501) && !is_of_caller
}

/// The version or the error of each path.
pub(crate) type Entries = BTreeMap<SecretPath, Result<SecretVersion, ErrorKind>>;

/// The versions of an answer to [`batch`]. A path that it leaves out has an error.
pub(crate) fn of_batch(answer: &Answer, paths: &[SecretPath], now: SystemTime) -> Result<Entries, ErrorKind> {
    let body: &RawValue = json(&answer.body)?;
    let members = object(body).unwrap_or_default();
    let secrets: Vec<_> = SECRETS.iter().filter_map(|name| members.get(*name)).collect();
    let errors = members.get("errors").map(|errors| by_path(errors)).unwrap_or_default();
    let mut found: BTreeMap<String, &RawValue> = BTreeMap::new();
    for secrets in secrets.iter().rev() {
        found.extend(by_path(secrets));
    }
    if secrets.is_empty() && errors.is_empty() {
        // Without a member around them: a map or an array.
        found = by_path(body);
    }
    let is_any =
        paths.iter().any(|path| found.contains_key(path.as_str()) || errors.contains_key(path.as_str()));
    if !is_any && secrets.is_empty() && errors.is_empty() {
        return Err(AnswerFault::Json.into());
    }
    let entry = |path: &SecretPath| match (found.get(path.as_str()), errors.get(path.as_str())) {
        (_, Some(error)) => Err(refusal(error, answer)),
        (Some(entry), None) => match object(entry).unwrap_or_default().get("error") {
            Some(error) if error.get() != "null" => Err(refusal(error, answer)),
            _ => version(entry, now, 0),
        },
        (None, None) => Err(AnswerFault::Missing("entry for this path").into()),
    };
    Ok(paths.iter().map(|path| (path.clone(), entry(path))).collect())
}

/// The version of an answer about one secret.
pub(crate) fn of_single(
    answer: &Answer,
    path: &SecretPath,
    now: SystemTime,
) -> Result<SecretVersion, ErrorKind> {
    let body: &RawValue = json(&answer.body)?;
    let members = object(body).ok_or(AnswerFault::Json)?;
    // A server without the route may answer about a secret whose path ends in `metadata`.
    if members.get("path").and_then(|raw| text(raw)).is_some_and(|found| found != path.as_str()) {
        return Err(AnswerFault::Missing("entry for this path").into());
    }
    version(body, now, 0)
}

/// The members of an object, without null ones; `None` if the value is not an object.
fn object(json: &RawValue) -> Option<BTreeMap<String, &RawValue>> {
    let mut members: BTreeMap<_, &RawValue> = serde_json::from_str(json.get()).ok()?;
    members.retain(|_, value| value.get() != "null");
    Some(members)
}

fn text(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}

/// The entries of a map by path or of an array of objects with a member `path`.
fn by_path(json: &RawValue) -> BTreeMap<String, &RawValue> {
    if let Some(map) = object(json) {
        return map;
    }
    let list: Vec<&RawValue> = serde_json::from_str(json.get()).unwrap_or_default();
    let named = |entry: &&'_ RawValue| {
        let members = object(entry)?;
        ["path", "secret_path"].iter().find_map(|name| text(members.get(*name)?))
    };
    list.iter().filter_map(|entry| Some((named(entry)?, *entry))).collect()
}

/// The error of one path. Its status is that of the whole answer.
fn refusal(error: &RawValue, answer: &Answer) -> ErrorKind {
    let error = serde_json::from_str(error.get())
        .unwrap_or_else(|_| EnvelopeError::new(text(error).unwrap_or_default(), String::new()));
    error.into_refusal(answer.status, None).into()
}

/// The current version, wherever an entry contains it.
fn version(entry: &RawValue, now: SystemTime, depth: usize) -> Result<SecretVersion, ErrorKind> {
    let members = object(entry).ok_or(AnswerFault::Json)?;
    let number = NUMBERS.iter().find_map(|name| number(members.get(*name)?));
    // The version as an object of its own, or in a list of versions.
    let own = NUMBERS.iter().filter_map(|name| members.get(*name).copied()).find(|raw| object(raw).is_some());
    let listed = members.get("versions").and_then(|list| newest(list, number));
    let ends = ENDS.iter().find_map(|name| time(members.get(*name)?));
    if let Some(inner) = own.or(listed).filter(|_| depth < DEPTH_LIMIT) {
        let inner = version(inner, now, depth + 1)?;
        return Ok(SecretVersion { previous_ends: inner.previous_ends.or(ends), ..inner });
    }
    match created(&members, number, now)? {
        Some(created) => Ok(SecretVersion { number: number.unwrap_or(0), created, previous_ends: ends }),
        None => match members.get("metadata").filter(|_| number.is_none() && depth < DEPTH_LIMIT) {
            Some(inner) => version(inner, now, depth + 1),
            None => Err(AnswerFault::Missing("time of the current version, such as updated_at").into()),
        },
    }
}

/// The time of the version that `members` are about; `None` if they contain none. The latest time of the
/// first group with a time is used. The first version is as old as the secret, even if the secret was changed
/// later.
fn created(
    members: &BTreeMap<String, &RawValue>,
    number: Option<u32>,
    now: SystemTime,
) -> Result<Option<SystemTime>, AnswerFault> {
    let groups = match number {
        Some(1) => [VERSION_TIMES, CREATION_TIMES, CHANGE_TIMES],
        _ => [VERSION_TIMES, CHANGE_TIMES, CREATION_TIMES],
    };
    for names in groups {
        let times = names.iter().filter_map(|name| Some((*name, *members.get(*name)?)));
        let read = times.map(|(name, raw)| {
            time(raw).filter(|created| *created <= now + AHEAD_LIMIT).ok_or(AnswerFault::Time(name))
        });
        if let Some(latest) = read.collect::<Result<Vec<_>, _>>()?.into_iter().max() {
            return Ok(Some(latest));
        }
    }
    Ok(None)
}

/// The entry of the version `current`, or of the highest one.
fn newest(list: &RawValue, current: Option<u32>) -> Option<&RawValue> {
    let list: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    let numbered = |entry: &&'_ RawValue| {
        let members = object(entry)?;
        NUMBERS.iter().find_map(|name| number(members.get(*name)?))
    };
    let mut numbered: Vec<_> = list.iter().filter_map(|entry| Some((numbered(entry)?, *entry))).collect();
    numbered.sort_by_key(|(number, _)| *number);
    match current {
        Some(current) => numbered.into_iter().find(|(number, _)| *number == current),
        None => numbered.into_iter().next_back(),
    }
    .map(|(_, entry)| entry)
}

/// A number, also as text, as in `7` or `v7`.
fn number(json: &RawValue) -> Option<u32> {
    let text = text(json).unwrap_or_else(|| json.get().to_owned());
    let text = text.trim();
    text.strip_prefix('v').unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests;
