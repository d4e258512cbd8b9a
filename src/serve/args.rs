//! The flags of `serve`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, builder::BoolishValueParser};
use scaivault_certs::{DEFAULT_RELOAD_INTERVAL, ManagedCertificate, Policy};
use scaivault_contract::{Duration, DurationError};
use scaivault_inject::KubeVersion;
use scaivault_webhook::{Limits, Network};

use crate::{args::ConfigArgs, cluster::Features, telemetry::ignore_empty_env};

/// Serve admission reviews over HTTPS.
#[derive(Args, Clone, Debug)]
#[command(mut_args(ignore_empty_env))]
pub(crate) struct ServeArgs {
    /// Address of the admission port (HTTPS).
    #[arg(long, env = "SCAIVAULT_INJECTOR_LISTEN", default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    /// Address of the HTTP port of /livez, /readyz and /metrics.
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
    /// Use the cluster that KUBECONFIG names, else the one this pod runs in: its namespaces,
    /// service accounts, version and Events.
    #[arg(long, env = "SCAIVAULT_INJECTOR_CLUSTER", value_parser = BoolishValueParser::new())]
    pub(crate) cluster: bool,

    /// The injector's own namespace, whose pods are never injected.
    #[arg(long, env = "SCAIVAULT_INJECTOR_NAMESPACE", value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// The older of the cluster's API server and its oldest kubelet; default: detected with --cluster, else 1.30.
    #[arg(long, env = "SCAIVAULT_INJECTOR_KUBE_VERSION", value_name = "VERSION")]
    pub(crate) kube_version: Option<KubeVersion>,

    /// Enforce the cluster's policies. Until they are read, pods that ask for secrets, and all pods
    /// of namespaces that policies select, are rejected.
    #[arg(long, env = "SCAIVAULT_INJECTOR_POLICIES", value_parser = BoolishValueParser::new())]
    pub(crate) policies: bool,

    /// Label the namespaces that a policy with inject selects (scaivault.scailabs.ai/injection-by-policy: enabled, or audit if
    /// no such policy is enforced), so that their pods are sent to the injector.
    #[arg(long, env = "SCAIVAULT_INJECTOR_LABEL_NAMESPACES", value_parser = BoolishValueParser::new())]
    pub(crate) label_namespaces: bool,
}

impl ClusterArgs {
    /// The enabled features. Checked here and not by clap, which treats a flag set to false by the
    /// environment as present.
    pub(crate) fn features(&self) -> anyhow::Result<Features> {
        let Self { cluster, policies, label_namespaces, .. } = self;
        ensure!(
            *cluster || !policies,
            "--policies requires --cluster, because policies are objects of a cluster; for \
             manifests, use `check --policy`"
        );
        ensure!(*policies || !label_namespaces, "--label-namespaces requires --policies");
        Ok(Features { policies: *policies, label_namespaces: *label_namespaces })
    }
}

