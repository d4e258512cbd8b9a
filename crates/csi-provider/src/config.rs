//! What the operator allows: addresses of ScaiVault, audiences and roles. What a pod asks for beyond that is denied.

use std::{fs, io, path::PathBuf, time::Duration};

use scaivault_client::{Address, AddressError, PlainHttp, TenantId, Trust};
use scaivault_contract::{Excerpt, defaults};
use scaivault_csi_class::parse_base_url;
use serde::Deserialize;
use thiserror::Error;

use crate::{
    attributes::Attributes,
    failure::{Failure, FailureKind},
};

/// How long a secret that was read is answered from memory.
const DEFAULT_REFRESH: Duration = Duration::from_mins(1);
/// The most bytes of the file.
const FILE_MAX_BYTES: usize = 256 * 1024;

/// The file of `--config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    /// The audience where a class names none.
    audience: Option<String>,
    /// Other audiences that classes may name.
    allow_audiences: Vec<String>,
    /// Roles that classes may name; `*` for any.
    allow_roles: Vec<String>,
    /// Other addresses that classes may name, each with its authorities.
    allow_urls: Vec<AllowedUrl>,
    /// The tenant to act in.
    tenant: Option<TenantId>,
    /// How long a secret is answered from memory without events, as a duration such as 60s.
    refresh_interval: Option<scaivault_contract::Duration>,
    /// Whether ScaiVault's events are used; `true` by default.
    events: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AllowedUrl {
    url: String,
    ca_file: Option<PathBuf>,
}

/// What the provider may do.
#[derive(Debug)]
pub(crate) struct Config {
    /// The first one is the default.
    servers: Vec<Server>,
    audience: String,
    audiences: Vec<String>,
    roles: Vec<String>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) refresh_interval: Duration,
    pub(crate) events: bool,
}

/// An address of ScaiVault, and whose certificates are believed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: Address,
    pub(crate) trust: Trust,
}

/// Where and as whom a mount logs in, within what the operator allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LoginTarget {
    /// Index among the servers.
    pub(crate) server: usize,
    pub(crate) audience: String,
    pub(crate) role: Option<String>,
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration {}: {source}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("the configuration {} is not valid: {source}", .file.display())]
    Yaml { file: PathBuf, source: Box<serde_saphyr::Error> },
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// What the command line says of it.
pub(crate) struct Given {
    pub(crate) url: String,
    pub(crate) allow_urls: Vec<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) file: Option<PathBuf>,
}

impl Config {
    pub(crate) fn read(given: Given) -> Result<Self, ConfigError> {
        let Given { url, allow_urls, ca_file, file } = given;
        let file = match file {
            Some(file) => read_file(file)?,
            None => File::default(),
        };
        let urls = [url].into_iter().chain(allow_urls).map(|url| (url, ca_file.clone()));
        let urls = urls.chain(file.allow_urls.into_iter().map(|allowed| (allowed.url, allowed.ca_file)));
        let servers = urls.map(|(url, file)| {
            let trust = Trust { public: file.is_none(), file };
            Ok(Server { address: Address::new(&url, PlainHttp::LoopbackOnly)?, trust })
        });
        Ok(Self {
            servers: servers.collect::<Result<_, ConfigError>>()?,
            audience: file.audience.unwrap_or_else(|| defaults::AUDIENCE.to_owned()),
            audiences: file.allow_audiences,
            roles: file.allow_roles,
            tenant: file.tenant,
            refresh_interval: file
                .refresh_interval
                .map_or(DEFAULT_REFRESH, scaivault_contract::Duration::to_std),
            events: file.events.unwrap_or(true),
        })
    }

    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Where a mount logs in. Its parameters are the word of the pod's author, so each is compared with what is allowed.
    pub(crate) fn login_target(&self, attributes: &Attributes) -> Result<LoginTarget, Failure> {
        let server = match attributes.parameter("base_url") {
            None => 0,
            Some(url) => self.server(url)?,
        };
        let audience = attributes.parameter("audience").unwrap_or(&self.audience);
        if audience != self.audience && !self.audiences.iter().any(|allowed| allowed == audience) {
            return Err(denied("audience", audience, "allow-audiences"));
        }
        let role = attributes.parameter("role");
        if let Some(role) = role
            && !self.roles.iter().any(|allowed| allowed == role || allowed == "*")
        {
            return Err(denied("role", role, "allow-roles"));
        }
        Ok(LoginTarget { server, audience: audience.to_owned(), role: role.map(str::to_owned) })
    }

