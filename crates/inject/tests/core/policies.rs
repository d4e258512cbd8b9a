//! Policies: what they add to pods, what they allow, and what they report.

mod allow;
mod compile;
mod laws;
mod mode;
mod random;
mod support;
mod volume;

use scaivault_inject::{Decision, Enforcement, Layer, Namespace, Policy, PolicyEffect, PolicySet};
use scaivault_testkit::{PREFIX, PodBuilder, inspect, pod};
use serde_json::{Value, json};

use crate::support::{DATABASE, agent, cluster};
use support::{World, named, policy};

/// A pod with labels and without annotations of the injector.
fn plain() -> Value {
    let mut pod = pod().json();
    pod["metadata"]["labels"] = json!({"app": "invoices"});
    pod
}

#[test]
fn a_pod_without_annotations_gets_files_and_variables() {
    let world = World::new([policy("billing")
        .inject("inject-secret-db.json", DATABASE)
        .inject("inject-env-DB_PASSWORD", &format!("{DATABASE}#password"))]);
    let injected = world.inject(&plain());
    assert_eq!(
        inspect::env(agent(&injected), "SECRETS").unwrap().trim(),
        format!("{DATABASE} -> /run/secrets/db.json")
    );
    let app = &injected["spec"]["containers"][0];
    assert!(inspect::mount(app, "scaivault-secrets").is_some(), "{app}");
    assert_eq!(inspect::env_names(app), ["DB_PASSWORD"]);
    assert_eq!(inspect::injector_annotation(&injected, "status"), Some("injected"));
    let uses = world.report(&plain()).uses;
    assert_eq!(uses.len(), 1);
    assert_eq!((&*uses[0].name, uses[0].generation), ("billing", 1));
    assert_eq!(uses[0].effect, PolicyEffect::Injected);
    assert_eq!(uses[0].message.as_deref(), Some("db.json, DB_PASSWORD"));
}

#[test]
fn a_receipt_names_the_policies_that_gave_something() {
    let world = World::new([
        policy("billing").inject("inject-secret-db.json", DATABASE),
        policy("limits").allow(|allow| allow.paths = named(["**"])),
    ]);
    let receipt: Value =
        serde_json::from_str(inspect::injector_annotation(&world.inject(&plain()), "receipt").unwrap())
            .unwrap();
    assert_eq!(receipt["policies"], json!(["billing@1"]));
    let annotated =
        cluster().inject(&PodBuilder::from(plain()).annotate("inject-secret-db.json", DATABASE).json());
    assert!(
        !inspect::injector_annotation(&annotated, "receipt").unwrap().contains("policies"),
        "{annotated}"
    );
}

#[test]
fn only_selected_pods_are_injected() {
    let select = [
        policy("by-namespace").select_namespaces("team", "billing"),
        policy("by-label").select_pods("app", "invoices"),
        policy("by-account").service_account("invo*"),
    ];
    for policy in select {
        let world =
            World::new([policy.inject("inject-secret-db.json", DATABASE)]).namespace_label("team", "billing");
        let mut selected = plain();
        selected["spec"]["serviceAccountName"] = "invoices".into();
        world.expect(&selected, "injected", "init");
        let mut other = world.namespace_label("team", "shop");
        let mut pod = selected.clone();
        pod["metadata"]["labels"]["app"] = "web".into();
        pod["spec"]["serviceAccountName"] = "web".into();
        other.expect(&pod, "skipped", "not-annotated");
        other = other.namespace_label("team", "billing");
        let report = other.report(&selected);
        assert_eq!(report.uses.len(), 1, "{report:?}");
    }
}

