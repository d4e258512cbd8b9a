//! Subscriptions and the events they deliver.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use scaivault_contract::SecretPath;
use serde::{Deserialize, Serialize};

use crate::EventId;

/// The maximum wait of the server for an event in one request, as published.
pub const POLL_WAIT_LIMIT: Duration = Duration::from_mins(1);

/// A subscription to be created. Only the identity that creates it may poll it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubscription {
    /// A name that shows the owner, such as `scaivault-sidecar/billing/web-0`.
    pub name: String,
    /// The secrets.
    pub paths: Arc<BTreeSet<SecretPath>>,
    /// The kinds of their events.
    pub events: Vec<EventKind>,
    /// The maximum number of events that the server buffers; its default is 1000.
    pub buffer_size: u32,
}

/// The parameters of one poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// How long the server waits for the first event: whole seconds, at most [`POLL_WAIT_LIMIT`].
    pub wait: Duration,
    /// Only deliver events after this one.
    pub since: Option<EventId>,
    /// The maximum number of events in one answer; the server's default is 100.
    pub max_events: u32,
}

impl Default for Poll {
    /// The server's defaults.
    fn default() -> Self {
        Self { wait: Duration::from_secs(30), since: None, max_events: 100 }
    }
}

/// An event of `ScaiVault`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its identifier, which is the same if the event is delivered again.
    pub id: EventId,
    /// The kind; `None` for an unknown one.
    pub kind: Option<EventKind>,
    /// The secret; `None` for an event without a path.
    pub path: Option<SecretPath>,
    /// The new current version, if the event contains it.
    pub new_version: Option<u64>,
}

/// The kind of an event about a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// `secret.created`.
    #[serde(rename = "secret.created")]
    Created,
    /// `secret.updated`: a client wrote a version.
    #[serde(rename = "secret.updated")]
    Updated,
    /// `secret.rotated`: a rotation policy created a version.
    #[serde(rename = "secret.rotated")]
    Rotated,
    /// `secret.deleted`.
    #[serde(rename = "secret.deleted")]
    Deleted,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Created, Self::Updated, Self::Rotated, Self::Deleted];
}
