//! Checks namespaces and service accounts, whose annotations are defaults of pods.

use scaivault_contract::names::{ANNOTATION_PREFIX, SERVICE_ACCOUNT_ROLE_ANNOTATION};
use scaivault_inject::{
    DefaultsReport,
    annotations::{KeyPlace, nearest},
    check_namespace, check_service_account_role,
};

use super::misplaced;
use crate::{
    object::Object,
    offline_cluster::{self, OfflineCluster},
};

/// The problems of the defaults in an object; empty for other kinds.
pub(crate) fn check(object: &Object<'_>, cluster: &OfflineCluster) -> DefaultsReport {
    match (object.api_version, object.kind) {
        ("v1", "Namespace") => namespace(object, cluster),
        ("v1", "ServiceAccount") => service_account(object),
        _ => DefaultsReport::default(),
    }
}

fn namespace(object: &Object<'_>, cluster: &OfflineCluster) -> DefaultsReport {
    let Some(namespace) = offline_cluster::namespace(object) else { return DefaultsReport::default() };
    let mut report = check_namespace(&namespace, &cluster.settings);
    for key in misplaced::in_metadata(object.value, KeyPlace::ReadAnnotations, "namespace") {
        if key.opts_out() {
            report.problems.push(key.problem());
        } else {
            report.warnings.push(key.warning());
        }
    }
    report
}

fn service_account(object: &Object<'_>) -> DefaultsReport {
    let role = object.annotation(SERVICE_ACCOUNT_ROLE_ANNOTATION);
    let mut report = role.map(check_service_account_role).unwrap_or_default();
    let own_role = format!("{ANNOTATION_PREFIX}role");
    for (key, _) in object.annotations() {
        if key == own_role || is_misspelt_role(key) {
            report.warnings.push(format!(
                "{key} has no effect on a service account; use {SERVICE_ACCOUNT_ROLE_ANNOTATION}"
            ));
        }
    }
    report
}

/// Whether a key was probably meant to be [`SERVICE_ACCOUNT_ROLE_ANNOTATION`].
fn is_misspelt_role(key: &str) -> bool {
    key != SERVICE_ACCOUNT_ROLE_ANNOTATION
        && !key.starts_with(ANNOTATION_PREFIX)
        && nearest(key, [SERVICE_ACCOUNT_ROLE_ANNOTATION]).is_some()
}