#[test]
fn of_two_policies_the_stronger_sets_a_default() {
    let weak = policy("weak").defaults("log-level", "debug").inject("inject-secret-db.json", DATABASE);
    let strong = policy("strong").defaults("log-level", "warn").priority(1);
    let level = |pod: &Value| inspect::env(agent(pod), "LOG_LEVEL").map(str::to_owned);
    for policies in [[weak.clone(), strong.clone()], [strong, weak.clone()]] {
        let injected = World::new(policies).inject(&plain());
        assert_eq!(level(&injected).as_deref(), Some("warn"));
    }
    // With equal priority, the alphabetically first name takes precedence.
    let first = policy("a-first").defaults("log-level", "error");
    let injected = World::new([first, weak]).inject(&plain());
    assert_eq!(level(&injected).as_deref(), Some("error"));
}

#[test]
fn namespace_and_pod_override_a_policy() {
    let giving =
        || policy("billing").defaults("log-level", "debug").inject("inject-secret-db.json", DATABASE);
    let world = World::new([giving()]).namespace_annotation("log-level", "error");
    let pod = PodBuilder::from(plain()).annotate("inject-secret-db.json", "other/path").json();
    let explained = world.explain(&pod);
    let find = |key: &str| {
        let found = explained.iter().find(|setting| setting.key == key).unwrap();
        (found.value.as_str(), found.layer.clone())
    };
    assert_eq!(find("log-level"), ("error", Layer::Namespace));
    assert_eq!(find("inject-secret-db.json"), ("other/path", Layer::Pod));
    let explained = World::new([giving()]).explain(&plain());
    let found = explained.iter().find(|setting| setting.key == "inject-secret-db.json").unwrap();
    assert_eq!(found.layer, Layer::Policy("billing".into()));
    assert_eq!(found.layer.to_string(), "policy billing");
}

#[test]
fn two_sources_of_one_file_name_both_policies() {
    let one = policy("one").inject("inject-secret-db.json", DATABASE);
    let two = policy("two").inject("inject-secret-db.json", "environments/staging/database");
    let refusal = World::new([one.clone(), two.clone()]).refusal(&plain());
    assert!(
        refusal.contains("policies one and two give the file db.json from different sources"),
        "{refusal}"
    );
    assert!(refusal.contains("[policy-conflict]"), "{refusal}");
    // A dynamic secret with the same name conflicts, because it is written to the same file.
    let dynamic = policy("two").inject("inject-dynamic-db.json", "engine=pg role=reader");
    let refusal = World::new([one.clone(), dynamic]).refusal(&plain());
    assert!(refusal.contains("[policy-conflict]"), "{refusal}");
    // The same source is not a conflict, and neither are policies that cannot select the same pod.
    let same = policy("two").inject("inject-secret-db.json", &format!(" {DATABASE} "));
    World::new([one.clone(), same]).inject(&plain());
    World::new([one.clone(), two.clone().select_pods("app", "web")]).inject(&plain());
    // A policy that only warns does not reject pods; the one with the higher precedence applies.
    let world = World::new([one, two.enforcement(Enforcement::Warn)]);
    let decision = world.expect(&plain(), "injected", "init");
    assert!(decision.warnings().iter().any(|text| text.contains("policies one and two")), "{decision:?}");
    let injected = world.inject(&plain());
    assert!(inspect::env(agent(&injected), "SECRETS").unwrap().starts_with(DATABASE));
}

#[test]
fn two_files_of_one_path_name_their_policies() {
    let one = policy("one").inject("inject-secret-db.json", DATABASE);
    let two = policy("two")
        .inject("inject-secret-other", "environments/staging/database")
        .inject("secret-file-other", "db.json");
    let refusal = World::new([one, two]).refusal(&plain());
    for part in ["inject-secret-db.json (of the policy one)", "inject-secret-other (of the policy two)"] {
        assert!(refusal.contains(part), "{refusal}");
    }
}

