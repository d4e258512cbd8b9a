//! Selects the affected requests and their faults.

use std::time::Duration;

use serde_json::Value;

use super::{Answer, message::Request};
use crate::SplitMix;

/// A set of requests: those of a method (all if empty) whose path contains this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Calls(pub &'static str, pub &'static str);

impl Calls {
    /// All.
    pub const ALL: Self = Self("", "");
    /// Logins with the token of a service account.
    pub const EXCHANGE: Self = Self("POST", "/v1/auth/exchange");
    /// Reads of single secrets.
    pub const READ: Self = Self("GET", "/v1/secrets/");
    /// Generations of dynamic credentials.
    pub const GENERATE: Self = Self("POST", "/creds/");
    /// Renewals of leases.
    pub const RENEW: Self = Self("POST", "/renew");
    /// Revocations of leases.
    pub const REVOKE: Self = Self("POST", "/revoke");
    /// All requests about subscriptions.
    pub const SUBSCRIPTIONS: Self = Self("", "/v1/subscriptions");

    pub(super) fn has(self, method: &str, path: &str) -> bool {
        (self.0.is_empty() || self.0 == method) && path.contains(self.1)
    }
}

/// A fault of a request. Several can apply to the same request.
#[derive(Clone, Debug)]
pub enum Misbehaviour {
    /// The answer takes a time between these two. The server processes the request at some time
    /// within it.
    Slow(Duration, Duration),
    /// A replica that lags by this much answers: with the server's earlier answer to the same
    /// request.
    Lag(Duration),
    /// This is the answer. The server does not get the request.
    Answer(Answer),
    /// This is the answer, but the server has processed the request.
    Replace(Answer),
    /// The server's answer in another shape. The status is kept.
    Reshape(fn(&mut Value, &mut SplitMix)),
    /// Half of the answer, with the matching length.
    Truncate,
    /// Half of the answer with the length of the complete one, then the connection is closed.
    Cut,
    /// The answer with a length that is too long by this much (and the connection stays open), or
    /// too short.
    WrongLength(i64),
    /// The answer in chunks of a few bytes, with this pause between them.
    Trickle(Duration),
    /// No answer. The server has processed the request.
    Hang,
    /// The connection is reset. The server does not get the request.
    Reset,
    /// The connection is reset after the server has processed the request.
    ResetAnswer,
}

/// The affected part of a set of requests.
#[derive(Clone, Copy, Debug)]
pub enum Chance {
    /// Each of them.
    Always,
    /// Every other one, starting with the second.
    EveryOther,
    /// This percentage.
    Percent(u64),
    /// Only this many at the start.
    First(u64),
}

pub(super) struct Rule {
    pub(super) calls: Calls,
    pub(super) chance: Chance,
    pub(super) misbehaviour: Misbehaviour,
    pub(super) count: u64,
}

impl Rule {
    /// Whether the next request of the set is affected.
    fn applies(&mut self, random: &mut SplitMix) -> bool {
        self.count += 1;
        match self.chance {
            Chance::Always => true,
            Chance::EveryOther => self.count.is_multiple_of(2),
            Chance::Percent(percent) => random.below(100_u64) < percent,
            Chance::First(count) => self.count <= count,
        }
    }
}

/// The combined effect of the rules on one request.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) before: Duration,
    pub(super) after: Duration,
    pub(super) lag: Option<Duration>,
    pub(super) answer: Option<Answer>,
    pub(super) replacement: Option<Answer>,
    pub(super) reshapes: Vec<fn(&mut Value, &mut SplitMix)>,
    /// If several apply, the last one.
    pub(super) loss: Option<Loss>,
    pub(super) length: i64,
    pub(super) trickle: Option<Duration>,
}

/// How an answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Truncated,
    Cut,
    Hanging,
    Reset,
    ResetAnswer,
}

impl Plan {
    pub(super) fn new(rules: &mut [Rule], request: &Request, random: &mut SplitMix) -> Self {
        let mut plan = Self::default();
        for rule in rules.iter_mut().filter(|rule| rule.calls.has(&request.method, &request.path)) {
            if rule.applies(random) {
                plan.add(rule.misbehaviour.clone(), random);
            }
        }
        plan
    }

    fn add(&mut self, misbehaviour: Misbehaviour, random: &mut SplitMix) {
        match misbehaviour {
            Misbehaviour::Slow(least, most) => {
                let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1);
                let whole = millis(least) + random.below(millis(most.saturating_sub(least)) + 1);
                let before = random.below(whole + 1);
                self.before += Duration::from_millis(before);
                self.after += Duration::from_millis(whole - before);
            }
            Misbehaviour::Lag(by) => self.lag = Some(by),
            Misbehaviour::Answer(answer) => self.answer = Some(answer),
            Misbehaviour::Replace(answer) => self.replacement = Some(answer),
            Misbehaviour::Reshape(reshape) => self.reshapes.push(reshape),
            Misbehaviour::Truncate => self.loss = Some(Loss::Truncated),
            Misbehaviour::Cut => self.loss = Some(Loss::Cut),
            Misbehaviour::WrongLength(by) => self.length = by,
            Misbehaviour::Trickle(pause) => self.trickle = Some(pause),
            Misbehaviour::Hang => self.loss = Some(Loss::Hanging),
            Misbehaviour::Reset => self.loss = Some(Loss::Reset),
            Misbehaviour::ResetAnswer => self.loss = Some(Loss::ResetAnswer),
        }
    }

    /// Whether the content of the server's answer arrives as a readable message.
    pub(super) fn delivers(&self) -> bool {
        self.loss.is_none()
            && self.lag.is_none()
            && self.length == 0
            && self.answer.is_none()
            && self.replacement.is_none()
    }
}
