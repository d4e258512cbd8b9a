//! The subcommand `check`: finds out what the provider needs in the cluster and is missing.

use std::fmt;

use kube::{
    Client,
    api::{GetParams, ListParams},
    core::Request,
};
use scaivault_csi_class::DRIVER;
use serde::{Deserialize, de::DeserializeOwned};

mod daemon_sets;

use daemon_sets::DaemonSets;

/// The `ClusterRole` that the driver's chart creates if the driver may write native Secrets.
const SYNC_ROLE: &str = "secretprovidersyncing-role";

/// The result for one requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The requirement is met.
    Met(String),
    /// The provider works, with this limitation.
    Limited(String),
    /// Mounts fail until this is fixed.
    Missing(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met(text) => write!(f, "ok       {text}"),
            Self::Limited(text) => write!(f, "warning  {text}"),
            Self::Missing(text) => write!(f, "missing  {text}"),
        }
    }
}

/// The fields of a `CSIDriver` that are checked.
#[derive(Debug, Deserialize)]
struct CsiDriver {
    spec: CsiDriverSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CsiDriverSpec {
    pod_info_on_mount: bool,
    requires_republish: bool,
    token_requests: Vec<TokenRequest>,
}

#[derive(Debug, Deserialize)]
struct TokenRequest {
    audience: String,
}

/// An object of which only the existence is checked.
#[derive(Debug, Deserialize)]
struct Object {}

/// Checks the driver's and the provider's objects. Fails if the API server cannot be reached, or if an
/// object that mounts depend on cannot be read.
pub(crate) async fn check(client: &Client, audience: &str) -> kube::Result<Vec<Finding>> {
    let driver = get::<CsiDriver>(client, "/apis/storage.k8s.io/v1/csidrivers", DRIVER).await?;
    let class = "secretproviderclasses.secrets-store.csi.x-k8s.io";
    let definition =
        get::<Object>(client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", class).await?;
    let driver = driver.map(|driver| driver.spec);
    let republishes = driver.as_ref().is_some_and(|driver| driver.requires_republish);
    let is_installed = driver.is_some();
    let mut findings = check_driver(driver, audience);
    findings.push(match definition {
        Some(_) => Finding::Met(format!("the CustomResourceDefinition {class} exists")),
        None => Finding::Missing(format!(
            "the CustomResourceDefinition {class} does not exist; install the Secrets Store CSI driver"
        )),
    });
    if is_installed {
        let list = Request::new("/apis/apps/v1/daemonsets").list(&ListParams::default());
        match client.request::<DaemonSets>(list.map_err(kube::Error::BuildRequest)?).await {
            Ok(sets) => findings.extend(daemon_sets::check(&sets, republishes)),
            Err(error) => {
                findings.push(unread("DaemonSets", "the driver's version, rotation and directories", &error));
            }
        }
        findings.push(check_sync(client).await);
    }
    Ok(findings)
}

/// Whether the driver may write native Secrets.
async fn check_sync(client: &Client) -> Finding {
    match get::<Object>(client, "/apis/rbac.authorization.k8s.io/v1/clusterroles", SYNC_ROLE).await {
        Ok(Some(_)) => Finding::Met(format!("the driver may write native Secrets (ClusterRole {SYNC_ROLE})")),
        Ok(None) => Finding::Limited(format!(
            "the ClusterRole {SYNC_ROLE} does not exist, so no Secret is written for classes with `secretObjects`; if you need them, set `syncSecret.enabled=true` in the values of the driver's chart"
        )),
        Err(error) => unread("ClusterRoles", "whether the driver may write native Secrets", &error),
    }
}

/// The result if the user may not read an optional object.
fn unread(kind: &str, what: &str, error: &kube::Error) -> Finding {
    Finding::Limited(format!("{kind} cannot be read, so {what} are not checked: {error}"))
}

fn check_driver(spec: Option<CsiDriverSpec>, audience: &str) -> Vec<Finding> {
    let Some(CsiDriverSpec { pod_info_on_mount, requires_republish, token_requests }) = spec else {
        let text = format!("the CSIDriver {DRIVER} does not exist; install the Secrets Store CSI driver");
        return vec![Finding::Missing(text)];
    };
    let has_audience = token_requests.iter().any(|request| request.audience == audience);
    vec![
        if pod_info_on_mount {
            Finding::Met("the driver passes the identity of the pod".to_owned())
        } else {
            Finding::Missing(format!("the CSIDriver {DRIVER} has no `podInfoOnMount: true`; set it"))
        },
        if has_audience {
            Finding::Met(format!("the driver requests tokens with the audience {audience}"))
        } else {
            Finding::Missing(format!(
                "the CSIDriver {DRIVER} requests no token with the audience {audience}; set `tokenRequests[0].audience={audience}` in the values of the driver's chart"
            ))
        },
        if requires_republish {
            Finding::Met("the driver updates volumes".to_owned())
        } else {
            Finding::Limited(format!(
                "the CSIDriver {DRIVER} has no `requiresRepublish: true`, so files are never updated, and leases end an hour after the pod's start; set `enableSecretRotation=true` in the values of the driver's chart"
            ))
        },
    ]
}

/// An object of the cluster; `None` if it does not exist.
async fn get<T: DeserializeOwned>(client: &Client, collection: &str, name: &str) -> kube::Result<Option<T>> {
    let request = Request::new(collection).get(name, &GetParams::default());
    match client.request::<T>(request.map_err(kube::Error::BuildRequest)?).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use scaivault_testkit::api_server;
    use serde_json::json;

    use super::*;

    fn checked(spec: &serde_json::Value) -> Vec<Finding> {
        let driver: CsiDriver = serde_json::from_value(json!({"spec": spec})).unwrap();
        check_driver(Some(driver.spec), "scaivault")
    }

    #[test]
    fn a_complete_driver_has_no_findings() {
        let spec = json!({
            "podInfoOnMount": true, "requiresRepublish": true,
            "tokenRequests": [{"audience": "vault"}, {"audience": "scaivault", "expirationSeconds": 3600}],
        });
        assert!(checked(&spec).iter().all(|finding| matches!(finding, Finding::Met(_))));
    }

    #[test]
    fn missing_requirements_are_reported_with_a_fix() {
        let findings = checked(&json!({"tokenRequests": [{"audience": "vault"}]}));
        let [pod, token, republish] = findings.as_slice() else { panic!("{findings:?}") };
        assert!(matches!(pod, Finding::Missing(text) if text.contains("podInfoOnMount: true")), "{pod}");
        assert!(matches!(token, Finding::Missing(text) if text.contains("audience=scaivault")), "{token}");
        assert!(matches!(republish, Finding::Limited(text) if text.contains("enableSecretRotation")));
        assert!(matches!(check_driver(None, "scaivault").as_slice(), [Finding::Missing(_)]));
    }

    #[tokio::test]
    async fn a_cluster_without_the_driver() {
        let not_found = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
        let answer = (axum::http::StatusCode::NOT_FOUND, not_found.to_string());
        let router = axum::Router::new().fallback(async move || answer.clone());
        let client = api_server::client(&api_server::serve(router).await);
        let findings = check(&client, "scaivault").await.unwrap();
        assert!(findings.len() == 2, "{findings:?}");
        assert!(
            findings.iter().all(|finding| finding.to_string().starts_with("missing  the C")),
            "{findings:?}"
        );
    }
}
