//! The flags of `serve`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{bail, ensure};
use clap::{Args, builder::BoolishValueParser};
use scaivault_certs::DEFAULT_RELOAD_INTERVAL;
use scaivault_contract::{Duration, DurationError};
use scaivault_inject::KubeVersion;
use scaivault_webhook::{Limits, Network};

use crate::{args::ConfigArgs, telemetry::ignore_empty_env};

/// Serve admission reviews over HTTPS.
#[derive(Args, Clone, Debug)]
#[command(mut_args(ignore_empty_env))]
pub(crate) struct ServeArgs {
    /// Address of the admission port (HTTPS).
    #[arg(long, env = "SCAIVAULT_INJECTOR_LISTEN", default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    /// Address of the plain port with /livez, /readyz and /metrics.
    #[arg(
        long,
        env = "SCAIVAULT_INJECTOR_OPS_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS"
    )]
    pub(crate) ops_listen: SocketAddr,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    /// Network or address that may connect to the admission port, for example 10.0.0.0/8; may be repeated; default: all.
    #[arg(long, env = "SCAIVAULT_INJECTOR_ALLOW_SOURCE", value_name = "CIDR", value_delimiter = ',')]
    pub(crate) allow_source: Vec<Network>,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// The cluster that is served.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct ClusterArgs {
    /// Follow the cluster that KUBECONFIG names, else the one around this pod: namespaces, service accounts, version, Events.
    #[arg(long, env = "SCAIVAULT_INJECTOR_CLUSTER", value_parser = BoolishValueParser::new())]
    pub(crate) cluster: bool,

    /// The injector's own namespace, whose pods are never injected.
    #[arg(long, env = "SCAIVAULT_INJECTOR_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// The older of the cluster's API server and its oldest kubelet; default: detected with --cluster, else 1.30.
    #[arg(long, env = "SCAIVAULT_INJECTOR_KUBE_VERSION", value_name = "VERSION")]
    pub(crate) kube_version: Option<KubeVersion>,
}

/// Where the certificate comes from.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct TlsArgs {
    /// Directory with tls.crt and tls.key, as a Secret of type kubernetes.io/tls is mounted; followed when renewed.
    #[arg(long, env = "SCAIVAULT_INJECTOR_TLS_DIR", value_name = "DIR")]
    tls_dir: Option<PathBuf>,

    /// How often --tls-dir is looked at.
    #[arg(
        long,
        env = "SCAIVAULT_INJECTOR_TLS_RELOAD_INTERVAL",
        default_value_t = default(DEFAULT_RELOAD_INTERVAL),
        value_parser = positive,
        value_name = "DURATION"
    )]
    tls_reload_interval: Duration,

    /// Make an authority and a certificate in memory, for a laptop.
    #[arg(long, env = "SCAIVAULT_INJECTOR_TLS_SELF_SIGNED", value_parser = BoolishValueParser::new())]
    tls_self_signed: bool,

    /// Name or address in the self-signed certificate besides localhost and the loopback addresses; may be repeated.
    #[arg(long, env = "SCAIVAULT_INJECTOR_TLS_NAMES", value_name = "NAME", value_delimiter = ',')]
    tls_name: Vec<String>,

    /// Write the self-signed authority's certificate (PEM) there.
    #[arg(long, env = "SCAIVAULT_INJECTOR_CA_OUT", value_name = "FILE")]
    ca_out: Option<PathBuf>,
}

/// Which certificate is served.
pub(super) enum Certificate<'a> {
    /// From files, looked at this often.
    Directory { directory: &'a Path, interval: std::time::Duration },
    /// Made for these names besides the loopback ones; the authority is written to a file.
    SelfSigned { names: &'a [String], ca_out: Option<&'a Path> },
}

impl TlsArgs {
    /// The choice. Not left to the parser, to which a flag that the environment sets to false is present.
    pub(super) fn certificate(&self) -> anyhow::Result<Certificate<'_>> {
        let Self { tls_dir, tls_reload_interval, tls_self_signed, tls_name, ca_out } = self;
        match (tls_dir, tls_self_signed) {
            (Some(_), true) => bail!("--tls-dir and --tls-self-signed exclude each other; choose one"),
            (None, false) => bail!("no certificate; choose one with --tls-dir DIR or --tls-self-signed"),
            (Some(_), false) if !tls_name.is_empty() || ca_out.is_some() => {
                bail!("--tls-name and --ca-out go with --tls-self-signed, not with --tls-dir")
            }
            (Some(directory), false) => {
                Ok(Certificate::Directory { directory, interval: tls_reload_interval.to_std() })
            }
            (None, true) => Ok(Certificate::SelfSigned { names: tls_name, ca_out: ca_out.as_deref() }),
        }
    }
}

