//! A real Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager,
//! optionally with the scheduler and simulated nodes.
//!
//! Everything listens on the loopback address and uses one temporary directory. It is removed on
//! drop, and also when its process is killed.

mod assets;
mod credentials;
mod error;
mod flags;
mod nodes;
mod program;

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use kube::{
    Client, Config,
    api::{Api, ApiResource, DynamicObject, GetParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{GroupVersionKind, Request},
};
use serde_json::{Value, json};

pub use assets::{ASSETS_VARIABLE, Assets};
pub use error::ControlPlaneError;
pub use program::{Directory, Program};

use crate::poll;
use credentials::{ADMIN, CONTROLLER_MANAGER, Credentials, SCHEDULER, kubeconfig_name};

/// How long a program may take to become ready. A start takes about four seconds; this is for a
/// busy machine.
const START_LIMIT: Duration = Duration::from_mins(3);
/// How often the start is repeated because other processes took the chosen ports.
const STARTS: usize = 3;

/// The options of a control plane.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Simulated nodes, called `node-0` and so on. With at least one, there is a scheduler, and
    /// pods become ready (and those of Jobs succeed) without running anything. Without nodes, pods
    /// stay pending.
    pub nodes: usize,
    /// The API server's `--feature-gates`, for example `WatchList=false`.
    pub feature_gates: String,
}

/// A running control plane.
pub struct ControlPlane {
    // Dropped in this order: the directory is removed after the programs have ended.
    programs: Vec<Program>,
    credentials: Credentials,
    server_url: String,
    assets: Assets,
    directory: Directory,
}

impl ControlPlane {
    /// Starts it with the programs of [`Assets::from_env`], and returns when it is usable.
    pub async fn start(options: &Options) -> Result<Self, ControlPlaneError> {
        let assets = Assets::from_env()?;
        let mut starts = 1;
        loop {
            match Self::start_once(&assets, options).await {
                Err(error) if error.is_port_taken() && starts < STARTS => starts += 1,
                result => return result,
            }
        }
    }

    async fn start_once(assets: &Assets, options: &Options) -> Result<Self, ControlPlaneError> {
        let Options { nodes, feature_gates } = options;
        let directory = Directory::new("scaivault-control-plane-")?;
        let (port, etcd_port) = (free_port()?, free_port()?);
        let server_url = format!("https://127.0.0.1:{port}");
        let credentials = Credentials::make(&directory, &server_url, SystemTime::now())?;
        let assets = assets.clone();
        let mut plane = Self { programs: Vec::new(), credentials, server_url, assets, directory };

        plane.run("etcd", flags::etcd(etcd_port, &plane.path().join("etcd")))?;
        let flags = flags::api_server(port, etcd_port, &plane.credentials, feature_gates, plane.path());
        plane.run("kube-apiserver", flags)?;
        let client = plane.client().await?;
        plane.wait("answer at /readyz", async || is_ready(&client).await).await?;

        let kubeconfig = plane.path().join(kubeconfig_name(CONTROLLER_MANAGER));
        let flags = flags::controller_manager(&kubeconfig, &plane.credentials, plane.path());
        plane.run("kube-controller-manager", flags)?;
        if *nodes > 0 {
            nodes::create(&client, *nodes).await?;
            plane.run("kube-scheduler", flags::scheduler(&plane.path().join(kubeconfig_name(SCHEDULER))))?;
            let stages = plane.directory.write("stages.yaml", nodes::STAGES)?;
            plane.run("kwok", flags::kwok(&plane.kubeconfig_path(), &stages))?;
            plane.wait("ready node", async || nodes::are_ready(&client).await).await?;
        }
        plane.wait("default service account", async || has_service_account(&client, "default").await).await?;
        Ok(plane)
    }

