//! The connection to the Kubernetes API.

use std::time::Duration;

use kube::{Client, Config};

/// How long a connection may take: an address behind which nothing runs never answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may pause. The API server ends a watch after at most 290 s by itself and sends a bookmark each
/// minute, so a connection that is silent for longer is dead.
const READ_TIMEOUT: Duration = Duration::from_mins(5);

/// A client with the time limits of watches. The API server's audit log shows `user_agent`. Nothing is sent yet. Needs a tokio
/// runtime.
///
/// # Panics
///
/// If `user_agent` has a character that no header takes.
pub fn from_config(mut config: Config, user_agent: &'static str) -> kube::Result<Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // The timeout counts from a request's end, not from when its connection was last used.
    config.reset_reader_on_write = true;
    config.headers.push((
        "user-agent".parse().expect("a header's name in lower case is valid"),
        user_agent.parse().expect("the name of a program and its version are visible characters"),
    ));
    Client::try_from(config)
}

/// The API server's message, without the rest of its status; for other errors every cause.
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
