use scaivault_client::Lease;
use tokio::sync::Notify;

use super::*;
use crate::{
    config::{Config, ConfigFlags, LoginTarget},
    logins::Logins,
};

const HOUR: Duration = Duration::from_hours(1);

/// An entry, and its time by both clocks.
struct Case {
    entry: Entry,
    now: Instant,
    time: SystemTime,
    count: usize,
}

impl Case {
    fn new() -> Self {
        let url = "http://127.0.0.1:1".to_owned();
        let given = ConfigFlags { url, allow_urls: Vec::new(), ca_file: None, file: None };
        let config = Arc::new(Config::read(given).unwrap());
        let target = LoginTarget { server: 0, audience: "scaivault".to_owned(), role: None };
        let client = Logins::new(config, Arc::new(Notify::new())).unwrap().restored(&target, None);
        let now = Instant::now();
        Self { entry: Entry::new(client, now), now, time: SystemTime::now(), count: 0 }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.time += time;
    }

    /// Stores a lease of one hour as the current one.
    fn generate(&mut self, is_renewable: bool) {
        self.count += 1;
        let term = LeaseTerm { ttl: HOUR, is_renewable, max_ttl: None };
        let (id, credentials) = (format!("lease_{}", self.count), SecretData::new("{}").unwrap());
        let lease = Lease { id: id.parse().unwrap(), credentials, term };
        self.entry.generated(HeldLease::generated(lease, self.time), self.now);
    }

    fn save(&mut self) {
        let id = self.entry.newest().unwrap().lease.id.clone();
        self.entry.saved(&id);
    }

    fn offer(&self) -> Offer {
        self.entry.offer(self.now, self.time, false)
    }

    /// The leases that are revoked now.
    fn revoked(&mut self) -> Vec<String> {
        match self.entry.begin(self.now, self.time) {
            Some(Step::Revoke(ids)) => ids.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }

    fn kept(&self) -> Vec<String> {
        let kept = self.entry.kept(self.now, self.time).map(|kept| kept.retired).unwrap_or_default();
        kept.keys().map(ToString::to_string).collect()
    }
}

#[test]
fn replaced_leases_are_forgotten_when_they_have_ended() {
    let mut case = Case::new();
    case.entry.set_volume("a", true, case.now);
    for _ in 0..1000 {
        assert!(matches!(case.offer(), Offer::Generate { .. }));
        case.generate(false);
        case.save();
        assert!(matches!(case.offer(), Offer::Held));
        case.pass(HOUR * 2 / 3);
        assert!(case.revoked().is_empty(), "the application may use them");
    }
    assert!(case.kept().len() <= 2, "{:?}", case.kept());
}

#[test]
fn leases_that_are_replaced_at_each_call_are_bounded() {
    let mut case = Case::new();
    case.entry.set_volume("a", true, case.now);
    for _ in 0..9 {
        assert!(matches!(case.offer(), Offer::Generate { has_usable: false }));
        case.generate(true);
        case.save();
        // The node's clock is set back repeatedly.
        case.time -= HOUR;
    }
    assert!(matches!(case.offer(), Offer::TooMany(8)));
    case.pass(HOUR);
    case.revoked();
    assert!(case.kept().is_empty());
}

#[test]
fn a_lease_that_was_not_handed_out_is_revoked_when_replaced() {
    let mut case = Case::new();
    case.entry.set_volume("a", true, case.now);
    case.generate(false);
    case.generate(false);
    assert_eq!(case.revoked(), ["lease_1"]);
}

#[test]
fn a_lease_after_the_end_is_revoked() {
    let mut case = Case::new();
    case.entry.end(case.now);
    case.generate(false);
    assert_eq!((case.entry.has_lease(), case.revoked()), (false, vec!["lease_1".to_owned()]));
    case.entry.revoked(&"lease_1".parse().unwrap(), Ok(()), case.now);
    case.entry.finish();
    assert!(matches!(case.entry.begin(case.now, case.time), Some(Step::Forget)));
}

#[test]
fn an_entry_stays_while_a_lease_is_generated() {
    let mut case = Case::new();
    let generating = Arc::clone(&case.entry.generating);
    let guard = generating.try_lock().unwrap();
    case.entry.end(case.now);
    assert!(case.entry.begin(case.now, case.time).is_none());
    drop(guard);
    assert!(matches!(case.entry.begin(case.now, case.time), Some(Step::Forget)));
}

#[test]
fn credentials_end_when_no_volume_has_them_for_long() {
    let mut case = Case::new();
    case.generate(true);
    case.save();
    case.entry.set_volume("a", true, case.now);
    case.entry.set_volume("b", true, case.now);
    case.pass(UNUSED_LIMIT);
    case.entry.set_volume("a", false, case.now);
    case.pass(UNUSED_LIMIT);
    assert!(case.revoked().is_empty(), "volume b has them");
    case.entry.set_volume("b", false, case.now);
    case.pass(UNUSED_LIMIT / 2);
    let client = Arc::clone(&case.entry.client);
    case.entry.ask(&client, case.now);
    case.pass(UNUSED_LIMIT / 2);
    assert!(case.revoked().is_empty(), "they were asked for");
    case.pass(UNUSED_LIMIT / 2);
    assert_eq!(case.revoked(), ["lease_1"]);
    assert!(case.entry.has_ended());
}

#[test]
fn volumes_are_bounded() {
    let mut case = Case::new();
    case.generate(true);
    for index in 0..1000 {
        case.entry.set_volume(&index.to_string(), true, case.now);
    }
    assert_eq!(case.entry.kept(case.now, case.time).unwrap().volumes.len(), 16);
}

#[test]
fn an_unsaved_lease_replaces_nothing() {
    let mut case = Case::new();
    case.generate(false);
    case.save();
    case.entry.set_volume("a", true, case.now);
    case.pass(HOUR * 3 / 4);
    case.generate(false);
    assert!(case.entry.is_unsaved() && case.entry.retired.is_empty());
    assert_eq!(case.entry.held.as_ref().unwrap().lease.id.to_string(), "lease_1");
    // The write of the second lease also saves the first one for the next process.
    let kept = case.entry.kept(case.now, case.time).unwrap();
    assert_eq!(
        (kept.lease.unwrap().id.to_string(), case.kept()),
        ("lease_2".to_owned(), vec!["lease_1".into()])
    );
    case.save();
    assert_eq!(case.entry.held.as_ref().unwrap().lease.id.to_string(), "lease_2");
    assert_eq!(case.kept(), ["lease_1"]);
}

#[test]
fn a_pod_that_has_finished_is_forgotten() {
    let mut case = Case::new();
    case.generate(true);
    case.save();
    case.entry.set_volume("a", true, case.now);
    // A change of the node's clock ends no lease.
    case.time += HOUR * 2;
    case.now += UNUSED_LIMIT;
    assert!(!matches!(case.entry.begin(case.now, case.time), Some(Step::Forget)));
    case.entry.finish();
    case.pass(HOUR);
    assert!(matches!(case.entry.begin(case.now, case.time), Some(Step::Forget)));
}

#[test]
fn a_requested_entry_is_kept() {
    let mut case = Case::new();
    case.entry.set_volume("a", true, case.now);
    let client = Arc::clone(&case.entry.client);
    for _ in 0..3 {
        case.pass(UNUSED_LIMIT * 2 / 3);
        assert!(case.entry.begin(case.now, case.time).is_none());
        case.entry.ask(&client, case.now);
    }
    case.pass(UNUSED_LIMIT);
    assert!(matches!(case.entry.begin(case.now, case.time), Some(Step::Forget)));
}
