//! Reads the annotations of vault-k8s and of its fork for `OpenBao`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::json::metadata;

/// The prefixes of the annotations.
const PREFIXES: [&str; 2] = ["vault.hashicorp.com/", "openbao.org/"];

/// A pod's annotations for the Vault Agent injector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VaultAgent {
    /// The prefix of the keys, including its slash.
    pub prefix: &'static str,
    /// Whether `agent-inject` is true, in any spelling that vault-k8s accepts.
    pub enabled: bool,
    /// `role`.
    pub role: Option<String>,
    /// The secrets, by the unique name in their keys.
    pub secrets: Vec<VaultSecret>,
    /// Whether `agent-pre-populate-only` is true: an init container without a sidecar.
    pub pre_populate_only: bool,
    /// `secret-volume-path`: the directory of all files; `None` for `/vault/secrets`.
    pub volume_path: Option<String>,
    /// `agent-inject-containers`: the containers that get the files; `None` for all.
    pub containers: Option<String>,
    /// All other annotations with the prefix; the keys are without the prefix.
    pub others: BTreeMap<String, String>,
}

/// A file that the Vault Agent writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VaultSecret {
    /// The name at the end of the keys, as written.
    pub name: String,
    /// `agent-inject-secret-NAME`: the path in Vault; `None` if there is only a template.
    pub path: Option<String>,
    /// `agent-inject-template-NAME`.
    pub template: Option<String>,
    /// `agent-inject-template-file-NAME`.
    pub template_file: Option<String>,
    /// `agent-inject-file-NAME`; by default the name, in lower case unless `preserve-secret-case`
    /// is true.
    pub file: String,
    /// `secret-volume-path-NAME`.
    pub volume_path: Option<String>,
    /// `agent-inject-perms-NAME`.
    pub permissions: Option<String>,
    /// `agent-inject-command-NAME`: the command that runs after each change.
    pub command: Option<String>,
}

/// Keys that end in a secret's name. A key comes before its own prefixes, so the longest match
/// wins.
const BY_SECRET: [(&str, Setter); 7] = [
    ("agent-inject-secret-", |secret, value| secret.path = Some(value)),
    ("agent-inject-template-file-", |secret, value| secret.template_file = Some(value)),
    ("agent-inject-template-", |secret, value| secret.template = Some(value)),
    ("agent-inject-file-", |secret, value| secret.file = value),
    ("agent-inject-perms-", |secret, value| secret.permissions = Some(value)),
    ("agent-inject-command-", |secret, value| secret.command = Some(value)),
    ("secret-volume-path-", |secret, value| secret.volume_path = Some(value)),
];

type Setter = fn(&mut VaultSecret, String);

/// Reads the Vault Agent injector's annotations of a pod or pod template; `None` if it has none.
pub fn vault_agent(pod: &Value) -> Option<VaultAgent> {
    let prefix = PREFIXES.into_iter().find(|prefix| keys(pod, prefix).next().is_some())?;
    let mut agent = VaultAgent { prefix, ..VaultAgent::default() };
    let mut secrets: BTreeMap<String, VaultSecret> = BTreeMap::new();
    for (key, value) in keys(pod, prefix) {
        let of_secret = BY_SECRET
            .iter()
            .find_map(|(start, set)| Some((key.strip_prefix(start).filter(|name| !name.is_empty())?, set)));
        if let Some((name, set)) = of_secret {
            let secret = secrets.entry(name.to_owned()).or_default();
            name.clone_into(&mut secret.name);
            set(secret, value.to_owned());
            continue;
        }
        match key {
            "agent-inject" => agent.enabled = is_true(value),
            "role" => agent.role = Some(value.to_owned()),
            "agent-pre-populate-only" => agent.pre_populate_only = is_true(value),
            "secret-volume-path" => agent.volume_path = Some(value.to_owned()),
            "agent-inject-containers" => agent.containers = Some(value.to_owned()),
            _ => {
                agent.others.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    for secret in secrets.values_mut().filter(|secret| secret.file.is_empty()) {
        let keeps_case = |key: &str| agent.others.get(key).is_some_and(|value| is_true(value));
        let keeps_case = keeps_case("preserve-secret-case")
            || keeps_case(&format!("preserve-secret-case-{}", secret.name));
        secret.file = if keeps_case { secret.name.clone() } else { secret.name.to_lowercase() };
    }
    // Without a path or a template, no file is written.
    let makes_file = |secret: &VaultSecret| {
        secret.path.is_some() || secret.template.is_some() || secret.template_file.is_some()
    };
    agent.secrets = secrets.into_values().filter(makes_file).collect();
    Some(agent)
}

fn keys<'a>(pod: &'a Value, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    metadata(pod, "annotations").filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value)))
}

/// The spellings of true in Go's `strconv.ParseBool`, which vault-k8s uses.
fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

#[cfg(test)]
mod tests;
