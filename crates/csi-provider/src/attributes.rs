//! Parses a mount request. All of it is untrusted, because a pod's `volumeAttributes` override the
//! parameters of its class. Only the keys that the kubelet sets (`csi.storage.k8s.io/pod.*`) cannot be
//! overridden.

use std::collections::BTreeMap;

use scaivault_contract::{Excerpt, ObjectName};
use scaivault_csi_class::{ATTRIBUTES_MAX_BYTES, KUBELET_PREFIX, VOLUME_ATTRIBUTES, check_parameter};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// A mount request.
pub(crate) struct Attributes {
    pub(crate) pod: Pod,
    pub(crate) class: String,
    /// Tokens by audience, as JSON; `None` if the driver requests none.
    pub(crate) tokens: Option<String>,
    parameters: BTreeMap<String, String>,
}

/// The pod that mounts the volume, as set by the kubelet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Pod {
    pub(crate) namespace: ObjectName,
    pub(crate) name: ObjectName,
    pub(crate) uid: ObjectName,
    pub(crate) service_account: ObjectName,
}

impl Attributes {
    /// Parses the field `attributes` of a request.
    pub(crate) fn read(text: &str) -> Result<Self, Failure> {
        if text.len() > ATTRIBUTES_MAX_BYTES {
            return Err(Failure::invalid(format!(
                "the attributes have {} bytes; allowed: {ATTRIBUTES_MAX_BYTES}; use several SecretProviderClasses",
                text.len()
            )));
        }
        let mut all: BTreeMap<String, String> = serde_json::from_str(text)
            .map_err(|_| Failure::invalid("the attributes are not a JSON object of strings"))?;
        let mut problems = Vec::new();
        let pod = Pod {
            namespace: take_name(&mut all, "pod.namespace", &mut problems),
            name: take_name(&mut all, "pod.name", &mut problems),
            uid: take_name(&mut all, "pod.uid", &mut problems),
            service_account: take_name(&mut all, "serviceAccount.name", &mut problems),
        };
        let tokens = all.remove(&format!("{KUBELET_PREFIX}serviceAccount.tokens"));
        let class = all.remove("secretProviderClass").unwrap_or_default();
        all.retain(|key, _| !key.starts_with(KUBELET_PREFIX) && !VOLUME_ATTRIBUTES.contains(&key.as_str()));
        problems.extend(all.keys().filter_map(|key| Some(check_parameter(key).err()?.to_string())));
        Failure::unless(problems)?;
        Ok(Self { pod, class, tokens, parameters: all })
    }

    /// A parameter; `None` if it is not set.
    pub(crate) fn parameter(&self, name: &'static str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// Removes and parses a name that the kubelet has set. The placeholder after an error is never used, because
/// the caller returns the problems.
fn take_name(all: &mut BTreeMap<String, String>, key: &str, problems: &mut Vec<String>) -> ObjectName {
    let text = all.remove(&format!("{KUBELET_PREFIX}{key}")).unwrap_or_default();
    text.parse().unwrap_or_else(|_| {
        problems.push(format!(
            "the attribute {KUBELET_PREFIX}{key} is {}; expected {}; set `podInfoOnMount: true` in the CSIDriver secrets-store.csi.k8s.io",
            Excerpt::new(&text),
            ObjectName::ALLOWED
        ));
        "unknown".parse().expect("it is a name")
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A pod for unit tests.
    pub(crate) fn pod() -> Pod {
        let name = |text: &str| text.parse().unwrap();
        Pod {
            namespace: name("billing"),
            name: name("web-0"),
            uid: name("u-1"),
            service_account: name("web"),
        }
    }

    fn attributes(more: &serde_json::Value) -> String {
        let mut all = json!({
            "csi.storage.k8s.io/pod.name": "web-0",
            "csi.storage.k8s.io/pod.namespace": "billing",
            "csi.storage.k8s.io/pod.uid": "0f3c",
            "csi.storage.k8s.io/serviceAccount.name": "web",
            "csi.storage.k8s.io/ephemeral": "true",
            "secretProviderClass": "billing-secrets",
            "objects": "[]",
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all.to_string()
    }

    #[track_caller]
    fn problem(text: &str) -> String {
        Attributes::read(text).err().unwrap().to_string()
    }

    #[test]
    fn reads_the_pod_and_the_parameters() {
        let read = Attributes::read(&attributes(&json!({"base_url": "https://vault.example"}))).ok().unwrap();
        assert_eq!(read.pod.namespace.as_str(), "billing");
        assert_eq!(
            (read.class.as_str(), read.parameter("base_url")),
            ("billing-secrets", Some("https://vault.example"))
        );
        assert_eq!(read.parameter("audience"), None);
    }

    #[test]
    fn an_unknown_parameter_gets_the_nearest_name() {
        let said = problem(&attributes(&json!({"object": "", "roleName": "x", "swordfish": "x"})));
        assert!(said.contains("\"object\" is not known; did you mean objects?"), "{said}");
        assert!(said.contains("did you mean role?"), "{said}");
        assert!(
            said.contains("\"swordfish\" is not known; allowed: audience, base_url, objects, role"),
            "{said}"
        );
    }

    #[test]
    fn missing_attributes_of_the_kubelet_are_named() {
        let said = problem("{}");
        assert!(said.contains("pod.uid") && said.contains("podInfoOnMount"), "{said}");
        let said = problem(&attributes(&json!({"csi.storage.k8s.io/pod.name": "../x"})));
        assert!(said.contains("pod.name"), "{said}");
    }

    #[test]
    fn attributes_are_bounded() {
        assert!(
            problem(&attributes(&json!({"objects": "x".repeat(ATTRIBUTES_MAX_BYTES)})))
                .contains("allowed: 262144")
        );
        assert!(problem("[]").contains("not a JSON object"));
        assert!(problem(&attributes(&json!({"objects": ["not", "text"]}))).contains("not a JSON object"));
    }
}
