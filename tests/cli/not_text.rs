//! Values of annotations that are no strings: YAML reads `0440` as 288, and the user wrote `0440`.

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
            "secret-mode-db.json: \"0440\": it is a number",
            "(line 9)",
            "write secret-mode-db.json: \"0440\"",
            "fail-open: \"yes\"",
            "(line 10)",
            "inject-secret-x: \"5\"",
            "(line 11)",
            "inject-secret-y: it is null",
            "(line 12)",
            "refresh-interval: \"soon\"",
        ] {
            assert!(text.contains(expected), "{command}: {expected:?} is not in: {text}");
        }
        assert!(!text.contains("288"), "{text}");
    }
}
