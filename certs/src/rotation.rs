//! When an authority is made, made known, used and forgotten: decided without I/O, by every replica alike.
//!
//! There is no leader. The [`State`] in the Secret says how far things are; every replica looks at it and at the
//! webhook configurations, and whoever is first writes the next state with optimistic locking.
//!
//! ```text
//! (nothing) --Announce--> next --Promote--> current --Announce--> current, next --Promote--> current, retired --Forget--> current
//! ```
//!
//! A leaf is signed by `current` alone, and an authority becomes `current` only after it has stood in every
//! configuration, before the eyes of the replica that promotes it, for the settle delay: until then an API server may
//! know the configuration from before. That time is measured by the monotonic clock, so a wall clock that is set
//! moves nothing too early. A replica that finds a `current` therefore serves at once, unless it is from the future:
//! made by a replica whose clock is ahead. Then it stays with what it has, see [`signer`].

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::CertificateDer;
use thiserror::Error;

use crate::{
    authority::{Authority, BACKDATE, IssueError},
    ca_bundle::CaBundle,
    state::{Retired, State},
};

/// The common name of every authority.
const NAME: &str = "scaivault-injector";
/// How many certificates found in the webhook configurations are kept with a first authority: enough for a Secret that
/// is emptied several times within a leaf's lifetime, and a bound for what somebody else writes there.
const MAX_ADOPTED: usize = 16;
/// How far the clocks of two replicas may be apart without a leaf that nobody trusts: nodes without NTP, or with the
/// time zone taken for UTC, are mostly off by an hour.
const SKEW: Duration = Duration::from_hours(1);

/// Lifetimes that do not go together.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// The last third of the authority's life is the time for the change.
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

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    ca_lifetime: Duration,
    leaf_lifetime: Duration,
    settle_delay: Duration,
}

impl Policy {
    /// Lifetimes of authority and leaf, and how long an API server may know a configuration from before.
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

    /// How long a leaf is valid.
    pub fn leaf_lifetime(&self) -> Duration {
        self.leaf_lifetime
    }

    /// When an authority needs a successor: a third of the lifetime before its end. By the lifetime that is wished
    /// for now: an authority made under a shorter one is replaced at once.
    fn renewal(&self, authority: &Authority) -> SystemTime {
        let not_after = authority.validity().not_after;
        not_after.checked_sub(self.ca_lifetime / 3).unwrap_or(UNIX_EPOCH)
    }

    /// Until when leaves of an authority that signs no more from `now` on may be served: one may be signed somewhat
    /// later, by a replica whose clock is behind and for which the successor is from the future, and who looks at this
    /// moment may have a clock that is ahead.
    fn retirement(&self, now: SystemTime) -> SystemTime {
        whole_seconds(now + self.leaf_lifetime + self.settle_delay + SKEW * 2)
    }
}

/// What a replica sees besides the Secret.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// All certificates that stand in the `caBundle` of any webhook.
    pub found: &'a CaBundle,
    /// How long this replica has seen the next authority in the `caBundle` of every webhook.
    pub next_for: Option<Duration>,
}

/// What to do with the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing for now.
    Keep,
    /// Make a next authority.
    Announce {
        /// Trust these on: somebody else's, or ours whose Secret was emptied. A server may still be using them.
        adopted: CaBundle,
    },
    /// Before the first authority signs: trust these on, too.
    Adopt {
        /// Found since it was made.
        adopted: CaBundle,
    },
    /// The next authority becomes the current one.
    Promote,
    /// Trust the retired no longer.
    Forget,
}

/// What to do with `state` at `now`.
pub fn step(state: &State, seen: Seen<'_>, now: SystemTime, policy: &Policy) -> Step {
    let State { current, next, retired } = state;
    let adopted = || seen.found.clone().without_expired(now).latest(MAX_ADOPTED);
    match (current, next) {
        // Nobody used it, so nobody misses it.
        (_, Some(next)) if next.validity().is_over(now) => Step::Announce { adopted: CaBundle::default() },
        // Another replica may have made it without seeing these.
        (None, Some(_)) if !state.bundle().includes(&adopted()) => Step::Adopt { adopted: adopted() },
        (_, Some(next)) => {
            let settled = seen.next_for.is_some_and(|time| time >= policy.settle_delay);
            // Not yet valid: made by a replica whose clock is ahead. Whose clock is right, nobody here can say; what
            // works stays.
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

fn forget(retired: Option<&Retired>, now: SystemTime) -> Step {
    match retired {
        Some(retired) if now >= retired.until => Step::Forget,
        _ => Step::Keep,
    }
}

/// How long until [`step`] may say something else, if nobody else does anything; none if the clocks have no part in it.
pub fn next_step_in(state: &State, seen: Seen<'_>, now: SystemTime, policy: &Policy) -> Option<Duration> {
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

/// Whose leaves a replica serves at `now` that has served those of `held`; none before the first authority.
///
/// A current authority that this replica's clock holds for one from the future was promoted by a replica whose clock is
/// ahead, and API servers with the right time refuse its leaves until it is valid. The authority before is retired and still
/// trusted, so what works stays. A replica that starts meanwhile has none and waits.
pub(crate) fn signer(state: &State, held: Option<Arc<Authority>>, now: SystemTime) -> Option<Arc<Authority>> {
    match &state.current {
        Some(current) if now >= trusted_from(current) => Some(Arc::clone(current)),
        _ => held,
    }
}

/// When an authority is valid by the clock of everybody whose own clock is off by less than [`BACKDATE`]: the moment at
/// which it was made.
pub(crate) fn trusted_from(authority: &Authority) -> SystemTime {
    authority.validity().not_before + BACKDATE
}

impl State {
    /// The state after `step`; none if it stays. A new authority is the only thing in it that is random.
    pub fn after(&self, step: Step, now: SystemTime, policy: &Policy) -> Result<Option<Self>, IssueError> {
        let retire = |bundle: CaBundle| {
            let Some(before) = &self.retired else {
                return Some(Retired { bundle, until: policy.retirement(now) });
            };
            let bundle = before.bundle.clone().without_expired(now).union(&bundle);
            Some(Retired { bundle, until: policy.retirement(now).max(before.until) })
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

/// Since when a replica has seen the next authority in every webhook configuration, without a break.
#[derive(Debug, Default)]
pub struct Observation {
    since: Option<(CertificateDer<'static>, Instant)>,
}

impl Observation {
    /// A look at the configurations that ended at `at`, or their writing: `published` tells whether `next` stands in
    /// each.
    pub fn record(&mut self, next: Option<&CertificateDer<'static>>, published: bool, at: Instant) {
        let next = next.filter(|_| published);
        self.since = match (self.since.take(), next) {
            (Some((seen, since)), Some(next)) if seen == *next => Some((seen, since)),
            (_, next) => next.map(|next| (next.clone(), at)),
        };
    }

    /// How long that was at `at`, the start of the look at which it was seen last.
    pub fn lasted(&self, at: Instant) -> Option<Duration> {
        self.since.as_ref().map(|(_, since)| at.saturating_duration_since(*since))
    }
}

/// As it is written.
fn whole_seconds(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests;
