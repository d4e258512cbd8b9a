//! The workload's own mode in its template: every transition between two modes.

use scaivault_inject::workload::{AdjustmentReason, Former, adjust};
use scaivault_testkit::key;
use serde_json::{Value, json};

use super::{Workload, deployment, job, suspended_job};

const IGNORE: Option<&str> = Some("ignore");
const DETACH: Option<&str> = Some("ignore-and-detach");
const MISSPELT: Option<&str> = Some("ingore");
const NONE: Option<&str> = None;

const OTHER: &str = "environments/production/billing/other";

#[test]
fn a_created_workload_carries_its_mode() {
    for (mode, carried) in [(NONE, NONE), (IGNORE, IGNORE), (DETACH, DETACH), (MISSPELT, NONE)] {
        let (created, adjustment) = deployment().mode(mode).created();
        assert_eq!(created.carries(), carried, "{mode:?}");
        assert_eq!(created.json, deployment().mode(mode).carrying(carried).json, "nothing else changes");
        assert!(adjustment.warnings.is_empty(), "{adjustment:?}");
        // The injector's key has no effect if users write it.
        for by_hand in [IGNORE, DETACH, MISSPELT] {
            let (created, _) = deployment().mode(mode).carrying(by_hand).created();
            assert_eq!(created.carries(), carried, "{mode:?} with {by_hand:?} by hand");
        }
    }
}

/// Former mode, mode in the former template, requested mode, resulting mode in the template. Each
/// is combined with every mode that a user may have written into the new template.
#[test]
fn every_change_between_modes() {
    for (former, was_carried, mode, carried) in [
        (NONE, NONE, NONE, NONE),
        (NONE, NONE, IGNORE, NONE),
        (NONE, NONE, DETACH, DETACH),
        (NONE, NONE, MISSPELT, NONE),
        // Frozen on creation: nothing was injected.
        (IGNORE, IGNORE, NONE, NONE),
        (IGNORE, IGNORE, IGNORE, IGNORE),
        (IGNORE, IGNORE, DETACH, DETACH),
        (IGNORE, IGNORE, MISSPELT, IGNORE),
        // Frozen later: the injection remains.
        (IGNORE, NONE, NONE, NONE),
        (IGNORE, NONE, IGNORE, NONE),
        (IGNORE, NONE, DETACH, DETACH),
        (IGNORE, NONE, MISSPELT, NONE),
        (DETACH, DETACH, NONE, NONE),
        (DETACH, DETACH, IGNORE, IGNORE),
        (DETACH, DETACH, DETACH, DETACH),
        (DETACH, DETACH, MISSPELT, DETACH),
        (MISSPELT, NONE, NONE, NONE),
        (MISSPELT, NONE, IGNORE, NONE),
        (MISSPELT, NONE, DETACH, DETACH),
        (MISSPELT, NONE, MISSPELT, NONE),
        (MISSPELT, DETACH, NONE, NONE),
        (MISSPELT, DETACH, IGNORE, IGNORE),
        (MISSPELT, IGNORE, DETACH, DETACH),
        (MISSPELT, IGNORE, MISSPELT, IGNORE),
        // Written by hand before the injector handled the workload.
        (NONE, DETACH, IGNORE, IGNORE),
        (NONE, IGNORE, NONE, NONE),
    ] {
        let before = deployment().mode(former).carrying(was_carried);
        for by_hand in [NONE, IGNORE, DETACH, MISSPELT] {
            let applied = deployment().mode(mode).carrying(by_hand);
            let (after, adjustment) = applied.updated(&before);
            let case = format!("{former:?} carrying {was_carried:?} -> {mode:?} with {by_hand:?}");
            assert_eq!(after.carries(), carried, "{case}");
            assert_eq!(after.json, deployment().mode(mode).carrying(carried).json, "{case}");
            let reason = match (by_hand, carried) {
                (there, wanted) if there == wanted => AdjustmentReason::InStep,
                (_, Some(_)) => AdjustmentReason::Carried,
                (_, None) => AdjustmentReason::Cleared,
            };
            assert_eq!(adjustment.reason, reason, "{case}");
            assert!(adjustment.warnings.is_empty(), "{case}: {adjustment:?}");
        }
    }
}

