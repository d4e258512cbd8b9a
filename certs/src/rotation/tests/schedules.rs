//! Random schedules of several replicas. Each reads, decides, writes and issues in steps that
//! interleave with those of the others, with crashes, clocks that differ and are set, an emptied
//! Secret, and API servers that use webhook configurations up to a settle delay old.

use std::{collections::VecDeque, mem};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{files::validity, leaf::MintedLeaf};

const REPLICAS: usize = 3;
/// A sync that takes longer fails, because each of its calls has a timeout.
const LONGEST_LOOK: Duration = Duration::from_mins(1);
/// How far a clock that counts as right may be off, in seconds. Certificates are backdated by more.
const OFF: i64 = 60;
/// How far the clock of one replica, [`ASTRAY`], may be off without affecting the others, in
/// seconds.
const FAR_OFF: i64 = 3_600;
/// The replica whose clock may be off by that much.
const ASTRAY: usize = 0;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// One replica takes the next step of its sync.
    Step(usize),
    /// One replica runs a complete sync.
    Sync(usize),
    /// One replica renews its leaf, as it does if the API server is unavailable.
    Renew(usize),
    Crash(usize),
    /// A replica's clock is set to be off by this many seconds.
    SetClock(usize, i64),
    EmptySecret,
    Pass(Duration),
}

/// `astray` is how far the clock of that replica may be off, in seconds.
fn event(astray: i64) -> impl Strategy<Value = Event> {
    let pass = prop_oneof![
        4 => (1..45_u64).prop_map(Duration::from_secs),
        2 => (1..12_u64).prop_map(Duration::from_hours),
        1 => (1..40_u64).prop_map(|days| Duration::from_hours(24 * days)),
    ];
    prop_oneof![
        12 => (0..REPLICAS).prop_map(Event::Step),
        4 => (0..REPLICAS).prop_map(Event::Sync),
        2 => (0..REPLICAS).prop_map(Event::Renew),
        1 => (0..REPLICAS).prop_map(Event::Crash),
        1 => (0..REPLICAS).prop_flat_map(move |replica| {
            let off = if replica == ASTRAY { astray } else { OFF };
            (-off..=off).prop_map(move |seconds| Event::SetClock(replica, seconds))
        }),
        1 => Just(Event::EmptySecret),
        5 => pass.prop_map(Event::Pass),
    ]
}

/// The progress of a sync: the data it has read.
#[derive(Default)]
enum Phase {
    #[default]
    Idle,
    Read {
        started: Duration,
        version: u64,
        bundle: CaBundle,
    },
    Decided {
        started: Duration,
        version: u64,
        bundle: CaBundle,
        state: State,
    },
}

#[derive(Default)]
struct Replica {
    /// In seconds.
    clock_off: i64,
    phase: Phase,
    observation: Observation,
    authority: Option<Arc<Authority>>,
    leaf: Option<MintedLeaf>,
    /// When it completed a sync.
    synced: Duration,
}

struct World {
    epoch: Instant,
    /// Real time since the start.
    time: Duration,
    secret: (u64, State),
    /// Version and bundle; all webhooks are modelled as one.
    configuration: (u64, CaBundle),
    /// Previous bundles, with the time until which each was in force.
    before: VecDeque<(Duration, CaBundle)>,
    replicas: Vec<Replica>,
    /// How often the Secret was emptied.
    emptied: usize,
    /// Whether no clock was ever far off.
    is_right: bool,
}

