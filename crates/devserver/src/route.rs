//! The routes, as used for counting, rate limits and faults.

use serde::{Deserialize, Serialize};

/// A route of the API. It is documented unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// `GET /v1/health`.
    Health,
    /// `GET /v1/health/ready`.
    Ready,
    /// `GET /v1/version`.
    Version,
    /// `POST /v1/auth/exchange`. The route is documented, its bodies are guessed.
    Exchange,
    /// `POST /oauth/token` on this server, in place of `ScaiKey`'s.
    ClientCredentials,
    /// `GET /v1/auth/whoami`.
    Whoami,
    /// `GET /v1/secrets/{path}`.
    Read,
    /// `PUT /v1/secrets/{path}`. The answer is guessed.
    Write,
    /// `DELETE /v1/secrets/{path}`. Guessed.
    Delete,
    /// `GET /v1/secrets`. The name of the answer's array is guessed.
    List,
    /// `POST /v1/secrets/batch`.
    ReadBatch,
    /// `POST /v1/secrets/batch/metadata`. Its existence is published, its route and bodies are
    /// guessed.
    ReadVersions,
    /// `POST /v1/dynamic/engines/{engine}/creds/{role}`. The route is partly published; its bodies
    /// and the codes for a failing database are guessed.
    Generate,
    /// `POST /v1/dynamic/leases/{id}/renew`. Guessed.
    Renew,
    /// `POST /v1/dynamic/leases/{id}/revoke`. Guessed.
    Revoke,
    /// `POST /v1/subscriptions`.
    Subscribe,
    /// `GET /v1/subscriptions/{id}/poll`.
    Poll,
    /// `POST /v1/subscriptions/{id}/ack`. The answer is guessed.
    Acknowledge,
    /// `PATCH /v1/subscriptions/{id}`. The answer is guessed.
    ChangeSubscription,
    /// `DELETE /v1/subscriptions/{id}`. The status is guessed.
    Unsubscribe,
    /// `GET /v1/subscriptions`. The answer is guessed.
    ListSubscriptions,
}

impl Route {
    /// The scope that a token needs; `None` if any token is sufficient.
    pub(crate) fn scope(self) -> Option<&'static str> {
        match self {
            Self::Read | Self::ReadBatch => Some("secrets:read"),
            Self::Write => Some("secrets:write"),
            Self::Delete => Some("secrets:delete"),
            Self::List | Self::ReadVersions => Some("secrets:list"),
            Self::Generate | Self::Renew | Self::Revoke => Some("dynamic:read"),
            Self::Poll | Self::ListSubscriptions => Some("subscriptions:read"),
            Self::Subscribe | Self::ChangeSubscription | Self::Acknowledge | Self::Unsubscribe => {
                Some("subscriptions:write")
            }
            Self::Health
            | Self::Ready
            | Self::Version
            | Self::Exchange
            | Self::ClientCredentials
            | Self::Whoami => None,
        }
    }

    /// Whether the route needs a token at all.
    pub(crate) fn is_authenticated(self) -> bool {
        !matches!(self, Self::Health | Self::Ready | Self::Version | Self::Exchange | Self::ClientCredentials)
    }

    /// Its rate-limit category.
    pub(crate) fn category(self) -> Option<Category> {
        match self {
            Self::Read => Some(Category::Read),
            Self::Write => Some(Category::Write),
            Self::Delete => Some(Category::Delete),
            Self::List => Some(Category::List),
            Self::ReadBatch => Some(Category::BatchRead),
            Self::ReadVersions => Some(Category::BatchMetadata),
            Self::Generate => Some(Category::Dynamic),
            Self::Renew | Self::Revoke => Some(Category::Lease),
            Self::Subscribe
            | Self::ChangeSubscription
            | Self::Acknowledge
            | Self::Unsubscribe
            | Self::ListSubscriptions => Some(Category::Subscription),
            Self::Poll => Some(Category::Poll),
            Self::Whoami => Some(Category::Auth),
            Self::Health | Self::Ready | Self::Version | Self::Exchange | Self::ClientCredentials => None,
        }
    }
}

/// The rate-limit categories, which apply per identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Reads, including each path of a batch.
    Read,
    /// Writes.
    Write,
    /// Deletions.
    Delete,
    /// Lists.
    List,
    /// Batch reads.
    BatchRead,
    /// Batches of metadata.
    BatchMetadata,
    /// Generation of dynamic credentials.
    Dynamic,
    /// Renewals and revocations.
    Lease,
    /// Subscription operations.
    Subscription,
    /// Polls of subscriptions.
    Poll,
    /// `whoami`.
    Auth,
}

impl Category {
    /// Requests per minute, as published for the managed service.
    pub(crate) fn default_limit(self) -> u32 {
        match self {
            Self::Read => 1000,
            Self::Write
            | Self::Delete
            | Self::List
            | Self::BatchRead
            | Self::BatchMetadata
            | Self::Dynamic
            | Self::Lease => 100,
            Self::Subscription => 20,
            Self::Poll => 240,
            Self::Auth => 300,
        }
    }
}
