//! Installs the chart with helm.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{Args, kubectl::find, world::World};
use crate::process;

/// Two replicas, so that one can be removed.
pub(super) const REPLICAS: usize = 2;
const CHART: &str = "charts/scaivault-injector";
const TIMEOUT: &str = "--timeout=5m";

/// helm for the cluster of KUBECONFIG.
pub(super) struct Helm(PathBuf);

impl Helm {
    pub(super) fn find() -> Result<Self> {
        find("helm").map(Self)
    }

    /// Installs or upgrades the chart, and waits until all replicas are ready.
    pub(super) fn upgrade(&self, world: &World<'_>, values: &[&str]) -> Result<()> {
        let Args { image, init_image, set, .. } = world.args;
        let own = [
            format!("image.repository={}", image.repository),
            format!("replicas={REPLICAS}"),
            format!("injector.initImage={init_image}"),
            format!("injector.defaults.url={}", world.vault.url()),
        ];
        // As a string, because a tag may look like a number.
        let tag = format!("image.tag={}", image.tag);
        let mut command = self.command("upgrade", World::SYSTEM);
        command.args([World::RELEASE, CHART, "--install", "--create-namespace", "--wait", TIMEOUT]);
        command.args(["--set-string", &tag]);
        let given = own.iter().chain(set).map(String::as_str);
        for value in given.chain(values.iter().copied()) {
            command.args(["--set", value]);
        }
        process::run(&mut command)
    }

    /// Runs the chart's own test.
    pub(super) fn test(&self) -> Result<()> {
        process::run(self.command("test", World::SYSTEM).args([World::RELEASE, TIMEOUT]))
    }

    /// Installs or upgrades any chart, and waits until its pods are ready.
    pub(super) fn install(&self, release: &str, chart: &str, namespace: &str, args: &[String]) -> Result<()> {
        let mut command = self.command("upgrade", namespace);
        process::run(command.args([release, chart, "--install", "--wait", TIMEOUT]).args(args))
    }

    /// Uninstalls a release if it exists, and waits until its objects are gone.
    pub(super) fn uninstall(&self, release: &str, namespace: &str) -> Result<()> {
        let mut command = self.command("uninstall", namespace);
        process::run(command.args([release, "--ignore-not-found", "--wait", TIMEOUT]))
    }

    fn command(&self, verb: &str, namespace: &str) -> Command {
        let mut command = Command::new(&self.0);
        command.args([verb, "--namespace", namespace]).current_dir(process::root());
        command
    }
}

/// The replicas' pods.
pub(super) fn pods(world: &World<'_>) -> Result<Vec<Value>> {
    let selector = format!("app.kubernetes.io/instance={0},app.kubernetes.io/name={0}", World::RELEASE);
    world.kubectl.items(&["pods", "--namespace", World::SYSTEM, "--selector", &selector])
}

/// Whether the API server can call the webhooks: only a running injector fills the bundle.
fn trusted(configuration: &Value) -> bool {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array);
    let bundle = |webhook: &Value| {
        let bundle = webhook.pointer("/clientConfig/caBundle").and_then(Value::as_str);
        bundle.is_some_and(|bundle| !bundle.is_empty())
    };
    webhooks.is_some_and(|webhooks| !webhooks.is_empty() && webhooks.iter().all(bundle))
}

/// Installs the chart with two replicas. A replica is ready only if the API server trusts its
/// certificate.
pub(super) fn install(world: &World<'_>) -> Result<String> {
    world.helm.upgrade(world, &[])?;
    let pods = pods(world)?.len();
    if pods != REPLICAS {
        bail!("{pods} pods, not {REPLICAS}");
    }
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let configuration = world.kubectl.json(&["get", kind, World::RELEASE, "--output=json"])?;
        if !trusted(&configuration) {
            bail!("all replicas are ready, and the {kind} has a webhook without caBundle");
        }
    }
    Ok(format!("{REPLICAS} replicas are ready"))
}

/// The chart's own test: creates an annotated pod as a dry run from inside the cluster.
pub(super) fn test(world: &World<'_>) -> Result<String> {
    world.helm.test()?;
    Ok("passed".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_webhook_needs_a_bundle() {
        let with = json!({"clientConfig": {"caBundle": "LS0t"}});
        let without = json!({"clientConfig": {"caBundle": ""}});
        assert!(trusted(&json!({"webhooks": [with, with]})));
        for untrusted in [
            json!({"webhooks": [with, without]}),
            json!({"webhooks": [{"clientConfig": {}}]}),
            json!({"webhooks": []}),
            json!({}),
        ] {
            assert!(!trusted(&untrusted), "{untrusted}");
        }
    }
}
