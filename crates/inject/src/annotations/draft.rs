//! The parsed annotations, each key by itself, before they are validated together.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    str::FromStr,
};

use scaivault_contract::{
    DeferredDynamic, DeferredSecret, DeferredSource, Duration, Encoding, FileMode, Format, MountPath,
    RelativeFile, ReloadUrl, Signal, TrustPolicy, VariableName,
};

use super::{
    key::{ExactKey, Key, NamedKey},
    registry::{DefaultValue, spec_for},
    value::{LogLevel, Position, ReloadTarget, RunAsUser, Selection, StartGate, Url},
};
use crate::{pattern::Pattern, problem::Layer, quantity::Quantity};

/// All settings of a pod, each key parsed by itself. Settings with a default always have a value;
/// the registry has the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// The layer of each key that is set.
    pub(crate) origins: Origins,
    pub(crate) inject: Option<bool>,
    pub(crate) secrets: BTreeMap<String, DeferredSource>,
    pub(crate) dynamic: BTreeMap<String, DeferredDynamic>,
    pub(crate) variables: BTreeMap<VariableName, DeferredSecret>,
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
    /// The layer that sets a key.
    pub(crate) fn layer_of(&self, key: ExactKey) -> &Layer {
        self.origins.exact.get(&key).unwrap_or(&Layer::BuiltIn)
    }

    /// The layer that sets a key with a name.
    pub(crate) fn layer_of_named(&self, key: NamedKey, name: &str) -> &Layer {
        self.origins.named.get(name).and_then(|keys| keys.get(&key)).unwrap_or(&Layer::BuiltIn)
    }
}

/// The layers that set the keys. Keys that are not set have their built-in default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origins {
    exact: BTreeMap<ExactKey, Layer>,
    /// By the name after the key.
    named: BTreeMap<String, BTreeMap<NamedKey, Layer>>,
    /// Keys, with their names, whose value contained a variable.
    filled: BTreeSet<String>,
}

impl Origins {
    /// Records that a layer sets a key; overrides earlier layers.
    pub(crate) fn set(&mut self, key: Key, name: &str, layer: &Layer, has_variables: bool) {
        if has_variables {
            self.filled.insert(format!("{}{name}", key.text()));
        } else if !self.filled.is_empty() {
            self.filled.remove(&*format!("{}{name}", key.text()));
        }
        match key {
            Key::Exact(key) => {
                self.exact.insert(key, layer.clone());
            }
            Key::Named(key) => {
                self.named.entry(name.to_owned()).or_default().insert(key, layer.clone());
            }
        }
    }
}

impl Draft {
    /// Whether policies do not limit the value of a key, because it was written by the platform and
    /// contains no variable.
    pub(crate) fn is_free(&self, key: ExactKey) -> bool {
        self.origins.is_free(self.layer_of(key), key.text(), "")
    }

    /// Likewise for a key with a name.
    pub(crate) fn is_free_named(&self, key: NamedKey, name: &str) -> bool {
        self.origins.is_free(self.layer_of_named(key, name), key.text(), name)
    }
}

impl Origins {
    fn is_free(&self, layer: &Layer, key: &str, name: &str) -> bool {
        !layer.is_bounded() && (self.filled.is_empty() || !self.filled.contains(&*format!("{key}{name}")))
    }
}

/// The settings of one file.
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
            origins: Origins::default(),
            inject: None,
            secrets: BTreeMap::new(),
            dynamic: BTreeMap::new(),
            variables: BTreeMap::new(),
            files: BTreeMap::new(),
            pattern: None,
            containers: built_in(ExactKey::Containers),
            init_containers: built_in(ExactKey::InitContainers),
            mount_path: built_in(ExactKey::MountPath),
            volume_size_limit: built_in(ExactKey::VolumeSizeLimit),
            position: built_in(ExactKey::Position),
            start_gate: built_in(ExactKey::StartGate),
            refresh_interval: built_in(ExactKey::RefreshInterval),
            refresh_on_event: built_in(ExactKey::RefreshOnEvent),
            reload_signal: None,
            reload_target: None,
            reload_url: None,
            url: built_in(ExactKey::Url),
            role: None,
            audience: built_in(ExactKey::Audience),
            token_expiration_seconds: built_in(ExactKey::TokenExpirationSeconds),
            client_credentials_secret: None,
            client_credentials_id_key: built_in(ExactKey::ClientCredentialsIdKey),
            client_credentials_secret_key: built_in(ExactKey::ClientCredentialsSecretKey),
            ca_configmap: None,
            ca_configmap_key: built_in(ExactKey::CaConfigmapKey),
            ca_trust: None,
            scaikey_trust: None,
            fail_open: built_in(ExactKey::FailOpen),
            fetch_timeout: built_in(ExactKey::FetchTimeout),
            image: None,
            run_as_user: None,
            run_as_group: None,
            requests_cpu: None,
            requests_memory: None,
            limits_cpu: None,
            limits_memory: None,
            log_level: built_in(ExactKey::LogLevel),
        }
    }
}

/// The default of a key, parsed from the registry.
fn built_in<T: FromStr<Err: Debug>>(key: ExactKey) -> T {
    let DefaultValue::Value(text) = spec_for(key).default else {
        unreachable!("the field has a default without a value: {key}");
    };
    text.parse().expect("the registry's defaults are well-formed, which a test checks")
}
