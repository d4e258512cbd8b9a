//! Random policies, and pods that they may select.

use std::collections::BTreeMap;

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
};
use scaivault_inject::{
    Allow, Enforcement, Exception, Expression, Operator, PolicyMode, PolicyParts, Selector,
    annotations::specs,
};
use scaivault_inject::{Layer, annotations::ExactKey, annotations::Key};
use scaivault_testkit::random::{annotated_pods, any_pods};
use serde_json::{Value, json};

use super::support::{Draft, NOW};
use crate::support::keys;

/// Paths that random policies and pods use, some of them with variables.
pub(crate) const PATHS: [&str; 8] = [
    "environments/production/billing/database",
    "environments/production/changed",
    "environments/${environment}/billing/api",
    "teams/${namespace}/${service-account}/key",
    "apps/${label:app}/config",
    "hosts/${node}/pods/${pod}",
    "shared/ca",
    "a",
];

const GLOBS: [&str; 9] = [
    "**",
    "environments/**",
    "environments/production/*/database",
    "teams/${namespace}/**",
    "apps/${label:app}/*",
    "hosts/*/**",
    "shared/c?",
    "**/*a*/**",
    "none",
];

/// Several valid policies, in any order.
pub(crate) fn policies() -> impl Strategy<Value = Vec<Draft>> {
    vec(policy(), 0..5).prop_map(|drafts| {
        let named = drafts.into_iter().enumerate().map(|(n, mut draft)| {
            draft.name = format!("policy-{n}");
            Draft(draft)
        });
        named.filter(|draft| scaivault_inject::Policy::compile(draft.0.clone()).is_ok()).collect()
    })
}

/// Pods with and without annotations of the injector, with and without labels, and with and without
/// their parents.
pub(crate) fn pods() -> impl Strategy<Value = Value> {
    let labelled = (any_pods(), option::of(select(vec!["web", "api"])), 0..5_u8);
    let bare = labelled.prop_map(|(mut pod, app, metadata)| {
        match metadata {
            0 => drop(pod.as_object_mut().expect("a pod is an object").remove("metadata")),
            1 => pod["metadata"] = Value::Null,
            2 => pod["metadata"] = json!({"annotations": {}}),
            _ => {}
        }
        if let (Some(app), Some(metadata)) = (app, pod["metadata"].as_object_mut()) {
            metadata.insert("labels".to_owned(), json!({"app": app}));
        }
        pod
    });
    prop_oneof![bare, annotated_pods(any_pods(), keys()).prop_map(with_variables)]
}

/// The same pod with a variable in its path.
fn with_variables(mut pod: Value) -> Value {
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        let key = scaivault_testkit::key("inject-secret-mine.json");
        annotations.insert(key, "teams/${namespace}/${service-account}/mine".into());
    }
    pod
}

fn policy() -> impl Strategy<Value = PolicyParts> {
    let who = (selector("team"), selector("app"), subsequence(vec!["default", "web*", "?"], 0..2));
    let what = (inject(), defaults(), allow(), vec(exception(), 0..2));
    let how = (
        -1..2_i32,
        option::weighted(0.3, select(vec!["production", "staging"])),
        option::weighted(0.2, select(PolicyMode::ALL.to_vec())),
        option::weighted(0.2, any::<bool>()),
        select(Enforcement::ALL.to_vec()),
    );
    (who, what, how).prop_map(
        |(
            (namespaces, pods, accounts),
            (inject, defaults, allow, exceptions),
            (priority, environment, mutation_mode, pods_may_override, enforcement),
        )| PolicyParts {
            name: String::new(),
            generation: 7,
            priority,
            namespaces,
            pods,
            service_accounts: accounts.into_iter().map(str::to_owned).collect(),
            environment: environment.map(str::to_owned),
            inject,
            defaults,
            allow,
            restart: None,
            mutation_mode,
            pods_may_override,
            enforcement,
            exceptions: exceptions
                .into_iter()
                .enumerate()
                .map(|(n, exception)| Exception { name: format!("exception-{n}"), ..exception })
                .collect(),
        },
    )
}

