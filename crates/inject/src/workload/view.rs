//! The read model of a workload: its own annotations, its template, and whether the template may
//! change.

use scaivault_contract::names::ANNOTATION_PREFIX;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;
use thiserror::Error;

use super::WorkloadKind;
use crate::{
    mutation_mode::{MUTATION_MODE, MutationMode, WORKLOAD_MUTATION_MODE},
    pod::{Annotations, MalformedPod, PodView, Presence, Text, each_item, object, shown_error},
};

/// The parts of a workload that the core reads, borrowed from the text of the review.
#[derive(Clone, Debug)]
pub struct WorkloadView<'a> {
    pub(super) kind: WorkloadKind,
    /// The annotations of its own metadata.
    pub(super) annotations: Annotations<'a>,
    /// Whether it is being deleted.
    pub(super) is_deleting: bool,
    /// Whether a CronJob created it, including its template.
    pub(super) is_from_cron_job: bool,
    pub(super) template: PodView<'a>,
    pub(super) template_parents: Parents,
    /// Whether the API server rejects changes of the template, including its annotations.
    pub(super) is_template_fixed: bool,
    /// For a Job, or for the Jobs of a CronJob.
    pub(super) pod_failure_policy: Option<&'a RawValue>,
}

/// Which parents of the annotations the template has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parents {
    /// None, or `metadata` is null.
    Neither,
    /// `metadata` without annotations.
    Metadata,
    /// `metadata` with annotations.
    Annotations,
}

/// The text is not a workload of the expected kind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MalformedWorkload {
    /// It is not an object, or a member has an unexpected type.
    #[error("not a {kind}: {}", shown_error(error))]
    Object {
        /// The expected kind.
        kind: &'static str,
        /// The error and its location.
        error: serde_json::Error,
    },
    /// It has no pod template.
    #[error("the {kind} has no pod template at {pointer}")]
    NoTemplate {
        /// Its kind.
        kind: &'static str,
        /// The expected location of the template.
        pointer: &'static str,
    },
    /// Its template is not a pod template.
    #[error(transparent)]
    Template(#[from] MalformedPod),
}

impl<'a> WorkloadView<'a> {
    /// Parses a workload of this kind from JSON.
    pub fn parse(kind: WorkloadKind, json: &'a str) -> Result<Self, MalformedWorkload> {
        #[derive(Deserialize)]
        struct Document<'b>(#[serde(borrow, deserialize_with = "object")] Wire<'b>);
        let malformed = |error| MalformedWorkload::Object { kind: kind.name(), error };
        let Document(Wire { metadata, spec, status }) = serde_json::from_str(json).map_err(malformed)?;
        let Spec { template, suspend, pod_failure_policy, job_template } = spec;
        let (template, pod_failure_policy) = match kind {
            WorkloadKind::CronJob => (job_template.spec.template, job_template.spec.pod_failure_policy),
            _ => (template, pod_failure_policy),
        };
        let Some(template) = template else {
            return Err(MalformedWorkload::NoTemplate {
                kind: kind.name(),
                pointer: kind.template_pointer(),
            });
        };
        let is_job = kind == WorkloadKind::Job;
        let view = PodView::parse(template.get())?;
        let template_parents = if view.metadata.annotations.presence == Presence::Value(()) {
            Parents::Annotations
        } else if has_metadata(template) {
            Parents::Metadata
        } else {
            Parents::Neither
        };
        Ok(Self {
            kind,
            annotations: metadata.annotations,
            is_deleting: metadata.deletion_timestamp.is_some(),
            is_from_cron_job: is_job && metadata.owner_references.is_some_and(|Owners { cron_job }| cron_job),
            template: view,
            template_parents,
            is_template_fixed: is_job && (suspend != Some(true) || status.start_time.is_some()),
            pod_failure_policy,
        })
    }

    /// Its pod template.
    pub fn template(&self) -> &PodView<'a> {
        &self.template
    }

    /// `mutation-mode` of its own metadata; `None` if it is absent or invalid.
    pub fn mutation_mode(&self) -> Option<MutationMode> {
        self.own(MUTATION_MODE)?.parse().ok()
    }

    /// The value of one of the injector's annotations in its own metadata, by key without the
    /// prefix.
    pub(super) fn own(&self, key: &str) -> Option<&str> {
        self.annotations.get(key)
    }

    /// The injector's annotations in its own metadata by key without the prefix, sorted.
    pub(super) fn own_annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.annotations
            .injector
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATION_PREFIX)?, &**value)))
    }

    /// The value of one of the injector's annotations in the template, by key without the prefix.
    pub(super) fn in_template(&self, key: &str) -> Option<&str> {
        self.template.annotation(key)
    }

    /// The mode in the template as written, which the pods get.
    pub(super) fn carried_mode(&self) -> Option<&str> {
        self.in_template(WORKLOAD_MUTATION_MODE)
    }
}

