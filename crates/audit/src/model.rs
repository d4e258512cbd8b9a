//! What an audit found.

use std::collections::BTreeMap;

use scaivault_usage::{CsiVolume, OtherProduct, ProductKind, ProjectedToken, SecretUse};
use serde::Serialize;

use crate::{
    stage::Stage,
    summary::{self, NamespaceSummary, Summary},
};

/// All that an audit found, sorted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// What was audited.
    pub source: Source,
    /// When, as RFC 3339 in UTC.
    pub time: String,
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// The tokens of service accounts that do not expire.
    pub long_lived_tokens: Vec<LongLivedToken>,
    /// What could not be read: the report is incomplete by that.
    pub errors: Vec<AuditError>,
    /// What the reader has to know about the whole.
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
        /// The kubeconfig's context; none inside of a pod.
        context: Option<String>,
        /// The API server's address.
        server: String,
        /// The version that decisions are made for.
        kube_version: String,
        /// The only namespace that was audited; none for all.
        namespace: Option<String>,
    },
}

/// A workload, or a pod without one.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its namespace; empty where the manifest has none.
    pub namespace: String,
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Where the pod template is in an object of an unknown kind, as an RFC 6901 pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Where it is written; none in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Where its way to the injector stands; follows from the other fields.
    pub stage: Stage,
    /// What the injector makes of it.
    pub becomes: Outcome,
    /// The native Secrets that its containers read, by name.
    pub native_secrets: Vec<NativeUse>,
    /// The native Secrets that the kubelet or a storage driver reads for it, by name.
    pub other_native_secrets: Vec<NativeUse>,
    /// Its CSI volumes.
    pub csi_volumes: Vec<CsiVolume>,
    /// The other products that handle it.
    pub other_products: Vec<OtherProduct>,
    /// The policies that select it.
    pub policies: Vec<PolicyRow>,
    /// Service account and tokens.
    pub tokens: Tokens,
    /// Its running pods; none for manifests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
}

/// A place in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, or `stdin`.
    pub file: String,
    /// The line on which the document begins, from 1.
    pub line: usize,
}

/// What the injector makes of a workload's pods.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// In one word.
    pub verdict: Verdict,
    /// The enumerated reason, as in logs and metrics.
    pub reason: String,
    /// How many secrets would be injected.
    pub secrets: usize,
    /// What is wrong.
    pub problems: Vec<String>,
    /// What is worth a look.
    pub warnings: Vec<String>,
}

/// What the injector makes of a workload's pods, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// They get secrets.
    Injected,
    /// They are refused, or let through without secrets because the injector is set to warn.
    Refused,
    /// No annotation and no policy asks for a secret, or the pods are left alone.
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
    /// It holds the token of this service account, which does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_of: Option<String>,
    /// How it is used.
    pub uses: Vec<SecretUse>,
}

impl NativeUse {
    /// The uses by Secret, sorted by name. What is known of the Secrets is added by the caller.
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
    /// What it does to the pods, in one word.
    pub effect: String,
    /// More about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The service account of a workload and its tokens.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// The service account.
    pub service_account: String,
    /// Whether a token for the API server is mounted; none where the service account, which decides, is not known.
    pub api_token: Option<bool>,
    /// The tokens of `projected` volumes.
    pub projected: Vec<ProjectedToken>,
}

/// The running pods of a workload.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pods {
    /// Those that have not ended.
    pub total: usize,
    /// Those that carry what would be injected now.
    pub current: usize,
    /// Those that do not, by name.
    pub drifted: Vec<PodDrift>,
}

/// A running pod that is not as it would be if it were created now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodDrift {
    /// The pod.
    pub name: String,
    /// How it differs.
    pub state: PodState,
    /// In what, as far as it can be told.
    pub differences: Vec<String>,
}

/// How a running pod differs from what it would be if it were created now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodState {
    /// It would be injected and is not.
    NotInjected,
    /// It carries an older injection.
    Outdated,
    /// It is injected and would not be.
    Leftover,
    /// It runs and would be refused.
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

    /// A sentence for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotInjected => "runs without secrets that it would get if it were created now",
            Self::Outdated => "carries an older injection than it would get if it were created now",
            Self::Leftover => "carries an injection that it would not get if it were created now",
            Self::WouldBeRefused => "would be refused if it were created now",
        }
    }
}

/// A native Secret with a service account's token that does not expire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LongLivedToken {
    /// The namespace.
    pub namespace: String,
    /// The Secret.
    pub secret: String,
    /// Whose token it holds.
    pub service_account: String,
    /// The day of its last use, as the API server wrote it; none if it is not known.
    pub last_used: Option<String>,
    /// The day since which the API server no longer accepts it.
    pub invalid_since: Option<String>,
    /// The workloads that read it.
    pub used_by: Vec<String>,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AuditError {
    /// A file, or a resource of the API.
    pub what: String,
    /// Why not.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Audit {
    /// Sorts what was found and works out each workload's stage.
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

    /// How far each namespace is, by name.
    pub fn namespaces(&self) -> Vec<NamespaceSummary> {
        summary::by_namespace(self)
    }

    /// The numbers of the whole.
    pub fn summary(&self) -> Summary {
        summary::total(self)
    }

    /// Whether running pods were looked at: those of a cluster.
    pub fn has_pods(&self) -> bool {
        matches!(self.source, Source::Cluster { .. })
    }

    /// Whether a workload has problems.
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

    /// Whether it is worth a row in a report that leaves out what has nothing to do with secrets.
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
