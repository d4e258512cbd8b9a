use std::collections::HashSet;

use super::*;
use crate::{Duration, MountPath, TargetFile, names, parse_dynamic, parse_secrets, parse_variables};

/// The variables of ScaiVault's Kubernetes page, in the page's order.
const PUBLISHED: [&str; 9] = [
    "SCAIVAULT_URL",
    "SCAIVAULT_TOKEN_FILE",
    "SECRETS",
    "WATCH_PATHS",
    "REFRESH_INTERVAL",
    "RELOAD_SIGNAL",
    "RELOAD_TARGET",
    "DYNAMIC",
    "FAIL_OPEN",
];

#[test]
fn names_are_unique_variables() {
    let names: HashSet<_> = ENVIRONMENT.iter().map(|spec| spec.name).collect();
    assert_eq!(names.len(), ENVIRONMENT.len());
    for name in names {
        assert!(name.parse::<crate::VariableName>().is_ok(), "{name}");
    }
}

#[test]
fn published_variables_are_first_and_marked() {
    let marked: Vec<_> = ENVIRONMENT.iter().filter(|spec| spec.published).map(|spec| spec.name).collect();
    assert_eq!(marked, PUBLISHED);
    let first: Vec<_> = ENVIRONMENT.iter().take(PUBLISHED.len()).map(|spec| spec.name).collect();
    assert_eq!(first, PUBLISHED);
}

#[test]
fn every_doc_is_a_sentence_on_one_line() {
    for EnvSpec { name, doc, .. } in ENVIRONMENT {
        assert!(doc.ends_with('.') && doc.len() > 20 && !doc.contains('\n'), "{name}: {doc}");
        assert!(doc.starts_with(|first: char| first.is_ascii_uppercase() || first == '`'), "{name}: {doc}");
    }
}

/// Parses each default as the agent does; fails if a variable is missing in this list.
#[test]
fn defaults_parse() {
    for &EnvSpec { name, default, .. } in ENVIRONMENT {
        let parses = match name {
            SCAIVAULT_URL | SCAIKEY_TOKEN_URL => default.starts_with("https://") && !default.ends_with('/'),
            SCAIVAULT_TOKEN_FILE | SCAIVAULT_ENV_FILE => default.parse::<TargetFile>().is_ok(),
            SECRETS | WATCH_PATHS => parse_secrets(default).is_ok_and(|entries| entries.is_empty()),
            DYNAMIC => parse_dynamic(default).is_ok_and(|entries| entries.is_empty()),
            SECRET_ENV => parse_variables(default).is_ok_and(|entries| entries.is_empty()),
            REFRESH_INTERVAL | FETCH_TIMEOUT => default.parse::<Duration>().is_ok(),
            SCAIVAULT_REVOKE_DELAY => Duration::parse_allowing_zero(default).is_ok(),
            FAIL_OPEN | REFRESH_ON_EVENT | SCAIVAULT_ALLOW_HTTP | SYNC_SECRET_IMMUTABLE => {
                default.parse() == Ok(false)
            }
            SYNC_SECRET_TYPE => default == "Opaque",
            SYNC_SECRET_API_DIR => default.starts_with('/'),
            SCAIVAULT_AUDIENCE => !default.is_empty(),
            LOG_LEVEL => ["error", "warn", "info", "debug", "trace"].contains(&default),
            LOG_FORMAT => default == "json",
            SYNC_SECRET_NAME
            | SYNC_SECRET_LABELS
            | SYNC_SECRET_ANNOTATIONS
            | MOUNT_POINTS
            | RELOAD_SIGNAL
            | RELOAD_TARGET
            | RELOAD_URL
            | SCAIVAULT_POD
            | SCAIVAULT_NODE
            | SCAIVAULT_POD_UID
            | SCAIVAULT_TRUST
            | SCAIKEY_TRUST
            | SCAIVAULT_ROLE
            | SCAIVAULT_CA_FILE
            | SCAIVAULT_CREDENTIALS_DIR
            | SCAIVAULT_STATE_DIR
            | SCAIVAULT_TENANT_ID
            | SCAIVAULT_METRICS_LISTEN => default.is_empty(),
            other => panic!("{other} has no check here"),
        };
        assert!(parses, "{name}: {default:?}");
    }
}

#[test]
fn defaults_are_the_injectors_paths() {
    let default = |name| ENVIRONMENT.iter().find(|spec| spec.name == name).unwrap().default;
    assert_eq!(default(SCAIVAULT_TOKEN_FILE), format!("{}/{}", names::TOKEN_DIR, names::TOKEN_FILE));
    assert_eq!(default(SCAIVAULT_ENV_FILE), format!("{}/{}", names::ENV_DIR, names::ENV_FILE));
    assert!(names::DEFAULT_MOUNT_PATH.parse::<MountPath>().is_ok());
}

#[test]
fn each_pattern_has_its_own_list_of_secrets() {
    let containers = |name| ENVIRONMENT.iter().find(|spec| spec.name == name).unwrap().containers;
    assert!(containers(SECRETS).has_init() && !containers(SECRETS).has_sidecar());
    assert!(containers(WATCH_PATHS).has_sidecar() && !containers(WATCH_PATHS).has_init());
    assert!(containers(FAIL_OPEN).has_init() && containers(FAIL_OPEN).has_sidecar());
}
