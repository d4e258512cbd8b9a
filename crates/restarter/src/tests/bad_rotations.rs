//! New credentials that do not work.

use super::cluster::{Cluster, Controller, key, phase, quick, run, shared, text};
use crate::{
    Agreement, Failure, Outcome, Phase, Pod, Queue, RolloutChange, Settings, StoppedBy, Wait, digest,
};

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
    let by = StoppedBy::Workload(text(&format!("Deployment {}", failed[0])));
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
fn a_recovered_workload_lets_the_others_continue() {
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
fn a_workload_that_was_broken_before_stops_no_other() {
    for (workloads, canaries, is_canary) in [(20, 2, false), (10, 1, true)] {
        let (mut cluster, mut controller) = shared(workloads, Settings { canaries, ..settings() });
        let broken = cluster.object("w003");
        broken.is_canary = is_canary;
        broken.crashes = true;
        broken.pods.iter_mut().for_each(|pod| pod.is_failing = true);
        run(&mut cluster, &mut [&mut controller], 60, 5);
        cluster.rotate("shared");
        run(&mut cluster, &mut [&mut controller], 4000, 5);
        assert!(cluster.objects.values().all(|object| object.rollouts == 1), "{workloads} workloads");
    }
}

#[test]
fn a_failure_of_a_neighbour_is_not_named() {
    let mut cluster = Cluster::new();
    cluster.add("a/first", &["shared"]).is_canary = true;
    cluster.add("b/second", &["shared"]);
    cluster.add("c/third", &["shared"]).is_paused = true;
    cluster.add("d/fourth", &["shared"]);
    let mut controller = Controller::new(Settings { canaries: 1, ..settings() });
    run(&mut cluster, &mut [&mut controller], 30, 5);
    break_all(&mut cluster, true);
    cluster.object("d/fourth").crashes = false;
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 60, 5);
    // It failed in two namespaces and succeeded in one.
    cluster.object("c/third").is_paused = false;
    run(&mut cluster, &mut [&mut controller], 30, 5);
    let stopped = |cluster: &Cluster| {
        let phase = phase(cluster, "c/third");
        assert!(
            matches!(phase, Phase::Waiting(Wait::Stopped { by: StoppedBy::Namespaces, .. })),
            "{phase:?}"
        );
        cluster.objects[&key("c/third")].resource_version
    };
    let before = stopped(&cluster);
    // A failure in a third namespace writes no status of those that wait.
    cluster.object("d/fourth").pods.iter_mut().for_each(|pod| pod.is_failing = true);
    run(&mut cluster, &mut [&mut controller], 30, 5);
    assert!(matches!(phase(&cluster, "d/fourth"), Phase::Failed(_)));
    assert_eq!((stopped(&cluster), cluster.rollouts()), (before, 3));
}

/// Two namespaces in which the version fails first, and another one with paused workloads.
fn stopped_by_others(settings: Settings) -> (Cluster, Controller) {
    let (mut cluster, mut controller) = shared(5, Settings { canaries: 1, ..settings });
    for name in ["x/first", "y/first"] {
        let object = cluster.add(name, &["shared"]);
        (object.is_paused, object.crashes) = (true, true);
    }
    run(&mut cluster, &mut [&mut controller], 30, 5);
    (cluster, controller)
}

fn pause(cluster: &mut Cluster, namespaces: &[&str], is_paused: bool) {
    let chosen = cluster.objects.iter_mut().filter(|(key, _)| namespaces.contains(&&*key.namespace));
    chosen.for_each(|(_, object)| object.is_paused = is_paused);
}

#[test]
fn a_namespace_in_which_the_version_works_continues() {
    let (mut cluster, mut controller) = stopped_by_others(settings());
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 60, 5);
    assert_eq!(cluster.rollouts(), 1, "the canary of the team");
    pause(&mut cluster, &["x", "y"], false);
    run(&mut cluster, &mut [&mut controller], 2000, 5);
    assert!(["x", "y"].iter().all(|namespace| cluster.rollouts_of(&format!("{namespace}/first")) == 1));
    assert_eq!(cluster.rollouts(), 2 + 5);
}

