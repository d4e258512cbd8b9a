//! The label of namespaces that a policy gives secrets in: with it, the API server sends their pods to the injector.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1 as core;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use scaivault_contract::names::{INJECTION_BY_POLICY_LABEL, LABEL_ENABLED};
use scaivault_inject::{Namespace, PolicyMode, PolicySet};
use scaivault_webhook::{AdmissionContext, Metrics, PolicyWrite};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::reporter::FIELD_MANAGER;
use crate::cluster::{
    Memory,
    client::{is_forbidden, reason},
};

/// How long changes are gathered. The replicas do the same, so each adds some of it by chance.
const GATHER: Duration = Duration::from_millis(500);

/// How often all namespaces are compared without a change.
const INTERVAL: Duration = Duration::from_secs(30);

/// The pause behind each write.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a log line says that labels are not taken.
const REMINDER: Duration = Duration::from_mins(5);

/// Keeps the labels as the policies in force want them, for ever.
pub(in super::super) async fn label_namespaces(
    client: Client,
    memory: Arc<Memory>,
    context: Arc<AdmissionContext>,
    metrics: Arc<Metrics>,
) {
    let api = Api::<core::Namespace>::all(client);
    let mut changes = memory.changes.subscribe();
    let mut told: Option<Instant> = None;
    // Those whose label a policy has asked for in the life of this process.
    let mut wanted = BTreeSet::new();
    loop {
        let _ = timeout(INTERVAL, changes.changed()).await;
        sleep(GATHER + jitter(GATHER)).await;
        let Some(set) = memory.policies.as_ref().and_then(super::PolicyMemory::in_force) else { continue };
        for namespace in memory.namespaces.values() {
            let is_wanted = wants_label(&set, &namespace);
            if is_wanted {
                wanted.insert(namespace.name.clone());
            }
            // A label too many costs a call, one too few the secrets: a replica that knows fewer policies than another one, such as
            // a fresh one, takes none away.
            let may_write = is_wanted || wanted.contains(&namespace.name);
            if context.excludes(&namespace.name) || is_wanted == has_label(&namespace) || !may_write {
                continue;
            }
            match write(&api, &namespace.name, is_wanted).await {
                Ok(()) => metrics.policy_written(PolicyWrite::Label),
                Err(error) => {
                    metrics.policy_written(PolicyWrite::LabelFailed);
                    let now = Instant::now();
                    if told.is_none_or(|told| now.duration_since(told) >= REMINDER) {
                        told = Some(now);
                        warn(&namespace.name, &error);
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }
}

/// Whether pods of the namespace that ask for nothing may get secrets, or would get them if the policy were enforced.
pub(super) fn wants_label(set: &PolicySet, namespace: &Namespace) -> bool {
    let leaves_alone = |mode| matches!(mode, Some(PolicyMode::Ignore | PolicyMode::IgnoreAndDetach));
    set.selects_namespace(namespace)
        .any(|policy| policy.injects() && !leaves_alone(policy.parts().mutation_mode))
}

fn has_label(namespace: &Namespace) -> bool {
    namespace.labels.get(INJECTION_BY_POLICY_LABEL).is_some_and(|value| value == LABEL_ENABLED)
}

async fn write(api: &Api<core::Namespace>, name: &str, is_wanted: bool) -> kube::Result<()> {
    let value = is_wanted.then_some(LABEL_ENABLED);
    let patch = Patch::Merge(json!({"metadata": {"labels": {INJECTION_BY_POLICY_LABEL: value}}}));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_metadata(name, &params, &patch).await {
        Ok(_) => {
            tracing::info!(namespace = name, is_labelled = is_wanted, "namespace label written");
            Ok(())
        }
        // It was deleted.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

fn warn(namespace: &str, error: &kube::Error) {
    let cure = if is_forbidden(error) {
        "grant the injector's service account patch on namespaces, and the verb label-namespaces on injectionpolicies, or set \
         policies.labelNamespaces to false"
    } else {
        "none needed if the API server comes back: it is tried again"
    };
    tracing::warn!(namespace, error = reason(error), cure, "namespace label not written");
}

/// A part of it, by chance.
pub(super) fn jitter(most: Duration) -> Duration {
    let random = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    most * (random % 1_000) / 1_000
}
