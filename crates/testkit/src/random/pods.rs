//! Random pods.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{
    containers::{Manners, QosClass, app_container, init_container, parent, security_context},
    object,
    text::{name_tail, odd_text, unknown_fields},
};
use crate::shuffle_keys;

/// Names that the injector reserves.
const RESERVED_CONTAINERS: &[&str] = &["scaivault-init", "scaivault-sidecar"];
const RESERVED_VOLUMES: &[&str] = &[
    "scaivault-secrets",
    "scaivault-token",
    "scaivault-env",
    "scaivault-state",
    "scaivault-ca",
    "scaivault-credentials",
];

/// Pods with which a valid selection is not rejected. `metadata.annotations` exists, with an
/// unrelated key.
pub fn ordinary_pods() -> impl Strategy<Value = Value> {
    pods(Manners::Ordinary)
}

/// All kinds of pods: host namespaces, Windows, pod-level resources, mounts that conflict with the
/// secrets.
pub fn any_pods() -> impl Strategy<Value = Value> {
    pods(Manners::Any)
}

/// Pods in which the user has used a reserved name.
pub fn colliding_pods() -> impl Strategy<Value = Value> {
    let collision = prop_oneof![
        (select(vec!["containers", "initContainers"]), select(RESERVED_CONTAINERS)),
        (Just("volumes"), select(RESERVED_VOLUMES)),
    ];
    (ordinary_pods(), collision).prop_map(|(mut pod, (list, name))| {
        let entry = if list == "volumes" {
            json!({"name": name, "emptyDir": {}})
        } else {
            json!({"name": name, "image": "registry.invalid/mine:1"})
        };
        match pod["spec"][list].as_array_mut() {
            Some(entries) => entries.push(entry),
            None => pod["spec"][list] = json!([entry]),
        }
        pod
    })
}

fn pods(manners: Manners) -> impl Strategy<Value = Value> {
    let resourcing = select(vec![QosClass::Guaranteed, QosClass::Burstable, QosClass::None]);
    (resourcing, 1..6_usize, 0..5_usize)
        .prop_flat_map(move |(resourcing, apps, inits)| {
            let apps: Vec<_> =
                (0..apps).map(|index| app_container(index, resourcing, manners).boxed()).collect();
            let inits: Vec<_> =
                (0..inits).map(|index| init_container(index, resourcing, manners).boxed()).collect();
            (metadata(), apps, parent(inits), spec_fields(manners), unknown_fields(), any::<u64>())
        })
        .prop_map(|(metadata, apps, inits, fields, unknown, seed)| {
            let mut spec = Map::new();
            spec.insert("containers".into(), apps.into());
            spec.extend(inits.map(|inits| ("initContainers".to_owned(), inits)));
            spec.extend(fields);
            let pod = object(
                [
                    ("apiVersion", Some(json!("v1"))),
                    ("kind", Some(json!("Pod"))),
                    ("metadata", Some(metadata)),
                    ("spec", Some(Value::Object(spec))),
                ],
                unknown,
            );
            shuffle_keys(&pod, seed)
        })
}

fn metadata() -> impl Strategy<Value = Value> {
    (any::<bool>(), name_tail(0..62), odd_text(), unknown_fields()).prop_map(
        |(generated, name, note, unknown)| {
            object(
                [
                    ("name", (!generated).then(|| json!(name))),
                    ("generateName", generated.then(|| json!(format!("{name}-")))),
                    ("namespace", Some(json!("billing"))),
                    ("labels", Some(json!({"app": "billing"}))),
                    ("annotations", Some(json!({"note.example/text": note}))),
                ],
                unknown,
            )
        },
    )
}

fn spec_fields(manners: Manners) -> impl Strategy<Value = Map<String, Value>> {
    let share = match manners {
        Manners::Ordinary => vec![None, None, Some(Value::Null), Some(json!(true))],
        Manners::Any => vec![None, Some(Value::Null), Some(json!(true)), Some(json!(false))],
    };
    // Each of these is in about one of ten pods of any kind.
    let rare = move |value: Value| {
        let mut choices = vec![None; 9];
        choices.extend((manners == Manners::Any).then_some(Some(value)));
        select(choices)
    };
    (
        parent(vec(volume(), 1..3)),
        select(vec![None, Some("Always"), Some("OnFailure"), Some("Never")]),
        select(share),
        (rare(json!(true)), option::of(any::<bool>())),
        rare(json!({"name": "windows"})),
        rare(json!({"limits": {"cpu": "2", "memory": "2Gi"}, "requests": {"cpu": "1"}})),
        option::of(security_context()),
        option::of(any::<bool>()),
        unknown_fields(),
    )
        .prop_map(
            |(
                volumes,
                restart,
                share,
                (host_pid, host_network),
                os,
                resources,
                security,
                automount,
                unknown,
            )| {
                let spec = object(
                    [
                        ("volumes", volumes),
                        ("restartPolicy", restart.map(Value::from)),
                        // The API server rejects both together.
                        ("shareProcessNamespace", if host_pid.is_some() { None } else { share }),
                        ("hostPID", host_pid),
                        ("hostNetwork", host_network.map(Value::from)),
                        ("os", os),
                        ("resources", resources),
                        ("securityContext", security),
                        ("automountServiceAccountToken", automount.map(Value::from)),
                        ("serviceAccountName", Some(json!("billing-prod"))),
                    ],
                    unknown,
                );
                match spec {
                    Value::Object(fields) => fields,
                    _ => Map::new(),
                }
            },
        )
}

fn volume() -> impl Strategy<Value = Value> {
    let sources = select(vec![
        ("emptyDir", json!({})),
        ("hostPath", json!({"path": "/var/data"})),
        ("brandNewSource", json!({"anything": [1, null]})),
    ]);
    (name_tail(0..40), sources, unknown_fields()).prop_map(|(name, (kind, source), unknown)| {
        object([("name", Some(json!(format!("v-{name}")))), (kind, Some(source))], unknown)
    })
}
