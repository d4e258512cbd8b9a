//! The injector writes what ScaiVault's own Kubernetes page tells users to write by hand.
//!
//! Each manifest of the page is stripped of the parts written for ScaiVault, gets annotations
//! instead, and is injected. The result must equal the page's manifest, except for differences that
//! are listed here with their reasons; a listed difference that does not occur fails as well.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use scaivault_inject::{
    Context, Decision, InjectorConfig, KubeVersion, Namespace, PodView, Settings, decide,
    manifest::pod_pointer,
};
use scaivault_testkit::{apply, key};
use serde_json::{Value, json};

/// One pattern of the page.
struct Pattern {
    manifest: &'static str,
    /// The manually written container, and the list that contains it.
    agent: (&'static str, &'static str),
    annotations: &'static [(&'static str, &'static str)],
    /// Names and paths of the page, with those of the injector.
    moved: &'static [(&'static str, &'static str)],
    /// Other differences: `+` only injected, `-` only on the page, `~` another value. An entry
    /// covers everything below it.
    differences: &'static [(&'static str, &'static str)],
    /// Paths that must be equal: a guard against a comparison that compares nothing.
    equal: &'static [&'static str],
}

const INIT_CONTAINER: Pattern = Pattern {
    manifest: "init-container.yaml",
    agent: ("initContainers", "fetch-secrets"),
    annotations: &[
        ("inject-secret-db.json", "environments/production/billing/database"),
        ("inject-secret-stripe.json", "environments/production/billing/stripe"),
    ],
    moved: &[
        ("spec.initContainers[fetch-secrets]", "spec.initContainers[scaivault-init]"),
        ("spec.volumes[secrets]", "spec.volumes[scaivault-secrets]"),
        ("spec.volumes[sv-token]", "spec.volumes[scaivault-token]"),
    ],
    differences: &[
        ("+ metadata.annotations.scaivault.scailabs.ai/inject-secret-db.json", "asked for"),
        ("+ metadata.annotations.scaivault.scailabs.ai/inject-secret-stripe.json", "asked for"),
        ("+ metadata.annotations.scaivault.scailabs.ai/status", "says that it was done"),
        ("+ metadata.annotations.scaivault.scailabs.ai/receipt", "makes detach exact"),
        ("+ spec.initContainers[scaivault-init].command", "an image's own entry point may change"),
        ("+ spec.initContainers[scaivault-init].args", "an image's own entry point may change"),
        ("+ spec.initContainers[scaivault-init].securityContext", "passes Pod Security restricted"),
        ("+ spec.initContainers[scaivault-init].resources", "quotas and limit ranges want them"),
        (
            "+ spec.initContainers[scaivault-init].volumeMounts[scaivault-token, 2nd]",
            "keeps the API server's own token out",
        ),
        ("+ spec.volumes[scaivault-secrets].emptyDir.sizeLimit", "memory without a limit is the node's"),
    ],
    equal: &[
        "spec.initContainers[scaivault-init].image",
        "spec.initContainers[scaivault-init].env[SCAIVAULT_URL].value",
        "spec.initContainers[scaivault-init].env[SCAIVAULT_TOKEN_FILE].value",
        "spec.initContainers[scaivault-init].env[SECRETS].value",
        "spec.initContainers[scaivault-init].volumeMounts[scaivault-secrets].mountPath",
        "spec.initContainers[scaivault-init].volumeMounts[scaivault-token].mountPath",
        "spec.initContainers[scaivault-init].volumeMounts[scaivault-token].readOnly",
        "spec.containers[app].volumeMounts[scaivault-secrets].mountPath",
        "spec.containers[app].volumeMounts[scaivault-secrets].readOnly",
        "spec.volumes[scaivault-secrets].emptyDir.medium",
        "spec.volumes[scaivault-token].projected.sources[0].serviceAccountToken.audience",
        "spec.volumes[scaivault-token].projected.sources[0].serviceAccountToken.expirationSeconds",
        "spec.volumes[scaivault-token].projected.sources[0].serviceAccountToken.path",
    ],
};

