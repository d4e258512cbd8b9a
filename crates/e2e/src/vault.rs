//! The development server as the cluster's `ScaiVault`: a process on this machine, which accepts
//! tokens of the cluster's real issuer.

use std::{
    env,
    fs::{self, File},
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::kubectl::{Kubectl, wait_for};
use crate::process;
use admin::Admin;

mod admin;
pub(super) mod seed;

const PORT: u16 = 8200;

/// Where the development server is.
#[derive(clap::Args)]
pub(crate) struct VaultArgs {
    /// The program `scaivault-devserver` [default: what cargo builds]
    #[arg(long = "vault-program", value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where it listens: an address of this machine that pods reach [default: port 8200 of the one from which this machine
    /// reaches a node]
    #[arg(long = "vault-listen", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// What pods call this machine, a name or an address [default: the address of --vault-listen]
    #[arg(long = "vault-host", value_name = "HOST")]
    host: Option<String>,
    /// Where its admin port listens, on loopback
    #[arg(long = "vault-admin", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8201")]
    admin: SocketAddr,
}

/// A running server. It stops on drop.
pub(super) struct Vault {
    url: String,
    files: TempDir,
    process: Mutex<Child>,
    /// Controls and inspects it.
    pub(super) admin: Admin,
}

impl Vault {
    /// Starts it and waits until it answers.
    pub(super) fn start(args: &VaultArgs, kubectl: &Kubectl) -> Result<Self> {
        let VaultArgs { program, listen, host, admin } = args;
        let listen = match listen {
            Some(listen) => *listen,
            None => towards_a_node(kubectl)?,
        };
        let (name, url) = called(listen, host.as_deref())?;
        let program = match program {
            Some(program) => program.clone(),
            None => build()?,
        };
        let files = tempfile::tempdir()?;
        let file = |name: &str| files.path().join(name);
        fs::write(file(SEED), seed::seed().to_string())?;
        fs::write(file(JWKS), kubectl.text(&["get", "--raw", "/openid/v1/jwks"])?)?;
        let mut command = Command::new(program);
        command.current_dir(files.path()).args(["--seed", SEED, "--jwks", JWKS, "--ca-file", CA]);
        command.args(["--tls-name", &name, "--listen", &listen.to_string()]);
        command.args(["--admin", &admin.to_string()]);
        println!("$ {}", process::line(&command));
        let log = File::create(file(LOG))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.context("scaivault-devserver does not start")?;
        let vault = Self { url, files, process: Mutex::new(child), admin: Admin::new(*admin) };
        vault.wait()?;
        Ok(vault)
    }

    /// Its URL for pods.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The PEM file of its CA.
    pub(super) fn ca_file(&self) -> PathBuf {
        self.files.path().join(CA)
    }

    /// Stops it, so that connections are refused.
    pub(super) fn end(&self) -> Result<()> {
        let mut child = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Prints the end of its log.
    pub(super) fn show_log(&self) {
        println!("scaivault-devserver:");
        let log = fs::read_to_string(self.files.path().join(LOG)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(10)..] {
            println!("{line}");
        }
    }

    fn wait(&self) -> Result<()> {
        wait_for("scaivault-devserver answers", Duration::from_secs(20), || {
            let ended = self.process.lock().unwrap_or_else(PoisonError::into_inner).try_wait()?;
            if let Some(status) = ended {
                self.show_log();
                bail!("scaivault-devserver ended ({status})");
            }
            Ok((self.ca_file().is_file() && self.admin.requests("read").is_ok()).then_some(()))
        })
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        // It may have stopped already.
        let _ = self.end();
    }
}

const SEED: &str = "seed.json";
const JWKS: &str = "jwks.json";
const CA: &str = "ca.crt";
const LOG: &str = "log";

fn build() -> Result<PathBuf> {
    process::run(&mut process::cargo(["build", "--locked", "--package", "scaivault-devserver"]))?;
    // Cargo builds it into the directory of this program.
    Ok(env::current_exe()?.with_file_name("scaivault-devserver"))
}

/// The server's name for pods: the name in its certificate, and its URL.
fn called(listen: SocketAddr, host: Option<&str>) -> Result<(String, String)> {
    match host {
        Some(host) => Ok((host.to_owned(), format!("https://{host}:{}", listen.port()))),
        None if listen.ip().is_unspecified() => {
            bail!("{} is no address that pods reach: give --vault-host, too", listen.ip())
        }
        None => Ok((listen.ip().to_string(), format!("https://{listen}"))),
    }
}

/// The address from which this machine reaches a node: on most clusters on this machine, pods can
/// reach it there.
fn towards_a_node(kubectl: &Kubectl) -> Result<SocketAddr> {
    let nodes = kubectl.items(&["nodes"])?;
    let node = nodes.iter().find_map(internal_ip).context("no node has an internal address")?;
    let route = || {
        // Nothing is sent: connecting a UDP socket only determines the route.
        let socket = UdpSocket::bind(if node.contains(':') { "[::]:0" } else { "0.0.0.0:0" })?;
        socket.connect((node, PORT))?;
        socket.local_addr()
    };
    let own = route().with_context(|| format!("no way to the node {node}; give --vault-listen"))?;
    Ok(SocketAddr::new(own.ip(), PORT))
}

fn internal_ip(node: &Value) -> Option<&str> {
    let addresses = node.pointer("/status/addresses")?.as_array()?;
    addresses.iter().find(|address| address["type"] == "InternalIP")?["address"].as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_call_it_by_its_address_or_by_its_name() {
        let check = |listen: &str, host, name: &str, url: &str| {
            let called = called(listen.parse().unwrap(), host).unwrap();
            assert_eq!((called.0.as_str(), called.1.as_str()), (name, url));
        };
        check("10.0.0.1:8200", None, "10.0.0.1", "https://10.0.0.1:8200");
        check("[fd00::1]:8200", None, "fd00::1", "https://[fd00::1]:8200");
        check("0.0.0.0:8200", Some("host.internal"), "host.internal", "https://host.internal:8200");
        let error = called("0.0.0.0:8200".parse().unwrap(), None).unwrap_err();
        assert!(error.to_string().contains("--vault-host"), "{error}");
    }

    #[test]
    fn a_node_is_known_by_its_internal_address() {
        let node = json!({"status": {"addresses": [
            {"type": "Hostname", "address": "node1"},
            {"type": "InternalIP", "address": "10.0.0.1"},
        ]}});
        assert_eq!(internal_ip(&node), Some("10.0.0.1"));
        assert_eq!(internal_ip(&json!({"status": {}})), None);
    }
}
