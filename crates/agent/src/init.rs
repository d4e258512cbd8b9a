//! `init`: fetches once and exits.

use tokio::time::Instant;

use crate::{
    config::Config,
    delivery::{Delivery, Wait},
    exit::{Fatal, sigterm},
    fetch::Fetcher,
    initial_fetch::{StartKind, initial_fetch},
};

/// Fetches all secrets and writes their files.
pub(crate) async fn run(config: Config) -> Result<(), Fatal> {
    let mut end = sigterm()?;
    let mut delivery = Delivery::new(config)?;
    let mut fetcher = Fetcher::new(&delivery, StartKind::Cold, Instant::now());
    initial_fetch(&mut delivery, &mut fetcher, &mut end).await?;
    // The application starts after this container, so it reads these files.
    delivery.set_told();
    delivery.revoke_due(Wait::UnlessStopped(&mut end)).await;
    Ok(())
}