const SIDECAR: Pattern = Pattern {
    manifest: "sidecar.yaml",
    agent: ("containers", "scaivault-sidecar"),
    annotations: &[
        ("inject-secret-db.json", "environments/production/billing/database"),
        ("inject-secret-stripe.json", "environments/production/billing/stripe"),
        ("refresh-interval", "5m"),
        ("reload-signal", "SIGHUP"),
        ("reload-target", "billing"),
    ],
    moved: &[
        // A native sidecar: it is ready before the app starts, and ends after it.
        ("spec.containers[scaivault-sidecar]", "spec.initContainers[scaivault-sidecar]"),
        ("spec.volumes[secrets]", "spec.volumes[scaivault-secrets]"),
        ("spec.volumes[sv-token]", "spec.volumes[scaivault-token]"),
    ],
    differences: &[
        ("+ metadata.annotations.scaivault.scailabs.ai/inject-secret-db.json", "asked for"),
        ("+ metadata.annotations.scaivault.scailabs.ai/inject-secret-stripe.json", "asked for"),
        ("+ metadata.annotations.scaivault.scailabs.ai/refresh-interval", "asked for"),
        ("+ metadata.annotations.scaivault.scailabs.ai/reload-signal", "asked for"),
        ("+ metadata.annotations.scaivault.scailabs.ai/reload-target", "asked for"),
        ("+ metadata.annotations.scaivault.scailabs.ai/status", "says that it was done"),
        ("+ metadata.annotations.scaivault.scailabs.ai/receipt", "makes detach exact"),
        ("+ spec.initContainers[scaivault-sidecar].restartPolicy", "makes it a native sidecar"),
        ("+ spec.initContainers[scaivault-sidecar].lifecycle", "the app waits for its files"),
        ("+ spec.initContainers[scaivault-sidecar].command", "an image's own entry point may change"),
        ("+ spec.initContainers[scaivault-sidecar].args", "an image's own entry point may change"),
        (
            "+ spec.initContainers[scaivault-sidecar].env[SCAIVAULT_TOKEN_FILE]",
            "the page leaves it to the image",
        ),
        (
            "+ spec.initContainers[scaivault-sidecar].env[SCAIVAULT_REVOKE_DELAY]",
            "the kubelet stops a native sidecar after the app",
        ),
        (
            "+ spec.initContainers[scaivault-sidecar].securityContext",
            "root with KILL alone, to signal any app",
        ),
        ("+ spec.initContainers[scaivault-sidecar].resources", "quotas and limit ranges want them"),
        (
            "+ spec.initContainers[scaivault-sidecar].volumeMounts[scaivault-token, 2nd]",
            "keeps the API server's own token out",
        ),
        ("+ spec.volumes[scaivault-secrets].emptyDir.sizeLimit", "memory without a limit is the node's"),
    ],
    equal: &[
        "spec.shareProcessNamespace",
        "spec.initContainers[scaivault-sidecar].image",
        "spec.initContainers[scaivault-sidecar].env[SCAIVAULT_URL].value",
        "spec.initContainers[scaivault-sidecar].env[WATCH_PATHS].value",
        "spec.initContainers[scaivault-sidecar].env[REFRESH_INTERVAL].value",
        "spec.initContainers[scaivault-sidecar].env[RELOAD_SIGNAL].value",
        "spec.initContainers[scaivault-sidecar].env[RELOAD_TARGET].value",
        "spec.initContainers[scaivault-sidecar].volumeMounts[scaivault-secrets].mountPath",
        "spec.initContainers[scaivault-sidecar].volumeMounts[scaivault-token].mountPath",
        "spec.containers[app].volumeMounts[scaivault-secrets].mountPath",
        "spec.volumes[scaivault-secrets].emptyDir.medium",
        "spec.volumes[scaivault-token].projected.sources[0].serviceAccountToken.audience",
        "spec.volumes[scaivault-token].projected.sources[0].serviceAccountToken.expirationSeconds",
    ],
};