/// Parses the text a second time, for a template without annotations in the first pass.
fn has_metadata(template: &RawValue) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Template {
        metadata: Option<IgnoredAny>,
    }
    serde_json::from_str(template.get()).is_ok_and(|Template { metadata }| metadata.is_some())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire<'a> {
    #[serde(borrow, deserialize_with = "object")]
    metadata: Metadata<'a>,
    #[serde(borrow, deserialize_with = "object")]
    spec: Spec<'a>,
    #[serde(deserialize_with = "object")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) annotations: Annotations<'a>,
    pub(super) deletion_timestamp: Option<IgnoredAny>,
    owner_references: Option<Owners>,
}

/// The relevant part of the owners, so that a long list takes no memory.
struct Owners {
    /// Whether the controller is a CronJob.
    cron_job: bool,
}

impl<'de> Deserialize<'de> for Owners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut cron_job = false;
        each_item(deserializer, |owner: Owner<'de>| {
            cron_job |= owner.is_cron_job();
            Ok(())
        })?;
        Ok(Self { cron_job })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Owner<'a> {
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    controller: Option<bool>,
}

impl Owner<'_> {
    fn is_cron_job(&self) -> bool {
        self.controller == Some(true) && self.kind.as_deref() == Some(WorkloadKind::CronJob.name())
    }
}

/// The members of all kinds. The API server does not send members that a kind does not have.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    template: Option<&'a RawValue>,
    suspend: Option<bool>,
    #[serde(borrow)]
    pod_failure_policy: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "object")]
    job_template: JobTemplate<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JobTemplate<'a> {
    #[serde(borrow, deserialize_with = "object")]
    spec: JobSpec<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JobSpec<'a> {
    #[serde(borrow)]
    template: Option<&'a RawValue>,
    #[serde(borrow)]
    pod_failure_policy: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    start_time: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: WorkloadKind, json: &str) -> WorkloadView<'_> {
        WorkloadView::parse(kind, json).unwrap()
    }

    #[test]
    fn a_jobs_template_may_change_until_it_has_started() {
        for (spec, status, fixed) in [
            (r#""suspend":true,"#, "{}", false),
            (r#""suspend":true,"#, r#"{"startTime":null}"#, false),
            (r#""suspend":true,"#, r#"{"startTime":"2026-01-01T00:00:00Z"}"#, true),
            (r#""suspend":false,"#, "{}", true),
            ("", "null", true),
        ] {
            let json = format!(r#"{{"spec":{{{spec}"template":{{}}}},"status":{status}}}"#);
            assert_eq!(parse(WorkloadKind::Job, &json).is_template_fixed, fixed, "{json}");
            assert!(!parse(WorkloadKind::Deployment, &json).is_template_fixed, "{json}");
        }
    }

    #[test]
    fn only_the_controller_reference_makes_a_cron_jobs_job() {
        for (owners, expected) in [
            (r#"[{"kind":"Backup"},{"kind":"CronJob","controller":true}]"#, true),
            (r#"[{"kind":"CronJob","controller":false}]"#, false),
            (r#"[{"kind":"Backup","controller":true}]"#, false),
            ("null", false),
        ] {
            let json = format!(r#"{{"metadata":{{"ownerReferences":{owners}}},"spec":{{"template":{{}}}}}}"#);
            assert_eq!(parse(WorkloadKind::Job, &json).is_from_cron_job, expected, "{owners}");
        }
    }

    #[test]
    fn parents_of_the_templates_annotations_are_seen() {
        for (template, parents) in [
            ("{}", Parents::Neither),
            (r#"{"metadata":null}"#, Parents::Neither),
            (r#"{"metadata":{}}"#, Parents::Metadata),
            (r#"{"metadata":{"annotations":null}}"#, Parents::Metadata),
            (r#"{"metadata":{"annotations":{}}}"#, Parents::Annotations),
        ] {
            let json = format!(r#"{{"spec":{{"jobTemplate":{{"spec":{{"template":{template}}}}}}}}}"#);
            assert_eq!(parse(WorkloadKind::CronJob, &json).template_parents, parents, "{template}");
        }
    }

    #[test]
    fn an_object_that_is_no_workload_is_reported() {
        for (json, text) in [
            ("[]", "not a Job"),
            (r#"{"spec":[]}"#, "not a Job"),
            (r#"{"spec":{"suspend":"yes","template":{}}}"#, "not a Job"),
            ("{}", "/spec/template"),
            (r#"{"spec":{"template":null}}"#, "/spec/template"),
            (r#"{"spec":{"template":[]}}"#, "not a pod"),
        ] {
            let error = WorkloadView::parse(WorkloadKind::Job, json).unwrap_err().to_string();
            assert!(error.contains(text), "{json}: {error}");
        }
    }
}
