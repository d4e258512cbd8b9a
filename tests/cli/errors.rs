//! Errors are reported with their position, and no manifest is written that could be applied.

use super::program::{POD, command, run, run_with};

#[test]
fn broken_yaml_is_reported_with_file_and_line() {
    let outcome = run_with(format!("{POD}---\na: 1\nb: [\n"), ["inject"]).exits(2);
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains("stdin:8:4 unreadable: "), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("nothing is written to standard output"), "{}", outcome.stderr);
}

#[test]
fn a_duplicate_key_is_an_error_in_yaml_and_in_json() {
    let yaml = run_with("kind: Pod\nspec: {}\nspec: {}\n", ["check"]).exits(2);
    assert!(yaml.stdout.contains("stdin:3:1 unreadable: duplicate"), "{}", yaml.stdout);
    let json = run_with("{\n\"kind\": \"Pod\",\n\"kind\": \"Pod\"\n}", ["check"]).exits(2);
    assert!(json.stdout.contains("stdin:3:"), "{}", json.stdout);
    assert!(json.stdout.contains("duplicate key \"kind\""), "{}", json.stdout);
}

#[test]
fn a_helm_template_gets_a_hint() {
    let template = "apiVersion: v1\n{{- if .Values.on }}\nkind: {{ .Values.kind }}\n{{- end }}\n";
    let outcome = run_with(template, ["check"]).exits(2);
    assert!(outcome.stdout.contains("needs quotes"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("helm template"), "{}", outcome.stdout);
}

/// `check` continues, because the problems of the other documents are useful too.
#[test]
fn check_reports_the_other_documents_too() {
    let outcome = run_with(format!("a: [\n---\n{POD}"), ["check"]).exits(2);
    assert!(outcome.stdout.contains("pod/plain: skipped"), "{}", outcome.stdout);
    assert!(outcome.stdout.ends_with("1 object: 1 skipped; 1 unreadable\n"), "{}", outcome.stdout);
}

#[test]
fn wrong_usage_is_explained() {
    run(["inject", "--output", "xml"]).exits(2).says("possible values: yaml, json, report");
    run(["check", "--kube-version", "1.20"]).exits(2).says("1.30 or newer is needed");
    run(["check", "--kube-version", "new"]).exits(2).says("write major.minor");
    run(["chekc"]).exits(2).says("check");
    run(["check", "deploy/"]).exits(2).says("tip: write -f deploy/");
    run([] as [&str; 0]).exits(2).says("Usage:");
}

#[test]
fn the_sources_of_layers_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.yaml");
    let path = path.to_str().unwrap();
    std::fs::write(path, "onProblem: shrug\n").unwrap();
    run_with(POD, ["check", "--config", path]).exits(2).says("file.yaml").says("shrug");
    std::fs::write(path, "apiVersion: v1\nkind: Pod\n").unwrap();
    run_with(POD, ["check", "--namespace-file", path]).exits(2).says("no manifest of kind Namespace");
    std::fs::write(path, "a: [\n").unwrap();
    run_with(POD, ["check", "--namespace-file", path]).exits(2).says("file.yaml:1:4");
}

/// `scaivault-injector check … | head -1` must fail in CI as it does without `head`.
#[test]
fn a_closed_pipe_does_not_hide_problems() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.yaml");
    let refused = "apiVersion: v1\nkind: Pod\nspec: {containers: 5}\n---\n";
    for (manifests, code) in [(refused.repeat(2_000), 1), (format!("{}a: [\n", refused.repeat(2_000)), 2)] {
        std::fs::write(&path, manifests).unwrap();
        for arguments in
            [vec!["check"], vec!["check", "--output", "json"], vec!["inject", "--output", "report"]]
        {
            let arguments = arguments.into_iter().chain(["-f", path.to_str().unwrap()]);
            let mut child = command(arguments).spawn().unwrap();
            drop(child.stdout.take());
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(code));
            assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        }
    }
}

/// `scaivault-injector … | head -0`.
#[test]
fn a_closed_pipe_is_no_failure() {
    let large = format!("{POD}---\n").repeat(2_000);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.yaml");
    std::fs::write(&path, large).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [
        vec!["inject", "-f", path],
        vec!["check", "-f", path],
        vec!["check", "-f", path, "--output", "json"],
        vec!["completions", "bash"],
        vec!["annotations"],
    ] {
        let mut child = command(&arguments).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panic") && !stderr.contains("error"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn without_a_cluster_each_command_names_its_own_options() {
    let restart = run(["restart", "deployment/web"]).exits(2);
    let audit = run(["audit"]).exits(2);
    let fix = "; set --kubeconfig or KUBECONFIG";
    assert!(restart.stderr.ends_with(&format!("{fix}\n")), "{}", restart.stderr);
    assert!(audit.stderr.ends_with(&format!("{fix}, or audit manifests with -f\n")), "{}", audit.stderr);
    run(["restart", "deployment/web", "--context", "a"]).exits(2).says(fix);
}