#[test]
fn two_environments_of_one_namespace_name_both() {
    let one = policy("one").environment("production").inject("inject-secret-db.json", DATABASE);
    let two = policy("two").environment("staging").select_pods("app", "other");
    let world = World::new([one.clone(), two.clone()]);
    let refusal = world.refusal(&plain());
    let parts = "policy one gives the namespace the environment production, and policy two gives it staging";
    assert!(refusal.contains(parts), "{refusal}");
    let conflicts = world.conflicts();
    assert_eq!(conflicts, [("one".to_owned(), "two".to_owned())]);
    // Pods that do not use the environment are not rejected.
    let annotated = PodBuilder::from(plain()).annotate("inject-secret-db.json", DATABASE).json();
    let elsewhere = one.select_pods("app", "other");
    World::new([elsewhere, two.clone()]).inject(&annotated);
    let same = policy("one").environment("staging").inject("inject-secret-db.json", DATABASE);
    let world = World::new([same, two]);
    world.inject(&plain());
    assert_eq!(world.report(&plain()).environment.as_deref(), Some("staging"));
}

#[test]
fn a_contested_environment_has_no_value() {
    let [one, two] = [("one", "production"), ("two", "staging")]
        .map(|(name, environment)| policy(name).environment(environment).select_pods("app", "other"));
    let world = World::new([one.clone(), two.clone()]);
    let both = "policy one gives the namespace the environment production, and policy two gives it staging";
    let asking = PodBuilder::from(plain()).annotate("inject-secret-a", "x/${environment}").json();
    assert!(world.refusal(&asking).contains(both));
    assert_eq!(world.report(&asking).environment, None);
    // Every position of the variable is detected.
    let named = PodBuilder::from(plain()).annotate("inject-secret-a", DATABASE).json();
    let refusal = world.clone().role("sa-${environment}").refusal(&named);
    assert!(refusal.contains(both), "{refusal}");
    let lists =
        policy("limits").allow(|allow| allow.paths = support::named(["none"])).exception(|exception| {
            exception.allow.paths = support::named(["environments/${environment}/**"]);
        });
    assert!(World::new([one.clone(), two.clone(), lists]).refusal(&named).contains("[policy-limit]"));
    // A policy that only warns cannot override the environment.
    let world = World::new([one, two.clone().enforcement(Enforcement::Warn)]);
    assert!(inspect::env(agent(&world.inject(&asking)), "SECRETS").unwrap().starts_with("x/production"));
    let selecting = policy("three").environment("test").enforcement(Enforcement::Warn);
    let decision = World::new([two, selecting]).expect(&plain(), "skipped", "not-annotated");
    assert!(decision.warnings().iter().all(|text| !text.contains("environment")), "{decision:?}");
}

#[test]
fn policies_with_other_containers_for_secrets_are_both_named() {
    let one = policy("one").inject("inject-secret-db.json", DATABASE).inject("containers", "app");
    let two = || policy("two").inject("inject-secret-token", "a/b");
    let silent = || policy("two");
    for (two, field) in [
        (two(), "containers"),
        (two().inject("containers", "exporter"), "containers"),
        (two().inject("init-containers", "app"), "initContainers"),
        (silent().inject("containers", "exporter"), "containers"),
        (silent().inject("init-containers", "app"), "initContainers"),
    ] {
        let world = World::new([one.clone(), two.priority(10)]);
        let refusal = world.refusal(&plain());
        let names = format!("policies two and one disagree about {field}, which all secrets of a pod share");
        for part in ["[policy-conflict]", &names] {
            assert!(refusal.contains(part), "{refusal}");
        }
        assert_eq!(world.conflicts(), world.enforced_conflicts());
        assert!(world.conflicts().contains(&("two".to_owned(), "one".to_owned())));
    }
    // A policy with lower precedence sets the containers for a policy that leaves them unset.
    let weaker = policy("weaker").inject("containers", "app");
    let refusal = World::new([two().priority(10), weaker.clone()]).refusal(&plain());
    assert!(refusal.contains("policies two and weaker disagree about containers"), "{refusal}");
    World::new([one.clone(), two().inject("containers", " app ").priority(10)]).inject(&plain());
    let with_worker = || {
        let mut pod = plain();
        let mut worker = pod["spec"]["containers"][0].clone();
        worker["name"] = "worker".into();
        pod["spec"]["containers"].as_array_mut().unwrap().push(worker);
        pod
    };
    World::new([
        two().inject("containers", "app,worker"),
        policy("b").inject("inject-secret-b", "b").inject("containers", "worker, app"),
    ])
    .inject(&with_worker());
    // A policy that adds no secrets does not conflict with one of higher precedence, and neither
    // does a policy that leaves the field unset.
    World::new([one.clone(), policy("limits").priority(10)]).inject(&plain());
    World::new([one.priority(10), policy("weaker").inject("containers", "other")]).inject(&plain());
}

