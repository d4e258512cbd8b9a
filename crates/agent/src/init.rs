//! `init`: fetches once and ends.

use tokio::time::Instant;

use crate::{
    config::Config,
    delivery::{Delivery, STOP_TIMEOUT, Wait},
    exit::{Ending, end_signal},
    fetch::Fetcher,
    initial_fetch::{StartKind, initial_fetch},
};

/// Fetches and writes all that is wanted.
pub(crate) async fn run(config: Config) -> Result<(), Ending> {
    let mut end = end_signal()?;
    let mut delivery = Delivery::new(config)?;
    let mut fetcher = Fetcher::new(&delivery, StartKind::Cold, Instant::now());
    let done = tokio::select! {
        done = initial_fetch(&mut delivery, &mut fetcher) => done,
        _ = end.recv() => {
            let ending = Ending::Stopped;
            ending.leave();
            delivery.revoke_all(Wait::Until(Instant::now() + STOP_TIMEOUT)).await;
            return Err(ending);
        }
    };
    let wait = Wait::UnlessStopped(&mut end);
    match &done {
        Ok(()) => {
            // The application starts after this container: it knows these files.
            delivery.set_told();
            delivery.revoke_due(wait).await;
        }
        // Nobody uses what a start has that fails, and there may be no next one: a Job's pod has none.
        Err(ending) => {
            ending.leave();
            delivery.revoke_all(wait).await;
        }
    }
    done
}
