//! Every rotation restarts every workload once, regardless of failures of the controller.

use super::cluster::{Cluster, Controller, key, phase, quick, run, shared};
use crate::{Doubt, Mode, Phase, Settings};

/// `SplitMix64`, for random moments of a controller's end.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::assess::mix(self.0) % bound
    }
}

#[test]
fn kills_during_200_rotations_lose_and_add_no_restart() {
    let (mut cluster, mut controller) = shared(10, quick());
    let mut random = Random(14);
    for rotation in 1..=200 {
        cluster.rotate("shared");
        for _ in 0..30 {
            cluster.advance(5);
            match random.below(6) {
                0 => controller.forget(),
                1 => controller.dies_after_patch = true,
                _ => {}
            }
            controller.run(&mut cluster);
        }
        controller.dies_after_patch = false;
        for object in cluster.objects.values() {
            assert_eq!(object.rollouts, rotation);
        }
    }
}

#[test]
fn two_leaders_restart_each_workload_once() {
    let (mut cluster, mut first) = shared(20, quick());
    let mut second = Controller::new(quick());
    second.ahead = 60;
    first.ahead = -60;
    for rotation in 1..=20 {
        cluster.rotate("shared");
        for round in 0..40 {
            // One controller decides on the state before the other one's writes.
            second.stale_view = Some(cluster.objects.clone());
            cluster.advance(5);
            first.run(&mut cluster);
            second.run(&mut cluster);
            if round % 7 == 0 {
                std::mem::swap(&mut first, &mut second);
                first.stale_view = None;
            }
        }
        for object in cluster.objects.values() {
            assert_eq!(object.rollouts, rotation);
        }
    }
}

const SECRETS: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn a_storm_of_rotations_restarts_each_workload_once() {
    let mut cluster = Cluster::new();
    let names: Vec<String> = (0..50).map(|index| format!("w{index:02}")).collect();
    for (index, name) in names.iter().enumerate() {
        cluster.add(name, &[SECRETS[index % 4], SECRETS[(index + 1) % 4]]);
    }
    let mut controller = Controller::new(Settings { clock_skew: 60, ..Settings::default() });
    run(&mut cluster, &mut [&mut controller], 60, 5);
    for round in 0..60 {
        for rotation in 0..17 {
            cluster.rotate(SECRETS[(round + rotation) % 4]);
        }
        cluster.advance(1);
        controller.run(&mut cluster);
    }
    run(&mut cluster, &mut [&mut controller], 3600, 5);
    for (key, object) in &cluster.objects {
        assert_eq!(object.rollouts, 1, "{key}");
    }
}

#[test]
fn a_wrong_clock_of_scaivault_neither_loses_nor_repeats() {
    for ahead in [-60, 60] {
        let (mut cluster, mut controller) = shared(3, quick());
        cluster.vault_ahead = ahead;
        for rotation in 1..=5 {
            cluster.rotate("shared");
            run(&mut cluster, &mut [&mut controller], 300, 5);
            assert_eq!(cluster.rollouts(), 3 * rotation, "ScaiVault is {ahead} s ahead");
        }
    }
}

#[test]
fn pods_newer_than_the_version_are_not_restarted() {
    let (mut cluster, mut controller) = shared(2, quick());
    cluster.rotate("shared");
    cluster.advance(quick().clock_skew + 1);
    let now = cluster.now;
    for pod in &mut cluster.object("w000").pods {
        pod.created = now;
    }
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!((cluster.rollouts_of("w000"), cluster.rollouts_of("w001")), (0, 1));
}

#[test]
fn an_older_version_restarts_nothing() {
    let (mut cluster, mut controller) = shared(2, quick());
    let start = cluster.now;
    cluster.set_version("shared", 8, start);
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!(cluster.rollouts(), 2);
    // A lagging replica, also for a controller that has just started.
    cluster.set_version("shared", 7, start - 500);
    controller.forget();
    run(&mut cluster, &mut [&mut controller], 120, 5);
    cluster.set_version("shared", 8, start);
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!(cluster.rollouts(), 2);
}

