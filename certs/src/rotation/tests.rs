mod schedules;

use super::*;

const DAY: Duration = Duration::from_hours(24);
const SETTLE: Duration = Duration::from_secs(30);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

fn policy() -> Policy {
    Policy::new(90 * DAY, DAY, SETTLE).unwrap()
}

fn authority(now: SystemTime) -> Arc<Authority> {
    Arc::new(Authority::new("tests", now, 90 * DAY).unwrap())
}

fn bundle(authorities: &[&Authority]) -> CaBundle {
    let pem: String = authorities.iter().map(|authority| authority.certificate_pem()).collect();
    CaBundle::parse(pem.as_bytes()).unwrap()
}

/// The step at a time, if the next authority was observed for `next_for` and no foreign one was
/// found.
fn due(state: &State, next_for: Option<Duration>, now: SystemTime) -> Step {
    step(state, Observed { found: &CaBundle::default(), next_for }, now, &policy())
}

fn announce() -> Step {
    Step::Announce { adopted: CaBundle::default() }
}

#[test]
fn a_successor_is_created_when_a_third_is_left() {
    let state = State { current: Some(authority(now())), ..State::default() };
    assert_eq!(due(&state, None, now() + 59 * DAY), Step::Keep);
    assert_eq!(due(&state, None, now() + 60 * DAY), announce());
    // An expired authority is replaced as well, and so is one with a shorter lifetime than
    // configured.
    assert_eq!(due(&state, None, now() + 900 * DAY), announce());
    let longer = Policy::new(365 * DAY, DAY, SETTLE).unwrap();
    let seen = Observed { found: &CaBundle::default(), next_for: None };
    assert_eq!(step(&state, seen, now(), &longer), announce());
    assert_eq!(next_step_in(&state, seen, now(), &policy()), Some(60 * DAY));
}

#[test]
fn a_next_authority_signs_only_after_it_has_settled() {
    let state = State { next: Some(authority(now())), ..State::default() };
    let almost = Duration::from_millis(29_999);
    assert_eq!(due(&state, None, now() + DAY), Step::Keep);
    assert_eq!(due(&state, Some(almost), now() + DAY), Step::Keep, "regardless of the wall clock");
    assert_eq!(due(&state, Some(SETTLE), now()), Step::Promote);
    assert_eq!(due(&state, Some(SETTLE), now() - DAY), Step::Keep, "it is not valid yet");
    assert_eq!(due(&state, Some(SETTLE), now() + 90 * DAY), announce(), "it has expired");
    let seen = Observed { found: &CaBundle::default(), next_for: Some(almost) };
    assert_eq!(next_step_in(&state, seen, now(), &policy()), Some(Duration::from_millis(1)));
    let early = next_step_in(&state, seen, now() - DAY, &policy());
    assert_eq!(early, Some(DAY.saturating_sub(BACKDATE)), "when it is valid");
}

#[test]
fn without_work_the_next_sync_is_later() {
    let offsets = [None, Some(-7_200), Some(-30), Some(0), Some(30), Some(7_200)];
    let at = |seconds: i64| {
        let far = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { now() - far } else { now() + far }
    };
    let bundle = bundle(&[&authority(now() - DAY)]);
    for next in offsets {
        let next = next.map(|seconds| authority(at(seconds)));
        for retired in offsets {
            let retired =
                retired.map(|seconds| RetiredAuthorities { bundle: bundle.clone(), until: at(seconds) });
            for current in [None, Some(authority(now() - 59 * DAY)), Some(authority(now() - 60 * DAY))] {
                let state = State { current, next: next.clone(), retired: retired.clone() };
                for next_for in [None, Some(SETTLE / 2), Some(SETTLE), Some(DAY)] {
                    let seen = Observed { found: &CaBundle::default(), next_for };
                    if step(&state, seen, now(), &policy()) == Step::Keep {
                        assert_ne!(next_step_in(&state, seen, now(), &policy()), Some(Duration::ZERO));
                    }
                }
            }
        }
    }
}

