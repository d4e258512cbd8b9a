//! Dynamic engines of the seed.

use std::{collections::BTreeMap, fmt, str::FromStr};

use scaivault_contract::{Duration as Ttl, RoleName};
use serde::Deserialize;
use thiserror::Error;
use tokio_postgres::config::SslMode;

/// A dynamic engine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// The server whose users are the credentials; `None` for random credentials.
    #[serde(default)]
    pub postgres: Option<Postgres>,
    /// Its roles.
    pub roles: BTreeMap<RoleName, Role>,
}

/// A PostgreSQL server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Its address, and the user that creates and drops other users.
    pub connection_url: ConnectionUrl,
}

/// A role of a dynamic engine. The statements are for a database, and each list has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// The lifetime of a lease if the request contains none.
    pub default_ttl: Ttl,
    /// The maximum lifetime of a lease with its renewals.
    pub max_ttl: Ttl,
    /// Statements that create a user. Default: a user that may log in, without further privileges.
    #[serde(default)]
    pub creation_statements: Vec<Statement>,
    /// Statements that extend a user's validity.
    #[serde(default)]
    pub renew_statements: Vec<Statement>,
    /// Statements that remove a user. Default: end its sessions, reassign its objects to the
    /// server's own user, and drop it.
    #[serde(default)]
    pub revocation_statements: Vec<Statement>,
}

impl Engine {
    /// The first role that contradicts itself or its engine, with the problem.
    pub(super) fn check(&self) -> Result<(), (RoleName, String)> {
        let check = |role: &Role| role.check(self.postgres.is_some());
        self.roles.iter().try_for_each(|(name, role)| check(role).map_err(|what| (name.clone(), what)))
    }
}

impl Role {
    fn check(&self, has_database: bool) -> Result<(), String> {
        let Self { default_ttl, max_ttl, creation_statements, renew_statements, revocation_statements } =
            self;
        if default_ttl > max_ttl {
            return Err(format!("default_ttl {default_ttl} is longer than max_ttl {max_ttl}"));
        }
        for (key, statements, needed) in [
            ("creation_statements", creation_statements, &[NAMES, &["password"]][..]),
            ("renew_statements", renew_statements, &[NAMES, &["expiration"]]),
            ("revocation_statements", revocation_statements, &[NAMES]),
        ] {
            if statements.is_empty() {
                continue;
            }
            if !has_database {
                return Err(format!("{key} are for an engine with `postgres`, which this one has not"));
            }
            let has = |names: &&[&str]| names.iter().any(|name| statements.iter().any(|s| s.names(name)));
            if let Some([missing, ..]) = needed.iter().find(|names| !has(names)) {
                return Err(format!("{key} do not contain {{{{{missing}}}}}"));
            }
        }
        Ok(())
    }
}

/// The placeholders for the user's name in a statement.
const NAMES: &[&str] = &["name", "username"];

/// All valid placeholders.
const PLACEHOLDERS: [&str; 4] = ["name", "username", "password", "expiration"];

/// SQL with placeholders: `{{name}}` (or `{{username}}`), `{{password}}`, `{{expiration}}`. The
/// values contain neither quotes nor backslashes, so they can be used in any quotes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Statement(String);

/// The values of the placeholders.
#[derive(Clone, Copy)]
pub(crate) struct Placeholders<'a> {
    /// Letters, digits, `-` and `_`: a role's name and random digits.
    pub(crate) name: &'a str,
    /// Letters and digits.
    pub(crate) password: &'a str,
    /// RFC 3339.
    pub(crate) expiration: &'a str,
}

impl Statement {
    pub(crate) fn fill(&self, filling: Placeholders<'_>) -> String {
        let Placeholders { name, password, expiration } = filling;
        let mut text = self.0.clone();
        for placeholder in PLACEHOLDERS {
            let value = match placeholder {
                "password" => password,
                "expiration" => expiration,
                _ => name,
            };
            text = text.replace(&format!("{{{{{placeholder}}}}}"), value);
        }
        text
    }

    fn names(&self, placeholder: &str) -> bool {
        self.0.contains(&format!("{{{{{placeholder}}}}}"))
    }
}

impl FromStr for Statement {
    type Err = StatementError;

    fn from_str(text: &str) -> Result<Self, StatementError> {
        for part in text.split("{{").skip(1) {
            let name = part.split_once("}}").map(|(name, _)| name);
            if !name.is_some_and(|name| PLACEHOLDERS.contains(&name)) {
                return Err(StatementError(name.unwrap_or(part).to_owned()));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Statement {
    type Error = StatementError;

    fn try_from(text: String) -> Result<Self, StatementError> {
        text.parse()
    }
}

/// An unknown placeholder.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "a statement has the placeholder {{{{{0}}}}}; allowed: {{{{name}}}}, {{{{password}}}} and {{{{expiration}}}}"
)]
pub struct StatementError(String);

/// A PostgreSQL server, its database and the user that creates other users:
/// `postgres://user:password@host:port/database`. Its password is never shown.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct ConnectionUrl(tokio_postgres::Config);

impl ConnectionUrl {
    pub(crate) fn config(&self) -> &tokio_postgres::Config {
        &self.0
    }

    /// Used if the URL has none.
    pub(super) fn set_password(&mut self, password: &str) {
        if self.0.get_password().is_none() {
            self.0.password(password);
        }
    }
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ConnectionUrl(..)")
    }
}

impl TryFrom<String> for ConnectionUrl {
    type Error = ConnectionUrlError;

    fn try_from(text: String) -> Result<Self, ConnectionUrlError> {
        if text.contains("{{") {
            return Err(ConnectionUrlError(
                "has a placeholder; write the user there, and the password there or in PGPASSWORD",
            ));
        }
        let config: tokio_postgres::Config = text.parse().map_err(|_| {
            ConnectionUrlError("is not of the form postgres://user:password@host:port/database")
        })?;
        if config.get_user().is_none() || config.get_hosts().is_empty() {
            return Err(ConnectionUrlError(
                "names no user or no host: postgres://user:password@host:port/database",
            ));
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(ConnectionUrlError(
                "asks for TLS, which this server does not speak to a database; leave sslmode out",
            ));
        }
        Ok(Self(config))
    }
}

/// An invalid URL of a database. It is not quoted, because it may contain a password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("connection_url {0}")]
pub struct ConnectionUrlError(&'static str);

#[cfg(test)]
mod tests;