/// With clocks that differ, each of two versions is newer than the other.
#[test]
fn versions_without_an_order_cause_no_loop() {
    let (mut cluster, mut controller) = shared(2, quick());
    let start = cluster.now;
    cluster.set_version("shared", 8, start);
    run(&mut cluster, &mut [&mut controller], 1000, 5);
    cluster.object("w000").mode = Mode::Off;
    cluster.set_version("shared", 7, start + 1000);
    run(&mut cluster, &mut [&mut controller], 300, 5);
    let ledger = cluster.object("w000").ledger.clone();
    run(&mut cluster, &mut [&mut controller], 60, 1);
    assert_eq!(cluster.object("w000").ledger, ledger);
    assert_eq!((cluster.rollouts_of("w000"), cluster.rollouts_of("w001")), (1, 2));
}

#[test]
fn a_recreated_secret_with_version_1_restarts() {
    let (mut cluster, mut controller) = shared(2, quick());
    let now = cluster.now;
    cluster.set_version("shared", 1, now);
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!(cluster.rollouts(), 2);
}

#[test]
fn a_version_seen_first_is_not_called_current() {
    let mut cluster = Cluster::new();
    for name in ["old", "off", "new"] {
        cluster.add(name, &["shared"]);
    }
    let (now, mut controller) = (cluster.now, Controller::new(quick()));
    cluster.set_version("shared", 5, now - 40_000);
    for pod in &mut cluster.object("new").pods {
        pod.created = now - 39_999;
    }
    run(&mut cluster, &mut [&mut controller], 60, 5);
    assert!(matches!(phase(&cluster, "old"), Phase::Unknown(Doubt::FirstSight(_))));
    assert_eq!(phase(&cluster, "new"), Phase::Current);
    // Its owner restarts it.
    for pod in &mut cluster.object("old").pods {
        pod.created = now;
    }
    run(&mut cluster, &mut [&mut controller], 60, 5);
    assert_eq!(phase(&cluster, "old"), Phase::Current);
    cluster.object("off").mode = Mode::Off;
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!(phase(&cluster, "old"), Phase::Current);
    assert!(matches!(phase(&cluster, "off"), Phase::Unknown(Doubt::FirstSight(_))));
    assert_eq!(cluster.rollouts_of("off"), 0);
}

#[test]
fn a_workload_or_secret_seen_first_is_not_restarted() {
    let (mut cluster, mut controller) = shared(2, quick());
    cluster.rotate("shared");
    cluster.add("new", &["shared"]);
    cluster.object("w000").secrets.push("other");
    let now = cluster.now;
    cluster.set_version("other", 5, now);
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!((cluster.rollouts_of("new"), cluster.rollouts_of("w000")), (0, 1));
    // Later rotations restart it.
    cluster.rotate("other");
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!(cluster.rollouts_of("w000"), 2);
}

#[test]
fn an_applier_that_removes_the_marker_causes_no_loop() {
    let (mut cluster, mut controller) = shared(1, quick());
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!(cluster.rollouts_of("w000"), 1);
    // The applier replaces the whole object, which causes a rollout. It is the last one.
    for _ in 0..50 {
        cluster.patch(&key("w000"), None);
        run(&mut cluster, &mut [&mut controller], 30, 5);
    }
    assert_eq!(cluster.rollouts_of("w000"), 2);
}

#[test]
fn a_lost_record_loses_no_rotation() {
    let (mut cluster, mut controller) = shared(2, quick());
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!(cluster.rollouts(), 2);
    // This one was never restarted.
    cluster.add("w002", &["shared"]);
    for object in cluster.objects.values_mut() {
        object.ledger = None;
    }
    cluster.rotate("shared");
    controller.forget();
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!((cluster.rollouts(), cluster.rollouts_of("w002")), (4, 0));
    // The current version in the marker needs no restart.
    for object in cluster.objects.values_mut() {
        object.ledger = None;
    }
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!(cluster.rollouts(), 4);
}
