//! The agent's configuration, parsed from its environment into validated types, or all problems.

use std::{fmt, fmt::Display, fs, net::SocketAddr, path::PathBuf, time::Duration};

use scaivault_client::{Address, Login, PlainHttp, Proxy, Settings, TenantId, Timeouts, Trust};
use scaivault_contract::{
    Duration as ContractDuration, DynamicMapping, FileMode, FileOptions, FillError, Format, MappingErrors,
    MountPoint, NameError, ObjectName, PodValues, PodVariable, ReloadUrl, SecretMapping, SecretPathError,
    SecretRef, Signal, TargetFile, TrustPolicy, VariableMapping, VariableName, conflicts, env,
    is_at_or_below, mount_point_conflicts,
    names::{CREDENTIALS_DIR, SIDECAR_CONTAINER, TOKEN_DIR},
    parse_dynamic, parse_secrets, parse_variables,
};
use scaivault_render::{Source, Style, TemplateError};
use thiserror::Error;

use crate::environment::{Environment, EnvironmentProblems, VariableProblem, default};

mod sync_secret;

pub(crate) use sync_secret::{ApiServer, SecretSpec, SyncConfig};

/// The host name of this container, which is the pod's name unless the pod uses the host network.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The container of the pod: each reads its own set of variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// Fetches once.
    Init,
    /// Fetches, then keeps the files up to date.
    Sidecar,
}

/// The complete configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) container: Container,
    /// The pod's UID, if the injector or the manifest sets it.
    pub(crate) pod_uid: Option<String>,
    /// The outputs.
    pub(crate) outputs: Outputs,
    /// The connection to ScaiVault.
    pub(crate) server: Settings,
    /// The timeout of the first fetch including all retries.
    pub(crate) fetch_timeout: Duration,
    /// Whether the pod may start with what could be fetched.
    pub(crate) fail_open: bool,
    /// The directory for leases and login between restarts; `None` stores nothing.
    pub(crate) state_dir: Option<PathBuf>,
    /// Settings for the time after the first fetch, only used by the sidecar.
    pub(crate) sidecar: SidecarConfig,
}

/// The outputs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outputs {
    /// The files of secrets and of leases.
    pub(crate) files: Vec<FileSpec>,
    /// Fields that become environment variables.
    pub(crate) variables: Vec<VariableSpec>,
    /// The file of these variables; `None` if there are no variables.
    pub(crate) variables_file: Option<TargetFile>,
    /// Mount points that applications need inside the files' volume for other volumes.
    pub(crate) mount_points: Vec<MountPoint>,
}

impl Outputs {
    /// Every file that is written, that of the variables last.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &TargetFile> {
        self.files.iter().map(|spec| &spec.file).chain(&self.variables_file)
    }
}

/// Settings for the time after the first fetch.
#[derive(Clone, Debug)]
pub(crate) struct SidecarConfig {
    /// The interval at which files are compared with ScaiVault.
    pub(crate) refresh_interval: Duration,
    /// Whether to subscribe to ScaiVault's events.
    pub(crate) on_event: bool,
    /// How the application is notified of a change.
    pub(crate) reload: Option<Reload>,
    /// How long leases are kept after SIGTERM.
    pub(crate) revoke_delay: Duration,
    /// The address of the metrics port.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// The pod's name. Only the injector or the manifest knows it for certain, because the host
    /// name may be that of the node.
    pub(crate) pod: Option<ObjectName>,
}

/// How the application is notified of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// A signal to the process of this name.
    Signal {
        signal: Signal,
        /// Name of the process.
        target: String,
    },
    /// A POST to this URL.
    Post(ReloadUrl),
}

impl Config {
    /// Reads the variables of one container.
    pub(crate) fn read(environment: &Environment, container: Container) -> Result<Self, EnvironmentProblems> {
        let mut reader = Reader { environment, problems: environment.problems.clone() };
        let values = pod_values(&mut reader);
        let config = Self {
            container,
            pod_uid: reader.optional(env::SCAIVAULT_POD_UID, pod_uid),
            outputs: outputs(&mut reader, container, &values),
            server: server(&mut reader),
            fetch_timeout: reader.or_default(env::FETCH_TIMEOUT, positive),
            fail_open: reader.or_default(env::FAIL_OPEN, boolean),
            state_dir: reader.path(env::SCAIVAULT_STATE_DIR),
            sidecar: sidecar(&mut reader, values.pod),
        };
        EnvironmentProblems::or(reader.problems, config)
    }

