//! The map from native Secrets and Vault paths to `ScaiVault` paths.

use std::{collections::BTreeMap, num::NonZeroU32, path::Path};

use anyhow::{Context as _, bail};
use scaivault_contract::{DynamicRef, FieldName, Format, SecretPath, SecretRef};
use serde::Deserialize;

use super::args::SourceArgs;
use crate::input;

/// The file format.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MapFile {
    #[serde(default)]
    secrets: Vec<SecretText>,
    #[serde(default)]
    vault: Vec<VaultText>,
    /// Vault roles to `ScaiKey` identities.
    #[serde(default)]
    roles: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretText {
    namespace: Option<String>,
    name: String,
    path: Option<String>,
    version: Option<NonZeroU32>,
    #[serde(default)]
    keys: BTreeMap<String, KeyText>,
    #[serde(default)]
    keep: bool,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a key must be the name of its field, or a map with path, field, version and base64"
)]
enum KeyText {
    Field(String),
    Full(FullKeyText),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FullKeyText {
    path: Option<String>,
    field: Option<String>,
    version: Option<NonZeroU32>,
    #[serde(default)]
    base64: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultText {
    path: String,
    to: Option<String>,
    version: Option<NonZeroU32>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    format: Option<String>,
    dynamic: Option<DynamicText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DynamicText {
    engine: String,
    role: String,
    ttl: Option<String>,
}

/// The location of a Secret's key in `ScaiVault`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeySource {
    pub(super) secret: SecretRef,
    /// The field holds base64, and the file gets the decoded bytes.
    pub(super) is_base64: bool,
}

/// The target of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretTarget {
    /// It remains a native Secret.
    Keep,
    /// It moves.
    Move(MovedSecret),
}

/// A Secret that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MovedSecret {
    path: SecretPath,
    version: Option<NonZeroU32>,
    /// Keys with an explicit field or path. If no manifest contains the keys of the Secret, these
    /// are all.
    keys: BTreeMap<String, KeySource>,
}

impl MovedSecret {
    /// The keys that the map lists.
    pub(super) fn listed_keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// The location of a key, or the reason why it is unknown.
    pub(super) fn key(&self, key: &str) -> Result<KeySource, String> {
        if let Some(source) = self.keys.get(key) {
            return Ok(source.clone());
        }
        let field =
            key.parse().map_err(|error| format!("{error}; name its field under `keys` in the map"))?;
        let secret = SecretRef { path: self.path.clone(), field: Some(field), version: self.version };
        Ok(KeySource { secret, is_base64: false })
    }
}

/// The target of a Vault path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VaultTarget {
    /// A secret, with those fields by their Vault names that differ, and the format of its file.
    Secret { secret: SecretRef, fields: BTreeMap<String, FieldName>, format: Option<Format> },
    /// Dynamic credentials.
    Dynamic { dynamic: DynamicRef, fields: BTreeMap<String, FieldName> },
}

impl VaultTarget {
    /// The `ScaiVault` name of a field of Vault.
    pub(super) fn field<'a>(&'a self, name: &'a str) -> &'a str {
        let (Self::Secret { fields, .. } | Self::Dynamic { fields, .. }) = self;
        fields.get(name).map_or(name, FieldName::as_str)
    }
}

/// A missing entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MissingEntry {
    /// A Secret, by namespace and name, whose path is not known.
    Secret { namespace: String, name: String },
    /// A Secret whose keys are not in the manifests.
    Keys { namespace: String, name: String },
    /// A Vault path.
    Vault(String),
}

/// Why a lookup failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LookupError {
    /// Neither the map nor a rule matches.
    Missing,
    /// The path that the rule gives is invalid.
    Rule(String),
}

/// The map with its rules.
#[derive(Debug, Default)]
pub(super) struct PathMap {
    secrets: BTreeMap<(Option<String>, String), SecretTarget>,
    vault: BTreeMap<String, VaultTarget>,
    roles: BTreeMap<String, String>,
    secret_rule: Option<String>,
    vault_rule: Option<String>,
    environment: Option<String>,
}

impl PathMap {
    /// Reads the file and the rules from the arguments.
    pub(super) fn read(args: &SourceArgs) -> anyhow::Result<Self> {
        let mut map = match &args.map {
            Some(path) => Self::read_file(path)?,
            None => Self::default(),
        };
        map.secret_rule.clone_from(&args.path);
        map.vault_rule.clone_from(&args.vault_path);
        map.environment.clone_from(&args.environment);
        for (flag, rule, names) in [
            ("--path", &args.path, &["environment", "namespace", "secret"][..]),
            ("--vault-path", &args.vault_path, &["environment", "namespace", "path"]),
        ] {
            let Some(rule) = rule else { continue };
            check_rule(rule, names).map_err(|error| anyhow::anyhow!("{flag} {rule:?}: {error}"))?;
            if rule.contains("${environment}") && args.environment.is_none() {
                bail!("{flag} {rule:?} has ${{environment}}: name it with --environment");
            }
        }
        Ok(map)
    }

