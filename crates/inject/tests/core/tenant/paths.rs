//! Texts that try to be read as another path than the one that is checked.

use super::*;

/// Threat 1.
#[test]
fn dots_and_slashes_lead_nowhere() {
    let target = target([limits()]);
    for path in [
        "environments/production/billing/../payments/database",
        "environments/production/billing/./../payments/database",
        "environments/production/billing/..",
        "../payments",
        "environments//production/billing/database",
        "environments/production/billing//database",
        "/environments/production/billing/database",
        "environments/production/billing/database/",
        "environments\\production\\payments\\database",
        "environments/production/billing/database\\..\\x",
        "",
        ".",
        "/",
    ] {
        target.refuses(&asks(path).json(), &["invalid-value"]);
        target.refuses(&asks(&format!("a={path} b={OWN}")).json(), &["invalid-value"]);
        target.refuses(&pod().annotate("inject-env-X", &format!("{path}#k")).json(), &["invalid-value"]);
    }
}

/// Threat 2: characters that a server, a proxy or a log could read as others.
#[test]
fn no_other_alphabet_becomes_a_path() {
    let target = target([limits()]);
    for path in [
        "environments/production/billing/%2e%2e/payments/database",
        "environments/production/billing%2F..%2Fpayments",
        "environments/production/billing/%252e%252e/x",
        "environments/production/payments\u{2215}database",
        "environments/production/billing\u{ff0f}x",
        "environments/production/billing/\u{ff0e}\u{ff0e}/payments",
        "environments/production/billing/\u{2024}\u{2024}/payments",
        "environments/production/bi\u{131}ling/x",
        "environments/production/b\u{456}lling/x",
        "environments/production/billing/d\u{430}tabase",
        "environments/production/billing/data\u{200b}base",
        "environments/production/billing/\u{202e}esabatad",
        "environments/production/billing/cafe\u{301}",
        "ENVIRONMENTS/PRODUCTION/PAYMENTS/DATABASE",
        "environments/production/PAYMENTS/database",
        "environments/production/billing/database\0payments",
        "environments/production/billing/database\npayments",
        "environments/production/billing/database?x=1",
        "environments/production/billing/data;base",
        "environments/production/billing/*",
        "environments/production/*/database",
        "environments/**",
    ] {
        target.refuses(&asks(path).json(), &["invalid-value"]);
        target.refuses(&asks(&format!("x={path}")).json(), &["invalid-value"]);
    }
}

/// Threat 3: the path that is checked is the path that is read, whatever follows it.
#[test]
fn a_field_or_version_hides_no_path() {
    let target = target([limits()]);
    for tail in ["#k", "@3", "#k@3", "#billing", "#environments.production.billing.x"] {
        target.refuses(&asks(&format!("{THEIRS}{tail}")).json(), &["policy-limit", "policy limits"]);
    }
    for source in [
        format!("{OWN}#../payments/database"),
        format!("{OWN}#k/../../payments"),
        format!("{OWN}@1#k"),
        format!("{OWN}#k@1@{THEIRS}"),
        format!("{OWN}##k"),
        format!("{OWN}@0"),
        format!("{OWN}@01"),
        format!("{OWN}@+1"),
        format!("{OWN}@-1"),
        format!("{OWN}@99999999999999999999"),
        format!("{OWN}#k -> /run/secrets/y\n{THEIRS}"),
        format!("{OWN} -> /f\n{THEIRS}"),
    ] {
        target.refuses(&asks(&source).json(), &["invalid-value"]);
    }
}

/// Threat 4.
#[test]
fn each_secret_of_a_file_is_checked() {
    let target = target([limits()]);
    for list in [
        format!("a={OWN} b={THEIRS}"),
        format!("b={THEIRS},a={OWN}"),
        format!("a={OWN},\n\tb={THEIRS}#k@2"),
        format!("a={OWN} b={OWN} c={OWN} d=environments/production/billing-old/x"),
    ] {
        target.refuses(&asks(&list).json(), &["policy-limit", "policy limits does not allow this path"]);
    }
    // A repeated alias does not replace the one that was checked, and an alias cannot be a path.
    target.refuses(&asks(&format!("a={OWN} a={THEIRS}")).json(), &["the alias a is used twice"]);
    target.refuses(&asks(&format!("{THEIRS}={OWN}")).json(), &["is not an alias"]);
    target.refuses(&asks(&format!("a={OWN}={THEIRS}")).json(), &["invalid-value"]);
    assert!(target.reads(&asks(&format!("a={OWN} b={OWN}#k")).json()).contains(OWN));
}

