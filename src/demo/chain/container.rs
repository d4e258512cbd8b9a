//! Emulates the kubelet: runs an injected container as a process on this machine, with directories
//! as volumes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::vault::Vault;

/// The executable parts of a container.
pub(super) struct Container {
    /// Its command and args.
    pub(super) program: Vec<String>,
    /// The command of the `postStart` hook.
    pub(super) post_start: Vec<String>,
    /// Its environment, with paths translated to this machine.
    pub(super) variables: Vec<(String, String)>,
}

impl Container {
    /// The init container of the pod with that name.
    pub(super) fn of_pod(pod: &Value, name: &str, volumes: &Path) -> anyhow::Result<Self> {
        let container = find(pod, "/spec/initContainers", name)?;
        let mounts = Mounts::new(container, volumes)?;
        let spec = Spec::deserialize(container).with_context(|| format!("the container {name}"))?;
        let variable = |EnvVar { name, value, value_from }| {
            let value = match value_from {
                Some(source) => source.field(pod),
                // Undoes the kubelet's escape of `$`; the injector writes no reference to another
                // variable.
                None => mounts.translate(&value.replace("$$", "$")),
            };
            (name, value)
        };
        Ok(Self {
            program: [spec.command, spec.args].concat(),
            post_start: spec.lifecycle.post_start.exec.command,
            variables: spec.env.into_iter().map(variable).collect(),
        })
    }
}

/// The mount paths of a container's volumes, and their directories on this machine.
pub(super) struct Mounts(Vec<(String, PathBuf)>);

impl Mounts {
    /// The mounts of the pod's container with that name.
    pub(super) fn of_app(pod: &Value, name: &str, volumes: &Path) -> anyhow::Result<Self> {
        Self::new(find(pod, "/spec/containers", name)?, volumes)
    }

    fn new(container: &Value, volumes: &Path) -> anyhow::Result<Self> {
        let mounts = container.get("volumeMounts").context("the container has no mounts")?;
        let mounts = Vec::<Mount>::deserialize(mounts).context("volumeMounts")?;
        Ok(Self(mounts.into_iter().map(|mount| (mount.mount_path, volumes.join(mount.name))).collect()))
    }

    /// Translates the paths in a text to this machine, if they start a word and are inside a
    /// volume.
    pub(super) fn translate(&self, text: &str) -> String {
        text.split_inclusive(char::is_whitespace).map(|word| self.translate_word(word)).collect()
    }

    fn translate_word(&self, word: &str) -> String {
        let target = Path::new(word.trim_end());
        let of_word = self.0.iter().filter(|(path, _)| target.starts_with(path));
        match of_word.max_by_key(|(path, _)| path.len()) {
            Some((path, directory)) => format!("{}{}", directory.display(), &word[path.len()..]),
            None => word.to_owned(),
        }
    }
}

/// Creates the pod's volumes as directories below `directory`, with the content that a kubelet
/// would write.
pub(super) fn make_volumes(pod: &Value, directory: &Path, vault: &Vault) -> anyhow::Result<usize> {
    let volumes = pod.pointer("/spec/volumes").context("the pod has no volumes")?;
    let volumes = Vec::<Volume>::deserialize(volumes).context("volumes")?;
    for Volume { name, source } in &volumes {
        let volume = directory.join(name);
        fs::create_dir_all(&volume).with_context(|| format!("the volume {name}"))?;
        for (file, content) in source.files(pod, vault)? {
            fs::write(volume.join(file), content).with_context(|| format!("the volume {name}"))?;
        }
    }
    Ok(volumes.len())
}

