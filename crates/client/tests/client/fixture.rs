//! A server with a client.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use scaivault_client::{Address, Client, Login, PlainHttp, Settings, Timeouts, Trust};
use scaivault_contract::SecretPath;
use scaivault_devserver::{DevServer, Handle, Issuer, Seed, Settings as ServerSettings, Tls};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// Only the public CAs.
pub(crate) const PUBLIC: Trust = Trust { file: None, public: true };
/// The timeout of a generation, which is never reached.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) const DATABASE: &str = "environments/production/billing/database";
pub(crate) const STRIPE: &str = "environments/production/billing/stripe";

const SEED: &str = r#"
policies:
  billing: [{path_pattern: "environments/production/billing/**", permissions: [read, list]}]
identities:
  - id: sa:billing-prod
    service_accounts: [billing/web]
    client: {id: app, secret: "s&cr=t %"}
    policies: [billing]
    dynamic: [postgres-prod/readonly]
  - id: sa:other
    service_accounts: [billing/web]
secrets:
  environments/production/billing/database: {data: {username: billing, port: 5432}}
  environments/production/billing/stripe: {data: {secret_key: example}}
  environments/production/other/key: {data: {key: example}}
engines:
  postgres-prod: {roles: {readonly: {default_ttl: 1h, max_ttl: 24h}, admin: {default_ttl: 1h, max_ttl: 1h}}}
"#;

pub(crate) struct Fixture {
    pub(crate) server: DevServer,
    pub(crate) handle: Handle,
    pub(crate) issuer: Arc<Issuer>,
    directory: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_tls(Tls::Off).await
    }

    /// The pod's token is already in its file.
    pub(crate) async fn with_tls(tls: Tls) -> Self {
        let issuer = Arc::new(Issuer::generate().unwrap());
        let settings = ServerSettings { tls, ..ServerSettings::for_tests(Seed::new(SEED).unwrap(), &issuer) };
        let server = DevServer::start(settings).await.unwrap();
        let handle = server.handle();
        let fixture = Self { server, handle, issuer, directory: tempfile::tempdir().unwrap() };
        // Longer than a kubelet's token: it is not replaced when a test advances the server's time.
        fixture.write_token("billing", "web", "scaivault", 7 * 24 * 3600);
        fixture
    }

    pub(crate) fn write_token(&self, namespace: &str, account: &str, audience: &str, seconds: i64) {
        let token = self.issuer.mint(namespace, account, audience, Timestamp::now(), seconds).unwrap();
        fs::write(self.file("token"), token).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings { login: self.exchange(None), ..settings(&self.server.url()) }
    }

    pub(crate) fn exchange(&self, role: Option<&str>) -> Login {
        let role = role.map(ToOwned::to_owned);
        Login::Exchange { token_file: self.file("token"), audience: "scaivault".to_owned(), role }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.settings()).unwrap()
    }
}

/// Settings for a server at `url`, without a token to log in.
pub(crate) fn settings(url: &str) -> Settings {
    let login =
        Login::Exchange { token_file: "/nowhere/token".into(), audience: "scaivault".to_owned(), role: None };
    Settings {
        address: Address::new(url, PlainHttp::LoopbackOnly).unwrap(),
        login,
        trust: PUBLIC,
        proxy: None,
        tenant: None,
        // Long enough for a busy machine, and only reached if a test intends it.
        timeouts: Timeouts {
            connect: Duration::from_secs(30),
            idle: Duration::from_mins(1),
            ..Timeouts::default()
        },
    }
}

pub(crate) fn path(text: &str) -> SecretPath {
    text.parse().unwrap()
}

pub(crate) fn data(json: Value) -> Map<String, Value> {
    serde_json::from_value(json).unwrap()
}
