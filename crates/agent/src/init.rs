//! `init`: fetches once and ends.

use tokio::time::Instant;

use crate::{
    config::Config,
    delivery::{Delivery, STOP_TIMEOUT, Wait},
    ending::{Ending, end_signal},
    first::{Earlier, first},
};

/// Fetches and writes all that is wanted.
pub(crate) async fn run(config: Config) -> Result<(), Ending> {
    let mut end = end_signal()?;
    let mut delivery = Delivery::new(config).await?;
    let fetched = tokio::select! {
        fetched = first(&mut delivery, Earlier::Nothing) => fetched.map(drop),
        _ = end.recv() => {
            delivery.revoke_all(Wait::Until(Instant::now() + STOP_TIMEOUT)).await;
            return Err(Ending::stopped());
        }
    };
    let wait = Wait::UnlessStopped(&mut end);
    match fetched {
        Ok(()) => delivery.revoke_due(wait).await,
        // Nobody uses what a start has that fails, and there may be no next one: a Job's pod has none.
        Err(_) => delivery.revoke_all(wait).await,
    }
    fetched
}
