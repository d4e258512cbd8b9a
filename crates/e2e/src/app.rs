//! Applications whose pods are injected and really run, in a namespace that enforces the Pod
//! Security Standard `restricted`.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    injection::{APP, PREFIX, prefixed},
    kubectl::wait_for,
    running::{AppPod, START},
    vault::seed,
    world::World,
};

/// Selects the pods of all applications.
pub(super) const SELECTOR: &str = "--selector=part-of=scaivault-e2e";
/// The container of the sidecar.
pub(super) const SIDECAR: &str = "scaivault-sidecar";
/// The init container.
pub(super) const INIT: &str = "scaivault-init";

/// The `ConfigMap` with `ScaiVault`'s CA, to which the namespace's annotation refers.
pub(super) const CA: &str = "scaivault-ca";
/// A user id that no other process on the node has.
const UID: u32 = 10_001;
/// Prints its files at start and after each SIGHUP, one line each.
pub(super) const SCRIPT: &str = r#"
say() { for file in /run/secrets/*; do test -d "$file" || echo "$1 ${file##*/}: $(cat "$file")"; done; }
trap 'say hup' HUP
trap 'exit 0' TERM
echo "/var/run: $(readlink /var/run)"
echo "variable: $DB_PASSWORD"
say start
while :; do sleep 1 & wait $!; done
"#;

/// Creates the CA's `ConfigMap` in the namespaces of running pods, and enforces Pod Security for
/// the applications.
pub(super) fn prepare(world: &World<'_>) -> Result<String> {
    let ca_configmap = format!("{PREFIX}ca-configmap={CA}");
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    for namespace in [World::APPS, World::RESTARTS] {
        world.kubectl.run(&["annotate", "namespace", namespace, &ca_configmap])?;
        world.kubectl.run(&["label", "namespace", namespace, restricted])?;
    }
    for namespace in [World::APPS, World::WORKLOADS, World::RESTARTS] {
        create_ca(world, namespace)?;
    }
    Ok(format!("{} takes the tokens of the cluster's issuer", world.vault.url()))
}

/// Creates the CA's `ConfigMap` in a namespace.
pub(super) fn create_ca(world: &World<'_>, namespace: &str) -> Result<()> {
    let ca = format!("--from-file=ca.crt={}", world.vault.ca_file().display());
    world.kubectl.run(&["create", "configmap", CA, "--namespace", namespace, &ca])
}

/// Annotations for two secrets, and additional ones; keys have no prefix.
pub(super) fn two_secrets_and(more: &Value) -> Value {
    let mut annotations = json!({
        "inject-secret-db.json": seed::DATABASE,
        "inject-secret-stripe.key": format!("{}#secret_key", seed::STRIPE),
    });
    merge(&mut annotations, more);
    annotations
}

/// The template of pods that run until they are terminated.
pub(super) fn serving(world: &World<'_>, annotations: &Value) -> Value {
    template(world, annotations, SCRIPT)
}

/// The template of pods that run a script.
pub(super) fn template(world: &World<'_>, annotations: &Value, script: &str) -> Value {
    let annotations = prefixed(annotations);
    json!({
        "metadata": {"labels": {"part-of": "scaivault-e2e"}, "annotations": annotations},
        "spec": {
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": UID,
                "runAsGroup": UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": APP,
                "image": world.args.app_image.to_string(),
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-c", script],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

/// A Deployment with one pod.
pub(super) fn deployment(name: &str, mut template: Value) -> Value {
    template["metadata"]["labels"][APP] = json!(name);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {APP: name}}, "template": template},
    })
}

pub(super) fn pod(name: &str, template: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod"});
    merge(&mut pod, template);
    pod["metadata"]["name"] = json!(name);
    pod
}

/// Waits until the only pod of an application's Deployment is ready, and returns it.
pub(super) fn ready(world: &World<'_>, name: &str) -> Result<AppPod> {
    ready_in(world, World::APPS, name)
}

/// Waits until the only pod of a Deployment is ready, and returns it.
pub(super) fn ready_in(world: &World<'_>, namespace: &'static str, name: &str) -> Result<AppPod> {
    wait_for_rollout(world, namespace, &format!("deployment/{name}"))?;
    wait_for("the Deployment has one pod", START, || {
        let pods = pods_of(world, namespace, name)?;
        let [pod] = &pods[..] else { return Ok(None) };
        let name = pod.pointer("/metadata/name").and_then(Value::as_str);
        Ok(name.map(|name| AppPod { namespace, name: name.to_owned() }))
    })
}

/// Waits until a workload, written `KIND/NAME`, has rolled out.
pub(super) fn wait_for_rollout(world: &World<'_>, namespace: &str, workload: &str) -> Result<()> {
    let timeout = format!("--timeout={}s", START.as_secs());
    world.kubectl.text(&["rollout", "status", workload, "--namespace", namespace, &timeout]).map(drop)
}

/// The pods of a workload that are not being deleted. A replaced pod is listed until it has ended.
pub(super) fn pods_of(world: &World<'_>, namespace: &str, name: &str) -> Result<Vec<Value>> {
    let selector = format!("{APP}={name}");
    let mut pods = world.kubectl.items(&["pods", "--namespace", namespace, "--selector", &selector])?;
    pods.retain(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
    Ok(pods)
}

/// The pod of a Job that was run once.
pub(super) fn pod_of_job(world: &World<'_>, job: &str) -> Result<AppPod> {
    let selector = format!("batch.kubernetes.io/job-name={job}");
    let pods = world.kubectl.items(&["pods", "--namespace", World::APPS, "--selector", &selector])?;
    let name = pods.first().and_then(|pod| pod.pointer("/metadata/name")?.as_str());
    Ok(AppPod::app(name.with_context(|| format!("the Job {job} has no pod"))?))
}

/// The rest of the first line with this prefix.
pub(super) fn line<'a>(log: &'a str, begin: &str) -> Option<&'a str> {
    log.lines().find_map(|line| line.strip_prefix(begin))
}

/// The number of lines with this prefix.
pub(super) fn count(log: &str, begin: &str) -> usize {
    log.lines().filter(|line| line.starts_with(begin)).count()
}

/// The status of a container or init container.
pub(super) fn status<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    ["initContainerStatuses", "containerStatuses"].iter().find_map(|list| {
        let statuses = pod["status"][*list].as_array()?;
        statuses.iter().find(|status| status["name"] == container)
    })
}

/// Sets all keys of `more`.
pub(super) fn merge(object: &mut Value, more: &Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_beginning() {
        assert_eq!(line("start a: 1\nhup a: 2\nhup a: 3\n", "hup a: "), Some("2"));
        assert_eq!(line("start a: 1\n", "hup a: "), None);
        assert_eq!(count("start a: 1\nhup a: 2\nhup a: 3\n", "hup a: "), 2);
    }

    #[test]
    fn a_status_is_that_of_the_named_container() {
        let pod = json!({"status": {
            "initContainerStatuses": [{"name": "a", "restartCount": 1}],
            "containerStatuses": [{"name": "b", "restartCount": 2}],
        }});
        assert_eq!(status(&pod, "a").unwrap()["restartCount"], 1);
        assert_eq!(status(&pod, "b").unwrap()["restartCount"], 2);
        assert_eq!(status(&pod, "c"), None);
    }
}
