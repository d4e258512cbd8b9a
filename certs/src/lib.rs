//! Certificates of the webhook: issued on the fly or loaded from files, served through a resolver that can be
//! swapped while connections are open.
//!
//! Time is a parameter everywhere except in the one loop that polls ([`Reloader::run`]). Private keys have no
//! `Debug`.

mod authority;
mod files;
mod reload;
mod resolver;
mod tls;

pub use authority::{Authority, IssueError, Leaf};
pub use files::{CERTIFICATE_FILE, KEY_FILE, LoadError, Loaded, load};
pub use reload::{Checked, DEFAULT_RELOAD_INTERVAL, Reloader};
pub use resolver::CertResolver;
pub use tls::{certified_key, provider, server_config};
