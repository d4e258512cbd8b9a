//! Random annotations: valid ones with all keys, and arbitrary ones.
//!
//! Keys and values come from the injector's registry, which the caller passes as
//! [`AnnotationKey`]s. Values of keys that this file does not mention are drawn from their
//! examples. Only keys whose values depend on the pod or on each other are handled here.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    one_of,
    text::{name_tail, odd_text},
};
use crate::{inspect, key};

/// A row of the injector's registry.
#[derive(Clone, Copy, Debug)]
pub struct AnnotationKey {
    /// The key without the prefix, up to an optional name.
    pub text: &'static str,
    /// Whether the name of a file or variable follows.
    pub takes_name: bool,
    /// Whether only the injector writes it.
    pub is_written: bool,
    /// Valid values.
    pub examples: &'static [&'static str],
}

/// Keys whose values depend on the pod: its containers, and the process to signal.
const OF_THE_POD: [&str; 5] =
    ["containers", "init-containers", "reload-signal", "reload-target", "reload-url"];
/// Keys that switch the injection off.
const SWITCHES: [&str; 2] = ["inject", "mutation-mode"];
/// Keys that [`secret`], [`dynamic`] and [`variable`] write, because they depend on each other.
const OF_A_SECRET: [&str; 9] = [
    "inject-secret-",
    "inject-dynamic-",
    "inject-env-",
    "secret-file-",
    "secret-format-",
    "secret-template-",
    "secret-mode-",
    "secret-encoding-",
    "secret-optional-",
];

/// The registry, by key.
#[derive(Debug)]
pub(super) struct Keys(BTreeMap<&'static str, AnnotationKey>);

impl Keys {
    /// Panics if the registry lacks a key that is used here, or if a key has no example.
    pub(super) fn new(rows: impl IntoIterator<Item = AnnotationKey>) -> Self {
        let keys = Self(rows.into_iter().map(|row| (row.text, row)).collect());
        for text in OF_THE_POD.iter().chain(&SWITCHES).chain(&OF_A_SECRET) {
            assert!(keys.0.contains_key(text), "the registry has no key {text} any more");
        }
        for row in keys.0.values() {
            assert!(
                !row.examples.is_empty(),
                "{} has no example, so no law would be tried with it",
                row.text
            );
        }
        keys
    }

    fn examples(&self, text: &str) -> &'static [&'static str] {
        self.0.get(text).map_or(&[], |row| row.examples)
    }

    /// The settings whose examples are valid with all other keys, by whether a name follows.
    fn independent(&self, takes_name: bool) -> impl Iterator<Item = &AnnotationKey> {
        let known: BTreeSet<&str> = OF_THE_POD.into_iter().chain(SWITCHES).chain(OF_A_SECRET).collect();
        self.0
            .values()
            .filter(move |row| row.takes_name == takes_name && !row.is_written && !known.contains(row.text))
    }
}

/// Annotations that request at least one secret, without contradictions. Keys have no prefix.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    annotations: BTreeMap<String, String>,
    readers: Readers,
    reload: Reload,
}

/// How the application is notified of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reload {
    None,
    Signal(&'static str),
    Url(&'static str),
}

/// The containers that get the mount; their names depend on the pod.
#[derive(Clone, Copy, Debug)]
enum Readers {
    Default,
    All,
    /// Only the first app container.
    First,
}

impl Selection {
    /// Adds an annotation.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The pod with these annotations added to its own.
    #[must_use]
    pub(super) fn put_on(&self, pod: &Value) -> Value {
        let first = inspect::names(inspect::entries(pod, "containers")).first().copied().unwrap_or("app");
        let mut all = self.annotations.clone();
        match self.readers {
            Readers::Default => {}
            Readers::All => drop(all.insert("containers".into(), "*".into())),
            Readers::First => drop(all.insert("containers".into(), first.into())),
        }
        match self.reload {
            Reload::None => {}
            Reload::Signal(signal) => {
                all.insert("reload-signal".into(), signal.into());
                all.insert("reload-target".into(), format!("{first}/billing"));
            }
            // The loopback interface of such a pod is the node's.
            Reload::Url(_) if pod["spec"]["hostNetwork"] == true => {}
            Reload::Url(url) => drop(all.insert("reload-url".into(), url.into())),
        }
        let mut pod = pod.clone();
        let annotations = &mut pod["metadata"]["annotations"];
        if !annotations.is_object() {
            *annotations = json!({});
        }
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.extend(all.into_iter().map(|(name, value)| (key(&name), Value::from(value))));
        }
        pod
    }
}

