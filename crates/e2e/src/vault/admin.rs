//! Calls the admin port with curl, so that every step can be repeated manually.

use std::{net::SocketAddr, process::Command};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::process;

/// The switches and counters of a development server.
pub(crate) struct Admin {
    address: SocketAddr,
}

/// A generated lease, which may have ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Lease {
    /// The generated username.
    pub(crate) username: String,
    /// Whether it was revoked before its end.
    pub(crate) is_revoked: bool,
}

impl Admin {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Writes a version of a secret, as a rotation does.
    pub(crate) fn rotate(&self, path: &str, data: &Value) -> Result<()> {
        let data = data.to_string();
        let args = ["--request", "POST", "--header", "content-type: application/json", "--data", &data];
        self.call(&format!("rotate/{path}"), &args).map(drop)
    }

    /// Switches a fault on, in the format of the admin port.
    pub(crate) fn add_fault(&self, fault: &Value) -> Result<()> {
        let fault = fault.to_string();
        let args = ["--request", "POST", "--header", "content-type: application/json", "--data", &fault];
        self.call("faults", &args).map(drop)
    }

    /// Switches all faults off.
    pub(crate) fn clear_faults(&self) -> Result<()> {
        self.call("faults", &["--request", "DELETE"]).map(drop)
    }

    /// All leases.
    pub(crate) fn leases(&self) -> Result<Vec<Lease>> {
        serde_json::from_str(&self.call("leases", &[])?).context("the admin port lists no leases")
    }

    /// The number of requests to a route, by its name on the admin port.
    pub(crate) fn requests(&self, route: &str) -> Result<u64> {
        let routes: Value = serde_json::from_str(&self.call("requests", &[])?)?;
        Ok(routes.get(route).and_then(Value::as_u64).unwrap_or_default())
    }

    fn call(&self, path: &str, args: &[&str]) -> Result<String> {
        let url = format!("http://{}/{path}", self.address);
        // Proxies do not apply to this machine.
        let fixed = ["--fail", "--silent", "--show-error", "--max-time", "10", "--noproxy", "*"];
        process::output(Command::new("curl").args(fixed).args(args).arg(url))
    }
}
