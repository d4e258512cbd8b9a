//! The configuration of `sync-secret`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use scaivault_client::Settings;
use scaivault_contract::{
    Excerpt, SecretMapping, TargetFile, env, is_label_value, is_subdomain,
    names::{CONTENT_VERSION_ANNOTATION, MANAGED_BY_LABEL},
    parse_secret_keys,
};

use super::{FileSpec, Outputs, Reader, boolean, pod_values, positive, server};
use crate::environment::{
    Environment, EnvironmentProblems, KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT,
};

/// The maximum length of a type in characters: that of a DNS subdomain, which Kubernetes
/// recommends.
const TYPE_MAX_CHARS: usize = 253;

/// The settings of `sync-secret`.
#[derive(Clone, Debug)]
pub(crate) struct SyncConfig {
    /// The sources, with the key of each value as a file below `/`.
    pub(crate) outputs: Outputs,
    /// The connection to ScaiVault.
    pub(crate) server: Settings,
    /// The timeout of all reads from ScaiVault, and of each step with the API server.
    pub(crate) timeout: Duration,
    /// Whether a failure of ScaiVault leaves the Secret unchanged without an error.
    pub(crate) fail_open: bool,
    pub(crate) secret: SecretSpec,
    /// The connection to the API server.
    pub(crate) api: ApiServer,
}

/// A Secret without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretSpec {
    pub(crate) name: String,
    pub(crate) secret_type: SecretType,
    /// Labels in addition to the managed-by label.
    pub(crate) labels: BTreeMap<String, String>,
    /// Annotations in addition to the content version.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Whether its content is immutable.
    pub(crate) immutable: bool,
}

/// The API server of the pod's own cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiServer {
    /// The host, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The directory with `token`, `ca.crt` and `namespace`.
    pub(crate) directory: PathBuf,
}

/// The type of a Secret for applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretType(String);

impl SecretType {
    /// Kubernetes itself interprets Secrets of these types, as credentials for the cluster.
    const REFUSED: [&str; 2] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Groups of keys. Kubernetes requires one key of each group.
    pub(crate) fn required_keys(&self) -> &'static [&'static [&'static str]] {
        match self.as_str() {
            "kubernetes.io/tls" => &[&["tls.crt"], &["tls.key"]],
            "kubernetes.io/dockerconfigjson" => &[&[".dockerconfigjson"]],
            "kubernetes.io/dockercfg" => &[&[".dockercfg"]],
            "kubernetes.io/basic-auth" => &[&["username", "password"]],
            "kubernetes.io/ssh-auth" => &[&["ssh-privatekey"]],
            _ => &[],
        }
    }

