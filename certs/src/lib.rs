//! Certificates of the webhook: issued on the fly or loaded from files, served through a resolver that can be
//! swapped while connections are open.
//!
//! Time is a parameter everywhere. Private keys have no `Debug`.

mod authority;
mod files;
mod reload;
mod resolver;
mod tls;

pub use authority::{Authority, IssueError, Leaf};
pub use files::{CERTIFICATE_FILE, KEY_FILE, LoadError, Loaded, Validity, load};
pub use reload::{Checked, DEFAULT_RELOAD_INTERVAL, Reloader};
pub use resolver::CertResolver;
pub use tls::{certified_key, client_config, provider, server_config};
