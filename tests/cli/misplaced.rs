//! Keys in places where they are not read although their author relies on them, and invalid
//! defaults.

use super::program::{POD, run_with};

const SECRET: &str = "scaivault.scailabs.ai/inject-secret-db: a/b";
const OPT_OUT: &str = "scaivault.scailabs.ai/inject: 'false'";
const NOTHING: &str = "labels: {}";

/// A Deployment with a line in its own metadata and one in its template's.
fn deployment(own: &str, template: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\n  {own}\nspec:\n  template:\n    metadata:\n      \
         {template}\n    spec: {{containers: [{{name: app}}]}}\n"
    )
}

#[track_caller]
fn check(input: &str, code: i32, expected: &str) {
    let outcome = run_with(input, ["check"]).exits(code);
    assert!(outcome.stdout.contains(expected), "{expected:?} is not in\n{}", outcome.stdout);
    assert_eq!(outcome.stdout.contains("problem:"), code == 1, "{}", outcome.stdout);
}

#[test]
fn a_pod_with_only_misplaced_annotations_is_a_problem() {
    for (own, template, fix) in [
        (format!("annotations: {{{SECRET}}}"), NOTHING.to_owned(), "move it to the pod template"),
        (format!("annotation: {{{SECRET}}}"), NOTHING.to_owned(), "below metadata.annotations"),
        (NOTHING.to_owned(), format!("annotation: {{{SECRET}}}"), "below metadata.annotations"),
        (NOTHING.to_owned(), format!("labels: {{{SECRET}}}"), "write an annotation of the pod template"),
        (NOTHING.to_owned(), format!("annotations: {{{}}}", SECRET.replace("labs", "lab")), "did you mean"),
        (
            NOTHING.to_owned(),
            format!("annotations: {{{}}}", SECRET.replace("inject-", "")),
            "inject-secret-db",
        ),
    ] {
        check(&deployment(&own, &template), 1, fix);
    }
    // If another key requests secrets, a misplaced one is a warning.
    let both = deployment(&format!("annotations: {{{SECRET}}}"), &format!("annotations: {{{SECRET}2}}"));
    check(&both.replace("db: a/b2", "x: a/b"), 0, "warning: ");
}

#[test]
fn an_opt_out_in_the_wrong_place_is_a_problem() {
    let asks = format!("annotations: {{{SECRET}}}");
    for own in [
        format!("annotations: {{{OPT_OUT}}}"),
        format!("labels: {{{OPT_OUT}}}"),
        format!("annotation: {{{OPT_OUT}}}"),
    ] {
        check(&deployment(&own, &asks), 1, "would still be injected");
        check(&deployment(&own, &format!("annotations: {{{SECRET}, {OPT_OUT}}}")), 0, "skipped (opted-out)");
        check(&deployment(&own, NOTHING), 0, "skipped (not-annotated)");
    }
}

/// The Deployment controller copies the annotations of a Deployment to its replica sets.
#[test]
fn copies_of_a_controller_only_cause_a_warning() {
    let own = "annotations: {scaivault.scailabs.ai/mutation-mode: ignore}\n  \
               ownerReferences: [{kind: Deployment, name: d, controller: true}]";
    let replica_set = deployment(own, &format!("annotations: {{{SECRET}}}"));
    let replica_set = replica_set.replace("Deployment\nmeta", "ReplicaSet\nmeta");
    check(&replica_set, 0, "has no effect there");
}

#[test]
fn namespaces_and_service_accounts_are_checked_by_themselves() {
    let object = |kind: &str, key: &str| {
        format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: a, annotations: {{{key}}}}}\n")
    };
    for (kind, key, code, expected) in [
        ("Namespace", "scaivault.scailabs.ai/log-level: warning", 1, "did you mean \"warn\"?"),
        ("Namespace", "scaivault.scailabs.ai/mutation-mode: ignored", 1, "did you mean \"ignore\"?"),
        ("Namespace", "scaivault.scailabs.ai/limits-memory: 8Mi", 1, "set at least 24Mi"),
        ("Namespace", "scaivault.scailabs.ai/refresh-intervall: 5m", 0, "refresh-interval?"),
        ("Namespace", "scaivalt.scailabs.ai/mutation-mode: ignore", 1, "the injector's prefix"),
        ("Namespace", "scaivault.scailabs.ai/log-level: warn", 0, "skipped (no-pod)"),
        ("ServiceAccount", "scaivault.scailabs.ai/role: x", 0, "use scaikey.scailabs.ai/role"),
        ("ServiceAccount", "scaikey.scailabs.ai/rol: x", 0, "use scaikey.scailabs.ai/role"),
        ("ServiceAccount", "scaikey.scailabs.ai/role: ''", 1, "one line of text"),
        ("ServiceAccount", "scaikey.scailabs.ai/role: x", 0, "skipped (no-pod)"),
    ] {
        check(&object(kind, key), code, expected);
    }
}

#[test]
fn a_namespace_file_is_checked_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("namespace.yaml");
    let file = path.to_str().unwrap();
    let check = |namespace: &str, annotation: &str, code, expected: Option<&str>| {
        let text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations: {{{annotation}}}\n"
        );
        std::fs::write(&path, text).unwrap();
        let pod = POD.replace("{name: plain}", &format!("{{name: plain{namespace}}}"));
        let outcome = run_with(pod, ["check", "--namespace-file", file]).exits(code);
        let said = expected.map_or("\n1 object: ", |expected| expected);
        assert!(outcome.stdout.contains(said), "{said:?} is not in\n{}", outcome.stdout);
        assert_eq!(outcome.stdout.contains("namespace/shop"), expected.is_some(), "{}", outcome.stdout);
    };
    let valid = "scaivault.scailabs.ai/log-level: warn";
    check(", namespace: shop", valid, 0, None);
    check("", valid, 0, None);
    check(
        ", namespace: shopp",
        valid,
        0,
        Some("no workload among the manifests is in a namespace of this file"),
    );
    check("", "scaivault.scailabs.ai/log-level: warning", 1, Some("did you mean \"warn\"?"));
}
