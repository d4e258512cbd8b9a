//! Which requests suffer, and from what.

use std::time::Duration;

use serde_json::Value;

use super::{Answer, message::Request};
use crate::SplitMix;

/// Some requests: those of a method (all if empty) whose path contains this text.
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
    /// All that has to do with subscriptions.
    pub const SUBSCRIPTIONS: Self = Self("", "/v1/subscriptions");

    pub(super) fn has(self, method: &str, path: &str) -> bool {
        (self.0.is_empty() || self.0 == method) && path.contains(self.1)
    }
}

/// What can go wrong with a request. Several may happen to one.
#[derive(Clone, Debug)]
pub enum Misbehaviour {
    /// The answer takes a time between these two. The server acts at some moment within it.
    Slow(Duration, Duration),
    /// A replica that lags behind by so much answers: with what the server answered to the same request then.
    Lag(Duration),
    /// This is the answer. The server never gets the request.
    Answer(Answer),
    /// This is the answer, but the server has acted.
    Replace(Answer),
    /// The server's answer with another shape. The status stays.
    Reshape(fn(&mut Value, &mut SplitMix)),
    /// Half of the answer, with a length to match.
    Truncate,
    /// Half of the answer, with the length of all of it, and the end of the connection.
    Cut,
    /// The answer with a length that is so much too long (and the connection stays open), or too short.
    WrongLength(i64),
    /// The answer, a few bytes at a time with this pause between them.
    Trickle(Duration),
    /// Never an answer. The server has acted.
    Hang,
    /// The connection is reset. The server never gets the request.
    Reset,
    /// The connection is reset after the server has acted.
    ResetAnswer,
}

/// Which requests of some suffer.
#[derive(Clone, Copy, Debug)]
pub enum Chance {
    /// Each of them.
    Always,
    /// Every other one, beginning with the second.
    EveryOther,
    /// So many of a hundred.
    Percent(u64),
    /// Only the first so many.
    First(u64),
}

pub(super) struct Rule {
    pub(super) calls: Calls,
    pub(super) chance: Chance,
    pub(super) misbehaviour: Misbehaviour,
    pub(super) count: u64,
}

impl Rule {
    /// Whether the next request of these calls suffers.
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

/// What the rules make of one request.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) before: Duration,
    pub(super) after: Duration,
    pub(super) lag: Option<Duration>,
    pub(super) answer: Option<Answer>,
    pub(super) replacement: Option<Answer>,
    pub(super) reshapes: Vec<fn(&mut Value, &mut SplitMix)>,
    /// Of several such misbehaviours, the last one.
    pub(super) loss: Option<Loss>,
    pub(super) length: i64,
    pub(super) trickle: Option<Duration>,
}

/// How an answer does not arrive.
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

    /// Whether what the server said arrives as a message that can be read.
    pub(super) fn tells(&self) -> bool {
        self.loss.is_none()
            && self.lag.is_none()
            && self.length == 0
            && self.answer.is_none()
            && self.replacement.is_none()
    }
}