#[test]
fn a_frozen_template_keeps_its_former_keys() {
    let before = deployment().wish("pattern", "sidecar").wish("role", "billing").mode(NONE);
    let applied = deployment()
        .mode(IGNORE)
        .wish("inject-secret-new", OTHER)
        .wish("pattern", "init")
        .wish("no-such-key", "x")
        .wish("mutation-mode", "ignore-and-detach")
        .spec("replicas", 7);
    let (after, adjustment) = applied.updated(&before);
    assert_eq!(after.json, before.mode(IGNORE).spec("replicas", 7).json);
    assert_eq!(adjustment.reason, AdjustmentReason::Frozen);
    assert_eq!(
        adjustment.warnings,
        [
            "frozen by mutation-mode: ignore; not added: inject-secret-new, mutation-mode, no-such-key",
            "frozen by mutation-mode: ignore; not removed: role",
            "frozen by mutation-mode: ignore; not changed: pattern",
        ]
    );
}

#[test]
fn other_modes_freeze_nothing() {
    for mode in [NONE, DETACH, MISSPELT] {
        let applied =
            deployment().mode(mode).wish("inject-secret-new", OTHER).without("inject-secret-db.json");
        let (after, _) = applied.updated(&deployment().mode(IGNORE));
        assert_eq!(after.json, applied.carrying(if mode == DETACH { DETACH } else { NONE }).json, "{mode:?}");
    }
}

/// They describe the containers of the template, which stay as applied.
#[test]
fn receipt_and_status_follow_the_containers_they_are_about() {
    let injected = deployment().mode(IGNORE).wish("receipt", "{\"v\":1}").wish("status", "injected");
    let plain = deployment().mode(IGNORE);
    assert_eq!(injected.updated(&plain).0.json, injected.json);
    assert_eq!(plain.updated(&injected).0.json, plain.json);
}

#[test]
fn a_warning_with_many_keys_is_short() {
    let applied = (0..40).fold(deployment().mode(IGNORE), |applied, number| {
        applied.wish(&format!("inject-secret-number-{number:02}"), OTHER)
    });
    let (_, adjustment) = applied.updated(&deployment());
    let [warning] = adjustment.warnings.as_slice() else { panic!("{adjustment:?}") };
    assert!(warning.len() <= 150 && warning.ends_with(" and 37 more"), "{warning}");
    let long = format!("inject-secret-{}", "n".repeat(47));
    let (_, adjustment) = deployment().mode(IGNORE).wish(&long, OTHER).updated(&deployment());
    assert!(adjustment.warnings[0].ends_with(&long) && adjustment.warnings[0].len() <= 120);
}

#[test]
fn a_job_that_may_have_run_keeps_its_template() {
    for (was_carried, mode) in
        [(NONE, DETACH), (IGNORE, NONE), (DETACH, IGNORE), (DETACH, NONE), (IGNORE, DETACH)]
    {
        let before = job().carrying(was_carried);
        for by_hand in [NONE, IGNORE, DETACH] {
            let (after, adjustment) = job().mode(mode).carrying(by_hand).updated(&before);
            let case = format!("carrying {was_carried:?} -> {mode:?} with {by_hand:?}");
            assert_eq!(after.json["spec"]["template"], before.json["spec"]["template"], "{case}");
            let [warning] = adjustment.warnings.as_slice() else { panic!("{case}: {adjustment:?}") };
            // The mode `ignore` keeps the decision that was made when the Job was created.
            assert!(warning.contains("cannot change") && warning.len() <= 120, "{warning}");
            assert_eq!(adjustment.reason, AdjustmentReason::FixedTemplate, "{case}");
        }
    }
    for (was_carried, mode) in [(NONE, IGNORE), (IGNORE, IGNORE), (DETACH, DETACH), (NONE, NONE)] {
        let before = job().carrying(was_carried);
        let (after, adjustment) = job().mode(mode).carrying(was_carried).updated(&before);
        assert_eq!(after.json, job().mode(mode).carrying(was_carried).json);
        assert!(adjustment.warnings.is_empty(), "{was_carried:?} -> {mode:?}: {adjustment:?}");
    }
}

#[test]
fn a_running_jobs_changed_keys_are_restored() {
    let applied = job().mode(IGNORE).wish("inject-secret-new", OTHER);
    let (after, adjustment) = applied.updated(&job());
    assert_eq!(after.json["spec"]["template"], job().json["spec"]["template"]);
    assert_eq!(adjustment.reason, AdjustmentReason::Frozen);
}