    fn read_file(path: &Path) -> anyhow::Result<Self> {
        let source = input::read(path)?;
        Self::parse(&source.text).with_context(|| source.name.clone())
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let file: Option<MapFile> =
            serde_saphyr::from_str_with_options(text, serde_saphyr::options! { with_snippet: false })
                .map_err(|error| {
                    anyhow::anyhow!(
                        "{error}; a map has the keys secrets, vault and roles, see docs/migrate.md"
                    )
                })?;
        let MapFile { secrets, vault, roles } = file.unwrap_or_default();
        let mut map = Self { roles, ..Self::default() };
        let mut problems = Vec::new();
        for text in secrets {
            map.add_secret(text, &mut problems);
        }
        for text in vault {
            map.add_vault(text, &mut problems);
        }
        if !problems.is_empty() {
            bail!("{}", problems.join("\n"));
        }
        Ok(map)
    }

    fn add_secret(&mut self, text: SecretText, problems: &mut Vec<String>) {
        let SecretText { namespace, name, path, version, keys, keep } = text;
        let entry = match &namespace {
            Some(namespace) => format!("secrets: {namespace}/{name}"),
            None => format!("secrets: {name}"),
        };
        let target = match (keep, path) {
            (true, None) if keys.is_empty() => Ok(SecretTarget::Keep),
            (true, _) => {
                Err("`keep: true` leaves the Secret as it is; remove `path` and `keys`, or `keep`".to_owned())
            }
            (false, None) => Err("it has no `path`; write the ScaiVault path, or `keep: true`".to_owned()),
            (false, Some(path)) => moved(&path, version, keys).map(SecretTarget::Move),
        };
        match target {
            Err(problem) => problems.push(format!("{entry}: {problem}")),
            Ok(target) => {
                if self.secrets.insert((namespace, name), target).is_some() {
                    problems.push(format!("{entry} is duplicate; remove one of the two"));
                }
            }
        }
    }

    fn add_vault(&mut self, text: VaultText, problems: &mut Vec<String>) {
        let entry = format!("vault: {}", text.path);
        let path = text.path.trim_matches('/').to_owned();
        match vault_target(text) {
            Err(problem) => problems.push(format!("{entry}: {problem}")),
            Ok(target) => {
                if self.vault.insert(path, target).is_some() {
                    problems.push(format!("{entry} is duplicate; remove one of the two"));
                }
            }
        }
    }

    /// The target of a native Secret.
    pub(super) fn secret(&self, namespace: &str, name: &str) -> Result<SecretTarget, LookupError> {
        let keys = [(Some(namespace.to_owned()), name.to_owned()), (None, name.to_owned())];
        if let Some(target) = keys.iter().find_map(|key| self.secrets.get(key)) {
            return Ok(target.clone());
        }
        let rule = self.secret_rule.as_ref().ok_or(LookupError::Missing)?;
        let path = self.fill(rule, namespace, ("secret", name)).map_err(LookupError::Rule)?;
        Ok(SecretTarget::Move(MovedSecret { path, version: None, keys: BTreeMap::new() }))
    }

    /// The target of a Vault path, prefixed with Vault's own namespace if there is one.
    pub(super) fn vault(
        &self,
        vault_namespace: Option<&str>,
        path: &str,
        namespace: &str,
    ) -> Result<VaultTarget, LookupError> {
        let path = path.trim_matches('/');
        let with_namespace =
            vault_namespace.map(|namespace| format!("{}/{path}", namespace.trim_matches('/')));
        let found = with_namespace.as_deref().into_iter().chain([path]).find_map(|path| self.vault.get(path));
        if let Some(target) = found {
            return Ok(target.clone());
        }
        let rule = self.vault_rule.as_ref().ok_or(LookupError::Missing)?;
        let short = path.split_once('/').map_or(path, |(_, rest)| rest.strip_prefix("data/").unwrap_or(rest));
        let path = self.fill(rule, namespace, ("path", short)).map_err(LookupError::Rule)?;
        let secret = SecretRef { path, field: None, version: None };
        Ok(VaultTarget::Secret { secret, fields: BTreeMap::new(), format: None })
    }

    /// The identity for a role of Vault.
    pub(super) fn role(&self, role: &str) -> Option<&str> {
        self.roles.get(role).map(String::as_str)
    }

    fn fill(&self, rule: &str, namespace: &str, (name, value): (&str, &str)) -> Result<SecretPath, String> {
        if namespace.is_empty() && rule.contains("${namespace}") {
            return Err("its manifest has no namespace, and the path needs one; pass --namespace".to_owned());
        }
        let environment = self.environment.as_deref().unwrap_or_default();
        let path = rule
            .replace("${environment}", environment)
            .replace("${namespace}", namespace)
            .replace(&format!("${{{name}}}"), value);
        path.parse().map_err(|error| format!("{error}; give it an entry in the map"))
    }
}

