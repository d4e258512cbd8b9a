//! The subcommand `check` of the built program.
#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use std::{fs, process::Command};

/// Runs `check` with this kubeconfig and nothing else in the environment, and returns its error.
fn error_with(kubeconfig: Option<&str>) -> String {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-csi-provider"));
    command.arg("check").env_clear().env("HOME", home.path());
    if let Some(text) = kubeconfig {
        let path = home.path().join("kubeconfig");
        fs::write(&path, text).unwrap();
        command.env("KUBECONFIG", path);
    }
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn without_a_cluster_the_error_has_the_fix() {
    let error = error_with(None);
    assert!(error.starts_with("error: no Kubernetes API found: "), "{error}");
    assert!(error.contains("; set KUBECONFIG to the path of a kubeconfig, or run in a pod"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn an_unreachable_api_server_is_a_plain_error() {
    let error = error_with(Some(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
         contexts: [{name: a, context: {cluster: a, user: a}}]\n\
         clusters: [{name: a, cluster: {server: 'http://127.0.0.1:9'}}]\nusers: [{name: a, user: {}}]\n",
    ));
    assert!(error.starts_with("error: the API server cannot be queried: "), "{error}");
    assert!(error.contains("check the cluster of KUBECONFIG"), "{error}");
}