const DYNAMIC: Pattern = Pattern {
    manifest: "sidecar-with-dynamic-credentials.yaml",
    agent: ("containers", "scaivault-sidecar"),
    annotations: &[("inject-dynamic-db.json", "engine=postgres-prod role=readonly ttl=2h")],
    moved: SIDECAR.moved,
    differences: &[
        ("+ metadata.annotations.scaivault.scailabs.ai/inject-dynamic-db.json", "asked for"),
        ("+ metadata.annotations.scaivault.scailabs.ai/status", "says that it was done"),
        ("+ metadata.annotations.scaivault.scailabs.ai/receipt", "makes detach exact"),
        ("+ spec.initContainers[scaivault-sidecar].restartPolicy", "makes it a native sidecar"),
        ("+ spec.initContainers[scaivault-sidecar].lifecycle", "the app waits for its files"),
        ("+ spec.initContainers[scaivault-sidecar].command", "an image's own entry point may change"),
        ("+ spec.initContainers[scaivault-sidecar].args", "an image's own entry point may change"),
        (
            "+ spec.initContainers[scaivault-sidecar].env[SCAIVAULT_TOKEN_FILE]",
            "the page leaves it to the image",
        ),
        ("+ spec.initContainers[scaivault-sidecar].env[REFRESH_INTERVAL]", "the page leaves it to the image"),
        (
            "+ spec.initContainers[scaivault-sidecar].env[SCAIVAULT_REVOKE_DELAY]",
            "the kubelet stops a native sidecar after the app",
        ),
        (
            "+ spec.initContainers[scaivault-sidecar].env[SCAIVAULT_STATE_DIR]",
            "a restart of the sidecar makes no second user",
        ),
        ("+ spec.initContainers[scaivault-sidecar].volumeMounts[scaivault-state]", "for the same"),
        ("+ spec.volumes[scaivault-state]", "for the same"),
        ("+ spec.initContainers[scaivault-sidecar].securityContext", "passes Pod Security restricted"),
        ("+ spec.initContainers[scaivault-sidecar].resources", "quotas and limit ranges want them"),
        (
            "+ spec.initContainers[scaivault-sidecar].volumeMounts[scaivault-token, 2nd]",
            "keeps the API server's own token out",
        ),
        ("+ spec.volumes[scaivault-secrets].emptyDir.sizeLimit", "memory without a limit is the node's"),
    ],
    equal: &[
        "spec.initContainers[scaivault-sidecar].image",
        "spec.initContainers[scaivault-sidecar].env[SCAIVAULT_URL].value",
        "spec.initContainers[scaivault-sidecar].env[DYNAMIC].value",
        "spec.initContainers[scaivault-sidecar].volumeMounts[scaivault-secrets].mountPath",
        "spec.containers[app].volumeMounts[scaivault-secrets].mountPath",
        "spec.volumes[scaivault-secrets].emptyDir.medium",
    ],
};

#[test]
fn the_init_container_of_the_page() {
    check(&INIT_CONTAINER);
}

#[test]
fn the_sidecar_of_the_page() {
    check(&SIDECAR);
}

#[test]
fn the_sidecar_with_dynamic_credentials_of_the_page() {
    check(&DYNAMIC);
}

/// The sidecar that may signal any app is the only container that is not restricted; KILL is its
/// only capability.
#[test]
fn the_sidecar_that_signals_is_root_with_kill_alone() {
    let injected = inject(&annotated(&stripped(&SIDECAR), &SIDECAR));
    let context = &injected["spec"]["initContainers"][0]["securityContext"];
    assert_eq!(context["runAsUser"], 0);
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"], "add": ["KILL"]}));
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
}

#[test]
fn annotations_on_top_of_the_hand_written_block() {
    for pattern in [&INIT_CONTAINER, &SIDECAR, &DYNAMIC] {
        match decision(&annotated(&template(pattern), pattern)) {
            Decision::Deny(denial) => {
                let text = denial.problems.to_string();
                assert!(text.contains("opt the pod out with mutation-mode"), "{}: {text}", pattern.manifest);
            }
            other => panic!("{}: {}/{}", pattern.manifest, other.outcome(), other.reason()),
        }
    }
}

#[test]
fn the_hand_written_block_is_not_changed() {
    for pattern in [&INIT_CONTAINER, &SIDECAR, &DYNAMIC] {
        let decision = decision(&template(pattern));
        assert_eq!(
            (decision.outcome(), decision.reason()),
            ("skipped", "not-annotated"),
            "{}",
            pattern.manifest
        );
    }
}

fn check(pattern: &Pattern) {
    let page = flat(&template(pattern));
    let injected = flat(&inject(&annotated(&stripped(pattern), pattern)));
    let page = moved(&page, &injected, pattern.moved);

    for path in pattern.equal {
        assert!(page.contains_key(*path), "{path} is not on the page");
        assert_eq!(injected.get(*path), page.get(*path), "{path}");
    }
    let found = differences(&page, &injected);
    let listed: BTreeSet<_> = pattern.differences.iter().map(|(line, _)| *line).collect();
    let unlisted: Vec<_> =
        found.iter().filter(|(line, _)| !listed.iter().any(|listed| covers(listed, line))).collect();
    assert!(unlisted.is_empty(), "differences that are not listed: {unlisted:#?}");
    for line in listed {
        assert!(found.keys().any(|found| covers(line, found)), "listed, but no difference: {line}");
    }
}

