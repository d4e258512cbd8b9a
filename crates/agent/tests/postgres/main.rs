//! The built agent, a ScaiVault in this process and a real PostgreSQL: the credentials in the file
//! are users that can log in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

#[path = "../support/mod.rs"]
mod support;

use scaivault_devserver::Route;
use scaivault_testkit::{eventually, postgres::Postgres};
use serde_json::Value;
use tokio::process::Command;
use tokio_postgres::{Client, NoTls};

use support::{Pod, TIMEOUT, start, terminate, until, within};

/// A pod with a database.
struct World {
    postgres: Postgres,
    admin: Client,
    pod: Pod,
}

/// The content of the file.
#[derive(Debug, PartialEq, Eq)]
struct Credentials {
    username: String,
    password: String,
}

impl World {
    async fn new() -> Self {
        let postgres = Postgres::start().unwrap();
        let url = postgres.admin_url("postgres");
        let pod = Pod::with(&seed(&url)).await;
        Self { admin: client(&url).await.unwrap(), postgres, pod }
    }

    /// A sidecar with a lease of this TTL, unless it is renewed. It reads a secret each second,
    /// which shows that it is running.
    fn sidecar(&self, ttl: &str) -> Command {
        let dynamic = self.pod.mapping(&[(&format!("engine=db role=readonly ttl={ttl}"), "db.json")]);
        let watch = self.pod.mapping(&[("app/stripe", "stripe.json")]);
        let state = self.pod.path("state");
        let variables = [
            ("DYNAMIC", dynamic.as_str()),
            ("WATCH_PATHS", &watch),
            ("REFRESH_INTERVAL", "1s"),
            ("SCAIVAULT_STATE_DIR", state.to_str().unwrap()),
        ];
        self.pod.agent("sidecar", &variables)
    }

    async fn credentials(&self) -> Credentials {
        until(|| self.pod.secret("db.json").is_some()).await;
        let value: Value = serde_json::from_str(&self.pod.secret("db.json").unwrap()).unwrap();
        let text = |field: &str| value[field].as_str().unwrap().to_owned();
        Credentials { username: text("username"), password: text("password") }
    }

    async fn log_in(&self, credentials: &Credentials) -> Result<Client, tokio_postgres::Error> {
        let Credentials { username, password } = credentials;
        client(&self.postgres.url(username, password, "postgres")).await
    }

    /// The created users that exist, with the time until which each may log in, in seconds since
    /// 1970.
    async fn users(&self) -> Vec<(String, i64)> {
        let asked = "SELECT rolname::text, extract(epoch FROM rolvaliduntil)::bigint FROM pg_roles \
                     WHERE rolname LIKE 'v\\_readonly\\_%'";
        let rows = self.admin.query(asked, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

fn seed(url: &str) -> String {
    format!(
        r#"
policies:
  billing: [{{path_pattern: "app/**", permissions: [read]}}]
identities:
  - id: sa:billing
    service_accounts: [billing/web]
    policies: [billing]
    dynamic: [db/readonly]
secrets:
  app/stripe: {{data: {{key: "sk-swordfish"}}}}
engines:
  db:
    postgres: {{connection_url: "{url}"}}
    roles: {{readonly: {{default_ttl: 1h, max_ttl: 24h}}}}
"#
    )
}

async fn client(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn credentials_work_and_are_revoked_after_sigterm() {
    let world = World::new().await;
    let sidecar = start(&mut world.sidecar("9s"));
    let credentials = world.credentials().await;
    let session = world.log_in(&credentials).await.unwrap();
    let row = session.query_one("SELECT current_user::text", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), credentials.username);
    let first = world.users().await;
    assert_eq!(first.len(), 1);

    // After two renewals, it is older than its first term.
    world.pod.requested(Route::Renew, 2).await;
    eventually(TIMEOUT, "two renewals", async || (world.users().await[0].1 >= first[0].1 + 9).then_some(()))
        .await;
    assert_eq!(world.credentials().await, credentials);
    assert!(world.log_in(&credentials).await.is_ok());
    session.batch_execute("SELECT 1").await.unwrap();

    terminate(sidecar).await.check(0, &["lease renewed", "lease revoked"]);
    assert_eq!(world.users().await, []);
    assert!(world.log_in(&credentials).await.is_err());
    assert!(session.batch_execute("SELECT 1").await.is_err(), "the session is over, too");
    assert_eq!(world.pod.vault.requests(Route::Generate), 1);
}

#[tokio::test]
async fn a_killed_sidecar_restarts_with_the_same_user() {
    let world = World::new().await;
    let mut sidecar = start(&mut world.sidecar("1h"));
    let credentials = world.credentials().await;
    within(sidecar.kill()).await.unwrap();
    assert!(world.log_in(&credentials).await.is_ok(), "a killed sidecar revokes nothing");

    let reads = world.pod.vault.requests(Route::Read);
    let sidecar = start(&mut world.sidecar("1h"));
    world.pod.requested(Route::Read, reads + 2).await;
    assert_eq!(world.credentials().await, credentials);
    assert!(world.log_in(&credentials).await.is_ok());
    terminate(sidecar).await.check(0, &["lease revoked"]);
    assert_eq!(world.pod.vault.requests(Route::Generate), 1);
    assert_eq!(world.users().await, []);
}
