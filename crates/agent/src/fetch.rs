//! Reads secrets, with the patience that is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use scaivault_client::{Backoff, Client, Error, Retry, Secret};
use scaivault_contract::{SecretPath, SecretRef};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::failure::Failure;

mod rounds;

use rounds::{Call, Tries, calls};

/// The first pause between two tries, about.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What one read asks for: fields of one secret are read together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) path: SecretPath,
    pub(crate) version: Option<NonZeroU32>,
}

impl Key {
    pub(crate) fn of(secret: &SecretRef) -> Self {
        Self { path: secret.path.clone(), version: secret.version }
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        self.version.map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

/// What each key got.
pub(crate) type Answers = BTreeMap<Key, Result<Secret, Failure>>;

/// How long to go on trying, and how to pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// When to give up.
    pub(crate) deadline: Instant,
    /// What tells this pod's pauses from another's.
    pub(crate) seed: u64,
}

impl Patience {
    pub(crate) fn backoff(self) -> Backoff {
        Backoff::new(FIRST_PAUSE, LONGEST_PAUSE, self.seed)
    }
}

/// Tries the request for `subject` until it succeeds, fails for good or time is up.
pub(crate) async fn with_patience<T>(
    subject: impl Display,
    patience: Patience,
    mut request: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Failure> {
    let mut backoff = patience.backoff();
    loop {
        let error = match timeout_at(patience.deadline, request()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => return Err(Failure::late(&subject)),
        };
        let pause = backoff.pause(error.retry());
        let Some(pause) = pause.filter(|pause| Instant::now() + *pause < patience.deadline) else {
            return Err(Failure::of_error(&subject, &error));
        };
        tracing::warn!(%subject, %error, pause_seconds = pause.as_secs_f64(), "trying again");
        tokio::time::sleep(pause).await;
    }
}

/// Reads all keys: a few singly and at once, many by batch. Every key gets an answer.
pub(crate) async fn read_all(client: &Arc<Client>, keys: BTreeSet<Key>, patience: Patience) -> Answers {
    let mut answers = Answers::new();
    let mut tries = Tries::new(keys);
    let mut backoff = patience.backoff();
    loop {
        let mut requests = JoinSet::new();
        for call in calls(tries.pending()) {
            requests.spawn(answer(Arc::clone(client), call));
        }
        // Dropping the requests ends those that have no answer at the deadline.
        while let Ok(Some(done)) = timeout_at(patience.deadline, requests.join_next()).await {
            // A task that panicked has answered nothing: its keys are tried again, and have the deadline.
            for (key, answered) in done.unwrap_or_default() {
                match answered {
                    Ok(secret) => tries.succeed(&key, &mut answers, secret),
                    Err((failure, retry)) => tries.fail(key, failure, retry, &mut answers),
                }
            }
        }
        let pause = tries.retry().and_then(|retry| backoff.pause(retry));
        match pause {
            Some(pause) if Instant::now() + pause < patience.deadline => {
                tracing::warn!(
                    pending = tries.pending().count(),
                    reason = %tries.reason(),
                    pause_seconds = pause.as_secs_f64(),
                    "trying again"
                );
                tokio::time::sleep(pause).await;
            }
            _ => {
                tries.give_up(&mut answers);
                return answers;
            }
        }
    }
}

type Answered = Vec<(Key, Result<Secret, (Failure, Retry)>)>;

async fn answer(client: Arc<Client>, call: Call) -> Answered {
    match call {
        Call::Single(key) => {
            let read = client.read(&key.path, key.version).await;
            let answered = read.map_err(|error| (Failure::of_error(&key, &error), error.retry()));
            vec![(key, answered)]
        }
        Call::Batch { paths, version } => match client.read_batch(&paths, version).await {
            Ok(batch) => {
                let answers = batch.answers.into_iter().map(|(path, answered)| {
                    let key = Key { path, version };
                    let answered =
                        answered.map_err(|refusal| (Failure::of_refusal(&key, &refusal), refusal.retry()));
                    (key, answered)
                });
                answers.collect()
            }
            Err(error) => {
                let fail = |path| {
                    let key = Key { path, version };
                    let failure = Failure::of_error(&key, &error);
                    (key, Err((failure, error.retry())))
                };
                paths.into_iter().map(fail).collect()
            }
        },
    }
}
