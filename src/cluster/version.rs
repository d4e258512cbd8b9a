//! The version that features are chosen by: the older of the API server and the oldest kubelet.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1 as core;
use kube::{
    Api, Client,
    api::ListParams,
    core::{ApiResource, NotUsed, Object},
};
use scaivault_inject::{KubeVersion, KubeVersionError};
use scaivault_webhook::{AdmissionContext, Readiness};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use super::client::{is_forbidden, reason};

/// How often the version is looked at: a new node with an old kubelet is rare, and a node's object is large.
const PERIOD: Duration = Duration::from_mins(5);

/// How soon it is tried again after a failure.
const RETRY: Duration = Duration::from_secs(30);

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Nodes in one answer: a large node's object has 20 KB and more, of which one field is read.
const PAGE: u32 = 100;

/// What `/readyz` waits for until the cluster was asked once.
const GATE: &str = "the Kubernetes version";

/// Detects the version now and again, and decides for it. What was found before stays while it cannot be detected;
/// before that it is the oldest that is supported.
///
/// Readiness waits for the first answer, so that a fresh replica refuses nothing that the cluster can do. A failure opens it
/// too: most pods need no particular version.
pub(crate) fn follow(
    client: Client,
    context: Arc<AdmissionContext>,
    readiness: &Readiness,
) -> impl Future<Output = ()> + Send + use<> {
    let gate = readiness.gate(GATE);
    async move {
        loop {
            let pause = look(&client, &context).await;
            gate.open();
            sleep(pause).await;
        }
    }
}

/// Detects the version once; gives how long to wait for the next time.
async fn look(client: &Client, context: &AdmissionContext) -> Duration {
    match detect(client).await {
        Ok(version) => {
            let before = context.kube_version();
            if version != before {
                context.replace_kube_version(version);
                tracing::info!(kube_version = %version, %before, "Kubernetes version: the oldest of API server and kubelets");
            }
            PERIOD
        }
        Err(Failure { resource, error, cure }) => {
            let kube_version = context.kube_version();
            tracing::warn!(resource, error, cure, %kube_version, "version not detected, the one before stays");
            RETRY
        }
    }
}

/// Why the version could not be detected.
#[derive(Debug)]
struct Failure {
    resource: &'static str,
    error: String,
    cure: &'static str,
}

async fn detect(client: &Client) -> Result<KubeVersion, Failure> {
    let api_server = answer("/version", client.apiserver_version()).await?.git_version;
    let nodes: Api<Node> = Api::all_with(client.clone(), &ApiResource::erase::<core::Node>(&()));
    let mut oldest = Oldest::default();
    oldest.take(&api_server);
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = answer("nodes", nodes.list(&page)).await?;
        for node in &list.items {
            let status = node.status.as_ref();
            oldest.take(status.map_or("", |status| &status.node_info.kubelet_version));
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    oldest.0.ok_or_else(|| Failure {
        resource: "/version",
        error: format!("{api_server:?} is no version"),
        cure: "set --kube-version",
    })
}

async fn answer<T>(
    resource: &'static str,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    match timeout(ANSWER, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let cure = if is_forbidden(&error) {
                "grant the injector's service account list on nodes, or set --kube-version"
            } else {
                "none needed if the API server comes back: it is tried again"
            };
            Err(Failure { resource, error: reason(&error), cure })
        }
        Err(_) => Err(Failure {
            resource,
            error: format!("no answer in {ANSWER:?}"),
            cure: "none needed if the API server comes back: it is tried again",
        }),
    }
}

/// A node, of which only the status is read.
type Node = Object<NotUsed, NodeStatus>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeStatus {
    node_info: NodeInfo,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeInfo {
    kubelet_version: String,
}

/// The oldest of the versions that were taken.
#[derive(Debug, Default)]
struct Oldest(Option<KubeVersion>);

impl Oldest {
    /// A node that names no version counts for none, one that is not supported any more for the oldest that is.
    fn take(&mut self, version: &str) {
        let version = match version.parse() {
            Ok(version) => version,
            Err(KubeVersionError::TooOld(_)) => KubeVersion::OLDEST,
            Err(KubeVersionError::Malformed(_)) => return,
        };
        self.0 = Some(self.0.map_or(version, |oldest| oldest.min(version)));
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use scaivault_inject::Settings;
    use scaivault_testkit::poll;
    use scaivault_webhook::NoCluster;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::testing::ApiServer;

    fn nodes(versions: &[&str], token: &str) -> Value {
        let node = |version: &&str| json!({"metadata": {"name": "n"}, "spec": {}, "status": {"nodeInfo": {"kubeletVersion": version}}});
        json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "continue": token},
            "items": versions.iter().map(node).collect::<Vec<_>>()})
    }

    fn version(text: &str) -> Value {
        json!({"major": "1", "minor": "37", "gitVersion": text, "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "", "platform": ""})
    }

    #[tokio::test]
    async fn the_oldest_kubelet_of_all_pages_decides() {
        let mut server = ApiServer::start().await;
        let client = server.client();
        let detected = tokio::spawn(async move { detect(&client).await.map_err(|failure| failure.error) });
        server.answer("/version", &version("v1.37.2")).await;
        server.answer("/api/v1/nodes?&limit=100", &nodes(&["v1.37.0", "", "edge"], "more")).await;
        server.answer("/api/v1/nodes?&limit=100&continue=more", &nodes(&["v1.34.9-eks-1"], "")).await;
        assert_eq!(detected.await.unwrap(), Ok(KubeVersion::new(1, 34)));
    }

    #[tokio::test]
    async fn readiness_waits_for_the_first_answer_whatever_it_is() {
        for (status, expected) in
            [(StatusCode::OK, KubeVersion::new(1, 36)), (StatusCode::FORBIDDEN, KubeVersion::OLDEST)]
        {
            let mut server = ApiServer::start().await;
            let settings = Settings::default();
            let context = Arc::new(AdmissionContext::new(settings, KubeVersion::OLDEST, Arc::new(NoCluster)));
            let readiness = Readiness::new();
            let following = tokio::spawn(follow(server.client(), Arc::clone(&context), &readiness));
            server.answer("/version", &version("v1.37.2")).await;
            assert_eq!(readiness.check(), Err("waiting for the Kubernetes version".to_owned()));
            if status == StatusCode::OK {
                server.answer("/api/v1/nodes?&limit=100", &nodes(&["v1.36.1"], "")).await;
            } else {
                server.refuse("/api/v1/nodes", status, "nodes is forbidden").await;
            }
            let opened = async || readiness.check().ok();
            poll(Duration::from_secs(20), opened).await.expect("the cluster was asked");
            assert_eq!(context.kube_version(), expected);
            following.abort();
        }
    }

    #[tokio::test]
    async fn a_missing_right_is_named() {
        let mut server = ApiServer::start().await;
        let client = server.client();
        let detected = tokio::spawn(async move { detect(&client).await });
        server.answer("/version", &version("v1.37.2")).await;
        server.refuse("/api/v1/nodes", StatusCode::FORBIDDEN, "nodes is forbidden").await;
        let Failure { resource, error, cure } = detected.await.unwrap().unwrap_err();
        assert_eq!((resource, &*error), ("nodes", "nodes is forbidden"));
        assert!(cure.contains("list on nodes") && cure.contains("--kube-version"), "{cure}");
    }

    #[test]
    fn versions_before_the_supported_ones_count_for_the_oldest() {
        let mut oldest = Oldest::default();
        oldest.take("v1.36.0");
        oldest.take("v1.19.1-vk-azure-aci-1.4");
        assert_eq!(oldest.0, Some(KubeVersion::OLDEST));
    }
}