#[test]
fn policies_with_another_pattern_or_reload_are_both_named() {
    let one = || policy("one").inject("inject-secret-db.json", DATABASE);
    let signal = |draft: support::Draft, signal: &str| {
        draft.inject("reload-signal", signal).inject("reload-target", "nginx")
    };
    let url = |draft: support::Draft| draft.inject("reload-url", "http://127.0.0.1:80/reload");
    let two = || policy("two").inject("inject-secret-token", "a/b").priority(10);
    for (one, two, field) in [
        (one().inject("pattern", "init"), two().inject("pattern", "sidecar"), "pattern"),
        (one().inject("pattern", "init"), policy("two").inject("pattern", "sidecar").priority(10), "pattern"),
        (signal(one(), "SIGHUP"), signal(two(), "SIGUSR1"), "reload"),
        (signal(one(), "SIGHUP"), url(two()), "reload"),
    ] {
        let world = World::new([one, two]);
        let refusal = world.refusal(&plain());
        assert!(refusal.contains(&format!("policies two and one disagree about {field}")), "{refusal}");
        assert_eq!(world.conflicts(), [("two".to_owned(), "one".to_owned())]);
    }
    // A policy that leaves a field unset accepts the value of others.
    World::new([one().inject("pattern", "sidecar"), two()]).inject(&plain());
    let world = World::new([url(one()), two()]);
    world.inject(&plain());
    assert_eq!(world.conflicts(), []);
}

#[test]
fn a_stronger_policy_that_warns_replaces_nothing_enforced() {
    let enforced = policy("one").inject("inject-secret-db.json", DATABASE).inject("containers", "app");
    let warning = policy("two").priority(10).enforcement(Enforcement::Warn);
    for warning in [
        warning.clone().inject("inject-secret-db.json", "a/b").inject("containers", "app"),
        warning.clone().inject("inject-secret-token", "a/b"),
        warning.clone().inject("containers", "other"),
    ] {
        let world = World::new([enforced.clone(), warning]);
        let decision = world.expect(&plain(), "injected", "init");
        assert!(decision.warnings().iter().any(|text| text.contains("policies two and one")), "{decision:?}");
        let secrets = format!("{DATABASE} -> /run/secrets/db.json");
        assert_eq!(inspect::env(agent(&world.inject(&plain())), "SECRETS").unwrap().trim(), secrets);
        let effects: Vec<_> = world.report(&plain()).uses.iter().map(|used| used.effect).collect();
        assert_eq!(effects, [PolicyEffect::Warned, PolicyEffect::Injected]);
    }
    // Of two policies that warn, the one with the higher precedence applies.
    let weaker = policy("one").inject("inject-secret-db.json", DATABASE).enforcement(Enforcement::Warn);
    let world = World::new([weaker, warning.inject("inject-secret-db.json", "a/b")]);
    assert!(inspect::env(agent(&world.inject(&plain())), "SECRETS").unwrap().starts_with("a/b"));
}

