//! The version that determines the available features: the older of the API server and the oldest
//! kubelet.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1 as core;
use kube::{
    Api, Client,
    api::ListParams,
    core::{ApiResource, NotUsed, Object},
};
use scaivault_cluster::{RETRIED, is_forbidden, reason};
use scaivault_inject::{KubeVersion, KubeVersionError};
use scaivault_webhook::{AdmissionContext, Metrics, Readiness};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use crate::telemetry::LogThrottle;

/// The polling interval. A new node with an old kubelet is rare, and node objects are large.
const PERIOD: Duration = Duration::from_mins(5);

/// The retry interval after a failure.
const RETRY: Duration = Duration::from_secs(30);

/// The minimum time between log lines about a continuing failure.
const REMINDER: Duration = Duration::from_mins(15);

/// The timeout of one request.
const ANSWER: Duration = Duration::from_secs(30);

/// The page size: a large node's object has 20 KB or more, of which one field is read.
const PAGE: u32 = 100;

/// The name of the readiness condition for the first detection.
const GATE: &str = "the Kubernetes version";

/// Detects the version periodically and updates the admission context. If detection fails, the last
/// detected version is kept; before the first detection it is the oldest supported version.
///
/// Readiness waits for the first result, so that a new replica does not reject features that the
/// cluster has. A failure also ends the wait, because most pods need no particular version.
pub(crate) fn follow(
    client: Client,
    context: Arc<AdmissionContext>,
    readiness: &Readiness,
    metrics: Arc<Metrics>,
) -> impl Future<Output = ()> + Send + use<> {
    let gate = readiness.gate(GATE);
    async move {
        let mut detector = Detector { context, metrics, found: None, throttle: LogThrottle::new(REMINDER) };
        loop {
            let pause = match detect(&client).await {
                Ok(oldest) => detector.take(oldest),
                Err(failure) => detector.fail(&failure, Instant::now()),
            };
            gate.open();
            sleep(pause).await;
        }
    }
}

/// Detects the version once; the error is the reason.
pub(crate) async fn oldest(client: &Client) -> Result<KubeVersion, String> {
    let detected = detect(client).await;
    detected
        .map(|oldest| oldest.version)
        .map_err(|failure| format!("{}: {}", failure.resource, failure.error))
}

/// The last detected version, and what was logged.
struct Detector {
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
    /// The last result.
    found: Option<Oldest>,
    throttle: LogThrottle<Instant>,
}

impl Detector {
    /// Applies the result; returns the time until the next detection.
    fn take(&mut self, oldest: Oldest) -> Duration {
        self.throttle.reset();
        let Oldest { version, .. } = oldest;
        if self.found.as_ref() != Some(&oldest) {
            let before = self.context.kube_version();
            self.context.replace_kube_version(version);
            self.metrics.kube_version_minor(version.minor());
            let (node, kubelet) = (oldest.node.as_deref().unwrap_or_default(), &oldest.text);
            if self.is_surprise(&oldest) {
                tracing::warn!(kube_version = %version, %before, node, kubelet, "{SURPRISE}");
            } else {
                tracing::info!(kube_version = %version, %before, node, kubelet, "using the oldest Kubernetes version of API server and kubelets");
            }
            self.found = Some(oldest);
        }
        PERIOD
    }

    /// Whether one node disables features: it is older than all previous ones, or older than the
    /// oldest supported version.
    fn is_surprise(&self, oldest: &Oldest) -> bool {
        let is_older = self.found.as_ref().is_some_and(|found| oldest.version < found.version);
        oldest.node.is_some() && (is_older || !oldest.is_supported)
    }

    /// Keeps the last result; returns the time until the next attempt.
    fn fail(&mut self, failure: &Failure, now: Instant) -> Duration {
        if self.throttle.is_due(now) {
            let Failure { resource, error, fix } = failure;
            let kube_version = self.context.kube_version();
            tracing::warn!(resource, error, fix, %kube_version, "version detection failed, keeping the previous version");
        }
        RETRY
    }
}

/// The warning about a node that disables features for the whole cluster.
const SURPRISE: &str = "Kubernetes version is limited for the whole cluster by this node's kubelet; upgrade the node, or set --kube-version (the chart's server.kubeVersion) if no injected pods run there";

/// Why the version could not be detected.
#[derive(Debug)]
struct Failure {
    resource: &'static str,
    error: String,
    fix: &'static str,
}

async fn detect(client: &Client) -> Result<Oldest, Failure> {
    let api_server = answer("/version", client.apiserver_version()).await?.git_version;
    let nodes: Api<Node> = Api::all_with(client.clone(), &ApiResource::erase::<core::Node>(&()));
    let mut oldest = Oldest::parse(None, &api_server);
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = answer("nodes", nodes.list(&page)).await?;
        for node in &list.items {
            let kubelet = node.status.as_ref().map_or("", |status| &status.node_info.kubelet_version);
            let name = node.metadata.name.as_deref().unwrap_or_default();
            oldest = Oldest::older(oldest, Oldest::parse(Some(name), kubelet));
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    oldest.ok_or_else(|| Failure {
        resource: "/version",
        error: format!("{api_server:?} is not a version"),
        fix: "set --kube-version, the chart's server.kubeVersion",
    })
}

async fn answer<T>(
    resource: &'static str,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    match timeout(ANSWER, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let fix = if is_forbidden(&error) {
                "grant the injector's service account list on nodes, or set --kube-version (the chart's server.kubeVersion)"
            } else {
                RETRIED
            };
            Err(Failure { resource, error: reason(&error), fix })
        }
        Err(_) => Err(Failure { resource, error: format!("no answer in {ANSWER:?}"), fix: RETRIED }),
    }
}