#[test]
fn a_stop_by_others_ends_before_the_old_version() {
    let (mut cluster, mut controller) = stopped_by_others(Settings { before_end: 1000, ..settings() });
    pause(&mut cluster, &["x", "y"], false);
    pause(&mut cluster, &["team"], true);
    cluster.old_ends = Some(cluster.now + 3000);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 600, 5);
    pause(&mut cluster, &["team"], false);
    run(&mut cluster, &mut [&mut controller], 1000, 5);
    assert_eq!(cluster.rollouts(), 2);
    let stopped = phase(&cluster, "w000");
    assert!(matches!(stopped, Phase::Waiting(Wait::Stopped { by: StoppedBy::Namespaces, .. })));
    run(&mut cluster, &mut [&mut controller], 2000, 5);
    assert_eq!(cluster.rollouts(), 2 + 5);
}

/// The canary of `shared` was restarted, and all its pods are available.
fn after_the_canary() -> (Cluster, Controller) {
    let (mut cluster, mut controller) = shared(30, Settings::default());
    cluster.rotate("shared");
    while cluster.rollouts() == 0 || cluster.running() > 0 {
        run(&mut cluster, &mut [&mut controller], 5, 5);
    }
    run(&mut cluster, &mut [&mut controller], 5, 5);
    (cluster, controller)
}

fn crash(cluster: &mut Cluster, at: i64) {
    let restarted = cluster.objects.values_mut().filter(|object| object.rollouts == 1);
    restarted.for_each(|object| object.pods[0].crashed_at = at);
}

#[test]
fn one_crash_of_an_available_pod_stops_the_rest() {
    let (mut cluster, mut controller) = after_the_canary();
    // Slower than a pod in CrashLoopBackOff, and it becomes ready after each crash.
    for _ in 0..5 {
        run(&mut cluster, &mut [&mut controller], 200, 5);
        let now = cluster.now;
        crash(&mut cluster, now);
        run(&mut cluster, &mut [&mut controller], 5, 5);
        let failed = cluster.objects.values().find(|object| object.rollouts == 1).unwrap();
        let phase = &failed.ledger.as_ref().unwrap().phase;
        assert_eq!((cluster.rollouts(), phase), (1, &Phase::Failed(Failure::PodsFailing)));
    }
    // It has recovered without a restart.
    run(&mut cluster, &mut [&mut controller], 3000, 5);
    assert_eq!(cluster.rollouts(), 30);
}

#[test]
fn a_crash_of_a_pod_that_was_added_later_stops_nothing() {
    let (mut cluster, mut controller) = after_the_canary();
    run(&mut cluster, &mut [&mut controller], 60, 5);
    let now = cluster.now;
    let restarted = cluster.objects.values_mut().find(|object| object.rollouts == 1).unwrap();
    restarted.pods.push(Pod { created: now, crashed_at: now + 5, ..restarted.pods[0] });
    run(&mut cluster, &mut [&mut controller], 320, 5);
    assert!(cluster.rollouts() > 1);
}

#[test]
fn a_crash_before_a_pod_is_available_stops_nothing() {
    let (mut cluster, mut controller) = after_the_canary();
    let before = cluster.now - 10;
    crash(&mut cluster, before);
    run(&mut cluster, &mut [&mut controller], 320, 5);
    assert!(cluster.rollouts() > 1);
}

