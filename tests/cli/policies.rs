//! Policies in files: `--policy`, `policy test`, and policies among the manifests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;

use super::program::{Outcome, run};

const POLICY: &str = "
apiVersion: scaivault.scailabs.ai/v1alpha1
kind: InjectionPolicy
metadata: {name: billing}
spec:
  namespaceSelector: {matchLabels: {team: billing}}
  podSelector: {matchLabels: {app: invoices}}
  inject:
    secrets: [{name: db.json, path: environments/production/billing/database}]
  allow:
    paths: ['environments/production/billing/**']
";

const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: billing, labels: {team: billing}}
";

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: billing, labels: {app: invoices}}
spec: {containers: [{name: app, image: app}]}
";

/// Files in a temporary directory.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(directory)
    }

    /// Runs the program; words with a leading `@` are replaced by paths of these files.
    fn run(&self, words: &[&str]) -> Outcome {
        let words: Vec<PathBuf> = words
            .iter()
            .map(|word| {
                word.strip_prefix('@').map_or_else(|| PathBuf::from(word), |name| self.0.path().join(name))
            })
            .collect();
        run(words)
    }

    /// Runs a command on the pod with the namespace and the policy.
    fn run_on_pod(&self, command: &str, more: &[&str]) -> Outcome {
        let words = ["-f", "@pod.yaml", "--namespace-file", "@namespace.yaml", "--policy", "@policy.yaml"];
        self.run(&[&[command], &words[..], more].concat())
    }
}

fn ordinary() -> Files {
    Files::new(&[("policy.yaml", POLICY), ("namespace.yaml", NAMESPACE), ("pod.yaml", POD)])
}

#[test]
fn a_policy_injects_into_a_pod_without_annotations() {
    let files = ordinary();
    let words = ["check", "-f", "@pod.yaml", "--namespace-file", "@namespace.yaml"];
    let without = files.run(&words).exits(0).stdout;
    assert!(without.contains("pod/one: skipped"), "{without}");
    let with = files.run_on_pod("check", &["--explain"]).exits(0).stdout;
    for expected in [
        "pod/one: injected",
        "inject-secret-db.json = environments/production/billing/database (policy billing)",
        "policy billing: injected",
    ] {
        assert!(with.contains(expected), "{expected}: {with}");
    }
    let manifest = files.run_on_pod("inject", &[]).exits(0).stdout;
    assert!(
        manifest.contains("environments/production/billing/database -> /run/secrets/db.json"),
        "{manifest}"
    );
}

#[test]
fn a_value_that_a_policy_does_not_allow_is_a_problem() {
    let pod = POD.replace(
        "labels:",
        "annotations: {scaivault.scailabs.ai/inject-secret-x: environments/production/shop/x}, labels:",
    );
    let files = Files::new(&[("policy.yaml", POLICY), ("namespace.yaml", NAMESPACE), ("pod.yaml", &pod)]);
    let report = files.run_on_pod("check", &["-o", "json"]).exits(1).stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    let object = &report["objects"][0];
    assert_eq!(object["outcome"], "denied", "{report:#}");
    assert_eq!(object["policies"][0]["name"], "billing", "{report:#}");
    assert_eq!(object["policies"][0]["effect"], "refused", "{report:#}");
}

#[test]
fn a_policy_that_cannot_be_used_is_named_with_all_fields() {
    let bad = POLICY
        .replace("podSelector", "podSelecter")
        .replace("'environments/production/billing/**'", "'/x', a//b");
    let files = Files::new(&[("bad.yaml", &bad), ("pod.yaml", POD)]);
    let outcome = files.run(&["check", "-f", "@pod.yaml", "--policy", "@bad.yaml"]).exits(2);
    for expected in [
        "bad.yaml:7 injectionpolicy/billing: spec.podSelecter: unknown field; did you mean podSelector?",
        "bad.yaml:11 injectionpolicy/billing: spec.allow.paths[0]: \"/x\": expected secret paths",
        "bad.yaml:11 injectionpolicy/billing: spec.allow.paths[1]: \"a//b\": expected secret paths",
    ] {
        assert!(outcome.stderr.contains(expected), "{expected}: {}", outcome.stderr);
    }
    assert_eq!(outcome.stdout, "");
}