/// Threat 4: every key that names a secret.
#[test]
fn all_ways_to_name_a_secret_are_limited() {
    let dynamic = named(["postgres/billing-*"]);
    let target = target([PolicyParts { allow: Allow { dynamic, ..limits().allow }, ..limits() }]);
    for (name, value) in [
        ("inject-secret-a", THEIRS),
        ("inject-env-A", &format!("{THEIRS}#k")),
        ("inject-dynamic-a", "engine=postgres role=payments-admin"),
    ] {
        let pod = pod().annotate(name, value);
        target.refuses(&pod.clone().json(), &["policy-limit", "policy limits", name]);
        // One secret outside the lists rejects the pod, whatever else is allowed.
        target.refuses(&pod.annotate("inject-secret-own", OWN).json(), &["policy-limit"]);
    }
}

/// Threat 5.
#[test]
fn an_engine_or_role_has_no_slash() {
    let dynamic = named(["postgres/billing-*"]);
    let target = target([PolicyParts { allow: Allow { dynamic, ..Allow::default() }, ..policy("limits") }]);
    let asks = |value: &str| pod().annotate("inject-dynamic-x", value).json();
    for value in [
        "engine=postgres/billing-x role=admin",
        "engine=postgres role=billing-x/../admin",
        "engine=postgres role=billing-x%2f..%2fadmin",
        "engine=postgres role=billing-*",
        "engine=* role=*",
        "engine=postgres role=billing-x role=admin",
        "engine=postgres role=billing-x ttl=1h/admin",
        "engine=postgres role=billing-x\nengine=postgres role=admin",
        "engine=postgres role=billing-\u{445}",
    ] {
        target.refuses(&asks(value), &["invalid-value"]);
    }
    for value in [
        "engine=postgres role=admin",
        "role=billing-x engine=postgres-prod",
        "engine=POSTGRES role=billing-x",
        "engine=billing-x role=postgres",
        "engine=postgres role=Billing-x",
    ] {
        target.refuses(&asks(value), &["policy-limit", "postgres/billing-*"]);
    }
    assert!(
        target
            .reads(&asks("role=billing-x ttl=1h engine=postgres"))
            .contains("engine=postgres role=billing-x")
    );
}

/// Threat 6: a glob matches only what it was written for.
#[test]
fn a_glob_is_anchored_and_stays_in_its_level() {
    let allowed = |glob: &str, path: &str| {
        let allow = Allow { paths: named([glob]), ..Allow::default() };
        let (decision, _) = target([PolicyParts { allow, ..policy("limits") }]).decide(&asks(path).json());
        matches!(decision, Decision::Inject(_))
    };
    for (glob, path) in [
        ("billing/*", "billing/a/b"),
        ("billing/*", "billing"),
        ("billing", "billing/a"),
        ("billing/**", "billing-old/a"),
        ("billing/**", "x/billing/a"),
        ("billing", "billing_"),
        ("b?lling/x", "b/lling/x"),
        ("*/x", "a/b/x"),
        ("a/**/x", "a/b/y"),
    ] {
        assert!(!allowed(glob, path), "{glob} covers {path}");
    }
    for (glob, path) in [("billing/*", "billing/a"), ("billing/**", "billing/a/b"), ("a/**/x", "a/b/c/x")] {
        assert!(allowed(glob, path), "{glob} does not cover {path}");
    }
}

/// Threat 7: a template has only the secrets of its own file.
#[test]
fn a_template_reads_no_other_file() {
    let target = target([limits()]);
    for template in [
        "{% include '/var/run/secrets/scaivault/token' %}",
        "{% import '/etc/passwd' as x %}",
        "{% from 'x' import y %}",
        "{% extends '/etc/passwd' %}",
        "{{ env.HOME }}",
        "{{ env('HOME') }}",
        "{{ file('/etc/passwd') }}",
        "{{ open('/etc/passwd') }}",
        "{{ lookup('file', '/etc/passwd') }}",
        "{{ self }}",
        "{{ secret('environments/production/payments/database') }}",
        "{{ secrets.other.data }}",
        "{{ data.x | file }}",
    ] {
        let pod = asks(OWN).annotate("secret-template-x", template).json();
        let problems = target.refuses(&pod, &["secret-template-x"]);
        assert!(!problems.contains("passwd") && !problems.contains("payments"), "{problems}");
    }
    let several = asks(&format!("a={OWN}")).annotate("secret-template-x", "{{ secrets.b.data }}").json();
    target.refuses(&several, &["secret-template-x"]);
    let variable = asks(OWN).annotate("secret-template-x", "${namespace} {{ data.x }}").json();
    // The text of a template is not filled.
    assert!(target.reads(&variable).contains("$${namespace}"));
}