/// Valid selections with every key that a pod may set.
pub(super) fn selections(keys: &Keys) -> BoxedStrategy<Selection> {
    let secrets = (vec(secret(keys), 0..4), vec(dynamic(), 0..3), vec(variable(), 0..3));
    let settings: Vec<_> = keys.independent(false).map(|row| one(row.examples, row.text)).collect();
    // Most selections do not reload: a target's user is often unknown, and then the pod is
    // rejected.
    let url = select(keys.examples("reload-url")).prop_map(Reload::Url);
    let signal = select(keys.examples("reload-signal")).prop_map(Reload::Signal);
    let reload = prop_oneof![6 => Just(Reload::None), 2 => signal, 1 => url];
    let readers = select(vec![Readers::Default, Readers::All, Readers::First]);
    let drawn = (secrets, settings, one(&["*", ""], "init-containers"), reload, readers);
    let selections =
        drawn.prop_map(|((mut secrets, dynamics, variables), settings, init_containers, reload, readers)| {
            if secrets.is_empty() && dynamics.is_empty() && variables.is_empty() {
                secrets.push(vec![("inject-secret-", "environments/production/billing/database".into())]);
            }
            let mut annotations = BTreeMap::new();
            for (index, secret) in secrets.into_iter().chain(dynamics).enumerate() {
                annotations
                    .extend(secret.into_iter().map(|(key, value)| (format!("{key}s{index}.json"), value)));
            }
            for (index, value) in variables.into_iter().enumerate() {
                annotations.insert(format!("inject-env-SV_{index}"), value);
            }
            let settings: Pairs = settings.into_iter().chain([init_containers]).flatten().collect();
            let renews =
                reload != Reload::None || settings.iter().any(|(key, _)| key.starts_with("refresh-"));
            annotations.extend(settings.into_iter().filter_map(|(key, value)| {
                // A secret that is fetched once is neither refreshed nor signalled; an agent that
                // signals must run as the target's user.
                let at_odds = (renews && key == "pattern")
                    || (matches!(reload, Reload::Signal(_)) && key.starts_with("run-as-"));
                (!at_odds).then(|| (key.to_owned(), value))
            }));
            Selection { annotations, readers, reload }
        });
    selections.boxed()
}

/// Arbitrary annotations under the injector's prefix: known keys with any value, and unknown keys.
/// Keys are complete.
pub(super) fn garbage(keys: &Keys) -> BoxedStrategy<BTreeMap<String, String>> {
    let texts = |takes_name: bool| -> Vec<&'static str> {
        keys.0.values().filter(|row| row.takes_name == takes_name).map(|row| row.text).collect()
    };
    let known = select(texts(false)).prop_map(str::to_owned);
    let per_name = (select(texts(true)), odd_text()).prop_map(|(prefix, name)| format!("{prefix}{name}"));
    let examples: Vec<&str> = keys.0.values().flat_map(|row| row.examples).copied().collect();
    let values = one_of([
        odd_text().boxed(),
        select(examples).prop_map(str::to_owned).boxed(),
        select(PLAUSIBLE_VALUES).prop_map(str::to_owned).boxed(),
        (0..5000_usize).prop_map(|length| "x".repeat(length)).boxed(),
    ]);
    // Random values would very rarely opt out.
    let modes = keys.examples("mutation-mode").iter().copied();
    let switches: Vec<(&str, &str)> = [("inject", "false")]
        .into_iter()
        .chain(modes.flat_map(|mode| [("mutation-mode", mode), ("workload-mutation-mode", mode)]))
        .collect();
    let switch = select(switches).prop_map(|(key, value)| (key.to_owned(), value.to_owned()));
    let names = one_of([known.boxed(), per_name.boxed(), odd_text().boxed()]);
    let pairs = (vec((names, values), 0..7), option::weighted(0.25, switch));
    pairs
        .prop_map(|(pairs, switch)| {
            pairs.into_iter().chain(switch).map(|(name, value)| (key(&name), value)).collect()
        })
        .boxed()
}