fn moved(
    path: &str,
    version: Option<NonZeroU32>,
    texts: BTreeMap<String, KeyText>,
) -> Result<MovedSecret, String> {
    if path.is_empty() {
        return Err("its `path` is empty: write the ScaiVault path, or `keep: true` in its place".to_owned());
    }
    let path: SecretPath = path.parse().map_err(|error| format!("path: {error}"))?;
    let mut keys = BTreeMap::new();
    for (key, text) in texts {
        let full = match text {
            KeyText::Field(field) => {
                FullKeyText { path: None, field: Some(field), version: None, base64: false }
            }
            KeyText::Full(full) => full,
        };
        let of_key = |error: &dyn std::fmt::Display| format!("key {key}: {error}");
        let own_path =
            full.path.map(|path| path.parse::<SecretPath>()).transpose().map_err(|error| of_key(&error))?;
        let field = full.field.unwrap_or_else(|| key.clone()).parse().map_err(|error| of_key(&error))?;
        let version = full.version.or(version.filter(|_| own_path.is_none()));
        let secret =
            SecretRef { path: own_path.unwrap_or_else(|| path.clone()), field: Some(field), version };
        keys.insert(key, KeySource { secret, is_base64: full.base64 });
    }
    Ok(MovedSecret { path, version, keys })
}

fn vault_target(text: VaultText) -> Result<VaultTarget, String> {
    let VaultText { path: _, to, version, fields, format, dynamic } = text;
    let fields: Result<BTreeMap<_, _>, _> = fields
        .into_iter()
        .map(|(old, new)| new.parse().map(|new| (old, new)).map_err(|error| format!("{error}")))
        .collect();
    let fields = fields?;
    match (to, dynamic) {
        (Some(to), None) => {
            if to.is_empty() {
                return Err("its `to` is empty: write the ScaiVault path".to_owned());
            }
            let path = to.parse().map_err(|error| format!("to: {error}"))?;
            let format =
                format.map(|format| format.parse()).transpose().map_err(|error| format!("{error}"))?;
            Ok(VaultTarget::Secret { secret: SecretRef { path, field: None, version }, fields, format })
        }
        (None, Some(DynamicText { engine, role, ttl })) => {
            let ttl = ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
            let dynamic = format!("engine={engine} role={role}{ttl}");
            Ok(VaultTarget::Dynamic { dynamic: dynamic.parse().map_err(|error| format!("{error}"))?, fields })
        }
        _ => Err("write either `to` (a ScaiVault path) or `dynamic` (engine and role)".to_owned()),
    }
}

/// Checks that a rule contains only known variables.
fn check_rule(rule: &str, names: &[&str]) -> Result<(), String> {
    let mut rest = rule;
    while let Some((_, after)) = rest.split_once('$') {
        let name = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        match name {
            Some((name, after)) if names.contains(&name) => rest = after,
            _ => {
                let names: Vec<_> = names.iter().map(|name| format!("${{{name}}}")).collect();
                return Err(format!("expected only {} after a $", names.join(", ")));
            }
        }
    }
    Ok(())
}

/// The missing entries, as a map to fill in.
pub(super) fn skeleton<'a>(missing: impl IntoIterator<Item = &'a MissingEntry>) -> String {
    use std::fmt::Write as _;
    let (mut secrets, mut vault) = (String::new(), String::new());
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let begin = |text: &mut String, namespace: &str| match namespace {
        "" => text.push('-'),
        _ => text.extend(["- namespace: ", &quoted(namespace), "\n "]),
    };
    for entry in missing {
        // Writing to a String does not fail.
        let _ = match entry {
            MissingEntry::Secret { namespace, name } => {
                begin(&mut secrets, namespace);
                writeln!(
                    secrets,
                    " name: {}\n  path: \"\"   # the ScaiVault path, or `keep: true` in place of this line",
                    quoted(name)
                )
            }
            MissingEntry::Keys { namespace, name } => {
                begin(&mut secrets, namespace);
                writeln!(
                    secrets,
                    " name: {}\n  path: \"\"   # the ScaiVault path, or `keep: true` in place of this line and the next\n  keys: {{}}   # all keys of the Secret, each with its field in ScaiVault: {{username: username}}",
                    quoted(name)
                )
            }
            MissingEntry::Vault(path) => writeln!(
                vault,
                "- path: {}\n  to: \"\"   # the ScaiVault path, or `dynamic: {{engine: …, role: …}}` in place of this line",
                quoted(path)
            ),
        };
    }
    let mut text = String::new();
    for (key, entries) in [("secrets", secrets), ("vault", vault)] {
        if !entries.is_empty() {
            let _ = write!(text, "{key}:\n{entries}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
