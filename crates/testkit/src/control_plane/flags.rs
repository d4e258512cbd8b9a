//! The command lines of the programs.

use std::path::Path;

use super::credentials::{Credentials, SERVICE_RANGE};

/// etcd without durability, because its data need not survive a crash.
pub(super) fn etcd(port: u16, data: &Path) -> Vec<String> {
    let url = format!("http://127.0.0.1:{port}");
    vec![
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        // There are no peers, so any free port is sufficient.
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        "--log-level=warn".to_owned(),
        "--unsafe-no-fsync".to_owned(),
    ]
}

/// The API server with the default admission plugins (including Pod Security).
pub(super) fn api_server(
    port: u16,
    etcd_port: u16,
    credentials: &Credentials,
    feature_gates: &str,
    directory: &Path,
) -> Vec<String> {
    let Credentials {
        authority: _,
        server_certificate,
        server_key,
        service_account_certificate,
        service_account_key,
        tokens,
        ..
    } = credentials;
    let mut flags = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", directory.display()),
        format!("--tls-cert-file={}", server_certificate.display()),
        format!("--tls-private-key-file={}", server_key.display()),
        format!("--token-auth-file={}", tokens.display()),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={}", service_account_certificate.display()),
        format!("--service-account-signing-key-file={}", service_account_key.display()),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        // Endpoints may not be loopback addresses, and no client uses this one.
        "--endpoint-reconciler-type=none".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--profiling=false".to_owned(),
    ];
    if !feature_gates.is_empty() {
        flags.push(format!("--feature-gates={feature_gates}"));
    }
    flags
}

/// The controllers, each as its own service account in kube-system, as in an ordinary cluster.
pub(super) fn controller_manager(
    kubeconfig: &Path,
    credentials: &Credentials,
    directory: &Path,
) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--use-service-account-credentials=true".to_owned(),
        format!("--root-ca-file={}", credentials.authority.display()),
        format!("--service-account-private-key-file={}", credentials.service_account_key.display()),
        // The default directory would be created if it is missing.
        format!("--flex-volume-plugin-dir={}", directory.join("volume-plugins").display()),
        "--leader-elect=false".to_owned(),
        // With the default of 20 a second, a thousand Deployments of one test would block the
        // controllers for minutes.
        "--kube-api-qps=1000".to_owned(),
        "--kube-api-burst=1000".to_owned(),
        // No port, because it is never queried.
        "--secure-port=0".to_owned(),
    ]
}

/// The scheduler.
pub(super) fn scheduler(kubeconfig: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ]
}

/// kwok, which renews the nodes' leases and reports every pod on them as running.
pub(super) fn kwok(kubeconfig: &Path, stages: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--manage-all-nodes=true".to_owned(),
        "--node-lease-duration-seconds=40".to_owned(),
        format!("--config={}", stages.display()),
    ]
}
