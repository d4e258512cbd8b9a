//! Subscriptions and the events they deliver.

use std::time::Duration;

use scaivault_contract::SecretPath;
use serde::{Deserialize, Serialize};

use crate::EventId;

/// The longest that the server waits for an event in one call, as published.
pub const POLL_WAIT_LIMIT: Duration = Duration::from_mins(1);

/// A subscription to be made. Its owner is the identity that makes it, and only that one may poll it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubscription {
    /// Says to people whose it is, such as `scaivault-sidecar/billing/web-0`.
    pub name: String,
    /// The secrets.
    pub paths: Vec<SecretPath>,
    /// Which events of them.
    pub events: Vec<EventKind>,
    /// The most events that the server keeps for the owner; its default is 1000.
    pub buffer_size: u32,
}

/// One wait for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// How long the server waits for the first event: whole seconds, at most [`POLL_WAIT_LIMIT`].
    pub wait: Duration,
    /// Deliver only what came after this one.
    pub since: Option<EventId>,
    /// The most events of one answer; the server's default is 100.
    pub max_events: u32,
}

impl Default for Poll {
    /// The server's own defaults.
    fn default() -> Self {
        Self { wait: Duration::from_secs(30), since: None, max_events: 100 }
    }
}

/// Something that happened in `ScaiVault`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Names it; equal for an event that comes again.
    pub id: EventId,
    /// What happened; none for an event that this client does not know.
    pub kind: Option<EventKind>,
    /// The secret that it happened to; none for what has no path.
    pub path: Option<SecretPath>,
    /// The version that is current since then, where the event says it.
    pub new_version: Option<u64>,
}

/// What happens to a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// `secret.created`.
    #[serde(rename = "secret.created")]
    Created,
    /// `secret.updated`: somebody wrote a version.
    #[serde(rename = "secret.updated")]
    Updated,
    /// `secret.rotated`: a rotation policy made a version.
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
