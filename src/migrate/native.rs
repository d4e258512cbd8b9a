//! Native Secrets: mounted as files, or read as variables.

use std::collections::{BTreeMap, BTreeSet};

use scaivault_contract::VariableName;
use scaivault_usage::{ContainerKind, ContainerRef, Mount, SecretUse, SecretVolume, Via};
use serde_json::Value;

use super::{
    known::KnownKeys,
    map::{KeySource, LookupError, MissingEntry, MovedSecret, PathMap, SecretTarget},
    wants::{Content, FileWant, VariableWant, Wants, join},
};

/// The mode of a Secret's files if the manifest sets none.
const DEFAULT_MODE: i64 = 0o644;

/// Adds what a pod (template) gets from native Secrets.
pub(super) fn add(pod: &Value, namespace: &str, map: &PathMap, known: &KnownKeys, wants: &mut Wants) {
    let mut reader = Reader { pod, namespace, map, known, wants };
    let uses = scaivault_usage::secrets(pod);
    let mut volumes: BTreeMap<&str, Vec<(&SecretUse, &SecretVolume)>> = BTreeMap::new();
    for secret_use in &uses {
        match &secret_use.via {
            Via::Volume(volume) => volumes.entry(&volume.volume).or_default().push((secret_use, volume)),
            Via::Variable { container, variable, key } => {
                reader.variable(secret_use, container, variable, key);
            }
            // Variables are handled below, because later entries and `env` override them.
            Via::AllVariables { .. } | Via::ImagePull => {}
            Via::Storage { volume, driver } => reader.wants.warnings.push(format!(
                "the Secret {} stays: the storage driver {driver} reads it for the volume {volume}",
                secret_use.secret
            )),
        }
    }
    reader.all_variables(&uses);
    for (name, sources) in volumes {
        reader.volume(name, &sources);
    }
}

struct Reader<'a> {
    pod: &'a Value,
    namespace: &'a str,
    map: &'a PathMap,
    known: &'a KnownKeys,
    wants: &'a mut Wants,
}

/// A file of a volume, with its path inside the volume.
struct VolumeFile {
    path: String,
    secret: String,
    key: String,
    source: KeySource,
    mode: i64,
    optional: bool,
}

