//! The connection to the Kubernetes API.

use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};

/// How long a connection may take: what is down answers not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may pause. The API server ends a watch after at most 290 s by itself and sends a bookmark each
/// minute, so whoever is silent for longer is gone.
pub(super) const READ_TIMEOUT: Duration = Duration::from_mins(5);

/// The name under which the API server's audit log knows the injector.
const USER_AGENT: &str = concat!("scaivault-injector/", env!("CARGO_PKG_VERSION"));

/// A client of the cluster that `KUBECONFIG` names, else of the one around this pod. Nothing is sent yet. Needs a
/// tokio runtime.
pub(crate) async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer()
        .await
        .context("no Kubernetes API found: run in a pod with a service account's token, or set KUBECONFIG")?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // The timeout counts from a request's end, not from when its connection was last used.
    config.reset_reader_on_write = true;
    config.headers.push((
        "user-agent".parse().expect("a header's name in lower case is valid"),
        USER_AGENT.parse().expect("a version has only visible characters"),
    ));
    Client::try_from(config).context("cannot set the client of the Kubernetes API up")
}

/// What the API server said, without the rest of its status; else every cause.
pub(super) fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => {
            let mut causes: Vec<String> = Vec::new();
            let mut cause: Option<&dyn std::error::Error> = Some(other);
            while let Some(error) = cause {
                let text = error.to_string();
                // Most of them repeat what is below them.
                if !causes.iter().any(|above| above.contains(&text)) {
                    causes.push(text);
                }
                cause = error.source();
            }
            causes.join(": ")
        }
    }
}

/// Whether RBAC says no.
pub(super) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}