    /// The name of the subscription to events. It contains the UID, because pods in two namespaces
    /// may have the same name.
    pub(crate) fn subscription_name(&self) -> String {
        let pod = self.sidecar.pod.as_ref().map(ToString::to_string);
        let pod = pod.or_else(|| fs::read_to_string(HOST_NAME).ok()).unwrap_or_default();
        let pod = pod.trim();
        match &self.pod_uid {
            Some(uid) => format!("{SIDECAR_CONTAINER}/{pod}/{uid}"),
            None => format!("{SIDECAR_CONTAINER}/{pod}"),
        }
    }
}

/// The values for `${pod}` and `${node}`. A malformed one is replaced by a placeholder, so that
/// parsing can continue.
fn pod_values(reader: &mut Reader<'_>) -> PodValues {
    let mut name = |variable: PodVariable| {
        let parsed = reader.environment.given(variable.env())?.parse::<ObjectName>();
        let parsed = parsed.or_else(|error| {
            reader.problem(variable.env(), error);
            "x".parse()
        });
        parsed.ok()
    };
    PodValues { pod: name(PodVariable::Pod), node: name(PodVariable::Node) }
}

fn outputs(reader: &mut Reader<'_>, container: Container, values: &PodValues) -> Outputs {
    let (mine, other) = match container {
        Container::Init => (env::SECRETS, env::WATCH_PATHS),
        Container::Sidecar => (env::WATCH_PATHS, env::SECRETS),
    };
    let secrets = reader.mappings(mine, parse_secrets);
    let dynamic = reader.mappings(env::DYNAMIC, parse_dynamic);
    let variables = reader.mappings(env::SECRET_ENV, parse_variables);
    let variables_file =
        (!variables.is_empty()).then(|| reader.or_default(env::SCAIVAULT_ENV_FILE, str::parse::<TargetFile>));

    let mut files = Vec::with_capacity(secrets.len() + dynamic.len());
    for (name, spec) in secrets
        .into_iter()
        .map(|mapping| (mine, FileSpec::from_secret(mapping, values)))
        .chain(dynamic.into_iter().map(|mapping| (env::DYNAMIC, FileSpec::from_lease(mapping, values))))
    {
        match spec {
            Ok(spec) => files.push(spec),
            Err(problem) => reader.problem(name, problem),
        }
    }
    let variables = variables.into_iter().filter_map(|mapping| {
        let spec = VariableSpec::new(mapping, values);
        spec.map_err(|problem| reader.problem(env::SECRET_ENV, problem)).ok()
    });
    let variables: Vec<_> = variables.collect();
    let is_set = |name| reader.environment.given(name).is_some();
    if !is_set(mine) && !is_set(env::DYNAMIC) && !is_set(env::SECRET_ENV) {
        let fix = if is_set(other) {
            format!("{other} is not read by this container; rename it")
        } else {
            format!("no file is configured; set it, {} or {}", env::DYNAMIC, env::SECRET_ENV)
        };
        reader.problem(mine, fix);
    }
    let outputs = Outputs { files, variables, variables_file, mount_points: mount_points(reader) };
    for conflict in mount_point_conflicts(outputs.targets().map(TargetFile::as_str), &outputs.mount_points) {
        reader.problem(env::MOUNT_POINTS, conflict);
    }
    // Conflicts inside one mapping were found when it was parsed; this checks across mappings.
    for conflict in conflicts(outputs.targets().map(TargetFile::as_str)) {
        reader.problem(mine, conflict);
    }
    for target in outputs.targets() {
        for dir in [TOKEN_DIR, CREDENTIALS_DIR] {
            if is_at_or_below(target.as_str(), dir) {
                reader.problem(mine, format!("the file {target} would be in {dir}, where no file may be"));
            }
        }
    }
    outputs
}

fn mount_points(reader: &mut Reader<'_>) -> Vec<MountPoint> {
    let lines = reader.environment.value(env::MOUNT_POINTS).lines().map(str::trim);
    let parsed: Vec<_> = lines.filter(|line| !line.is_empty()).map(str::parse::<MountPoint>).collect();
    let parse = |point: Result<_, _>| point.map_err(|error| reader.problem(env::MOUNT_POINTS, error)).ok();
    parsed.into_iter().filter_map(parse).collect()
}