impl World {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            time: Duration::ZERO,
            secret: (0, State::default()),
            configuration: (0, CaBundle::default()),
            before: VecDeque::new(),
            replicas: (0..REPLICAS).map(|_| Replica::default()).collect(),
            emptied: 0,
            is_right: true,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Step(index) => self.step(index),
            Event::Sync(index) => self.sync(index),
            Event::Renew(index) => self.renew(index),
            Event::Crash(index) => {
                let clock_off = self.replicas[index].clock_off;
                self.replicas[index] = Replica { clock_off, synced: self.time, ..Replica::default() };
            }
            Event::SetClock(index, seconds) => {
                self.replicas[index].clock_off = seconds;
                self.is_right &= seconds.abs() <= OFF;
            }
            // Each time at most two authorities are in transition; together they must not exceed
            // the number that is adopted.
            Event::EmptySecret if self.emptied < MAX_ADOPTED / 2 => {
                self.emptied += 1;
                self.secret = (self.secret.0 + 1, State::default());
            }
            Event::EmptySecret => {}
            Event::Pass(duration) => self.pass(duration),
        }
    }

    /// Advances the time; no replica is without a sync for as long as a leaf is valid.
    fn pass(&mut self, duration: Duration) {
        let end = self.time + duration;
        while self.time < end {
            let to = end.min(self.time + DAY / 4);
            for index in 0..REPLICAS {
                if to > self.replicas[index].synced + DAY / 2 {
                    self.sync(index);
                }
            }
            self.time = to;
            for replica in &mut self.replicas {
                if let Phase::Read { started, .. } | Phase::Decided { started, .. } = replica.phase
                    && to > started + LONGEST_LOOK
                {
                    replica.phase = Phase::Idle;
                }
            }
            self.check();
        }
    }

    fn sync(&mut self, index: usize) {
        self.replicas[index].phase = Phase::Idle;
        for _ in 0..3 {
            self.step(index);
        }
        assert_eq!(self.replicas[index].synced, self.time, "no other replica synced in between");
    }

    fn wall(&self, index: usize) -> SystemTime {
        let real = now() + self.time;
        let off = self.replicas[index].clock_off;
        let seconds = Duration::from_secs(off.unsigned_abs());
        if off < 0 { real - seconds } else { real + seconds }
    }

    fn step(&mut self, index: usize) {
        let (time, wall) = (self.time, self.wall(index));
        let instant = |time: Duration| self.epoch + time;
        let replica = &mut self.replicas[index];
        match mem::take(&mut replica.phase) {
            Phase::Idle => {
                let (version, bundle) = self.configuration.clone();
                replica.phase = Phase::Read { started: time, version, bundle };
            }
            // The Secret is read and written in one step: a write in between would be a conflict.
            Phase::Read { started, version, bundle } => {
                let (stored, state) = &mut self.secret;
                let next = state.next_certificate();
                let is_published = next.is_some_and(|next| bundle.contains(next));
                replica.observation.record(next, is_published, instant(time));
                let next_for = replica.observation.lasted(instant(started));
                let due = step(state, Observed { found: &bundle, next_for }, wall, &policy());
                if let Some(after) = state.after(due, wall, &policy()).unwrap() {
                    (*stored, *state) = (*stored + 1, State::parse(&after.to_data()).unwrap());
                }
                let state = state.clone();
                replica.phase = Phase::Decided { started, version, bundle, state };
            }
            Phase::Decided { version, bundle, state, .. } => {
                let wanted = state.bundle();
                if wanted != bundle {
                    if version != self.configuration.0 {
                        return;
                    }
                    let (version, before) = mem::take(&mut self.configuration);
                    self.before.push_back((time, before));
                    self.configuration = (version + 1, wanted);
                }
                replica.observation.record(state.next_certificate(), true, instant(time));
                replica.synced = time;
                replica.authority = signer(&state, replica.authority.take(), wall);
                self.renew(index);
                self.check();
            }
        }
    }

    fn renew(&mut self, index: usize) {
        let wall = self.wall(index);
        let replica = &mut self.replicas[index];
        let authority = replica.authority.as_ref().filter(|authority| authority.validity().covers(wall));
        let Some(authority) = authority else { return };
        if !replica.leaf.as_ref().is_some_and(|leaf| leaf.is_good(authority, wall)) {
            let names = ["injector".to_owned()];
            let (leaf, _) = MintedLeaf::mint(authority, &names, wall, policy().leaf_lifetime()).unwrap();
            replica.leaf = Some(leaf);
        }
    }

    /// After any history, all replicas serve leaves of one authority soon, and at the latest after
    /// `wait`.
    fn comes_to_rest(&mut self, wait: Duration) {
        for wait in [SETTLE, SETTLE, SETTLE, SETTLE, wait] {
            self.pass(wait);
            (0..REPLICAS).for_each(|index| self.sync(index));
        }
        let current = self.secret.1.current.as_ref().expect("an authority signs").certificate_der().clone();
        for index in 0..REPLICAS {
            assert_eq!(self.signer(index), current);
        }
    }

    /// The authority of the leaf that a replica serves.
    fn signer(&self, index: usize) -> CertificateDer<'static> {
        self.replicas[index].leaf.as_ref().expect("a replica serves").authority().clone()
    }

    /// Every served leaf is trusted by the slowest and by the fastest API server, and no set grows.
    /// Only authorities created by a clock that is far off may be from the future.
    fn check(&mut self) {
        while self.before.front().is_some_and(|(until, _)| *until + SETTLE <= self.time) {
            self.before.pop_front();
        }
        let real = now() + self.time;
        for (index, replica) in self.replicas.iter().enumerate() {
            let Some(leaf) = replica.leaf.as_ref().filter(|leaf| !leaf.validity().is_over(real)) else {
                continue;
            };
            if index != ASTRAY || replica.clock_off.abs() <= OFF && self.is_right {
                assert!(real >= leaf.validity().not_before);
                let authority = validity(leaf.authority()).unwrap();
                assert!(real >= authority.not_before, "an authority from the future");
            }
            for bundle in self.before.iter().map(|(_, bundle)| bundle).chain([&self.configuration.1]) {
                assert!(bundle.contains(leaf.authority()), "an API server does not trust the served leaf");
            }
        }
        assert!(self.secret.1.bundle().len() <= 2 * self.emptied + 3, "the state grows");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_served_leaf_is_trusted(events in vec(event(OFF), 1..120)) {
        let mut world = World::new();
        for event in events {
            world.apply(event);
        }
        world.comes_to_rest(Duration::from_mins(5));
    }

    #[test]
    fn a_clock_that_is_an_hour_off_harms_no_other_replica(events in vec(event(FAR_OFF), 1..120)) {
        let mut world = World::new();
        for event in events {
            world.apply(event);
        }
        world.comes_to_rest(Duration::from_hours(3));
    }
}