fn selector(key: &'static str) -> impl Strategy<Value = Selector> {
    let values = || select(vec!["billing", "shop", "web", "api"]);
    let expression = (
        select(vec![Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist]),
        vec(values(), 1..3),
    );
    let expression = expression.prop_map(move |(operator, values)| Expression {
        key: key.to_owned(),
        operator,
        values: match operator {
            Operator::In | Operator::NotIn => values.into_iter().map(str::to_owned).collect(),
            Operator::Exists | Operator::DoesNotExist => Vec::new(),
        },
    });
    let labels = btree_map(Just(key.to_owned()), values().prop_map(str::to_owned), 0..2);
    prop_oneof![
        2 => Just(Selector::default()),
        1 => labels.prop_map(|match_labels| Selector { match_labels, match_expressions: Vec::new() }),
        1 => vec(expression, 1..2)
            .prop_map(|match_expressions| Selector { match_labels: BTreeMap::new(), match_expressions }),
    ]
}

fn inject() -> impl Strategy<Value = Vec<(String, String)>> {
    let path = || select(PATHS.to_vec());
    let entries = (
        option::of(path()),
        option::of(path()),
        option::of(path()),
        option::of(select(vec!["engine=pg role=reader", "engine=pg role=${namespace} ttl=1h"])),
        option::of(select(vec!["json", "yaml"])),
        option::weighted(0.2, select(vec!["*", "app", ""])),
    );
    entries.prop_map(|(one, two, variable, dynamic, format, containers)| {
        let with_format = one.and(format);
        [
            ("inject-secret-one.json", one.map(str::to_owned)),
            ("inject-secret-two", two.map(|path| format!("first={path}, second=shared/ca#pem"))),
            ("inject-env-POLICY_PASSWORD", variable.map(|path| format!("{path}#password"))),
            ("inject-dynamic-pg.json", dynamic.map(str::to_owned)),
            ("secret-format-one.json", with_format.map(str::to_owned)),
            ("containers", containers.map(str::to_owned)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
    })
}

/// Any key that a namespace may set, with one of the registry's examples.
fn defaults() -> impl Strategy<Value = Vec<(String, String)>> {
    let keys: Vec<(String, Vec<String>)> = specs()
        .filter(|spec| spec.setters.include(&Layer::Namespace) && !spec.examples.is_empty())
        .filter_map(|spec| match spec.key {
            Key::Exact(ExactKey::MutationMode) | Key::Named(_) => None,
            Key::Exact(key) if key.is_for_restarts() => None,
            Key::Exact(key) => {
                let examples = spec.examples.iter().map(|example| (*example).to_owned());
                Some((key.text().to_owned(), examples.collect()))
            }
        })
        .collect();
    subsequence(keys, 0..3).prop_flat_map(|keys| {
        keys.into_iter().map(|(key, examples)| (Just(key), select(examples))).collect::<Vec<_>>()
    })
}

fn allow() -> impl Strategy<Value = Allow> {
    let list = |entries: &'static [&'static str]| {
        let some = subsequence(entries.to_vec(), 0..=entries.len().min(3));
        option::weighted(0.3, some.prop_map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>()))
    };
    let globs = (
        list(&GLOBS),
        list(&["**", "pg/*", "*/${namespace}"]),
        list(&["*", "sa:*", "billing"]),
        list(&["unset", "0-4999", "65532"]),
    );
    let others = (
        list(&["https://scaivault.example", "https://scaivault.scailabs.ai"]),
        list(&["registry.example", "scailabs/scaivault-sidecar"]),
        list(&["*", "ca"]),
        list(&["*", "login"]),
    );
    (globs, others).prop_map(
        |((paths, dynamic, roles, uids), (urls, images, ca_configmaps, client_credentials_secrets))| Allow {
            paths,
            dynamic,
            roles,
            urls,
            images,
            uids,
            ca_configmaps,
            client_credentials_secrets,
        },
    )
}

fn exception() -> impl Strategy<Value = Exception> {
    let parts = (select(GLOBS.to_vec()), selector("app"), prop_oneof![Just(NOW), Just(NOW + 1)]);
    parts.prop_map(|(glob, pods, expires)| Exception {
        namespaces: vec!["b*".to_owned()],
        pods,
        allow: Allow { paths: Some(vec![glob.to_owned()]), ..Allow::default() },
        owner: "team".to_owned(),
        reason: "a reason".to_owned(),
        expires,
        ..Exception::default()
    })
}
