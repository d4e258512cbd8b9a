//! Random containers, with the fields that the injector reads and fields that it must preserve.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    object, one_of,
    text::{name_tail, odd_text, unknown_fields},
};

/// How a pod requests resources. All its containers do it in the same way, because otherwise there
/// would be no Guaranteed pods.
#[derive(Clone, Copy, Debug)]
pub(super) enum QosClass {
    Guaranteed,
    Burstable,
    None,
}

/// Whether a container may have unusual properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manners {
    /// No properties that the injector rejects.
    Ordinary,
    /// Also mounts at and below the path of the secrets.
    Any,
}

/// A list that is absent, null, empty or filled.
pub(super) fn parent(
    entries: impl Strategy<Value = Vec<Value>> + 'static,
) -> impl Strategy<Value = Option<Value>> {
    one_of([
        Just(None).boxed(),
        Just(Some(Value::Null)).boxed(),
        Just(Some(json!([]))).boxed(),
        entries.prop_map(|entries| Some(Value::Array(entries))).boxed(),
    ])
}

/// App container number `index`.
pub(super) fn app_container(
    index: usize,
    resourcing: QosClass,
    manners: Manners,
) -> impl Strategy<Value = Value> {
    // A container's name has at most 63 characters.
    name_tail(0..59)
        .prop_flat_map(move |tail| container(format!("a{index}-{tail}"), None, resourcing, manners))
}

/// Init container number `index`: an ordinary one, a native sidecar, or part of a mesh.
pub(super) fn init_container(
    index: usize,
    resourcing: QosClass,
    manners: Manners,
) -> impl Strategy<Value = Value> {
    let mesh = ["istio-proxy", "linkerd-proxy", "istio-init"].get(index).copied();
    (any::<bool>(), any::<bool>(), name_tail(0..20)).prop_flat_map(move |(is_mesh, is_sidecar, tail)| {
        let (name, is_sidecar) = match mesh {
            Some(name) if is_mesh => (name.to_owned(), name != "istio-init"),
            _ => (format!("i{index}-{tail}"), is_sidecar),
        };
        container(name, is_sidecar.then(|| json!("Always")), resourcing, manners)
    })
}

fn container(
    name: String,
    restart_policy: Option<Value>,
    resourcing: QosClass,
    manners: Manners,
) -> impl Strategy<Value = Value> {
    (
        option::of(vec(odd_text(), 0..3)),
        parent(vec(variable(), 1..3)),
        parent(mounts(manners)),
        option::of(security_context()),
        resources(resourcing),
        unknown_fields(),
    )
        .prop_map(move |(args, env, mounts, security_context, resources, unknown)| {
            object(
                [
                    ("name", Some(json!(name))),
                    ("image", Some(json!("registry.invalid/app:1"))),
                    ("args", args.map(Value::from)),
                    ("env", env),
                    ("volumeMounts", mounts),
                    ("securityContext", security_context),
                    ("resources", resources),
                    ("restartPolicy", restart_policy.clone()),
                ],
                unknown,
            )
        })
}

fn variable() -> impl Strategy<Value = Value> {
    (select(vec!["HOME", "A_B", "ünï"]), odd_text(), any::<bool>(), unknown_fields()).prop_map(
        |(name, value, from_field, unknown)| {
            let field = from_field.then(|| json!({"fieldRef": {"fieldPath": "metadata.name"}}));
            let value = field.is_none().then(|| json!(value));
            object([("name", Some(json!(name))), ("value", value), ("valueFrom", field)], unknown)
        },
    )
}

fn mounts(manners: Manners) -> impl Strategy<Value = Vec<Value>> {
    let mut paths = vec![
        "/data",
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "/var/lib/ünï",
        "/var/run/secrets/eks.amazonaws.com/serviceaccount",
        "/run/secrets/mine/",
    ];
    if manners == Manners::Any {
        paths.extend([
            "/run/secrets",
            "/run/secrets/",
            "/var/run/secrets",
            "/run",
            "/run/secrets/db.json",
            "/run/secrets/..data",
            "/run//secrets/./mine/deeper",
        ]);
    }
    vec((select(paths), unknown_fields()), 1..3).prop_map(|mounts| {
        let mounts = mounts.into_iter().enumerate().map(|(index, (path, unknown))| {
            let name = if path.ends_with("serviceaccount") { "kube-api-access-x7k2p" } else { "data" };
            object(
                [
                    ("name", Some(json!(name))),
                    ("mountPath", Some(json!(path))),
                    ("readOnly", (index == 0).then_some(Value::Bool(true))),
                ],
                unknown,
            )
        });
        mounts.collect()
    })
}

/// A security context of a container or of a pod.
pub(super) fn security_context() -> impl Strategy<Value = Value> {
    let user = select(vec![0, 1000, 1000, 1000, 10001]);
    (option::of(user), option::of(any::<bool>()), unknown_fields()).prop_map(|(user, non_root, unknown)| {
        // The API server rejects a pod with both.
        let non_root = non_root.filter(|non_root| !(*non_root && user == Some(0)));
        object([("runAsUser", user.map(Value::from)), ("runAsNonRoot", non_root.map(Value::from))], unknown)
    })
}

fn resources(resourcing: QosClass) -> BoxedStrategy<Option<Value>> {
    match resourcing {
        QosClass::Guaranteed => select(vec![
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}}),
            json!({"limits": {"cpu": "500m", "memory": "128Mi"}}),
            json!({"limits": {"cpu": 2, "memory": "1e9", "nvidia.com/gpu": "1"}, "requests": {"cpu": "2", "memory": "1G"}}),
        ])
        .prop_map(Some)
        .boxed(),
        QosClass::Burstable => option::of(select(vec![
            json!({"requests": {"cpu": "100m"}}),
            json!({"limits": {"memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}}),
        ]))
        .boxed(),
        QosClass::None => select(vec![None, Some(Value::Null), Some(json!({}))]).boxed(),
    }
}
