//! The versions of CSI volumes that the driver reports for the pods of a workload.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    observe::ClassStatus,
    source::Version,
    workload::{Agreement, Pod},
};

/// The versions of each class that the driver reports for the running pods of a workload, and a pod that does
/// not have the newest one. Pods that do not run yet are ignored, because they will start with the current
/// version.
pub(crate) fn agreements<'a>(
    pods: &[(&Arc<str>, Pod)],
    statuses: Option<&'a BTreeMap<Arc<str>, Vec<ClassStatus>>>,
) -> (BTreeMap<&'a str, Agreement>, Box<str>) {
    let running: Vec<&Arc<str>> =
        pods.iter().filter(|(_, pod)| pod.is_running).map(|(name, _)| *name).collect();
    let mut found: BTreeMap<&str, Vec<(&Arc<str>, &ClassStatus)>> = BTreeMap::new();
    for name in &running {
        for status in statuses.and_then(|statuses| statuses.get(*name)).into_iter().flatten() {
            found.entry(&*status.class).or_default().push((*name, status));
        }
    }
    let mut awaited = "";
    let agreements = found.into_iter().map(|(class, reported)| {
        let version = |status: &ClassStatus| Version::Label(status.label);
        let first = version(reported[0].1);
        if reported.len() == running.len() && reported.iter().all(|(_, status)| version(status) == first) {
            return (class, Agreement::Agreed(first));
        }
        let changed =
            reported.iter().filter(|(_, status)| status.is_changed).map(|(_, status)| version(status));
        let changed = changed.clone().min().zip(changed.max());
        // Both lists are in the order of the pods, and a pod has at most one status of a class.
        let mut reporting = reported.iter().map(|(pod, _)| *pod);
        let without_status = running.iter().find(|name| reporting.next() != Some(**name));
        let lags =
            reported.iter().find(|(_, status)| changed.is_some_and(|(_, last)| version(status) != last));
        awaited = without_status.copied().or(lags.map(|(name, _)| *name)).map_or(awaited, |name| name);
        (class, Agreement::Disagreeing(changed))
    });
    let agreements = agreements.collect();
    (agreements, awaited.into())
}

/// The pods of a workload, and whether the driver has changed their files.
pub(crate) fn observed_pods(
    pods: &[(&Arc<str>, Pod)],
    statuses: Option<&BTreeMap<Arc<str>, Vec<ClassStatus>>>,
) -> Box<[Pod]> {
    let observed = pods.iter().map(|(name, pod)| {
        let statuses = statuses.and_then(|statuses| statuses.get(*name));
        let has_changed_files =
            statuses.is_some_and(|statuses| statuses.iter().any(|status| status.is_changed));
        Pod { has_changed_files, ..*pod }
    });
    observed.collect()
}