type Pairs = Vec<(&'static str, String)>;

/// The keys of one static secret; its name follows each key.
fn secret(keys: &Keys) -> BoxedStrategy<Pairs> {
    let raw = |format: &&&str| **format == "raw";
    let formats: Vec<&'static str> =
        keys.examples("secret-format-").iter().filter(|format| !raw(format)).copied().collect();
    let form = one_of([
        Just(None).boxed(),
        select(formats).prop_map(|format| Some(("secret-format-", format.to_owned()))).boxed(),
        select(keys.examples("secret-template-"))
            .prop_map(|template| Some(("secret-template-", template.to_owned())))
            .boxed(),
    ]);
    let some = |text: &'static str| one(keys.examples(text), text);
    let others: Vec<_> = keys.independent(true).map(|row| one(row.examples, row.text)).collect();
    let encodings = select(keys.examples("secret-encoding-"));
    let file = (
        option::of(select(keys.examples("secret-file-"))),
        some("secret-mode-"),
        some("secret-optional-"),
        others,
        any::<u16>(),
    );
    (path(), option::of(select(FIELDS)), option::of(1..9_u32), form, several(), encodings, file)
        .prop_map(
            |(path, field, version, form, several, encoding, (file, mode, optional, others, number))| {
                let mut reference = path;
                reference.extend(field.map(|field| format!("#{field}")));
                reference.extend(version.map(|version| format!("@{version}")));
                let mut pairs = vec![("inject-secret-", several.clone().unwrap_or(reference))];
                match (several, field) {
                    (Some(_), _) => pairs.extend(form.and_then(form_of_several)),
                    (None, Some(_)) => {
                        pairs.extend((number % 2 == 0).then(|| ("secret-format-", "raw".into())));
                        pairs.extend((number % 3 == 0).then(|| ("secret-encoding-", encoding.into())));
                    }
                    (None, None) => pairs.extend(form),
                }
                // The number keeps two secrets from using the same file.
                pairs.extend(file.map(|file| ("secret-file-", format!("f{number}/{file}"))));
                pairs.extend([mode, optional].into_iter().chain(others).flatten());
                pairs
            },
        )
        .boxed()
}

/// The form of one secret adapted to several: each is referred to by its alias, so a template for a
/// single secret is not valid.
fn form_of_several((key, form): (&'static str, String)) -> Option<(&'static str, String)> {
    match key {
        "secret-template-" => Some((key, "{{ secrets.s_0.data.user }}@{{ secrets['s_0'].path }}".into())),
        _ => (!LINES.contains(&form.as_str())).then_some((key, form)),
    }
}

/// One file in four is composed of several secrets.
fn several() -> BoxedStrategy<Option<String>> {
    let separator = select(vec![" ", ", ", "\n", ","]);
    let secrets =
        (vec((path(), option::of(select(FIELDS))), 1..5), separator).prop_map(|(secrets, separator)| {
            let entries = secrets.into_iter().enumerate().map(|(index, (path, field))| {
                let field = field.map(|field| format!("#{field}")).unwrap_or_default();
                format!("s_{index}={path}{field}")
            });
            entries.collect::<Vec<_>>().join(separator)
        });
    option::weighted(0.25, secrets).boxed()
}

fn dynamic() -> impl Strategy<Value = Pairs> {
    (select(vec!["readonly", "read-write"]), option::of(select(vec!["2h", "30m"]))).prop_map(|(role, ttl)| {
        let ttl = ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
        vec![("inject-dynamic-", format!("engine=postgres-prod role={role}{ttl}"))]
    })
}

fn variable() -> impl Strategy<Value = String> {
    (path(), select(FIELDS)).prop_map(|(path, field)| format!("{path}#{field}"))
}

fn path() -> impl Strategy<Value = String> {
    vec(name_tail(0..6), 1..8).prop_map(|segments| segments.join("/"))
}

/// One key in four is set.
fn one(values: &'static [&'static str], key: &'static str) -> BoxedStrategy<Option<(&'static str, String)>> {
    option::weighted(0.25, select(values))
        .prop_map(move |value| value.map(|value| (key, value.to_owned())))
        .boxed()
}

const FIELDS: &[&str] = &["secret_key", "password"];
const LINES: &[&str] = &["env", "dotenv", "properties"];

const PLAUSIBLE_VALUES: &[&str] = &[
    "true",
    "false",
    "ignore",
    "ignore-and-detach",
    "sidecar",
    "5m",
    "-5m",
    "99999999999999999999h",
    "8Mi",
    "0",
    "18446744073709551616",
    "/run/secrets",
    "/",
    "..",
    "../../etc",
    "kubernetes.io/serviceaccount",
    "environments/production/billing/database#password@3",
    "a//b",
    "a#",
    "a@",
    "engine=e role=r ttl=",
    "SIGHUP",
    "http://127.0.0.1:9090/-/reload",
    "http://127.0.0.1@169.254.169.254/",
    "db=a/b api=c/d#e",
    "base64",
    "private",
    "app/billing",
    "{{ data.",
    "{% for x in data %}",
    "{}",
    "{\"v\":1}",
    "*,*",
    ",",
];

#[cfg(test)]
mod tests {
    use proptest::strategy::ValueTree;

    use super::*;

    fn registry() -> Vec<AnnotationKey> {
        let named = OF_A_SECRET.into_iter().map(|text| (text, true));
        let exact = OF_THE_POD.into_iter().chain(SWITCHES).map(|text| (text, false));
        let row =
            |(text, takes_name)| AnnotationKey { text, takes_name, is_written: false, examples: &["x"] };
        named.chain(exact).map(row).collect()
    }

    #[test]
    fn a_key_that_is_not_known_here_is_drawn() {
        let mut rows = registry();
        rows.push(AnnotationKey {
            text: "new-key",
            takes_name: false,
            is_written: false,
            examples: &["only"],
        });
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let selections = selections(&Keys::new(rows));
        let drawn = (0..100).filter(|_| {
            let tree = selections.new_tree(&mut runner);
            tree.is_ok_and(|tree| {
                tree.current().annotations.get("new-key").is_some_and(|value| value == "only")
            })
        });
        assert!(drawn.count() > 5);
    }

    #[test]
    #[should_panic(expected = "new-key has no example")]
    fn a_key_without_an_example_is_refused() {
        let new = AnnotationKey { text: "new-key", takes_name: false, is_written: false, examples: &[] };
        Keys::new(registry().into_iter().chain([new]));
    }
}