#[test]
fn policies_with_other_options_of_one_file_are_both_named() {
    let one = policy("one").inject("inject-secret-db", DATABASE);
    for (key, value) in [
        ("secret-format-db", "env"),
        ("secret-template-db", "{{ data.password }}"),
        ("secret-mode-db", "0400"),
        ("secret-file-db", "other"),
        ("secret-optional-db", "true"),
    ] {
        let two = policy("two").inject("inject-secret-db", DATABASE).inject(key, value);
        for (one, two) in [(one.clone(), two.clone()), (one.clone().priority(1), two.clone())] {
            let world = World::new([one, two]);
            let refusal = world.refusal(&plain());
            for part in ["[policy-conflict]", "give the file db with different options", key.split_at(10).0] {
                assert!(refusal.contains(part), "{refusal}");
            }
            assert_eq!(world.conflicts().len(), 1);
        }
        World::new([one.clone().inject(key, value), two]).inject(&plain());
    }
}

#[test]
fn conflicts_with_warning_policies_are_not_enforced() {
    let one = policy("one").inject("inject-secret-db.json", DATABASE);
    let other = |name| policy(name).inject("inject-secret-db.json", "a/b");
    for enforcement in [Enforcement::Warn, Enforcement::Audit] {
        let world = World::new([one.clone(), other("two").enforcement(enforcement)]);
        assert_eq!(world.conflicts().len(), 1);
        assert_eq!(world.enforced_conflicts(), []);
        // It does not hide an enforced one.
        let world = World::new([
            one.clone(),
            other("two").enforcement(enforcement).priority(2),
            other("z").priority(1),
        ]);
        assert_eq!(world.enforced_conflicts(), [("z".to_owned(), "one".to_owned())]);
    }
}

#[test]
fn conflicts_of_a_namespace_are_found_without_pods() {
    let one = policy("one").inject("inject-env-PASSWORD", "a/b#c").select_pods("app", "web");
    let two = policy("two").inject("inject-env-PASSWORD", "a/b#d");
    let three = policy("three").inject("inject-env-PASSWORD", "a/b#e").select_pods("app", "api");
    let found = World::new([one, two, three]).conflicts();
    assert_eq!(found, [("one".to_owned(), "two".to_owned())]);
}

#[test]
fn conflicts_are_those_of_the_filled_paths() {
    let policies = PolicySet::new(
        [
            policy("one").environment("production").inject("inject-secret-a", "environments/production/a"),
            policy("two").inject("inject-secret-a", "environments/${environment}/a"),
            policy("three").inject("inject-secret-b", "teams/shop/b"),
            policy("four").inject("inject-secret-b", "teams/${namespace}/b"),
        ]
        .map(|draft| Policy::compile(draft.0).unwrap())
        .to_vec(),
    );
    let [shop, web] = ["shop", "web"].map(|name| Namespace { name: name.to_owned(), ..Namespace::default() });
    assert!(policies.conflicts(&[&shop]).is_empty());
    let found = policies.conflicts(&[&shop, &web]);
    let names: Vec<_> = found.iter().map(|found| [&**found.first.name(), &*found.namespace.name]).collect();
    assert_eq!(names, [["four", "web"]]);
    // The remaining part depends on the pods.
    let by_label = [
        policy("one").inject("inject-secret-a", "apps/${label:app}/a"),
        policy("two").inject("inject-secret-a", "apps/invoices/a"),
    ];
    let world = World::new(by_label.clone());
    assert_eq!(world.conflicts().len(), 1);
    let policies = by_label.map(|draft| Policy::compile(draft.0).unwrap());
    let found = PolicySet::new(policies.to_vec()).conflicts(&[&shop, &web]).len();
    assert_eq!(found, 1, "once for both, which the same policies select");
    world.inject(&plain());
}

#[test]
fn an_impossible_injection_is_the_policys_refusal() {
    let world = World::new([policy("billing").inject("inject-secret-db.json", DATABASE)]);
    let windows = PodBuilder::from(plain()).spec("os", json!({"name": "windows"})).json();
    let refusal = world.refusal(&windows);
    assert!(refusal.contains("policy billing injects into this pod"), "{refusal}");
    let report = world.report(&windows);
    assert_eq!(report.uses[0].effect, PolicyEffect::Refused);
}