#[test]
fn a_tenant_stops_its_own_namespace_alone() {
    let (mut cluster, mut controller) = shared(5, Settings { canaries: 1, ..settings() });
    let tenant = cluster.add("tenant/first", &["shared"]);
    (tenant.is_canary, tenant.crashes) = (true, true);
    cluster.add("tenant/second", &["shared"]);
    run(&mut cluster, &mut [&mut controller], 30, 5);
    // It comes first.
    pause(&mut cluster, &["team"], true);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(phase(&cluster, "tenant/first"), Phase::Failed(Failure::PodsFailing));
    pause(&mut cluster, &["team"], false);
    run(&mut cluster, &mut [&mut controller], 2000, 5);
    assert_eq!(cluster.rollouts(), 1 + 5);
    let by = StoppedBy::Workload(text("Deployment first"));
    match phase(&cluster, "tenant/second") {
        Phase::Waiting(Wait::Stopped { by: stopped, .. }) => assert_eq!(stopped, by),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_marker_that_an_owner_wrote_stops_no_other_workload() {
    let (mut cluster, mut controller) = shared(5, Settings { canaries: 1, ..settings() });
    cluster.object("w000").crashes = true;
    let time = cluster.now;
    cluster.patch(&key("w000"), Some(format!("scaivault:shared=2@{time}")));
    run(&mut cluster, &mut [&mut controller], 60, 5);
    assert_eq!(phase(&cluster, "w000"), Phase::Failed(Failure::PodsFailing));
    cluster.set_version("shared", 2, time);
    run(&mut cluster, &mut [&mut controller], 2000, 5);
    assert_eq!(cluster.rollouts(), 5);
}

#[test]
fn another_rotation_does_not_resume_a_stopped_one() {
    let (mut cluster, mut controller) = shared(20, Settings { canaries: 1, ..settings() });
    cluster.add("both", &["shared", "other"]).is_canary = true;
    run(&mut cluster, &mut [&mut controller], 30, 5);
    cluster.object("both").crashes = true;
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 600, 5);
    assert_eq!(cluster.rollouts(), 1);
    for _ in 0..3 {
        cluster.rotate("other");
        run(&mut cluster, &mut [&mut controller], 1000, 5);
    }
    assert_eq!((cluster.rollouts_of("both"), cluster.rollouts()), (4, 4));
    // The workload runs, so the version is not the cause of its failure.
    cluster.object("both").crashes = false;
    cluster.rotate("other");
    run(&mut cluster, &mut [&mut controller], 3000, 5);
    assert_eq!(cluster.rollouts(), 5 + 20);
}

#[test]
fn a_crash_a_minute_after_the_canary_stops_the_rest() {
    let (mut cluster, mut controller) = shared(30, Settings::default());
    cluster.rotate("shared");
    while cluster.rollouts() == 0 {
        run(&mut cluster, &mut [&mut controller], 5, 5);
    }
    run(&mut cluster, &mut [&mut controller], 80, 5);
    for object in cluster.objects.values_mut().filter(|object| object.rollouts == 1) {
        object.pods.iter_mut().for_each(|pod| pod.is_failing = true);
    }
    run(&mut cluster, &mut [&mut controller], 3000, 5);
    assert_eq!(cluster.rollouts(), 1);
}

/// A workload of ten pods without a deadline, of which `replaced` are replaced, one each 400 s; and another
/// one that comes after it.
fn slow(replaced: usize) -> (Cluster, Controller) {
    let (mut cluster, mut controller) = shared(2, Settings { canaries: 1, ..settings() });
    let object = cluster.object("w000");
    (object.deadline, object.is_canary, object.rollout_seconds) = (None, true, 100_000);
    (object.replicas, object.pods) = (10, vec![object.pods[0]; 10]);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 60, 5);
    for index in 0..replaced {
        run(&mut cluster, &mut [&mut controller], 400, 5);
        assert_eq!(phase(&cluster, "w000"), Phase::Restarting, "{index} of ten");
        let (now, object) = (cluster.now, cluster.object("w000"));
        object.pods[index].marker = digest(&[object.marker.as_deref().unwrap()]);
        object.pods[index].created = now;
    }
    (cluster, controller)
}