#[test]
fn a_suspended_job_that_never_ran_is_like_any_workload() {
    let (after, _) = suspended_job().mode(DETACH).updated(&suspended_job());
    assert_eq!(after.carries(), DETACH);
    let resumed = suspended_job().mode(DETACH).spec("suspend", false);
    assert_eq!(resumed.updated(&suspended_job()).0.carries(), DETACH, "the former state counts");
    assert_eq!(job().mode(DETACH).created().0.carries(), DETACH, "a new one has not run");
}

/// The template of such a Job, including the mode, comes from the CronJob.
#[test]
fn a_job_keeps_the_mode_of_its_cron_job() {
    let made = |mode: Option<&str>, carried| {
        let owners = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "controller": true}]);
        job().mode(mode).carrying(carried).metadata("ownerReferences", owners)
    };
    for (mode, inherited, carried) in [
        (NONE, NONE, NONE),
        (NONE, IGNORE, IGNORE),
        (NONE, DETACH, DETACH),
        (IGNORE, DETACH, DETACH),
        (DETACH, IGNORE, DETACH),
        (IGNORE, NONE, IGNORE),
    ] {
        let (created, _) = made(mode, inherited).created();
        assert_eq!(created.carries(), carried, "{mode:?} in a CronJob that is {inherited:?}");
    }
}

#[test]
fn missing_parents_are_created() {
    for template in [
        json!({"spec": {}}),
        json!({"metadata": null, "spec": {}}),
        json!({"metadata": {}, "spec": {}}),
        json!({"metadata": {"labels": {"app": "billing"}}, "spec": {}}),
        json!({"metadata": {"annotations": null}, "spec": {}}),
        json!({"metadata": {"annotations": {}}, "spec": {}}),
    ] {
        let bare = deployment().spec("template", template.clone());
        let (created, _) = bare.clone().mode(IGNORE).created();
        assert_eq!(created.carries(), IGNORE, "{template}");
        let mut expected = bare.mode(IGNORE).json;
        let annotations = json!({key("workload-mutation-mode"): "ignore"});
        expected["spec"]["template"]["metadata"]["annotations"] = annotations;
        assert_eq!(created.json, expected, "{template}");
        // Removing the mode leaves an empty map, which is equivalent to none for the API server.
        let (cleared, _) = created.clone().mode(NONE).updated(&created);
        assert_eq!(cleared.json["spec"]["template"]["metadata"]["annotations"], json!({}), "{template}");
    }
    let (created, _) = deployment().spec("template", json!({})).created();
    assert_eq!(created.json["spec"]["template"], json!({}), "nothing to add, no parents");
}

#[test]
fn a_cron_jobs_template_is_found_where_it_is() {
    let Workload { mut json, .. } = deployment().mode(DETACH);
    let template = json["spec"]["template"].take();
    json["spec"] = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}});
    let cron_job = Workload { kind: scaivault_inject::workload::WorkloadKind::CronJob, json };
    let (created, adjustment) = cron_job.created();
    assert_eq!(created.carries(), DETACH);
    let path = adjustment.patch.operations()[0].path();
    assert!(path.starts_with("/spec/jobTemplate/spec/template/metadata/annotations/"), "{path}");
}

#[test]
fn an_object_being_deleted_is_not_changed() {
    let applied = deployment().mode(DETACH).metadata("deletionTimestamp", "2026-01-01T00:00:00Z");
    let (after, adjustment) = applied.updated(&deployment());
    assert_eq!((after.json, adjustment.reason), (applied.json, AdjustmentReason::Deleting));
    assert!(adjustment.warnings.is_empty());
}

#[test]
fn without_the_former_workload_nothing_changes() {
    for mode in [IGNORE, DETACH, NONE] {
        let applied = deployment().mode(mode).carrying(IGNORE);
        let (after, adjustment) = applied.adjusted(|workload| adjust(workload, Former::Unknown));
        assert_eq!(after.json, applied.json);
        assert_eq!((adjustment.reason, adjustment.warnings.len()), (AdjustmentReason::UnknownFormer, 1));
    }
}

#[test]
fn keys_with_odd_characters_are_escaped() {
    let applied = deployment().mode(IGNORE).wish("a~b/c", "x");
    let (after, adjustment) = applied.updated(&deployment());
    assert_eq!(after.json, deployment().mode(IGNORE).json);
    assert!(
        matches!(serde_json::to_value(&adjustment.patch).unwrap(), Value::Array(list) if list.len() == 1)
    );
}
