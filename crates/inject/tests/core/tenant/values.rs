//! Variables: values that a tenant can choose for a label, an annotation or a name.

use super::*;

/// A policy that gives each pod the secret of the application in its label.
fn by_label() -> PolicyParts {
    let inject = vec![("inject-secret-app".to_owned(), "apps/${label:app}/config".to_owned())];
    PolicyParts { inject, ..policy("by-label") }
}

/// Threat 8.
#[test]
fn a_label_that_names_a_neighbour_stays_in_the_globs() {
    let allow =
        Allow { paths: named(["apps/${namespace}/**", "apps/${namespace}_*/**"]), ..Allow::default() };
    let limited = target([PolicyParts { allow, ..by_label() }]);
    assert!(limited.reads(&labelled(pod(), "app", "billing")).contains("apps/billing/config"));
    assert!(limited.reads(&labelled(pod(), "app", "billing_web")).contains("apps/billing_web/config"));
    for neighbour in ["payments", "billing-old", "billin", "billingx", "billing-"] {
        let said = ["policy-limit", "policy by-label does not allow this path", "apps/billing/**"];
        limited.refuses(&labelled(pod(), "app", neighbour), &said);
    }
    // The same path in the pod's own annotation, and in an annotation that a variable reads.
    limited.refuses(&labelled(asks("apps/payments/config"), "app", "billing"), &["policy-limit"]);
    let indirect = asks("apps/${annotation:team}/config").annotation("team", "payments");
    limited.refuses(&labelled(indirect, "app", "billing"), &["policy-limit"]);
    let own = asks("apps/${label:tier}/config");
    let mut own = labelled(own, "app", "billing");
    own["metadata"]["labels"]["tier"] = "payments".into();
    limited.refuses(&own, &["policy-limit"]);
}

/// Threat 9.
#[test]
fn a_value_with_a_slash_or_wildcard_is_refused() {
    for target in [target([by_label()]), target([by_label(), limits()])] {
        for value in [
            "billing/../payments",
            "billing/db",
            "/",
            "..",
            ".",
            "*",
            "**",
            "bill?ng",
            "[a-z]",
            "{a,b}",
            "%2e%2e",
            "a\\b",
            "billing#k",
            "billing@1",
            "a b",
            "a,b=c",
            "a=b",
            "",
            "\u{ff0f}",
            "p\u{430}yments",
            "pay\u{200b}ments",
            "Payments",
            "a\n",
            "a\0",
            "${namespace}",
            "${label:app}",
            "$(HOME)",
            "{{ data }}",
            &"x".repeat(64),
        ] {
            target.refuses(
                &labelled(pod(), "app", value),
                &["policy-variable", "${label:app}", "[policy-variable]"],
            );
        }
        let problems = target.refuses(&pod().json(), &["the pod has no label app"]);
        assert!(problems.contains("policy by-label"), "{problems}");
    }
}

/// Threat 9: inside a glob, a value matches only itself.
#[test]
fn a_value_is_no_pattern_in_a_glob() {
    let allow = Allow { paths: named(["apps/${label:app}/**"]), ..Allow::default() };
    let target = target([PolicyParts { allow, ..policy("limits") }]);
    assert!(target.reads(&labelled(asks("apps/web/x"), "app", "web")).contains("apps/web/x"));
    for label in ["*", "**", "?eb", "web/**", "w*", "", "apps/../**", "w_b"] {
        let pod = labelled(asks("apps/web/x"), "app", label);
        target.refuses(&pod, &["policy-limit"]);
    }
    target.refuses(&asks("apps/web/x").json(), &["policy-limit"]);
}

/// Threat 10.
#[test]
fn a_variable_inside_a_variable_is_refused() {
    let target = target([limits()]);
    for path in [
        "environments/${environment}/${${label:x}}/a",
        "environments/${environment}/${label:${namespace}}/a",
        "environments/production/${{namespace}}/a",
        "environments/production/$${namespace}/a",
        "environments/production/$namespace/a",
        "environments/production/$(SCAIVAULT_POD)/a",
        "environments/production/${namespace/../payments}/a",
        "environments/production/${namespace:-payments}/a",
        "environments/production/${namespace",
        "environments/production/${file:token}/a",
        "environments/production/${env:HOME}/a",
        "environments/production/${secret:payments}/a",
        "environments/production/${label:}/a",
        "environments/production/${NAMESPACE}/a",
        "environments/production/${namesp\u{430}ce}/a",
    ] {
        let pod = labelled(asks(path), "x", "namespace");
        target.refuses(&pod, &["policy-variable"]);
    }
    // Only paths may have variables.
    for source in
        [format!("{OWN}#${{label:x}}"), format!("{OWN}@${{label:x}}"), format!("${{label:x}}={OWN}")]
    {
        target.refuses(
            &labelled(asks(&source), "x", "a"),
            &["policy-variable", "a variable cannot be used in"],
        );
    }
}