#[test]
fn a_rollout_with_progress_has_not_failed() {
    let (mut cluster, mut controller) = slow(10);
    cluster.object("w000").rollout_ends = None;
    run(&mut cluster, &mut [&mut controller], 400, 5);
    assert_eq!((phase(&cluster, "w000"), cluster.rollouts()), (Phase::Current, 2));
}

#[test]
fn a_rollout_without_progress_has_failed() {
    let (mut cluster, mut controller) = slow(1);
    run(&mut cluster, &mut [&mut controller], 1500, 5);
    assert_eq!(phase(&cluster, "w000"), Phase::Failed(Failure::TimedOut));
    assert_eq!(cluster.rollouts(), 1, "the other one is stopped");
}

#[test]
fn a_late_failure_does_not_stop_others() {
    let (mut cluster, mut controller) = slow(9);
    run(&mut cluster, &mut [&mut controller], 2000, 5);
    assert_eq!(phase(&cluster, "w000"), Phase::Failed(Failure::TimedOut));
    assert_eq!(cluster.rollouts(), 2, "the other one continues");
}

#[test]
fn the_workloads_own_deadline_counts() {
    let (mut cluster, mut controller) = shared(1, settings());
    let object = cluster.object("w000");
    (object.rollout_seconds, object.deadline) = (5000, Some(3600));
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 4000, 5);
    assert_eq!(phase(&cluster, "w000"), Phase::Restarting);
    // Its own controller should have given up long ago.
    cluster.object("w000").rollout_seconds = 100_000;
    cluster.rotate("shared");
    cluster.object("w000").rollout_ends = None;
    run(&mut cluster, &mut [&mut controller], 400, 5);
    assert_eq!(phase(&cluster, "w000"), Phase::Restarting);
    run(&mut cluster, &mut [&mut controller], 3600 + 900, 5);
    assert_eq!(phase(&cluster, "w000"), Phase::Failed(Failure::TimedOut));
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

/// The phases of workloads that were restarted.
fn restarted_phases(cluster: &Cluster) -> Vec<Phase> {
    let restarted = cluster.objects.values().filter(|object| object.rollouts > 0);
    restarted.map(|object| object.ledger.as_ref().unwrap().phase.clone()).collect()
}

#[test]
fn pods_that_never_become_ready_stop_the_rest() {
    for replicas in [1, 2] {
        let (mut cluster, mut controller) = shared(20, Settings { canaries: 1, ..settings() });
        for object in cluster.objects.values_mut() {
            (object.deadline, object.is_never_ready, object.replicas) = (None, true, replicas);
            object.pods.truncate(replicas as usize);
        }
        cluster.rotate("shared");
        run(&mut cluster, &mut [&mut controller], 3000, 5);
        assert_eq!(restarted_phases(&cluster), [Phase::Failed(Failure::TimedOut)], "{replicas} replicas");
        let waiting = cluster.objects.values().find(|object| object.rollouts == 0).unwrap();
        let phase = &waiting.ledger.as_ref().unwrap().phase;
        assert!(matches!(phase, Phase::Waiting(Wait::Stopped { .. })), "{phase:?}");
    }
}

/// A canary on which the version has failed, and 19 others.
fn failed_canary() -> (Cluster, Controller) {
    let (mut cluster, mut controller) = shared(19, Settings { canaries: 1, ..settings() });
    cluster.add("both", &["shared", "spare"]).is_canary = true;
    run(&mut cluster, &mut [&mut controller], 30, 5);
    cluster.object("both").crashes = true;
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(restarted_phases(&cluster), [Phase::Failed(Failure::PodsFailing)]);
    (cluster, controller)
}

fn set_failing(cluster: &mut Cluster, is_failing: bool) {
    cluster.object("both").pods.iter_mut().for_each(|pod| pod.is_failing = is_failing);
}

