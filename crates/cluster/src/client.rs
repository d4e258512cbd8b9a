//! The connection to the Kubernetes API.

use std::time::Duration;

use kube::{Client, Config};

/// How long connecting may take. Without it, an address that drops packets would block forever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a response may pause. The API server ends a watch after at most 290 s and sends a
/// bookmark every minute, so a connection that is silent for longer is dead.
const READ_TIMEOUT: Duration = Duration::from_mins(5);

/// A client with timeouts suitable for watches. The API server's audit log shows `user_agent`. No
/// request is sent yet. Must be called in a tokio runtime.
///
/// # Panics
///
/// If `user_agent` has a character that is not valid in a header.
pub fn from_config(mut config: Config, user_agent: &'static str) -> kube::Result<Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // Otherwise the timeout would count from when the connection was last used, not from the end of
    // the request.
    config.reset_reader_on_write = true;
    config.headers.push((
        "user-agent".parse().expect("a header's name in lower case is valid"),
        user_agent.parse().expect("the name of a program and its version are visible characters"),
    ));
    Client::try_from(config)
}

/// The API server's message without the other fields of its status; for other errors, the chain of
/// causes.
pub fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => {
            let mut causes: Vec<String> = Vec::new();
            let mut cause: Option<&dyn std::error::Error> = Some(other);
            while let Some(error) = cause {
                let text = error.to_string();
                // Most errors repeat the text of their cause.
                if !causes.iter().any(|above| above.contains(&text)) {
                    causes.push(text);
                }
                cause = error.source();
            }
            causes.join(": ")
        }
    }
}

/// Whether RBAC forbids it.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

/// The fix to log for a failure that ends by itself.
pub const RETRIED: &str = "none if the API server becomes available again: retried automatically";
