//! ScaiVault's HTTP API, as far as pods need it: log in, read secrets, hold leases, listen to events.
//!
//! A [`Client`] sends each request once, with two exceptions. If the token is refused, the client logs in again and repeats
//! the request, once, unless the call had logged in itself. If the server has closed a kept connection, the client opens another one. Whether
//! anything else is worth another attempt is data, [`Error::retry`], and the caller's decision; [`Backoff`] computes the
//! pauses.
//!
//! A file of certificate authorities is read again when it changed, at the next new connection, and connections live for about
//! ten minutes. Of a host with several addresses all are tried (RFC 8305). The one message that has no caller, about such a file, goes to
//! `tracing`.
//!
//! Values and tokens are wiped by a program whose allocator wipes what is freed, as the agent's does; what the HTTP and TLS
//! layers buffer is freed a second after a connection's last use. None of them has a `Debug` that shows it.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod backoff;
mod certificate;
mod client;
mod code;
mod connect;
mod documented;
mod envelope;
mod error;
mod events;
mod floor;
mod guessed;
mod held_lease;
mod id;
mod kept;
mod lease;
mod length;
mod listener;
mod login;
mod proxy;
mod rate_limit;
mod redact;
mod secret;
mod settings;
mod tls;
mod token;
mod transport;

pub use backoff::Backoff;
pub use client::{Client, Connections};
pub use code::{Class, ErrorCode};
pub use error::{AnswerFault, Error, ErrorKind, Operation, Refusal, Retry};
pub use events::{Event, EventKind, NewSubscription, POLL_WAIT_LIMIT, Poll};
pub use floor::VersionFloor;
pub use held_lease::{HeldLease, LeaseStep};
pub use id::{EventId, IdError, LeaseId, SubscriptionId, TenantId};
pub use kept::{KeptLease, KeptToken, from_unix_seconds, unix_seconds};
pub use lease::{Lease, LeaseTerm};
pub use listener::{Announced, Changes, ListenerPaths, ListenerSettings, ListenerUpdate, listen};
pub use login::{CLIENT_ID_FILE, CLIENT_SECRET_FILE, Login, LoginFileError, TOKEN_FILE_LIMIT};
pub use proxy::{Proxy, ProxyError};
pub use redact::redact;
pub use scaivault_contract::{Address, AddressError, PlainHttp};
pub use secret::{
    DATA_DEPTH_LIMIT, DATA_SIZE_LIMIT, DATA_VALUES_LIMIT, DataFault, Fingerprint, Json, JsonValue, Secret,
    SecretData,
};
pub use settings::{Settings, SetupError, Timeouts};
pub use tls::{Trust, TrustError};
pub use token::{TOKEN_LIFETIME_LIMIT, Token};

/// Locks what a panic elsewhere has left whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
