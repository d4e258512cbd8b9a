use serde_json::json;

use super::*;

fn policy(uid: &str, generation: i64, spec: &Value) -> DynamicObject {
    let object = json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "metadata": {"name": "billing", "uid": uid, "generation": generation, "resourceVersion": generation.to_string()},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn good(environment: &str) -> Value {
    json!({"namespaceSelector": {}, "environment": environment})
}

/// Stored by an older API server, or before the CRD had its rules.
fn broken() -> Value {
    json!({"namespaceSelector": {}, "enforcement": "sometimes"})
}

fn name() -> Arc<str> {
    "billing".into()
}

fn environments(store: &Store) -> Vec<(i64, String)> {
    let set = store.set();
    set.iter()
        .map(|policy| (policy.generation(), policy.environment().unwrap_or_default().to_owned()))
        .collect()
}

#[test]
fn the_last_good_version_stays_in_force() {
    let mut store = Store::default();
    assert_eq!(store.put(&name(), &policy("a", 1, &good("test"))), Change::Set);
    assert_eq!(store.put(&name(), &policy("a", 1, &good("test"))), Change::Nothing, "its status was written");
    store.put(&name(), &policy("a", 2, &broken()));
    store.put(&name(), &policy("a", 3, &broken()));
    assert_eq!(environments(&store), [(1, "test".to_owned())]);
    let (_, entry) = store.range((Bound::Unbounded, Bound::Unbounded)).next().unwrap();
    assert_eq!((entry.state(), entry.generation), (PolicyState::Kept, 3));
    assert!(entry.problems.as_ref().unwrap().contains("spec.enforcement"), "{:?}", entry.problems);
    store.put(&name(), &policy("a", 4, &good("production")));
    assert_eq!(environments(&store), [(4, "production".to_owned())]);
    store.remove("billing");
    assert_eq!((environments(&store), store.bytes), (vec![], 0));
}

#[test]
fn after_a_start_the_status_says_what_was_in_force() {
    let mut store = Store::default();
    store.put(&name(), &policy("a", 1, &good("test")));
    store.put(&name(), &policy("a", 2, &broken()));
    let (_, entry) = store.range((Bound::Unbounded, Bound::Unbounded)).next().unwrap();
    let in_force = entry.in_force.as_ref().unwrap().for_status();

    let mut restarted = Store::default();
    let mut object = policy("a", 2, &broken());
    object.data["status"] = json!({"inForce": in_force});
    restarted.put(&name(), &object);
    assert_eq!(environments(&restarted), [(1, "test".to_owned())]);
    let mut without = Store::default();
    without.put(&name(), &policy("a", 2, &broken()));
    assert_eq!((environments(&without), without.count(PolicyState::Rejected)), (vec![], 1));
}

#[test]
fn a_policy_that_is_made_again_is_another_one() {
    let mut store = Store::default();
    store.put(&name(), &policy("a", 1, &good("test")));
    store.put(&name(), &policy("b", 1, &broken()));
    assert_eq!((environments(&store), store.bytes), (vec![], 0), "what was in force was deleted");
    store.put(&name(), &policy("c", 1, &good("test")));
    assert_eq!(environments(&store).len(), 1);
}

#[test]
fn a_policy_that_is_too_large_is_not_compiled() {
    let long =
        json!({"apiVersion": API_VERSION, "kind": KIND, "spec": {"environment": "x".repeat(POLICY_BYTES)}});
    let problem = compile(&long).unwrap_err();
    assert!(problem.contains("262144 are allowed") && problem.contains("split it up"), "{problem}");
    let problem = version("billing", 1, &good("test"), 10).unwrap_err();
    assert!(problem.contains("64 MiB"), "{problem}");
}