fn covers(listed: &str, line: &str) -> bool {
    line.strip_prefix(listed).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The page with the injector's names. Each name must occur on the page and not in the injected
/// result.
fn moved(
    page: &BTreeMap<String, Value>,
    injected: &BTreeMap<String, Value>,
    moves: &[(&str, &str)],
) -> BTreeMap<String, Value> {
    for (from, to) in moves {
        assert!(page.keys().any(|path| covers(from, path)), "{from} is not on the page");
        assert!(injected.keys().any(|path| covers(to, path)), "{to} is not injected");
        assert!(!injected.keys().any(|path| covers(from, path)), "{from} is injected");
    }
    let last = |path: &str| path.rsplit_once('[').map(|(_, name)| format!("[{name}")).unwrap_or_default();
    page.iter()
        .map(|(path, value)| {
            let mut path = path.clone();
            let mut value = value.clone();
            for (from, to) in moves {
                if covers(from, &path) {
                    path.replace_range(..from.len(), to);
                }
                // A mount has the name of its volume.
                path = path
                    .replace(&format!("volumeMounts{}", last(from)), &format!("volumeMounts{}", last(to)));
                if path.rsplit_once('.').is_some_and(|(_, field)| field == "name")
                    && format!("[{}]", value.as_str().unwrap_or_default()) == last(from)
                {
                    value = last(to).trim_matches(['[', ']']).into();
                }
            }
            (path, value)
        })
        .collect()
}

/// Each difference as a line, with both values.
fn differences<'a>(
    page: &'a BTreeMap<String, Value>,
    injected: &'a BTreeMap<String, Value>,
) -> BTreeMap<String, (Option<&'a Value>, Option<&'a Value>)> {
    let paths: BTreeSet<_> = page.keys().chain(injected.keys()).collect();
    let sign = |pair: &(Option<&Value>, Option<&Value>)| match pair {
        (None, Some(_)) => '+',
        (Some(_), None) => '-',
        _ => '~',
    };
    paths
        .into_iter()
        .map(|path| (path, (page.get(path), injected.get(path))))
        .filter(|(_, (page, injected))| page != injected)
        .map(|(path, pair)| (format!("{} {path}", sign(&pair)), pair))
        .collect()
}

/// Every scalar by its path; list entries by their name if they have one. A volume may be mounted
/// twice.
fn flat(value: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    flatten("", value, &mut all);
    all
}

fn flatten(path: &str, value: &Value, all: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, child) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{key}"), child, all);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                let is_again = |name: &str| items[..index].iter().any(|before| before["name"] == *name);
                let name = match item["name"].as_str() {
                    Some(name) if is_again(name) => format!("{name}, 2nd"),
                    Some(name) => name.to_owned(),
                    None => index.to_string(),
                };
                flatten(&format!("{path}[{name}]"), item, all);
            }
        }
        Value::String(text) if text.contains("->") => {
            // The page aligns its arrows; white space around them has no meaning.
            let lines: Vec<_> =
                text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
            all.insert(path.to_owned(), lines.into());
        }
        scalar => {
            all.insert(path.to_owned(), scalar.clone());
        }
    }
}

/// The page's pod template.
fn template(pattern: &Pattern) -> Value {
    let path = format!("{}/tests/manifests/{}", env!("CARGO_MANIFEST_DIR"), pattern.manifest);
    let manifest: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let pointer = pod_pointer(manifest["apiVersion"].as_str().unwrap(), manifest["kind"].as_str().unwrap());
    manifest.pointer(pointer.unwrap()).unwrap().clone()
}

/// The template without everything that concerns secrets.
fn stripped(pattern: &Pattern) -> Value {
    let mut template = template(pattern);
    let (list, agent) = pattern.agent;
    let spec = template["spec"].as_object_mut().unwrap();
    let containers = spec[list].as_array_mut().unwrap();
    containers.retain(|container| container["name"] != agent);
    if containers.is_empty() {
        spec.remove(list);
    }
    spec.remove("volumes");
    spec.remove("shareProcessNamespace");
    spec["containers"][0].as_object_mut().unwrap().remove("volumeMounts");
    template
}

fn annotated(template: &Value, pattern: &Pattern) -> Value {
    let mut template = template.clone();
    let annotations = pattern.annotations.iter().map(|(name, value)| (key(name), json!(value)));
    template["metadata"] = json!({"annotations": annotations.collect::<serde_json::Map<_, _>>()});
    template
}

fn inject(template: &Value) -> Value {
    match decision(template) {
        Decision::Inject(injection) => {
            apply(template, &serde_json::to_value(injection.patch).unwrap()).unwrap()
        }
        Decision::Deny(denial) => panic!("{}", denial.problems),
        other => panic!("{}/{}", other.outcome(), other.reason()),
    }
}

fn decision(template: &Value) -> Decision {
    let config = InjectorConfig {
        init_image: Some("scailabs/scaivault-init:1.0".to_owned()),
        sidecar_image: Some("scailabs/scaivault-sidecar:1.0".to_owned()),
        ..InjectorConfig::default()
    };
    let settings = Settings::try_from(config).unwrap();
    let text = template.to_string();
    let namespace = Namespace::default();
    let context = Context::new(&settings, &namespace, KubeVersion::OLDEST);
    decide(&PodView::parse(&text).unwrap(), &context)
}
