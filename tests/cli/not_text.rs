//! Annotation values that are not strings: YAML reads `0440` as 288, but the user wrote `0440`.

use super::program::run_with;

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata:
      annotations:
        scaivault.scailabs.ai/inject-secret-db.json: environments/production/billing/database
        scaivault.scailabs.ai/secret-mode-db.json: 0440
        scaivault.scailabs.ai/fail-open: yes
        scaivault.scailabs.ai/inject-secret-x: 5
        scaivault.scailabs.ai/inject-secret-y:
        scaivault.scailabs.ai/refresh-interval: soon
    spec: {containers: [{name: app, image: x}]}
";

#[test]
fn values_without_quotes_are_shown_as_written_with_their_line() {
    for command in ["check", "inject"] {
        let outcome = run_with(DEPLOYMENT, [command]).exits(1);
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        for expected in [
            "secret-mode-db.json: \"0440\": the value is a number",
            "(line 9)",
            "write scaivault.scailabs.ai/secret-mode-db.json: \"0440\"",
            "fail-open: \"yes\"",
            "(line 10)",
            "inject-secret-x: \"5\"",
            "(line 11)",
            "inject-secret-y: the value is null",
            "(line 12)",
            "refresh-interval: \"soon\"",
        ] {
            assert!(text.contains(expected), "{command}: {expected:?} is not in: {text}");
        }
        assert!(!text.contains("288"), "{text}");
    }
}

const SEVERAL: &str = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: notes}
  data:
    example: |
      scaivault.scailabs.ai/role: 1
- apiVersion: apps/v1
  kind: Deployment
  metadata:
    name: right
    annotations: {scaivault.scailabs.ai/mutation-mode: observe}
  spec:
    template:
      metadata:
        annotations: {scaivault.scailabs.ai/inject-secret-db: apps/of-the-neighbour, scaivault.scailabs.ai/role: billing}
      spec: {containers: [{name: app, image: x}]}
- apiVersion: apps/v1
  kind: Deployment
  metadata:
    name: wrong
    annotations: {scaivault.scailabs.ai/mutation-mode: yes}
  spec:
    template:
      metadata:
        annotations:
          scaivault.scailabs.ai/inject-secret-db: 5
          scaivault.scailabs.ai/role: 0123
          scaivault.scailabs.ai/mutation-mode: on
          scaivault.scailabs.ai/url: 0.12345678901234567890123456789012345678901234567890
      spec: {containers: [{name: app, image: x}]}
- apiVersion: example.com/v1
  kind: Tasks
  metadata: {name: custom}
  spec:
    tasks:
    - template:
        metadata: {annotations: {scaivault.scailabs.ai/inject-secret-db: a}}
        spec: {containers: [{name: app, image: x}]}
    - template:
        metadata: {annotations: {scaivault.scailabs.ai/inject-secret-db: no}}
        spec: {containers: [{name: app, image: x}]}
";

#[test]
fn the_value_is_that_of_the_object_in_question() {
    let outcome = run_with(SEVERAL, ["check"]).exits(1);
    let lines: Vec<_> = outcome.stdout.lines().filter(|line| line.contains("not-a-string")).collect();
    let expected = [
        (
            "mutation-mode (of the workload): \"yes\": ",
            "(line 24)",
            "write scaivault.scailabs.ai/mutation-mode: \"yes\"",
        ),
        ("inject-secret-db: \"5\": ", "(line 29)", "write scaivault.scailabs.ai/inject-secret-db: \"5\""),
        ("role: \"0123\": ", "(line 30)", "write scaivault.scailabs.ai/role: \"0123\""),
        ("mutation-mode: \"on\": ", "(line 31)", "write scaivault.scailabs.ai/mutation-mode: \"on\""),
        ("url: \"0.12345678901234567890123456789012345678…\": ", "(line 32)", "put the value in quotes"),
        ("inject-secret-db: \"no\": ", "(line 43)", "write scaivault.scailabs.ai/inject-secret-db: \"no\""),
    ];
    for (key, line, fix) in expected {
        let is_it = |text: &&&str| text.contains(key) && text.contains(line) && text.contains(fix);
        assert_eq!(lines.iter().filter(is_it).count(), 1, "{key}: {}", outcome.stdout);
    }
    assert_eq!(lines.len(), expected.len(), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("neighbour"), "{}", outcome.stdout);
}

#[test]
fn a_namespaces_bad_values_are_shown_with_their_lines() {
    let text = "\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  annotations:
    scaivault.scailabs.ai/fail-open: yes
    scaivault.scailabs.ai/url: [a]
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: shop
  annotations:
    scaikey.scailabs.ai/role: 007
";
    let outcome = run_with(text, ["check"]).exits(1);
    for expected in [
        "fail-open (of the namespace): \"yes\": the value is a number or true/false; annotation values must be strings (line 6)",
        "to fix: write scaivault.scailabs.ai/fail-open: \"true\"",
        "url (of the namespace): the value is a list or an object; annotation values must be strings (line 7)",
        "role (of the service account): \"007\": the value is a number or true/false; annotation values must be strings (line 14)",
        "to fix: write scaikey.scailabs.ai/role: \"007\"",
    ] {
        assert!(outcome.stdout.contains(expected), "{expected:?} is not in: {}", outcome.stdout);
    }
}
