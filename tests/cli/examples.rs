//! Users copy the examples, so they must be correct.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use scaivault_inject::manifest::pod_pointer;
use scaivault_testkit::pod_security;
use serde_json::Value;

use super::program::run;

/// Examples that are not workloads.
const NO_WORKLOADS: [&str; 2] = ["audit-rbac.yaml", "namespace-defaults.yaml"];

/// Examples that work without the injector, which does not change them.
const WITHOUT_INJECTOR: [&str; 3] = ["argocd-sync-wave.yaml", "by-hand.yaml", "csi.yaml"];

/// The examples that need a newer Kubernetes than the oldest supported, and say so.
const NEWER: [(&str, &str); 1] = [("variables.yaml", "1.35")];

#[test]
fn every_example_is_free_of_problems_and_warnings() {
    for (name, path) in examples() {
        let report = run(arguments("check", &name, &path)).exits(0).stdout;
        assert!(!report.contains("warning:") && !report.contains("malformed"), "{report}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{name}: begins with what it shows");
        if let Some((_, version)) = NEWER.iter().find(|(newer, _)| *newer == name) {
            assert!(text.contains(&format!("--kube-version {version}")), "{name}: says what it needs");
            run(["check".as_ref(), "-f".as_ref(), path.as_os_str()]).exits(1);
        }
    }
}

/// Cases of `policy test` contain pods, which are not applied to a cluster.
#[test]
fn cases_of_policies_are_not_checked_as_workloads() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies/tests");
    for command in ["check", "inject", "detach"] {
        let arguments =
            [command.as_ref(), "-f".as_ref(), tests.as_os_str(), "--output".as_ref(), "report".as_ref()];
        let report = run(arguments).exits(0).stdout;
        assert!(report.ends_with("\n6 objects: 6 skipped\n") && !report.contains("warning:"), "{report}");
    }
}

#[test]
fn every_example_is_complete_and_restricted_before_and_after() {
    let workloads = examples().into_iter().filter(|(name, _)| !NO_WORKLOADS.contains(&name.as_str()));
    for (name, path) in workloads {
        let written = documents(&fs::read_to_string(&path).unwrap());
        let injected = documents(&run(arguments("inject", &name, &path)).exits(0).stdout);
        assert_eq!(written == injected, WITHOUT_INJECTOR.contains(&name.as_str()), "{name}");
        for documents in [written, injected] {
            for object in &documents {
                assert_eq!(object["metadata"]["namespace"], "shop", "{name}");
            }
            let accounts = documents.iter().filter(|object| object["kind"] == "ServiceAccount");
            let mut accounts: Vec<_> = accounts.map(|account| &account["metadata"]["name"]).collect();
            for workload in &documents {
                let Some(pod) = pod(workload) else { continue };
                let own = accounts.iter().position(|account| **account == pod["serviceAccountName"]);
                accounts.remove(own.unwrap_or_else(|| panic!("{name}: {workload}")));
                check_containers(&name, pod);
            }
            assert!(accounts.is_empty(), "{name}: a workload for each of {accounts:?}");
        }
    }
}

fn check_containers(name: &str, pod: &Value) {
    let lists = ["initContainers", "containers"].into_iter().filter_map(|list| pod[list].as_array());
    for container in lists.flatten() {
        let violations = pod_security::restricted_violations(&with_the_pods(container, pod));
        assert!(violations.is_empty(), "{name}: {violations:?}: {container}");
        for amount in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
            assert!(container["resources"].pointer(amount).is_some(), "{name}: {amount}: {container}");
        }
    }
}

#[test]
fn the_readme_has_every_example() {
    let readme = fs::read_to_string(directory().join("README.md")).unwrap();
    for (name, _) in examples() {
        assert!(readme.contains(&format!("| [{name}]({name}) |")), "{name} has no row in examples/README.md");
    }
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| [")?.split(']').next());
    for name in rows {
        assert!(directory().join(name).is_file(), "the row {name} of examples/README.md has no file");
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Name and path of each example.
fn examples() -> BTreeMap<String, PathBuf> {
    let files = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let examples: BTreeMap<_, _> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    assert!(examples.len() >= 8, "the examples are where this test looks");
    examples
}

fn arguments(command: &str, name: &str, path: &Path) -> Vec<String> {
    let mut arguments = vec![command.to_owned(), "-f".to_owned(), path.to_str().unwrap().to_owned()];
    if let Some((_, version)) = NEWER.iter().find(|(newer, _)| *newer == name) {
        arguments.extend(["--kube-version".to_owned(), (*version).to_owned()]);
    }
    arguments
}

fn documents(stream: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(stream).unwrap()
}

/// The specification of a workload's pods; `None` for other objects.
fn pod(object: &Value) -> Option<&Value> {
    let pointer = pod_pointer(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap())?;
    Some(&object.pointer(pointer).unwrap()["spec"])
}

/// A container with what it inherits from the pod's security context.
fn with_the_pods(container: &Value, pod: &Value) -> Value {
    let mut container = container.clone();
    for (field, value) in pod["securityContext"].as_object().into_iter().flatten() {
        let own = &mut container["securityContext"][field];
        if own.is_null() {
            *own = value.clone();
        }
    }
    container
}
