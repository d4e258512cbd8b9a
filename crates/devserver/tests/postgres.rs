//! The engine with a real PostgreSQL: users that log in, are extended, and are dropped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

mod support;

use std::{
    fs,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use hyper::Request;
use rustix::process::{Pid, Signal, kill_process};
use scaivault_devserver::{DevServer, Issuer, Seed, Settings};
use scaivault_testkit::{eventually, postgres::Postgres};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Command,
};
use tokio_postgres::{Client, NoTls};

use support::{Answer, send};

/// How long a test waits for an expected event.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The statements of the role in most tests.
const MAY_READ: &str = r#"creation_statements:
          - CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'
          - GRANT SELECT ON bills TO "{{name}}" -- and nothing else"#;

/// One server for all tests that do not stop it.
fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start().unwrap())
}

/// A database with a table, and a ScaiVault that uses it.
struct World {
    postgres: &'static Postgres,
    database: String,
    /// A client for the server's administrator.
    admin: Client,
    vault: DevServer,
    token: String,
}

/// The credentials of a lease.
struct Credentials {
    lease: String,
    name: String,
    password: String,
}

impl World {
    /// ScaiVault's own user is not a superuser: it owns the database and may create roles.
    async fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let postgres = shared();
        let database = format!("app{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let maker = format!("maker-{database}");
        let server = client(&postgres.admin_url("postgres")).await.unwrap();
        let make = format!(r#"CREATE ROLE "{maker}" LOGIN CREATEROLE PASSWORD 'maker'"#);
        server.batch_execute(&make).await.unwrap();
        server.batch_execute(&format!(r#"CREATE DATABASE {database} OWNER "{maker}""#)).await.unwrap();
        let url = postgres.url(&maker, "maker", &database);
        let table = "CREATE TABLE bills (cents int); INSERT INTO bills VALUES (1999)";
        client(&url).await.unwrap().batch_execute(table).await.unwrap();
        let admin = client(&postgres.admin_url(&database)).await.unwrap();
        let (vault, token) = vault(&url, role).await;
        Self { postgres, database, admin, vault, token }
    }

    async fn post(&self, route: &str, body: Value) -> Answer {
        post(self.vault.address(), &self.token, route, body).await
    }

    async fn generate(&self, ttl: &str) -> Credentials {
        let answered = self.post("/v1/dynamic/engines/db/creds/readonly", json!({ "ttl": ttl })).await;
        assert_eq!(answered.status, 201, "{}", answered.body);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (body, data) = (&answered.body, &answered.body["data"]);
        Credentials {
            lease: text(&body["lease_id"]),
            name: text(&data["username"]),
            password: text(&data["password"]),
        }
    }

    async fn log_in(&self, user: &Credentials) -> Result<Client, tokio_postgres::Error> {
        client(&self.postgres.url(&user.name, &user.password, &self.database)).await
    }

    /// Until when the user may log in; `None` if the user does not exist.
    async fn valid_until(&self, user: &Credentials) -> Option<jiff::Timestamp> {
        let asked =
            "SELECT floor(extract(epoch FROM rolvaliduntil))::bigint FROM pg_roles WHERE rolname = $1";
        let row = self.admin.query_opt(asked, &[&user.name]).await.unwrap()?;
        Some(jiff::Timestamp::from_second(row.get(0)).unwrap())
    }

    async fn until_gone(&self, user: &Credentials) {
        eventually(TIMEOUT, "the user's end", async || self.valid_until(user).await.is_none().then_some(()))
            .await;
    }
}

async fn client(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn seed(url: &str, role: &str) -> Seed {
    Seed::new(&seed_text(url, role)).unwrap()
}

fn seed_text(url: &str, role: &str) -> String {
    format!(
        r#"
identities:
  - id: sa:web
    service_accounts: [billing/web]
    dynamic: [db/*]
engines:
  db:
    postgres: {{connection_url: "{url}"}}
    roles:
      readonly:
        default_ttl: 1h
        max_ttl: 24h
        {role}
"#
    )
}

/// A ScaiVault, and a token of the identity.
async fn vault(url: &str, role: &str) -> (DevServer, String) {
    let issuer = Arc::new(Issuer::generate().unwrap());
    let vault = DevServer::start(Settings::for_tests(seed(url, role), &issuer)).await.unwrap();
    let subject = issuer.mint("billing", "web", "scaivault", jiff::Timestamp::now(), 3600).unwrap();
    let answered = post(vault.address(), "", "/v1/auth/exchange", json!({ "subject_token": subject })).await;
    let token = answered.body["access_token"].as_str().unwrap().to_owned();
    (vault, token)
}

async fn post(address: SocketAddr, token: &str, route: &str, body: Value) -> Answer {
    let request = Request::post(route).header("authorization", format!("Bearer {token}"));
    send(address, request, &body.to_string()).await
}

#[tokio::test]
async fn a_user_can_be_renewed_and_is_dropped_with_its_sessions() {
    let world = World::new(MAY_READ).await;
    let user = world.generate("10m").await;
    let session = world.log_in(&user).await.unwrap();
    let cents: i32 = session.query_one("SELECT cents FROM bills", &[]).await.unwrap().get(0);
    assert_eq!(cents, 1999);
    assert!(session.batch_execute("INSERT INTO bills VALUES (1)").await.is_err(), "it may read alone");
    let first = world.valid_until(&user).await.unwrap();
    let seconds = first.as_second() - jiff::Timestamp::now().as_second();
    assert!((300..=600).contains(&seconds), "{seconds}");

    let lease = format!("/v1/dynamic/leases/{}", user.lease);
    let renewed = world.post(&format!("{lease}/renew"), json!({ "increment": "2h" })).await;
    assert_eq!((renewed.status, &renewed.body["ttl_seconds"]), (200, &json!(7200)));
    let seconds = world.valid_until(&user).await.unwrap().as_second() - first.as_second();
    assert!((6500..=7200).contains(&seconds), "{seconds}");
    assert!(world.log_in(&user).await.is_ok());

    assert_eq!(world.post(&format!("{lease}/revoke"), json!({})).await.status, 204);
    assert_eq!(world.valid_until(&user).await, None);
    assert!(world.log_in(&user).await.is_err());
    assert!(session.batch_execute("SELECT 1").await.is_err(), "the session is over, too");
    assert_eq!(world.post(&format!("{lease}/renew"), json!({})).await.status, 404);
}

#[tokio::test]
async fn a_user_is_dropped_when_its_lease_ends() {
    let world = World::new("").await;
    let user = world.generate("8s").await;
    let longer = world.generate("1h").await;
    let session = world.log_in(&user).await.unwrap();
    world.until_gone(&user).await;
    assert!(session.batch_execute("SELECT 1").await.is_err());
    assert!(world.valid_until(&longer).await.is_some());

    world.vault.handle().advance(Duration::from_hours(1));
    world.until_gone(&longer).await;
}

#[tokio::test]
async fn a_user_is_dropped_on_revocation_and_at_the_end() {
    let world = World::new("").await;
    let (one, other) = (world.generate("1h").await, world.generate("1h").await);
    assert!(world.vault.handle().take_lease_away(&one.lease));
    world.until_gone(&one).await;
    assert!(world.valid_until(&other).await.is_some());
    let World { vault, admin, .. } = world;
    vault.stop().await;
    let left = admin.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&other.name]).await.unwrap();
    assert!(left.is_none());
}

#[tokio::test]
async fn objects_of_a_user_are_kept() {
    let may_make = r#"creation_statements:
          - CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}';
            GRANT CREATE ON SCHEMA public TO "{{name}}""#;
    let world = World::new(may_make).await;
    let admin = &world.admin;
    let owner = format!(r#"ALTER SCHEMA public OWNER TO "maker-{}""#, world.database);
    admin.batch_execute(&owner).await.unwrap();
    let user = world.generate("1h").await;
    let session = world.log_in(&user).await.unwrap();
    session.batch_execute("CREATE TABLE notes (text text); INSERT INTO notes VALUES ('mine')").await.unwrap();
    let revoke = format!("/v1/dynamic/leases/{}/revoke", user.lease);
    assert_eq!(world.post(&revoke, json!({})).await.status, 204);
    assert_eq!(world.valid_until(&user).await, None);
    let row = admin.query_one("SELECT tableowner FROM pg_tables WHERE tablename = 'notes'", &[]).await;
    assert_eq!(row.unwrap().get::<_, String>(0), format!("maker-{}", world.database));
}

#[tokio::test]
async fn statements_of_the_role_replace_the_defaults() {
    let statements = r#"creation_statements:
          - CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'
        renew_statements:
          - ALTER ROLE "{{username}}" CONNECTION LIMIT 7; SELECT '{{expiration}}'
        revocation_statements:
          - ALTER ROLE "{{name}}" NOLOGIN"#;
    let world = World::new(statements).await;
    let user = world.generate("1h").await;
    let lease = format!("/v1/dynamic/leases/{}", user.lease);
    assert_eq!(world.post(&format!("{lease}/renew"), json!({})).await.status, 200);
    assert_eq!(world.post(&format!("{lease}/revoke"), json!({})).await.status, 204);
    let asked = "SELECT rolconnlimit, rolcanlogin FROM pg_roles WHERE rolname = $1";
    let row = world.admin.query_one(asked, &[&user.name]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (7, false));
}

#[tokio::test]
async fn refusals_of_the_database_are_configuration_errors() {
    let refused = r#"creation_statements:
          - CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}'
          - GRANT SELECT ON "{{password}}" TO "{{name}}""#;
    let world = World::new(refused).await;
    let answered = world.post("/v1/dynamic/engines/db/creds/readonly", json!({})).await;
    assert_eq!((answered.status, &answered.body["error"]["code"]), (400, &json!("invalid_config")));
    let message = answered.body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(r#"creation statements of db/readonly: relation "..." does not exist"#),
        "{message}"
    );
    assert_eq!(world.vault.handle().leases(), []);
}

#[tokio::test]
async fn a_dropped_user_ends_its_lease() {
    let world = World::new("").await;
    let (one, other) = (world.generate("1h").await, world.generate("1h").await);
    for user in [&one, &other] {
        world.admin.batch_execute(&format!(r#"DROP ROLE "{}""#, user.name)).await.unwrap();
    }
    let renewed = world.post(&format!("/v1/dynamic/leases/{}/renew", one.lease), json!({})).await;
    assert_eq!((renewed.status, &renewed.body["error"]["code"]), (404, &json!("lease_not_found")));
    let revoked = world.post(&format!("/v1/dynamic/leases/{}/revoke", other.lease), json!({})).await;
    assert_eq!(revoked.status, 204);
}

#[tokio::test]
async fn dropping_a_user_is_retried() {
    let world = World::new("").await;
    let user = world.generate("1h").await;
    // Privileges in another database, which the engine does not use.
    let elsewhere = client(&world.postgres.admin_url("postgres")).await.unwrap();
    let table = format!("of_{}", world.database);
    let grant = format!(r#"CREATE TABLE {table} (); GRANT SELECT ON {table} TO "{}""#, user.name);
    elsewhere.batch_execute(&grant).await.unwrap();
    let revoke = format!("/v1/dynamic/leases/{}/revoke", user.lease);
    let refused = world.post(&revoke, json!({})).await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (400, &json!("invalid_config")));
    assert!(world.log_in(&user).await.is_err(), "it cannot log in, at least");
    elsewhere.batch_execute(&format!("DROP TABLE {table}")).await.unwrap();
    world.vault.handle().advance(Duration::from_secs(1));
    world.until_gone(&user).await;
}

#[tokio::test]
async fn a_database_outage_is_retried() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.admin_url("postgres");
    let (vault, token) = vault(&url, "").await;
    let generate =
        async || post(vault.address(), &token, "/v1/dynamic/engines/db/creds/readonly", json!({})).await;
    assert_eq!(generate().await.status, 201);
    drop(postgres);
    for _ in 0..2 {
        let answered = generate().await;
        assert_eq!((answered.status, &answered.body["error"]["code"]), (503, &json!("service_unavailable")));
        assert!(!answered.body.to_string().contains("example"), "{}", answered.body);
    }
    let issuer = Arc::new(Issuer::generate().unwrap());
    let error = DevServer::start(Settings::for_tests(seed(&url, ""), &issuer)).await.err().unwrap();
    assert!(error.to_string().starts_with("the PostgreSQL of the engine db cannot be used"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_of_the_engine_is_seen_at_the_start() {
    let issuer = Arc::new(Issuer::generate().unwrap());
    let start = async |password: &str| {
        let url = shared().url("admin", password, "postgres");
        DevServer::start(Settings::for_tests(seed(&url, ""), &issuer)).await
    };
    let error = start("swordfish").await.err().unwrap().to_string();
    assert!(error.contains("password authentication failed") && !error.contains("swordfish"), "{error}");
    assert!(start("example").await.is_ok());
}

#[tokio::test]
async fn the_program_reads_the_password_and_drops_its_users() {
    let directory = tempfile::tempdir().unwrap();
    let url = shared().url("admin", "example", "postgres");
    let file = directory.path().join("seed.yaml");
    fs::write(&file, seed_text(&url.replace(":example@", "@"), "")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_scaivault-devserver"));
    program.arg("--seed").arg(&file).args(["--listen=127.0.0.1:0", "--admin=127.0.0.1:0"]);
    program.env("PGPASSWORD", "example").stderr(Stdio::piped()).kill_on_drop(true);
    let mut program = program.spawn().unwrap();
    let mut log = BufReader::new(program.stderr.take().unwrap());
    let mut line = String::new();
    tokio::time::timeout(TIMEOUT, log.read_line(&mut line)).await.unwrap().unwrap();
    let address = |name: &str| -> SocketAddr {
        let (_, rest) = line.split_once(&format!("{name}=\"http://")).expect(&line);
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let account = json!({ "namespace": "billing", "service_account": "web" });
    let request = Request::post("/tokens").header("content-type", "application/json");
    let subject = send(address("admin"), request, &account.to_string()).await.body;
    let vault = address(" url");
    let answered = post(vault, "", "/v1/auth/exchange", json!({ "subject_token": subject })).await;
    let token = answered.body["access_token"].as_str().unwrap();
    let made = post(vault, token, "/v1/dynamic/engines/db/creds/readonly", json!({})).await.body;
    let user = made["data"]["username"].as_str().unwrap();
    let session = shared().url(user, made["data"]["password"].as_str().unwrap(), "postgres");
    let session = client(&session).await.unwrap();

    let pid = Pid::from_raw(program.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(tokio::time::timeout(TIMEOUT, program.wait()).await.unwrap().unwrap().success());
    assert!(session.batch_execute("SELECT 1").await.is_err());
    let admin = client(&url).await.unwrap();
    assert!(admin.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&user]).await.unwrap().is_none());
    log.read_to_string(&mut line).await.unwrap();
    assert!(!line.contains("example"), "{line}");
}