#[test]
fn a_pod_that_runs_between_crashes_has_not_recovered() {
    let (mut cluster, mut controller) = failed_canary();
    for round in 0..180 {
        set_failing(&mut cluster, round % 2 == 0);
        run(&mut cluster, &mut [&mut controller], 20, 5);
        if round == 90 {
            // Another restart does not change that.
            cluster.rotate("spare");
        }
    }
    assert_eq!((cluster.rollouts_of("both"), cluster.rollouts()), (2, 2));
    cluster.object("both").crashes = false;
    set_failing(&mut cluster, false);
    run(&mut cluster, &mut [&mut controller], 90, 5);
    assert_eq!(cluster.rollouts(), 2, "observed for a while");
    run(&mut cluster, &mut [&mut controller], 3000, 5);
    assert_eq!(cluster.rollouts(), 2 + 19);
}

#[test]
fn a_failed_workload_without_pods_has_not_recovered() {
    let (mut cluster, mut controller) = failed_canary();
    let object = cluster.object("both");
    (object.replicas, object.pods) = (0, Vec::new());
    run(&mut cluster, &mut [&mut controller], 3600, 5);
    // Another restart without a result does not change that.
    cluster.rotate("spare");
    run(&mut cluster, &mut [&mut controller], 3600, 5);
    assert_eq!(cluster.rollouts(), 1);
}

#[test]
fn a_failed_workload_without_pod_versions_stays_failed() {
    let (mut cluster, mut controller) = failed_canary();
    let object = cluster.object("both");
    (object.replicas, object.pods) = (0, Vec::new());
    object.agreement = Agreement::Disagreeing(None);
    run(&mut cluster, &mut [&mut controller], 3600, 5);
    assert_eq!(cluster.rollouts(), 1);
}

#[test]
fn a_repaired_workload_recovers_while_it_scales() {
    let (mut cluster, mut controller) = failed_canary();
    cluster.object("both").crashes = false;
    set_failing(&mut cluster, false);
    run(&mut cluster, &mut [&mut controller], 5, 5);
    for round in 0..20 {
        // The rollout does not complete while it is observed.
        cluster.object("both").rollout_ends = (round % 2 == 0).then_some(i64::MAX);
        run(&mut cluster, &mut [&mut controller], 20, 5);
    }
    assert!(cluster.rollouts() > 1);
}

#[test]
fn pods_that_were_not_replaced_are_ignored() {
    let (mut cluster, mut controller) = shared(20, Settings { canaries: 1, ..settings() });
    for object in cluster.objects.values_mut() {
        (object.replicas, object.deadline) = (3, None);
    }
    cluster.rotate("shared");
    while cluster.rollouts() == 0 {
        run(&mut cluster, &mut [&mut controller], 5, 5);
    }
    let now = cluster.now;
    let canary = cluster.objects.values_mut().find(|object| object.rollouts == 1).unwrap();
    let marker = digest(&[canary.marker.as_deref().unwrap()]);
    let old = Pod { created: now - 60, is_ready: true, ..Pod::default() };
    canary.pods = vec![old, old, Pod { created: now, marker, ..Pod::default() }];
    canary.rollout_ends = None;
    run(&mut cluster, &mut [&mut controller], 3000, 5);
    assert_eq!(cluster.rollouts(), 1);
}

#[test]
fn a_restart_that_ends_without_pods_is_no_success() {
    let (mut cluster, mut controller) = shared(20, Settings { canaries: 1, ..settings() });
    for object in cluster.objects.values_mut() {
        (object.is_never_ready, object.deadline) = (true, None);
    }
    cluster.object("w007").is_canary = true;
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 100, 5);
    let object = cluster.object("w007");
    (object.rollouts, object.replicas, object.pods) = (1, 0, Vec::new());
    run(&mut cluster, &mut [&mut controller], 5000, 5);
    assert_eq!(cluster.rollouts(), 2, "another canary has tried it");
    assert_eq!(phase(&cluster, "w007"), Phase::Current);
}

