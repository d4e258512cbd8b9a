//! Restarted controllers, wrong clocks and incomplete caches.

use super::cluster::{Controller, key, phase, quick, run, shared};
use crate::{Failure, Phase, Settings, Wait};

#[test]
fn a_restart_that_was_not_written_down_counts() {
    let settings = Settings { namespace_concurrency: 1, ..quick() };
    let (mut cluster, mut controller) = shared(2, settings);
    cluster.rotate("shared");
    controller.dies_after_patch = true;
    while cluster.rollouts() == 0 {
        run(&mut cluster, &mut [&mut controller], 1, 1);
    }
    run(&mut cluster, &mut [&mut controller], 10, 5);
    assert_eq!((cluster.rollouts(), cluster.running()), (1, 1), "the limit of rollouts holds");
    let restarted = cluster.objects.values().find(|object| object.rollouts == 1).unwrap();
    let ledger = restarted.ledger.as_ref().unwrap();
    assert_eq!((&ledger.phase, ledger.restarts.len()), (&Phase::Restarting, 1));
}

#[test]
fn a_bad_canary_that_was_not_written_down_stops_the_rest() {
    let (mut cluster, mut controller) = shared(20, Settings { canaries: 1, ..quick() });
    for object in cluster.objects.values_mut() {
        object.crashes = true;
    }
    cluster.rotate("shared");
    controller.dies_after_patch = true;
    run(&mut cluster, &mut [&mut controller], 600, 5);
    assert_eq!(cluster.rollouts(), 1);
    let restarted = cluster.objects.iter().find(|(_, object)| object.rollouts == 1).unwrap().0.clone();
    assert_eq!(phase(&cluster, &restarted.name), Phase::Failed(Failure::PodsFailing));
}

#[test]
fn times_of_a_leader_from_the_future_do_not_delay() {
    let settings = Settings { debounce: 60, max_wait: 60, ..quick() };
    let (mut cluster, mut early) = shared(1, settings.clone());
    early.ahead = 3600;
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut early], 20, 5);
    assert_eq!(phase(&cluster, "w000"), Phase::Waiting(Wait::Settling));
    let mut next = Controller::new(settings);
    run(&mut cluster, &mut [&mut next], 100, 5);
    assert_eq!(cluster.rollouts(), 1);
}

#[test]
fn a_pod_from_just_before_the_rotation_is_restarted() {
    // The version seems to be older than the pod that does not have it.
    let (mut cluster, mut controller) = shared(1, quick());
    cluster.vault_ahead = -60;
    let created = cluster.now - 30;
    cluster.object("w000").pods.iter_mut().for_each(|pod| pod.created = created);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(cluster.rollouts(), 1);
}

#[test]
fn pods_that_are_not_known_yet_are_not_forgotten() {
    let (mut cluster, mut controller) = shared(1, quick());
    let pods = std::mem::take(&mut cluster.object("w000").pods);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 60, 5);
    cluster.object("w000").pods = pods;
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(cluster.rollouts(), 1);
}

#[test]
fn a_workload_without_pods_is_not_restarted() {
    let (mut cluster, mut controller) = shared(1, quick());
    cluster.object("w000").pods.clear();
    cluster.object("w000").replicas = 0;
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!((cluster.rollouts(), phase(&cluster, "w000")), (0, Phase::Current));
}

#[test]
fn invalid_annotations_wait_and_are_shown() {
    let (mut cluster, mut controller) = shared(1, quick());
    cluster.object("w000").problem = "restart: \"maybe\" is not a mode";
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(cluster.rollouts(), 0);
    assert!(matches!(phase(&cluster, "w000"), Phase::Waiting(Wait::Invalid(_))));
}

#[test]
fn a_rollout_of_the_owner_is_waited_for() {
    let (mut cluster, mut controller) = shared(1, quick());
    cluster.rotate("shared");
    cluster.patch(&key("w000"), Some("of the owner".to_owned()));
    run(&mut cluster, &mut [&mut controller], 15, 1);
    assert_eq!(cluster.rollouts(), 1);
    assert_eq!(phase(&cluster, "w000"), Phase::Waiting(Wait::Rollout));
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!(cluster.rollouts(), 2);
}
