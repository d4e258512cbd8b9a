//! The demo's ScaiVault, and the issuer of the tokens that it accepts.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::Context as _;
use scaivault_contract::SecretPath;
use scaivault_devserver::{DevServer, Handle, Issuer, LeaseState, Seed, Settings, Tls};
use scaivault_inject::InjectorConfig;
use serde_json::{Value, json};

/// The server's configuration. It contains no secrets.
const SEED: &str = r#"
policies:
  shop: [{path_pattern: "environments/demo/shop/**", permissions: [read]}]
identities:
  - {id: "sa:demo-shop", service_accounts: [demo/shop], policies: [shop], dynamic: [postgres-demo/readonly]}
secrets:
  environments/demo/shop/greeting: {data: {greeting: good morning}}
engines:
  postgres-demo: {roles: {readonly: {default_ttl: 1h, max_ttl: 24h}}}
"#;

/// The secret that is rotated.
const ROTATED: &str = "environments/demo/shop/greeting";

/// The running server, and the token issuer of the simulated cluster.
pub(super) struct Vault {
    server: DevServer,
    /// Signs the tokens of service accounts.
    pub(super) issuer: Arc<Issuer>,
}

impl Vault {
    /// Starts it on a free port of the loopback address.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let issuer = Arc::new(Issuer::generate()?);
        let settings = Settings {
            tls: Tls::Generated(vec![Ipv4Addr::LOCALHOST.to_string()]),
            ..Settings::for_tests(Seed::new(SEED)?, &issuer)
        };
        Ok(Self { server: DevServer::start(settings).await?, issuer })
    }

    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// The CA certificate for its clients, PEM.
    pub(super) fn ca_pem(&self) -> anyhow::Result<&str> {
        self.server.ca_pem().context("the development server has no certificate")
    }

    /// The injector configuration that a platform team would write for it.
    pub(super) fn injector_config(&self) -> InjectorConfig {
        let defaults = [("url", self.url()), ("ca-configmap", "scaivault-ca".to_owned())];
        let defaults = defaults.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        InjectorConfig { defaults, ..InjectorConfig::default() }
    }

    /// A handle to inspect the server's state.
    pub(super) fn handle(&self) -> Handle {
        self.server.handle()
    }

    /// The active leases.
    pub(super) fn live_leases(&self) -> Vec<LeaseState> {
        let leases = self.handle().leases().into_iter();
        leases.filter(|lease| !lease.is_revoked && lease.seconds_left > 0).collect()
    }

    /// The secret's data before and after the rotation.
    pub(super) fn greetings() -> [Value; 2] {
        ["good morning", "good evening"].map(|greeting| json!({ "greeting": greeting }))
    }

    /// Rotates the secret as a rotation policy does; returns its new version.
    pub(super) fn rotate(&self, data: &Value) -> anyhow::Result<u64> {
        let path: SecretPath = ROTATED.parse()?;
        Ok(self.handle().rotate(&path, data.as_object().cloned().unwrap_or_default()))
    }
}
