//! The life cycle of an authority: created, announced, used, forgotten. Every replica computes it
//! in the same way and without I/O.
//!
//! There is no leader. The [`State`] in the Secret records the progress. Every replica reads it and
//! the webhook configurations, and the first one to act writes the next state with optimistic
//! locking.
//!
//! ```text
//! (nothing) --Announce--> next --Promote--> current --Announce--> current, next --Promote--> current, retired --Forget--> current
//! ```
//!
//! A leaf is signed by `current` only. An authority is promoted to `current` only after the
//! promoting replica has observed it in every webhook configuration for the settle delay, because
//! until then an API server may use the previous configuration. That time is measured by the
//! monotonic clock, so setting the wall clock cannot cause an early promotion. Therefore a replica
//! that finds a `current` authority can serve at once. The exception is one that is not valid yet,
//! created by a replica whose clock is ahead: then the replica keeps its previous authority, see
//! [`signer`].

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::CertificateDer;
use thiserror::Error;

use crate::{
    authority::{Authority, BACKDATE, IssueError},
    ca_bundle::CaBundle,
    state::{RetiredAuthorities, State},
};

/// The common name of every authority.
const NAME: &str = "scaivault-injector";
/// How many certificates found in the webhook configurations are adopted with a first authority:
/// enough for a Secret that is emptied several times within a leaf's lifetime, and a limit for what
/// other clients write there.
const MAX_ADOPTED: usize = 16;
/// The maximum difference between the clocks of two replicas for which every served leaf is
/// trusted. Nodes without NTP, or with local time set as UTC, are usually off by an hour.
const SKEW: Duration = Duration::from_hours(1);

/// Lifetimes that are inconsistent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// The last third of the authority's lifetime must be long enough for the rotation.
    #[error(
        "an authority's lifetime of {} s is too short: a third of it must cover a leaf's lifetime ({} s) and twice the settle delay ({} s)",
        authority.as_secs(), leaf.as_secs(), settle.as_secs()
    )]
    AuthorityTooShort {
        /// The authority's lifetime.
        authority: Duration,
        /// The leaf's lifetime.
        leaf: Duration,
        /// The settle delay.
        settle: Duration,
    },
}

/// The lifetimes and delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    ca_lifetime: Duration,
    leaf_lifetime: Duration,
    settle_delay: Duration,
}

impl Policy {
    /// Takes the lifetimes of authority and leaf, and the settle delay: how long an API server may
    /// use a previous configuration.
    pub fn new(
        ca_lifetime: Duration,
        leaf_lifetime: Duration,
        settle_delay: Duration,
    ) -> Result<Self, PolicyError> {
        if ca_lifetime / 3 < leaf_lifetime.saturating_add(settle_delay * 2) {
            return Err(PolicyError::AuthorityTooShort {
                authority: ca_lifetime,
                leaf: leaf_lifetime,
                settle: settle_delay,
            });
        }
        Ok(Self { ca_lifetime, leaf_lifetime, settle_delay })
    }

    pub(crate) fn leaf_lifetime(&self) -> Duration {
        self.leaf_lifetime
    }

    /// When an authority needs a successor: a third of the configured lifetime before it expires.
    /// An authority that was created with a shorter lifetime is therefore replaced at once.
    fn renewal(&self, authority: &Authority) -> SystemTime {
        let not_after = authority.validity().not_after;
        not_after.checked_sub(self.ca_lifetime / 3).unwrap_or(UNIX_EPOCH)
    }

    /// Until when leaves of an authority that stops signing at `now` may be served. A replica whose
    /// clock is behind may sign one later, because the successor is not valid yet for it, and the
    /// clock of the replica that evaluates this time may be ahead. Hence twice [`SKEW`].
    fn retirement(&self, now: SystemTime) -> SystemTime {
        whole_seconds(now + self.leaf_lifetime + self.settle_delay + SKEW * 2)
    }
}

/// What a replica observes in addition to the Secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed<'a> {
    /// All certificates in the `caBundle` of any webhook.
    pub(crate) found: &'a CaBundle,
    /// How long this replica has observed the next authority in the `caBundle` of every webhook.
    pub(crate) next_for: Option<Duration>,
}

/// The next action on the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Keep,
    /// Create a next authority.
    Announce {
        /// Also trust these for a while: foreign ones, or the injector's own after its Secret was
        /// emptied. A server may still be using them.
        adopted: CaBundle,
    },
    /// Also trust these, before the first authority signs.
    Adopt {
        /// Found since it was created.
        adopted: CaBundle,
    },
    /// Make the next authority the current one.
    Promote,
    /// Stop trusting the retired authorities.
    Forget,
}

