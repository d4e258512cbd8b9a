//! The tenant claims to be another service account, another team or another environment.

use super::*;

/// Threat 19.
#[test]
fn another_service_account_has_no_environment() {
    let allow = Allow { paths: named(["accounts/${service-account}/**"]), ..Allow::default() };
    let own = PolicyParts { allow, ..policy("accounts") };
    let payments = PolicyParts {
        service_accounts: vec!["payments".to_owned()],
        environment: Some("production".to_owned()),
        inject: vec![("inject-secret-p".to_owned(), "environments/${environment}/payments/key".to_owned())],
        namespaces: selects("kubernetes.io/metadata.name", "payments"),
        ..policy("payments")
    };
    let target = target([own, payments]);
    let of = |fields: &[(&str, &str)], source: &str| {
        fields.iter().fold(asks(source), |pod, (field, name)| pod.spec(field, *name)).json()
    };
    let web = "accounts/web/x";
    assert!(target.reads(&of(&[("serviceAccountName", "web")], web)).contains(web));
    // Kubernetes runs the pod as `serviceAccountName`; the deprecated field is only used if that is
    // absent.
    for fields in [
        &[("serviceAccountName", "other")][..],
        &[("serviceAccountName", "other"), ("serviceAccount", "web")],
        &[("serviceAccount", "other")],
        &[],
    ] {
        target.refuses(&of(fields, web), &["policy-limit", "policy accounts"]);
    }
    assert!(target.reads(&of(&[("serviceAccount", "web")], web)).contains(web));
    // A service account in the tenant's namespace with the name of the neighbour's selects nothing
    // of the neighbour's.
    let payments = of(&[("serviceAccountName", "payments")], "accounts/payments/x");
    assert!(!target.reads(&payments).contains("environments/"));
    target.refuses(
        &of(&[("serviceAccountName", "payments")], "accounts/${environment}/x"),
        &["no policy gives the namespace an environment"],
    );
    // Annotations, labels and node names do not identify the pod either.
    let claims = asks(web)
        .annotation("scaikey.scailabs.ai/role", "sa:web")
        .annotation("kubernetes.io/service-account.name", "web")
        .annotate("service-account", "web")
        .annotate("environment", "production");
    target.refuses(&claims.json(), &["policy-limit"]);
}

/// Threat 19: the identity that the agent requests when it logs in.
#[test]
fn a_role_is_limited_in_every_place() {
    let allow = Allow { roles: named(["sa:${namespace}"]), ..Allow::default() };
    let mut target = target([PolicyParts { allow, ..policy("roles") }]);
    target.service_account_role = Some("sa:payments");
    target.refuses(&asks(OWN).json(), &["role", "service account", "policy roles"]);
    target.service_account_role = Some("sa:${namespace}");
    let injected = target.injects(&asks(OWN).json());
    assert_eq!(
        inspect::env(inspect::injected_containers(&injected)[0], "SCAIVAULT_ROLE"),
        Some("sa:billing")
    );
}

/// Threat 20: with a label, the policies for that label apply to the tenant. Their globs still
/// contain its namespace.
#[test]
fn a_label_does_not_lead_out_of_its_namespace() {
    let team = PolicyParts { namespaces: selects("team", "payments"), ..limits() };
    let pinned = PolicyParts {
        namespaces: selects("kubernetes.io/metadata.name", "payments"),
        inject: vec![("inject-secret-p".to_owned(), THEIRS.to_owned())],
        ..policy("pinned")
    };
    let mut target = target([team, pinned]);
    target.namespace.labels.insert("team".to_owned(), "payments".to_owned());
    target.namespace.labels.insert("metadata.name".to_owned(), "payments".to_owned());
    target.refuses(&asks(THEIRS).json(), &["policy-limit", "environments/production/billing/**"]);
    assert!(!target.reads(&asks(OWN).json()).contains("payments"));
    // An annotation is not a label, and a pod's label is not a label of the namespace.
    target.namespace.annotations.insert("kubernetes.io/metadata.name".to_owned(), "payments".to_owned());
    let pod = labelled(asks(OWN), "kubernetes.io/metadata.name", "payments");
    assert!(!target.reads(&pod).contains("payments"));
}

