//! Properties of every pod under random policies.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{FileFailurePersistence, TestRunner},
};
use scaivault_contract::parse_secrets;
use scaivault_inject::{Decision, Enforcement, PolicyEffect, SkipReason};
use scaivault_testkit::{inspect, path_not_allowed, shuffle_keys, users_content};
use serde_json::Value;

use super::{
    random::{pods, policies},
    support::{Draft, World},
};
use crate::support::{after, detached_by_name};

fn cases() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

fn world(policies: &[Draft]) -> World {
    World::new(policies.to_vec()).namespace_label("team", "billing")
}

fn patch_of(decision: &Decision) -> Value {
    decision.patch().map_or_else(|| Value::Array(Vec::new()), |patch| serde_json::to_value(patch).unwrap())
}

/// The injected pod, if there is an injection.
fn injected(world: &World, pod: &Value) -> Option<Value> {
    let decision = world.decide(pod);
    matches!(decision, Decision::Inject(_)).then(|| after(pod, &decision))
}

/// The properties below say nothing if nothing is injected, rejected or reported, so all of these
/// must occur.
#[test]
fn random_policies_have_every_effect() {
    let mut runner = TestRunner::deterministic();
    let (mut outcomes, mut effects) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..400 {
        let policies = policies().new_tree(&mut runner).unwrap().current();
        let pod = pods().new_tree(&mut runner).unwrap().current();
        let (decision, report) = world(&policies).decide_with(&pod);
        *outcomes.entry(decision.outcome()).or_insert(0) += 1;
        for used in report.uses {
            *effects.entry(used.effect).or_insert(0) += 1;
        }
    }
    for outcome in ["injected", "denied", "skipped"] {
        assert!(outcomes.get(outcome).is_some_and(|count| *count > 40), "{outcomes:?}");
    }
    for effect in PolicyEffect::ALL {
        assert!(effects.get(&effect).is_some_and(|count| *count > 10), "{effects:?}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn patches_of_policies_keep_the_users_fields(policies in policies(), pod in pods()) {
        let decision = world(&policies).decide(&pod);
        let patch = patch_of(&decision);
        prop_assert_eq!(path_not_allowed(&patch), None);
        prop_assert_eq!(users_content(&after(&pod, &decision)), users_content(&pod));
    }

    #[test]
    fn injecting_twice_by_policy_is_injecting_once(policies in policies(), pod in pods()) {
        let world = world(&policies);
        if let Some(injected) = injected(&world, &pod) {
            let again = world.decide(&injected);
            prop_assert_eq!((again.outcome(), again.reason()), ("skipped", "already-injected"));
            prop_assert_eq!(again.patch().map_or(0, |patch| patch.operations().len()), 0);
        }
    }

    #[test]
    fn detach_is_the_inverse_under_policies(policies in policies(), pod in pods()) {
        let world = world(&policies);
        if let Some(injected) = injected(&world, &pod) {
            prop_assert_eq!(&world.detach(&injected), &pod);
            prop_assert_eq!(&detached_by_name(&injected), &pod);
        }
    }

    #[test]
    fn neither_the_order_of_policies_nor_of_keys_matters(policies in policies(), pod in pods(), seed: u64) {
        let reversed: Vec<Draft> = policies.iter().rev().cloned().collect();
        let one = world(&policies).decide_with(&pod);
        let other = world(&reversed).decide_with(&shuffle_keys(&pod, seed));
        prop_assert_eq!(patch_of(&one.0).to_string(), patch_of(&other.0).to_string());
        prop_assert_eq!(one, other);
    }

    #[test]
    fn policies_that_audit_change_nothing(policies in policies(), pod in pods()) {
        let mut others = policies.clone();
        others.retain(|draft| draft.0.enforcement != Enforcement::Audit);
        prop_assert_eq!(world(&policies).decide(&pod), world(&others).decide(&pod));
    }

    #[test]
    fn warning_policies_refuse_no_pod(policies in policies(), pod in pods()) {
        let mut warning = policies;
        for draft in &mut warning {
            draft.0.enforcement = Enforcement::Warn;
        }
        // The pod's own request may be invalid without any policy, and lists of a policy replace
        // other lists.
        let is_denied = |policies: &[Draft]| matches!(world(policies).decide(&pod), Decision::Deny(_));
        let mut without = warning.clone();
        for draft in &mut without {
            draft.0.inject.clear();
            draft.0.defaults.clear();
        }
        prop_assert!(!is_denied(&warning) || is_denied(&without));
    }

    #[test]
    fn policies_only_affect_selected_pods(policies in policies(), pod in pods()) {
        let world = world(&policies);
        let report = world.report(&pod);
        let names: Vec<String> = report.uses.iter().map(|used| used.name.to_string()).collect();
        if world.decide(&pod).reason() != SkipReason::MirrorPod.name() {
            prop_assert_eq!(names, world.selected_by_all(&pod));
        }
    }

    /// If every enforced policy has a list, each value that a pod requests is in one of them.
    #[test]
    fn requests_of_a_pod_must_be_in_a_list(policies in policies(), pod in pods(), globs in prop::sample::subsequence(vec!["environments/**", "shared/*", "a", "**/key"], 0..3)) {
        let mut limited = policies;
        for draft in &mut limited {
            draft.0.enforcement = Enforcement::Enforce;
            draft.0.inject.clear();
            draft.0.exceptions.clear();
            draft.0.allow.paths = Some(globs.iter().map(|glob| (*glob).to_owned()).collect());
        }
        let world = world(&limited);
        if world.report(&pod).uses.is_empty() {
            return Ok(());
        }
        let Some(injected) = injected(&world, &pod) else { return Ok(()) };
        for agent in inspect::injected_containers(&injected) {
            for name in ["SECRETS", "WATCH_PATHS"] {
                let text = scaivault_contract::expand_env_value(inspect::env(agent, name).unwrap_or_default());
                for mapping in parse_secrets(&text).unwrap() {
                    for secret in mapping.source.secrets() {
                        let path = secret.path.to_string();
                        prop_assert!(globs.iter().any(|glob| covers(glob, &path)), "{path} {globs:?}");
                    }
                }
            }
        }
    }
}

/// A direct implementation of the definition of globs; slow with many wildcards.
fn covers(glob: &str, path: &str) -> bool {
    fn segments(glob: &[&str], path: &[&str]) -> bool {
        match (glob.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), _) => (0..=path.len()).any(|skipped| segments(rest, &path[skipped..])),
            (Some((first, glob)), Some((segment, path))) => {
                characters(first.as_bytes(), segment.as_bytes()) && segments(glob, path)
            }
            _ => false,
        }
    }
    fn characters(glob: &[u8], segment: &[u8]) -> bool {
        match (glob.split_first(), segment.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                (0..=segment.len()).any(|skipped| characters(rest, &segment[skipped..]))
            }
            (Some((b'?', glob)), Some((_, segment))) => characters(glob, segment),
            (Some((expected, glob)), Some((found, segment))) => {
                expected == found && characters(glob, segment)
            }
            _ => false,
        }
    }
    segments(&glob.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>())
}
