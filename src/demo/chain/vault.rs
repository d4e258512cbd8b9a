//! The demonstration's ScaiVault, and whose tokens it takes.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::Context as _;
use scaivault_contract::SecretPath;
use scaivault_devserver::{DevServer, Handle, Issuer, LeaseState, Seed, Settings, Tls};
use scaivault_inject::InjectorConfig;
use serde_json::{Value, json};

/// What the server knows. None of it is a secret.
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

/// The running server, and the issuer of the cluster that is not there.
pub(super) struct Vault {
    server: DevServer,
    /// Who signs the tokens of service accounts.
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

    /// Where it is.
    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// What its clients have to trust, PEM.
    pub(super) fn ca_pem(&self) -> anyhow::Result<&str> {
        self.server.ca_pem().context("the development server has no certificate")
    }

    /// What a platform team would tell the injector about it.
    pub(super) fn injector_config(&self) -> InjectorConfig {
        let defaults = [("url", self.url()), ("ca-configmap", "scaivault-ca".to_owned())];
        let defaults = defaults.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        InjectorConfig { defaults, ..InjectorConfig::default() }
    }

    /// What can be seen of it from outside the pod.
    pub(super) fn handle(&self) -> Handle {
        self.server.handle()
    }

    /// The leases that have not ended.
    pub(super) fn live_leases(&self) -> Vec<LeaseState> {
        let leases = self.handle().leases().into_iter();
        leases.filter(|lease| !lease.is_revoked && lease.seconds_left > 0).collect()
    }

    /// What the secret holds before and after the rotation.
    pub(super) fn greetings() -> [Value; 2] {
        ["good morning", "good evening"].map(|greeting| json!({ "greeting": greeting }))
    }

    /// Rotates the secret as a rotation policy does; its new version.
    pub(super) fn rotate(&self, data: &Value) -> anyhow::Result<u64> {
        let path: SecretPath = ROTATED.parse()?;
        Ok(self.handle().rotate(&path, data.as_object().cloned().unwrap_or_default()))
    }
}