    /// The key whose value must be JSON.
    pub(crate) fn json_key(&self) -> Option<&'static str> {
        match self.as_str() {
            "kubernetes.io/dockerconfigjson" => Some(".dockerconfigjson"),
            "kubernetes.io/dockercfg" => Some(".dockercfg"),
            _ => None,
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let excerpt = Excerpt::new(text);
        if Self::REFUSED.contains(&text) {
            return Err(format!(
                "{excerpt} is for credentials of the cluster itself; set the type that the application needs, such as Opaque"
            ));
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if text.len() > TYPE_MAX_CHARS || !text.bytes().all(is_allowed) {
            return Err(format!(
                "{excerpt} is not a type of Secrets; allowed: at most 253 of A-Z a-z 0-9 - _ . /, such as kubernetes.io/tls"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl SyncConfig {
    /// Reads the variables of `sync-secret`.
    pub(crate) fn read(environment: &Environment) -> Result<Self, EnvironmentProblems> {
        let mut reader = Reader { environment, problems: environment.problems.clone() };
        let config = Self {
            outputs: outputs(&mut reader),
            server: server(&mut reader),
            timeout: reader.or_default(env::FETCH_TIMEOUT, positive),
            fail_open: reader.or_default(env::FAIL_OPEN, boolean),
            secret: secret(&mut reader),
            api: api_server(&mut reader),
        };
        config.check_required_keys(&mut reader);
        EnvironmentProblems::or(reader.problems, config)
    }

    fn check_required_keys(&self, reader: &mut Reader<'_>) {
        let secret_type = &self.secret.secret_type;
        for group in secret_type.required_keys() {
            let is_given = |spec: &FileSpec| !spec.optional && group.iter().any(|key| spec.file.is_key(key));
            if !self.outputs.files.iter().any(is_given) {
                let (secret_type, keys) = (secret_type.as_str(), group.join(" or "));
                reader.problem(
                    env::SYNC_SECRET_TYPE,
                    format!("{secret_type} needs the key {keys}; add a line for it to SECRETS, without optional=true"),
                );
            }
        }
    }
}

fn outputs(reader: &mut Reader<'_>) -> Outputs {
    let values = pod_values(reader);
    if reader.environment.given(env::SECRETS).is_none() {
        reader.problem(env::SECRETS, "no key is configured; set it to lines such as path#field -> KEY");
    }
    for name in [env::WATCH_PATHS, env::SECRET_ENV] {
        if reader.environment.given(name).is_some() {
            reader.problem(name, "sync-secret does not read it; write path#field -> KEY in SECRETS");
        }
    }
    if reader.environment.given(env::DYNAMIC).is_some() {
        let fix = "a lease in a Secret would be neither renewed nor revoked; use the sidecar or the CSI driver in the application's pod";
        reader.problem(env::DYNAMIC, fix);
    }
    let mut files = Vec::new();
    for SecretMapping { source, file, options } in reader.mappings(env::SECRETS, parse_secret_keys) {
        let mapping = SecretMapping { source, file: TargetFile::for_key(&file), options };
        match FileSpec::from_secret(mapping, &values) {
            Ok(spec) => files.push(spec),
            Err(problem) => reader.problem(env::SECRETS, problem),
        }
    }
    Outputs { files, ..Outputs::default() }
}

fn secret(reader: &mut Reader<'_>) -> SecretSpec {
    if reader.environment.given(env::SYNC_SECRET_NAME).is_none() {
        reader
            .problem(env::SYNC_SECRET_NAME, "no Secret is named; set it to the name of the Secret to write");
    }
    SecretSpec {
        name: reader.optional(env::SYNC_SECRET_NAME, secret_name).unwrap_or_default(),
        secret_type: reader.or_default(env::SYNC_SECRET_TYPE, SecretType::parse),
        labels: pairs(reader, env::SYNC_SECRET_LABELS, is_label_value),
        annotations: pairs(reader, env::SYNC_SECRET_ANNOTATIONS, |_| true),
        immutable: reader.or_default(env::SYNC_SECRET_IMMUTABLE, boolean),
    }
}

fn secret_name(text: &str) -> Result<String, String> {
    if is_subdomain(text) {
        return Ok(text.to_owned());
    }
    let excerpt = Excerpt::new(text);
    Err(format!(
        "{excerpt} is not the name of a Secret; allowed: 1 to 253 of a-z 0-9 - ., with a letter \
         or digit at each end and next to each dot"
    ))
}

fn api_server(reader: &mut Reader<'_>) -> ApiServer {
    let host = reader.environment.given(KUBERNETES_SERVICE_HOST).map(str::to_owned);
    let port = reader.environment.given(KUBERNETES_SERVICE_PORT).and_then(|port| port.parse().ok());
    let is_host = |host: &str| rustls::pki_types::ServerName::try_from(host).is_ok();
    if !host.as_deref().is_some_and(is_host) || port.is_none() {
        let fix = "with KUBERNETES_SERVICE_PORT it is the address of the API server, which Kubernetes sets in every pod; run sync-secret in a pod, and do not set them";
        reader.problem(KUBERNETES_SERVICE_HOST, fix);
    }
    let directory = PathBuf::from(reader.text(env::SYNC_SECRET_API_DIR));
    ApiServer { host: host.unwrap_or_default(), port: port.unwrap_or_default(), directory }
}

/// Parses labels or annotations, one `key=value` per line.
fn pairs(
    reader: &mut Reader<'_>,
    name: &'static str,
    is_value: impl Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    for (number, line) in (1..).zip(reader.text(name).lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
            let excerpt = Excerpt::new(line);
            reader.problem(name, format!("line {number}: {excerpt} has no =; write key=value"));
            continue;
        };
        let excerpt = Excerpt::new(key);
        if !is_qualified_name(key) {
            reader.problem(name, format!("line {number}: {excerpt} is not a key; allowed: [prefix/]name, with 1 to 63 of A-Z a-z 0-9 - _ . in the name, a letter or digit at each end, and a DNS name as the prefix"));
        } else if [MANAGED_BY_LABEL, CONTENT_VERSION_ANNOTATION].contains(&key) {
            reader
                .problem(name, format!("line {number}: sync-secret sets {excerpt} itself; remove the line"));
        } else if !is_value(value) {
            let value = Excerpt::new(value);
            reader.problem(name, format!("line {number}: {value} is not the value of a label; allowed: at most 63 of A-Z a-z 0-9 - _ ., with a letter or digit at each end"));
        } else if pairs.insert(key.to_owned(), value.to_owned()).is_some() {
            reader.problem(name, format!("line {number}: the key {excerpt} is duplicate; keep one line"));
        }
    }
    pairs
}

fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_subdomain) && !name.is_empty() && is_label_value(name)
}

#[cfg(test)]
mod tests;
