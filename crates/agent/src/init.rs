//! `init`: fetches once and ends.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::Ending,
    config::Config,
    delivery::Delivery,
    exit::Exit,
    first::{Earlier, first},
};

/// Fetches and writes all that is wanted.
pub(crate) async fn run(config: Config) -> Result<(), Ending> {
    let mut end = end_signal()?;
    let mut delivery = Delivery::new(config).await?;
    tokio::select! {
        fetched = first(&mut delivery, Earlier::Nothing) => {
            if fetched.is_err() {
                delivery.abandon().await;
            }
            return fetched.map(drop);
        }
        _ = end.recv() => {}
    }
    // The pod ends: there is no next start that would take up what is kept.
    delivery.revoke_all().await;
    Err(stopped())
}

/// The signal to end. The first process of a container ignores it where it has no handler.
pub(crate) fn end_signal() -> Result<Signal, Ending> {
    signal(SignalKind::terminate())
        .map_err(|error| Ending { exit: Exit::Failed, message: format!("cannot wait for SIGTERM: {error}") })
}

/// How the agent ends that was stopped before its files were there.
pub(crate) fn stopped() -> Ending {
    Ending { exit: Exit::Failed, message: "stopped by SIGTERM before all was fetched".to_owned() }
}
