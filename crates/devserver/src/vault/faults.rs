//! Faults that can be switched on at run time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{error::ApiError, route::Route};

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The affected route; `None` for all.
    #[serde(default)]
    pub route: Option<Route>,
    /// The effect.
    pub effect: Effect,
    /// How many requests are affected; `None` for all until it is switched off.
    #[serde(default)]
    pub times: Option<u32>,
}

/// The effect of a fault on a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// The answer has this code and its status.
    Refuse {
        /// Such as `rate_limited`, `service_unavailable` or `internal_error`.
        code: String,
        /// The value of the header `Retry-After` in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The request is delayed.
    Delay {
        /// Milliseconds.
        milliseconds: u64,
    },
    /// The request is processed, and its answer is delayed: the change happens before the caller
    /// knows.
    Late {
        /// Milliseconds.
        milliseconds: u64,
    },
    /// The answer has this status and body for every request, as from a proxy in front of a server.
    Answer {
        /// The HTTP status.
        #[serde(default = "ok")]
        status: u16,
        /// The body.
        body: String,
    },
    /// No answer is sent.
    Hang,
}

fn ok() -> u16 {
    200
}

impl Fault {
    /// A fault on one route until it is switched off.
    pub fn on(route: Route, effect: Effect) -> Self {
        Self { route: Some(route), effect, times: None }
    }

    /// A fault on all routes until it is switched off.
    pub fn everywhere(effect: Effect) -> Self {
        Self { route: None, effect, times: None }
    }

    /// One route answers with `code` until the fault is switched off.
    pub fn always(route: Route, code: &str) -> Self {
        Self::on(route, Effect::refuse(code))
    }

    /// One route never answers until the fault is switched off.
    pub fn hang(route: Route) -> Self {
        Self::on(route, Effect::Hang)
    }

    /// One route answers `times` requests with `code`.
    pub fn refuse(route: Route, code: &str, times: u32) -> Self {
        Self::always(route, code).times(times)
    }

    /// The same fault, limited to this many requests.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }
}

impl Effect {
    /// An error with `code` and without `Retry-After`.
    pub fn refuse(code: &str) -> Self {
        Self::Refuse { code: code.to_owned(), retry_after: None }
    }
}

#[derive(Default)]
pub(crate) struct Faults(Vec<Fault>);

/// The combined effect of the faults on one request: first a delay, then perhaps an answer or
/// error, then a delay of the answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Disturbance {
    pub(crate) delay: Duration,
    pub(crate) lateness: Duration,
    pub(crate) answer: Option<(u16, String)>,
    pub(crate) hangs: bool,
    pub(crate) refusal: Option<ApiError>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn list(&self) -> &[Fault] {
        &self.0
    }

    /// The effects on a request to `route`; counts them. Only the first active error applies, in
    /// the order in which they were switched on; delays add up.
    pub(crate) fn disturb(&mut self, route: Route) -> Disturbance {
        let mut disturbance = Disturbance::default();
        for fault in self.0.iter_mut().filter(|fault| fault.route.is_none_or(|of| of == route)) {
            match &fault.effect {
                Effect::Refuse { .. } if disturbance.refusal.is_some() => continue,
                Effect::Refuse { code, retry_after } => {
                    let refusal = ApiError::new(code, "a fault that is switched on");
                    disturbance.refusal =
                        Some(refusal.with_retry_after(retry_after.map(Duration::from_secs)));
                }
                Effect::Delay { milliseconds } => disturbance.delay += Duration::from_millis(*milliseconds),
                Effect::Late { milliseconds } => disturbance.lateness += Duration::from_millis(*milliseconds),
                Effect::Answer { status, body } => disturbance.answer = Some((*status, body.clone())),
                Effect::Hang => disturbance.hangs = true,
            }
            fault.times = fault.times.map(|times| times.saturating_sub(1));
        }
        self.0.retain(|fault| fault.times != Some(0));
        disturbance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_end_and_are_used_in_order() {
        let mut faults = Faults::default();
        faults.add(Fault::refuse(Route::Read, "service_unavailable", 1));
        faults.add(Fault::refuse(Route::Read, "internal_error", 1));
        assert_eq!(faults.disturb(Route::Poll), Disturbance::default());
        let code = |faults: &mut Faults| {
            faults.disturb(Route::Read).refusal.map(|error| error.in_batch()["code"].clone())
        };
        assert_eq!(code(&mut faults).unwrap(), "service_unavailable");
        assert_eq!(code(&mut faults).unwrap(), "internal_error");
        assert_eq!(code(&mut faults), None);
    }

    #[test]
    fn faults_without_a_number_stay_until_they_are_switched_off() {
        let mut faults = Faults::default();
        faults.add(Fault::hang(Route::Read));
        faults.add(Fault::everywhere(Effect::Late { milliseconds: 1 }));
        for _ in 0..3 {
            let read = faults.disturb(Route::Read);
            assert!(read.hangs && read.lateness == Duration::from_millis(1));
            let poll = faults.disturb(Route::Poll);
            assert!(!poll.hangs && poll.lateness == Duration::from_millis(1));
        }
        faults.clear();
        assert_eq!(faults.disturb(Route::Read), Disturbance::default());
    }

    #[test]
    fn a_fault_is_parsed_like_on_the_admin_route() {
        let fault: Fault = serde_json::from_str(
            r#"{"route":"read-batch","effect":{"refuse":{"code":"rate_limited","retry_after":3}}}"#,
        )
        .unwrap();
        assert_eq!(fault.route, Some(Route::ReadBatch));
        assert!(serde_json::from_str::<Fault>(r#"{"effect":"hang","times":2}"#).is_ok());
    }
}
