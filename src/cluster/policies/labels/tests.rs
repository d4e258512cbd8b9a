use serde_json::Value;

use super::*;
use scaivault_cluster::policies::compile;
use scaivault_testkit::api_server::ApiServer;

fn set(policies: &[Value]) -> PolicySet {
    let policies = policies.iter().enumerate().map(|(n, spec)| {
        compile(&json!({
            "apiVersion": super::super::API_VERSION, "kind": super::super::KIND, "metadata": {"name": format!("p-{n}")},
            "spec": spec,
        }))
        .unwrap()
    });
    PolicySet::new(policies.collect())
}

fn policy(enforcement: &str) -> Value {
    json!({
        "namespaceSelector": {}, "enforcement": enforcement,
        "inject": {"secrets": [{"name": "db.json", "path": "a/b"}]},
    })
}

fn namespace(label: Label) -> Namespace {
    let label = label.value().map(|value| (INJECTION_BY_POLICY_LABEL.to_owned(), value.to_owned()));
    Namespace { name: "shop".to_owned(), labels: label.into_iter().collect(), ..Namespace::default() }
}

#[test]
fn pods_depend_on_the_injector_only_for_policies_that_enforce() {
    let shop = namespace(Label::None);
    let wanted = |policies: &[Value]| wanted_label(&set(policies), &shop);
    assert_eq!(wanted(&[policy("audit")]), Label::Audit);
    assert_eq!(wanted(&[policy("warn")]), Label::Audit);
    assert_eq!(wanted(&[policy("audit"), policy("enforce"), policy("warn")]), Label::Enabled);
    let limits = json!({"namespaceSelector": {}, "allow": {"paths": ["a/*"]}});
    assert_eq!(wanted(std::slice::from_ref(&limits)), Label::None);
    assert_eq!(wanted(&[limits, policy("audit")]), Label::Audit);
}

#[test]
fn a_label_is_lowered_only_by_a_replica_that_has_wanted_it() {
    let [none, audit, enabled] = [Label::None, Label::Audit, Label::Enabled].map(namespace);
    let mut fresh = DesiredLabels::default();
    assert_eq!(fresh.next(&enabled, Label::None), None);
    assert_eq!(fresh.next(&enabled, Label::Audit), None, "others may know a policy that enforces");
    assert_eq!(fresh.next(&audit, Label::None), Some(Label::None), "it has wanted this one itself");
    let mut labels = DesiredLabels::default();
    assert_eq!(labels.next(&none, Label::None), None);
    assert_eq!(labels.next(&none, Label::Audit), Some(Label::Audit));
    assert_eq!(labels.next(&audit, Label::Enabled), Some(Label::Enabled));
    assert_eq!(labels.next(&enabled, Label::Enabled), None);
    assert_eq!(labels.next(&enabled, Label::Audit), Some(Label::Audit));
    labels.written("shop", Label::Audit);
    assert_eq!(labels.next(&enabled, Label::Audit), None, "another replica has raised it since");
}

#[tokio::test]
async fn a_late_label_is_counted_separately() {
    let mut server = ApiServer::start().await;
    let api = Api::<core::Namespace>::all(server.client());
    let young = Timestamp::now().to_string();
    for (created, label, result) in [
        (&*young, Label::Enabled, PolicyWrite::LabelLate),
        (&*young, Label::None, PolicyWrite::Label),
        ("2026-01-01T00:00:00Z", Label::Enabled, PolicyWrite::Label),
    ] {
        let writing = write(&api, "shop", label);
        let answer = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "shop", "creationTimestamp": created},
        });
        let (written, _) = tokio::join!(writing, server.answer("/api/v1/namespaces/shop?", &answer));
        assert_eq!(written.unwrap(), result, "{label:?} {created}");
    }
}