    /// The path of the administrator's kubeconfig.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.path().join(kubeconfig_name(ADMIN))
    }

    /// A client for the administrator. It is bound to the current tokio runtime, so every test
    /// creates its own.
    pub async fn client(&self) -> Result<Client, ControlPlaneError> {
        client(&self.kubeconfig_path()).await
    }

    /// The API server's address, `https://127.0.0.1:41234`.
    pub fn server_url(&self) -> &str {
        &self.server_url
    }

    /// The directory of all files, which tests may use, too.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The programs.
    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// A kubectl command of the server's version, as the administrator.
    pub fn kubectl(&self) -> Result<Command, ControlPlaneError> {
        let mut command = self.command("kubectl")?;
        command.env("KUBECACHEDIR", self.path().join("kubectl"));
        Ok(command)
    }

    /// A helm command as the administrator, with separate home directories.
    pub fn helm(&self) -> Result<Command, ControlPlaneError> {
        let mut command = self.command("helm")?;
        for home in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{home}_HOME"), self.path().join("helm").join(home));
        }
        Ok(command)
    }

    fn command(&self, program: &str) -> Result<Command, ControlPlaneError> {
        let mut command = Command::new(self.assets.program(program)?);
        command.env("KUBECONFIG", self.kubeconfig_path()).env("HOME", self.path());
        Ok(command)
    }

    /// A new namespace whose name starts with `prefix`, in which pods can be created.
    pub async fn namespace(&self, prefix: &str) -> Result<String, ControlPlaneError> {
        let client = self.client().await?;
        let namespaces: Api<DynamicObject> = Api::all_with(client.clone(), &core_v1("Namespace"));
        let namespace = object(json!({"metadata": {"generateName": format!("{prefix}-")}}));
        let created = namespaces.create(&PostParams::default(), &namespace).await;
        let created = created.map_err(ControlPlaneError::api("make a namespace"))?;
        let name = created.metadata.name.unwrap_or_default();
        let account = poll(START_LIMIT, async || has_service_account(&client, &name).await.then_some(()));
        account.await.ok_or_else(|| self.not_ready("kube-controller-manager", "default service account"))?;
        Ok(name)
    }

    /// A kubeconfig with a token of a service account (valid for an hour), and therefore with only
    /// that account's permissions.
    pub async fn kubeconfig_for_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<PathBuf, ControlPlaneError> {
        let accounts: Api<DynamicObject> =
            Api::namespaced_with(self.client().await?, namespace, &core_v1("ServiceAccount"));
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        });
        let answer: Value = accounts
            .create_subresource("token", name, &PostParams::default(), &request)
            .await
            .map_err(ControlPlaneError::api(format!("get a token of service account {namespace}/{name}")))?;
        let token = answer["status"]["token"].as_str().unwrap_or_default();
        let text = self.credentials.with_token(&self.server_url, token);
        self.directory.write(&kubeconfig_name(&format!("{namespace}/{name}")), &text)
    }

    /// A kubeconfig for any user with any groups: it uses the administrator's token and
    /// impersonates the user.
    pub fn kubeconfig_for_user(&self, user: &str, groups: &[&str]) -> Result<PathBuf, ControlPlaneError> {
        let text = self.credentials.impersonating(&self.server_url, user, groups);
        self.directory.write(&kubeconfig_name(&format!("as-{user}")), &text)
    }

    fn run(&mut self, name: &str, flags: Vec<String>) -> Result<(), ControlPlaneError> {
        let mut command = Command::new(self.assets.program(name)?);
        command.args(flags);
        self.programs.push(Program::start(name, &command, self.directory.path())?);
        Ok(())
    }

    /// Waits for a condition of the program that was started last.
    async fn wait(
        &mut self,
        what: &str,
        mut is_there: impl AsyncFnMut() -> bool,
    ) -> Result<(), ControlPlaneError> {
        let programs = &mut self.programs;
        let found = poll(START_LIMIT, async || {
            if is_there().await {
                return Some(Ok(()));
            }
            programs.iter_mut().find_map(|program| program.check().err()).map(Err)
        });
        found.await.unwrap_or_else(|| {
            let last = self.programs.last().map(Program::name).unwrap_or_default();
            Err(self.not_ready(last, what))
        })
    }

    fn not_ready(&self, program: &str, what: &str) -> ControlPlaneError {
        let running = self.programs.iter().find(|candidate| candidate.name() == program);
        ControlPlaneError::NotReady {
            program: program.to_owned(),
            what: what.to_owned(),
            waited: START_LIMIT,
            log: running.map(Program::log_tail).unwrap_or_default(),
        }
    }
}

/// A client for the user of a kubeconfig. It is bound to the current tokio runtime.
pub async fn client(kubeconfig: &Path) -> Result<Client, ControlPlaneError> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Client::try_from(config).map_err(ControlPlaneError::api("set a client up"))
}

/// The API resource of a kind in the core group.
fn core_v1(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind))
}

/// Converts JSON to an object.
fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).expect("an object has metadata, and nothing else is asked of it")
}

async fn is_ready(client: &Client) -> bool {
    let Ok(request) = Request::new("").get("readyz", &GetParams::default()) else { return false };
    client.request_text(request).await.is_ok_and(|text| text == "ok")
}

async fn has_service_account(client: &Client, namespace: &str) -> bool {
    let accounts: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), namespace, &core_v1("ServiceAccount"));
    accounts.get("default").await.is_ok()
}

/// A port that was just free. Another process may take it before it is used; see [`STARTS`].
fn free_port() -> Result<u16, ControlPlaneError> {
    let find =
        || -> io::Result<u16> { Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()) };
    find().map_err(ControlPlaneError::setup("find a free port"))
}
