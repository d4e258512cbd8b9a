//! The annotations of vault-k8s.

use std::collections::BTreeMap;

use scaivault_contract::{Duration, RelativeFile};
use scaivault_usage::{ContainerKind, ContainerRef, VaultAgent, VaultSecret};
use serde_json::Value;

use super::{
    go_template::{self, Fields, NamedPath},
    map::{LookupError, MissingEntry, PathMap, VaultTarget},
    native::file_mode,
    settings::{self, Mapping},
    wants::{Content, FileWant, Wants, containers, join},
};

/// The directory of vault-k8s files.
const VOLUME_PATH: &str = "/vault/secrets";

/// The file that vault-k8s writes for the fields of one secret without a template: `key: value`
/// lines.
const MAP_TEMPLATE: &str = "{% for key, value in data|items %}{{ key }}: {{ value }}\n{% endfor %}";

/// Adds what a pod (template) gets from Vault's agent.
pub(super) fn add(pod: &Value, namespace: &str, map: &PathMap, wants: &mut Wants) {
    let Some(agent) = scaivault_usage::vault_agent(pod).filter(|agent| agent.enabled) else { return };
    let reader = Reader { agent: &agent, namespace, map, readers: readers(pod, &agent) };
    for secret in &agent.secrets {
        match reader.content(secret, wants) {
            Ok(Some(content)) => reader.want(secret, &content, wants),
            Ok(None) => {}
            Err(reason) => wants.problems.push(format!("{}: {reason}", reader.key(secret))),
        }
    }
    if agent.secrets.is_empty() {
        wants.problems.push(format!(
            "{}agent-inject is true and no annotation names a secret: the files come from elsewhere, as from agent-configmap; write the annotations of ScaiVault by hand",
            agent.prefix
        ));
    }
    reader.settings(wants);
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    for (key, _) in annotations.into_iter().flatten().filter(|(key, _)| key.starts_with(agent.prefix)) {
        wants.removals.insert(super::rewrite::annotation_pointer(key));
    }
}

struct Reader<'a> {
    agent: &'a VaultAgent,
    namespace: &'a str,
    map: &'a PathMap,
    readers: Vec<ContainerRef>,
}

/// The containers in which vault-k8s mounts its files: those that are named, and every init
/// container.
fn readers(pod: &Value, agent: &VaultAgent) -> Vec<ContainerRef> {
    let named: Option<Vec<&str>> = agent.containers.as_deref().map(|names| names.split(',').collect());
    let is_reader = |container: &ContainerRef| match (&named, container.kind) {
        (Some(named), ContainerKind::App) => named.contains(&container.name.as_str()),
        _ => true,
    };
    containers(pod).into_iter().map(|(container, ..)| container).filter(is_reader).collect()
}