/// The next action on `state` at `now`.
pub(crate) fn step(state: &State, seen: Observed<'_>, now: SystemTime, policy: &Policy) -> Step {
    let State { current, next, retired } = state;
    let adopted = || seen.found.clone().without_expired(now).latest(MAX_ADOPTED);
    match (current, next) {
        // No leaf was signed by it, so it can be dropped.
        (_, Some(next)) if next.validity().is_over(now) => Step::Announce { adopted: CaBundle::default() },
        // Another replica may have created it without observing these.
        (None, Some(_)) if !state.bundle().includes(&adopted()) => Step::Adopt { adopted: adopted() },
        (_, Some(next)) => {
            let settled = seen.next_for.is_some_and(|time| time >= policy.settle_delay);
            // Not valid yet, so it was created by a replica whose clock is ahead. This replica
            // cannot tell which clock is right, so it keeps the working authority.
            if settled && now >= next.validity().not_before {
                Step::Promote
            } else {
                forget(retired.as_ref(), now)
            }
        }
        (None, None) => Step::Announce { adopted: adopted() },
        (Some(current), None) if now >= policy.renewal(current) => {
            Step::Announce { adopted: CaBundle::default() }
        }
        (Some(_), None) => forget(retired.as_ref(), now),
    }
}

fn forget(retired: Option<&RetiredAuthorities>, now: SystemTime) -> Step {
    match retired {
        Some(retired) if now >= retired.until => Step::Forget,
        _ => Step::Keep,
    }
}

/// How long until the result of [`step`] can change through time alone; `None` if time cannot
/// change it.
pub(crate) fn next_step_in(
    state: &State,
    seen: Observed<'_>,
    now: SystemTime,
    policy: &Policy,
) -> Option<Duration> {
    let until = |time: SystemTime| time.duration_since(now).unwrap_or_default();
    let State { current, next, retired } = state;
    let promotion = next
        .as_ref()
        .zip(seen.next_for)
        .map(|(next, time)| policy.settle_delay.saturating_sub(time).max(until(next.validity().not_before)));
    let renewal = match (current, next) {
        (Some(current), None) => Some(until(policy.renewal(current))),
        _ => None,
    };
    let forgotten = retired.as_ref().map(|retired| until(retired.until));
    [promotion, renewal, forgotten].into_iter().flatten().min()
}

/// The authority whose leaves a replica serves at `now`, if it has served those of `held`; `None`
/// before the first authority.
///
/// If the current authority is not valid yet by this replica's clock, it was promoted by a replica
/// whose clock is ahead, and API servers with the right time reject its leaves until it is valid.
/// The previous authority is retired but still trusted, so the replica keeps it. A replica that
/// starts meanwhile has no previous authority and waits.
pub(crate) fn signer(state: &State, held: Option<Arc<Authority>>, now: SystemTime) -> Option<Arc<Authority>> {
    match &state.current {
        Some(current) if now >= trusted_from(current) => Some(Arc::clone(current)),
        _ => held,
    }
}

/// When an authority is valid for every clock that is off by less than [`BACKDATE`]: the time at
/// which it was created.
pub(crate) fn trusted_from(authority: &Authority) -> SystemTime {
    authority.validity().not_before + BACKDATE
}

impl State {
    /// The state after `step`; `None` if it does not change. The key of a new authority is the only
    /// random part.
    pub(crate) fn after(
        &self,
        step: Step,
        now: SystemTime,
        policy: &Policy,
    ) -> Result<Option<Self>, IssueError> {
        let retire = |bundle: CaBundle| {
            let Some(before) = &self.retired else {
                return Some(RetiredAuthorities { bundle, until: policy.retirement(now) });
            };
            let bundle = before.bundle.clone().without_expired(now).union(&bundle);
            Some(RetiredAuthorities { bundle, until: policy.retirement(now).max(before.until) })
        };
        Ok(match step {
            Step::Keep => None,
            Step::Announce { adopted } => {
                let next = Authority::new(NAME, now, policy.ca_lifetime)?;
                let retired = if adopted.is_empty() { self.retired.clone() } else { retire(adopted) };
                Some(Self { current: self.current.clone(), next: Some(Arc::new(next)), retired })
            }
            Step::Adopt { adopted } => Some(Self { retired: retire(adopted), ..self.clone() }),
            Step::Promote => {
                let mut bundle = CaBundle::default();
                if let Some(current) = &self.current {
                    bundle.insert(current.certificate_der(), current.validity());
                }
                let retired = if bundle.is_empty() { self.retired.clone() } else { retire(bundle) };
                Some(Self { current: self.next.clone(), next: None, retired })
            }
            Step::Forget => Some(Self { retired: None, ..self.clone() }),
        })
    }
}

/// Since when a replica has continuously observed the next authority in every webhook
/// configuration.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    since: Option<(CertificateDer<'static>, Instant)>,
}

impl Observation {
    /// Records a read of the configurations that completed at `at`, or a write to them. `published`
    /// is whether `next` is in each of them.
    pub(crate) fn record(&mut self, next: Option<&CertificateDer<'static>>, published: bool, at: Instant) {
        let next = next.filter(|_| published);
        self.since = match (self.since.take(), next) {
            (Some((seen, since)), Some(next)) if seen == *next => Some((seen, since)),
            (_, next) => next.map(|next| (next.clone(), at)),
        };
    }

    /// How long it had been observed at `at`, the start of the sync that observed it last.
    pub(crate) fn lasted(&self, at: Instant) -> Option<Duration> {
        self.since.as_ref().map(|(_, since)| at.saturating_duration_since(*since))
    }
}

/// The time as it is stored, in whole seconds.
fn whole_seconds(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests;