impl Reader<'_> {
    /// The target of a Secret; `None` if it does not move, or if the target is unknown.
    fn target(&mut self, secret: &str, needs_keys: bool) -> Option<MovedSecret> {
        match self.map.secret(self.namespace, secret) {
            Ok(SecretTarget::Move(moved)) => Some(moved),
            Ok(SecretTarget::Keep) => None,
            Err(LookupError::Rule(reason)) => {
                self.wants.problems.push(format!("the Secret {secret}: {reason}"));
                None
            }
            Err(LookupError::Missing) => {
                let (namespace, name) = (self.namespace.to_owned(), secret.to_owned());
                let is_unknown = needs_keys && self.known.keys(&namespace, &name).is_none();
                self.wants.missing.insert(if is_unknown {
                    MissingEntry::Keys { namespace, name }
                } else {
                    MissingEntry::Secret { namespace, name }
                });
                None
            }
        }
    }

    fn is_kept(&self, secret: &str) -> bool {
        self.map.secret(self.namespace, secret) == Ok(SecretTarget::Keep)
    }

    /// All keys of a Secret, from the map and from the manifests.
    fn keys(&mut self, secret: &str, moved: &MovedSecret) -> Option<BTreeSet<String>> {
        let known = self.known.keys(self.namespace, secret).into_iter().flatten();
        let keys: BTreeSet<String> = moved.listed_keys().map(str::to_owned).chain(known.cloned()).collect();
        if keys.is_empty() {
            let (namespace, name) = (self.namespace.to_owned(), secret.to_owned());
            self.wants.missing.insert(MissingEntry::Keys { namespace, name });
            return None;
        }
        Some(keys)
    }

    /// The new location of a key.
    fn source(&mut self, secret: &str, key: &str, moved: &MovedSecret) -> Option<KeySource> {
        match moved.key(key) {
            Ok(source) => {
                self.wants.moved.insert((secret.to_owned(), key.to_owned()), source.clone());
                Some(source)
            }
            Err(reason) => {
                self.wants.problems.push(format!("the key {key} of the Secret {secret}: {reason}"));
                None
            }
        }
    }

    fn variable(&mut self, secret_use: &SecretUse, container: &ContainerRef, variable: &str, key: &str) {
        if container.kind == ContainerKind::Ephemeral {
            return;
        }
        let secret = &secret_use.secret;
        let Some(moved) = self.target(secret, false) else { return };
        let Some(source) = self.source(secret, key, &moved) else { return };
        self.want_variable(variable, secret, key, &source, container);
        if secret_use.optional {
            self.wants.warnings.push(format!(
                "the variable {variable} was optional; with inject-env, the pod does not start without it"
            ));
        }
        self.wants.removals.insert(secret_use.pointer.clone());
    }

    fn want_variable(
        &mut self,
        variable: &str,
        secret: &str,
        key: &str,
        source: &KeySource,
        container: &ContainerRef,
    ) {
        if source.is_base64 {
            self.wants.problems.push(format!(
                "the key {key} of the Secret {secret} is base64 in the map, but a variable gets \
                 the field's text unchanged; remove `base64`, or read it from a file"
            ));
        }
        self.wants.variables.push(VariableWant {
            name: variable.to_owned(),
            source: source.secret.to_string(),
            container: container.clone(),
        });
    }

    /// Handles `envFrom`: later sources override earlier ones, and `env` overrides all.
    fn all_variables(&mut self, uses: &[SecretUse]) {
        let mut found: BTreeMap<(ContainerRef, String), (String, String, KeySource)> = BTreeMap::new();
        for secret_use in uses {
            let Via::AllVariables { container, prefix } = &secret_use.via else { continue };
            if container.kind == ContainerKind::Ephemeral {
                continue;
            }
            let secret = &secret_use.secret;
            let Some(moved) = self.target(secret, true) else { continue };
            let Some(keys) = self.keys(secret, &moved) else { continue };
            let own = self.own_variables(container);
            for key in keys {
                let variable = format!("{prefix}{key}");
                if own.contains(&variable) {
                    continue;
                }
                if variable.parse::<VariableName>().is_err() {
                    self.wants.warnings.push(format!(
                        "the key {key} of the Secret {secret} does not become a variable: \
                         {variable} is not the name of a variable"
                    ));
                    continue;
                }
                if let Some(source) = self.source(secret, &key, &moved) {
                    found.insert((container.clone(), variable), (secret.clone(), key, source));
                }
            }
            if secret_use.optional {
                self.wants.warnings.push(format!(
                    "the variables of the Secret {secret} were optional; with inject-env, the pod does not start without them"
                ));
            }
            self.wants.removals.insert(secret_use.pointer.clone());
        }
        for ((container, variable), (secret, key, source)) in found {
            self.want_variable(&variable, &secret, &key, &source, &container);
        }
    }

    /// The variables in `env` of a container.
    fn own_variables(&self, container: &ContainerRef) -> BTreeSet<String> {
        let all = super::wants::containers(self.pod);
        let value = all.iter().find(|(other, ..)| other == container).map(|(_, _, value)| *value);
        let env = value.and_then(|value| value.get("env")).and_then(Value::as_array);
        let names = env.into_iter().flatten().filter_map(|variable| variable.get("name")?.as_str());
        names.map(str::to_owned).collect()
    }

    /// Handles a volume with Secrets as sources.
    fn volume(&mut self, name: &str, sources: &[(&SecretUse, &SecretVolume)]) {
        let Some((first, volume)) = sources.first() else { return };
        let kept = sources.iter().filter(|(secret_use, _)| self.is_kept(&secret_use.secret)).count();
        if kept == sources.len() {
            return;
        }
        let pointer = volume_pointer(&first.pointer);
        if kept > 0 {
            self.wants.problems.push(format!(
                "the projected volume {name} has Secrets that move and Secrets with `keep: true`; split the volume, or keep all of them"
            ));
            return;
        }
        let others: Vec<String> = self.other_sources(&pointer).into_iter().collect();
        if !others.is_empty() {
            self.wants.problems.push(format!(
                "the projected volume {name} also has {}, but the injector writes only secrets; \
                 move them to a separate volume",
                others.join(" and ")
            ));
            return;
        }
        let is_expression = |mount: &&Mount| {
            self.pod.pointer(&mount.pointer).is_some_and(|mount| mount.get("subPathExpr").is_some())
        };
        if let Some(mount) = volume.mounts.iter().find(is_expression) {
            self.wants.problems.push(format!(
                "the container {} mounts the volume {name} with subPathExpr, whose file is not known before the pod runs; mount it with subPath or whole",
                mount.container.name
            ));
            return;
        }
        let (mut files, mut is_complete) = (Vec::new(), true);
        for (secret_use, volume) in sources {
            is_complete &= self.files(secret_use, volume, &mut files);
        }
        if !is_complete {
            return;
        }
        for mount in volume.mounts.iter().filter(|mount| mount.container.kind != ContainerKind::Ephemeral) {
            self.mount(name, mount, &files);
        }
        self.wants.removals.insert(pointer);
    }

    /// The kinds of sources of a projected volume other than Secrets.
    fn other_sources(&self, pointer: &str) -> BTreeSet<String> {
        let volume = self.pod.pointer(pointer);
        let sources =
            volume.and_then(|volume| volume.pointer("/projected/sources")).and_then(Value::as_array);
        let kinds = sources.into_iter().flatten().filter_map(|source| source.as_object()?.keys().next());
        kinds.filter(|kind| *kind != "secret").cloned().collect()
    }

    /// Adds the files of one Secret in a volume. Returns whether all of them are known.
    fn files(&mut self, secret_use: &SecretUse, volume: &SecretVolume, files: &mut Vec<VolumeFile>) -> bool {
        let secret = &secret_use.secret;
        let by_sub_path = volume.items.is_empty()
            && !volume.mounts.is_empty()
            && volume.mounts.iter().all(|mount| mount.sub_path.is_some());
        let needs_keys = volume.items.is_empty() && !by_sub_path && !volume.mounts.is_empty();
        let Some(moved) = self.target(secret, needs_keys) else { return false };
        let volume_mode = volume.default_mode.unwrap_or(DEFAULT_MODE);
        let items: Vec<(String, String, i64)> = if by_sub_path {
            let keys: BTreeSet<_> = volume.mounts.iter().filter_map(|mount| mount.sub_path.clone()).collect();
            keys.into_iter().map(|key| (key.clone(), key, volume_mode)).collect()
        } else if needs_keys {
            let Some(keys) = self.keys(secret, &moved) else { return false };
            keys.into_iter().map(|key| (key.clone(), key, volume_mode)).collect()
        } else {
            let items = volume.items.iter();
            items
                .map(|item| (item.key.clone(), item.path.clone(), item.mode.unwrap_or(volume_mode)))
                .collect()
        };
        for (key, path, mode) in items {
            let Some(source) = self.source(secret, &key, &moved) else { return false };
            let (secret, optional) = (secret.clone(), secret_use.optional);
            files.push(VolumeFile { path, secret, key, source, mode, optional });
        }
        true
    }

    fn mount(&mut self, volume: &str, mount: &Mount, files: &[VolumeFile]) {
        let Mount { container, pointer, path, sub_path, read_only: _ } = mount;
        let mut found = Vec::new();
        let mut is_directory = sub_path.is_none();
        for file in files {
            let place = match sub_path {
                None => Some(join(path, &file.path)),
                Some(sub_path) if file.path == *sub_path => Some(path.clone()),
                Some(sub_path) => {
                    file.path.strip_prefix(&format!("{}/", sub_path.trim_end_matches('/'))).map(|below| {
                        is_directory = true;
                        join(path, below)
                    })
                }
            };
            found.extend(place.map(|place| (place, file)));
        }
        if found.is_empty()
            && let Some(sub_path) = sub_path
        {
            self.wants.problems.push(format!(
                "the container {} mounts subPath {sub_path:?} of the volume {volume}, and no key of it is a file of that name; correct the subPath, or list the key in the map",
                container.name
            ));
            return;
        }
        if is_directory {
            self.wants.directories.insert(path.trim_end_matches('/').to_owned());
        }
        // The kubelet updates directories, but never a mount with subPath.
        self.wants.is_refreshed |= sub_path.is_none() && !found.is_empty();
        for (path, file) in found {
            self.want_file(path, file, container);
        }
        self.wants.removals.insert(pointer.clone());
    }

    fn want_file(&mut self, path: String, file: &VolumeFile, container: &ContainerRef) {
        let VolumeFile { path: _, secret, key, source, mode, optional } = file;
        let mode = match file_mode(*mode, self.pod.pointer("/spec/securityContext/fsGroup").is_some()) {
            Ok(mode) => mode,
            Err(reason) => {
                self.wants.problems.push(format!(
                    "{path} (key {key} of the Secret {secret}) has the mode {mode:04o}: {reason}"
                ));
                return;
            }
        };
        self.wants.files.push(FileWant {
            path,
            content: Content::Secret { source: source.secret.to_string(), is_base64: source.is_base64 },
            mode,
            optional: *optional,
            container: container.clone(),
            vault_name: None,
        });
    }
}

/// The pointer to the volume of a use, whose pointer may refer to a source in it.
fn volume_pointer(pointer: &str) -> String {
    pointer.split('/').take(4).collect::<Vec<_>>().join("/")
}

/// The value of `secret-mode-`; `None` for the default. With an fsGroup, the kubelet lets the group
/// read regardless of the mode.
pub(super) fn file_mode(mode: i64, has_group: bool) -> Result<Option<u32>, &'static str> {
    let mode = u32::try_from(mode).ok().filter(|mode| *mode <= 0o777).ok_or("expected 0 to 0777")?;
    if mode & 0o111 != 0 {
        return Err(
            "the injector writes no executable files; start the program by its interpreter, or keep the Secret (`keep: true` in the map)",
        );
    }
    if mode & 0o400 == 0 {
        return Err("its owner must be able to read it; add 0400");
    }
    let group = if has_group { 0o040 } else { 0 };
    let mode = mode & 0o444 | group;
    Ok((mode != 0o444).then_some(mode))
}
