//! The modes of workloads.

use super::cluster::{phase, quick, run, shared};
use crate::{Mode, Phase, Settings, Wait};

#[test]
fn manual_waits_for_a_release() {
    let (mut cluster, mut controller) = shared(2, quick());
    cluster.object("w000").mode = Mode::Manual;
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!((cluster.rollouts_of("w000"), cluster.rollouts_of("w001")), (0, 1));
    assert_eq!(phase(&cluster, "w000"), Phase::Waiting(Wait::Release));
    cluster.object("w000").release = "2026-11-27";
    run(&mut cluster, &mut [&mut controller], 60, 5);
    assert_eq!(cluster.rollouts_of("w000"), 1);
    // A release is used once.
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(cluster.rollouts_of("w000"), 1);
}

#[test]
fn a_release_that_meets_nothing_is_used_up() {
    let (mut cluster, mut controller) = shared(1, quick());
    cluster.object("w000").mode = Mode::Manual;
    cluster.object("w000").release = "too early";
    run(&mut cluster, &mut [&mut controller], 60, 5);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(cluster.rollouts(), 0);
}

#[test]
fn a_changed_mode_applies_from_the_next_rotation() {
    for (mode, time) in [(Mode::Manual, 60), (Mode::Off, 300)] {
        let (mut cluster, mut controller) = shared(1, quick());
        cluster.object("w000").mode = mode;
        cluster.rotate("shared");
        run(&mut cluster, &mut [&mut controller], time, 5);
        cluster.object("w000").mode = Mode::Auto;
        run(&mut cluster, &mut [&mut controller], 300, 5);
        assert_eq!(cluster.rollouts(), 0, "{mode:?}");
        cluster.rotate("shared");
        run(&mut cluster, &mut [&mut controller], 300, 5);
        assert_eq!(cluster.rollouts(), 1, "{mode:?}");
    }
}

#[test]
fn manual_and_off_stop_a_restart_that_waits() {
    for mode in [Mode::Manual, Mode::Off] {
        let (mut cluster, mut controller) = shared(1, Settings { debounce: 60, max_wait: 60, ..quick() });
        cluster.rotate("shared");
        run(&mut cluster, &mut [&mut controller], 30, 5);
        cluster.object("w000").mode = mode;
        run(&mut cluster, &mut [&mut controller], 300, 5);
        assert_eq!(cluster.rollouts(), 0);
    }
}

#[test]
fn paused_and_on_delete_wait_with_a_reason() {
    let (mut cluster, mut controller) = shared(2, quick());
    cluster.object("w000").is_paused = true;
    cluster.object("w001").is_on_delete = true;
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(phase(&cluster, "w000"), Phase::Waiting(Wait::Paused));
    assert_eq!(phase(&cluster, "w001"), Phase::Waiting(Wait::OnDelete));
    // A release has no effect, because the patch would have none.
    cluster.object("w001").release = "now";
    run(&mut cluster, &mut [&mut controller], 60, 5);
    assert_eq!(cluster.rollouts(), 0);
    cluster.object("w000").is_paused = false;
    let now = cluster.now;
    for pod in &mut cluster.object("w001").pods {
        pod.created = now;
    }
    run(&mut cluster, &mut [&mut controller], 120, 5);
    assert_eq!((cluster.rollouts_of("w000"), cluster.rollouts_of("w001")), (1, 0));
    assert_eq!(phase(&cluster, "w001"), Phase::Current);
}

#[test]
fn a_partition_waits_for_its_pods() {
    let (mut cluster, mut controller) = shared(1, quick());
    cluster.object("w000").is_partitioned = true;
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!((cluster.rollouts(), phase(&cluster, "w000")), (0, Phase::Waiting(Wait::Partition)));
    cluster.object("w000").is_partitioned = false;
    run(&mut cluster, &mut [&mut controller], 60, 5);
    assert_eq!(cluster.rollouts(), 1);
}

#[test]
fn a_dry_run_only_reports() {
    let (mut cluster, mut controller) = shared(1, Settings { is_dry_run: true, ..quick() });
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!((cluster.rollouts(), phase(&cluster, "w000")), (0, Phase::Waiting(Wait::DryRun)));
}
