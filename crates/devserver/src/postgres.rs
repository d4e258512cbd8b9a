//! PostgreSQL servers, in which the users of leases are created, extended and dropped.

use std::{collections::BTreeMap, error::Error, time::Duration};

use scaivault_contract::{EngineName, RoleName};
use thiserror::Error;
use tokio::{sync::Mutex, time::timeout};
use tokio_postgres::{Client, Config, NoTls, error::SqlState};

use crate::seed::{Engine, Placeholders, Role};

mod statements;

/// The timeout for connecting to a server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The timeout of an operation including queued ones before it: a client waits about ten seconds.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The servers of the engines that have one.
#[derive(Default)]
pub(crate) struct Databases(BTreeMap<EngineName, Database>);

impl Databases {
    /// Connects to all servers.
    pub(crate) async fn connect(engines: &BTreeMap<EngineName, Engine>) -> Result<Self, ConnectError> {
        let mut databases = BTreeMap::new();
        for (name, engine) in engines {
            let Some(postgres) = &engine.postgres else { continue };
            let mut config = postgres.connection_url.config().clone();
            config.connect_timeout(CONNECT_TIMEOUT).application_name("scaivault-devserver");
            let database = Database { config, roles: engine.roles.clone(), client: Mutex::new(None) };
            let connected = database.run(async |_| Ok(())).await;
            connected.map_err(|source| ConnectError { engine: name.clone(), source })?;
            databases.insert(name.clone(), database);
        }
        Ok(Self(databases))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `None` for an engine with random credentials.
    pub(crate) fn get(&self, engine: &EngineName) -> Option<&Database> {
        self.0.get(engine)
    }
}

/// A configured server that cannot be used.
#[derive(Debug, Error)]
#[error("the PostgreSQL of the engine {engine} cannot be used: {source}")]
pub struct ConnectError {
    engine: EngineName,
    source: DatabaseError,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The server does not answer, or fails temporarily. Whether the operation was executed is
    /// unknown.
    #[error("{0}")]
    Unavailable(String),
    /// The server rejects the operation, which was not executed.
    #[error("{message} (SQLSTATE {code})")]
    Refused {
        /// The SQLSTATE code.
        code: String,
        /// The server's message.
        message: String,
    },
}

impl DatabaseError {
    /// Whether the user does not exist.
    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == SqlState::UNDEFINED_OBJECT.code())
    }

    /// The same error with a secret removed from its message.
    fn without(self, secret: &str) -> Self {
        match self {
            Self::Refused { code, message } => {
                Self::Refused { code, message: message.replace(secret, "...") }
            }
            Self::Unavailable(_) => self,
        }
    }
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            return Self::Unavailable(format!("{error}{cause}"));
        };
        let (code, message) = (refusal.code().code(), refusal.message());
        // Lack of resources, operator intervention, system errors and conflicts may be temporary.
        if ["40", "53", "55", "57", "58", "XX"].iter().any(|class| code.starts_with(class)) {
            return Self::Unavailable(format!("{message} (SQLSTATE {code})"));
        }
        Self::Refused { code: code.to_owned(), message: message.to_owned() }
    }
}

/// A server. It executes one operation at a time, because concurrent grants on the same object
/// fail.
pub(crate) struct Database {
    config: Config,
    roles: BTreeMap<RoleName, Role>,
    client: Mutex<Option<Client>>,
}

impl Database {
    /// Creates a user; either all statements take effect or none.
    pub(crate) async fn create_user(
        &self,
        role: &RoleName,
        filling: Placeholders<'_>,
    ) -> Result<(), DatabaseError> {
        let batch = statements::creation(self.role(role), filling);
        let created = self.run(async |client| Ok(client.batch_execute(&batch).await?)).await;
        created.map_err(|error| error.without(filling.password))
    }

    /// Extends the validity of a user.
    pub(crate) async fn renew_user(
        &self,
        role: &RoleName,
        name: &str,
        expiration: &str,
    ) -> Result<(), DatabaseError> {
        let batch = statements::renewal(self.role(role), Placeholders { name, password: "", expiration });
        self.run(async |client| Ok(client.batch_execute(&batch).await?)).await
    }

    /// Drops a user; succeeds if it does not exist.
    pub(crate) async fn drop_user(&self, role: &RoleName, name: &str) -> Result<(), DatabaseError> {
        let batches =
            statements::revocation(self.role(role), Placeholders { name, password: "", expiration: "" });
        self.run(async |client| {
            if client.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&name]).await?.is_some() {
                for batch in &batches {
                    client.batch_execute(batch).await?;
                }
            }
            Ok(())
        })
        .await
    }

    fn role(&self, name: &RoleName) -> &Role {
        self.roles.get(name).expect("a lease is one of a role of its engine")
    }

    async fn run(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let run = async {
            let mut kept = self.client.lock().await;
            // Taken out, so that a connection with a cancelled operation is not reused.
            let client = match kept.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => self.connect().await?,
            };
            let done = work(&client).await;
            *kept = Some(client);
            done
        };
        let ran = timeout(TIMEOUT, run).await;
        ran.unwrap_or_else(|_| Err(DatabaseError::Unavailable(format!("no answer within {TIMEOUT:?}"))))
    }

    async fn connect(&self) -> Result<Client, DatabaseError> {
        let (client, connection) = self.config.connect(NoTls).await?;
        // It ends with its client; its errors are those of the request.
        tokio::spawn(connection);
        Ok(client)
    }
}
