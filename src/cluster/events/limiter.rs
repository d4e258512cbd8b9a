//! Limits the rate of Events.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use scaivault_webhook::{PodEvent, PodEventReason};

/// How long further Events for the same owner and reason are suppressed, because the owner's pods
/// are alike.
const PERIOD: Duration = Duration::from_mins(10);

/// A token bucket: its size, and how often it gains a token.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    refill: Duration,
}

/// The limit for all namespaces together, the same as for Kubernetes' own components.
const OVERALL: Rate = Rate { burst: 50, refill: Duration::from_secs(1) };

/// The limit per namespace, so that one namespace cannot use up the limit of the others.
const PER_NAMESPACE: Rate = Rate { burst: 10, refill: Duration::from_secs(10) };

/// The maximum number of remembered owners, and of namespaces.
const REMEMBERED: usize = 4096;

/// Suppresses repeated Events and Events over the limits. Each reason has its own limits, so that
/// warnings cannot suppress Events about missing secrets.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    not_injected: Share,
    warnings: Share,
}

impl Limiter {
    /// Whether this notice may be posted now; if so, it is counted.
    pub(super) fn admit(&mut self, notice: &PodEvent, now: Instant) -> bool {
        let share = match notice.reason {
            PodEventReason::SecretsNotInjected => &mut self.not_injected,
            PodEventReason::InjectionWarning => &mut self.warnings,
        };
        share.admit(&notice.namespace, &notice.owner.uid, now)
    }
}

/// The limits of one reason.
#[derive(Debug, Default)]
struct Share {
    /// When an Event was last posted, by namespace and uid of the owner. The uid alone is not
    /// enough, because a client controls it.
    last: HashMap<(String, String), Instant>,
    overall: Bucket,
    namespaces: HashMap<String, Bucket>,
}

impl Share {
    fn admit(&mut self, namespace: &str, owner_uid: &str, now: Instant) -> bool {
        let key = (namespace.to_owned(), owner_uid.to_owned());
        let is_recent = |last: &Instant| now.saturating_duration_since(*last) < PERIOD;
        if self.last.get(&key).is_some_and(is_recent) {
            return false;
        }
        make_room(&mut self.last, is_recent);
        make_room(&mut self.namespaces, |bucket| !bucket.is_full(now));
        if self.last.len() >= REMEMBERED || self.namespaces.len() >= REMEMBERED {
            return false;
        }
        let of_namespace = self.namespaces.entry(namespace.to_owned()).or_default();
        // A token is taken only if both buckets have one.
        let (Some(one), Some(other)) =
            (of_namespace.less(PER_NAMESPACE, now), self.overall.less(OVERALL, now))
        else {
            return false;
        };
        (*of_namespace, self.overall) = (one, other);
        self.last.insert(key, now);
        true
    }
}

/// Removes entries that no longer matter when the map is full.
fn make_room<K, V>(map: &mut HashMap<K, V>, matters: impl Fn(&V) -> bool) {
    if map.len() >= REMEMBERED {
        map.retain(|_, value| matters(value));
    }
}

/// A token bucket, stored as the time at which it will be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// The bucket with one token less; `None` if it is empty.
    fn less(self, rate: Rate, now: Instant) -> Option<Self> {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + rate.refill;
        (full_at - now <= rate.refill * rate.burst).then_some(Self { full_at: Some(full_at) })
    }

    fn is_full(self, now: Instant) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= now)
    }
}

#[cfg(test)]
mod tests {
    use scaivault_webhook::Owner;

    use super::*;

    const NOT_INJECTED: PodEventReason = PodEventReason::SecretsNotInjected;
    const WARNING: PodEventReason = PodEventReason::InjectionWarning;

    fn notice(namespace: &str, uid: &str, reason: PodEventReason) -> PodEvent {
        let text = str::to_owned;
        PodEvent {
            namespace: text(namespace),
            owner: Owner { api_version: text("v1"), kind: text("K"), name: text("n"), uid: text(uid) },
            reason,
            note: String::new(),
        }
    }

    #[test]
    fn an_owner_gets_the_same_event_at_intervals() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let mut admit =
            |namespace, uid, reason, at: Instant| limiter.admit(&notice(namespace, uid, reason), at);
        assert!(admit("shop", "a", NOT_INJECTED, start));
        assert!(!admit("shop", "a", NOT_INJECTED, start + PERIOD / 2));
        assert!(admit("shop", "a", WARNING, start), "another reason");
        assert!(admit("shop", "b", NOT_INJECTED, start), "another owner");
        assert!(admit("bank", "a", NOT_INJECTED, start), "another's uid, named in another namespace");
        assert!(admit("shop", "a", NOT_INJECTED, start + PERIOD));
    }

    /// How many of a hundred new owners in each of these namespaces get an Event.
    fn admitted(
        limiter: &mut Limiter,
        namespaces: u32,
        first: u32,
        reason: PodEventReason,
        at: Instant,
    ) -> u32 {
        let mut count = 0;
        for namespace in 0..namespaces {
            for uid in first..first + 100 {
                let notice = notice(&namespace.to_string(), &uid.to_string(), reason);
                count += u32::from(limiter.admit(&notice, at));
            }
        }
        count
    }

    #[test]
    fn a_namespace_has_a_burst_that_refills() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        assert_eq!(admitted(&mut limiter, 1, 0, NOT_INJECTED, start), PER_NAMESPACE.burst);
        assert!(limiter.admit(&notice("other", "a", NOT_INJECTED), start), "another's is its own");
        let later = start + 3 * PER_NAMESPACE.refill;
        assert_eq!(admitted(&mut limiter, 1, 100, NOT_INJECTED, later), 3);
        let later = start + PERIOD;
        assert_eq!(admitted(&mut limiter, 1, 200, NOT_INJECTED, later), PER_NAMESPACE.burst);
    }

    #[test]
    fn warnings_do_not_use_the_budget_of_other_events() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        assert_eq!(admitted(&mut limiter, 20, 0, WARNING, start), OVERALL.burst);
        assert_eq!(admitted(&mut limiter, 20, 0, NOT_INJECTED, start), OVERALL.burst);
        assert_eq!(admitted(&mut limiter, 20, 100, WARNING, start + 3 * OVERALL.refill), 3);
    }

    #[test]
    fn the_number_of_remembered_owners_is_limited() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for number in 0..2 * u32::try_from(REMEMBERED).unwrap() {
            let name = number.to_string();
            limiter.admit(&notice(&name, &name, NOT_INJECTED), start + number * OVERALL.refill);
            let Share { last, namespaces, .. } = &limiter.not_injected;
            assert!(last.len() <= REMEMBERED && namespaces.len() <= REMEMBERED);
        }
    }
}
