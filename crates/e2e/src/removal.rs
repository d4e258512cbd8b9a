//! After the release is uninstalled, no object of it remains, and pods are created as before.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use super::{
    injection::{injected, pod},
    kubectl::wait_for,
    world::World,
};

/// Uninstalls the release, and searches all kinds of objects in all namespaces for remains.
pub(super) fn uninstall(world: &World<'_>) -> Result<String> {
    let mut definitions = Vec::new();
    for definition in World::DEFINITIONS {
        if world.kubectl.exists(&[definition])? {
            definitions.push(definition);
        }
    }
    world.helm.uninstall(World::RELEASE, World::SYSTEM)?;
    let kinds = world.kubectl.text(&["api-resources", "--verbs=list,delete", "--output=name"])?;
    let kinds: Vec<_> = kinds.split_whitespace().collect();
    let (all, selector) = (kinds.join(","), format!("app.kubernetes.io/instance={}", World::RELEASE));
    let ask =
        ["get", &all, "--all-namespaces", "--output=name", "--ignore-not-found", "--selector", &selector];
    let mut left = String::new();
    let gone = wait_for("nothing is left", Duration::from_mins(1), || {
        let found = world.kubectl.text(&ask)?;
        let others = found.split_whitespace().filter(|object| !definitions.contains(object));
        left = others.collect::<Vec<_>>().join("\n");
        Ok(left.is_empty().then_some(()))
    });
    for definition in &definitions {
        if !world.kubectl.exists(&[definition])? {
            bail!("the {definition} is gone, and all of its objects with it");
        }
    }
    match gone {
        Ok(()) => {
            let (kinds, stay) = (kinds.len(), definitions.len());
            Ok(format!(
                "nothing is left in {kinds} kinds of objects; {stay} CRDs stay, with all of their objects"
            ))
        }
        Err(error) if left.is_empty() => Err(error),
        Err(_) => bail!("left behind: {}", left.split_whitespace().collect::<Vec<_>>().join(", ")),
    }
}

/// An annotated pod is created without changes.
pub(super) fn pods_without_the_injector(world: &World<'_>) -> Result<String> {
    let mut pod = pod(&json!({"inject-secret-db.json": "environments/production/billing/database"}));
    pod["metadata"]["name"] = json!("afterwards");
    world.kubectl.create(World::WORKLOADS, &pod)?;
    let created = world.kubectl.json(&[
        "get",
        "pod",
        "afterwards",
        "--namespace",
        World::WORKLOADS,
        "--output=json",
    ])?;
    if injected(&created).is_ok() {
        bail!("a pod was injected after the injector was taken away");
    }
    Ok("an annotated pod is created as it is".to_owned())
}