/// Where the certificate comes from.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct TlsArgs {
    /// Directory with tls.crt and tls.key (a mounted Secret of type kubernetes.io/tls); changes are reloaded.
    #[arg(long, env = "SCAIVAULT_INJECTOR_TLS_DIR", value_name = "DIR")]
    tls_dir: Option<PathBuf>,

    /// How often --tls-dir or --tls-secret is checked.
    #[arg(
        long,
        env = "SCAIVAULT_INJECTOR_TLS_RELOAD_INTERVAL",
        default_value_t = default(DEFAULT_RELOAD_INTERVAL),
        value_parser = positive,
        value_name = "DURATION"
    )]
    tls_reload_interval: Duration,

    /// Create an authority and a certificate in memory, for a laptop.
    #[arg(long, env = "SCAIVAULT_INJECTOR_TLS_SELF_SIGNED", value_parser = BoolishValueParser::new())]
    tls_self_signed: bool,

    /// Secret of --namespace with an authority that the replicas manage together; each issues its own certificate.
    ///
    /// The injector fills the Secret, publishes the authority in --webhook-configuration before
    /// using it, and renews it. The Secret must exist, initially without data.
    #[arg(long, env = "SCAIVAULT_INJECTOR_TLS_SECRET", value_name = "NAME")]
    tls_secret: Option<String>,

    /// Name of the mutating and of the validating webhook configuration whose caBundle gets the authority of
    /// --tls-secret.
    #[arg(long, env = "SCAIVAULT_INJECTOR_WEBHOOK_CONFIGURATION", value_name = "NAME")]
    webhook_configuration: Option<String>,

    /// How long an authority of --tls-secret is valid; its successor is created when a third of
    /// that is left.
    #[arg(
        long,
        env = "SCAIVAULT_INJECTOR_CA_LIFETIME",
        default_value = "8760h",
        value_parser = positive,
        value_name = "DURATION"
    )]
    ca_lifetime: Duration,

    /// How long a certificate issued by it is valid; it is renewed after about two thirds of that.
    #[arg(
        long,
        env = "SCAIVAULT_INJECTOR_LEAF_LIFETIME",
        default_value = "24h",
        value_parser = positive,
        value_name = "DURATION"
    )]
    leaf_lifetime: Duration,

    /// How long a new authority must be in the webhook configurations before it signs certificates,
    /// so that no API server has an older configuration in its cache.
    #[arg(
        long,
        env = "SCAIVAULT_INJECTOR_TLS_SETTLE_DELAY",
        default_value = "30s",
        value_parser = Duration::parse_allowing_zero,
        value_name = "DURATION"
    )]
    tls_settle_delay: Duration,

    /// Name or address in the certificate; may be repeated. With --tls-secret the name of the Service,
    /// such as scaivault-injector.scaivault-system.svc; with --tls-self-signed in addition to localhost and the loopback addresses.
    #[arg(long, env = "SCAIVAULT_INJECTOR_TLS_NAMES", value_name = "NAME", value_delimiter = ',')]
    tls_name: Vec<String>,

    /// File to which the self-signed authority's certificate (PEM) is written.
    #[arg(long, env = "SCAIVAULT_INJECTOR_CA_OUT", value_name = "FILE")]
    ca_out: Option<PathBuf>,

    /// File with certificate authorities (PEM): only clients with a certificate of one of them may use
    /// the admission port.
    ///
    /// Changes are reloaded every --tls-reload-interval. An API server presents a certificate to webhooks
    /// only if its admission configuration names one.
    #[arg(long, env = "SCAIVAULT_INJECTOR_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
}

/// The source of the served certificate.
pub(super) enum Certificate<'a> {
    /// Needs no cluster.
    Local(LocalCertificate<'a>),
    /// Managed together with the other replicas, with this polling interval.
    Managed { managed: ManagedCertificate, interval: std::time::Duration },
}

/// A certificate for which no Kubernetes API is needed.
pub(super) enum LocalCertificate<'a> {
    /// From files, with this polling interval.
    Directory { directory: &'a Path, interval: std::time::Duration },
    /// Created for these names in addition to the loopback ones; the CA certificate is written to a
    /// file.
    SelfSigned { names: &'a [String], ca_out: Option<&'a Path> },
}