/// Threat 11: two values in one level could be split in two ways.
#[test]
fn a_policy_whose_paths_two_tenants_share_is_refused() {
    for path in [
        "apps/${namespace}-${service-account}/db",
        "apps/${namespace}${service-account}",
        "${label:a}-${label:b}/x",
    ] {
        let inject = vec![("inject-secret-x".to_owned(), path.to_owned())];
        let problems = Policy::compile(PolicyParts { inject, ..policy("shared") }).unwrap_err().to_string();
        assert!(problems.contains("are in one level with"), "{problems}");
        let allow = Allow { paths: named([path]), ..Allow::default() };
        let problems = Policy::compile(PolicyParts { allow, ..policy("shared") }).unwrap_err().to_string();
        assert!(problems.contains("are in one level with"), "{problems}");
    }
    let allow = Allow { paths: named(["apps/${namespace}-*/**"]), ..Allow::default() };
    assert!(Policy::compile(PolicyParts { allow, ..policy("prefix") }).is_err());
    // A separator that names in Kubernetes cannot contain is allowed: `_`.
    let inject = vec![("inject-secret-x".to_owned(), "apps/${namespace}_${service-account}/db".to_owned())];
    let target = target([PolicyParts { inject, ..policy("apart") }]);
    let mut pod = pod().json();
    pod["spec"]["serviceAccountName"] = "old-web".into();
    assert!(target.reads(&pod).contains("apps/billing_old-web/db"));
}

/// Threat 12: a pod's name is only unique in its namespace, and at admission most pods have none.
#[test]
fn a_pod_named_like_a_neighbours_gets_no_more() {
    let limited = |globs: Option<Vec<String>>| {
        target([PolicyParts { allow: Allow { paths: globs, ..Allow::default() }, ..policy("limits") }])
    };
    let per_pod = || {
        let mut pod = asks("pods/${namespace}/${pod}/key").json();
        pod["metadata"]["name"] = "db-0".into();
        pod
    };
    // A glob with a fixed name does not match a variable, which may get that name or another.
    for glob in [
        "pods/billing/db-0/**",
        "pods/payments/**",
        "pods/billing/????/key",
        "pods/billing/?/key",
        "pods/*/key",
        "pods/billing/${node}/key",
    ] {
        limited(named([glob])).refuses(&per_pod(), &["policy-limit"]);
    }
    for glob in ["pods/${namespace}/*/key", "pods/${namespace}/**", "pods/${namespace}/${pod}/key"] {
        assert!(limited(named([glob])).reads(&per_pod()).contains("pods/billing/$${pod}/key"), "{glob}");
    }
    // Under the last glob, a literal name is not allowed, whether it is a neighbour's or one in the
    // own namespace.
    let own = limited(named(["pods/${namespace}/${pod}/**"]));
    for path in [
        "pods/billing/db-0/key",
        "pods/billing/x${pod}/key",
        "pods/payments/${pod}/key",
        "pods/billing/${node}/key",
        "pods/billing/${pod}${pod}/key",
    ] {
        let mut pod = asks(path).json();
        pod["metadata"]["name"] = "db-0".into();
        own.refuses(&pod, &["policy-limit"]);
    }
    // The name comes from the kubelet and not from an annotation.
    let injected = own.injects(&per_pod());
    let env = inspect::injected_containers(&injected)[0]["env"].as_array().unwrap().clone();
    let field = env.iter().find(|variable| variable["name"] == "SCAIVAULT_POD").unwrap();
    assert_eq!(field["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
    assert!(env.iter().all(|variable| variable["name"] != "SCAIVAULT_NODE"), "only where it is used");
}

/// Threat 12: the role is requested at the login, before variables are filled.
#[test]
fn a_role_has_no_name_that_the_pod_would_fill() {
    let target = target([limits()]);
    for role in ["sa:${pod}", "sa:${node}"] {
        target.refuses(
            &asks(OWN).annotate("role", role).json(),
            &["policy-variable", "only known to the agent"],
        );
    }
}
