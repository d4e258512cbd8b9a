//! Invalid policies: all problems are reported at once, each with field, value and fix.

use scaivault_inject::{Expression, Operator, Policy};

use super::support::{Draft, named, policy};
use crate::support::DATABASE;

fn problems(draft: Draft) -> Vec<String> {
    let problems = Policy::compile(draft.0).expect_err("it is not refused");
    problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(draft: Draft, parts: &[&str]) {
    let problems = problems(draft);
    assert_eq!(problems.len(), 1, "{problems:?}");
    for part in parts {
        assert!(problems[0].contains(part), "{problems:?}");
    }
}

fn expression(operator: Operator, values: &[&str]) -> Expression {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Expression { key: "app".to_owned(), operator, values }
}

#[test]
fn each_mistake_names_field_and_value() {
    check(
        policy("Billing"),
        &["metadata.name (of the policy Billing): \"Billing\": not", "[invalid-policy]"],
    );
    check(
        policy("p").environment("pro/duction"),
        &["environment (of the policy p): \"pro/duction\": ", "one level"],
    );
    check(policy("p").select_pods("app", "a b"), &["podSelector.matchLabels (of", "\"a b\"", "63"]);
    check(policy("p").select_namespaces("app/", "a"), &["namespaceSelector", "app/", "key of a label"]);
    check(policy("p").service_account("a//b"), &["serviceAccounts[0] (of", "empty segment"]);
    check(policy("p").service_account("${namespace}"), &["serviceAccounts", "variables are not filled"]);
    check(
        policy("p").inject("inject", "true"),
        &["inject (of the policy p): \"inject\": this key is not allowed here"],
    );
    check(policy("p").inject("image", "x"), &["\"image\""]);
    check(policy("p").inject("inject-secert-db", DATABASE), &["inject-secert-db"]);
    check(policy("p").defaults("mutation-mode", "ignore"), &["defaults", "mutation-mode"]);
    check(policy("p").defaults("inject-secret-db", DATABASE), &["defaults", "inject-secret-db"]);
    check(policy("p").defaults("log-level", "loud"), &["log-level (of the policy p)", "\"loud\"", "debug"]);
    check(
        policy("p").inject("inject-secret-db", "A/b"),
        &["inject-secret-db (of the policy p)", "lower case"],
    );
    check(policy("p").inject("secret-format-db", "json"), &["secret-format-db", "[unknown-name]"]);
    let twice = policy("p").inject("inject-secret-db", "a/b").inject("inject-secret-db", "a/c");
    check(twice, &["inject-secret-db", "is given twice"]);
    let format = policy("p").inject("inject-secret-db", "a/b").inject("secret-format-db", "xml");
    check(format, &["secret-format-db", "\"xml\""]);
    let template = policy("p").inject("inject-secret-db", "a/b").inject("secret-template-db", "{{ nope }}");
    check(template, &["secret-template-db"]);
}

#[test]
fn each_entry_of_a_list_is_checked() {
    check(
        policy("p").allow(|allow| allow.paths = named(["b/**", "a**"])),
        &["allow.paths[1]", "\"a**\"", "whole segment"],
    );
    check(policy("p").allow(|allow| allow.paths = named(["A/*"])), &["allow.paths[0] (of", "a-z"]);
    check(policy("p").allow(|allow| allow.paths = named(["/a"])), &["allow.paths", "empty segment"]);
    check(policy("p").allow(|allow| allow.dynamic = named(["pg"])), &["allow.dynamic", "one slash"]);
    check(policy("p").allow(|allow| allow.urls = named(["ftp://x"])), &["allow.urls", "https://"]);
    check(policy("p").allow(|allow| allow.images = named([":x"])), &["allow.images"]);
    check(policy("p").allow(|allow| allow.uids = named(["9-1"])), &["allow.uids", "\"9-1\"", "1000-1999"]);
    check(policy("p").allow(|allow| allow.uids = named(["-1"])), &["allow.uids"]);
    let many: Vec<String> = (0..65).map(|n| format!("a/{n}")).collect();
    check(
        policy("p").allow(|allow| allow.paths = Some(many)),
        &["allow.paths", "65 entries, and at most 64"],
    );
}

#[test]
fn selectors_and_exceptions_are_checked() {
    for (operator, values) in [
        (Operator::In, &[][..]),
        (Operator::NotIn, &[]),
        (Operator::Exists, &["a"]),
        (Operator::DoesNotExist, &["a"]),
    ] {
        let mut draft = policy("p");
        draft.0.pods.match_expressions.push(expression(operator, values));
        check(draft, &["podSelector.matchExpressions[0] (of", "\"app\""]);
    }
    let exception = || policy("p").exception(|exception| exception.allow.paths = named(["a/**"]));
    assert!(Policy::compile(exception().0).is_ok());
    check(policy("p").exception(|_| {}), &["exceptions[0].allow (of", "allows nothing"]);
    let changes: [fn(&mut Draft); 6] = [
        |draft| draft.0.exceptions[0].owner = " ".to_owned(),
        |draft| draft.0.exceptions[0].reason = String::new(),
        |draft| draft.0.exceptions[0].name = String::new(),
        |draft| draft.0.exceptions[0].namespaces = vec!["a//b".to_owned()],
        |draft| draft.0.exceptions[0].allow.paths = named(["a**"]),
        |draft| draft.0.exceptions.extend(draft.0.exceptions.clone()),
    ];
    for change in changes {
        let mut draft = exception();
        change(&mut draft);
        check(draft, &["exceptions", "[invalid-policy]"]);
    }
}

#[test]
fn all_mistakes_are_listed_at_once() {
    let found = problems(
        policy("p")
            .environment("A")
            .select_pods("a b", "c")
            .allow(|allow| allow.paths = named(["a**"]))
            .inject("nonsense", "x"),
    );
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn oversized_input_is_refused_before_parsing() {
    let mut draft = policy("p");
    draft.0.inject = (0..801).map(|n| (format!("inject-secret-{n}"), "a/b".to_owned())).collect();
    check(draft, &["801 entries, and at most 800"]);
    let template = "x".repeat(600 * 1024);
    let large = policy("p").inject("inject-secret-a", "a/b").inject("secret-template-a", &template);
    check(large, &["bytes, and at most"]);
}