fn server(reader: &mut Reader<'_>) -> Settings {
    let plain_http = if reader.or_default(env::SCAIVAULT_ALLOW_HTTP, boolean) {
        PlainHttp::Anywhere
    } else {
        PlainHttp::LoopbackOnly
    };
    let address = |text: &str| Address::new(text, plain_http);
    let file = reader.path(env::SCAIVAULT_CA_FILE);
    let private = Trust { public: file.is_none(), file };
    let trust = trust(reader, env::SCAIVAULT_TRUST, &private).unwrap_or_else(|| private.clone());
    let scaikey_trust = self::trust(reader, env::SCAIKEY_TRUST, &private).unwrap_or_else(|| trust.clone());
    let login = match reader.path(env::SCAIVAULT_CREDENTIALS_DIR) {
        Some(directory) => Login::ClientCredentials {
            directory,
            token_url: reader.or_default(env::SCAIKEY_TOKEN_URL, address),
            trust: scaikey_trust,
        },
        None => Login::Exchange {
            token_file: PathBuf::from(reader.text(env::SCAIVAULT_TOKEN_FILE)),
            audience: reader.text(env::SCAIVAULT_AUDIENCE),
            role: reader.environment.given(env::SCAIVAULT_ROLE).map(str::to_owned),
        },
    };
    let proxy = Proxy::from_variables(|name| reader.environment.given(name).map(str::to_owned))
        .unwrap_or_else(|error| {
            reader.problem("HTTPS_PROXY", error);
            None
        });
    Settings {
        address: reader.or_default(env::SCAIVAULT_URL, address),
        login,
        trust,
        proxy,
        tenant: reader.optional(env::SCAIVAULT_TENANT_ID, str::parse::<TenantId>),
        timeouts: Timeouts::default(),
    }
}

/// The trust anchors configured by the variable `name`; `None` if it is not set.
fn trust(reader: &mut Reader<'_>, name: &'static str, private: &Trust) -> Option<Trust> {
    reader.optional(name, |word| {
        let policy = word.parse::<TrustPolicy>().map_err(|_| "allowed are private, public and both")?;
        match (policy, &private.file) {
            (TrustPolicy::Public, _) => Ok(Trust { file: None, public: true }),
            (_, None) => Err("it needs the authorities in SCAIVAULT_CA_FILE; set it too"),
            (policy, file) => Ok(Trust { file: file.clone(), public: policy == TrustPolicy::Both }),
        }
    })
}

fn sidecar(reader: &mut Reader<'_>, pod: Option<ObjectName>) -> SidecarConfig {
    SidecarConfig {
        refresh_interval: reader.or_default(env::REFRESH_INTERVAL, positive),
        on_event: reader.or_default(env::REFRESH_ON_EVENT, boolean),
        reload: reload(reader),
        revoke_delay: reader.or_default(env::SCAIVAULT_REVOKE_DELAY, |text| {
            ContractDuration::parse_allowing_zero(text).map(ContractDuration::to_std)
        }),
        metrics_listen: reader.optional(env::SCAIVAULT_METRICS_LISTEN, |text| {
            text.parse().map_err(|_| "it is not an address and a port, such as 0.0.0.0:9102")
        }),
        pod,
    }
}

fn reload(reader: &mut Reader<'_>) -> Option<Reload> {
    let signal = reader.optional(env::RELOAD_SIGNAL, str::parse::<Signal>);
    let target = reader.optional(env::RELOAD_TARGET, process_name);
    let url = reader.optional(env::RELOAD_URL, str::parse::<ReloadUrl>);
    let is_set = |name| reader.environment.given(name).is_some();
    let (has_signal, has_target) = (is_set(env::RELOAD_SIGNAL), is_set(env::RELOAD_TARGET));
    if is_set(env::RELOAD_URL) && (has_signal || has_target) {
        reader.problem(env::RELOAD_URL, "it excludes RELOAD_SIGNAL and RELOAD_TARGET; set one or the other");
    } else if has_signal != has_target {
        let (name, other) = if has_signal {
            (env::RELOAD_SIGNAL, env::RELOAD_TARGET)
        } else {
            (env::RELOAD_TARGET, env::RELOAD_SIGNAL)
        };
        reader.problem(name, format!("it requires {other}; set it too"));
    }
    let by_signal = signal.zip(target).map(|(signal, target)| Reload::Signal { signal, target });
    by_signal.or(url.map(Reload::Post))
}