/// Threat 21: without policies there are no limits; a policy for all namespaces denies by default.
#[test]
fn a_namespace_without_policies_is_denied_by_default() {
    let team = PolicyParts { namespaces: selects("team", "payments"), ..limits() };
    assert!(target([team.clone()]).reads(&asks(THEIRS).json()).contains(THEIRS));
    let allow = Allow { paths: Some(Vec::new()), dynamic: Some(Vec::new()), ..Allow::default() };
    let target = target([team, PolicyParts { allow, ..policy("default-deny") }]);
    for pod in [
        asks(THEIRS),
        asks(OWN),
        pod().annotate("inject-env-X", "a/b#c"),
        pod().annotate("inject-dynamic-x", "engine=e role=r"),
        asks("a=b/c"),
    ] {
        target.refuses(&pod.json(), &["policy default-deny allows no"]);
    }
    // Also for a pod without `metadata.namespace`, as controllers create it: the review contains
    // the namespace.
    let mut bare = asks(OWN).json();
    bare["metadata"].as_object_mut().unwrap().remove("namespace");
    target.refuses(&bare, &["policy default-deny"]);
}

/// Threat 22: a policy that only audits, or an exception that has expired, allows nothing.
#[test]
fn only_policies_in_force_allow_something() {
    let wide = || Allow { paths: named(["**"]), ..Allow::default() };
    let audit =
        PolicyParts { enforcement: Enforcement::Audit, allow: wide(), priority: 1000, ..policy("audit") };
    let with_audit = target([limits(), audit]);
    with_audit.refuses(&asks(THEIRS).json(), &["policy limits"]);

    let exception = |expires: i64| Exception {
        name: "legacy".to_owned(),
        namespaces: vec!["billing".to_owned()],
        service_accounts: vec!["legacy".to_owned()],
        allow: wide(),
        owner: "team-billing".to_owned(),
        reason: "moves in spring".to_owned(),
        expires,
        ..Exception::default()
    };
    let with = |exception| target([PolicyParts { exceptions: vec![exception], ..limits() }]);
    let legacy = asks(THEIRS).spec("serviceAccountName", "legacy").json();
    assert!(with(exception(NOW + 1)).reads(&legacy).contains(THEIRS));
    with(exception(NOW)).refuses(&legacy, &["policy-limit"]);
    with(exception(NOW - 1)).refuses(&legacy, &["policy-limit"]);
    with(exception(NOW + 1)).refuses(&asks(THEIRS).json(), &["policy-limit"]);
    let elsewhere = Exception { namespaces: vec!["payments".to_owned()], ..exception(NOW + 1) };
    with(elsewhere).refuses(&legacy, &["policy-limit"]);
}

/// Threat 23: a pod can only opt out where that is allowed, and without an injection it has no
/// secrets.
#[test]
fn an_opt_out_avoids_no_policy_that_forbids_it() {
    let inject = vec![("inject-secret-x".to_owned(), OWN.to_owned())];
    let parts = PolicyParts {
        inject,
        mutation_mode: Some(PolicyMode::Inject),
        pods_may_override: Some(false),
        ..policy("always")
    };
    let target = target([parts]);
    for (name, value) in [
        ("inject", "false"),
        ("mutation-mode", "ignore"),
        ("mutation-mode", "ignore-and-detach"),
        ("workload-mutation-mode", "ignore"),
    ] {
        let problems = target.refuses(&pod().annotate(name, value).json(), &["policy-opt-out", "always"]);
        assert!(!problems.is_empty());
    }
    let report = target.decide(&pod().json()).1;
    assert_eq!(report.uses[0].effect, PolicyEffect::Injected);
}

/// Threat 24: values of a policy can only be replaced within its limits.
#[test]
fn a_pod_overrides_a_policy_within_its_limits() {
    let inject = vec![
        ("inject-secret-db.json".to_owned(), OWN.to_owned()),
        ("inject-env-PASSWORD".to_owned(), format!("{OWN}#password")),
    ];
    let target = target([PolicyParts { inject, ..limits() }]);
    for (name, value) in
        [("inject-secret-db.json", THEIRS), ("inject-env-PASSWORD", &format!("{THEIRS}#password"))]
    {
        target.refuses(&pod().annotate(name, value).json(), &["policy-limit", name]);
    }
    let other = "environments/production/billing/other";
    assert!(target.reads(&pod().annotate("inject-secret-db.json", other).json()).contains(other));
}

/// Threat 25.
#[test]
fn a_pods_label_does_not_change_limits_of_its_namespace() {
    let wide = Allow { paths: named(["environments/production/payments/**"]), ..Allow::default() };
    let pinned = PolicyParts {
        namespaces: selects("kubernetes.io/metadata.name", "payments"),
        pods: selects("app", "admin"),
        allow: wide,
        ..policy("payments-admin")
    };
    let target = target([limits(), pinned]);
    for label in ["admin", "web", "", "invoices"] {
        target.refuses(&labelled(asks(THEIRS), "app", label), &["policy limits does not allow this path"]);
    }
    target.refuses(&asks(THEIRS).json(), &["policy limits does not allow this path"]);
}
