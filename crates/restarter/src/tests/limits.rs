//! The speed of restarts.

use super::cluster::{Cluster, Controller, key, phase, quick, run, shared};
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
fn concurrency_is_limited_by_cluster_and_namespace() {
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
    assert!(
        matches!(phase(&cluster, "w001"), Phase::Waiting(Wait::Window { opens: Some(found), .. }) if found == opens)
    );
    run(&mut cluster, &mut [&mut controller], 5000, 50);
    assert_eq!(cluster.rollouts(), 2);
}

#[test]
fn closed_windows_are_searched_once_until_they_change() {
    let window = |text: &str| vec![text.parse().unwrap()];
    let (mut cluster, mut controller) =
        shared(1, Settings { windows: window("0 3 * * * for 1h"), ..quick() });
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 50);
    // The result of the previous search is used.
    let later = cluster.now + 200_000;
    let phase = &mut cluster.object("w000").ledger.as_mut().unwrap().phase;
    let Phase::Waiting(Wait::Window { opens, .. }) = phase else { panic!("{phase:?}") };
    *opens = Some(later);
    run(&mut cluster, &mut [&mut controller], 150_000, 500);
    assert_eq!(cluster.rollouts(), 0);
    controller.settings.windows = window("* * * * * for 1h");
    run(&mut cluster, &mut [&mut controller], 100, 50);
    assert_eq!(cluster.rollouts(), 1);
}

#[test]
fn restarts_begin_before_the_old_version_ends() {
    let settings =
        Settings { windows: vec!["0 3 * * * for 1h".parse().unwrap()], before_end: 1000, ..quick() };
    let (mut cluster, mut controller) = shared(2, settings);
    cluster.old_ends = Some(cluster.now + 3000);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 1900, 50);
    assert_eq!(cluster.rollouts(), 0);
    run(&mut cluster, &mut [&mut controller], 200, 50);
    assert_eq!(cluster.rollouts(), 2);
}

#[test]
fn a_namespace_does_not_use_the_limits_of_others() {
    let settings = Settings { concurrency: 4, namespace_concurrency: 2, ..quick() };
    let (mut cluster, mut controller) = shared(5, settings);
    for index in 0..10 {
        let object = cluster.add(&format!("tenant/w{index}"), &["own"]);
        object.rollout_seconds = i64::MAX / 2;
    }
    run(&mut cluster, &mut [&mut controller], 10, 5);
    cluster.rotate("own");
    run(&mut cluster, &mut [&mut controller], 5, 5);
    for index in 0..10 {
        cluster.object(&format!("tenant/w{index}")).release = "now";
    }
    run(&mut cluster, &mut [&mut controller], 60, 5);
    assert_eq!(cluster.rollouts(), 4, "places of its own, and as many released");
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 300, 5);
    assert_eq!(cluster.rollouts(), 4 + 5);
}

/// The steps of a tenant in each round.
type Tenant = dyn Fn(&mut Cluster, usize);

/// A cluster with another tenant that begins rollouts without an end in two namespaces, each 300 s.
fn with_tenant(tenant: &Tenant) -> Cluster {
    let settings = Settings { concurrency: 4, namespace_concurrency: 2, ..quick() };
    let (mut cluster, mut controller) = shared(5, settings);
    for name in TENANT {
        let object = cluster.add(name, &["own"]);
        (object.rollout_seconds, object.deadline) = (i64::MAX / 2, None);
    }
    run(&mut cluster, &mut [&mut controller], 10, 5);
    for round in 0..12 {
        tenant(&mut cluster, round);
        run(&mut cluster, &mut [&mut controller], 100, 5);
        if round == 2 {
            cluster.rotate("shared");
        }
        run(&mut cluster, &mut [&mut controller], 200, 5);
    }
    cluster
}

const TENANT: [&str; 8] = ["t1/a", "t1/b", "t1/c", "t1/d", "t2/a", "t2/b", "t2/c", "t2/d"];

