//! Checks the native Secrets that the driver writes from the files of a volume.

use std::collections::BTreeSet;

use scaivault_contract::Excerpt;
use scaivault_csi_class::{Object as ClassObject, did_you_mean};
use scaivault_inject::annotations::nearest;
use serde_json::Value;

use super::{
    class::unknown_fields,
    finding::{Code, Finding},
};

const POINTER: &str = "/spec/secretObjects";
const FIELDS: [&str; 5] = ["annotations", "data", "labels", "secretName", "type"];
const DATA_FIELDS: [&str; 2] = ["key", "objectName"];
const TLS: &str = "kubernetes.io/tls";

/// A file that becomes a key of a native Secret.
#[derive(Debug)]
pub(super) struct SecretFile {
    pub(super) secret: String,
    pub(super) object_name: String,
}

/// Checks `spec.secretObjects`, and returns the files that it refers to. `objects` are those of the
/// class, if they are valid.
pub(super) fn check(
    secret_objects: Option<&Value>,
    objects: Option<&[ClassObject]>,
    findings: &mut Vec<Finding>,
) -> Vec<SecretFile> {
    let mut files = Vec::new();
    let items = match secret_objects {
        None | Some(Value::Null) => return files,
        Some(Value::Array(items)) => items,
        Some(_) => {
            findings.push(Finding::problem(
                Code::SecretObject,
                POINTER,
                "expected a list of Secrets",
                "write a list",
            ));
            return files;
        }
    };
    let mut names = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let pointer = format!("{POINTER}/{index}");
        let name = text(item, "secretName");
        if !name.is_empty() && !names.insert(name) {
            findings.push(Finding::problem(
                Code::SecretObject,
                format!("{pointer}/secretName"),
                format!("{} is written twice: one entry overwrites the other", Excerpt::new(name)),
                "write all keys of a Secret in one entry",
            ));
        }
        files.extend(check_secret(item, &pointer, objects, findings));
    }
    files
}

fn check_secret(
    item: &Value,
    pointer: &str,
    objects: Option<&[ClassObject]>,
    findings: &mut Vec<Finding>,
) -> Vec<SecretFile> {
    let problem = |place: String, message: &str, fix: &'static str| {
        Finding::problem(Code::SecretObject, place, message, fix)
    };
    let Some(fields) = item.as_object() else {
        findings.push(problem(pointer.to_owned(), "expected a mapping", "write secretName, type and data"));
        return Vec::new();
    };
    unknown_fields(fields, &FIELDS, Code::SecretObject, pointer, findings);
    let (name, secret_type) = (text(item, "secretName"), text(item, "type"));
    if name.is_empty() {
        let place = format!("{pointer}/secretName");
        findings.push(problem(place, "the name of the Secret is missing", "write secretName"));
    }
    if secret_type.is_empty() {
        let place = format!("{pointer}/type");
        findings.push(problem(place, "the type of the Secret is missing", "write type: Opaque"));
    }
    let data = item.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if data.is_empty() {
        let place = format!("{pointer}/data");
        findings.push(problem(place, "no key is listed", "list objectName and key of each file"));
    }
    let mut files = Vec::new();
    for (index, entry) in data.iter().enumerate() {
        let pointer = format!("{pointer}/data/{index}");
        if let Some(fields) = entry.as_object() {
            unknown_fields(fields, &DATA_FIELDS, Code::SecretObject, &pointer, findings);
        }
        let (object_name, key) = (text(entry, "objectName"), text(entry, "key"));
        if key.is_empty() {
            let place = format!("{pointer}/key");
            findings.push(problem(place, "the key of the Secret is missing", "write key"));
        } else if secret_type == TLS && !["tls.crt", "tls.key"].contains(&key) {
            let message = format!(
                "{} is not a key that the driver writes into a Secret of the type {TLS}; allowed: \
                 tls.crt, tls.key",
                Excerpt::new(key)
            );
            findings.push(problem(format!("{pointer}/key"), &message, "rename it, or use the type Opaque"));
        }
        if object_name.is_empty() {
            let place = format!("{pointer}/objectName");
            findings.push(problem(place, "the file is missing", "write objectName: the file of an object"));
            continue;
        }
        if let Some(objects) = objects {
            findings.extend(check_file(name, object_name, &format!("{pointer}/objectName"), objects));
        }
        files.push(SecretFile { secret: name.to_owned(), object_name: object_name.to_owned() });
    }
    files
}

/// Checks a file that becomes a key of a native Secret.
pub(super) fn check_file(
    secret: &str,
    object_name: &str,
    pointer: &str,
    objects: &[ClassObject],
) -> Option<Finding> {
    let Some(object) = objects.iter().find(|object| object.file.as_str() == object_name) else {
        return Some(missing_file(object_name, pointer, objects, "objectName is the `file` of an object"));
    };
    if object.is_optional {
        return Some(Finding::warning(
            Code::SecretObject,
            pointer,
            format!(
                "{} is optional: without its secret the driver cannot write the Secret {}",
                Excerpt::new(object_name),
                Excerpt::new(secret)
            ),
            "make the object mandatory, or take it out of secretObjects",
        ));
    }
    object.source.lease().is_some().then(|| {
        Finding::warning(
            Code::SecretObject,
            pointer,
            format!(
                "{} has dynamic credentials of one pod: each pod of the namespace overwrites the Secret {}, and they are \
                 revoked when that pod is deleted",
                Excerpt::new(object_name),
                Excerpt::new(secret)
            ),
            "let the application read the file",
        )
    })
}

/// A referenced file that no object writes.
pub(super) fn missing_file(file: &str, pointer: &str, objects: &[ClassObject], rule: &str) -> Finding {
    let files = || objects.iter().map(|object| object.file.as_str());
    let hint = did_you_mean(nearest(file, files()));
    let shown: Vec<_> = files().take(8).collect();
    let more = objects.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Finding::problem(
        Code::MissingFile,
        pointer,
        format!(
            "no object of the class writes {}{hint}; {rule}; files: {}{more}",
            Excerpt::new(file),
            shown.join(", ")
        ),
        "name one of these files, or add an object",
    )
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
