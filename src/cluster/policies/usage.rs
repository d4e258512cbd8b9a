//! The effects of a policy since its status was last written. Counted during each admission, so
//! without a lock.

use std::{
    fmt::Write as _,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use scaivault_inject::{PolicyEffect, shown_key};
use scaivault_webhook::PolicyUsage;

/// The maximum length of a rejection's message in bytes.
const MESSAGE_BYTES: usize = 1024;

/// The maximum length of a name in Kubernetes, in bytes.
const NAME_BYTES: usize = 253;

/// The number of pods by effect of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) injected: u64,
    pub(super) refused: u64,
    pub(super) warned: u64,
    pub(super) audited: u64,
}

/// A pod that a policy rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Unix seconds.
    pub(super) time: i64,
    pub(super) namespace: String,
    pub(super) pod: String,
    /// Codes of problems and keys of annotations. Every client that reaches the port controls the
    /// rest of a review, so nothing else is included.
    pub(super) message: String,
}

/// The effects of a policy.
#[derive(Debug, Default)]
pub(super) struct Usage {
    injected: AtomicU64,
    refused: AtomicU64,
    warned: AtomicU64,
    audited: AtomicU64,
    last_refusal: ArcSwapOption<Refusal>,
}

/// Compared by identity, because each instance has its own counters.
impl PartialEq for Usage {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }
}

impl Usage {
    /// Counts one effect.
    pub(super) fn count(&self, effect: PolicyEffect, usage: &PolicyUsage<'_>, now: i64) {
        let counter = match effect {
            PolicyEffect::Selected => return,
            PolicyEffect::Injected => &self.injected,
            PolicyEffect::Refused => &self.refused,
            PolicyEffect::Warned => &self.warned,
            PolicyEffect::Audited => &self.audited,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if effect == PolicyEffect::Refused {
            self.last_refusal.store(Some(Arc::new(Refusal::new(usage, now))));
        }
    }

    /// The counts that are not in the status yet.
    pub(super) fn counts(&self) -> Counts {
        let Self { injected, refused, warned, audited, last_refusal: _ } = self;
        let [injected, refused, warned, audited] =
            [injected, refused, warned, audited].map(|counter| counter.load(Ordering::Relaxed));
        Counts { injected, refused, warned, audited }
    }

    /// Subtracts counts that were written to the status.
    pub(super) fn reported(&self, counts: Counts) {
        let Counts { injected, refused, warned, audited } = counts;
        for (counter, reported) in [
            (&self.injected, injected),
            (&self.refused, refused),
            (&self.warned, warned),
            (&self.audited, audited),
        ] {
            counter.fetch_sub(reported, Ordering::Relaxed);
        }
    }

    /// The last pod that this replica rejected since its start.
    pub(super) fn last_refusal(&self) -> Option<Arc<Refusal>> {
        self.last_refusal.load_full()
    }
}

impl Refusal {
    fn new(usage: &PolicyUsage<'_>, time: i64) -> Self {
        let mut message = String::new();
        for problem in usage.problems {
            let separator = if message.is_empty() { "" } else { ", " };
            message.push_str(separator);
            message.push_str(problem.code.name());
            if let Some(key) = &problem.key {
                let _ = write!(message, " ({})", shown_key(key));
            }
        }
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
        Self { time, namespace: name(usage.namespace), pod: name(usage.pod), message }
    }
}

/// A name if it is valid in Kubernetes, else a placeholder.
fn name(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let is_name = (1..=NAME_BYTES).contains(&text.len()) && text.bytes().all(plain);
    if is_name { text } else { "(invalid name)" }.to_owned()
}

#[cfg(test)]
mod tests {
    use scaivault_inject::{Code, Layer, Problem, Problems};

    use super::*;

    fn problems() -> Problems {
        let mut problems = Problems::new();
        problems.push(Problem {
            code: Code::NotAllowed,
            key: Some("inject-secret-db".to_owned()),
            layer: Layer::Pod,
            value: None,
            message: "call 555-0100 now".into(),
            allowed: None,
            fix: "x".into(),
        });
        problems
    }

    #[test]
    fn effects_are_counted_until_they_are_reported() {
        let (usage, problems) = (Usage::default(), problems());
        let pod = PolicyUsage { namespace: "shop", pod: "web-5d-", uses: &[], problems: &problems };
        for effect in PolicyEffect::ALL {
            usage.count(effect, &pod, 7);
        }
        usage.count(PolicyEffect::Injected, &pod, 8);
        let counts = usage.counts();
        assert_eq!(counts, Counts { injected: 2, refused: 1, warned: 1, audited: 1 });
        usage.count(PolicyEffect::Warned, &pod, 9);
        usage.reported(counts);
        assert_eq!(usage.counts(), Counts { warned: 1, ..Counts::default() });
        let refusal = usage.last_refusal().unwrap();
        assert_eq!((refusal.time, &*refusal.namespace, &*refusal.pod), (7, "shop", "web-5d-"));
        assert_eq!(refusal.message, "not-allowed (inject-secret-db)");
    }

    #[test]
    fn a_forged_name_does_not_reach_a_status() {
        let (usage, problems) = (Usage::default(), problems());
        let long = "a".repeat(300);
        let pod = PolicyUsage { namespace: "Call us!", pod: &long, uses: &[], problems: &problems };
        usage.count(PolicyEffect::Refused, &pod, 7);
        let refusal = usage.last_refusal().unwrap();
        assert_eq!((&*refusal.namespace, &*refusal.pod), ("(invalid name)", "(invalid name)"));
    }
}
