//! `check` of annotations about restarts, which only the restart controller reads.

use super::program::run_with;

/// A Deployment with these annotations, and these of its pod template.
fn workload(kind: &str, own: &str, template: &str) -> String {
    let api_version = if kind == "CronJob" { "batch/v1" } else { "apps/v1" };
    let template = format!(
        "template: {{metadata: {{annotations: {{{template}}}}}, spec: {{containers: [{{name: app, image: app}}]}}}}"
    );
    let spec = if kind == "CronJob" { format!("jobTemplate: {{spec: {{{template}}}}}") } else { template };
    format!(
        "apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: web\n  annotations:\n    {own}\nspec: {{{spec}}}\n"
    )
}

fn object(kind: &str, api_version: &str, annotation: &str) -> String {
    format!(
        "apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: db\n  annotations:\n    {annotation}\n"
    )
}

#[test]
fn annotations_of_restarts_are_accepted_where_they_are_read() {
    for manifest in [
        workload(
            "Deployment",
            "scaivault.scailabs.ai/restart: auto",
            "scaivault.scailabs.ai/restart-secrets: all",
        ),
        workload(
            "StatefulSet",
            "scaivault.scailabs.ai/restart-release: now",
            "scaivault.scailabs.ai/restart: 'off'",
        ),
        workload("DaemonSet", "scaivault.scailabs.ai/restart-canary: 'true'", ""),
        object("Secret", "v1", "scaivault.scailabs.ai/restart: auto"),
        object("Secret", "v1", "scaivault.scailabs.ai/restart-match: 'true'"),
        object(
            "Namespace",
            "v1",
            "scaivault.scailabs.ai/restart-windows: 0 2 * * 1-5 for 4h in Europe/Amsterdam",
        ),
    ] {
        let outcome = run_with(manifest, ["check"]).exits(0);
        for word in ["problem:", "warning:"] {
            assert!(!outcome.stdout.contains(word), "{}", outcome.stdout);
        }
    }
}

#[test]
fn bad_values_about_restarts_are_all_reported() {
    let own = "scaivault.scailabs.ai/restart: always\n    scaivault.scailabs.ai/restart-windows: 0 2 * * *";
    let manifest = workload("Deployment", own, "scaivault.scailabs.ai/restart-secrets: A b");
    let outcome = run_with(manifest, ["check"]).exits(1);
    for part in [
        "metadata.annotations[scaivault.scailabs.ai/restart] (line 6): \"always\" is not a mode; allowed: auto, manual or off; to fix: write",
        "(line 7): \"0 2 * * *\" is not a maintenance window",
        "spec.template.metadata.annotations[scaivault.scailabs.ai/restart-secrets]",
    ] {
        assert!(outcome.stdout.contains(part), "{part}\n{}", outcome.stdout);
    }
    for (manifest, part) in [
        (object("Namespace", "v1", "scaivault.scailabs.ai/restart: yes!"), "\"yes!\" is not a mode"),
        (
            object("Secret", "v1", "scaivault.scailabs.ai/restart: manual"),
            "\"manual\" is not a value; allowed here: auto, off",
        ),
        (object("Secret", "v1", "scaivault.scailabs.ai/restart-match: maybe"), "allowed here: true, false"),
    ] {
        let outcome = run_with(manifest, ["check"]).exits(1);
        assert!(outcome.stdout.contains(part), "{part}\n{}", outcome.stdout);
    }
}

#[test]
fn annotations_of_restarts_without_effect_are_reported() {
    for (manifest, part) in [
        (
            workload("CronJob", "scaivault.scailabs.ai/restart: auto", ""),
            "scaivault.scailabs.ai/restart has no effect: a CronJob is never restarted",
        ),
        (
            workload("Deployment", "scaivault.scailabs.ai/restart-match: 'true'", ""),
            "restart-match is not taken from the workload; set it on a native Secret or a SecretProviderClass",
        ),
        (
            workload("Deployment", "team: web", "scaivault.scailabs.ai/restart-release: now"),
            "restart-release is not taken from the pod; set it on the workload's own metadata",
        ),
        (
            object("Secret", "v1", "scaivault.scailabs.ai/restart-canary: 'true'"),
            "scaivault.scailabs.ai/restart-canary has no effect in metadata.annotations",
        ),
    ] {
        let outcome = run_with(manifest, ["check"]).exits(0);
        assert!(outcome.stdout.contains(part), "{part}\n{}", outcome.stdout);
    }
}
