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

/// Stored by an older API server, or before the CRD had its validation rules.
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
    assert_eq!((environments(&store), store.settle().len(), store.bytes), (vec![], 0, 0));
}

#[test]
fn after_a_start_the_status_has_the_version_in_force() {
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
    for other in [json!("scaivault.scailabs.ai/v1beta1"), Value::Null] {
        let mut restarted = Store::default();
        object.data["status"]["inForce"]["apiVersion"] = other;
        restarted.put(&name(), &object);
        assert_eq!(environments(&restarted), [], "another version may mean something else");
    }
    let mut without = Store::default();
    without.put(&name(), &policy("a", 2, &broken()));
    assert_eq!((environments(&without), without.count(PolicyState::Rejected)), (vec![], 1));
}

#[test]
fn a_recreated_policy_is_another_one() {
    let mut store = Store::default();
    store.put(&name(), &policy("a", 1, &good("test")));
    store.put(&name(), &policy("b", 1, &broken()));
    assert_eq!(environments(&store), [], "the version in force was deleted");
    store.put(&name(), &policy("c", 1, &good("test")));
    assert_eq!(environments(&store).len(), 1);
}

#[test]
fn a_policy_that_is_too_large_is_not_compiled() {
    let long =
        json!({"apiVersion": API_VERSION, "kind": KIND, "spec": {"environment": "x".repeat(POLICY_BYTES)}});
    let problem = compile(&long).unwrap_err();
    assert!(problem.contains("262144 are allowed") && problem.contains("split it up"), "{problem}");
}

/// The status in which another replica has saved a version.
fn saved(environment: &str) -> Value {
    let mut store = Store::default();
    store.put(&name(), &policy("a", 1, &good(environment)));
    serde_json::to_value(entry(&store, "billing").in_force.as_ref().unwrap().for_status()).unwrap()
}

fn entry<'s>(store: &'s Store, name: &str) -> &'s Entry {
    &store.entries[name]
}

#[test]
fn a_version_that_another_replica_has_saved_is_adopted() {
    let mut store = Store::default();
    let mut object = policy("a", 2, &broken());
    store.put(&name(), &object);
    assert_eq!(environments(&store), []);
    object.data["status"] =
        json!({"inForce": {"apiVersion": API_VERSION, "generation": 1, "spec": {"enforcement": "never"}}});
    assert_eq!(store.put(&name(), &object), Change::Nothing, "it cannot be used either");
    object.data["status"] = json!({"inForce": saved("test")});
    assert_eq!(store.put(&name(), &object), Change::Set);
    assert_eq!(environments(&store), [(1, "test".to_owned())]);
    object.data["status"] = json!({"inForce": saved("production")});
    assert_eq!(store.put(&name(), &object), Change::Nothing, "it has one");
}

#[test]
fn an_invalid_policy_that_was_in_force_is_lost() {
    let accepted = |status: &str| {
        json!({"conditions": [{"type": "Accepted", "status": status, "reason": "x", "message": "x",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    };
    let unusable =
        json!({"inForce": {"apiVersion": API_VERSION, "generation": 1, "spec": {"enforcement": "never"}}});
    for (spec, status, is_lost) in [
        (broken(), accepted("True"), true),
        (broken(), unusable, true),
        (broken(), json!({"inForce": saved("test")}), false),
        (broken(), accepted("False"), false),
        (broken(), json!({}), false),
        (good("test"), accepted("True"), false),
    ] {
        let mut store = Store::default();
        let mut object = policy("a", 2, &spec);
        object.data["status"] = status.clone();
        store.put(&name(), &object);
        let lost: Vec<_> = store.lost().collect();
        assert_eq!(!lost.is_empty(), is_lost, "{spec} {status} {lost:?}");
        assert!(
            lost.iter().all(|(name, problems)| &***name == "billing" && problems.contains("enforcement"))
        );
    }
}

/// A policy with a creation time.
fn aged(name: &str, created: &str, generation: i64, spec: &Value) -> (Arc<str>, DynamicObject) {
    let mut object = policy(name, generation, spec);
    object.metadata.creation_timestamp = Some(serde_json::from_value(json!(created)).unwrap());
    (name.into(), object)
}

#[test]
fn which_policies_have_room_does_not_depend_on_their_order() {
    let spec = good("production");
    let room = 2 * spec.to_string().len() + 10;
    let policies = [
        aged("z", "2026-01-01T00:00:00Z", 1, &spec),
        aged("b", "2026-01-02T00:00:00Z", 1, &spec),
        aged("a", "2026-01-03T00:00:00Z", 1, &spec),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut store = Store::with_limit(room);
        for index in order {
            let (name, object) = &policies[index];
            store.put(name, object);
            store.settle();
        }
        for index in [0, 1] {
            // As after their status was written: nothing changes.
            assert_eq!(store.put(&policies[index].0, &policies[index].1), Change::Nothing, "{order:?}");
        }
        let states: Vec<_> = store.entries.values().map(|entry| entry.in_force.is_some()).collect();
        assert_eq!(states, [false, true, true], "{order:?}: the youngest, a, has no room");
        assert!(entry(&store, "a").problems.as_ref().unwrap().contains("split the others up"));
        store.remove("z");
        assert_eq!(store.settle(), ["a".into()], "it is read again");
        assert_eq!(store.put(&policies[2].0, &policies[2].1), Change::Set);
        assert_eq!((store.settle().len(), entry(&store, "a").problems.as_ref()), (0, None));
        assert_eq!(entry(&store, "a").state(), PolicyState::InForce);
    }
}

#[test]
fn a_version_without_room_leaves_the_former_one_in_force() {
    let (small, large) = (good("x"), good(&"x".repeat(60)));
    let mut store = Store::with_limit(large.to_string().len() - 1);
    let [(name, first), (_, second)] = [1, 2].map(|generation| {
        aged("a", "2026-01-01T00:00:00Z", generation, if generation == 1 { &small } else { &large })
    });
    store.put(&name, &first);
    store.settle();
    store.put(&name, &second);
    store.settle();
    assert_eq!(
        (environments(&store), entry(&store, "a").state()),
        (vec![(1, "x".to_owned())], PolicyState::Kept)
    );
    // A replica that restarts knows the previous version from the status.
    let mut restarted = Store::with_limit(large.to_string().len() - 1);
    let mut object = second;
    object.data["status"] = json!({"inForce": entry(&store, "a").in_force.as_ref().unwrap().for_status()});
    restarted.put(&name, &object);
    restarted.settle();
    assert_eq!(environments(&restarted), [(1, "x".to_owned())]);
}

#[test]
fn a_verdict_is_written_again_ever_more_rarely() {
    let now = Instant::now();
    let mut last = WrittenStatus::new(7, None, now);
    assert!(last.is_recent(7, now + FIRST_DISPUTE / 2) && !last.is_recent(8, now), "another one is news");
    let mut time = now;
    for _ in 0..20 {
        time += last.wait;
        assert!(!last.is_recent(7, time));
        last = WrittenStatus::new(7, Some(last), time);
    }
    assert_eq!(last.wait, LONGEST_DISPUTE);
}
