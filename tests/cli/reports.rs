//! The report on each object.

use serde_json::{Value, json};

use super::program::{POD, run_with};

#[test]
fn inject_reports_on_stderr_and_check_on_stdout() {
    let line = "stdin:1 pod/plain: skipped (not-annotated)\n\n1 object: 1 skipped\n";
    let inject = run_with(POD, ["inject"]).exits(0);
    assert_eq!(inject.stderr, line);
    let report = run_with(POD, ["inject", "--output", "report"]).exits(0);
    assert_eq!((report.stdout.as_str(), report.stderr.as_str()), (line, ""));
    let check = run_with(POD, ["check"]).exits(0);
    assert_eq!((check.stdout.as_str(), check.stderr.as_str()), (line, ""));
}

#[test]
fn each_object_is_named_with_its_place() {
    let stream = format!(
        "# head\n{POD}---\n- no object\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  \
         metadata: {{name: web}}\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {{generateName: web-}}\n"
    );
    let outcome = run_with(stream, ["check"]).exits(0);
    assert_eq!(
        outcome.stdout,
        "stdin:2 pod/plain: skipped (not-annotated)\n\
         stdin:8 skipped (no-object)\n\
         stdin:10 (items/0) service/web: skipped (no-pod)\n\
         stdin:10 (items/1) deployment/web-: skipped (no-pod)\n\
         \n4 objects: 4 skipped\n"
    );
}

#[test]
fn the_report_for_programs_is_json() {
    let outcome = run_with(format!("{POD}---\na: [\n"), ["check", "--output", "json"]).exits(2);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        report["objects"],
        json!([{
            "file": "stdin", "line": 1, "apiVersion": "v1", "kind": "Pod", "namespace": "", "name": "plain",
            "outcome": "skipped", "reason": "not-annotated", "problems": [], "warnings": [],
        }])
    );
    assert_eq!(report["errors"][0]["line"], 7);
    assert_eq!(report["summary"], json!({"skipped": 1}));
}

#[test]
fn a_workload_that_is_no_valid_pod_is_a_problem() {
    let outcome = run_with("apiVersion: v1\nkind: Pod\nspec: {containers: 5}\n", ["inject"]).exits(1);
    assert_eq!(outcome.stdout, "", "nothing that the API server would refuse is passed on");
    assert!(
        outcome.stderr.contains("stdin:1 pod/(no name): denied (malformed-pod)\n    not a pod: "),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_quoted_name_cannot_forge_a_line() {
    let manifest = "apiVersion: v1\nkind: Service\nmetadata: {name: \"a\\n1 object: 1 injected\\e[1m\"}\n";
    let report = run_with(manifest, ["check"]).exits(0).stdout;
    assert_eq!(report.lines().count(), 3, "{report}");
    assert!(report.contains("service/a\\n1 object: 1 injected\\u{1b}[1m: skipped"), "{report}");
}