/// A node, of which only the status is deserialized.
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

/// The oldest version found, and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Oldest {
    version: KubeVersion,
    /// False if it is older than the oldest supported version, which is then used instead.
    is_supported: bool,
    /// The node of the kubelet; `None` for the API server.
    node: Option<String>,
    /// The reported version text.
    text: String,
}

impl Oldest {
    /// `None` if the node reports no version.
    fn parse(node: Option<&str>, text: &str) -> Option<Self> {
        let (version, is_supported) = match text.parse() {
            Ok(version) => (version, true),
            Err(KubeVersionError::TooOld(_)) => (KubeVersion::OLDEST, false),
            Err(KubeVersionError::Malformed(_)) => return None,
        };
        Some(Self { version, is_supported, node: node.map(str::to_owned), text: text.to_owned() })
    }

    /// The older of two. If they are equal, the first one, so that the same nodes give the same
    /// result.
    fn older(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let age = |oldest: &Self| (oldest.version, oldest.is_supported);
        one.into_iter().chain(other).min_by_key(age)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use scaivault_inject::Settings;
    use scaivault_testkit::eventually;
    use scaivault_webhook::NoCluster;
    use serde_json::{Value, json};

    use super::*;
    use scaivault_testkit::api_server::ApiServer;

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
        let Oldest { version, is_supported, node, text } = detected.await.unwrap().unwrap();
        assert_eq!((version, is_supported), (KubeVersion::new(1, 34), true));
        assert_eq!((node.as_deref(), &*text), (Some("n"), "v1.34.9-eks-1"));
    }

    #[tokio::test]
    async fn readiness_waits_for_any_first_answer() {
        for (status, expected) in
            [(StatusCode::OK, KubeVersion::new(1, 36)), (StatusCode::FORBIDDEN, KubeVersion::OLDEST)]
        {
            let mut server = ApiServer::start().await;
            let settings = Settings::default();
            let context = Arc::new(AdmissionContext::new(settings, KubeVersion::OLDEST, Arc::new(NoCluster)));
            let readiness = Readiness::new();
            let metrics = Metrics::new();
            let following =
                tokio::spawn(follow(server.client(), Arc::clone(&context), &readiness, Arc::clone(&metrics)));
            server.answer("/version", &version("v1.37.2")).await;
            assert_eq!(readiness.check(), Err("waiting for the Kubernetes version".to_owned()));
            if status == StatusCode::OK {
                server.answer("/api/v1/nodes?&limit=100", &nodes(&["v1.36.1"], "")).await;
            } else {
                server.refuse("/api/v1/nodes", status, "nodes is forbidden").await;
            }
            let opened = async || readiness.check().ok();
            eventually(Duration::from_secs(20), "the version", opened).await;
            assert_eq!(context.kube_version(), expected);
            if status == StatusCode::OK {
                let text = metrics.encode().unwrap();
                assert!(text.contains("scaivault_injector_kube_version_minor 36\n"), "{text}");
            }
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
        let Failure { resource, error, fix } = detected.await.unwrap().unwrap_err();
        assert_eq!((resource, &*error), ("nodes", "nodes is forbidden"));
        assert!(fix.contains("list on nodes") && fix.contains("--kube-version"), "{fix}");
    }

    fn detector() -> Detector {
        let context = AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, Arc::new(NoCluster));
        Detector {
            context: Arc::new(context),
            metrics: Metrics::new(),
            found: None,
            throttle: LogThrottle::new(REMINDER),
        }
    }

    #[test]
    fn a_downgraded_node_is_unexpected() {
        let server = Oldest::parse(None, "v1.36.0").unwrap();
        let node = |text| Oldest::parse(Some("edge"), text);
        let oldest = Oldest::older(Some(server.clone()), node("v1.19.1-vk-azure-aci-1.4")).unwrap();
        assert_eq!((oldest.version, oldest.node.as_deref()), (KubeVersion::OLDEST, Some("edge")));
        let mut detector = detector();
        assert!(detector.is_surprise(&oldest), "also at the start");
        assert!(!detector.is_surprise(&node("v1.35.0").unwrap()), "as it should be in an upgrade");
        detector.take(server.clone());
        assert!(detector.is_surprise(&node("v1.35.0").unwrap()));
        assert!(!detector.is_surprise(&Oldest::parse(None, "v1.35.0").unwrap()), "the API server's own");
        detector.take(node("v1.35.0").unwrap());
        assert!(!detector.is_surprise(&server), "it is gone");
        assert_eq!(detector.context.kube_version(), KubeVersion::new(1, 35));
    }

    #[test]
    fn a_failure_is_logged_at_intervals() {
        let (mut detector, start) = (detector(), Instant::now());
        let failure = Failure { resource: "nodes", error: "away".to_owned(), fix: "wait" };
        detector.fail(&failure, start);
        detector.fail(&failure, start + RETRY);
        assert_eq!(detector.throttle.last(), Some(start));
        detector.fail(&failure, start + REMINDER);
        assert_eq!(detector.throttle.last(), Some(start + REMINDER));
        detector.take(Oldest::parse(None, "v1.36.0").unwrap());
        assert_eq!(detector.throttle.last(), None);
    }
}