/// Bounds in size, number and time.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitArgs {
    /// Longest request body, bytes.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_BODY_BYTES", default_value_t = Limits::default().body_bytes, value_parser = at_least_one, value_name = "BYTES")]
    pub(crate) max_body_bytes: usize,

    /// Bytes of all large request bodies at once, a quarter of them for one address; more are answered 503 with Retry-After.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_BUFFERED_BYTES", default_value_t = Limits::default().buffered_bytes, value_parser = at_least_one, value_name = "BYTES")]
    pub(crate) max_buffered_bytes: usize,

    /// Requests decided at once; more are answered 503 with Retry-After.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_REQUESTS", default_value_t = Limits::default().requests, value_parser = at_least_one, value_name = "NUMBER")]
    pub(crate) max_requests: usize,

    /// Connections at once; beyond, an idle one is closed.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_CONNECTIONS", default_value_t = Limits::default().connections, value_parser = at_least_one, value_name = "NUMBER")]
    pub(crate) max_connections: usize,

    /// Connections at once from one address.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_CONNECTIONS_PER_SOURCE", default_value_t = Limits::default().connections_per_source, value_parser = at_least_one, value_name = "NUMBER")]
    pub(crate) max_connections_per_source: usize,

    /// How long a connection may be idle between requests.
    #[arg(long, env = "SCAIVAULT_INJECTOR_KEEP_ALIVE", default_value_t = default(Limits::default().keep_alive), value_parser = positive, value_name = "DURATION")]
    pub(crate) keep_alive: Duration,

    /// How long a TLS handshake, a request's head, its body, and the first request of a connection may each take.
    #[arg(long, env = "SCAIVAULT_INJECTOR_READ_TIMEOUT", default_value_t = default(Limits::default().body_timeout), value_parser = positive, value_name = "DURATION")]
    pub(crate) read_timeout: Duration,

    /// How long requests are still taken after the signal to stop, while the endpoints change.
    #[arg(long, env = "SCAIVAULT_INJECTOR_DRAIN_DELAY", default_value_t = default(Limits::default().drain_delay), value_parser = Duration::parse_allowing_zero, value_name = "DURATION")]
    pub(crate) drain_delay: Duration,

    /// How long requests under way may take after that; with --drain-delay, less than the pod's grace period.
    #[arg(long, env = "SCAIVAULT_INJECTOR_DRAIN_TIMEOUT", default_value_t = default(Limits::default().drain_timeout), value_parser = positive, value_name = "DURATION")]
    pub(crate) drain_timeout: Duration,
}

impl LimitArgs {
    pub(super) fn limits(&self) -> anyhow::Result<Limits> {
        let Self {
            max_body_bytes,
            max_buffered_bytes,
            max_requests,
            max_connections,
            max_connections_per_source,
            keep_alive,
            read_timeout,
            drain_delay,
            drain_timeout,
        } = *self;
        ensure!(
            max_buffered_bytes >= max_body_bytes,
            "--max-buffered-bytes {max_buffered_bytes} is less than one body of --max-body-bytes {max_body_bytes}"
        );
        let read_timeout = read_timeout.to_std();
        Ok(Limits {
            body_bytes: max_body_bytes,
            buffered_bytes: max_buffered_bytes,
            requests: max_requests,
            connections: max_connections,
            connections_per_source: max_connections_per_source,
            keep_alive: keep_alive.to_std(),
            handshake_timeout: read_timeout,
            first_request_timeout: read_timeout,
            header_timeout: read_timeout,
            body_timeout: read_timeout,
            drain_delay: drain_delay.to_std(),
            drain_timeout: drain_timeout.to_std(),
        })
    }
}

/// Durations that a server cannot do without are more than nothing.
fn positive(text: &str) -> Result<Duration, DurationError> {
    text.parse()
}

fn default(duration: std::time::Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// A limit of none would keep everybody out.
fn at_least_one(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|&number| number > 0).ok_or("write a whole number of at least 1")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn parse(args: &[&str]) -> Result<ServeArgs, String> {
        let args = ["serve"].iter().chain(args);
        Program::try_parse_from(args).map(|program| program.serve).map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_defaults_are_the_limits() {
        assert_eq!(parse(&[]).unwrap().limits.limits().unwrap(), Limits::default());
    }

    #[test]
    fn limits_of_nothing_are_refused() {
        for flag in [
            "--max-body-bytes",
            "--max-buffered-bytes",
            "--max-requests",
            "--max-connections",
            "--max-connections-per-source",
        ] {
            let error = parse(&[flag, "0"]).unwrap_err();
            assert!(error.contains(flag) && error.contains("at least 1"), "{error}");
        }
        for flag in ["--read-timeout", "--keep-alive", "--drain-timeout", "--tls-reload-interval"] {
            let error = parse(&[flag, "0s"]).unwrap_err();
            assert!(error.contains(flag) && error.contains("zero"), "{error}");
        }
        assert!(parse(&["--drain-delay", "0s"]).is_ok(), "nobody's endpoints have to change");
    }

    #[test]
    fn one_body_has_to_fit_into_the_memory_for_all() {
        let args = parse(&["--max-body-bytes", "2000", "--max-buffered-bytes", "1999"]).unwrap();
        assert!(args.limits.limits().unwrap_err().to_string().contains("--max-buffered-bytes"));
    }

    #[test]
    fn sources_are_networks() {
        let args = parse(&["--allow-source", "10.0.0.0/8,192.0.2.1", "--allow-source", "fd00::/8"]).unwrap();
        assert_eq!(args.allow_source.len(), 3);
        let error = parse(&["--allow-source", "10.0.0.0/64"]).unwrap_err();
        assert!(error.contains("--allow-source") && error.contains("address/bits"), "{error}");
    }

    #[test]
    fn exactly_one_certificate_is_chosen() {
        let files = parse(&["--tls-dir", "/tls"]).unwrap().tls;
        assert!(matches!(files.certificate().unwrap(), Certificate::Directory { .. }));
        let made = parse(&["--tls-self-signed"]).unwrap().tls;
        assert!(matches!(made.certificate().unwrap(), Certificate::SelfSigned { .. }));
        for refused in [
            &[][..],
            &["--tls-dir", "/tls", "--tls-self-signed"],
            &["--tls-dir", "/tls", "--ca-out", "ca.pem"],
            &["--tls-dir", "/tls", "--tls-name", "injector.example"],
        ] {
            let error = parse(refused).unwrap().tls.certificate().err().unwrap().to_string();
            assert!(error.contains("--tls-dir"), "{error}");
        }
    }
}
