//! Summarizes what an injection adds to a pod.

use serde_json::Value;

/// One line for each addition of the second pod. Only the kinds of additions that the injector
/// makes are compared.
pub(super) fn additions(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for container in new_items(before, after, "/spec/initContainers", "name") {
        lines.extend(container_lines(container));
    }
    for volume in new_items(before, after, "/spec/volumes", "name") {
        lines.push(format!("volume {}: {}", text(volume, "name"), volume_kind(volume)));
    }
    for container in items(after, "/spec/containers") {
        let name = text(container, "name");
        let same = items(before, "/spec/containers").find(|other| text(other, "name") == name);
        for mount in new_items(same.unwrap_or(&Value::Null), container, "/volumeMounts", "mountPath") {
            let (volume, path) = (text(mount, "name"), text(mount, "mountPath"));
            let access = if mount["readOnly"] == true { "read-only" } else { "writable" };
            lines.push(format!("container {name}: {volume} at {path}, {access}"));
        }
    }
    if after.pointer("/spec/shareProcessNamespace") != before.pointer("/spec/shareProcessNamespace") {
        lines.push("a process namespace that all containers share, for the signal".to_owned());
    }
    lines
}

/// The items of an array that another document does not have at the same pointer.
fn new_items<'a>(
    before: &'a Value,
    after: &'a Value,
    pointer: &'a str,
    key: &'a str,
) -> impl Iterator<Item = &'a Value> {
    items(after, pointer)
        .filter(move |item| items(before, pointer).all(|other| text(other, key) != text(item, key)))
}

fn items<'a>(document: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    document.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The container, and the variables that configure its files.
fn container_lines(container: &Value) -> Vec<String> {
    let words = ["/command", "/args"].into_iter().flat_map(|pointer| items(container, pointer));
    let words: Vec<_> = words.filter_map(Value::as_str).collect();
    let kind = if container["restartPolicy"] == "Always" { "native sidecar" } else { "init container" };
    let mut lines = vec![format!(
        "{kind} {}: image {}, `{}`",
        text(container, "name"),
        text(container, "image"),
        words.join(" ")
    )];
    for variable in items(container, "/env") {
        let mappings = text(variable, "value").lines().filter(|line| line.contains(" -> "));
        lines.extend(mappings.map(|mapping| format!("  {}={mapping}", text(variable, "name"))));
    }
    lines
}

fn volume_kind(volume: &Value) -> String {
    if volume["emptyDir"]["medium"] == "Memory" {
        return format!("memory, at most {}", text(&volume["emptyDir"], "sizeLimit"));
    }
    if let Some(token) = volume.pointer("/projected/sources/0/serviceAccountToken") {
        return format!(
            "a token of the service account, for the audience {} and {} s",
            text(token, "audience"),
            token["expirationSeconds"]
        );
    }
    if let Some(config_map) = volume.get("configMap") {
        return format!("the ConfigMap {}", text(config_map, "name"));
    }
    let kind = volume.as_object().and_then(|volume| volume.keys().find(|key| *key != "name"));
    kind.map_or_else(|| "of an unknown kind".to_owned(), Clone::clone)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_additions_are_printed() {
        let before = json!({"spec": {
            "containers": [{"name": "app", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        }});
        let mut after = before.clone();
        let added = json!([
            {"name": "scaivault-secrets", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
            {"name": "ca", "configMap": {"name": "authority"}},
            {"name": "credentials", "secret": {}},
            {"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"audience": "scaivault", "expirationSeconds": 3600}},
            ]}},
        ]);
        after["spec"]["volumes"].as_array_mut().unwrap().extend(added.as_array().unwrap().clone());
        after["spec"]["containers"][0]["volumeMounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "scaivault-secrets", "mountPath": "/run/secrets", "readOnly": true}));
        after["spec"]["shareProcessNamespace"] = true.into();
        after["spec"]["initContainers"] = json!([{
            "name": "scaivault-init", "image": "scaivault-init:1", "command": ["/scaivault-agent"], "args": ["init"],
            "env": [{"name": "URL", "value": "https://x"}, {"name": "SECRETS", "value": "a -> /b\nc -> /d\n"}],
        }]);
        assert_eq!(
            additions(&before, &after),
            [
                "init container scaivault-init: image scaivault-init:1, `/scaivault-agent init`",
                "  SECRETS=a -> /b",
                "  SECRETS=c -> /d",
                "volume scaivault-secrets: memory, at most 8Mi",
                "volume ca: the ConfigMap authority",
                "volume credentials: secret",
                "volume token: a token of the service account, for the audience scaivault and 3600 s",
                "container app: scaivault-secrets at /run/secrets, read-only",
                "a process namespace that all containers share, for the signal",
            ]
        );
        assert_eq!(additions(&after, &after), Vec::<String>::new());
    }
}