#[test]
fn slow_namespaces_do_not_block_another() {
    let releases = |cluster: &mut Cluster, round: usize| {
        cluster.rotate("own");
        for name in TENANT {
            cluster.object(name).release = ["even", "odd"][round % 2];
        }
    };
    let markers = |cluster: &mut Cluster, round: usize| {
        let marker = format!("scaivault:own={}@{}", round + 7, cluster.now);
        for name in TENANT {
            cluster.patch(&key(name), Some(marker.clone()));
        }
    };
    let rotations = |cluster: &mut Cluster, _: usize| cluster.rotate("own");
    let cases: [(&str, &Tenant); 3] =
        [("releases", &releases), ("markers", &markers), ("rotations", &rotations)];
    for (name, tenant) in cases {
        let cluster = with_tenant(tenant);
        let team = cluster.objects.iter().filter(|(key, _)| &*key.namespace == "team");
        assert!(team.clone().all(|(_, object)| object.rollouts == 1), "{name}");
        let of_tenant = TENANT.iter().map(|name| cluster.rollouts_of(name)).sum::<usize>();
        assert!(of_tenant >= 4, "{name}: {of_tenant}");
    }
}

#[test]
fn idle_namespaces_have_a_limit_too() {
    let settings = Settings { concurrency: 2, ..quick() };
    let mut cluster = Cluster::new();
    for index in 0..10 {
        for name in ["a", "b"] {
            let object = cluster.add(&format!("ns{index}/{name}"), &["shared"]);
            object.rollout_seconds = i64::MAX / 2;
        }
    }
    let mut controller = Controller::new(settings);
    run(&mut cluster, &mut [&mut controller], 10, 5);
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 60, 5);
    assert_eq!(cluster.rollouts(), 4);
}

#[test]
fn namespaces_take_turns() {
    let settings = Settings { concurrency: 2, namespace_concurrency: 2, ..quick() };
    let mut cluster = Cluster::new();
    for index in 0..20 {
        cluster.add(&format!("a/w{index}"), &["own"]).is_canary = true;
    }
    cluster.add("z/one", &["other"]);
    let mut controller = Controller::new(settings);
    run(&mut cluster, &mut [&mut controller], 10, 5);
    cluster.rotate("own");
    cluster.rotate("other");
    run(&mut cluster, &mut [&mut controller], 20, 5);
    assert_eq!((cluster.rollouts(), cluster.rollouts_of("z/one")), (2, 1));
}

#[test]
fn a_hanging_rollout_does_not_count() {
    let settings = Settings { concurrency: 1, namespace_concurrency: 1, ..quick() };
    let (mut cluster, mut controller) = shared(2, settings);
    for object in cluster.objects.values_mut() {
        object.rollout_seconds = i64::MAX / 2;
    }
    cluster.rotate("shared");
    run(&mut cluster, &mut [&mut controller], 600, 5);
    assert_eq!(cluster.rollouts(), 1);
    run(&mut cluster, &mut [&mut controller], 600, 5);
    assert_eq!(cluster.rollouts(), 2);
}

#[test]
fn releases_do_not_lengthen_the_record() {
    let (mut cluster, mut controller) = shared(1, Settings { breaker_restarts: 3, ..quick() });
    for release in ["a", "b", "c", "d", "e"] {
        cluster.rotate("shared");
        cluster.object("w000").release = release;
        run(&mut cluster, &mut [&mut controller], 60, 5);
    }
    assert_eq!(cluster.rollouts(), 5);
    assert_eq!(cluster.object("w000").ledger.as_ref().unwrap().restarts.len(), 3);
}

#[test]
fn changing_versions_are_awaited_up_to_a_limit() {
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
fn a_refused_patch_waits_and_does_not_count() {
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

#[test]
fn records_of_namespaces_take_turns() {
    let mut cluster = Cluster::new();
    for number in 0..200 {
        cluster.add(&format!("a/w{number}"), &["own"]);
    }
    cluster.add("z/web", &["own"]);
    let steps = Controller::new(quick()).steps(&cluster);
    assert_eq!(steps.len(), 201);
    assert!(steps[..2].contains(&key("z/web")));
}
