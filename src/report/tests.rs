use scaivault_inject::{Code, Denial, Injection, Layer, Patch, Pattern, Problems};
use serde_json::{Value, json};

use super::*;

fn result(kind: &str, name: &str, outcome: Outcome) -> ObjectResult {
    ObjectResult {
        pointer: String::new(),
        template: None,
        api_version: "v1".into(),
        kind: kind.into(),
        namespace: "shop".into(),
        name: name.into(),
        outcome,
        warnings: Vec::new(),
        is_detach_requested: false,
        settings: Vec::new(),
        policies: Vec::new(),
        with_policies: false,
        csi: Vec::new(),
    }
}

fn entry(line: usize, result: ObjectResult) -> Entry {
    Entry { file: "all.yaml".into(), line, result, rewritten: None, diff: None }
}

fn decided(decision: Decision) -> Outcome {
    Outcome::Decided(Box::new(decision))
}

fn injection() -> Outcome {
    decided(Decision::Inject(Box::new(Injection {
        patch: Patch::default(),
        pattern: Pattern::Sidecar,
        secrets: 2,
        replaced: false,
        warnings: vec!["the lease is not renewed".into()],
    })))
}

fn denial() -> Outcome {
    let mut problems = Problems::new();
    problems.push(Problem {
        code: Code::InvalidValue,
        key: Some("refresh-interval".into()),
        layer: Layer::Namespace,
        value: None,
        message: "not a duration".into(),
        allowed: None,
        fix: "write 5m".into(),
    });
    decided(Decision::Deny(Denial { problems, warnings: Vec::new() }))
}

fn report() -> Report {
    let mut in_list = result("Pod", "", denial());
    in_list.pointer = "/items/2".into();
    in_list.settings.push(Setting {
        key: "url".into(),
        value: "https://vault.example.com".into(),
        layer: Layer::Injector.to_string(),
        rule: None,
    });
    let mut shown = entry(9, result("Job", "migrate", decided(Decision::Skip(SkipReason::OptedOut.into()))));
    shown.diff = Some("--- a\n+++ b\n".into());
    Report {
        entries: vec![
            entry(1, result("Deployment", "billing", injection())),
            entry(5, result("Service", "billing", Outcome::NoPod)),
            entry(7, result("", "", Outcome::NoObject)),
            shown,
            entry(11, in_list),
            entry(13, result("Pod", "old", Outcome::NoReceipt)),
            entry(15, result("Pod", "odd", Outcome::Malformed("not a pod: odd".into()))),
        ],
        errors: vec![
            Unreadable {
                file: "chart.yaml".into(),
                place: Some(Place { line: 3, column: 1 }),
                message: "not YAML".into(),
                hint: Some("render it first"),
            },
            Unreadable {
                file: "gone.yaml".into(),
                place: None,
                message: "cannot be read".into(),
                hint: None,
            },
        ],
    }
}

#[test]
fn a_report_has_one_line_for_each_object() {
    let mut bytes = Vec::new();
    report().write_text(&mut bytes).unwrap();
    let text = anstream::adapter::strip_str(std::str::from_utf8(&bytes).unwrap()).to_string();
    assert_eq!(
        text,
        "\
all.yaml:1 deployment/billing: injected (sidecar, 2 secrets)
    warning: the lease is not renewed
all.yaml:5 service/billing: skipped (no-pod)
all.yaml:7 skipped (no-object)
all.yaml:9 job/migrate: skipped (opted-out)
    the annotation inject is \"false\"
--- a
+++ b
all.yaml:11 (items/2) pod/(no name): denied (problems)
    problem: scaivault.scailabs.ai/refresh-interval (of the namespace): not a duration; to fix: write 5m [invalid-value]
    url = https://vault.example.com (injector)
all.yaml:13 pod/old: kept (no-receipt)
    without a receipt, the injected parts cannot be identified; to fix: use detach --by-name
all.yaml:15 pod/odd: denied (malformed-pod)
    not a pod: odd
chart.yaml:3:1 unreadable: not YAML
    render it first
gone.yaml unreadable: cannot be read

7 objects: 2 denied, 1 injected, 1 kept, 3 skipped; 2 unreadable
"
    );
}

#[test]
fn a_program_reads_the_same_facts() {
    let json: Value = serde_json::from_str(&report().to_json().unwrap()).unwrap();
    assert_eq!(
        json["objects"][0],
        json!({
            "file": "all.yaml", "line": 1, "apiVersion": "v1", "kind": "Deployment", "namespace": "shop",
            "name": "billing", "outcome": "injected", "reason": "sidecar", "secrets": 2, "problems": [],
            "warnings": ["the lease is not renewed"],
        })
    );
    assert_eq!(json["objects"][2]["reason"], "no-object");
    assert_eq!(json["objects"][2].get("kind"), None);
    let denied = &json["objects"][4];
    assert_eq!(denied["pointer"], "/items/2");
    assert_eq!(denied["problems"][0]["code"], "invalid-value");
    assert_eq!(denied["problems"][0]["layer"], "namespace");
    assert_eq!(denied["settings"][0]["layer"], "injector");
    assert_eq!(json["errors"][0]["line"], 3);
    assert_eq!(json["errors"][1], json!({"file": "gone.yaml", "message": "cannot be read"}));
    assert_eq!(json["summary"], json!({"injected": 1, "skipped": 3, "denied": 2, "kept": 1}));
}

#[test]
fn a_summary_counts() {
    assert_eq!(Report::default().summary(), "0 objects");
    let one = Report { entries: vec![entry(1, result("", "", Outcome::NoObject))], errors: Vec::new() };
    assert_eq!(one.summary(), "1 object: 1 skipped");
}

#[test]
fn a_name_cannot_forge_a_line() {
    let forged = "x: skipped\nall.yaml:1 pod/other\u{1b}[32m";
    let report = Report {
        entries: vec![Entry {
            file: "a\nb.yaml".into(),
            ..entry(1, result("Pod\r", forged, Outcome::NoPod))
        }],
        errors: vec![Unreadable { file: "c\n".into(), place: None, message: "d\ne".into(), hint: None }],
    };
    let mut bytes = Vec::new();
    report.write_text(&mut bytes).unwrap();
    let text = anstream::adapter::strip_str(std::str::from_utf8(&bytes).unwrap()).to_string();
    assert_eq!(
        text,
        "a\\nb.yaml:1 pod\\r/x: skipped\\nall.yaml:1 pod/other\\u{1b}[32m: skipped (no-pod)\n\
         c\\n unreadable: d\\ne\n\n1 object: 1 skipped; 1 unreadable\n"
    );
}
