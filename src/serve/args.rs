//! The flags of `serve`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use scaivault_inject::KubeVersion;
use scaivault_webhook::Limits;

/// Serve admission reviews over HTTPS.
#[derive(Args, Clone, Debug)]
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

    /// Configuration file (YAML or JSON); without one, the built-in defaults.
    #[arg(long, env = "SCAIVAULT_INJECTOR_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The older of the cluster's API server and its oldest kubelet: what may be injected follows from it.
    #[arg(long, env = "SCAIVAULT_INJECTOR_KUBE_VERSION", default_value_t = KubeVersion::OLDEST, value_name = "VERSION")]
    pub(crate) kube_version: KubeVersion,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// Where the certificate comes from.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct TlsArgs {
    /// Directory with tls.crt and tls.key, as a Secret of type kubernetes.io/tls is mounted; followed when renewed.
    #[arg(
        long,
        env = "SCAIVAULT_INJECTOR_TLS_DIR",
        value_name = "DIR",
        conflicts_with = "tls_self_signed",
        required_unless_present = "tls_self_signed"
    )]
    pub(crate) tls_dir: Option<PathBuf>,

    /// How often --tls-dir is looked at.
    #[arg(
        long,
        env = "SCAIVAULT_INJECTOR_TLS_RELOAD_INTERVAL",
        default_value = "10s",
        value_parser = duration,
        value_name = "DURATION"
    )]
    pub(crate) tls_reload_interval: Duration,

    /// Make an authority and a certificate in memory, for a laptop.
    #[arg(long, env = "SCAIVAULT_INJECTOR_TLS_SELF_SIGNED")]
    pub(crate) tls_self_signed: bool,

    /// Name or address in the self-signed certificate besides localhost and the loopback addresses; may be repeated.
    #[arg(
        long,
        env = "SCAIVAULT_INJECTOR_TLS_NAMES",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "tls_dir"
    )]
    pub(crate) tls_name: Vec<String>,

    /// Write the self-signed authority's certificate (PEM) there.
    #[arg(long, env = "SCAIVAULT_INJECTOR_CA_OUT", value_name = "FILE", conflicts_with = "tls_dir")]
    pub(crate) ca_out: Option<PathBuf>,
}

/// Bounds in size, number and time.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitArgs {
    /// Longest request body, bytes.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_BODY_BYTES", default_value_t = Limits::default().body_bytes, value_name = "BYTES")]
    pub(crate) max_body_bytes: usize,

    /// Bytes of all request bodies at once; more are answered 503 with Retry-After.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_BUFFERED_BYTES", default_value_t = Limits::default().buffered_bytes, value_name = "BYTES")]
    pub(crate) max_buffered_bytes: usize,

    /// Requests at once; more are answered 503 with Retry-After.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_REQUESTS", default_value_t = Limits::default().requests, value_name = "NUMBER")]
    pub(crate) max_requests: usize,

    /// Connections at once; beyond, the one that has been idle longest is closed.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_CONNECTIONS", default_value_t = Limits::default().connections, value_name = "NUMBER")]
    pub(crate) max_connections: usize,

    /// Connections at once from one address.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_CONNECTIONS_PER_SOURCE", default_value_t = Limits::default().connections_per_source, value_name = "NUMBER")]
    pub(crate) max_connections_per_source: usize,

    /// How long a connection may be idle between requests.
    #[arg(long, env = "SCAIVAULT_INJECTOR_KEEP_ALIVE", default_value = "90s", value_parser = duration, value_name = "DURATION")]
    pub(crate) keep_alive: Duration,

    /// How long a TLS handshake, a request's head, its body, and the first request of a connection may each take.
    #[arg(long, env = "SCAIVAULT_INJECTOR_READ_TIMEOUT", default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub(crate) read_timeout: Duration,

    /// How long requests are still taken after the signal to stop, while the endpoints change.
    #[arg(long, env = "SCAIVAULT_INJECTOR_DRAIN_DELAY", default_value = "5s", value_parser = duration, value_name = "DURATION")]
    pub(crate) drain_delay: Duration,

    /// How long requests under way may take after that; with --drain-delay, less than the pod's grace period.
    #[arg(long, env = "SCAIVAULT_INJECTOR_DRAIN_TIMEOUT", default_value = "20s", value_parser = duration, value_name = "DURATION")]
    pub(crate) drain_timeout: Duration,
}

impl LimitArgs {
    pub(super) fn limits(&self) -> Limits {
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
        Limits {
            body_bytes: max_body_bytes,
            buffered_bytes: max_buffered_bytes,
            requests: max_requests,
            connections: max_connections,
            connections_per_source: max_connections_per_source,
            keep_alive,
            handshake_timeout: read_timeout,
            first_request_timeout: read_timeout,
            header_timeout: read_timeout,
            body_timeout: read_timeout,
            drain_delay,
            drain_timeout,
            ..Limits::default()
        }
    }
}

/// A duration on the command line: a number and `ms`, `s` or `m`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| DURATION_HELP.to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs).ok_or_else(|| DURATION_HELP.to_owned()),
        _ => Err(DURATION_HELP.to_owned()),
    }
}

const DURATION_HELP: &str = "write a whole number with a unit: 500ms, 5s or 2m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for text in ["", "5", "s", "-5s", "5h", "1.5s", "99999999999999999999s", "9999999999999999999m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
