//! The flags of `restarter`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueHint};
use scaivault_client::{Client, Login, Settings as ClientSettings, TenantId, Timeouts, Trust};
use scaivault_contract::{Address, Duration, PlainHttp, defaults};
use scaivault_restarter::{Defaults, Mode, Settings, Window};

use crate::{args::ConfigArgs, telemetry::ignore_empty_env};

pub(crate) const HELP: &str = "\
Examples:
  scaivault-injector restarter --url https://scaivault.example \\
      --lease scaivault-restarter --namespace scaivault-system
  scaivault-injector restarter --dry-run      report what would be restarted, write nothing

Restarts Deployments, StatefulSets, DaemonSets and Argo Rollouts whose running pods are older
than the current version of a secret that they read at their start. A workload or secret that
is seen for the first time is only recorded. The state of each workload is in a
RotationRollout: kubectl get rotationrollouts.";

/// `restarter`.
#[derive(Args, Clone, Debug)]
#[command(mut_args(ignore_empty_env))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct RestarterArgs {
    /// Address of the HTTP port of /livez, /readyz and /metrics
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(super) ops_listen: SocketAddr,

    #[command(flatten)]
    pub(super) config: ConfigArgs,

    /// Namespace of --lease
    #[arg(long, value_name = "NAME")]
    pub(super) namespace: Option<String>,

    /// Lease for leader election: only the leader restarts workloads. Without it, run only one replica
    #[arg(long, value_name = "NAME", requires = "namespace")]
    pub(super) lease: Option<String>,

    /// Read the cluster's policies (`InjectionPolicy`): the secrets that they inject, and their `restart`
    #[arg(long)]
    pub(super) policies: bool,

    /// Restart workloads also for native Secrets that annotations select
    ///
    /// Only the metadata of Secrets is requested. However, the required rights, list and watch on Secrets, also allow
    /// reading their values: RBAC cannot limit them to metadata.
    #[arg(long)]
    pub(super) native_secrets: bool,

    /// Use the annotations of Stakater's Reloader on workloads without annotations of this product
    #[arg(long)]
    pub(super) reloader_annotations: bool,

    /// Mode of workloads for which no annotation or policy sets one: auto, manual or off
    #[arg(long, default_value = "auto", value_parser = mode, value_name = "MODE")]
    pub(super) mode: Mode,

    /// Restart nothing and write nothing; the log and the metrics show what would be restarted
    ///
    /// A dry run does not subscribe to events and stores nothing: when the flag is removed, the controller records the
    /// current versions and restarts nothing for earlier changes.
    #[arg(long)]
    pub(super) dry_run: bool,

    #[command(flatten)]
    pub(super) pace: PaceArgs,

    #[command(flatten)]
    pub(super) vault: VaultArgs,
}

/// How fast workloads are restarted.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(super) struct PaceArgs {
    /// How long a version must be unchanged before the first restart for it; at least 2s
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    debounce: Duration,

    /// The longest wait for a secret that keeps changing
    #[arg(long, default_value = "2m", value_name = "DURATION")]
    max_wait: Duration,

    /// Period over which the restarts of one rotation are spread
    #[arg(long, default_value = "30s", value_parser = Duration::parse_allowing_zero, value_name = "DURATION")]
    jitter: Duration,

    /// Minimum time between two restarts of a workload
    #[arg(long, default_value = "5m", value_parser = Duration::parse_allowing_zero, value_name = "DURATION")]
    minimum_interval: Duration,

    /// Number of restarts of a workload within --breaker-period after which further ones wait
    #[arg(long, default_value_t = 5, value_parser = positive, value_name = "NUMBER")]
    breaker_restarts: usize,

    /// Period for --breaker-restarts
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    breaker_period: Duration,

    /// Maximum number of rollouts in progress in the cluster
    #[arg(long, default_value_t = 10, value_parser = positive, value_name = "NUMBER")]
    concurrency: usize,

    /// Maximum number of rollouts in progress in a namespace
    #[arg(long, default_value_t = 5, value_parser = positive, value_name = "NUMBER")]
    namespace_concurrency: usize,

    /// How many workloads of a namespace that share a secret are restarted first, as canaries
    #[arg(long, default_value_t = 1, value_parser = positive, value_name = "NUMBER")]
    canaries: usize,

    /// How many are restarted in each wave after that
    #[arg(long, default_value_t = 10, value_parser = positive, value_name = "NUMBER")]
    wave: usize,

    /// The pause after each wave; after the canaries it is at least --observation
    #[arg(long, default_value = "30s", value_parser = Duration::parse_allowing_zero, value_name = "DURATION")]
    wave_pause: Duration,

    /// How long after a rollout a crash of its pods counts as its failure
    #[arg(long, default_value = "5m", value_parser = Duration::parse_allowing_zero, value_name = "DURATION")]
    observation: Duration,

    /// How long a rollout may make no progress, if the workload has no progressDeadlineSeconds
    #[arg(long, default_value = "15m", value_name = "DURATION")]
    rollout_timeout: Duration,

    /// How much the clocks of ScaiVault and of the API server may differ
    #[arg(long, default_value = "2m", value_parser = Duration::parse_allowing_zero, value_name = "DURATION")]
    clock_skew: Duration,

    /// Maintenance window, such as "0 2 * * 1-5 for 4h in Europe/Amsterdam"; may be repeated; default: always
    #[arg(long = "window", value_name = "WINDOW")]
    windows: Vec<Window>,

    /// How long before the old version stops working restarts begin, even outside of the windows
    #[arg(long, default_value = "1h", value_parser = Duration::parse_allowing_zero, value_name = "DURATION")]
    before_end: Duration,
}

