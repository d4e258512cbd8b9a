//! Reads secrets, with the patience that is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use scaivault_client::{AnswerFault, Backoff, Client, Error, ErrorKind, Retry, Secret};
use scaivault_contract::{SecretPath, SecretRef};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::failure::Failure;

mod rounds;

use rounds::{Call, SINGLE_LIMIT, Tries, calls};

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
    deadline: Instant,
    /// What tells this pod's pauses from another's; none where there is one try and no pause.
    seed: Option<u64>,
}

impl Patience {
    /// Tries again and again until `deadline`: where all depends on it. `seed` tells this pod's pauses from another's.
    pub(crate) fn until(deadline: Instant, seed: u64) -> Self {
        Self { deadline, seed: Some(seed) }
    }

    /// One try, given up at `deadline`: where something else may be due meanwhile, and the next try has its own time.
    pub(crate) fn once(deadline: Instant) -> Self {
        Self { deadline, seed: None }
    }

    /// When to give up.
    pub(crate) fn deadline(self) -> Instant {
        self.deadline
    }

    /// The pauses between the tries of one thing.
    pub(crate) fn pauses(self) -> Pauses {
        let backoff = self.seed.map(|_| Backoff::new(FIRST_PAUSE, LONGEST_PAUSE));
        Pauses { deadline: self.deadline, backoff }
    }
}

/// How long to pause between tries, until time is up.
pub(crate) struct Pauses {
    deadline: Instant,
    backoff: Option<Backoff>,
}

impl Pauses {
    /// How long to pause before the next try; none when there is not to be one.
    pub(crate) fn next(&mut self, retry: Retry) -> Option<Duration> {
        let now = Instant::now();
        let due = self.backoff.as_mut()?.failed(now, retry)?;
        (due < self.deadline).then(|| due - now)
    }
}

/// Tries the request for `subject` until it succeeds, fails for good or time is up.
pub(crate) async fn with_patience<T, F: Future<Output = Result<T, Error>>>(
    subject: impl Display,
    patience: Patience,
    mut request: impl FnMut() -> F,
) -> Result<T, Failure> {
    let mut pauses = patience.pauses();
    loop {
        let error = match timeout_at(patience.deadline, request()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => return Err(Failure::late(&subject)),
        };
        let Some(pause) = pauses.next(error.retry()) else {
            return Err(Failure::of_error(&subject, &error));
        };
        tracing::warn!(%subject, %error, pause_seconds = pause.as_secs_f64(), "trying again");
        tokio::time::sleep(pause).await;
    }
}

/// Logs in where it has to. A login that is refused is sent once, and not once for each request that needs it.
pub(crate) async fn log_in(client: &Client, patience: Patience) -> Result<(), Failure> {
    with_patience("the login", patience, || client.login()).await
}

/// What each key gets where the login has failed.
pub(crate) fn refused(keys: BTreeSet<Key>, login: &Failure) -> Answers {
    keys.into_iter().map(|key| (key, Err(login.clone()))).collect()
}

/// Reads all keys: a few singly and at once, many by batch, and of a batch whose answer cannot be used each by itself.
/// Every key gets an answer.
pub(crate) async fn read_all(client: &Arc<Client>, keys: BTreeSet<Key>, patience: Patience) -> Answers {
    let mut answers = Answers::new();
    let mut tries = Tries::new(keys);
    let mut pauses = patience.pauses();
    let singles = Arc::new(Semaphore::new(SINGLE_LIMIT));
    loop {
        let mut requests = JoinSet::new();
        for call in calls(tries.pending()) {
            requests.spawn(answer(Arc::clone(client), Arc::clone(&singles), call));
        }
        // Dropping the requests ends those that have no answer at the deadline.
        while let Ok(Some(done)) = timeout_at(patience.deadline, requests.join_next()).await {
            // A task that panicked has answered nothing: its keys are tried again, and have the deadline.
            let Done { answered, unusable } = done.unwrap_or_default();
            for key in unusable {
                requests.spawn(answer(Arc::clone(client), Arc::clone(&singles), Call::Single(key)));
            }
            for (key, answered) in answered {
                match answered {
                    Ok(secret) => tries.succeed(&key, &mut answers, secret),
                    Err(failure) => tries.fail(key, failure, &mut answers),
                }
            }
        }
        let Some(pause) = tries.retry().and_then(|retry| pauses.next(retry)) else {
            tries.give_up(&mut answers);
            return answers;
        };
        tracing::warn!(
            pending = tries.pending().count(),
            reason = %tries.reason(),
            pause_seconds = pause.as_secs_f64(),
            "trying again"
        );
        tokio::time::sleep(pause).await;
    }
}

/// What came of one request.
#[derive(Default)]
struct Done {
    answered: Vec<(Key, Result<Secret, Failure>)>,
    /// The keys of a batch whose answer is too large or none of this route: one of its secrets may be the reason.
    unusable: Vec<Key>,
}

/// `singles` are the reads of one secret that may be under way at once.
async fn answer(client: Arc<Client>, singles: Arc<Semaphore>, call: Call) -> Done {
    let done = |answered| Done { answered, unusable: Vec::new() };
    match call {
        Call::Single(key) => {
            let _turn = singles.acquire().await;
            let read = client.read(&key.path, key.version).await;
            let answered = read.map_err(|error| Failure::of_error(&key, &error));
            done(vec![(key, answered)])
        }
        Call::Batch { paths, version } => match client.read_batch(&paths, version).await {
            Ok(batch) => {
                let answers = batch.answers.into_iter().map(|(path, answered)| {
                    let key = Key { path, version };
                    let answered = answered.map_err(|error| Failure::of_error(&key, &error));
                    (key, answered)
                });
                done(answers.collect())
            }
            Err(Error {
                kind: ErrorKind::Answer(AnswerFault::Json | AnswerFault::TooLarge { .. }), ..
            }) => {
                let unusable = paths.into_iter().map(|path| Key { path, version });
                Done { answered: Vec::new(), unusable: unusable.collect() }
            }
            Err(error) => {
                let fail = |path| {
                    let key = Key { path, version };
                    let failure = Failure::of_error(&key, &error);
                    (key, Err(failure))
                };
                done(paths.into_iter().map(fail).collect())
            }
        },
    }
}
