//! Counts of an audit.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    model::{Audit, Workload},
    stage::Stage,
};

/// The number of workloads in each stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageCounts {
    pub moved: usize,
    pub mixed: usize,
    pub refused: usize,
    pub native: usize,
    pub other_product: usize,
    pub none: usize,
}

impl StageCounts {
    /// The number of workloads in one stage.
    pub fn get(&self, stage: Stage) -> usize {
        match stage {
            Stage::Moved => self.moved,
            Stage::Mixed => self.mixed,
            Stage::Refused => self.refused,
            Stage::Native => self.native,
            Stage::OtherProduct => self.other_product,
            Stage::None => self.none,
        }
    }

    /// The number of workloads that use secrets.
    pub fn with_secrets(&self) -> usize {
        Stage::ALL.into_iter().filter(|stage| *stage != Stage::None).map(|stage| self.get(stage)).sum()
    }

    fn add(&mut self, stage: Stage) {
        let number = match stage {
            Stage::Moved => &mut self.moved,
            Stage::Mixed => &mut self.mixed,
            Stage::Refused => &mut self.refused,
            Stage::Native => &mut self.native,
            Stage::OtherProduct => &mut self.other_product,
            Stage::None => &mut self.none,
        };
        *number += 1;
    }
}

/// The migration progress of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSummary {
    /// Its name; empty for manifests that do not name one.
    pub name: String,
    /// The number of workloads in each stage.
    pub stages: StageCounts,
    /// Number of running pods.
    pub pods: usize,
    /// Number of running pods that differ from what they would be if they were created now.
    pub drifted_pods: usize,
}

/// The totals of all namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Number of workloads.
    pub workloads: usize,
    /// The number of workloads in each stage.
    pub stages: StageCounts,
    /// Number of distinct native Secrets that containers read.
    pub native_secrets: usize,
    /// Number of running pods.
    pub pods: usize,
    /// Number of running pods that differ from what they would be if they were created now.
    pub drifted_pods: usize,
    /// Number of service account tokens that do not expire.
    pub long_lived_tokens: usize,
    /// Number of inputs that could not be read.
    pub errors: usize,
}

impl NamespaceSummary {
    fn add(&mut self, workload: &Workload) {
        self.stages.add(workload.stage);
        if let Some(pods) = &workload.pods {
            self.pods += pods.total;
            self.drifted_pods += pods.drifted.len();
        }
    }
}

pub(crate) fn by_namespace(audit: &Audit) -> Vec<NamespaceSummary> {
    let mut namespaces: BTreeMap<&str, NamespaceSummary> = BTreeMap::new();
    for workload in &audit.workloads {
        let namespace = namespaces.entry(&workload.namespace).or_default();
        namespace.add(workload);
    }
    let named =
        namespaces.into_iter().map(|(name, summary)| NamespaceSummary { name: name.to_owned(), ..summary });
    named.collect()
}

pub(crate) fn total(audit: &Audit) -> Summary {
    let mut all = NamespaceSummary::default();
    for workload in &audit.workloads {
        all.add(workload);
    }
    let secrets = audit.workloads.iter().flat_map(|workload| {
        workload.native_secrets.iter().map(|native| (&workload.namespace, &native.secret))
    });
    let mut secrets: Vec<_> = secrets.collect();
    secrets.sort_unstable();
    secrets.dedup();
    let NamespaceSummary { name: _, stages, pods, drifted_pods } = all;
    Summary {
        workloads: audit.workloads.len(),
        stages,
        native_secrets: secrets.len(),
        pods,
        drifted_pods,
        long_lived_tokens: audit.long_lived_tokens.len(),
        errors: audit.errors.len(),
    }
}
