use super::*;

const INTERVAL: Duration = Duration::from_mins(10);
const SECOND: Duration = Duration::from_secs(1);

fn path(text: &str) -> SecretPath {
    text.parse().unwrap()
}

/// A number of paths that begin with a letter.
fn paths(letter: char, count: usize) -> BTreeSet<SecretPath> {
    (0..count).map(|number| path(&format!("{letter}/{number:05}"))).collect()
}

fn event(text: &str, version: Option<u64>, is_new_history: bool) -> Changes {
    Changes::Of([(path(text), AnnouncedChange { version, is_new_history })].into())
}

#[test]
fn new_paths_do_not_delay_others() {
    let mut now = Instant::now();
    let mut lookups = Lookups::new(INTERVAL, now);
    let mut followed = paths('z', 300);
    lookups.add(followed.clone());
    let mut seen = BTreeSet::new();
    for second in 0..3000 {
        // More new paths than one call takes. By name, all come before the others.
        let new = paths('a', 150 * (second % 10 + 1));
        lookups.add(new.clone());
        followed.extend(new);
        let (why, batch) = lookups.batch(&followed, now);
        if second < 3 {
            assert_eq!(batch[0], path(&format!("z/{:05}", second * 100)), "in the order of their arrival");
        }
        if why == Why::Round {
            seen.extend(batch);
        }
        now += SECOND;
    }
    assert!(followed.is_subset(&seen), "the round ends");
}

#[test]
fn an_event_is_looked_up_within_three_calls() {
    let now = Instant::now();
    let followed = paths('a', 1000);
    for waiting in 0..3 {
        let mut lookups = Lookups::new(INTERVAL, now);
        lookups.add(followed.clone());
        let later = now + INTERVAL;
        for _ in 0..waiting {
            lookups.batch(&followed, later);
        }
        lookups.add_changes(event("a/00999", None, false), &followed);
        let calls = (0..3).map(|_| lookups.batch(&followed, later));
        assert!(calls.into_iter().any(|call| call == (Why::Changed, vec![path("a/00999")])), "{waiting}");
    }
}

#[test]
fn an_announced_version_is_looked_up_until_it_is_read() {
    let start = Instant::now();
    let followed = paths('a', 2);
    let looked_up = |announced: (u64, bool), answers: &[Option<u32>]| {
        let (mut now, mut answers) = (start, answers.iter());
        let mut lookups = Lookups::new(INTERVAL, now);
        lookups.add_changes(event("a/00001", Some(announced.0), announced.1), &followed);
        let mut count = 0;
        for _ in 0..300 {
            for path in lookups.batch(&followed, now).1 {
                count += 1;
                lookups.answered(&path, answers.next().copied().unwrap_or(Some(6)), now);
            }
            now += SECOND;
        }
        count
    };
    assert_eq!(looked_up((7, false), &[Some(7)]), 1);
    assert_eq!(looked_up((7, false), &[Some(8)]), 1, "a later one");
    assert_eq!(looked_up((7, false), &[Some(6), None, Some(7)]), 3, "a replica that lags");
    assert_eq!(looked_up((7, false), &[]), 1 + REPEATS.len(), "up to a limit");
    assert_eq!(looked_up((1, true), &[Some(9), Some(1)]), 2, "created again");
    assert_eq!(looked_up((7, false), &[Some(0)]), 1, "a server without numbers");
}

#[test]
fn events_about_other_secrets_are_ignored() {
    let mut lookups = Lookups::new(INTERVAL, Instant::now());
    lookups.add_changes(event("b/1", Some(7), false), &paths('a', 2));
    assert_eq!(lookups.batch(&paths('a', 2), Instant::now()).1, []);
}

/// Each call ends at the same secret.
#[test]
fn a_secret_that_always_fails_delays_no_others() {
    let now = Instant::now();
    let followed = paths('a', 250);
    for why in [Why::Added, Why::Round] {
        let mut lookups = Lookups::new(INTERVAL, now);
        let mut later = now;
        match why {
            Why::Added => lookups.add(followed.clone()),
            _ => later = now + 3 * INTERVAL,
        }
        let mut answered = BTreeSet::new();
        for _ in 0..10 {
            let (_, batch) = lookups.batch(&followed, later);
            let end = batch.iter().position(|each| *each == path("a/00040")).unwrap_or(batch.len());
            answered.extend(batch[..end].iter().cloned());
            lookups.put_back(why, batch[end..].to_vec());
        }
        assert_eq!(answered.len(), 249, "{why:?}");
    }
}

#[test]
fn a_round_is_complete_once_its_last_call_is() {
    let now = Instant::now();
    let followed = paths('a', 250);
    let mut lookups = Lookups::new(INTERVAL, now);
    lookups.add(followed.clone());
    assert!(!lookups.has_completed());
    (0..3).for_each(|_| drop(lookups.batch(&followed, now)));
    assert!(lookups.has_completed() && !lookups.has_completed());
    let later = now + 2 * INTERVAL;
    let mut batch = Vec::new();
    for _ in 0..3 {
        assert!(!lookups.has_completed());
        batch = lookups.batch(&followed, later).1;
    }
    lookups.put_back(Why::Round, batch);
    // Other paths are added all the time.
    lookups.add(followed.clone());
    let rest = (0..2).map(|_| lookups.batch(&followed, later)).find(|(why, _)| *why == Why::Round).unwrap().1;
    assert_eq!((rest.len(), lookups.has_completed()), (50, true));
}

#[test]
fn paths_that_are_no_longer_followed_are_forgotten() {
    let now = Instant::now();
    let mut lookups = Lookups::new(INTERVAL, now);
    lookups.add(paths('a', 5));
    lookups.add_changes(event("a/00004", Some(2), false), &paths('a', 5));
    lookups.retain(&paths('a', 2));
    assert_eq!(lookups.batch(&paths('a', 2), now), (Why::Added, vec![path("a/00000"), path("a/00001")]));
    assert_eq!(lookups.batch(&paths('a', 2), now).1, []);
}
