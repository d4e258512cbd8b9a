//! The manifests of the page, and the processes that the agent's images create from their
//! containers.

use std::fs;

use serde_json::Value;

/// A pod template of the page.
pub(crate) struct Page {
    spec: Value,
}

/// One of its containers, with the settings of its image.
pub(crate) struct Container {
    pub(crate) name: String,
    /// As in the manifest, in order.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<Mount>,
    /// The image's user.
    pub(crate) uid: u32,
    /// The arguments of the image's entry point, without the program.
    pub(crate) arguments: Vec<String>,
}

/// The mount path of a volume in a container.
pub(crate) struct Mount {
    pub(crate) volume: String,
    pub(crate) path: String,
    pub(crate) is_read_only: bool,
}

/// The token that a volume projects.
pub(crate) struct ProjectedToken {
    pub(crate) audience: String,
    pub(crate) seconds: i64,
    pub(crate) file: String,
}

impl Page {
    /// Reads a Deployment from `tests/manifests`, which the injector's tests use, too.
    pub(crate) fn read(file: &str) -> Self {
        let text = repository_file(&format!("tests/manifests/{file}"));
        let mut manifest: Value = serde_saphyr::from_str(&text).unwrap();
        Self { spec: manifest.pointer_mut("/spec/template/spec").unwrap().take() }
    }

    /// A container or an init container.
    pub(crate) fn container(&self, name: &str) -> Container {
        let lists =
            ["initContainers", "containers"].into_iter().filter_map(|list| self.spec[list].as_array());
        let container = lists.flatten().find(|container| container["name"] == name).unwrap();
        let mounts = list(container, "volumeMounts").iter().map(|mount| Mount {
            volume: text(mount, "name"),
            path: text(mount, "mountPath"),
            is_read_only: mount["readOnly"] == true,
        });
        let env = list(container, "env").iter().map(|entry| (text(entry, "name"), text(entry, "value")));
        let (uid, arguments) = image(&text(container, "image"));
        Container { name: name.to_owned(), env: env.collect(), mounts: mounts.collect(), uid, arguments }
    }

    pub(crate) fn service_account(&self) -> String {
        text(&self.spec, "serviceAccountName")
    }

    pub(crate) fn shares_processes(&self) -> bool {
        self.spec["shareProcessNamespace"] == true
    }

    /// The in-memory volumes.
    pub(crate) fn memory_volumes(&self) -> Vec<String> {
        let volumes = list(&self.spec, "volumes").iter();
        volumes
            .filter(|volume| volume["emptyDir"]["medium"] == "Memory")
            .map(|volume| text(volume, "name"))
            .collect()
    }

    /// The volumes with a service account's token.
    pub(crate) fn token_volumes(&self) -> Vec<(String, ProjectedToken)> {
        let volumes = list(&self.spec, "volumes").iter();
        let tokens = volumes.filter_map(|volume| {
            let token = volume.pointer("/projected/sources/0/serviceAccountToken")?;
            let token = ProjectedToken {
                audience: text(token, "audience"),
                seconds: token["expirationSeconds"].as_i64().unwrap(),
                file: text(token, "path"),
            };
            Some((text(volume, "name"), token))
        });
        tokens.collect()
    }
}

/// User and arguments of one of the project's images, from its Dockerfile; defaults for other
/// images.
fn image(name: &str) -> (u32, Vec<String>) {
    let Some(target) = name.strip_prefix("scailabs/scaivault-") else { return (0, Vec::new()) };
    let target = target.split(':').next().unwrap();
    let file = repository_file("Dockerfile");
    let stage =
        file.split("\nFROM ").find(|stage| stage.lines().next().unwrap() == format!("agent AS {target}"));
    let stage = stage.unwrap_or_else(|| panic!("the Dockerfile has no target {target}"));
    let instruction = |word: &str| stage.lines().find_map(|line| line.strip_prefix(word)).unwrap().trim();
    let uid = instruction("USER").split(':').next().unwrap().parse().unwrap();
    let entry_point: Vec<String> = serde_json::from_str(instruction("ENTRYPOINT")).unwrap();
    (uid, entry_point[1..].to_vec())
}

fn repository_file(path: &str) -> String {
    fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field}: {value}")).to_owned()
}