/// Where the versions of ScaiVault's secrets come from.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(super) struct VaultArgs {
    /// Address of ScaiVault; without it, only native Secrets and CSI volumes are followed
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// PEM file with the certificate authorities that are trusted for --url; default: the public ones
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "url")]
    ca_file: Option<PathBuf>,

    /// File with the service account's token for ScaiVault
    #[arg(
        long,
        default_value = "/var/run/secrets/scaivault/token",
        value_name = "FILE",
        value_hint = ValueHint::FilePath
    )]
    token_file: PathBuf,

    /// Audience of that token
    #[arg(long, default_value = defaults::AUDIENCE, value_name = "AUDIENCE")]
    audience: String,

    /// ScaiKey identity to request; it needs the right to list the secrets' metadata, not to read values
    #[arg(long, value_name = "NAME")]
    role: Option<String>,

    /// Tenant of ScaiVault; default: that of the identity
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,

    /// How often the versions of all secrets are polled; events report changes in between
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    poll_interval: Duration,

    /// Do not subscribe to events: changes are only found every --poll-interval
    #[arg(long)]
    no_events: bool,
}

/// The client of ScaiVault, and how often it polls.
pub(super) struct Vault {
    pub(super) client: Arc<Client>,
    pub(super) poll_interval: std::time::Duration,
    pub(super) has_events: bool,
}

impl RestarterArgs {
    pub(super) const fn defaults(&self) -> Defaults {
        Defaults {
            mode: self.mode,
            with_reloader: self.reloader_annotations,
            without_vault: self.vault.url.is_none(),
        }
    }

    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        let seconds = |duration: &Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4);
        let PaceArgs { debounce, max_wait, windows, .. } = &self.pace;
        ensure!(
            debounce.as_secs() >= 2,
            "--debounce {debounce} is too short; set at least 2s, because versions have times in whole seconds"
        );
        ensure!(
            max_wait.as_secs() >= debounce.as_secs(),
            "--max-wait {max_wait} is shorter than --debounce {debounce}; set at least {debounce}"
        );
        let pace = &self.pace;
        Ok(Settings {
            debounce: seconds(debounce),
            max_wait: seconds(max_wait),
            jitter: seconds(&pace.jitter),
            minimum_interval: seconds(&pace.minimum_interval),
            breaker_restarts: pace.breaker_restarts,
            breaker_period: seconds(&pace.breaker_period),
            concurrency: pace.concurrency,
            namespace_concurrency: pace.namespace_concurrency,
            canaries: pace.canaries,
            wave: pace.wave,
            wave_pause: seconds(&pace.wave_pause),
            observation: seconds(&pace.observation),
            rollout_timeout: seconds(&pace.rollout_timeout),
            clock_skew: seconds(&pace.clock_skew),
            windows: windows.clone(),
            before_end: seconds(&pace.before_end),
            is_dry_run: self.dry_run,
        })
    }

    /// The Lease, if there is one.
    pub(super) fn lease(&self) -> Option<(&str, &str)> {
        Some((self.namespace.as_deref()?, self.lease.as_deref()?))
    }
}

impl VaultArgs {
    pub(super) fn vault(&self, is_dry_run: bool) -> anyhow::Result<Option<Vault>> {
        let Some(url) = &self.url else { return Ok(None) };
        let Self { ca_file, token_file, audience, role, tenant, .. } = self;
        let client = Client::new(ClientSettings {
            address: Address::new(url, PlainHttp::LoopbackOnly).with_context(|| format!("--url {url}"))?,
            login: Login::Exchange {
                token_file: token_file.clone(),
                audience: audience.clone(),
                role: role.clone(),
            },
            trust: Trust { public: ca_file.is_none(), file: ca_file.clone() },
            proxy: None,
            tenant: tenant.clone(),
            timeouts: Timeouts::default(),
        })
        .context("the client of ScaiVault cannot be set up")?;
        let client = Arc::new(client);
        let (poll_interval, has_events) = (self.poll_interval.to_std(), !self.no_events && !is_dry_run);
        Ok(Some(Vault { client, poll_interval, has_events }))
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    Mode::from_word(text).ok_or_else(|| format!("allowed: {}", Mode::ALLOWED))
}

fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: RestarterArgs,
    }

    /// A subscription is a write, and without leader election two replicas would take it from each other.
    #[test]
    fn a_dry_run_subscribes_to_nothing() {
        let has_events = |flags: &[&str]| {
            let all = ["restarter", "--url", "https://scaivault.example"].iter().chain(flags);
            let RestarterArgs { vault, dry_run, .. } = Command::parse_from(all).args;
            vault.vault(dry_run).unwrap().unwrap().has_events
        };
        assert!(has_events(&[]));
        assert!(!has_events(&["--no-events"]));
        assert!(!has_events(&["--dry-run"]));
    }
}
