use serde_json::{Value, json};

use super::*;
use scaivault_cluster::policies::Store;

const NOW: i64 = 1_800_000_000;

fn store(spec: &Value, status: &Value) -> Store {
    let object = json!({
        "apiVersion": "scaivault.scailabs.ai/v1alpha1", "kind": "InjectionPolicy",
        "metadata": {"name": "billing", "uid": "a", "generation": 3, "resourceVersion": "7"},
        "spec": spec, "status": status,
    });
    let mut store = Store::default();
    store.put(&"billing".into(), &serde_json::from_value(object).unwrap());
    store
}

fn injecting() -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"team": "billing"}},
        "inject": {"secrets": [{"name": "db.json", "path": "environments/production/billing/database"}]},
    })
}

fn namespace(name: &str, labels: &[(&str, &str)]) -> Arc<Namespace> {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Arc::new(Namespace { name: name.to_owned(), labels, ..Namespace::default() })
}

fn status(store: &Store, namespaces: &[Arc<Namespace>], counts: Counts, refusal: Option<&Refusal>) -> Value {
    let overview = Overview::new(&store.set(), namespaces, true, |name| name == "excluded");
    let (name, entry) = store.range((std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)).next().unwrap();
    serde_json::to_value(desired(name, entry, &overview, counts, refusal, NOW)).unwrap()
}

fn condition_of<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap()
}

#[test]
fn pods_are_added_and_the_last_refusal_stays() {
    let former = json!({
        "pods": {"injected": 5, "refused": 1, "warned": 0, "audited": 0, "since": "2026-01-01T00:00:00Z"},
        "lastRefusal": {"time": "2026-01-02T00:00:00Z", "namespace": "a", "pod": "b", "message": "c"},
    });
    let store = store(&injecting(), &former);
    let counts = Counts { injected: 2, audited: 1, ..Counts::default() };
    let same = status(&store, &[], counts, None);
    assert_eq!(
        same["pods"],
        json!({"injected": 7, "refused": 1, "warned": 0, "audited": 1, "since": "2026-01-01T00:00:00Z"})
    );
    assert_eq!(same["lastRefusal"]["pod"], "b");
    let refusal = |time| Refusal { time, namespace: "shop".into(), pod: "web-".into(), message: "x".into() };
    assert_eq!(status(&store, &[], counts, Some(&refusal(NOW)))["lastRefusal"]["pod"], "web-");
    assert_eq!(status(&store, &[], counts, Some(&refusal(0)))["lastRefusal"]["pod"], "b", "an earlier one");
    let wrong_clock = json!({"lastRefusal": {"time": "2999-01-02T00:00:00Z", "namespace": "a", "pod": "b", "message": "c"}});
    let store = self::store(&injecting(), &wrong_clock);
    assert_eq!(
        status(&store, &[], counts, Some(&refusal(NOW)))["lastRefusal"]["pod"],
        "web-",
        "it was no time yet"
    );
}

#[test]
fn an_unchanged_status_is_not_written() {
    let first = status(&store(&injecting(), &json!({})), &[], Counts::default(), None);
    let later = store(&injecting(), &first);
    let (name, entry) = later.range((std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)).next().unwrap();
    let again = desired(name, entry, &Overview::default(), Counts::default(), None, NOW + 999);
    assert_eq!(again, entry.status, "its times stay");
}

#[test]
fn namespaces_without_the_webhook_are_named() {
    let team = ("team", "billing");
    let namespaces = [
        namespace("labelled", &[team, ("scaivault.scailabs.ai/injection", "enabled")]),
        namespace("by-policy", &[team, ("scaivault.scailabs.ai/injection-by-policy", "enabled")]),
    ];
    let store = store(&injecting(), &json!({}));
    assert_eq!(
        condition_of(&status(&store, &namespaces, Counts::default(), None), "Reachable")["status"],
        "True"
    );
    let mut more = namespaces.to_vec();
    more.extend(["z", "b", "c", "d", "excluded"].map(|name| namespace(name, &[team])));
    let all = status(&store, &more, Counts::default(), None);
    let reachable = condition_of(&all, "Reachable");
    assert_eq!((&reachable["status"], &reachable["reason"]), (&json!("False"), &json!("NotLabelled")));
    assert!(reachable["message"].as_str().unwrap().ends_with(": b, c, d and 1 more"), "{reachable}");
    assert_eq!(all["namespaces"], 7);
}

