//! `init`: fetches once and ends.

use crate::{
    config::Config,
    delivery::Delivery,
    exit::{Ending, end_signal},
    first::{Earlier, first},
};

/// Fetches and writes all that is wanted.
pub(crate) async fn run(config: Config) -> Result<(), Ending> {
    let mut end = end_signal()?;
    let mut delivery = Delivery::new(config).await?;
    let fetched = tokio::select! {
        fetched = first(&mut delivery, Earlier::Nothing) => fetched.map(drop),
        _ = end.recv() => Err(Ending::stopped()),
    };
    match &fetched {
        Ok(()) => delivery.revoke_late().await,
        // Nobody uses what a start has that fails, and there may be no next one: a Job's pod has none.
        Err(ending) => {
            ending.leave();
            delivery.revoke_all().await;
        }
    }
    fetched
}
