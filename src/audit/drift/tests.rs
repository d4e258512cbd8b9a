use scaivault_inject::{KubeVersion, Namespace, Settings, decide};
use serde_json::json;

use super::*;
use crate::apply::apply;

/// A pod with one secret in its annotations.
fn pod() -> Value {
    json!({
        "metadata": {"name": "app", "annotations": {
            "scaivault.scailabs.ai/inject-secret-db.json": "environments/production/billing/database",
        }},
        "spec": {"serviceAccountName": "app", "containers": [{"name": "app", "image": "app:1"}]},
    })
}

fn settings(image: &str) -> Settings {
    let config = json!({"initImage": image});
    Settings::try_from(serde_json::from_value::<scaivault_inject::InjectorConfig>(config).unwrap()).unwrap()
}

/// The pod as it runs after an injection with these settings.
fn injected(pod: &Value, settings: &Settings) -> Value {
    let (text, namespace) = (pod.to_string(), Namespace::default());
    let context = Context::new(settings, &namespace, KubeVersion::OLDEST);
    let decision = decide(&PodView::parse(&text).unwrap(), &context);
    let mut injected = pod.clone();
    apply(&mut injected, decision.patch().expect("the pod is injected")).unwrap();
    injected
}

fn compared(pod: &Value, settings: &Settings) -> Comparison {
    let namespace = Namespace::default();
    compare(&pod.to_string(), pod, &Context::new(settings, &namespace, KubeVersion::OLDEST)).unwrap()
}

fn drifted(state: PodState, differences: &[&str]) -> Comparison {
    Comparison::Drifted(state, differences.iter().map(ToString::to_string).collect())
}

#[test]
fn a_pod_with_the_planned_injection_is_current() {
    let settings = settings("agent:1");
    assert_eq!(compared(&injected(&pod(), &settings), &settings), Comparison::Current);
}

#[test]
fn another_image_is_named() {
    let running = injected(&pod(), &settings("agent:1"));
    assert_eq!(
        compared(&running, &settings("agent:2")),
        drifted(PodState::Outdated, &["image agent:1 is now agent:2"])
    );
}

#[test]
fn variables_that_differ_are_named_without_values() {
    let settings = settings("agent:1");
    let mut running = injected(&pod(), &settings);
    running["metadata"]["annotations"]["scaivault.scailabs.ai/inject-secret-db.json"] =
        "environments/other".into();
    let Comparison::Drifted(PodState::Outdated, differences) = compared(&running, &settings) else {
        panic!("{running}");
    };
    assert_eq!(differences, ["SECRETS of scaivault-init"]);
    let mut led_elsewhere = injected(&pod(), &settings);
    let variables = led_elsewhere["spec"]["initContainers"][0]["env"].as_array_mut().unwrap();
    variables.push(json!({"name": "SCAIVAULT_TENANT_ID", "value": "other"}));
    variables.push(json!({"name": "HTTPS_PROXY", "value": "http://proxy"}));
    let expected = drifted(PodState::Outdated, &["SCAIVAULT_TENANT_ID of scaivault-init"]);
    assert_eq!(compared(&led_elsewhere, &settings), expected);
}

#[test]
fn a_receipt_without_a_plan_is_of_an_older_injector() {
    let settings = settings("agent:1");
    let mut running = injected(&pod(), &settings);
    running["metadata"]["annotations"]["scaivault.scailabs.ai/receipt"] = r#"{"v":1}"#.into();
    let Comparison::Drifted(PodState::Outdated, differences) = compared(&running, &settings) else {
        panic!("{running}");
    };
    assert_eq!(differences[0], "injected by an older injector (no plan in the receipt)");
}

#[test]
fn a_policy_of_another_generation_is_named() {
    let settings = settings("agent:1");
    let mut running = injected(&pod(), &settings);
    let receipt = &mut running["metadata"]["annotations"]["scaivault.scailabs.ai/receipt"];
    let mut noted: Value = serde_json::from_str(receipt.as_str().unwrap()).unwrap();
    noted["policies"] = json!(["billing@3"]);
    *receipt = noted.to_string().into();
    assert_eq!(
        compared(&running, &settings),
        drifted(PodState::Outdated, &["policy billing@3 no longer applies", "the injection is the same"])
    );
}

#[test]
fn pods_without_the_planned_injection_are_reported() {
    let settings = settings("agent:1");
    assert_eq!(compared(&pod(), &settings), drifted(PodState::NotInjected, &[]));
    let mut refused = pod();
    refused["metadata"]["annotations"]["scaivault.scailabs.ai/inject-secret-db.json"] = "../x".into();
    assert_eq!(compared(&refused, &settings), drifted(PodState::WouldBeRefused, &["invalid-value"]));
}

#[test]
fn an_unplanned_injection_is_a_leftover() {
    let settings = settings("agent:1");
    for (key, value, reason) in [
        ("inject", Some("false"), "opted-out"),
        ("mutation-mode", Some("ignore-and-detach"), "mutation-mode"),
        ("inject-secret-db.json", None, "not-annotated"),
    ] {
        let mut running = injected(&pod(), &settings);
        let annotations = running["metadata"]["annotations"].as_object_mut().unwrap();
        let key = format!("scaivault.scailabs.ai/{key}");
        match value {
            Some(value) => drop(annotations.insert(key, value.into())),
            None => drop(annotations.remove(&key)),
        }
        assert_eq!(compared(&running, &settings), drifted(PodState::Leftover, &[reason]), "{running}");
    }
}

/// Every user can write a receipt.
#[test]
fn a_receipt_alone_is_no_injection() {
    let settings = settings("agent:1");
    let plain =
        json!({"metadata": {"name": "app"}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}});
    assert_eq!(compared(&plain, &settings), Comparison::NotConcerned);
    let mut forged = plain;
    forged["metadata"]["annotations"] =
        json!({"scaivault.scailabs.ai/receipt": "{\"v\":1,\"policies\":[1,\"x\"]}"});
    assert_eq!(compared(&forged, &settings), Comparison::NotConcerned);
    let mut pod = pod();
    pod["metadata"]["annotations"]["scaivault.scailabs.ai/receipt"] = "{}".into();
    assert_eq!(compared(&pod, &settings), drifted(PodState::NotInjected, &[]));
}
