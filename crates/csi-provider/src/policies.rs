//! Checks the objects of a mount against `InjectionPolicies`.

use std::sync::Arc;

use scaivault_contract::PodValues;
use scaivault_inject::{
    Ask, AskKind, Namespace, PodView, PolicyEffect, PolicyReport, PolicySet, VolumeContext, VolumeRefusal,
    VolumeReview,
};
use scaivault_render::Source;
use tokio::time::Instant;

use crate::{
    attributes::{Attributes, Pod},
    cluster::{Cluster, KnownPod, PodFacts},
    config::{Config, LoginTarget},
    failure::{Failure, FailureKind},
    objects::{self, Object},
    variables,
};

/// Parses the objects of a mount, fills in their variables, and checks them against the policies that select
/// the pod. Waits until `deadline` for cluster objects that are not in the cache yet.
pub(crate) async fn objects(
    attributes: &Attributes,
    target: &LoginTarget,
    config: &Config,
    cluster: Option<&Cluster>,
    deadline: Instant,
) -> Result<Vec<Arc<Object>>, Failure> {
    let Attributes { pod, .. } = attributes;
    let text = attributes.parameter("objects");
    let needs_pod = text.is_some_and(variables::need_pod);
    let Some(cluster) = cluster else {
        if needs_pod {
            return Err(Failure::invalid(
                "the variables ${label:KEY} and ${annotation:KEY} need a provider that watches the pods of its node; set --node-name and \
                 allow its service account to list and watch pods, or write the path without them",
            ));
        }
        return read(attributes, target, config, None, None).answer();
    };
    // Without policies, mounts do not depend on the Kubernetes API.
    let facts =
        if needs_pod || cluster.has_policies() { Some(cluster.facts(pod, deadline).await?) } else { None };
    let read = read(attributes, target, config, Some(cluster), facts.as_ref());
    if let Some(PodFacts { pod: known, .. }) = &facts {
        read.report(attributes, cluster, known);
    }
    read.answer()
}

/// The result of the check.
struct ReviewResult(VolumeReview<Vec<Arc<Object>>, Failure>);

fn read(
    attributes: &Attributes,
    target: &LoginTarget,
    config: &Config,
    cluster: Option<&Cluster>,
    facts: Option<&PodFacts>,
) -> ReviewResult {
    let pod = &attributes.pod;
    let names = PodValues { pod: Some(pod.name.clone()), node: cluster.map(|cluster| cluster.node.clone()) };
    let metadata = facts.map_or("{}", |facts| facts.pod.metadata());
    let text =
        format!(r#"{{"metadata":{metadata},"spec":{{"serviceAccountName":"{}"}}}}"#, pod.service_account);
    let view = match PodView::parse(&text) {
        Ok(view) => view,
        Err(error) => return ReviewResult::failed(Failure::invalid(format!("the pod's metadata: {error}"))),
    };
    let unknown = Namespace { name: pod.namespace.to_string(), ..Namespace::default() };
    let context = VolumeContext {
        pod: &view,
        namespace: facts.map_or(&unknown, |facts| &facts.namespace),
        names: &names,
        policies: facts.map_or(PolicySet::empty(), |facts| &facts.policies),
        now: facts.map_or(0, |facts| facts.now),
    };
    ReviewResult(context.review(|variables| {
        let fill = |text: &str, place| variables::fill(text, place, pod, variables);
        let objects = objects::read(attributes.parameter("objects"), &fill)?;
        let asks = asks(&objects, target, config);
        Ok((objects, asks))
    }))
}

impl ReviewResult {
    fn failed(failure: Failure) -> Self {
        let answer = Err(VolumeRefusal::Unreadable(failure));
        Self(VolumeReview { answer, warnings: Vec::new(), report: PolicyReport::default() })
    }

    fn answer(self) -> Result<Vec<Arc<Object>>, Failure> {
        self.0.answer.map_err(|refusal| match refusal {
            VolumeRefusal::Unreadable(failure) => failure,
            VolumeRefusal::Policies(texts) => Failure::listed(FailureKind::Policy, texts),
        })
    }

    /// Counts and logs the effects of policies. The driver calls again about every minute, so a warning is
    /// logged once for each pod.
    fn report(&self, attributes: &Attributes, cluster: &Cluster, known: &KnownPod) {
        let Attributes { pod: Pod { namespace, name, .. }, class, .. } = attributes;
        for used in &self.0.report.uses {
            cluster.metrics.used(&used.name, used.effect);
            let (policy, message) = (&*used.name, used.message.as_deref().unwrap_or_default());
            let generation = used.generation;
            match used.effect {
                PolicyEffect::Warned if known.must_log(&used.name, generation) => {
                    tracing::warn!(%namespace, pod = %name, class, policy, generation, message, "mount allowed with a warning of a policy");
                }
                PolicyEffect::Audited if known.must_log(&used.name, generation) => {
                    tracing::info!(%namespace, pod = %name, class, policy, generation, message, "policy in audit mode matched a mount");
                }
                // Refusals are in the log line of the failed mount.
                PolicyEffect::Selected
                | PolicyEffect::Injected
                | PolicyEffect::Refused
                | PolicyEffect::Warned
                | PolicyEffect::Audited => {}
            }
        }
    }
}

/// The content of a mount request.
fn asks(objects: &[Arc<Object>], target: &LoginTarget, config: &Config) -> Vec<Ask> {
    let mut asks = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        let Object { source, file, .. } = &**object;
        let place = || format!("objects[{index}] ({file})");
        match source {
            Source::Secrets(secrets) => asks.extend(secrets.secrets().map(|secret| Ask {
                kind: AskKind::Path,
                place: place(),
                value: secret.path.to_string(),
            })),
            Source::Lease(dynamic) => asks.push(Ask {
                kind: AskKind::Dynamic,
                place: place(),
                value: format!("{}/{}", dynamic.engine, dynamic.role),
            }),
        }
    }
    if let Some(role) = &target.role {
        asks.push(Ask { kind: AskKind::Role, place: "the parameter role".to_owned(), value: role.clone() });
    }
    // Any class may use the provider's default address.
    if !target.is_default_server()
        && let Some(server) = config.servers().get(target.server)
    {
        asks.push(Ask {
            kind: AskKind::Url,
            place: "the parameter base_url".to_owned(),
            value: server.address.to_string(),
        });
    }
    asks
}
