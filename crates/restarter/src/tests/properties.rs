//! Properties of random clusters.

use proptest::prelude::*;

use super::cluster::{Cluster, Controller, quick, run};
use crate::Settings;

const SECRETS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A change between two decisions.
#[derive(Clone, Debug)]
enum ClusterEvent {
    Rotate(usize),
    Forget,
    DieAfterPatch,
    Wait(i64),
}

fn happening() -> impl Strategy<Value = ClusterEvent> {
    prop_oneof![
        (0..SECRETS.len()).prop_map(ClusterEvent::Rotate),
        Just(ClusterEvent::Forget),
        Just(ClusterEvent::DieAfterPatch),
        (1..200_i64).prop_map(ClusterEvent::Wait),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    (1..4_usize, 1..4_usize, 1..5_usize, 0..60_i64, 2..30_i64).prop_map(
        |(canaries, wave, concurrency, jitter, debounce)| Settings {
            canaries,
            wave,
            concurrency,
            namespace_concurrency: 3,
            jitter,
            debounce,
            max_wait: 60,
            ..quick()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// In the end, every workload has the current version of all its secrets, and no workload was restarted
    /// more often than they were rotated.
    #[test]
    fn all_workloads_become_current_with_few_restarts(
        workloads in prop::collection::vec(prop::collection::btree_set(0..SECRETS.len(), 1..4), 1..12),
        happenings in prop::collection::vec(happening(), 1..40),
        settings in settings(),
        ahead in -60..60_i64,
    ) {
        let mut cluster = Cluster::new();
        for (index, secrets) in workloads.iter().enumerate() {
            let secrets: Vec<&'static str> = secrets.iter().map(|index| SECRETS[*index]).collect();
            cluster.add(&format!("w{index:02}"), &secrets);
        }
        for secret in SECRETS {
            let now = cluster.now;
            cluster.set_version(secret, 1, now - 60_000);
        }
        cluster.vault_ahead = ahead;
        let mut controller = Controller::new(settings);
        run(&mut cluster, &mut [&mut controller], 30, 5);
        let mut rotations = [0; SECRETS.len()];
        for happening in happenings {
            match happening {
                ClusterEvent::Rotate(index) => {
                    // Two versions with the same time and number are one version.
                    cluster.rotate(SECRETS[index]);
                    rotations[index] += 1;
                }
                ClusterEvent::Forget => controller.forget(),
                ClusterEvent::DieAfterPatch => controller.dies_after_patch = true,
                ClusterEvent::Wait(seconds) => cluster.advance(seconds),
            }
            controller.run(&mut cluster);
        }
        controller.dies_after_patch = false;
        run(&mut cluster, &mut [&mut controller], 20_000, 20);
        for (index, (key, object)) in cluster.objects.iter().enumerate() {
            let of_it: usize = workloads[index].iter().map(|secret| rotations[*secret]).sum();
            prop_assert!(object.rollouts <= of_it, "{} was restarted {} times for {} rotations", key, object.rollouts, of_it);
            let ledger = object.ledger.as_ref().unwrap();
            prop_assert_eq!(&ledger.phase, &crate::Phase::Current);
            prop_assert!(ledger.pending.is_none());
            prop_assert!(of_it == 0 || object.rollouts > 0);
        }
    }
}