impl TlsArgs {
    /// The selected source. Checked here and not by clap, which treats a flag set to false by the
    /// environment as present.
    pub(super) fn certificate(&self, namespace: Option<&str>) -> anyhow::Result<Certificate<'_>> {
        let interval = self.tls_reload_interval.to_std();
        ensure!(
            self.webhook_configuration.is_none() || self.tls_secret.is_some(),
            "--webhook-configuration requires --tls-secret; otherwise the injector does not \
             manage its caBundle"
        );
        ensure!(
            self.ca_out.is_none() || self.tls_self_signed,
            "--ca-out requires --tls-self-signed and cannot be used with --tls-dir or --tls-secret"
        );
        match (&self.tls_dir, self.tls_self_signed, &self.tls_secret) {
            (None, false, None) => {
                bail!(
                    "no certificate is configured; set --tls-dir DIR, --tls-secret NAME or \
                     --tls-self-signed"
                )
            }
            (Some(directory), false, None) => {
                ensure!(
                    self.tls_name.is_empty(),
                    "--tls-name requires --tls-secret or --tls-self-signed and cannot be used with --tls-dir"
                );
                Ok(Certificate::Local(LocalCertificate::Directory { directory, interval }))
            }
            (None, true, None) => {
                let (names, ca_out) = (&self.tls_name, self.ca_out.as_deref());
                Ok(Certificate::Local(LocalCertificate::SelfSigned { names, ca_out }))
            }
            (None, false, Some(secret)) => {
                Ok(Certificate::Managed { managed: self.managed(secret, namespace)?, interval })
            }
            _ => bail!("--tls-dir, --tls-secret and --tls-self-signed exclude each other; choose one"),
        }
    }

    fn managed(&self, secret: &str, namespace: Option<&str>) -> anyhow::Result<ManagedCertificate> {
        let namespace =
            namespace.context("--tls-secret requires --namespace, the namespace of the Secret")?;
        let webhook_configuration = self
            .webhook_configuration
            .clone()
            .context("--tls-secret requires --webhook-configuration, whose caBundle the injector manages")?;
        ensure!(
            !self.tls_name.is_empty(),
            "--tls-secret requires --tls-name, the name that API servers connect to, such as \
             scaivault-injector.{namespace}.svc"
        );
        let Self { ca_lifetime, leaf_lifetime, tls_settle_delay, .. } = self;
        let policy = Policy::new(ca_lifetime.to_std(), leaf_lifetime.to_std(), tls_settle_delay.to_std())
            .with_context(|| {
                format!(
                    "--ca-lifetime {ca_lifetime} is too short for --leaf-lifetime {leaf_lifetime} \
                     and --tls-settle-delay {tls_settle_delay}"
                )
            })?;
        Ok(ManagedCertificate {
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            webhook_configuration,
            names: self.tls_name.clone(),
            policy,
        })
    }

    /// The file with the authorities of allowed clients, with its polling interval; `None` allows
    /// every client.
    pub(super) fn client_ca(&self) -> Option<(&Path, std::time::Duration)> {
        Some((self.client_ca.as_deref()?, self.tls_reload_interval.to_std()))
    }
}

/// Bounds in size, number and time.
#[derive(Args, Clone, Debug)]
pub(crate) struct LimitArgs {
    /// Maximum size of a request body in bytes.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_BODY_BYTES", default_value_t = Limits::default().body_bytes, value_parser = at_least_one, value_name = "BYTES")]
    pub(crate) max_body_bytes: usize,

    /// Maximum bytes of all large request bodies in memory, and a quarter of it for one address; further requests get 503 with Retry-After.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_BUFFERED_BYTES", default_value_t = Limits::default().buffered_bytes, value_parser = at_least_one, value_name = "BYTES")]
    pub(crate) max_buffered_bytes: usize,

    /// Maximum number of requests in progress; further ones get 503 with Retry-After.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_REQUESTS", default_value_t = Limits::default().requests, value_parser = at_least_one, value_name = "NUMBER")]
    pub(crate) max_requests: usize,

    /// Maximum number of connections; for a further one, an idle connection is closed.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_CONNECTIONS", default_value_t = Limits::default().connections, value_parser = at_least_one, value_name = "NUMBER")]
    pub(crate) max_connections: usize,

    /// Maximum number of connections from one address.
    #[arg(long, env = "SCAIVAULT_INJECTOR_MAX_CONNECTIONS_PER_SOURCE", default_value_t = Limits::default().connections_per_source, value_parser = at_least_one, value_name = "NUMBER")]
    pub(crate) max_connections_per_source: usize,

    /// How long a connection may be idle between requests; set it longer than the 90s after which API servers close it.
    #[arg(long, env = "SCAIVAULT_INJECTOR_KEEP_ALIVE", default_value_t = default(Limits::default().keep_alive), value_parser = positive, value_name = "DURATION")]
    pub(crate) keep_alive: Duration,

    /// How long a TLS handshake, the head of a connection's first request, and each request's body may take.
    #[arg(long, env = "SCAIVAULT_INJECTOR_READ_TIMEOUT", default_value_t = default(Limits::default().body_timeout), value_parser = positive, value_name = "DURATION")]
    pub(crate) read_timeout: Duration,

    /// How long new requests are accepted after SIGTERM, while the endpoints change.
    #[arg(long, env = "SCAIVAULT_INJECTOR_DRAIN_DELAY", default_value_t = default(Limits::default().drain_delay), value_parser = Duration::parse_allowing_zero, value_name = "DURATION")]
    pub(crate) drain_delay: Duration,