impl Reader<'_> {
    /// The annotation that declares a secret, for messages.
    fn key(&self, secret: &VaultSecret) -> String {
        let what = match secret {
            VaultSecret { template: Some(_), .. } => "template",
            VaultSecret { template_file: Some(_), .. } => "template-file",
            _ => "secret",
        };
        format!("{}agent-inject-{what}-{}", self.agent.prefix, secret.name)
    }

    fn other(&self, key: &str) -> Option<&str> {
        self.agent.others.get(key).map(String::as_str)
    }

    /// The target of a path; `None` if the map has no entry.
    fn target(&self, path: &str, wants: &mut Wants) -> Result<Option<VaultTarget>, String> {
        match self.map.vault(self.other("namespace"), path, self.namespace) {
            Ok(target) => Ok(Some(target)),
            Err(LookupError::Rule(reason)) => Err(format!("{path}: {reason}")),
            Err(LookupError::Missing) => {
                wants.missing.insert(MissingEntry::Vault(path.to_owned()));
                Ok(None)
            }
        }
    }

    /// The content of the file; `None` if the map lacks an entry.
    fn content(&self, secret: &VaultSecret, wants: &mut Wants) -> Result<Option<Content>, String> {
        if secret.template_file.is_some() {
            return Err("the template is a file in the agent's container; write it into the annotation agent-inject-template".to_owned());
        }
        for delimiter in ["left", "right"] {
            if self.other(&format!("agent-template-{delimiter}-delim-{}", secret.name)).is_some() {
                return Err("its delimiters are changed; write the template with {{ and }}".to_owned());
            }
        }
        if secret.command.is_some() {
            return Err(format!(
                "the command of agent-inject-command-{} runs in Vault's agent; remove it and use \
                 reload-signal or reload-url of ScaiVault",
                secret.name
            ));
        }
        match &secret.template {
            Some(template) => self.template(template, wants),
            None => self.default_template(secret.path.as_deref().unwrap_or_default(), wants),
        }
    }

    fn template(&self, text: &str, wants: &mut Wants) -> Result<Option<Content>, String> {
        let fields = MapFields { reader: self };
        let translated = go_template::translate(text, &fields).map_err(|fault| fault.to_string())?;
        let (template, secrets) = (translated.template, translated.secrets);
        if secrets.is_empty() {
            return Err(
                "the template names no secret with {{ with secret \"path\" }}; put its text into a ConfigMap"
                    .to_owned(),
            );
        }
        let mut targets = Vec::new();
        for NamedPath { alias, path } in &secrets {
            targets.extend(self.target(path, wants)?.map(|target| (alias, target)));
        }
        if targets.len() < secrets.len() {
            return Ok(None);
        }
        if let [(_, target)] = targets.as_slice() {
            return Ok(Some(match target {
                VaultTarget::Secret { secret, .. } => {
                    Content::Template { source: secret.to_string(), template }
                }
                VaultTarget::Dynamic { dynamic, .. } => {
                    Content::Dynamic { source: dynamic.to_string(), template: Some(template) }
                }
            }));
        }
        let mut sources = Vec::new();
        for (alias, target) in &targets {
            match target {
                VaultTarget::Secret { secret, .. } => sources.push(format!("{alias}={secret}")),
                VaultTarget::Dynamic { .. } => {
                    return Err("the template has both dynamic credentials and another secret; write a \
                         file for each"
                        .to_owned());
                }
            }
        }
        Ok(Some(Content::Template { source: sources.join(" "), template }))
    }

    /// Without a template, vault-k8s writes all of Vault's response.
    fn default_template(&self, path: &str, wants: &mut Wants) -> Result<Option<Content>, String> {
        if path.trim().is_empty() {
            return Err("the path is empty; remove the annotation".to_owned());
        }
        let Some(target) = self.target(path, wants)? else { return Ok(None) };
        let is_json = match self.other("agent-inject-default-template") {
            None | Some("map" | "") => false,
            Some("json") => true,
            Some(other) => {
                return Err(format!("agent-inject-default-template is {other:?}; expected map or json"));
            }
        };
        let is_version_2 = path.trim_start_matches('/').split('/').nth(1) == Some("data");
        let has_renamed = match &target {
            VaultTarget::Secret { fields, .. } | VaultTarget::Dynamic { fields, .. } => !fields.is_empty(),
        };
        if has_renamed {
            return Err(
                "it writes all fields, and `fields` in the map gives them other names; write a template"
                    .to_owned(),
            );
        }
        let (secret, format) = match target {
            VaultTarget::Dynamic { dynamic, .. } => {
                let template = (!is_json).then(|| MAP_TEMPLATE.to_owned());
                return Ok(Some(Content::Dynamic { source: dynamic.to_string(), template }));
            }
            VaultTarget::Secret { secret, format, .. } => (secret, format),
        };
        let source = secret.to_string();
        Ok(Some(match (format, is_version_2, is_json) {
            (Some(format), ..) => Content::Formatted { source, format: format.to_string() },
            (None, true, true) => {
                wants.warnings.push(format!(
                    "the file of {path} keeps `data` and `metadata`; of the metadata it has the version alone"
                ));
                let template = "{\"data\":{{ data|tojson }},\"metadata\":{\"version\":{{ version }}}}\n";
                Content::Template { source, template: template.to_owned() }
            }
            (None, true, false) => {
                return Err(format!(
                    "without a template, vault-k8s writes the answer of the KV engine, version 2, as a Go map, which has no equivalent; say in the map how the application is to read it: `format: json` (or env, yaml, …) in the entry of {path}"
                ));
            }
            (None, false, true) => Content::Formatted { source, format: "json".to_owned() },
            (None, false, false) => Content::Template { source, template: MAP_TEMPLATE.to_owned() },
        }))
    }

    fn want(&self, secret: &VaultSecret, content: &Content, wants: &mut Wants) {
        let directory =
            secret.volume_path.as_deref().or(self.agent.volume_path.as_deref()).unwrap_or(VOLUME_PATH);
        let key = self.key(secret);
        if let Err(error) = secret.file.parse::<RelativeFile>() {
            wants.problems.push(format!("{key}: {error}"));
            return;
        }
        let mode = match &secret.permissions {
            None => Ok(None),
            Some(text) => i64::from_str_radix(text.trim_start_matches("0o"), 8)
                .map_err(|_| "expected an octal number")
                .and_then(|mode| file_mode(mode, false)),
        };
        let mode = match mode {
            Ok(mode) => mode,
            Err(reason) => {
                let text = secret.permissions.as_deref().unwrap_or_default();
                wants.problems.push(format!(
                    "{}agent-inject-perms-{} is {text:?}: {reason}",
                    self.agent.prefix, secret.name
                ));
                return;
            }
        };
        wants.directories.insert(directory.trim_end_matches('/').to_owned());
        for container in &self.readers {
            wants.files.push(FileWant {
                path: join(directory, &secret.file),
                content: content.clone(),
                mode,
                optional: false,
                container: container.clone(),
                vault_name: Some(secret.name.clone()),
            });
        }
    }

    /// Handles the other annotations.
    fn settings(&self, wants: &mut Wants) {
        wants.is_refreshed |= !self.agent.pre_populate_only;
        if let Some(role) = &self.agent.role {
            match self.map.role(role) {
                Some(identity) => {
                    wants.settings.insert("role", identity.to_owned());
                }
                None => wants.warnings.push(format!(
                    "the Vault role {role} is left out: the identity is that of the service account; to name one, add it under `roles` in the map"
                )),
            }
        }
        for (key, value) in &self.agent.others {
            match settings::mapping(key, value) {
                Mapping::Drop => {}
                Mapping::Set(key) => {
                    wants.settings.insert(key, value.clone());
                }
                Mapping::SetTo(key, value) => {
                    wants.settings.insert(key, value.to_owned());
                }
                Mapping::Interval if value.parse::<Duration>().is_ok() => {
                    wants.settings.insert("refresh-interval", value.clone());
                }
                Mapping::Warn(what) => wants.warnings.push(format!("{}{key}: {what}", self.agent.prefix)),
                Mapping::Interval => wants.warnings.push(format!(
                    "{}{key}: {value:?} cannot be taken over as refresh-interval; the default is used",
                    self.agent.prefix
                )),
                Mapping::Refuse(what) => wants.problems.push(format!("{}{key}: {what}", self.agent.prefix)),
            }
        }
    }
}

/// The field names from the map.
struct MapFields<'a, 'r> {
    reader: &'r Reader<'a>,
}

impl MapFields<'_, '_> {
    fn target(&self, path: &str) -> Option<VaultTarget> {
        let reader = self.reader;
        reader.map.vault(reader.other("namespace"), path, reader.namespace).ok()
    }
}

impl Fields for MapFields<'_, '_> {
    fn field(&self, path: &str, name: &str) -> String {
        self.target(path).map_or_else(|| name.to_owned(), |target| target.field(name).to_owned())
    }

    fn has_renamed(&self, path: &str) -> bool {
        let fields = |target| match target {
            VaultTarget::Secret { fields, .. } | VaultTarget::Dynamic { fields, .. } => fields,
        };
        self.target(path).map(fields).is_some_and(|fields: BTreeMap<_, _>| !fields.is_empty())
    }
}
