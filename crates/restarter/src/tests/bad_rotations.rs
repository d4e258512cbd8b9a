//! New credentials that do not work.

use super::cluster::{Cluster, phase, quick, run, shared, text};
use crate::{Failure, Phase, Settings, Wait};

fn settings() -> Settings {
    Settings { canaries: 2, wave: 10, observation: 100, ..quick() }
}

fn break_all(cluster: &mut Cluster, crashes: bool) {
    for object in cluster.objects.values_mut() {
        object.crashes = crashes;
    }
}

#[test]
fn a_bad_rotation_stops_after_the_first_wave() {
    let (mut cluster, mut controller) = shared(50, settings());
    break_all(&mut cluster, true);
    cluster.rotate("shared");
    for _ in 0..20 {
        run(&mut cluster, &mut [&mut controller], 100, 5);
        controller.forget();
    }
    assert_eq!(cluster.rollouts(), 2, "the canaries and nothing else");
    let restarted: Vec<_> = cluster.objects.iter().filter(|(_, object)| object.rollouts == 1).collect();
    let failed: Vec<_> = restarted.iter().map(|(key, _)| key.name.clone()).collect();
    assert!(failed.iter().all(|name| phase(&cluster, name) == Phase::Failed(Failure::PodsFailing)));
    let by = Some(text(&format!("Deployment {}", failed[0])));
    let waiting = cluster.objects.iter().find(|(_, object)| object.rollouts == 0).unwrap();
    match &waiting.1.ledger.as_ref().unwrap().phase {
        Phase::Waiting(Wait::Stopped { by: stopped, .. }) => assert_eq!(*stopped, by),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_next_version_begins_with_canaries_again() {
    let (mut cluster, mut controller) = shared(20, settings());
    break_all(&mut cluster, true);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 600, 5);
    assert_eq!(cluster.rollouts(), 2);
    break_all(&mut cluster, false);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 2000, 5);
    assert_eq!(cluster.rollouts(), 2 + 20);
    assert!(cluster.objects.keys().all(|key| phase(&cluster, &key.name) == Phase::Current));
}

#[test]
fn a_repaired_workload_lets_the_others_go_on() {
    let (mut cluster, mut controller) = shared(20, settings());
    break_all(&mut cluster, true);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 600, 5);
    for object in cluster.objects.values_mut() {
        object.crashes = false;
        for pod in &mut object.pods {
            pod.is_failing = false;
        }
    }
    run(&mut cluster, &mut [&mut controller], 2000, 5);
    assert!(cluster.objects.values().all(|object| object.rollouts == 1));
}

#[test]
fn a_crash_soon_after_a_rollout_stops_the_rest() {
    let (mut cluster, mut controller) = shared(30, Settings { wave_pause: 60, ..settings() });
    cluster.rotate("shared");
    while cluster.running() < 2 {
        run(&mut cluster, &mut [&mut controller], 5, 5);
    }
    run(&mut cluster, &mut [&mut controller], 30, 5);
    for object in cluster.objects.values_mut().filter(|object| object.rollouts == 1) {
        object.pods.iter_mut().for_each(|pod| pod.is_failing = true);
    }
    run(&mut cluster, &mut [&mut controller], 1000, 5);
    assert_eq!(cluster.rollouts(), 2);
}

#[test]
fn a_workload_that_was_broken_before_stops_nobody() {
    let (mut cluster, mut controller) = shared(20, settings());
    let broken = cluster.object("w003");
    broken.crashes = true;
    broken.pods.iter_mut().for_each(|pod| pod.is_failing = true);
    run(&mut cluster, &mut [&mut controller], 60, 5);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 4000, 5);
    assert!(cluster.objects.values().all(|object| object.rollouts == 1));
}

#[test]
fn a_failure_of_a_neighbour_is_not_named() {
    let mut cluster = Cluster::new();
    cluster.add("a/first", &["shared"]).is_canary = true;
    cluster.add("b/second", &["shared"]);
    let mut controller = crate::tests::cluster::Controller::new(Settings { canaries: 1, ..settings() });
    run(&mut cluster, &mut [&mut controller], 30, 5);
    break_all(&mut cluster, true);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 600, 5);
    assert!(matches!(phase(&cluster, "b/second"), Phase::Waiting(Wait::Stopped { by: None, .. })));
}

#[test]
fn a_broken_canary_stops_nobody() {
    let (mut cluster, mut controller) = shared(10, Settings { canaries: 1, ..settings() });
    let broken = cluster.object("w003");
    broken.is_canary = true;
    broken.crashes = true;
    broken.pods.iter_mut().for_each(|pod| pod.is_failing = true);
    run(&mut cluster, &mut [&mut controller], 60, 5);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 4000, 5);
    assert!(cluster.objects.values().all(|object| object.rollouts == 1));
}

#[test]
fn a_healthy_workload_is_the_canary() {
    let (mut cluster, mut controller) = shared(20, Settings { canaries: 1, ..settings() });
    for object in cluster.objects.values_mut().take(19) {
        object.pods.iter_mut().for_each(|pod| pod.is_failing = true);
    }
    run(&mut cluster, &mut [&mut controller], 60, 5);
    cluster.rotate("shared");
    while cluster.rollouts() == 0 {
        run(&mut cluster, &mut [&mut controller], 1, 1);
    }
    assert_eq!((cluster.rollouts(), cluster.rollouts_of("w019")), (1, 1));
}
