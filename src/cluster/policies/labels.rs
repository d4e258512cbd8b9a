//! Labels the namespaces in which a policy injects secrets, so that the API server sends all their
//! pods to the injector.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as core;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use scaivault_cluster::{RETRIED, is_forbidden, reason};
use scaivault_contract::names::{INJECTION_BY_POLICY_LABEL, LABEL_AUDIT, LABEL_ENABLED};
use scaivault_inject::{Enforcement, Namespace, PolicyMode, PolicySet};
use scaivault_webhook::{AdmissionContext, Metrics, PolicyWrite};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::reporter::FIELD_MANAGER;
use crate::{cluster::ClusterCache, telemetry::LogThrottle};

/// How long changes are batched. Each replica adds a random part, so that they do not write at the
/// same time.
const GATHER: Duration = Duration::from_millis(500);

/// How often all namespaces are compared without a change.
const INTERVAL: Duration = Duration::from_secs(30);

/// The pause after each write.
const PAUSE: Duration = Duration::from_millis(50);

/// The minimum time between log lines about rejected labels.
const REMINDER: Duration = Duration::from_mins(5);

/// If a namespace is labelled within this time of its creation, the API server may have created its
/// first pods without calling the injector.
const YOUNG: SignedDuration = SignedDuration::from_mins(1);

/// The value of the label, ordered by how strongly pods depend on the injector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    #[default]
    None,
    /// Pods are sent to the injector and do not depend on its answer.
    Audit,
    /// Pods are sent to the injector and depend on its answer, if the chart is configured so.
    Enabled,
}

impl Label {
    fn of_namespace(namespace: &Namespace) -> Self {
        match namespace.labels.get(INJECTION_BY_POLICY_LABEL).map(String::as_str) {
            Some(LABEL_ENABLED) => Self::Enabled,
            Some(LABEL_AUDIT) => Self::Audit,
            _ => Self::None,
        }
    }

    fn value(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Audit => Some(LABEL_AUDIT),
            Self::Enabled => Some(LABEL_ENABLED),
        }
    }
}

/// The strongest label that a policy has required since the start of this process, by namespace.
#[derive(Debug, Default)]
struct DesiredLabels(BTreeMap<String, Label>);

impl DesiredLabels {
    /// The label to write. A superfluous label costs a webhook call, a missing one costs the
    /// secrets. So a replica that knows fewer policies than another, for example right after its
    /// start, removes no label.
    fn next(&mut self, namespace: &Namespace, wanted: Label) -> Option<Label> {
        let present = Label::of_namespace(namespace);
        let most = if wanted > Label::None {
            let most = self.0.entry(namespace.name.clone()).or_default();
            *most = wanted.max(*most);
            *most
        } else {
            self.0.get(&namespace.name).copied().unwrap_or_default()
        };
        (wanted > present || (wanted < present && present <= most)).then_some(wanted)
    }

    /// Records a written label.
    fn written(&mut self, namespace: &str, label: Label) {
        if label == Label::None {
            self.0.remove(namespace);
        } else {
            self.0.insert(namespace.to_owned(), label);
        }
    }
}

/// Keeps the labels in sync with the policies in force, for ever.
pub(in super::super) async fn label_namespaces(
    client: Client,
    memory: Arc<ClusterCache>,
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
) {
    let api = Api::<core::Namespace>::all(client);
    let mut changes = memory.changes.subscribe();
    let mut throttle = LogThrottle::new(REMINDER);
    let mut labels = DesiredLabels::default();
    loop {
        let _ = timeout(INTERVAL, changes.changed()).await;
        sleep(GATHER + jitter(GATHER)).await;
        let Some(set) = memory.policies.as_ref().and_then(super::PolicyMemory::in_force) else { continue };
        labels.0.retain(|name, _| memory.namespaces.get(name).is_some());
        for namespace in memory.namespaces.values() {
            if context.excludes(&namespace.name) {
                continue;
            }
            let Some(label) = labels.next(&namespace, wanted_label(&set, &namespace)) else { continue };
            match write(&api, &namespace.name, label).await {
                Ok(result) => {
                    labels.written(&namespace.name, label);
                    metrics.policy_written(result);
                }
                Err(error) => {
                    metrics.policy_written(PolicyWrite::LabelFailed);
                    if throttle.is_due(Instant::now()) {
                        warn(&namespace.name, &error);
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }
}

/// The label for a namespace in which pods without annotations may get secrets, or would get them
/// if the policy were enforced.
fn wanted_label(set: &PolicySet, namespace: &Namespace) -> Label {
    let leaves_alone = |mode| matches!(mode, Some(PolicyMode::Ignore | PolicyMode::IgnoreAndDetach));
    let giving = set
        .selects_namespace(namespace)
        .filter(|policy| policy.injects() && !leaves_alone(policy.parts().mutation_mode));
    let labels = giving.map(|policy| match policy.enforcement() {
        Enforcement::Enforce => Label::Enabled,
        // Such a policy rejects no pod, so an unavailable injector should not cause a rejection
        // either.
        Enforcement::Warn | Enforcement::Audit => Label::Audit,
    });
    labels.max().unwrap_or_default()
}

async fn write(api: &Api<core::Namespace>, name: &str, label: Label) -> kube::Result<PolicyWrite> {
    let value = label.value();
    let patch = Patch::Merge(json!({"metadata": {"labels": {INJECTION_BY_POLICY_LABEL: value}}}));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let written = match api.patch_metadata(name, &params, &patch).await {
        Ok(written) => written,
        // It was deleted.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(PolicyWrite::Label),
        Err(error) => return Err(error),
    };
    tracing::info!(namespace = name, label = value.unwrap_or("none"), "namespace label written");
    let age = written.metadata.creation_timestamp.map(|created| Timestamp::now().duration_since(created.0));
    if label == Label::None || age.is_none_or(|age| age >= YOUNG) {
        return Ok(PolicyWrite::Label);
    }
    tracing::warn!(
        namespace = name,
        fix = "delete the pods without secrets, so that they are created again; or give the namespace the label \
                scaivault.scailabs.ai/injection: enabled in its manifest",
        "namespace labelled less than a minute after it was created: its first pods may have \
         started without the secrets of policies"
    );
    Ok(PolicyWrite::LabelLate)
}

fn warn(namespace: &str, error: &kube::Error) {
    let fix = if is_forbidden(error) {
        "grant the injector's service account patch on namespaces, and the verb label-namespaces on injectionpolicies, or set \
         policies.labelNamespaces to false"
    } else {
        RETRIED
    };
    tracing::warn!(namespace, error = reason(error), fix, "namespace label not written");
}

/// A random part of a duration.
pub(super) fn jitter(most: Duration) -> Duration {
    let random = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    most * (random % 1_000) / 1_000
}

#[cfg(test)]
mod tests;