fn positive(text: &str) -> Result<Duration, scaivault_contract::DurationError> {
    text.parse::<ContractDuration>().map(ContractDuration::to_std)
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("it is neither true nor false"),
    }
}

fn pod_uid(text: &str) -> Result<String, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.len() > 63 || !text.bytes().all(is_allowed) {
        return Err("it is not the UID of a pod; take it from the field metadata.uid");
    }
    Ok(text.to_owned())
}

fn process_name(text: &str) -> Result<String, &'static str> {
    if text.contains('/') || text.chars().any(char::is_control) {
        return Err("it is not the name of a process; write its base name, such as nginx");
    }
    Ok(text.to_owned())
}

/// Reads values and collects problems.
struct Reader<'a> {
    environment: &'a Environment,
    problems: Vec<VariableProblem>,
}

impl Reader<'_> {
    /// The parsed value, or the default if it is malformed, so that parsing can continue.
    fn or_default<T, E: Display>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, E>) -> T {
        let fallback = || parse(default(name)).ok().expect("the table's defaults are well-formed");
        parse(self.environment.value(name)).unwrap_or_else(|error| {
            self.problem(name, error);
            fallback()
        })
    }

    fn optional<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let parsed = parse(self.environment.given(name)?);
        parsed.map_err(|error| self.problem(name, error)).ok()
    }

    fn mappings<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<Vec<T>, MappingErrors>,
    ) -> Vec<T> {
        match parse(self.environment.value(name)) {
            Ok(mappings) => mappings,
            Err(errors) => {
                self.problems.extend(errors.iter().map(|error| VariableProblem::new(name, error)));
                Vec::new()
            }
        }
    }

    fn text(&self, name: &str) -> String {
        self.environment.value(name).to_owned()
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.environment.given(name).map(PathBuf::from)
    }

    fn problem(&mut self, variable: &'static str, what: impl Display) {
        self.problems.push(VariableProblem::new(variable, what));
    }
}

/// One file that the agent writes.
#[derive(Clone, Debug)]
pub(crate) struct FileSpec {
    pub(crate) source: Source,
    /// The location.
    pub(crate) file: TargetFile,
    /// Its permission bits.
    pub(crate) mode: FileMode,
    /// Whether it is omitted if its source does not exist.
    pub(crate) optional: bool,
    /// Its format.
    pub(crate) style: Style,
}

/// One field that becomes an environment variable.
#[derive(Clone, Debug)]
pub(crate) struct VariableSpec {
    /// The source, which always has a field.
    pub(crate) secret: SecretRef,
    pub(crate) variable: VariableName,
}

impl VariableSpec {
    pub(crate) fn new(mapping: VariableMapping, values: &PodValues) -> Result<Self, SpecError> {
        let VariableMapping { secret, variable } = mapping;
        Ok(Self { secret: secret.fill(values)?, variable })
    }
}

/// Why a parsed mapping cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SpecError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Path(#[from] FillError<SecretPathError>),
    #[error(transparent)]
    Name(#[from] FillError<NameError>),
}

impl FileSpec {
    pub(crate) fn from_secret(mapping: SecretMapping, values: &PodValues) -> Result<Self, SpecError> {
        let format = mapping.format();
        let source = Source::Secrets(mapping.source.fill(values)?);
        Ok(Self::new(source, mapping.file, mapping.options, format)?)
    }

    pub(crate) fn from_lease(mapping: DynamicMapping, values: &PodValues) -> Result<Self, SpecError> {
        let format = mapping.format();
        let source = Source::Lease(mapping.dynamic.fill(values)?);
        Ok(Self::new(source, mapping.file, mapping.options, format)?)
    }

    fn new(
        source: Source,
        file: TargetFile,
        options: FileOptions,
        format: Option<Format>,
    ) -> Result<Self, TemplateError> {
        let FileOptions { format: _, mode, encoding, optional, template } = options;
        let style = Style::new(&source, template, encoding, format)?;
        Ok(Self { source, file, mode: mode.unwrap_or(FileMode::DEFAULT), optional, style })
    }
}

impl Display for VariableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, variable } = self;
        write!(f, "{secret} -> {variable}")
    }
}

#[cfg(test)]
mod tests;