    fn server(&self, url: &str) -> Result<usize, Failure> {
        let address = parse_base_url(url)
            .map_err(|error| Failure::invalid(format!("the parameter base_url: {error}")))?;
        let found = self.servers.iter().position(|server| server.address == address);
        found.ok_or_else(|| denied("base_url", url, "allow-urls"))
    }
}

fn denied(parameter: &str, value: &str, key: &str) -> Failure {
    Failure::new(
        FailureKind::Denied,
        format!(
            "the parameter {parameter} is {}, which the operator of the provider does not allow; remove it, or have it added to `{key}` of the provider's configuration",
            Excerpt::new(value)
        ),
    )
}

fn read_file(file: PathBuf) -> Result<File, ConfigError> {
    let text = fs::read_to_string(&file).and_then(|text| {
        if text.len() > FILE_MAX_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
    });
    let text = text.map_err(|source| ConfigError::Read { file: file.clone(), source })?;
    serde_saphyr::from_str(&text).map_err(|source| ConfigError::Yaml { file, source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(file: &str) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        fs::write(&path, file).unwrap();
        Config::read(Given {
            url: "https://vault.example".to_owned(),
            allow_urls: vec!["https://other.example:8443".to_owned()],
            ca_file: None,
            file: Some(path),
        })
    }

    fn target(config: &Config, parameters: &serde_json::Value) -> Result<LoginTarget, Failure> {
        let mut all = json!({
            "csi.storage.k8s.io/pod.name": "web-0", "csi.storage.k8s.io/pod.namespace": "billing",
            "csi.storage.k8s.io/pod.uid": "u-1", "csi.storage.k8s.io/serviceAccount.name": "web",
        });
        all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
        config.login_target(&Attributes::read(&all.to_string()).ok().unwrap())
    }

    #[test]
    fn only_allowed_addresses_audiences_and_roles() {
        let config = config("{allow-audiences: [legacy], allow-roles: ['sa:billing']}").unwrap();
        assert_eq!(
            target(&config, &json!({})).unwrap(),
            LoginTarget { server: 0, audience: "scaivault".to_owned(), role: None }
        );
        let asked =
            json!({"base_url": "https://other.example:8443/", "audience": "legacy", "role": "sa:billing"});
        assert_eq!(target(&config, &asked).unwrap().server, 1);
        for (parameter, value) in [
            ("base_url", "https://evil.example"),
            ("base_url", "https://vault.example.evil.example"),
            ("base_url", "https://vault.example:8443"),
            ("audience", "kubernetes"),
            ("role", "sa:admin"),
        ] {
            let failure = target(&config, &json!({parameter: value})).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
            assert!(failure.to_string().contains(parameter), "{failure}");
        }
        assert_eq!(
            target(&config, &json!({"base_url": "http://10.0.0.1"})).unwrap_err().kind,
            FailureKind::Invalid
        );
    }

    #[test]
    fn any_role_may_be_allowed() {
        let config = config("allow-roles: ['*']").unwrap();
        assert_eq!(target(&config, &json!({"role": "x"})).unwrap().role.as_deref(), Some("x"));
    }

    #[test]
    fn a_wrong_key_of_the_file_is_named() {
        let said = config("allow-url: []").unwrap_err().to_string();
        assert!(said.contains("allow-url") && said.contains("allow-urls"), "{said}");
    }
}