    /// How long requests in progress may take after that; the sum with --drain-delay must be less than
    /// the pod's grace period.
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
            "--max-buffered-bytes {max_buffered_bytes} must be at least --max-body-bytes \
             {max_body_bytes}"
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
            body_timeout: read_timeout,
            drain_delay: drain_delay.to_std(),
            drain_timeout: drain_timeout.to_std(),
            write_timeout: Limits::default().write_timeout,
        })
    }
}

/// Parses a duration that must be greater than zero.
fn positive(text: &str) -> Result<Duration, DurationError> {
    text.parse()
}

fn default(duration: std::time::Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// Parses a limit, which must be at least one: zero would reject every client.
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
        assert!(parse(&["--drain-delay", "0s"]).is_ok(), "without endpoints, no delay is needed");
    }

    #[test]
    fn one_body_has_to_fit_into_the_memory_for_all() {
        let args = parse(&["--max-body-bytes", "2000", "--max-buffered-bytes", "1999"]).unwrap();
        assert!(args.limits.limits().unwrap_err().to_string().contains("--max-buffered-bytes"));
    }

    fn refusal(args: &[&str]) -> String {
        let ServeArgs { cluster: ClusterArgs { namespace, .. }, tls, .. } = parse(args).unwrap();
        format!("{:#}", tls.certificate(namespace.as_deref()).err().expect("a refusal"))
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
        assert!(matches!(
            files.certificate(None).unwrap(),
            Certificate::Local(LocalCertificate::Directory { .. })
        ));
        let made = parse(&["--tls-self-signed"]).unwrap().tls;
        assert!(matches!(
            made.certificate(None).unwrap(),
            Certificate::Local(LocalCertificate::SelfSigned { .. })
        ));
        for refused in [
            &[][..],
            &["--tls-dir", "/tls", "--tls-self-signed"],
            &["--tls-dir", "/tls", "--tls-secret", "ca"],
            &["--tls-secret", "ca", "--tls-self-signed"],
            &["--tls-dir", "/tls", "--ca-out", "ca.pem"],
            &["--tls-dir", "/tls", "--tls-name", "injector.example"],
        ] {
            let error = refusal(refused);
            assert!(error.contains("--tls-dir"), "{error}");
        }
    }

    #[test]
    fn policies_need_a_cluster() {
        let features =
            |args: &[&str]| parse(args).unwrap().cluster.features().map_err(|error| error.to_string());
        assert_eq!(features(&["--cluster"]), Ok(Features::default()));
        assert_eq!(
            features(&["--cluster", "--policies", "--label-namespaces"]),
            Ok(Features { policies: true, label_namespaces: true })
        );
        assert!(features(&["--policies"]).unwrap_err().contains("--policies requires --cluster"));
        assert!(features(&["--cluster", "--label-namespaces"]).unwrap_err().contains("--policies"));
    }

    #[test]
    fn a_managed_certificate_needs_its_flags() {
        let whole = [
            "--tls-secret=ca",
            "--namespace=scaivault-system",
            "--webhook-configuration=scaivault-injector",
            "--tls-name=scaivault-injector.scaivault-system.svc",
        ];
        let ServeArgs { cluster: ClusterArgs { namespace, .. }, tls, .. } = parse(&whole).unwrap();
        let Certificate::Managed { managed, interval } = tls.certificate(namespace.as_deref()).unwrap()
        else {
            panic!("the Secret was chosen");
        };
        assert_eq!((managed.namespace.as_str(), managed.secret.as_str()), ("scaivault-system", "ca"));
        assert_eq!(interval, DEFAULT_RELOAD_INTERVAL);
        for missing in 1..whole.len() {
            let mut args = whole.to_vec();
            let flag = args.remove(missing).split('=').next().unwrap();
            let error = refusal(&args);
            assert!(error.contains(flag), "{flag}: {error}");
        }
        let error = refusal(&["--tls-self-signed", "--webhook-configuration", "scaivault-injector"]);
        assert!(error.contains("--webhook-configuration"), "{error}");
        let short = [&whole[..], &["--ca-lifetime=3h", "--leaf-lifetime=1h"]].concat();
        let error = refusal(&short);
        assert!(error.contains("--ca-lifetime 3h") && error.contains("--leaf-lifetime 1h"), "{error}");
    }
}