#[test]
fn an_authority_of_the_future_signs_if_no_clock_disagrees() {
    let (old, new) = (authority(now() - 60 * DAY), authority(now()));
    let state = State { current: Some(Arc::clone(&new)), ..State::default() };
    let signs = |held: Option<&Arc<Authority>>, now| {
        signer(&state, held.cloned(), now).map(|authority| authority.certificate_der().clone())
    };
    let moment = Duration::from_secs(1);
    assert_eq!(signs(Some(&old), now() - moment).as_ref(), Some(old.certificate_der()));
    assert_eq!(signs(Some(&old), now()).as_ref(), Some(new.certificate_der()));
    assert_eq!(signs(None, now() - moment), None);
    let emptied = signer(&State::default(), Some(Arc::clone(&old)), now());
    assert_eq!(emptied.unwrap().certificate_der(), old.certificate_der());
}

#[test]
fn an_empty_secret_adopts_the_published_bundle() {
    let (own, expired) = (authority(now()), authority(now() - 100 * DAY));
    let found = bundle(&[&own, &expired]);
    let first = step(&State::default(), Observed { found: &found, next_for: None }, now(), &policy());
    assert_eq!(first, Step::Announce { adopted: bundle(&[&own]) });
    let state = State::default().after(first, now(), &policy()).unwrap().unwrap();
    assert!(state.current.is_none() && state.next.is_some());
    assert!(state.bundle().contains(own.certificate_der()) && state.bundle().len() == 2);

    // Another replica announced before it observed that one: it is not removed.
    let state = State { next: state.next, ..State::default() };
    let seen = Observed { found: &found, next_for: Some(SETTLE) };
    let adopt = step(&state, seen, now(), &policy());
    assert_eq!(adopt, Step::Adopt { adopted: bundle(&[&own]) });
    let state = state.after(adopt, now(), &policy()).unwrap().unwrap();
    assert_eq!(step(&state, seen, now(), &policy()), Step::Promote);
}

#[test]
fn retired_authorities_are_removed_after_their_leaves() {
    let (old, new) = (authority(now() - 60 * DAY), authority(now()));
    let state = State { current: Some(Arc::clone(&old)), next: Some(Arc::clone(&new)), ..State::default() };
    let state = state.after(Step::Promote, now(), &policy()).unwrap().unwrap();
    assert_eq!(state.bundle(), bundle(&[&old, &new]));
    assert_eq!(due(&state, None, now() + DAY), Step::Keep, "a leaf may be a moment younger than the change");
    let late = now() + DAY + SETTLE + 2 * SKEW;
    assert_eq!(due(&state, None, late), Step::Forget);
    let state = state.after(Step::Forget, late, &policy()).unwrap().unwrap();
    assert_eq!(state.bundle(), bundle(&[&new]));
}

#[test]
fn an_observation_restarts_after_a_gap_or_a_new_authority() {
    let (first, second) = (authority(now()), authority(now()));
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut observation = Observation::default();
    observation.record(Some(first.certificate_der()), true, at(0));
    observation.record(Some(first.certificate_der()), true, at(10));
    assert_eq!(observation.lasted(at(20)), Some(Duration::from_secs(20)));
    observation.record(Some(first.certificate_der()), false, at(20));
    assert_eq!(observation.lasted(at(20)), None);
    observation.record(Some(first.certificate_der()), true, at(30));
    observation.record(Some(second.certificate_der()), true, at(40));
    assert_eq!(observation.lasted(at(50)), Some(Duration::from_secs(10)));
    observation.record(None, true, at(50));
    assert_eq!(observation.lasted(at(50)), None);
}

#[test]
fn conflicting_lifetimes_are_refused() {
    assert!(Policy::new(3 * DAY, DAY, Duration::ZERO).is_ok());
    let error = Policy::new(3 * DAY, DAY, SETTLE).unwrap_err().to_string();
    assert!(error.contains("259200 s") && error.contains("86400 s") && error.contains("30 s"), "{error}");
}
