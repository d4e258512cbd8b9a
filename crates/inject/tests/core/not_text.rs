//! Annotations with values that are not strings.

use scaivault_inject::{Code, Layer};
use scaivault_testkit::{key, pod};
use serde_json::{Value, json};

use crate::support::{DATABASE, cluster};

fn with(values: &[(&str, Value)]) -> Value {
    let mut pod = pod().annotate("inject-secret-db", DATABASE).annotate("mount-path", "relative").json();
    for (name, value) in values {
        pod["metadata"]["annotations"][key(name)] = value.clone();
    }
    pod
}

#[test]
fn values_that_are_no_strings_are_refused_with_the_others() {
    let pod = with(&[
        ("secret-mode-db", json!(288)),
        ("fail-open", json!(true)),
        ("role", Value::Null),
        ("url", json!(["a"])),
    ]);
    let problems = cluster().denial(&pod).problems;
    let text = problems.to_string();
    assert_eq!(problems.len(), 5, "{text}");
    for (said, fix) in [
        ("secret-mode-db: \"288\": the value is a number or true/false", "put the value in quotes"),
        ("fail-open: \"true\": the value is a number or true/false", "put the value in quotes"),
        ("role: the value is null", "or remove the key"),
        ("url: the value is a list or an object", "as a block after"),
    ] {
        assert!(text.contains(said) && text.contains(fix), "{said}: {text}");
    }
    assert_eq!(problems.iter().filter(|problem| problem.code == Code::NotAString).count(), 4);
    assert!(problems.iter().all(|problem| problem.layer == Layer::Pod));
    assert!(text.contains("mount-path"), "{text}");
}

#[test]
fn a_pod_whose_only_key_has_no_text_is_refused() {
    for value in [json!(5), Value::Null] {
        let mut pod = pod().json();
        pod["metadata"]["annotations"] = json!({ key("inject-secret-x"): value });
        let text = cluster().denial(&pod).problems.to_string();
        assert!(text.contains("inject-secret-x") && text.contains("not-a-string"), "{text}");
    }
}
