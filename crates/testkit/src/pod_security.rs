//! The Pod Security Standards for a single container and for volumes.
//!
//! Based on the container-level controls in
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>. The container is checked
//! as if the pod's own security context were empty, because an injected container has to comply in
//! any pod.

use serde_json::Value;

/// Capabilities that a baseline container may add.
const BASELINE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Types in `seLinuxOptions` that a baseline container may use.
const BASELINE_SELINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Kinds of volumes that a restricted pod may have.
const RESTRICTED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The controls of the baseline profile that the container violates.
pub fn baseline_violations(container: &Value) -> Vec<&'static str> {
    let context = &container["securityContext"];
    let added = strings(&context["capabilities"]["add"]);
    let mut violations = Vec::new();
    let mut check = |holds: bool, control| {
        if !holds {
            violations.push(control);
        }
    };
    check(context["privileged"] != true, "privileged");
    check(added.iter().all(|capability| BASELINE_CAPABILITIES.contains(capability)), "capabilities.add");
    check(
        container["ports"]
            .as_array()
            .is_none_or(|ports| ports.iter().all(|port| port["hostPort"].as_u64().unwrap_or(0) == 0)),
        "hostPort",
    );
    check(context["procMount"].as_str().is_none_or(|mount| mount == "Default"), "procMount");
    check(context["seccompProfile"]["type"] != "Unconfined", "seccompProfile");
    check(context["appArmorProfile"]["type"] != "Unconfined", "appArmorProfile");
    check(context["windowsOptions"]["hostProcess"] != true, "hostProcess");
    let selinux = &context["seLinuxOptions"];
    check(
        selinux["user"].is_null()
            && selinux["role"].is_null()
            && BASELINE_SELINUX_TYPES.contains(&selinux["type"].as_str().unwrap_or_default()),
        "seLinuxOptions",
    );
    check(
        handlers(container)
            .all(|handler| handler["httpGet"]["host"].is_null() && handler["tcpSocket"]["host"].is_null()),
        "probe host",
    );
    violations
}

/// The controls of the restricted profile (which includes baseline) that the container violates.
pub fn restricted_violations(container: &Value) -> Vec<&'static str> {
    let context = &container["securityContext"];
    let mut violations = baseline_violations(container);
    let mut check = |holds: bool, control| {
        if !holds {
            violations.push(control);
        }
    };
    check(context["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
    check(context["runAsNonRoot"] == true, "runAsNonRoot");
    check(context["runAsUser"] != 0, "runAsUser");
    check(
        matches!(context["seccompProfile"]["type"].as_str(), Some("RuntimeDefault" | "Localhost")),
        "seccompProfile",
    );
    check(strings(&context["capabilities"]["drop"]).contains(&"ALL"), "capabilities.drop");
    check(
        strings(&context["capabilities"]["add"]).iter().all(|capability| *capability == "NET_BIND_SERVICE"),
        "capabilities.add",
    );
    violations
}

/// Whether a restricted pod may have the volume.
pub fn is_restricted_volume(volume: &Value) -> bool {
    volume.as_object().is_some_and(|volume| {
        volume.keys().filter(|key| *key != "name").all(|kind| RESTRICTED_VOLUMES.contains(&kind.as_str()))
    })
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn handlers(container: &Value) -> impl Iterator<Item = &Value> {
    let lifecycle = &container["lifecycle"];
    [
        &container["livenessProbe"],
        &container["readinessProbe"],
        &container["startupProbe"],
        &lifecycle["postStart"],
        &lifecycle["preStop"],
    ]
    .into_iter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn restricted() -> Value {
        json!({"name": "c", "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        }})
    }

    #[test]
    fn the_smallest_restricted_container() {
        assert_eq!(restricted_violations(&restricted()), [""; 0]);
        assert_eq!(
            restricted_violations(&json!({"name": "c"})),
            ["allowPrivilegeEscalation", "runAsNonRoot", "seccompProfile", "capabilities.drop"]
        );
    }

    #[test]
    fn root_with_kill_is_baseline_and_not_restricted() {
        let mut container = restricted();
        container["securityContext"]["runAsUser"] = 0.into();
        container["securityContext"]["capabilities"]["add"] = json!(["KILL"]);
        assert_eq!(baseline_violations(&container), [""; 0]);
        assert_eq!(restricted_violations(&container), ["runAsUser", "capabilities.add"]);
    }

    #[test]
    fn each_control_of_baseline() {
        for (path, value, control) in [
            ("/securityContext", json!({"privileged": true}), "privileged"),
            ("/securityContext", json!({"capabilities": {"add": ["SYS_PTRACE"]}}), "capabilities.add"),
            ("/ports", json!([{"containerPort": 1}, {"hostPort": 80}]), "hostPort"),
            ("/securityContext", json!({"procMount": "Unmasked"}), "procMount"),
            ("/securityContext", json!({"seccompProfile": {"type": "Unconfined"}}), "seccompProfile"),
            ("/securityContext", json!({"appArmorProfile": {"type": "Unconfined"}}), "appArmorProfile"),
            ("/securityContext", json!({"windowsOptions": {"hostProcess": true}}), "hostProcess"),
            ("/securityContext", json!({"seLinuxOptions": {"type": "spc_t"}}), "seLinuxOptions"),
            ("/startupProbe", json!({"httpGet": {"host": "10.0.0.1"}}), "probe host"),
        ] {
            let mut container = json!({"name": "c"});
            container[&path[1..]] = value;
            assert_eq!(baseline_violations(&container), [control]);
        }
    }

    #[test]
    fn volumes() {
        assert!(is_restricted_volume(&json!({"name": "a", "emptyDir": {}})));
        assert!(!is_restricted_volume(&json!({"name": "a", "hostPath": {"path": "/"}})));
    }
}