#[test]
fn a_directory_of_policies_may_have_other_kinds() {
    let files = Files::new(&[
        ("all/policy.yaml", POLICY),
        ("all/deep/namespace.yaml", NAMESPACE),
        ("all/values.yaml", "replicas: 2\n"),
        ("empty/namespace.yaml", NAMESPACE),
        ("twice/one.yaml", POLICY),
        ("twice/two.yaml", POLICY),
        ("newer/policy.yaml", &POLICY.replace("v1alpha1", "v2")),
        ("bare.yaml", &POLICY.replace("apiVersion: scaivault.scailabs.ai/v1alpha1\n", "")),
        ("braces.yaml", &POLICY.replace("name: db.json,", "name: db.json, template: {{ data.url }},")),
        ("pod.yaml", POD),
    ]);
    let check = |policies: &str| files.run(&["check", "-f", "@pod.yaml", "--policy", policies]);
    check("@all").exits(0);
    let words = ["check", "-f", "@pod.yaml", "--policy", "@all", "--policy", "@all/../all/policy.yaml"];
    files.run(&words).exits(0);
    check("@empty").exits(2).says("no InjectionPolicy (scaivault.scailabs.ai/v1alpha1) is here");
    check("@twice")
        .exits(2)
        .says("two.yaml:2 injectionpolicy/billing: metadata.name: ")
        .says("one.yaml:2 has a policy of this name");
    check("@newer").exits(2).says("apiVersion: expected scaivault.scailabs.ai/v1alpha1, found \"scaivault");
    check("@bare.yaml").exits(2).says("bare.yaml:2 injectionpolicy/billing: apiVersion: expected scaivault.scailabs.ai/v1alpha1, found nothing");
    check("@braces.yaml").exits(2).says("a value with {{ needs quotes");
    check("@nowhere").exits(2).says("nowhere");
}

#[test]
fn policies_among_the_manifests_are_checked_and_not_used() {
    let together = [NAMESPACE, POLICY, POD].join("---");
    let files =
        Files::new(&[("all.yaml", &together), ("bad.yaml", &together.replace("podSelector", "podSelecter"))]);
    let report = files.run(&["check", "-f", "@all.yaml"]).exits(0).stdout;
    assert!(report.contains("injectionpolicy/billing: skipped (no-pod)"), "{report}");
    assert!(report.contains("pod/one: skipped (not-annotated)"), "{report}");
    let report = files.run(&["check", "-f", "@all.yaml", "--policy", "@all.yaml"]).exits(0).stdout;
    assert!(report.contains("pod/one: injected"), "{report}");
    let report = files.run(&["check", "-f", "@bad.yaml"]).exits(1).stdout;
    assert!(report.contains("injectionpolicy/billing: denied (invalid-policy)"), "{report}");
    assert!(
        report.contains("problem: spec.podSelecter: unknown field; did you mean podSelector?"),
        "{report}"
    );
    let refused = files.run(&["inject", "-f", "@bad.yaml"]).exits(1);
    assert_eq!(refused.stdout, "", "nothing is applied");
}

#[test]
fn labels_of_a_namespace_that_are_not_known_are_warned_of() {
    let files = ordinary();
    let report = files.run(&["check", "-f", "@pod.yaml", "--policy", "@policy.yaml"]).exits(0).stdout;
    assert!(report.contains("warning: the labels of namespace billing are not known"), "{report}");
    let by_name = POLICY.replace("{team: billing}", "{kubernetes.io/metadata.name: billing}");
    let files = Files::new(&[("policy.yaml", &by_name), ("pod.yaml", POD)]);
    let report = files.run(&["check", "-f", "@pod.yaml", "--policy", "@policy.yaml"]).exits(0).stdout;
    assert!(report.contains("pod/one: injected") && !report.contains("warning:"), "{report}");
}

#[test]
fn exceptions_end_with_their_day() {
    let policy = format!(
        "{POLICY}  exceptions:\n  - {{name: old, allow: {{paths: ['old/**']}}, owner: me, reason: because, expires: '2027-01-31'}}\n"
    );
    let pod = POD.replace("labels:", "annotations: {scaivault.scailabs.ai/inject-secret-x: old/x}, labels:");
    let files = Files::new(&[("policy.yaml", &policy), ("namespace.yaml", NAMESPACE), ("pod.yaml", &pod)]);
    files.run_on_pod("check", &["--date", "2027-01-31"]).exits(0);
    files.run_on_pod("check", &["--date", "2027-02-01"]).exits(1);
    let invalid = files.run_on_pod("check", &["--date", "soon"]);
    invalid.exits(2).says("expected a date such as 2027-01-31");
}

#[test]
fn every_recipe_passes_its_cases() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies");
    let names = |directory: &Path| {
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> =
            files.filter(|path| path.is_file()).map(|path| path.file_name().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let tests = recipes.join("tests");
    assert_eq!(names(&recipes), names(&tests), "a recipe without cases");
    let passed = run(["policy".as_ref(), "test".as_ref(), tests.as_os_str()]).exits(0).stdout;
    assert!(passed.contains(" 0 failed"), "{passed}");
}

const TEST: &str = "
apiVersion: scaivault.scailabs.ai/v1alpha1
kind: InjectionPolicyTest
policies: [policy.yaml]
namespaces: [{name: billing, labels: {team: billing}}]
cases:
- name: invoices get their file
  namespace: billing
  pod: {metadata: {labels: {app: invoices}}}
  expect:
    outcome: injected
    secrets: {db.json: environments/production/billing/database}
- name: reports get it too
  namespace: billing
  pod: {metadata: {labels: {app: reports}}}
  expect:
    outcome: injected
    secrets: {db.json: environments/production/billing/database}
";

#[test]
fn a_failing_case_shows_the_difference() {
    let files = Files::new(&[("policy.yaml", POLICY), ("test.yaml", TEST)]);
    let report = files.run(&["policy", "test", "@test.yaml"]).exits(1).stdout;
    let (_, report) = report.split_once("test.yaml:7 invoices get their file: passed\n").expect(&report);
    let (_, diff) = report.split_once("reports get it too: failed\n").expect(report);
    let expected = "--- expected\n+++ actual\n@@ -1,3 +1,2 @@\n-outcome: injected\n-secrets:\n\
                    -  db.json: environments/production/billing/database\n+outcome: skipped\n+secrets: {}\n\n\
                    2 cases: 1 passed, 1 failed\n";
    assert_eq!(diff, expected);
    let json = files.run(&["policy", "test", "@test.yaml", "-o", "json"]).exits(1).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["cases"][0]["passed"], &json["cases"][1]["passed"]),
        (&true.into(), &false.into()),
        "{json:#}"
    );
    assert!(json["cases"][1]["diff"].as_str().unwrap().contains("+outcome: skipped"), "{json:#}");
}

