//! Every key by itself: what the annotations say before they are looked at together.

use std::collections::BTreeMap;

use scaivault_contract::{
    Duration, DynamicRef, Encoding, FileMode, Format, MountPath, RelativeFile, ReloadUrl, SecretRef,
    SecretSource, Signal, TrustPolicy, VariableName,
    names::{CA_FILE, CLIENT_ID_FILE, CLIENT_SECRET_FILE, DEFAULT_MOUNT_PATH},
};

use super::value::{LogLevel, Position, ReloadTarget, RunAsUser, Selection, StartGate, Url};
use crate::{pattern::Pattern, problem::Layer, quantity::Quantity};

/// All settings of one pod, each key parsed alone. What has a default is never absent; the registry's text of each
/// default is tested against [`Draft::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// Who set which key, where somebody did; a key set twice is here twice, the last word behind.
    pub(crate) origins: Vec<(&'static str, Layer)>,
    pub(crate) inject: Option<bool>,
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    pub(crate) dynamic: BTreeMap<String, DynamicRef>,
    pub(crate) variables: BTreeMap<VariableName, SecretRef>,
    pub(crate) files: BTreeMap<String, FileDraft>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) containers: Selection,
    pub(crate) init_containers: Selection,
    pub(crate) mount_path: MountPath,
    pub(crate) volume_size_limit: Quantity,
    pub(crate) position: Position,
    pub(crate) start_gate: StartGate,
    pub(crate) refresh_interval: Duration,
    pub(crate) refresh_on_event: bool,
    pub(crate) reload_signal: Option<Signal>,
    pub(crate) reload_target: Option<ReloadTarget>,
    pub(crate) reload_url: Option<ReloadUrl>,
    pub(crate) url: Url,
    pub(crate) role: Option<String>,
    pub(crate) audience: String,
    pub(crate) token_expiration_seconds: i64,
    pub(crate) client_credentials_secret: Option<String>,
    pub(crate) client_credentials_id_key: String,
    pub(crate) client_credentials_secret_key: String,
    pub(crate) ca_configmap: Option<String>,
    pub(crate) ca_configmap_key: String,
    pub(crate) ca_trust: Option<TrustPolicy>,
    pub(crate) scaikey_trust: Option<TrustPolicy>,
    pub(crate) fail_open: bool,
    pub(crate) fetch_timeout: Duration,
    pub(crate) image: Option<String>,
    pub(crate) run_as_user: Option<RunAsUser>,
    pub(crate) run_as_group: Option<i64>,
    pub(crate) requests_cpu: Option<Quantity>,
    pub(crate) requests_memory: Option<Quantity>,
    pub(crate) limits_cpu: Option<Quantity>,
    pub(crate) limits_memory: Option<Quantity>,
    pub(crate) log_level: LogLevel,
}

impl Draft {
    /// Where the value of a key was written.
    pub(crate) fn layer_of(&self, key: &str) -> Layer {
        let said = self.origins.iter().rev().find(|(name, _)| *name == key);
        said.map_or(Layer::BuiltIn, |(_, layer)| *layer)
    }
}

/// What is said of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileDraft {
    pub(crate) file: Option<RelativeFile>,
    pub(crate) format: Option<Format>,
    pub(crate) template: Option<String>,
    pub(crate) mode: Option<FileMode>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) optional: Option<bool>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            inject: None,
            secrets: BTreeMap::new(),
            dynamic: BTreeMap::new(),
            variables: BTreeMap::new(),
            files: BTreeMap::new(),
            pattern: None,
            containers: Selection::All,
            init_containers: Selection::All,
            mount_path: DEFAULT_MOUNT_PATH.parse().expect("the default mount path is an absolute directory"),
            volume_size_limit: Quantity::mebibytes(8),
            position: Position::First,
            start_gate: StartGate::Hook,
            refresh_interval: Duration::from_secs(300),
            refresh_on_event: false,
            reload_signal: None,
            reload_target: None,
            reload_url: None,
            url: DEFAULT_URL.parse().expect("the default URL is https with a host"),
            role: None,
            audience: DEFAULT_AUDIENCE.to_owned(),
            token_expiration_seconds: 3600,
            client_credentials_secret: None,
            client_credentials_id_key: CLIENT_ID_FILE.to_owned(),
            client_credentials_secret_key: CLIENT_SECRET_FILE.to_owned(),
            ca_configmap: None,
            ca_configmap_key: CA_FILE.to_owned(),
            ca_trust: None,
            scaikey_trust: None,
            fail_open: false,
            fetch_timeout: DEFAULT_FETCH_TIMEOUT.parse().expect("the default fetch timeout is a duration"),
            image: None,
            run_as_user: None,
            run_as_group: None,
            requests_cpu: None,
            requests_memory: None,
            limits_cpu: None,
            limits_memory: None,
            log_level: LogLevel("info"),
        }
    }
}

/// ScaiVault's public address, where neither the injector nor an annotation names another.
const DEFAULT_URL: &str = "https://scaivault.scailabs.ai";
/// Written as the agent has it, so that it is left out of the environment.
const DEFAULT_FETCH_TIMEOUT: &str = "60s";
/// The audience ScaiVault expects in a projected token.
const DEFAULT_AUDIENCE: &str = "scaivault";
