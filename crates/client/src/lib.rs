//! The part of ScaiVault's HTTP API that pods need: log in, read secrets, generate and renew
//! leases, receive events.
//!
//! A [`Client`] sends each request once, with two exceptions. If the token is rejected, the client
//! logs in again and repeats the request once, unless the call had just logged in. If the server
//! has closed an idle connection, the client opens another one. Whether anything else may be
//! retried is data, [`Error::retry`], and the caller decides; [`Backoff`] computes the pauses.
//!
//! A CA file is reloaded at the next new connection after it changed, and connections live for
//! about ten minutes. All addresses of a host are tried (RFC 8305). The only logged message, about
//! a CA file, goes to `tracing`, because no caller could receive it.
//!
//! Values and tokens are zeroed if the program's allocator zeroes freed memory, as the agent's
//! does; the buffers of the HTTP and TLS layers are freed one second after a connection's last use.
//! No `Debug` implementation shows them.

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
mod id;
mod lease;
mod length;
mod listener;
mod login;
mod proxy;
mod rate_limit;
mod redact;
mod secret;
mod settings;
mod stored;
mod tls;
mod token;
mod transport;

pub use backoff::Backoff;
pub use client::{Client, Connections, SecretVersion, VERSIONS_BATCH, Versions};
pub use code::{Class, ErrorCode};
pub use error::{AnswerFault, Error, ErrorKind, Operation, Refusal, Retry};
pub use events::{Event, EventKind, NewSubscription, POLL_WAIT_LIMIT, Poll};
pub use floor::VersionFloor;
pub use id::{EventId, IdError, LeaseId, SubscriptionId, TenantId};
pub use lease::{HeldLease, Lease, LeaseStep, LeaseTerm};
pub use listener::{AnnouncedChange, Changes, ListenerPaths, ListenerSettings, ListenerUpdate, listen};
pub use login::{CLIENT_ID_FILE, CLIENT_SECRET_FILE, Login, LoginFileError, TOKEN_FILE_LIMIT};
pub use proxy::{Proxy, ProxyError};
pub use redact::redact;
pub use scaivault_contract::{Address, AddressError, PlainHttp};
pub use secret::{
    DATA_DEPTH_LIMIT, DATA_SIZE_LIMIT, DATA_VALUES_LIMIT, DataFault, Fingerprint, Json, JsonValue, Secret,
    SecretData,
};
pub use settings::{Settings, SetupError, Timeouts};
pub use stored::{StoredLease, StoredToken, from_unix_seconds, unix_seconds};
pub use tls::{Trust, TrustError};
pub use token::{TOKEN_LIFETIME_LIMIT, Token};

/// Locks a mutex and ignores poisoning: a panic leaves the data consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