#[test]
fn mistakes_of_a_test_are_named() {
    let files = Files::new(&[
        ("policy.yaml", POLICY),
        (
            "bad.yaml",
            &TEST
                .replace("outcome: injected", "outcome: inject")
                .replace("cases:", "kubeVersion: 1.36\ncases:"),
        ),
        ("alone.yaml", &TEST.replace("policies: [policy.yaml]\n", "")),
        ("together.yaml", &format!("{POLICY}---{}", TEST.replace("policies: [policy.yaml]\n", ""))),
        ("none.yaml", NAMESPACE),
        ("kind.yaml", &TEST.replace("PolicyTest", "PolicyTests")),
        ("broken/policy.yaml", &POLICY.replace("podSelector", "podSelecter")),
        ("broken/test.yaml", TEST),
    ]);
    let report = files.run(&["policy", "test", "@bad.yaml"]).exits(1).stdout;
    assert!(report.contains("cases[0].expect.outcome: \"inject\" is not one of"), "{report}");
    assert!(
        report.contains("kubeVersion: expected a string, found the number 1.36; put it in quotes"),
        "{report}"
    );
    files.run(&["policy", "test", "@alone.yaml"]).exits(2).says("no policy to test");
    let report = files.run(&["policy", "test", "@together.yaml"]).exits(1).stdout;
    assert!(report.contains("2 cases: 1 passed, 1 failed"), "{report}");
    files.run(&["policy", "test", "@none.yaml"]).exits(2).says("no InjectionPolicyTest is in these files");
    let report = files.run(&["policy", "test", "@kind.yaml"]).exits(1).stdout;
    assert!(
        report.contains("kind.yaml:3: kind: expected InjectionPolicyTest or InjectionPolicy, found"),
        "{report}"
    );
    let report = files.run(&["policy", "test", "@broken/test.yaml"]).exits(1).stdout;
    assert!(report.contains("spec.podSelecter: unknown field; did you mean podSelector?"), "{report}");
    assert!(report.contains("0 cases: 0 passed, 0 failed; 1 problem"), "{report}");
}

#[test]
fn files_that_were_meant_as_tests_are_named() {
    let typo = TEST.replace("InjectionPolicyTest", "InjectionPolicyTests");
    let files = Files::new(&[
        ("policy.yaml", POLICY),
        ("a.yaml", &TEST.replace("app: reports", "app: invoices")),
        ("b.yaml", &typo),
        ("c.yaml", "kind: [InjectionPolicyTest\n"),
        ("d.yaml", "paths: [apps/${namespace}/**]\n"),
    ]);
    let report = files.run(&["policy", "test", "@."]).exits(1).stdout;
    for expected in [
        "b.yaml:3: kind: expected InjectionPolicyTest or InjectionPolicy, found \"InjectionPolicyTests\"",
        "c.yaml:1:7: unclosed bracket",
        "; to fix: a value with ${ between [ ] or { } needs quotes",
        "2 cases: 2 passed, 0 failed; 3 problems",
    ] {
        assert!(report.contains(expected), "{expected}: {report}");
    }
}

#[test]
fn mistakes_of_policies_of_several_tests_are_named_once() {
    let files = Files::new(&[
        ("policy.yaml", &POLICY.replace("podSelector", "podSelecter")),
        ("one.yaml", TEST),
        ("two.yaml", TEST),
    ]);
    let report = files.run(&["policy", "test", "@."]).exits(1).stdout;
    assert!(report.contains("0 cases: 0 passed, 0 failed; 1 problem"), "{report}");
}

#[test]
fn the_policy_of_the_page_passes_its_test() {
    let page = include_str!("../../docs/policies.md");
    let blocks: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|block| block.starts_with("apiVersion"))
        .collect();
    let [policy, test] = blocks[..] else { panic!("a policy and a test: {blocks:?}") };
    let files = Files::new(&[("billing.yaml", policy), ("billing.test.yaml", test)]);
    let report = files.run(&["policy", "test", "@billing.test.yaml"]).exits(0).stdout;
    assert!(report.contains("1 case: 1 passed, 0 failed"), "{report}");
}
