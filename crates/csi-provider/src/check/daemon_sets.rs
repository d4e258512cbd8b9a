//! Checks the arguments of the driver and of this provider in their `DaemonSets`. Pure.

use std::path::Path;

use serde::Deserialize;

use super::Finding;

/// The version of the driver with which this provider was tested. Older ones update volumes in another way.
const TESTED: (u64, u64) = (1, 6);
/// The directories of providers if the driver's arguments set none.
const DEFAULT_DIRS: [&str; 2] =
    ["/var/run/secrets-store-csi-providers", "/etc/kubernetes/secrets-store-csi-providers"];

/// The fields of `DaemonSets` that are checked.
#[derive(Debug, Deserialize)]
pub(super) struct DaemonSets {
    items: Vec<DaemonSet>,
}

#[derive(Debug, Deserialize)]
struct DaemonSet {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default)]
    namespace: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Spec {
    template: Template,
}

#[derive(Debug, Deserialize)]
struct Template {
    spec: PodSpec,
}

#[derive(Debug, Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Container {
    #[serde(default)]
    image: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
}

impl Container {
    /// The values of an argument, as `--name=value`, `-name=value` or `--name value`; `true` for one without
    /// a value.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let words: Vec<_> = self.command.iter().chain(&self.args).map(String::as_str).collect();
        (0..words.len()).filter_map(move |index| {
            let word = words[index].strip_prefix("--").or_else(|| words[index].strip_prefix('-'))?;
            match word.strip_prefix(name)? {
                "" => Some(
                    words.get(index + 1).filter(|next| !next.starts_with('-')).copied().unwrap_or("true"),
                ),
                rest => rest.strip_prefix('='),
            }
        })
    }

    fn is_driver(&self) -> bool {
        self.values("provider-volume").next().is_some() || self.image.contains("csi-secrets-store/driver")
    }

    /// The directories in which the driver looks for sockets.
    fn provider_dirs(&self) -> Vec<&str> {
        let [first, additional] = DEFAULT_DIRS;
        let named = self.values("provider-volume").last().unwrap_or(first);
        let more = self.values("additional-provider-volume-paths").last().unwrap_or(additional);
        [named].into_iter().chain(more.split(',')).map(|dir| dir.trim().trim_end_matches('/')).collect()
    }

    /// The version of the image, from its tag.
    fn version(&self) -> Option<(u64, u64)> {
        let name = self.image.split('@').next()?;
        let tag = name.rsplit('/').next()?.split_once(':')?.1;
        let mut numbers = tag.trim_start_matches('v').split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

/// Checks the driver's process and the sockets of this provider. `republishes` is the field
/// `requiresRepublish` of the `CSIDriver`.
pub(super) fn check(sets: &DaemonSets, republishes: bool) -> Vec<Finding> {
    let containers = || {
        sets.items.iter().flat_map(|set| {
            let Metadata { namespace, name } = &set.metadata;
            set.spec
                .template
                .spec
                .containers
                .iter()
                .map(move |container| (format!("{namespace}/{name}"), container))
        })
    };
    let drivers: Vec<_> = containers().filter(|(_, container)| container.is_driver()).collect();
    if drivers.is_empty() {
        return vec![Finding::Limited(
            "no DaemonSet of the driver is found, so its version, rotation and directories are not checked"
                .to_owned(),
        )];
    }
    let mut findings = Vec::new();
    for (set, driver) in &drivers {
        findings.push(check_version(set, driver));
        findings.extend(check_rotation(set, driver, republishes));
    }
    let dirs: Vec<_> = drivers.iter().flat_map(|(_, driver)| driver.provider_dirs()).collect();
    let providers = containers().filter(|(_, container)| container.image.contains("scaivault-csi-provider"));
    let sockets: Vec<_> = providers
        .flat_map(|(set, provider)| provider.values("socket").map(move |socket| (set.clone(), socket)))
        .collect();
    if sockets.is_empty() {
        findings.push(Finding::Missing(
            "no DaemonSet of scaivault-csi-provider is found; install the chart secrets-store-csi-driver-scaivault".to_owned(),
        ));
    }
    findings.extend(sockets.into_iter().map(|(set, socket)| check_socket(&set, socket, &dirs)));
    findings
}

fn check_version(set: &str, driver: &Container) -> Finding {
    match driver.version() {
        Some(version) if version >= TESTED => {
            Finding::Met(format!("the driver {set} has the version {}.{}", version.0, version.1))
        }
        Some(version) => Finding::Limited(format!(
            "the driver {set} has the version {}.{}; the provider was tested with {}.{}, and older versions update volumes differently; update the driver",
            version.0, version.1, TESTED.0, TESTED.1
        )),
        None => Finding::Limited(format!(
            "the tag of the image of the driver {set} is not a version, so the version is not checked"
        )),
    }
}

/// Both are needed: the field of the `CSIDriver` makes the kubelet call again, and the argument makes the
/// driver handle that call.
fn check_rotation(set: &str, driver: &Container, republishes: bool) -> Option<Finding> {
    let rotates = driver.values("enable-secret-rotation").last() == Some("true");
    let interval = driver.values("rotation-poll-interval").last().unwrap_or("2m");
    match (rotates, republishes) {
        (true, true) => Some(Finding::Met(format!(
            "the driver {set} updates a volume that has not changed for {interval} (--rotation-poll-interval)"
        ))),
        (false, true) => Some(Finding::Limited(format!(
            "the driver {set} runs without --enable-secret-rotation=true, so files are never updated; set `enableSecretRotation=true` in the values of the driver's chart"
        ))),
        (true, false) => Some(Finding::Limited(format!(
            "the driver {set} runs with --enable-secret-rotation=true, but its CSIDriver has no `requiresRepublish: true`, so files are never updated; set it"
        ))),
        // Reported for the CSIDriver already.
        (false, false) => None,
    }
}

fn check_socket(set: &str, socket: &str, dirs: &[&str]) -> Finding {
    let dir = Path::new(socket).parent().and_then(Path::to_str).unwrap_or_default();
    if dirs.contains(&dir) {
        Finding::Met(format!(
            "the driver searches the directory of the socket {socket} of the provider {set}"
        ))
    } else {
        Finding::Missing(format!(
            "the driver does not search the directory of the socket {socket} of the provider {set}; it searches {}; set `socketDirs` of the provider's chart to one of these",
            dirs.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(driver: &[&str], image: &str, socket: &str, republishes: bool) -> Vec<Finding> {
        let set = |name: &str, image: &str, args: &[&str]| {
            let containers =
                json!([{"image": "registrar:v2", "args": ["--v=5"]}, {"image": image, "args": args}]);
            let template = json!({"spec": {"containers": containers}});
            json!({"metadata": {"namespace": "kube-system", "name": name}, "spec": {"template": template}})
        };
        let socket = format!("--socket={socket}");
        let items = json!({"items": [
            set("driver", image, driver),
            set("provider", "scailabs/scaivault-csi-provider:0.1.0", &["serve", &socket]),
            set("other", "example/other:1", &["--socket=/a/other.sock"]),
        ]});
        check(&serde_json::from_value(items).unwrap(), republishes)
    }

    const DRIVER: [&str; 3] = [
        "--provider-volume=/var/run/secrets-store-csi-providers",
        "--enable-secret-rotation=true",
        "--rotation-poll-interval=2m",
    ];
    const IMAGE: &str = "registry.example/csi-secrets-store/driver:v1.6.0@sha256:00";
    const SOCKET: &str = "/var/run/secrets-store-csi-providers/scaivault.sock";

    #[test]
    fn a_driver_as_tested_has_no_findings() {
        let findings = checked(&DRIVER, IMAGE, SOCKET, true);
        assert_eq!(findings.len(), 3);
        assert!(findings.iter().all(|finding| matches!(finding, Finding::Met(_))), "{findings:?}");
    }

    #[test]
    fn reasons_for_missing_updates_are_reported() {
        let said = |driver: &[&str], image, socket, republishes| {
            let findings = checked(driver, image, socket, republishes);
            findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let old = said(&DRIVER, "registry.example/csi-secrets-store/driver:v1.4.8", SOCKET, true);
        assert!(old.contains("warning  the driver kube-system/driver has the version 1.4;"), "{old}");
        let off = said(&["--provider-volume", "/var/run/secrets-store-csi-providers"], IMAGE, SOCKET, true);
        assert!(off.contains("runs without --enable-secret-rotation=true"), "{off}");
        let alone = said(&DRIVER, IMAGE, SOCKET, false);
        assert!(
            alone.contains("has no `requiresRepublish: true`, so files are never updated; set it"),
            "{alone}"
        );
        let elsewhere = said(&DRIVER, IMAGE, "/srv/providers/scaivault.sock", true);
        assert!(
            elsewhere
                .contains("missing  the driver does not search the directory of the socket /srv/providers/"),
            "{elsewhere}"
        );
        assert!(elsewhere.contains("/etc/kubernetes/secrets-store-csi-providers"), "{elsewhere}");
    }

    #[test]
    fn a_cluster_without_daemon_sets_is_no_mistake() {
        let findings = check(&serde_json::from_value(json!({"items": []})).unwrap(), true);
        assert!(matches!(findings.as_slice(), [Finding::Limited(_)]), "{findings:?}");
    }
}