#[test]
fn a_conflict_counts_if_pods_are_refused_because_of_it() {
    let team = [("team", "billing")];
    let namespaces = ["web", "shop", "api"].map(|name| namespace(name, &team));
    for (enforcement, expected, count) in [
        ("audit", ("False", "NotEnforced"), 0),
        ("warn", ("False", "NotEnforced"), 0),
        ("enforce", ("True", "Contradiction"), 2),
    ] {
        let mut store = store(&injecting(), &json!({}));
        let mut spec = injecting();
        spec["inject"]["secrets"][0]["path"] = "other".into();
        spec["enforcement"] = enforcement.into();
        let other = json!({"metadata": {"name": "staged", "uid": "b", "generation": 1}, "spec": spec});
        store.put(&"staged".into(), &serde_json::from_value(other).unwrap());
        let status = status(&store, &namespaces, Counts::default(), None);
        let condition = condition_of(&status, "Conflicted");
        assert_eq!([&condition["status"], &condition["reason"]], [expected.0, expected.1]);
        let message = condition["message"].as_str().unwrap();
        assert!(
            message.contains("in namespace api: policies billing and staged give the file db.json"),
            "{message}"
        );
        let overview = Overview::new(&store.set(), &namespaces, true, |_| false);
        assert_eq!(overview.conflicts(), count, "{enforcement}");
    }
}

#[test]
fn an_invalid_version_names_the_one_in_force() {
    let mut store = store(&injecting(), &json!({}));
    let broken = json!({
        "metadata": {"name": "billing", "uid": "a", "generation": 4}, "spec": {"enforcement": "sometimes"},
    });
    store.put(&"billing".into(), &serde_json::from_value(broken).unwrap());
    let kept = status(&store, &[], Counts::default(), None);
    let accepted = condition_of(&kept, "Accepted");
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("PreviousInForce")));
    let message = accepted["message"].as_str().unwrap();
    assert!(message.starts_with("generation 4 is invalid, and generation 3 remains in force: "), "{message}");
    assert!(message.contains("spec.enforcement"), "{message}");
    assert_eq!((&kept["inForce"]["generation"], &kept["inForce"]["spec"]), (&json!(3), &injecting()));
}

#[test]
fn other_texts_and_numbers_are_not_urgent() {
    let first = status(&store(&injecting(), &json!({})), &[], Counts::default(), None);
    let former: InjectionPolicyStatus = serde_json::from_value(first).unwrap();
    let mut other = former.clone();
    other.conditions[2].message = "another text".to_owned();
    other.namespaces = Some(70);
    assert!(!is_urgent(&former, &other));
    other.conditions[2].status = "False".to_owned();
    assert!(is_urgent(&former, &other));
    let next = InjectionPolicyStatus { observed_generation: Some(4), ..former.clone() };
    assert!(is_urgent(&former, &next));
}

#[test]
fn the_injectors_label_counts_only_where_it_sets_it() {
    let store = store(&injecting(), &json!({}));
    for value in ["enabled", "audit"] {
        let namespace =
            namespace("shop", &[("team", "billing"), ("scaivault.scailabs.ai/injection-by-policy", value)]);
        for (labels_namespaces, status) in [(true, "True"), (false, "False")] {
            let overview =
                Overview::new(&store.set(), &[Arc::clone(&namespace)], labels_namespaces, |_| false);
            let (name, entry) =
                store.range((std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)).next().unwrap();
            let status_now = desired(name, entry, &overview, Counts::default(), None, NOW);
            assert_eq!(status_now.conditions[2].status, status, "{value} {labels_namespaces}");
        }
    }
}

#[test]
fn a_replica_without_a_version_leaves_the_saved_one() {
    let saved = json!({"generation": 2, "spec": {"enforcement": "never"}});
    let lost = store(&json!({"enforcement": "sometimes"}), &json!({"inForce": saved}));
    let left = status(&lost, &[], Counts::default(), None);
    assert_eq!(left["inForce"], saved);
    assert_eq!(condition_of(&left, "Accepted")["reason"], "NotInForce");
    let good = store(&injecting(), &json!({"inForce": saved}));
    assert_eq!(status(&good, &[], Counts::default(), None)["inForce"], Value::Null);
}

#[test]
fn replicas_that_disagree_do_not_write_by_turns() {
    let now = Instant::now();
    let first = status(&store(&injecting(), &json!({})), &[], Counts::default(), None);
    let others: InjectionPolicyStatus = serde_json::from_value(first).unwrap();
    let mut own = others.clone();
    own.conditions[1].status = "True".to_owned();
    own.pods.as_mut().unwrap().injected = 7;
    let (written, verdict) = without_dispute(own.clone(), &others, None, now);
    assert_eq!(written, own, "nothing was written yet");
    let last = WrittenStatus::new(verdict.unwrap(), None, now);
    // Another replica has overwritten it.
    let soon = now + std::time::Duration::from_secs(30);
    own.conditions[1].last_transition_time = "2027-01-01T00:00:00Z".to_owned();
    let (written, verdict) = without_dispute(own.clone(), &others, Some(last), soon);
    assert_eq!((&written.conditions, verdict), (&others.conditions, None));
    assert_eq!(written.pods.unwrap().injected, 7, "pods are added");
    let mut news = own.clone();
    news.conditions[1].message = "something else".to_owned();
    assert!(without_dispute(news, &others, Some(last), soon).1.is_some(), "the status has changed");
}