#[test]
fn a_clock_an_hour_ahead_renews_the_authority_once() {
    let mut world = World::new();
    world.comes_to_rest(Duration::ZERO);
    let old = world.signer(1);
    world.pass((60 * DAY).saturating_sub(world.time + Duration::from_mins(30)));
    world.apply(Event::SetClock(ASTRAY, FAR_OFF));
    world.sync(ASTRAY);
    world.pass(SETTLE);
    world.sync(ASTRAY);
    assert_ne!(world.signer(ASTRAY), old, "announced and promoted");
    for index in [1, 2] {
        world.sync(index);
        assert_eq!(world.signer(index), old);
    }
    world.pass(Duration::from_hours(1));
    for index in [1, 2] {
        world.sync(index);
        assert_eq!(world.signer(index), world.signer(ASTRAY));
    }
}

#[test]
fn an_unchanged_cluster_is_not_written_to() {
    let mut world = World::new();
    for _ in 0..4 {
        (0..REPLICAS).for_each(|index| world.sync(index));
        world.pass(SETTLE);
    }
    let written = (world.secret.0, world.configuration.0);
    world.pass(50 * DAY);
    assert_eq!((world.secret.0, world.configuration.0), written);
    assert_eq!(world.secret.1.bundle().len(), 1);
    // Each authority is announced, promoted, and its predecessor forgotten.
    world.pass(365 * DAY);
    assert!(world.secret.1.bundle().len() <= 2);
    assert!((13..=22).contains(&(world.secret.0 - written.0)), "{}", world.secret.0 - written.0);
}
