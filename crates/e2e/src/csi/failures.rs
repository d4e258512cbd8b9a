//! Failed mounts: the pod's event contains the secret and the reason, and no container starts with
//! an empty directory.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{class, pod, running, wait_for_error, wait_for_files};
use crate::{failure::has_started, kubectl::wait_for, vault::seed, world::World};

/// Nothing listens on this port.
pub(super) const DEAD_URL: &str = "https://127.0.0.1:9";
/// A class whose pods get files.
pub(super) const GOOD: &str = "good";
pub(super) const GOOD_FILE: &str = "db.json";

/// Permanent errors: the name of the pod, parameters of its class, and texts in its event.
fn cases() -> Vec<(&'static str, Value, [&'static str; 2])> {
    let objects = |objects: Value| json!({"objects": objects.to_string()});
    let file = |path: &str| objects(json!([{"path": path, "file": GOOD_FILE}]));
    let with = |key: &str, value: &str| {
        let mut parameters = file(seed::DATABASE);
        parameters[key] = json!(value);
        parameters
    };
    vec![
        ("denied", file(seed::DENIED), [seed::DENIED, "access_denied"]),
        ("missing", file(seed::ABSENT), [seed::ABSENT, "secret_not_found"]),
        ("missing-field", file(&format!("{}#absent", seed::STRIPE)), [seed::STRIPE, "absent"]),
        ("missing-version", file(&format!("{}@9999", seed::STRIPE)), [seed::STRIPE, "not_found"]),
        ("outside", objects(json!([{"path": seed::STRIPE, "file": "../a"}])), ["objects", "../a"]),
        ("unknown-key", objects(json!([{"path": seed::STRIPE, "flie": "a"}])), ["flie", "file"]),
        ("unknown-parameter", with("base-url", "https://example.com"), ["base-url", "base_url"]),
        ("other-url", with("base_url", "https://example.com"), ["https://example.com", "does not allow"]),
        ("other-audience", with("audience", "other"), ["audience", "other"]),
        ("other-role", with("role", "sa:other"), ["role", "sa:other"]),
        ("unreachable", with("base_url", DEAD_URL), ["scaivault-e2e-csi/default", "127.0.0.1:9"]),
    ]
}

/// Creates all of them at once, and a pod with a forged attribute.
pub(crate) fn refused(world: &World<'_>) -> Result<String> {
    let cases = cases();
    for (name, parameters, _) in &cases {
        let mut class = class(world, name, "");
        crate::app::merge(&mut class["spec"]["parameters"], parameters);
        world.kubectl.create(World::CSI, &class)?;
        world.kubectl.create(World::CSI, &pod(world, name, name))?;
    }
    let good = class(world, GOOD, &json!([{"path": seed::DATABASE, "file": GOOD_FILE}]).to_string());
    world.kubectl.create(World::CSI, &good)?;
    let mut forged = pod(world, "forged", GOOD);
    forged["spec"]["volumes"][0]["csi"]["volumeAttributes"]["base_url"] = json!("https://attacker.example");
    world.kubectl.create(World::CSI, &forged)?;
    for (name, _, texts) in &cases {
        wait_for_error(world, name, texts)?;
    }
    wait_for_error(world, "forged", &["https://attacker.example", "does not allow"])?;
    let names: Vec<_> = cases.iter().map(|(name, ..)| *name).chain(["forged"]).collect();
    for name in &names {
        if has_started(&running(name).object(world)?) {
            bail!("the application of {name} has started without its files");
        }
    }
    world.kubectl.delete(World::CSI, &[&["pod"][..], &names].concat())?;
    Ok(format!("{} pods wait, each with an event that says why", names.len()))
}

/// The published codes, and failures of a server or a proxy without an answer.
fn faults() -> Vec<(String, Value, &'static str)> {
    let codes = "authentication_required token_expired token_invalid token_revoked access_denied insufficient_scope \
         mfa_required ip_not_allowed time_window_violation tenant_access_denied forbidden invalid_request invalid_path \
         invalid_secret_type invalid_duration invalid_cursor invalid_policy invalid_glob invalid_role invalid_config \
         validation_error secret_not_found version_not_found policy_not_found binding_not_found webhook_not_found \
         tenant_not_found identity_not_found engine_not_found policy_in_use secret_exists version_conflict rate_limited \
         service_unavailable internal_error unknown_code";
    let mut faults: Vec<_> = codes
        .split_whitespace()
        .map(|code| (format!("read-{}", code.replace('_', "-")), refuse("read", code), code))
        .collect();
    for code in ["token_invalid", "tenant_access_denied", "rate_limited", "service_unavailable"] {
        faults.push((format!("login-{}", code.replace('_', "-")), refuse("exchange", code), code));
    }
    let page = json!({"answer": {"status": 502, "body": "<html>Bad Gateway</html>"}});
    faults.push(("read-html".to_owned(), json!({"route": "read", "effect": page}), "502"));
    let empty = json!({"answer": {"status": 200, "body": ""}});
    faults.push(("read-empty".to_owned(), json!({"route": "read", "effect": empty}), "base_url"));
    for route in ["read", "exchange"] {
        faults.push((
            format!("{route}-hangs"),
            json!({"route": route, "effect": "hang"}),
            "scaivault-e2e-csi",
        ));
    }
    faults
}

fn refuse(route: &str, code: &str) -> Value {
    json!({"route": route, "effect": {"refuse": {"code": code}}})
}

/// Each fault affects one pod. When all faults are over, all pods start by themselves, with their
/// files.
pub(crate) fn of_the_api(world: &World<'_>) -> Result<String> {
    // With one secret, these pods of one service account would share a cache entry, so each has a
    // class with its own secret.
    let faults = faults();
    let admin = &world.vault.admin;
    for (name, fault, text) in &faults {
        // Another version of the path is another cache entry.
        admin.rotate(&secret(name), &json!({"password": "example"}))?;
        let objects = json!([{"path": secret(name), "file": GOOD_FILE}]).to_string();
        world.kubectl.create(World::CSI, &class(world, name, &objects))?;
        admin.add_fault(fault)?;
        world.kubectl.create(World::CSI, &pod(world, name, name))?;
        wait_for_error(world, name, &[*text])?;
        admin.clear_faults()?;
    }
    let names: Vec<_> = faults.iter().map(|(name, ..)| name.as_str()).collect();
    for name in &names {
        wait_for("the pod starts by itself", Duration::from_mins(4), || {
            Ok(has_started(&running(name).object(world)?).then_some(()))
        })?;
        wait_for_files(world, name, GOOD_FILE)?;
    }
    world.kubectl.delete(World::CSI, &[&["pod"][..], &names].concat())?;
    Ok(format!(
        "{} faults: each stood in the pod's event, and each pod had its files when it started",
        names.len()
    ))
}

fn secret(name: &str) -> String {
    format!("environments/production/billing/faults/{name}")
}