#[test]
fn a_policy_that_warns_never_refuses() {
    let warning = policy("billing").inject("inject-secret-db.json", DATABASE).enforcement(Enforcement::Warn);
    let world = World::new([warning]);
    world.inject(&plain());
    let windows = PodBuilder::from(plain()).spec("os", json!({"name": "windows"})).json();
    let decision = world.expect(&windows, "skipped", "not-annotated");
    assert!(decision.warnings().iter().any(|text| text.contains("only warn")), "{decision:?}");
    assert_eq!(world.report(&windows).uses[0].effect, PolicyEffect::Warned);
}

#[test]
fn a_second_review_of_a_pod_is_reported_as_such() {
    let warning = |generation: i64, secret: &str| {
        let mut draft = policy("billing").inject(secret, DATABASE).enforcement(Enforcement::Warn);
        draft.0.generation = generation;
        draft.allow(|allow| allow.roles = named(["billing"]))
    };
    let world = World::new([warning(1, "inject-secret-db.json")]);
    let annotated = PodBuilder::from(plain()).annotate("role", "other").annotate("containers", "*").json();
    let report = world.report(&annotated);
    assert_eq!((report.uses[0].effect, report.is_repeated), (PolicyEffect::Warned, false));

    let injected = world.inject(&annotated);
    let report = world.report(&injected);
    assert_eq!((report.uses[0].effect, report.is_repeated), (PolicyEffect::Warned, true));

    // Another webhook has added a container, which gets its mount.
    let mut longer = injected.clone();
    let added = json!({"name": "added", "image": "registry.invalid/added:1"});
    longer["spec"]["containers"].as_array_mut().unwrap().push(added);
    world.expect(&longer, "injected", "init");
    assert!(world.report(&longer).is_repeated);

    // The existing injection is of another plan, and is replaced. A receipt alone is not an
    // injection.
    let changed = World::new([warning(2, "inject-secret-other.json")]);
    changed.expect(&injected, "injected", "init");
    assert!(!changed.report(&injected).is_repeated);
    let receipt = injected["metadata"]["annotations"][format!("{PREFIX}receipt")].clone();
    let forged = PodBuilder::from(annotated).annotate("receipt", receipt.as_str().unwrap()).json();
    assert!(!world.report(&forged).is_repeated);

    // A rejection is always reported, even if the pod already has an injection.
    let refusing = policy("limits").allow(|allow| allow.roles = named(["billing"]));
    let enforced = policy("billing").inject("inject-secret-db.json", DATABASE);
    let refusing = World::new([enforced, refusing]);
    let report = refusing.report(&injected);
    assert!(report.uses.iter().any(|found| found.effect == PolicyEffect::Refused), "{report:?}");
    assert!(!report.is_repeated);
}

#[test]
fn defaults_of_a_warning_policy_refuse_no_pod() {
    let warning =
        policy("billing").defaults("url", "http://scaivault.example").enforcement(Enforcement::Warn);
    let world = World::new([warning]);
    let annotated = PodBuilder::from(plain()).annotate("inject-secret-db.json", DATABASE).json();
    let decision = world.expect(&annotated, "injected", "init");
    assert!(decision.warnings().iter().any(|text| text.contains("give the pod nothing")), "{decision:?}");
    assert_eq!(world.report(&annotated).uses[0].effect, PolicyEffect::Warned);
}

