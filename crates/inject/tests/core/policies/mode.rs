//! Whether pods are injected at all, and which layers may decide it.

use scaivault_inject::{Enforcement, PolicyEffect, PolicyMode};
use scaivault_testkit::{PodBuilder, pod};

use super::support::{Draft, World, policy};
use crate::support::DATABASE;

fn giving(name: &str) -> Draft {
    policy(name).inject("inject-secret-db.json", DATABASE)
}

fn annotated() -> PodBuilder {
    pod().annotate("inject-secret-own.json", DATABASE)
}

#[test]
fn pods_opt_out_of_a_policy_unless_it_forbids_it() {
    let out = pod().annotate("inject", "false").json();
    World::new([giving("billing")]).expect(&out, "skipped", "opted-out");
    let world = World::new([giving("billing").pods_may_override(false)]);
    let refusal = world.refusal(&out);
    assert!(refusal.contains("policy billing does not let pods opt out"), "{refusal}");
    assert!(refusal.contains("[policy-opt-out]"), "{refusal}");
    assert_eq!(world.report(&out).uses[0].effect, PolicyEffect::Refused);
    for (key, value) in [("mutation-mode", "ignore"), ("workload-mutation-mode", "ignore-and-detach")] {
        assert!(world.refusal(&pod().annotate(key, value).json()).contains("policy-opt-out"));
    }
    let refusal = world.namespace_annotation("mutation-mode", "ignore").refusal(&pod().json());
    assert!(refusal.contains("mutation-mode (of the namespace)"), "{refusal}");
    // If nothing would be injected, opting out is allowed.
    let world = World::new([policy("limits").pods_may_override(false)]);
    world.expect(&out, "skipped", "opted-out");
    world.refusal(&annotated().annotate("inject", "false").json());
}

#[test]
fn opting_out_under_warn_and_audit() {
    let out = pod().annotate("inject", "false").json();
    let forbidding = |enforcement| giving("billing").pods_may_override(false).enforcement(enforcement);
    let world = World::new([forbidding(Enforcement::Warn)]);
    let decision = world.expect(&out, "skipped", "opted-out");
    assert!(decision.warnings()[0].contains("policy billing does not let"), "{decision:?}");
    assert_eq!(world.report(&out).uses[0].effect, PolicyEffect::Warned);
    let world = World::new([forbidding(Enforcement::Audit)]);
    let decision = world.expect(&out, "skipped", "opted-out");
    assert!(decision.warnings().is_empty(), "{decision:?}");
    assert_eq!(world.report(&out).uses[0].effect, PolicyEffect::Audited);
}

#[test]
fn a_policy_that_warns_lifts_no_ban_on_opting_out() {
    let out = pod().annotate("inject", "false").json();
    let enforcing = giving("mandatory").pods_may_override(false);
    let staged = policy("staged").priority(100).enforcement(Enforcement::Warn);
    let modes = [PolicyMode::Ignore, PolicyMode::IgnoreAndDetach].map(|mode| staged.clone().mode(mode));
    let words = [false, true].map(|may| staged.clone().pods_may_override(may));
    for staged in modes.iter().chain(&words).cloned() {
        let refusal = World::new([enforcing.clone(), staged]).refusal(&out);
        assert!(refusal.contains("policy mandatory does not let pods opt out"), "{refusal}");
    }
    for staged in modes {
        let world = World::new([enforcing.clone(), staged]);
        world.inject(&pod().json());
        let used = &world.report(&pod().json()).uses[0];
        assert_eq!((&*used.name, used.effect), ("staged", PolicyEffect::Warned));
        assert!(
            used.message.as_deref().unwrap().contains("policy mandatory enforces another one"),
            "{used:?}"
        );
    }
}

#[test]
fn a_policy_can_leave_pods_alone() {
    let ignoring = policy("frozen").mode(PolicyMode::Ignore);
    let world = World::new([ignoring.clone()]);
    world.expect(&annotated().json(), "skipped", "ignored-by-policy");
    world.expect(&annotated().annotate("inject", "true").json(), "skipped", "ignored-by-policy");
    let world = World::new([ignoring.clone().pods_may_override(true)]);
    world.expect(&annotated().json(), "skipped", "ignored-by-policy");
    world.inject(&annotated().annotate("inject", "true").json());
    let both = annotated().annotate("inject", "true").annotate("mutation-mode", "ignore").json();
    world.expect(&both, "skipped", "ignored-by-pod");
    let world = World::new([ignoring.enforcement(Enforcement::Audit)]);
    world.inject(&annotated().json());
    let used = &world.report(&annotated().json()).uses[0];
    assert_eq!(used.message.as_deref(), Some("would apply: mutationMode: ignore"));
}

#[test]
fn a_policy_can_remove_an_injection() {
    let injected = World::new([]).inject(&annotated().json());
    let detaching = policy("leave").mode(PolicyMode::IgnoreAndDetach);
    let world = World::new([detaching.clone()]);
    let decision = world.expect(&injected, "detached", "mutation-mode");
    assert_eq!(crate::support::after(&injected, &decision), annotated().json());
    // The strictest of pod and policy.
    let strict = PodBuilder::from(injected.clone()).annotate("mutation-mode", "ignore").json();
    world.expect(&strict, "detached", "mutation-mode");
    let ignoring = World::new([policy("frozen").mode(PolicyMode::Ignore)]);
    let strict = PodBuilder::from(injected).annotate("mutation-mode", "ignore-and-detach").json();
    ignoring.expect(&strict, "detached", "mutation-mode");
}

#[test]
fn the_strongest_policy_with_a_mode_decides() {
    let ignoring = policy("frozen").mode(PolicyMode::Ignore);
    let injecting = giving("billing").mode(PolicyMode::Inject).priority(1);
    World::new([ignoring.clone(), injecting.clone()]).inject(&pod().json());
    World::new([ignoring.clone().priority(2), injecting]).expect(
        &pod().json(),
        "skipped",
        "ignored-by-policy",
    );
    // A policy without a mode has no influence.
    World::new([ignoring, giving("billing").priority(1)]).expect(
        &pod().json(),
        "skipped",
        "ignored-by-policy",
    );
}
