//! Secrets and their versions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use scaivault_contract::SecretPath;
use serde_json::{Map, Value, json};

use crate::{clock::whole_seconds, error::ApiError, seed::SeedSecret};

#[derive(Default)]
pub(crate) struct Secrets(BTreeMap<SecretPath, StoredSecret>);

struct StoredSecret {
    secret_type: String,
    created: Timestamp,
    /// When the description, tags or owner were last written.
    described: Timestamp,
    /// Kept for ever, except for those that were aged out.
    versions: BTreeMap<u64, Version>,
    is_deleted: bool,
}

struct Version {
    data: Map<String, Value>,
    written: Timestamp,
}

/// A written version.
pub(crate) struct WrittenVersion {
    pub(crate) old_version: Option<u64>,
    pub(crate) new_version: u64,
    pub(crate) secret_type: String,
}

impl Secrets {
    pub(super) fn new(seed: BTreeMap<SecretPath, SeedSecret>, now: Timestamp) -> Self {
        let mut secrets = Self::default();
        for (path, SeedSecret { data, secret_type }) in seed {
            secrets.write(&path, data, Some(secret_type), now);
        }
        secrets
    }

    pub(super) fn write(
        &mut self,
        path: &SecretPath,
        data: Map<String, Value>,
        secret_type: Option<String>,
        now: Timestamp,
    ) -> WrittenVersion {
        let stored = self.0.entry(path.clone()).or_insert_with(|| StoredSecret {
            secret_type: "json".to_owned(),
            created: now,
            described: now,
            versions: BTreeMap::new(),
            is_deleted: false,
        });
        if let Some(secret_type) = secret_type {
            stored.secret_type = secret_type;
        }
        stored.is_deleted = false;
        let old_version = stored.versions.last_key_value().map(|(version, _)| *version);
        let new_version = old_version.unwrap_or(0) + 1;
        stored.versions.insert(new_version, Version { data, written: now });
        WrittenVersion { old_version, new_version, secret_type: stored.secret_type.clone() }
    }

    /// The answer of `GET` for the secret.
    pub(crate) fn read(&self, path: &SecretPath, version: Option<u64>) -> Result<Value, ApiError> {
        let stored = self.stored(path)?;
        let current = stored.versions.last_key_value().map(|(version, _)| *version);
        let number = version.or(current).unwrap_or_default();
        let Some(version) = stored.versions.get(&number) else {
            let what = format!("Version {number} of secret '{path}' not found");
            return Err(ApiError::of_path("version_not_found", path.as_str(), what));
        };
        Ok(json!({
            "path": path.as_str(),
            "secret_type": stored.secret_type,
            "version": number,
            "data": version.data,
            "metadata": {},
            "created_at": whole_seconds(stored.created),
            "updated_at": whole_seconds(stored.described.max(version.written)),
            "expires_at": null,
            "rotation_policy_id": null,
        }))
    }

    /// Changes the description of a secret, and no version.
    pub(crate) fn describe(&mut self, path: &SecretPath, now: Timestamp) {
        if let Some(stored) = self.0.get_mut(path) {
            stored.described = now;
        }
    }

    /// Whether the secret is soft-deleted, so that its path is still in use.
    pub(crate) fn is_deleted(&self, path: &SecretPath) -> bool {
        self.0.get(path).is_some_and(|stored| stored.is_deleted)
    }

    /// All paths with `prefix`, with their current versions.
    pub(crate) fn list(&self, prefix: &str) -> impl Iterator<Item = (&SecretPath, u64)> {
        let current =
            |stored: &StoredSecret| stored.versions.last_key_value().map_or(0, |(version, _)| *version);
        let there = self
            .0
            .iter()
            .filter(move |(path, stored)| !stored.is_deleted && path.as_str().starts_with(prefix));
        there.map(move |(path, stored)| (path, current(stored)))
    }

    /// Deletes the secret; a soft delete keeps its path in use.
    pub(crate) fn delete(&mut self, path: &SecretPath, is_permanent: bool) -> Result<(), ApiError> {
        self.stored(path)?;
        if is_permanent {
            self.0.remove(path);
        } else if let Some(stored) = self.0.get_mut(path) {
            stored.is_deleted = true;
        }
        Ok(())
    }

    /// Removes all versions except the current one.
    pub(crate) fn age_out(&mut self, path: &SecretPath) {
        if let Some(stored) = self.0.get_mut(path)
            && let Some((last, version)) = stored.versions.pop_last()
        {
            stored.versions = BTreeMap::from([(last, version)]);
        }
    }

    fn stored(&self, path: &SecretPath) -> Result<&StoredSecret, ApiError> {
        let stored = self.0.get(path).filter(|stored| !stored.is_deleted);
        stored.ok_or_else(|| {
            ApiError::of_path("secret_not_found", path.as_str(), format!("Secret '{path}' not found"))
        })
    }
}
