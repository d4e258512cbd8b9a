//! The operator's configuration: the allowed addresses of ScaiVault, audiences and roles. Other values in a
//! class are denied.

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

/// How long a secret is answered from the cache.
const DEFAULT_REFRESH: Duration = Duration::from_mins(1);
/// The maximum size of the file.
const FILE_MAX_BYTES: usize = 256 * 1024;

/// The names of the lists of one address, in messages.
const AUDIENCES: &str = "audiences` of this address in `allow-urls";
const ROLES: &str = "roles` of this address in `allow-urls";

/// The file of `--config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    /// The audience for classes without one.
    audience: Option<String>,
    /// Other audiences that classes may set.
    allow_audiences: Vec<String>,
    /// Roles that classes may set; `*` for any.
    allow_roles: Vec<String>,
    /// Other addresses that classes may set, each with its certificate authorities.
    allow_urls: Vec<AllowedUrl>,
    /// The tenant to act in.
    tenant: Option<TenantId>,
    /// How long a secret is answered from the cache without events, as a duration such as 60s.
    refresh_interval: Option<scaivault_contract::Duration>,
    /// Whether ScaiVault's events are used; `true` by default.
    events: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AllowedUrl {
    url: String,
    ca_file: Option<PathBuf>,
    /// The audiences whose tokens may be sent there, instead of those of all addresses. The first is the default.
    audiences: Option<Vec<String>>,
    /// The roles that may be requested there, instead of those of all addresses.
    roles: Option<Vec<String>>,
}

/// The checked configuration.
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

/// An address of ScaiVault with its trusted certificate authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: Address,
    pub(crate) trust: Trust,
    audiences: Option<Vec<String>>,
    roles: Option<Vec<String>>,
}

/// The server, audience and role of a login, which the operator's configuration allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LoginTarget {
    /// Index in the list of servers.
    pub(crate) server: usize,
    pub(crate) audience: String,
    pub(crate) role: Option<String>,
}

impl LoginTarget {
    /// Whether it is the server of classes without `base_url`.
    pub(crate) fn is_default_server(&self) -> bool {
        self.server == 0
    }
}

/// The configuration is invalid.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration {}: {source}", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("the configuration {} is not valid: {source}", .file.display())]
    Yaml { file: PathBuf, source: Box<serde_saphyr::Error> },
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("`audiences` of {0} in `allow-urls` is empty; list an audience, or remove the key")]
    NoAudience(Address),
    #[error(
        "{0} is given twice, so that `audiences` and `roles` in `allow-urls` have no effect; remove the other --url, --allow-url or entry"
    )]
    Repeated(Address),
}

/// The part of the configuration in command-line flags.
pub(crate) struct ConfigFlags {
    pub(crate) url: String,
    pub(crate) allow_urls: Vec<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) file: Option<PathBuf>,
}

impl Config {
    pub(crate) fn read(given: ConfigFlags) -> Result<Self, ConfigError> {
        let ConfigFlags { url, allow_urls, ca_file, file } = given;
        let file = match file {
            Some(file) => read_file(file)?,
            None => File::default(),
        };
        let of_command_line = [url].into_iter().chain(allow_urls).map(|url| AllowedUrl {
            url,
            ca_file: ca_file.clone(),
            audiences: None,
            roles: None,
        });
        Ok(Self {
            servers: servers(of_command_line.chain(file.allow_urls))?,
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

    /// The login of a mount. Its parameters are untrusted, so each one is compared with the allowed values.
    pub(crate) fn login_target(&self, attributes: &Attributes) -> Result<LoginTarget, Failure> {
        let server = match attributes.parameter("base_url") {
            None => 0,
            Some(url) => self.server(url)?,
        };
        let own = &self.servers[server];
        let (default, allowed, key) = match own.audiences.as_deref() {
            Some(audiences @ [first, ..]) => (first, audiences, AUDIENCES),
            _ => (&self.audience, &*self.audiences, "allow-audiences"),
        };
        let audience = attributes.parameter("audience").unwrap_or(default);
        if audience != default && !allowed.iter().any(|allowed| allowed == audience) {
            return Err(denied("audience", audience, key));
        }
        let role = attributes.parameter("role");
        let (allowed, key) = own.roles.as_ref().map_or((&self.roles, "allow-roles"), |roles| (roles, ROLES));
        if let Some(role) = role
            && !allowed.iter().any(|allowed| allowed == role || allowed == "*")
        {
            return Err(denied("role", role, key));
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

/// The servers in the given order. If an address is given twice, the first one is used.
fn servers(urls: impl Iterator<Item = AllowedUrl>) -> Result<Vec<Server>, ConfigError> {
    let mut servers: Vec<Server> = Vec::new();
    for AllowedUrl { url, ca_file, audiences, roles } in urls {
        let address = Address::new(&url, PlainHttp::LoopbackOnly)?;
        if audiences.as_ref().is_some_and(Vec::is_empty) {
            return Err(ConfigError::NoAudience(address));
        }
        let is_limited = |server: &Server| server.audiences.is_some() || server.roles.is_some();
        let trust = Trust { public: ca_file.is_none(), file: ca_file };
        let server = Server { address, trust, audiences, roles };
        if let Some(first) = servers.iter().find(|first| first.address == server.address)
            && (is_limited(first) || is_limited(&server))
        {
            return Err(ConfigError::Repeated(server.address));
        }
        servers.push(server);
    }
    Ok(servers)
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
        Config::read(ConfigFlags {
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
    fn an_address_may_have_its_own_audiences_and_roles() {
        let config = config(
            "{allow-audiences: [legacy], allow-roles: [reader], allow-urls: [{url: 'https://lab.example', audiences: [lab, lab-2], roles: [guest]}]}",
        )
        .unwrap();
        let lab = |more: serde_json::Value| {
            let mut asked = json!({"base_url": "https://lab.example"});
            asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            target(&config, &asked)
        };
        assert_eq!(lab(json!({})).unwrap().audience, "lab");
        assert_eq!(lab(json!({"audience": "lab-2", "role": "guest"})).unwrap().audience, "lab-2");
        // A token for other servers is not sent to this one, which could use it there.
        for (parameter, value) in [("audience", "scaivault"), ("audience", "legacy"), ("role", "reader")] {
            let said = lab(json!({parameter: value})).unwrap_err().to_string();
            assert!(said.contains("of this address in `allow-urls`"), "{said}");
        }
        for asked in [json!({"audience": "lab"}), json!({"role": "guest"})] {
            assert_eq!(target(&config, &asked).unwrap_err().kind, FailureKind::Denied);
        }
    }

    #[test]
    fn limits_of_an_address_are_always_applied() {
        for (file, expected) in [
            (
                "allow-urls: [{url: 'https://lab.example', audiences: []}]",
                "`audiences` of https://lab.example in `allow-urls` is empty",
            ),
            (
                "allow-urls: [{url: 'https://vault.example/', audiences: [a]}]",
                "https://vault.example is given twice",
            ),
            (
                "allow-urls: [{url: 'https://a.example', roles: [a]}, {url: 'https://a.example'}]",
                "https://a.example is given twice",
            ),
        ] {
            let said = config(file).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
        config("allow-urls: [{url: 'https://vault.example'}]").unwrap();
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
