//! A running pod of an application, and its output.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    app::{line, status},
    injection::APP,
    kubectl::wait_for,
    world::World,
};

/// On a machine that has to pull the image first.
pub(super) const START: Duration = Duration::from_mins(3);
/// The timeout for an expected line in the log of a ready pod.
const SAID: Duration = Duration::from_secs(30);

/// A pod of an application, by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AppPod {
    pub(super) namespace: &'static str,
    pub(super) name: String,
}

impl AppPod {
    /// A pod in the applications' namespace.
    pub(super) fn app(name: impl Into<String>) -> Self {
        Self { namespace: World::APPS, name: name.into() }
    }

    /// The pod object.
    pub(super) fn object(&self, world: &World<'_>) -> Result<Value> {
        world.kubectl.json(&["get", "pod", &self.name, "--namespace", self.namespace, "--output=json"])
    }

    /// Waits until all of its containers are ready.
    pub(super) fn wait_until_ready(&self, world: &World<'_>) -> Result<()> {
        let (pod, timeout) = (format!("pod/{}", self.name), format!("--timeout={}s", START.as_secs()));
        let args = ["wait", "--for=condition=Ready", &pod, "--namespace", self.namespace, &timeout];
        world.kubectl.text(&args).map(drop)
    }

    /// Its application's log.
    pub(super) fn log(&self, world: &World<'_>) -> Result<String> {
        self.log_of(world, APP)
    }

    /// The log of a container since its last start.
    pub(super) fn log_of(&self, world: &World<'_>, container: &str) -> Result<String> {
        world.kubectl.text(&["logs", &self.name, "--namespace", self.namespace, "--container", container])
    }

    /// The output of a script in the application's container.
    pub(super) fn exec(&self, world: &World<'_>, script: &str) -> Result<String> {
        let args =
            ["exec", &self.name, "--namespace", self.namespace, "--container", APP, "--", "/bin/sh", "-c"];
        world.kubectl.text(&[&args[..], &[script]].concat())
    }

    /// The current content of a secrets file.
    pub(super) fn file(&self, world: &World<'_>, name: &str) -> Result<String> {
        self.exec(world, &format!("cat /run/secrets/{name}"))
    }

    /// Waits until the application has printed a line with this prefix; returns the rest of the
    /// line.
    pub(super) fn said(&self, world: &World<'_>, begin: &str) -> Result<String> {
        wait_for(&format!("the application of {} says {begin:?}", self.name), SAID, || {
            Ok(line(&self.log(world)?, begin).map(str::to_owned))
        })
    }

    /// How often a container was restarted.
    pub(super) fn restarts(&self, world: &World<'_>, container: &str) -> Result<u64> {
        let pod = self.object(world)?;
        let status = status(&pod, container).with_context(|| format!("there is no container {container}"))?;
        status["restartCount"].as_u64().context("the kubelet counts restarts")
    }

    /// The name of the database user in its file.
    pub(super) fn lease(&self, world: &World<'_>) -> Result<String> {
        let file: Value = serde_json::from_str(&self.file(world, "user.json")?)?;
        let Some(username) = file["username"].as_str() else {
            bail!("the file of dynamic credentials has no username");
        };
        Ok(username.to_owned())
    }
}
