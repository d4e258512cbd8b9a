//! How fast workloads are restarted.

use super::cluster::{phase, quick, run, shared};
use crate::{Phase, Refusal, Settings, Wait};

#[test]
fn a_shared_secret_rolls_in_waves() {
    let settings = Settings { canaries: 1, wave: 10, ..quick() };
    let (mut cluster, mut controller) = shared(200, settings);
    cluster.rotate("shared");
    let mut most = 0;
    let mut first_wave = 0;
    for _ in 0..600 {
        run(&mut cluster, &mut [&mut controller], 2, 2);
        most = most.max(cluster.running());
        if first_wave == 0 && cluster.rollouts() > 1 {
            first_wave = cluster.rollouts();
        }
    }
    assert_eq!((first_wave, most), (11, 10));
    assert!(cluster.objects.values().all(|object| object.rollouts == 1));
}

#[test]
fn marked_canaries_are_first() {
    let settings = Settings { canaries: 1, jitter: 20, ..quick() };
    let (mut cluster, mut controller) = shared(30, settings);
    cluster.object("w017").is_canary = true;
    cluster.rotate("shared");
    while cluster.rollouts() == 0 {
        run(&mut cluster, &mut [&mut controller], 1, 1);
    }
    assert_eq!((cluster.rollouts(), cluster.rollouts_of("w017")), (1, 1));
}

#[test]
fn concurrency_holds_for_cluster_and_namespace() {
    let settings = Settings { concurrency: 7, namespace_concurrency: 4, ..quick() };
    let (mut cluster, mut controller) = shared(10, settings);
    for index in 0..10 {
        cluster.add(&format!("other/w{index}"), &["shared"]);
    }
    run(&mut cluster, &mut [&mut controller], 10, 5);
    cluster.rotate("shared");
    for _ in 0..200 {
        run(&mut cluster, &mut [&mut controller], 2, 2);
        let running = |namespace: &str| {
            let running = cluster.objects.iter().filter(|(key, object)| {
                &*key.namespace == namespace
                    && object.ledger.as_ref().is_some_and(crate::Ledger::is_restarting)
            });
            running.count()
        };
        assert!(running("team") <= 4 && running("other") <= 4 && running("team") + running("other") <= 7);
    }
    assert_eq!(cluster.rollouts(), 20);
}

#[test]
fn jitter_spreads_the_restarts_of_one_rotation() {
    let settings = Settings { jitter: 100, ..quick() };
    let (mut cluster, mut controller) = shared(50, settings);
    cluster.rotate("shared");
    let mut moments = std::collections::BTreeSet::new();
    for second in 0..200 {
        let before = cluster.rollouts();
        run(&mut cluster, &mut [&mut controller], 1, 1);
        if cluster.rollouts() > before {
            moments.insert(second);
        }
    }
    assert_eq!(cluster.rollouts(), 50);
    assert!(moments.len() > 20, "{moments:?}");
}

#[test]
fn a_minimum_interval_and_a_breaker_bound_one_workload() {
    let settings = Settings { minimum_interval: 100, breaker_restarts: 3, breaker_period: 2000, ..quick() };
    let (mut cluster, mut controller) = shared(1, settings);
    let mut restarted = Vec::new();
    for _ in 0..400 {
        cluster.rotate("shared");
        let before = cluster.rollouts();
        run(&mut cluster, &mut [&mut controller], 5, 5);
        if cluster.rollouts() > before {
            restarted.push(cluster.now);
        }
    }
    assert!(restarted.windows(2).all(|pair| pair[1] - pair[0] >= 100), "{restarted:?}");
    assert_eq!(restarted.len(), 3);
    assert!(matches!(phase(&cluster, "w000"), Phase::Waiting(Wait::Breaker { .. })));
    run(&mut cluster, &mut [&mut controller], 1000, 5);
    assert_eq!(cluster.rollouts(), 4);
}

#[test]
fn restarts_wait_for_a_window() {
    // 1790000000 is 2026-09-21T14:13:20Z.
    let settings = Settings { windows: vec!["0 16 * * * for 1h".parse().unwrap()], ..quick() };
    let (mut cluster, mut controller) = shared(2, settings);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 3000, 50);
    assert_eq!(cluster.rollouts(), 0);
    let opens = "2026-09-21T16:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!(phase(&cluster, "w001"), Phase::Waiting(Wait::Window { opens: Some(opens) }));
    run(&mut cluster, &mut [&mut controller], 5000, 50);
    assert_eq!(cluster.rollouts(), 2);
}

#[test]
fn changing_versions_are_waited_for_but_not_for_ever() {
    let settings = Settings { debounce: 20, max_wait: 100, ..quick() };
    let (mut cluster, mut controller) = shared(1, settings);
    let start = cluster.now;
    while cluster.rollouts() == 0 {
        cluster.rotate("shared");
        run(&mut cluster, &mut [&mut controller], 5, 5);
    }
    let waited = cluster.now - start;
    assert!((100..=120).contains(&waited), "{waited}");
}

#[test]
fn a_refused_patch_waits_and_keeps_no_place() {
    let settings = Settings { concurrency: 1, namespace_concurrency: 1, ..quick() };
    let (mut cluster, mut controller) = shared(2, settings);
    cluster.object("w000").refusal = Some(Refusal { until: i64::MAX, message: "no".into() });
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!((cluster.rollouts_of("w000"), cluster.rollouts_of("w001")), (0, 1));
    assert_eq!(phase(&cluster, "w000"), Phase::Waiting(Wait::Refused("no".into())));
    cluster.object("w000").refusal = None;
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(cluster.rollouts_of("w000"), 1);
}
