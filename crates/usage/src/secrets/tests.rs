use serde_json::{Value, json};

use super::*;
use crate::{ContainerKind, NativeSecret, csi_volumes, token_settings};

/// One line for each use.
fn lines(pod: &Value) -> Vec<String> {
    let line = |SecretUse { secret, optional, pointer, via }: &SecretUse| {
        assert!(pod.pointer(pointer).is_some(), "{pointer}");
        let how = match via {
            Via::Volume(volume) => {
                let mounts: Vec<_> = volume
                    .mounts
                    .iter()
                    .map(|m| {
                        format!("{}:{}{}", m.container.name, m.path, if m.read_only { "" } else { " rw" })
                    })
                    .collect();
                format!("volume {} {}", volume.volume, mounts.join(" "))
            }
            Via::Variable { container, variable, key } => {
                format!("variable {}/{} {variable}={key}", container.kind.name(), container.name)
            }
            Via::AllVariables { container, prefix } => {
                format!("variables {}/{} {prefix}*", container.kind.name(), container.name)
            }
            Via::ImagePull => "pull".to_owned(),
            Via::Storage { volume, driver } => format!("storage {volume} {driver}"),
        };
        format!("{secret}{} {how}", if *optional { "?" } else { "" })
    };
    secrets(pod).iter().map(line).collect()
}

#[test]
fn every_way_to_use_a_native_secret_is_found() {
    let env = |name: &str| json!([{"name": "A", "value": "x"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]);
    let pod = json!({"spec": {
        "volumes": [
            {"name": "plain", "secret": {"secretName": "files", "optional": true, "defaultMode": 256}},
            {"name": "both", "projected": {"sources": [
                {"configMap": {"name": "c"}},
                {"secret": {"name": "projected", "items": [{"key": "k", "path": "p", "mode": 256}]}},
                {"serviceAccountToken": {"audience": "vault", "path": "t"}},
            ]}},
            {"name": "share", "azureFile": {"secretName": "azure"}},
            {"name": "csi", "csi": {"driver": "d.example.com", "nodePublishSecretRef": {"name": "publish"}}},
            {"name": "empty", "emptyDir": {}},
        ],
        "initContainers": [
            {"name": "i", "env": env("init")},
            {"name": "s", "restartPolicy": "Always", "env": env("sidecar")},
        ],
        "containers": [{
            "name": "app",
            "envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "P_", "secretRef": {"name": "all", "optional": true}}],
            "volumeMounts": [
                {"name": "plain", "mountPath": "/etc/files", "readOnly": true},
                {"name": "both", "mountPath": "/etc/both", "subPath": "p"},
            ],
        }],
        "ephemeralContainers": [{"name": "debug", "env": env("debug")}],
        "imagePullSecrets": [{"name": "registry"}],
    }});
    assert_eq!(
        lines(&pod),
        [
            "files? volume plain app:/etc/files",
            "projected volume both app:/etc/both rw",
            "azure storage share azureFile",
            "publish storage csi d.example.com",
            "init variable init/i B=k",
            "sidecar variable sidecar/s B=k",
            "all? variables app/app P_*",
            "debug variable ephemeral/debug B=k",
            "registry? pull",
        ]
    );
    let uses = secrets(&pod);
    let read: Vec<_> = uses.iter().filter(|u| u.is_read_by_containers()).map(|u| u.secret.as_str()).collect();
    assert_eq!(read, ["files", "projected", "init", "sidecar", "all", "debug"]);
    let Via::Volume(volume) = &uses[1].via else { panic!("{uses:?}") };
    assert_eq!(
        (volume.projected, volume.items[0].mode, volume.mounts[0].sub_path.as_deref()),
        (true, Some(256), Some("p"))
    );
    let tokens = token_settings(&pod);
    assert_eq!(tokens.projected[0].audience.as_deref(), Some("vault"));
    assert_eq!(csi_volumes(&pod)[0].driver, "d.example.com");
}

/// Repositories contain objects that the API server would reject.
#[test]
fn fields_of_unexpected_types_count_as_absent() {
    for pod in [
        json!(null),
        json!([]),
        json!({"spec": "text"}),
        json!({"spec": {"volumes": {"secret": 1}, "containers": "x", "imagePullSecrets": [1, {"name": 2}]}}),
        json!({"spec": {"volumes": [null, {"secret": {"secretName": null}}, {"projected": {"sources": [{"secret": []}]}}]}}),
        json!({"spec": {"containers": [1, {"env": [{"valueFrom": {"secretKeyRef": {"name": ["a"]}}}], "envFrom": [{"secretRef": 1}]}]}}),
    ] {
        assert_eq!(lines(&pod), Vec::<String>::new(), "{pod}");
        assert!(csi_volumes(&pod).is_empty() && token_settings(&pod).projected.is_empty(), "{pod}");
    }
}

#[test]
fn the_token_that_is_mounted_automatically_is_not_listed() {
    let source = json!({"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]});
    let pod = json!({"spec": {"automountServiceAccountToken": false, "volumes": [
        {"name": "kube-api-access-abcde", "projected": source},
        {"name": "own", "projected": source},
    ]}});
    let settings = token_settings(&pod);
    assert_eq!(settings.automount, Some(false));
    let volumes: Vec<_> = settings.projected.iter().map(|token| token.volume.as_str()).collect();
    assert_eq!(volumes, ["own"]);
}

#[test]
fn a_long_lived_token_is_recognised_by_its_metadata() {
    let metadata = json!({"namespace": "n", "name": "t",
        "annotations": {"kubernetes.io/service-account.name": "robot"},
        "labels": {"kubernetes.io/legacy-token-last-used": "2026-11-01"}});
    for (object, expected) in [
        (json!({"metadata": metadata}), Some("robot")),
        (json!({"metadata": metadata, "type": "kubernetes.io/service-account-token"}), Some("robot")),
        // The annotation is not reserved: it may be on a Secret of another type.
        (json!({"metadata": metadata, "type": "Opaque"}), None),
        (json!({"metadata": {"name": "t"}}), None),
    ] {
        assert_eq!(NativeSecret::from_metadata(&object).token_of.as_deref(), expected, "{object}");
    }
    let secret = NativeSecret::from_metadata(&json!({"metadata": metadata}));
    assert_eq!((secret.last_used.as_deref(), secret.invalid_since), (Some("2026-11-01"), None));
    assert_eq!(ContainerKind::Sidecar.name(), "sidecar");
}
