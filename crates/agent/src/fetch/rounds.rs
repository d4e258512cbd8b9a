//! Which requests a round of reading makes, and which keys are tried again in the next. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

use scaivault_client::{BATCH_LIMIT, Retry, Secret};
use scaivault_contract::SecretPath;

use super::{Answers, Key};
use crate::failure::Failure;

/// Up to so many secrets are read singly: of these reads ScaiVault grants ten times as many as batches, to all pods
/// of one identity together.
pub(super) const SINGLE_LIMIT: usize = 9;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Of one secret.
    Single(Key),
    /// Of several in one version, or each in its current one.
    Batch { paths: Vec<SecretPath>, version: Option<NonZeroU32> },
}

/// The requests that read all keys.
pub(super) fn calls<'a>(keys: impl Iterator<Item = &'a Key> + Clone) -> Vec<Call> {
    if keys.clone().count() <= SINGLE_LIMIT {
        return keys.cloned().map(Call::Single).collect();
    }
    // A batch has one version for all its paths.
    let mut groups = BTreeMap::<Option<NonZeroU32>, Vec<SecretPath>>::new();
    for key in keys {
        groups.entry(key.version).or_default().push(key.path.clone());
    }
    let mut calls = Vec::new();
    for (version, paths) in groups {
        for paths in paths.chunks(BATCH_LIMIT) {
            calls.push(match paths {
                [path] => Call::Single(Key { path: path.clone(), version }),
                _ => Call::Batch { paths: paths.to_vec(), version },
            });
        }
    }
    calls
}

/// The keys that have no final answer yet.
pub(super) struct Tries(BTreeMap<Key, Try>);

#[derive(Default)]
struct Try {
    /// The last failure.
    failed: Option<Failure>,
    /// Whether the one more try that [`Retry::Once`] grants is taken.
    is_once_spent: bool,
}

impl Tries {
    pub(super) fn new(keys: BTreeSet<Key>) -> Self {
        Self(keys.into_iter().map(|key| (key, Try::default())).collect())
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &Key> + Clone {
        self.0.keys()
    }

    pub(super) fn succeed(&mut self, key: &Key, answers: &mut Answers, secret: Secret) {
        if let Some((key, _)) = self.0.remove_entry(key) {
            answers.insert(key, Ok(secret));
        }
    }

    pub(super) fn fail(&mut self, key: Key, failure: Failure, answers: &mut Answers) {
        let Some(tried) = self.0.get_mut(&key) else { return };
        let retry = failure.retry();
        if retry == Retry::Never || retry == Retry::Once && tried.is_once_spent {
            self.0.remove(&key);
            answers.insert(key, Err(failure));
            return;
        }
        tried.is_once_spent |= retry == Retry::Once;
        tried.failed = Some(failure);
    }

    /// How to pause before the next round; none where nothing is left.
    pub(super) fn retry(&self) -> Option<Retry> {
        let asked = |tried: &Try| tried.failed.as_ref().and_then(Failure::asked_pause).unwrap_or_default();
        // One pause for all: the longest that the server asks for.
        match self.0.values().map(asked).max()? {
            Duration::ZERO => Some(Retry::Backoff),
            pause => Some(Retry::After(pause)),
        }
    }

    /// Why the first of the pending keys is pending.
    pub(super) fn reason(&self) -> String {
        let failed = self.0.values().find_map(|tried| tried.failed.as_ref());
        failed.map(ToString::to_string).unwrap_or_default()
    }

    /// Takes the last failure of what is left for its answer.
    pub(super) fn give_up(self, answers: &mut Answers) {
        for (key, tried) in self.0 {
            let failure = match tried.failed {
                Some(failure) => failure,
                None => Failure::late(&key),
            };
            answers.insert(key, Err(failure));
        }
    }
}

#[cfg(test)]
mod tests {
    use scaivault_client::{Error, ErrorCode, Operation, Refusal, SecretData};

    use super::*;

    fn key(text: &str) -> Key {
        Key::of(&text.parse().unwrap())
    }

    fn failure(code: &str, retry_after: Option<u64>) -> Failure {
        let refusal = Refusal {
            status: 400,
            code: ErrorCode::new(code),
            message: String::new(),
            request_id: None,
            retry_after: retry_after.map(Duration::from_secs),
        };
        Failure::of_error("a/b", &Error { operation: Operation::Read, kind: refusal.into() })
    }

    #[test]
    fn few_are_read_singly_and_many_by_batch_grouped_by_version() {
        let keys: Vec<_> = (0..9).map(|number| key(&format!("a/{number}"))).collect();
        let singly = calls(keys.iter());
        assert_eq!(singly.len(), 9);
        assert!(singly.iter().all(|call| matches!(call, Call::Single(_))));

        let mut keys: Vec<_> = (0..201).map(|number| key(&format!("a/{number}"))).collect();
        keys.extend([key("b/1@3"), key("b/2@3"), key("b/1@4")]);
        let sizes: Vec<_> = calls(keys.iter())
            .iter()
            .map(|call| match call {
                Call::Single(key) => (1, key.version.map(NonZeroU32::get)),
                Call::Batch { paths, version } => (paths.len(), version.map(NonZeroU32::get)),
            })
            .collect();
        assert_eq!(sizes, [(100, None), (100, None), (1, None), (2, Some(3)), (1, Some(4))]);
    }

    #[test]
    fn only_what_is_worth_it_is_tried_again() {
        let mut answers = Answers::new();
        let mut tries = Tries::new([key("a/ok"), key("a/denied"), key("a/once"), key("a/busy")].into());
        let secret = Secret { version: 1, data: SecretData::new("{}").unwrap() };
        tries.succeed(&key("a/ok"), &mut answers, secret);
        tries.fail(key("a/denied"), failure("access_denied", None), &mut answers);
        tries.fail(key("a/once"), failure("internal_error", None), &mut answers);
        let busy = Retry::After(Duration::from_secs(7));
        tries.fail(key("a/busy"), failure("rate_limited", Some(7)), &mut answers);
        assert_eq!(tries.pending().collect::<Vec<_>>(), [&key("a/busy"), &key("a/once")]);
        assert_eq!(tries.retry(), Some(busy));

        tries.fail(key("a/once"), failure("internal_error", None), &mut answers);
        tries.fail(key("a/busy"), failure("service_unavailable", None), &mut answers);
        assert_eq!(tries.pending().collect::<Vec<_>>(), [&key("a/busy")]);
        assert_eq!(tries.retry(), Some(Retry::Backoff));

        tries.give_up(&mut answers);
        assert_eq!(answers.len(), 4);
        assert!(answers[&key("a/ok")].is_ok());
        assert_eq!(answers[&key("a/once")].as_ref().unwrap_err(), &failure("internal_error", None));
        assert_eq!(answers[&key("a/busy")].as_ref().unwrap_err(), &failure("service_unavailable", None));
    }

    #[test]
    fn with_nothing_left_there_is_no_next_round() {
        assert_eq!(Tries::new(BTreeSet::new()).retry(), None);
    }
}
