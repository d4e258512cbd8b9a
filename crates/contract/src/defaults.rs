//! Defaults that the injector and the agent share: the agent uses the same value without a variable
//! as the injector without an annotation. Written as in a variable or an annotation.

/// Address of ScaiVault.
pub const URL: &str = "https://scaivault.scailabs.ai";
/// Audience that ScaiVault requires in a projected token.
pub const AUDIENCE: &str = "scaivault";
/// Interval at which the files are compared with ScaiVault.
pub const REFRESH_INTERVAL: &str = "5m";
/// Whether the agent subscribes to ScaiVault's events.
pub const REFRESH_ON_EVENT: &str = "false";
/// Timeout of the initial fetch.
pub const FETCH_TIMEOUT: &str = "60s";
/// Whether the pod may start without its secrets.
pub const FAIL_OPEN: &str = "false";
/// The log level.
pub const LOG_LEVEL: &str = "info";
