//! Policies and a pod that they may select.

use scaivault_inject::{
    Enforcement, Exception, Expression, Namespace, Operator, Policy, PolicyMode, PolicyParts, PolicySet,
    Selector,
};
use scaivault_testkit::{PREFIX, PodBuilder};
use serde_json::{Value, json};

use crate::{annotations::lines, laws};

/// The maximum number of policies in one input: a few are sufficient for all kinds of interaction.
const POLICIES: usize = 6;

/// Parses lines of `key=value`. `policy=NAME` starts a policy, to which the lines up to the next
/// one belong:
///
/// * `priority`, `environment`, `account`, `mode`, `override`, `enforcement`
/// * `namespaces:KEY`, `pods:KEY` for a label, with `!` before the value for another operator
/// * `inject:KEY`, `default:KEY`, `allow:FIELD`, and `exception` for a glob of paths that it allows
///
/// Lines before the first policy describe the pod and its namespace: `+KEY` is an annotation,
/// `~KEY` a label, `@KEY` an annotation of the namespace, `%KEY` a label of the namespace, and
/// `bare` is the pod's metadata.
pub fn policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut namespace = Namespace { name: "billing".to_owned(), ..Namespace::default() };
    namespace.labels.insert("kubernetes.io/metadata.name".to_owned(), "billing".to_owned());
    let mut pod = scaivault_testkit::pod();
    let mut labels = serde_json::Map::new();
    let mut bare = None;
    let mut policies: Vec<PolicyParts> = Vec::new();
    for (key, value) in lines(&text) {
        if key == "policy" && policies.len() < POLICIES {
            policies.push(PolicyParts { name: value.to_owned(), ..PolicyParts::default() });
            continue;
        }
        if let Some(policy) = policies.last_mut() {
            of_policy(policy, key, value);
            continue;
        }
        match (key.get(..1), key.get(1..)) {
            (Some("+"), Some(key)) => pod = pod.annotation(&key.replace('~', PREFIX), value),
            (Some("~"), Some(key)) => drop(labels.insert(key.to_owned(), value.into())),
            (Some("@"), Some(key)) => {
                namespace.annotations.insert(format!("{PREFIX}{key}"), value.to_owned());
            }
            (Some("%"), Some(key)) => drop(namespace.labels.insert(key.to_owned(), value.to_owned())),
            _ if key == "bare" => bare = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut pod: Value = PodBuilder::json(pod);
    if !labels.is_empty() {
        pod["metadata"]["labels"] = Value::Object(labels);
    }
    match bare.as_deref() {
        Some("absent") => drop(pod.as_object_mut().map(|pod| pod.remove("metadata"))),
        Some("null") => pod["metadata"] = Value::Null,
        Some("empty") => pod["metadata"] = json!({"annotations": {}}),
        Some(_) => pod["metadata"] = json!({"annotations": null}),
        None => {}
    }
    let compiled = policies.into_iter().filter_map(compile).collect();
    laws::check_under(&pod, &namespace, &PolicySet::new(compiled));
}

fn compile(parts: PolicyParts) -> Option<Policy> {
    match Policy::compile(parts) {
        Ok(policy) => Some(policy),
        Err(problems) => {
            assert!(!problems.is_empty(), "a policy is refused for reasons");
            assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
            None
        }
    }
}

fn of_policy(policy: &mut PolicyParts, key: &str, value: &str) {
    let (kind, name) = key.split_once(':').unwrap_or((key, ""));
    let list = |list: &mut Option<Vec<String>>| {
        let list = list.get_or_insert_default();
        list.extend((!value.is_empty()).then(|| value.to_owned()));
    };
    match kind {
        "priority" => policy.priority = value.parse().unwrap_or_default(),
        "environment" => policy.environment = Some(value.to_owned()),
        "account" => policy.service_accounts.push(value.to_owned()),
        "mode" => policy.mutation_mode = PolicyMode::ALL.into_iter().find(|mode| mode.name() == value),
        "override" => policy.pods_may_override = Some(value == "true"),
        "enforcement" => {
            let found = Enforcement::ALL.into_iter().find(|enforcement| enforcement.name() == value);
            policy.enforcement = found.unwrap_or_default();
        }
        "namespaces" => require(&mut policy.namespaces, name, value),
        "pods" => require(&mut policy.pods, name, value),
        "inject" => policy.inject.push((name.to_owned(), value.to_owned())),
        "default" => policy.defaults.push((name.to_owned(), value.to_owned())),
        "allow" => match name {
            "paths" => list(&mut policy.allow.paths),
            "dynamic" => list(&mut policy.allow.dynamic),
            "roles" => list(&mut policy.allow.roles),
            "urls" => list(&mut policy.allow.urls),
            "images" => list(&mut policy.allow.images),
            "uids" => list(&mut policy.allow.uids),
            "caConfigMaps" => list(&mut policy.allow.ca_configmaps),
            _ => list(&mut policy.allow.client_credentials_secrets),
        },
        "exception" => {
            let mut exception = Exception {
                name: format!("exception-{}", policy.exceptions.len()),
                owner: "team".to_owned(),
                reason: "a reason".to_owned(),
                expires: laws::NOW + 1,
                ..Exception::default()
            };
            list(&mut exception.allow.paths);
            policy.exceptions.push(exception);
        }
        _ => {}
    }
}

fn require(selector: &mut Selector, key: &str, value: &str) {
    let Some(values) = value.strip_prefix('!') else {
        selector.match_labels.insert(key.to_owned(), value.to_owned());
        return;
    };
    let (operator, values) = match values.split_once('!') {
        Some((_, values)) => (Operator::NotIn, values.split(',').map(str::to_owned).collect()),
        None if values == "*" => (Operator::Exists, Vec::new()),
        None if values.is_empty() => (Operator::DoesNotExist, Vec::new()),
        None => (Operator::In, values.split(',').map(str::to_owned).collect()),
    };
    selector.match_expressions.push(Expression { key: key.to_owned(), operator, values });
}