#[test]
fn a_paused_canary_does_not_delay_others_for_long() {
    let (mut cluster, mut controller) = shared(20, Settings { canaries: 1, ..settings() });
    let canary = cluster.object("w007");
    (canary.is_canary, canary.deadline) = (true, Some(3600));
    cluster.rotate("shared");
    while cluster.rollouts() == 0 {
        run(&mut cluster, &mut [&mut controller], 1, 1);
    }
    cluster.object("w007").is_paused = true;
    run(&mut cluster, &mut [&mut controller], 800, 5);
    let queue = Queue::Canary { workload: text("Deployment w007"), since: cluster.now - 800 };
    assert_eq!(phase(&cluster, "w001"), Phase::Waiting(Wait::Turn(queue)));
    run(&mut cluster, &mut [&mut controller], 3000, 5);
    assert_eq!(phase(&cluster, "w007"), Phase::Failed(Failure::Paused));
    assert_eq!(cluster.rollouts(), 20);
    cluster.object("w007").is_paused = false;
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(phase(&cluster, "w007"), Phase::Current);
}

#[test]
fn another_description_does_not_end_a_stop() {
    let (mut cluster, mut controller) = failed_canary();
    let now = cluster.now;
    cluster.set_version("shared", 2, now + 50);
    controller.forget();
    run(&mut cluster, &mut [&mut controller], 3000, 5);
    assert_eq!(cluster.rollouts(), 1);
}

#[test]
fn owners_stop_a_version_in_no_other_namespace() {
    let is_tenant = |namespace: &str| namespace.starts_with("tenant");
    for is_released in [false, true] {
        let (mut cluster, mut controller) = shared(5, Settings { canaries: 1, debounce: 30, ..settings() });
        for name in ["tenant-1/web", "tenant-2/web"] {
            cluster.add(name, &["shared"]).crashes = true;
        }
        run(&mut cluster, &mut [&mut controller], 30, 5);
        cluster.rotate("shared");
        run(&mut cluster, &mut [&mut controller], 5, 5);
        let marker = format!("scaivault:shared=2@{}", cluster.now - 5);
        let tenants: Vec<_> =
            cluster.objects.keys().filter(|key| is_tenant(&key.namespace)).cloned().collect();
        for key in tenants {
            if is_released {
                cluster.objects.get_mut(&key).unwrap().release = "now";
            } else {
                cluster.patch(&key, Some(marker.clone()));
            }
        }
        run(&mut cluster, &mut [&mut controller], 30, 5);
        for name in ["tenant-1/web", "tenant-2/web"] {
            assert_eq!(phase(&cluster, name), Phase::Failed(Failure::PodsFailing));
        }
        run(&mut cluster, &mut [&mut controller], 3000, 5);
        assert_eq!(cluster.rollouts(), 2 + 5, "released: {is_released}");
    }
}

#[test]
fn a_crash_is_reported_while_another_restart_waits() {
    let (mut cluster, mut controller) = shared(1, Settings { minimum_interval: 3000, ..settings() });
    cluster.add("w001", &["other"]).is_paused = true;
    cluster.object("w000").secrets.push("other");
    run(&mut cluster, &mut [&mut controller], 30, 5);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 60, 5);
    cluster.rotate("other");
    run(&mut cluster, &mut [&mut controller], 10, 5);
    let before = cluster.object("w000").ledger.clone().unwrap();
    cluster.object("w000").pods.iter_mut().for_each(|pod| pod.is_failing = true);
    run(&mut cluster, &mut [&mut controller], 10, 5);
    let after = cluster.object("w000").ledger.clone().unwrap();
    assert_eq!(before.phase, after.phase);
    assert!(matches!(before.rollout.unwrap().outcome, Outcome::Succeeded { .. }));
    let changes = RolloutChange::between(before.rollout, after.rollout);
    assert_eq!(changes, [RolloutChange::Failed(Failure::PodsFailing)]);
}
