//! The data model of an audit.

use std::collections::BTreeMap;

use scaivault_usage::{CsiVolume, OtherProduct, ProductKind, ProjectedToken, SecretUse};
use serde::Serialize;

use crate::{
    stage::Stage,
    summary::{self, NamespaceSummary, Summary},
};

/// The result of an audit, sorted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// What was audited.
    pub source: Source,
    /// When the audit ran, as RFC 3339 in UTC.
    pub time: String,
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// The service account tokens that do not expire.
    pub long_lived_tokens: Vec<LongLivedToken>,
    /// What could not be read. If this is not empty, the report is incomplete.
    pub errors: Vec<AuditError>,
    /// Notes about the whole report for its reader.
    pub notes: Vec<String>,
}

/// What was audited.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Source {
    /// Manifests.
    Manifests {
        /// The number of files.
        files: usize,
    },
    /// A live cluster.
    #[serde(rename_all = "camelCase")]
    Cluster {
        /// The kubeconfig's context; `None` when running inside a pod.
        context: Option<String>,
        /// The API server's address.
        server: String,
        /// The Kubernetes version that decisions are computed for.
        kube_version: String,
        /// The namespace that was audited; `None` for all namespaces.
        namespace: Option<String>,
    },
}

/// A workload, or a pod without one.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its namespace; empty if the manifest does not name one.
    pub namespace: String,
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// RFC 6901 pointer to the pod template, for an object of an unknown kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The manifest that it comes from; `None` in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Its stage of the migration to the injector; derived from the other fields.
    pub stage: Stage,
    /// What the injector would do with its pods.
    pub becomes: Outcome,
    /// The native Secrets that its containers read, by name.
    pub native_secrets: Vec<NativeUse>,
    /// The native Secrets that the kubelet or a storage driver reads on its behalf, by name.
    pub other_native_secrets: Vec<NativeUse>,
    /// Its CSI volumes.
    pub csi_volumes: Vec<CsiVolume>,
    /// The other products that handle it.
    pub other_products: Vec<OtherProduct>,
    /// The policies that select it.
    pub policies: Vec<PolicyRow>,
    /// Its service account and tokens.
    pub tokens: Tokens,
    /// Its running pods; `None` for manifests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
}

/// A place in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, or `stdin`.
    pub file: String,
    /// The line on which the document begins, starting at 1.
    pub line: usize,
}

/// What the injector would do with a workload's pods.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The outcome in one word.
    pub verdict: Verdict,
    /// The reason code, as in logs and metrics.
    pub reason: String,
    /// How many secrets would be injected.
    pub secrets: usize,
    /// The problems for which the pods are rejected.
    pub problems: Vec<String>,
    /// The warnings.
    pub warnings: Vec<String>,
}

/// What the injector would do with a workload's pods, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// They get secrets.
    Injected,
    /// They are rejected, or admitted without secrets if the injector's failure policy is to warn.
    Refused,
    /// No annotation and no policy asks for a secret, or the pods are excluded from injection.
    NotCovered,
}

impl Verdict {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Refused => "refused",
            Self::NotCovered => "not covered",
        }
    }
}

/// The uses of one native Secret.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeUse {
    /// The Secret.
    pub secret: String,
    /// The objects that write it, such as an `ExternalSecret`.
    pub written_by: Vec<Writer>,
    /// The service account whose non-expiring token the Secret contains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_of: Option<String>,
    /// How it is used.
    pub uses: Vec<SecretUse>,
}

impl NativeUse {
    /// Groups uses by Secret, sorted by name. The caller fills in `written_by` and `token_of`.
    pub fn by_secret(uses: impl IntoIterator<Item = SecretUse>) -> Vec<Self> {
        let mut found: BTreeMap<String, Vec<SecretUse>> = BTreeMap::new();
        for used in uses {
            found.entry(used.secret.clone()).or_default().push(used);
        }
        let each = found.into_iter();
        each.map(|(secret, uses)| Self { secret, written_by: Vec::new(), token_of: None, uses }).collect()
    }
}

/// An object that writes a native Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Writer {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// A policy that selects a workload's pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyRow {
    /// Its name.
    pub name: String,
    /// Its generation.
    pub generation: i64,
    /// Its effect on the pods, in one word.
    pub effect: String,
    /// Details of the effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The service account of a workload and its tokens.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// The service account.
    pub service_account: String,
    /// Whether a token for the API server is mounted; `None` if the service account decides and was
    /// not read.
    pub api_token: Option<bool>,
    /// The tokens in `projected` volumes.
    pub projected: Vec<ProjectedToken>,
}

