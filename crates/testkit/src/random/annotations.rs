//! Annotations: valid ones over every key, and anything at all.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    one_of,
    text::{name_tail, odd_text},
};
use crate::{key, look};

/// Annotations that ask for at least one secret, with no two at odds. Keys are without the prefix.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    annotations: BTreeMap<String, String>,
    readers: Readers,
    reload: Reload,
}

/// How the application is told of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reload {
    None,
    Signal,
    Url(&'static str),
}

/// Who gets the mount; names are only known when the pod is.
#[derive(Clone, Copy, Debug)]
enum Readers {
    Default,
    All,
    /// The first app container alone.
    First,
}

impl Selection {
    /// The same with one more annotation.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The pod with these annotations besides its own.
    #[must_use]
    pub(super) fn put_on(&self, pod: &Value) -> Value {
        let first = look::names(look::entries(pod, "containers")).first().copied().unwrap_or("app");
        let mut all = self.annotations.clone();
        match self.readers {
            Readers::Default => {}
            Readers::All => drop(all.insert("containers".into(), "*".into())),
            Readers::First => drop(all.insert("containers".into(), first.into())),
        }
        match self.reload {
            Reload::None => {}
            Reload::Signal => {
                all.insert("reload-signal".into(), "SIGHUP".into());
                all.insert("reload-target".into(), format!("{first}/billing"));
            }
            // The loopback of such a pod is the node's.
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

/// Valid selections over every key a pod may set.
pub(super) fn selections() -> impl Strategy<Value = Selection> {
    let secrets = (vec(secret(), 0..4), vec(dynamic(), 0..3), vec(variable(), 0..3));
    (
        secrets,
        refreshing(),
        delivery(),
        identity(),
        agent(),
        select(vec![Readers::Default, Readers::All, Readers::First]),
    )
        .prop_map(
            |((mut secrets, dynamics, variables), (refresh, reload), delivery, identity, agent, readers)| {
                if secrets.is_empty() && dynamics.is_empty() && variables.is_empty() {
                    secrets.push(vec![("inject-secret-", "environments/production/billing/database".into())]);
                }
                let mut annotations = BTreeMap::new();
                for (index, secret) in secrets.into_iter().chain(dynamics).enumerate() {
                    annotations.extend(
                        secret.into_iter().map(|(key, value)| (format!("{key}s{index}.json"), value)),
                    );
                }
                for (index, value) in variables.into_iter().enumerate() {
                    annotations.insert(format!("inject-env-SV_{index}"), value);
                }
                let renews = !refresh.is_empty() || reload != Reload::None;
                let all = refresh.into_iter().chain(delivery).chain(identity).chain(agent);
                annotations.extend(all.filter_map(|(key, value)| {
                    // What is fetched once is neither refreshed nor signalled; who signals must be the target's user.
                    let at_odds = (renews && key == "pattern")
                        || (reload == Reload::Signal && key.starts_with("run-as-"));
                    (!at_odds).then(|| (key.to_owned(), value))
                }));
                Selection { annotations, readers, reload }
            },
        )
}

/// Anything under our prefix: known keys with any value, keys of nobody. Keys are whole.
pub(super) fn garbage() -> impl Strategy<Value = BTreeMap<String, String>> {
    let known = select(KEYS).prop_map(str::to_owned);
    let per_name = (select(PER_NAME_KEYS), odd_text()).prop_map(|(prefix, name)| format!("{prefix}{name}"));
    let keys = one_of([known.boxed(), per_name.boxed(), odd_text().boxed()]);
    let values = one_of([
        odd_text().boxed(),
        select(PLAUSIBLE_VALUES).prop_map(str::to_owned).boxed(),
        (0..5000_usize).prop_map(|length| "x".repeat(length)).boxed(),
    ]);
    // Opting out by luck would take thousands of tries.
    let switch = select(SWITCHES).prop_map(|(key, value)| (key.to_owned(), value.to_owned()));
    (vec((keys, values), 0..7), option::weighted(0.25, switch)).prop_map(|(pairs, switch)| {
        pairs.into_iter().chain(switch).map(|(name, value)| (key(&name), value)).collect()
    })
}

type Pairs = Vec<(&'static str, String)>;

/// The keys of one static secret, each before its name.
fn secret() -> BoxedStrategy<Pairs> {
    let form = one_of([
        Just(None).boxed(),
        select(vec!["json", "env", "dotenv", "yaml", "properties"])
            .prop_map(|format| Some(("secret-format-", format.into())))
            .boxed(),
        select(vec!["{{ data.user }}:{{ data.password }}\n", "$(HOME) {{ version }} -> \"x\"", "{{ path }}"])
            .prop_map(|template| Some(("secret-template-", template.to_owned())))
            .boxed(),
    ]);
    let optional = one(&["true", "false"], "secret-optional-");
    let file = (option::of(select(FILES)), option::of(select(MODES)), optional, any::<u16>());
    (path(), option::of(select(FIELDS)), option::of(1..9_u32), form, several(), file)
        .prop_map(|(path, field, version, form, several, (file, mode, optional, number))| {
            let mut reference = path;
            reference.extend(field.map(|field| format!("#{field}")));
            reference.extend(version.map(|version| format!("@{version}")));
            let mut pairs = vec![("inject-secret-", several.clone().unwrap_or(reference))];
            match (several, field) {
                // Each of several is named by its alias, so a template of one secret is none of theirs.
                (Some(_), _) => pairs.extend(form.filter(|(_, form)| !LINES.contains(&form.as_str())).map(
                    |(key, form)| match key {
                        "secret-template-" => {
                            (key, "{{ secrets.s_0.data.user }}@{{ secrets['s_0'].path }}".into())
                        }
                        _ => (key, form),
                    },
                )),
                (None, Some(_)) => {
                    pairs.extend((number % 2 == 0).then(|| ("secret-format-", "raw".into())));
                    pairs.extend((number % 3 == 0).then(|| ("secret-encoding-", "base64".into())));
                }
                (None, None) => pairs.extend(form),
            }
            // The number keeps two secrets from one file.
            pairs.extend(file.map(|file| ("secret-file-", format!("f{number}/{file}"))));
            pairs.extend(mode.map(|mode| ("secret-mode-", mode.into())));
            pairs.extend(optional);
            pairs
        })
        .boxed()
}

/// One file in four is written from several secrets.
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

fn refreshing() -> BoxedStrategy<(Pairs, Reload)> {
    let interval = one(&["30s", "5m", "1h"], "refresh-interval");
    let on_event = one(&["true", "false"], "refresh-on-event");
    // Most selections do not reload: a target's user is often unknown, and then the pod is refused.
    let url = select(RELOAD_URLS).prop_map(Reload::Url);
    let reload = prop_oneof![6 => Just(Reload::None), 2 => Just(Reload::Signal), 1 => url];
    (flat([interval, on_event]), reload).boxed()
}

fn delivery() -> BoxedStrategy<Pairs> {
    flat([
        one(&["init", "sidecar"], "pattern"),
        one(&["/run/secrets", "/secrets", "/etc/app/credentials"], "mount-path"),
        one(&["4Mi", "8Mi", "16Mi"], "volume-size-limit"),
        one(&["first", "last"], "position"),
        one(&["hook", "probe"], "start-gate"),
        one(&["*", ""], "init-containers"),
    ])
    .boxed()
}

fn identity() -> BoxedStrategy<Pairs> {
    let trust = flat([
        one(&["scaivault", "vault.example"], "audience"),
        one(&["600", "7200"], "token-expiration-seconds"),
    ]);
    let credentials = flat([
        one(&["billing-client"], "client-credentials-secret"),
        one(&["client_id", "clientId"], "client-credentials-id-key"),
        one(&["client-secret"], "client-credentials-secret-key"),
        one(&["public", "both"], "scaikey-trust"),
    ]);
    let who = flat([
        one(&["sa:billing-prod", "billing"], "role"),
        one(&["https://scaivault.example"], "url"),
        one(&["scaivault-ca"], "ca-configmap"),
        one(&["ca.crt", "ca-bundle.crt"], "ca-configmap-key"),
        one(&["public", "both"], "ca-trust"),
    ]);
    (one_of([trust.boxed(), credentials.boxed()]), who)
        .prop_map(|(mut trust, who)| {
            trust.extend(who);
            trust
        })
        .boxed()
}

fn agent() -> BoxedStrategy<Pairs> {
    let user = one_of([
        Just(None).boxed(),
        select(vec!["1000", "unset"]).prop_map(|user| Some(("run-as-user", user.to_owned()))).boxed(),
    ]);
    let rest = flat([
        one(&["true", "false"], "fail-open"),
        one(&["10s", "2m"], "fetch-timeout"),
        one(&["registry.example/agent:2"], "image"),
        one(&["1000"], "run-as-group"),
        one(&["10m"], "requests-cpu"),
        one(&["16Mi"], "requests-memory"),
        one(&["100m"], "limits-cpu"),
        one(&["64Mi", "128Mi"], "limits-memory"),
        one(&["debug", "info"], "log-level"),
    ]);
    (user, rest)
        .prop_map(|(user, mut rest)| {
            rest.extend(user);
            rest
        })
        .boxed()
}

/// One key in four is set.
fn one(values: &'static [&'static str], key: &'static str) -> BoxedStrategy<Option<(&'static str, String)>> {
    option::weighted(0.25, select(values))
        .prop_map(move |value| value.map(|value| (key, value.to_owned())))
        .boxed()
}

fn flat<const N: usize>(
    keys: [BoxedStrategy<Option<(&'static str, String)>>; N],
) -> impl Strategy<Value = Pairs> {
    Vec::from(keys).prop_map(|pairs| pairs.into_iter().flatten().collect())
}

const FIELDS: &[&str] = &["secret_key", "password"];
const FILES: &[&str] = &["db.json", "deep/er/key", "with space", "ünï"];
const LINES: &[&str] = &["env", "dotenv", "properties"];
const RELOAD_URLS: &[&str] =
    &["http://127.0.0.1:9090/-/reload", "http://localhost/", "http://[::1]:8080/a?b=$(HOME)"];
const MODES: &[&str] = &["0400", "0440", "0640", "444"];

const KEYS: &[&str] = &[
    "inject",
    "mutation-mode",
    "workload-mutation-mode",
    "pattern",
    "containers",
    "init-containers",
    "mount-path",
    "volume-size-limit",
    "position",
    "start-gate",
    "refresh-interval",
    "refresh-on-event",
    "reload-signal",
    "reload-target",
    "reload-url",
    "url",
    "role",
    "audience",
    "token-expiration-seconds",
    "client-credentials-secret",
    "client-credentials-id-key",
    "client-credentials-secret-key",
    "ca-configmap",
    "ca-configmap-key",
    "ca-trust",
    "scaikey-trust",
    "fail-open",
    "fetch-timeout",
    "image",
    "run-as-user",
    "run-as-group",
    "requests-cpu",
    "requests-memory",
    "limits-cpu",
    "limits-memory",
    "log-level",
    "status",
    "receipt",
];

const SWITCHES: &[(&str, &str)] = &[
    ("inject", "false"),
    ("mutation-mode", "ignore"),
    ("mutation-mode", "ignore-and-detach"),
    ("workload-mutation-mode", "ignore"),
    ("workload-mutation-mode", "ignore-and-detach"),
];

const PER_NAME_KEYS: &[&str] = &[
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