/// The executable parts of a container.
#[derive(Deserialize)]
struct Spec {
    command: Vec<String>,
    args: Vec<String>,
    env: Vec<EnvVar>,
    lifecycle: Lifecycle,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvVar {
    name: String,
    #[serde(default)]
    value: String,
    value_from: Option<VariableSource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VariableSource {
    field_ref: FieldRef,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldRef {
    field_path: String,
}

impl VariableSource {
    /// The pod's field, such as `metadata.name`; empty if the pod does not have it.
    fn field(&self, pod: &Value) -> String {
        let pointer = format!("/{}", self.field_ref.field_path.replace('.', "/"));
        pod.pointer(&pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycle {
    post_start: Hook,
}

#[derive(Deserialize)]
struct Hook {
    exec: Exec,
}

#[derive(Deserialize)]
struct Exec {
    command: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    name: String,
    mount_path: String,
}

#[derive(Deserialize)]
struct Volume {
    name: String,
    #[serde(flatten)]
    source: Source,
}

/// The kinds of volumes that the injector adds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Source {
    EmptyDir {},
    ConfigMap { items: Vec<Item> },
    Projected { sources: Vec<Projection> },
}

#[derive(Deserialize)]
struct Item {
    path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Projection {
    service_account_token: TokenProjection,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenProjection {
    audience: String,
    expiration_seconds: i64,
    path: String,
}

impl Source {
    /// The names and contents of its files.
    fn files(&self, pod: &Value, vault: &Vault) -> anyhow::Result<Vec<(String, String)>> {
        match self {
            Self::EmptyDir {} => Ok(Vec::new()),
            // The only ConfigMap is that of ScaiVault's CA.
            Self::ConfigMap { items } => {
                let ca_pem = vault.ca_pem()?;
                Ok(items.iter().map(|item| (item.path.clone(), ca_pem.to_owned())).collect())
            }
            Self::Projected { sources } => sources.iter().map(|source| token(source, pod, vault)).collect(),
        }
    }
}

/// The token that the cluster would issue for the pod's service account.
fn token(projection: &Projection, pod: &Value, vault: &Vault) -> anyhow::Result<(String, String)> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or("default");
    let TokenProjection { audience, expiration_seconds, path } = &projection.service_account_token;
    let (namespace, account) = (text("/metadata/namespace"), text("/spec/serviceAccountName"));
    let token = vault.issuer.mint(namespace, account, audience, Timestamp::now(), *expiration_seconds)?;
    Ok((path.clone(), token))
}

fn find<'a>(pod: &'a Value, pointer: &str, name: &str) -> anyhow::Result<&'a Value> {
    let containers = pod.pointer(pointer).and_then(Value::as_array);
    match containers.into_iter().flatten().find(|container| container["name"] == name) {
        Some(container) => Ok(container),
        None => bail!("the pod has no container {name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_in_volumes_are_mapped_to_this_machine() {
        let mounts = Mounts::new(
            &json!({"volumeMounts": [
                {"name": "secrets", "mountPath": "/run/secrets"},
                {"name": "token", "mountPath": "/run/secrets/scaivault", "readOnly": true},
            ]}),
            Path::new("/tmp/demo"),
        )
        .unwrap();
        for (text, expected) in [
            ("/run/secrets", "/tmp/demo/secrets"),
            ("/run/secrets/scaivault/token", "/tmp/demo/token/token"),
            (
                "a/run/secrets -> /run/secrets/a\nb -> /run/secrets/b mode=0400\n",
                "a/run/secrets -> /tmp/demo/secrets/a\nb -> /tmp/demo/secrets/b mode=0400\n",
            ),
            ("/run/secretsomething", "/run/secretsomething"),
            ("/var/run/secrets/a", "/var/run/secrets/a"),
            ("https://127.0.0.1:1", "https://127.0.0.1:1"),
        ] {
            assert_eq!(mounts.translate(text), expected);
        }
    }

    #[test]
    fn a_container_follows_its_manifest() {
        let pod = json!({"metadata": {"name": "shop-1"}, "spec": {"initContainers": [{
            "name": "agent",
            "command": ["/scaivault-agent"],
            "args": ["sidecar"],
            "env": [
                {"name": "A", "value": "/run/x $$"},
                {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            "volumeMounts": [{"name": "x", "mountPath": "/run/x"}],
            "lifecycle": {"postStart": {"exec": {"command": ["/scaivault-agent", "wait"]}}},
        }]}});
        let container = Container::of_pod(&pod, "agent", Path::new("/tmp")).unwrap();
        assert_eq!(container.program, ["/scaivault-agent", "sidecar"]);
        assert_eq!(container.post_start, ["/scaivault-agent", "wait"]);
        let variables = [("A", "/tmp/x $"), ("B", "shop-1")];
        assert_eq!(container.variables, variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(Container::of_pod(&pod, "other", Path::new("/tmp")).is_err());
    }
}