/// The running pods of a workload.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pods {
    /// Number of pods that have not terminated.
    pub total: usize,
    /// Number of pods whose injection is what it would be if they were created now.
    pub current: usize,
    /// The other pods.
    pub drifted: Vec<PodDrift>,
}

/// A running pod that differs from what it would be if it were created now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodDrift {
    /// The pod.
    pub name: String,
    /// How it differs.
    pub state: PodState,
    /// The differences, as far as they can be determined.
    pub differences: Vec<String>,
}

/// How a running pod differs from what it would be if it were created now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodState {
    /// It is not injected, and would be if it were created now.
    NotInjected,
    /// Its injection is outdated.
    Outdated,
    /// It is injected, and would not be if it were created now.
    Leftover,
    /// It is running, and would be rejected if it were created now.
    WouldBeRefused,
}

impl PodState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::NotInjected, Self::Outdated, Self::Leftover, Self::WouldBeRefused];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotInjected => "not injected",
            Self::Outdated => "outdated",
            Self::Leftover => "leftover",
            Self::WouldBeRefused => "would be refused",
        }
    }

    /// The state as a sentence for the report.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotInjected => "runs without secrets that it would get if it were created now",
            Self::Outdated => "carries an older injection than it would get if it were created now",
            Self::Leftover => "carries an injection that it would not get if it were created now",
            Self::WouldBeRefused => "would be refused if it were created now",
        }
    }
}

/// A native Secret that contains a service account token without expiry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LongLivedToken {
    /// The namespace.
    pub namespace: String,
    /// The Secret.
    pub secret: String,
    /// The service account of the token.
    pub service_account: String,
    /// The day of its last use, as the API server recorded it; `None` if unknown.
    pub last_used: Option<String>,
    /// The day on which the API server invalidated it.
    pub invalid_since: Option<String>,
    /// The workloads that read it.
    pub used_by: Vec<String>,
}

/// An input that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AuditError {
    /// The file or the API resource.
    pub what: String,
    /// The error.
    pub message: String,
    /// How to fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Audit {
    /// Sorts the findings and computes each workload's stage.
    pub fn new(
        source: Source,
        time: String,
        mut workloads: Vec<Workload>,
        mut long_lived_tokens: Vec<LongLivedToken>,
        mut errors: Vec<AuditError>,
        notes: Vec<String>,
    ) -> Self {
        for workload in &mut workloads {
            workload.stage = Stage::from_workload(workload);
        }
        workloads.sort_by(|a, b| a.key().cmp(&b.key()));
        long_lived_tokens.sort();
        errors.sort();
        errors.dedup();
        Self { source, time, workloads, long_lived_tokens, errors, notes }
    }

    /// The migration progress of each namespace, sorted by name.
    pub fn namespaces(&self) -> Vec<NamespaceSummary> {
        summary::by_namespace(self)
    }

    /// The totals of all namespaces.
    pub fn summary(&self) -> Summary {
        summary::total(self)
    }

    /// Whether the audit covers running pods, which is the case for a cluster.
    pub fn has_pods(&self) -> bool {
        matches!(self.source, Source::Cluster { .. })
    }

    /// Whether any workload would be rejected.
    pub fn has_problems(&self) -> bool {
        self.workloads.iter().any(|workload| workload.becomes.verdict == Verdict::Refused)
    }
}

impl Workload {
    /// `deployment/billing`, as kubectl writes it. Not escaped.
    pub fn display_name(&self) -> String {
        let name = if self.name.is_empty() { "(no name)" } else { &self.name };
        format!("{}/{name}", self.kind.to_lowercase())
    }

    /// The other products that deliver secrets to it.
    pub fn delivering_products(&self) -> impl Iterator<Item = &OtherProduct> {
        self.other_products.iter().filter(|other| other.product.kind() == ProductKind::Delivers)
    }

    /// Whether a report that omits workloads without secrets includes it.
    pub fn is_relevant(&self) -> bool {
        self.stage != Stage::None
            || !self.policies.is_empty()
            || !self.other_products.is_empty()
            || !self.becomes.warnings.is_empty()
            || self.pods.as_ref().is_some_and(|pods| !pods.drifted.is_empty())
    }

    fn key(&self) -> impl Ord + '_ {
        (&self.namespace, &self.kind, &self.name, &self.api_version, &self.place, &self.template)
    }
}
