//! Reads the secrets and composes the values.

use std::collections::{BTreeMap, BTreeSet};

use scaivault_client::{Backoff, Client, Secret};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::plan::{CONTENT_MAX_BYTES, Content};
use crate::{
    compose::{Composed, Composer},
    config::Outputs,
    exit::Exit,
    failure::{Cause, Failure, Failures},
    fetch::Key,
    initial_fetch::log_in,
    retry::PAUSES,
};

/// All values, or all failures. Temporary failures are retried until the deadline.
pub(super) async fn fetch(
    client: &Client,
    wanted: &'static Outputs,
    deadline: Instant,
) -> Result<Content, Failures> {
    log_in(client, deadline).await.map_err(|failure| Failures(vec![failure]))?;
    let mut values = Values::new(wanted);
    let mut due: BTreeMap<_, _> = values.composer.keys().into_iter().map(|key| (key, first())).collect();
    while let Some(at) = due.values().filter_map(Backoff::due).min() {
        sleep_until(at).await;
        // One after the other, because each may hold a complete secret in memory.
        for (key, mut backoff) in std::mem::take(&mut due) {
            if backoff.is_waiting(Instant::now()) {
                due.insert(key, backoff);
                continue;
            }
            let answer = read(client, &key, deadline).await;
            if let Err(failure) = &answer
                && let Some(at) = backoff.failed(Instant::now(), failure.retry).filter(|at| *at < deadline)
            {
                let pause = at.saturating_duration_since(Instant::now());
                tracing::warn!(%failure, pause_seconds = pause.as_secs_f64(), "trying again");
                due.insert(key, backoff);
                continue;
            }
            let needed = values.take(&key, answer);
            due.extend(needed.into_iter().map(|key| (key, first())));
        }
    }
    values.finish()
}

fn first() -> Backoff {
    let mut backoff = Backoff::new(PAUSES);
    backoff.start(Instant::now());
    backoff
}

async fn read(client: &Client, key: &Key, deadline: Instant) -> Result<Secret, Failure> {
    match timeout_at(deadline, client.read(&key.path, key.version)).await {
        Ok(Ok(secret)) => match key.version.map(|version| u64::from(version.get())) {
            Some(asked) if asked != secret.version => Err(Failure::wrong_version(key, secret.version, asked)),
            _ => Ok(secret),
        },
        Ok(Err(error)) => Err(Failure::of_error(key, &error)),
        Err(_) => Err(Failure::late(key)),
    }
}

/// The values so far.
struct Values {
    composer: Composer,
    content: Content,
    /// The size of all values, including those that were dropped because of the limit.
    bytes: usize,
    failures: Vec<Failure>,
    taken: BTreeSet<Key>,
}

impl Values {
    fn new(wanted: &'static Outputs) -> Self {
        let (content, taken) = (Content::new(), BTreeSet::new());
        Self { composer: Composer::new(wanted), content, bytes: 0, failures: Vec::new(), taken }
    }

    /// Processes an answer. Returns the secrets that have to be read again because the limit was
    /// exceeded.
    fn take(&mut self, key: &Key, answer: Result<Secret, Failure>) -> BTreeSet<Key> {
        let Self { composer, content, bytes, failures, taken } = self;
        if let Err(failure) = &answer
            && !(failure.cause == Cause::Absent && composer.is_optional(key))
        {
            failures.push(failure.clone());
        }
        // Values that already exist are not composed again.
        let is_first = taken.insert(key.clone());
        let composed = composer.take(key, answer, is_first, |target, _, value| {
            *bytes += value.len();
            if *bytes > CONTENT_MAX_BYTES {
                content.clear();
            } else {
                content.insert(target.as_str().trim_start_matches('/').to_owned(), value.to_vec());
            }
        });
        let Composed { failures: of_values, absent, not_written: _, needed } = composed;
        failures.extend(of_values);
        for key in absent {
            tracing::info!(%key, "optional secret or field does not exist, leaving its key out");
        }
        needed.into_iter().filter(|key| taken.contains(key)).collect()
    }

    fn finish(self) -> Result<Content, Failures> {
        let Self { content, bytes, mut failures, .. } = self;
        if bytes > CONTENT_MAX_BYTES {
            let reason = format!(
                "its values have {bytes} bytes together, and Kubernetes allows {CONTENT_MAX_BYTES}; write some of them to another Secret"
            );
            failures.push(Failure::new("the Secret", reason, Exit::Invalid));
        }
        if failures.is_empty() { Ok(content) } else { Err(Failures(failures)) }
    }
}
