//! Access to the provider's socket: it is in a directory of the node that a pod can only mount as a
//! `hostPath`.

use anyhow::{Result, bail};
use serde_json::json;

use super::running;
use crate::{
    app::{self, template},
    world::World,
};

const NAME: &str = "other-user";
const SOCKET: &str = "/sockets/scaivault.sock";

/// A pod of another user with a `hostPath` of the directory can neither connect to the socket nor
/// replace it.
pub(crate) fn of_other_pods(world: &World<'_>) -> Result<String> {
    let script = format!(
        "stat -c %a:%u {SOCKET}; nc local:{SOCKET} </dev/null >/dev/null 2>&1 && echo connected; \
         rm -f {SOCKET} 2>/dev/null && echo removed; touch /sockets/x.sock 2>/dev/null && echo made; echo done; sleep 600"
    );
    let mut pod = app::pod(NAME, &template(world, &json!({}), &script));
    pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "sockets", "mountPath": "/sockets"}]);
    pod["spec"]["volumes"] =
        json!([{"name": "sockets", "hostPath": {"path": "/var/run/secrets-store-csi-providers"}}]);
    world.kubectl.create(World::CSI, &pod)?;
    let pod = running(NAME);
    pod.wait_until_ready(world)?;
    pod.said(world, "done")?;
    let log = pod.log(world)?;
    if log.trim() != "600:0\ndone" {
        bail!("another user of the node may use the socket: {log}");
    }
    world.kubectl.delete(World::CSI, &["pod", NAME])?;
    Ok("mode 0600 of root: a pod of another user with its directory as a hostPath can neither call nor replace it".to_owned())
}
