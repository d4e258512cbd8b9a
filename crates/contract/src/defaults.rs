//! Defaults that hold on both sides: what the agent takes without a variable is what the injector takes without an
//! annotation. Written as in a variable or an annotation.

/// Address of ScaiVault.
pub const URL: &str = "https://scaivault.scailabs.ai";
/// Audience that ScaiVault expects in a projected token.
pub const AUDIENCE: &str = "scaivault";
/// How often the files are compared with ScaiVault.
pub const REFRESH_INTERVAL: &str = "5m";
/// Whether ScaiVault's events are subscribed to.
pub const REFRESH_ON_EVENT: &str = "false";
/// How long the first fetch may take.
pub const FETCH_TIMEOUT: &str = "60s";
/// Whether the pod may start without its secrets.
pub const FAIL_OPEN: &str = "false";
/// How much is logged.
pub const LOG_LEVEL: &str = "info";