#[test]
fn an_auditing_policy_only_reports() {
    let auditing =
        policy("billing").inject("inject-secret-db.json", DATABASE).enforcement(Enforcement::Audit);
    let world = World::new([auditing]);
    let decision = world.expect(&plain(), "skipped", "not-annotated");
    assert!(decision.warnings().is_empty() && decision.patch().is_none(), "{decision:?}");
    let used = &world.report(&plain()).uses[0];
    assert_eq!(used.effect, PolicyEffect::Audited);
    assert_eq!(used.message.as_deref(), Some("would inject: db.json"));
    let windows = PodBuilder::from(plain()).spec("os", json!({"name": "windows"})).json();
    let used = &world.report(&windows).uses[0];
    assert!(used.message.as_deref().unwrap().starts_with("would refuse: the pod is for Windows"), "{used:?}");
}

#[test]
fn the_empty_set_changes_nothing() {
    let annotated = PodBuilder::from(plain()).annotate("inject-secret-db.json", DATABASE).json();
    let world = World::new([]);
    assert_eq!(world.inject(&annotated), cluster().inject(&annotated));
    assert!(world.report(&annotated).uses.is_empty());
    assert!(PolicySet::empty().is_empty());
}

#[test]
fn too_many_policies_for_one_pod_are_a_problem() {
    let policies = |count: usize| {
        (0..count)
            .map(|n| policy(&format!("p{n}")))
            .chain([policy("q").inject("inject-secret-db.json", DATABASE)])
    };
    World::new(policies(255)).inject(&plain());
    let refusal = World::new(policies(256)).refusal(&plain());
    assert!(refusal.contains("257 policies that select it, and at most 256"), "{refusal}");
    // Pods that nothing is injected into are not rejected.
    let none = World::new((0..300).map(|n| policy(&format!("p{n}"))));
    none.expect(&plain(), "skipped", "not-annotated");
}

/// Only the policies that may select a pod are evaluated; this compares the index with evaluating
/// all of them.
#[test]
fn the_index_finds_all_selecting_policies() {
    let values = ["a", "b", "c"];
    let mut policies = Vec::new();
    for (n, value) in values.iter().cycle().take(60).enumerate() {
        let mut found = policy(&format!("p{n}"));
        if n % 2 == 0 {
            found = found.select_namespaces("team", value);
        }
        if n % 3 == 0 {
            found = found.select_pods("app", value);
        }
        if n % 5 == 0 {
            found = found.service_account(value);
        }
        policies.push(found);
    }
    let world = World::new(policies);
    for team in values {
        let world = world.clone().namespace_label("team", team);
        for app in values {
            for account in values {
                let mut pod = plain();
                pod["metadata"]["labels"]["app"] = app.into();
                pod["spec"]["serviceAccountName"] = account.into();
                let found: Vec<_> =
                    world.report(&pod).uses.iter().map(|used| used.name.to_string()).collect();
                assert_eq!(found, world.selected_by_all(&pod), "{team} {app} {account}");
            }
        }
    }
}

#[test]
fn added_metadata_is_removed_again() {
    let world = World::new([policy("billing").inject("inject-secret-db.json", DATABASE)]);
    for metadata in [
        None,
        Some(Value::Null),
        Some(json!({})),
        Some(json!({"annotations": null})),
        Some(json!({"annotations": {}})),
        Some(json!({"annotations": {"a": "b"}})),
        Some(json!({"name": "x"})),
    ] {
        let mut bare = plain();
        match metadata {
            Some(metadata) => bare["metadata"] = metadata,
            None => drop(bare.as_object_mut().unwrap().remove("metadata")),
        }
        let injected = world.inject(&bare);
        assert_eq!(inspect::injector_annotation(&injected, "status"), Some("injected"), "{bare}");
        assert_eq!(world.detach(&injected), bare);
        world.expect(&injected, "skipped", "already-injected");
    }
}

#[test]
fn decisions_on_templates_use_policies() {
    let world = World::new([policy("billing").inject("inject-secret-db.json", DATABASE)]);
    let Decision::Inject(injection) = world.decide(&plain()) else { panic!() };
    assert_eq!(injection.secrets, 1);
}
