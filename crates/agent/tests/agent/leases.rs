//! Leases and subscriptions of pods when servers, clocks and processes fail.

use std::{fs, time::Duration};

use scaivault_devserver::{Effect, Fault, Route};
use scaivault_testkit::world::{Calls, Chance, Misbehaviour, World};
use serde_json::{Value, json};

use crate::support::{Pod, Sidecar, data, start, terminate, until};

const ROLE: &str = "engine=postgres role=readonly";

/// The variables of a pod with one lease and a state directory.
struct LeaseVariables {
    dynamic: String,
    state: String,
}

impl LeaseVariables {
    fn new(pod: &Pod, source: &str) -> Self {
        let state = pod.path("state").to_str().unwrap().to_owned();
        Self { dynamic: pod.mapping(&[(source, "db.json")]), state }
    }

    fn variables(&self) -> [(&str, &str); 2] {
        [("DYNAMIC", &self.dynamic), ("SCAIVAULT_STATE_DIR", &self.state)]
    }

    /// Changes the stored lease as if the clock had been set forward by this many seconds since it
    /// was generated.
    fn age(&self, seconds: u64) {
        self.change(|state| {
            for time in ["issued", "renewed", "ends", "last_end"] {
                let moved = state["leases"][0][time].as_u64().unwrap() - seconds;
                state["leases"][0][time] = moved.into();
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let file = format!("{}/state.json", self.state);
        let mut state = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        change(&mut state);
        fs::write(&file, state.to_string()).unwrap();
    }
}

/// Starts a sidecar, kills it when its lease is written, and keeps its state.
async fn killed(pod: &Pod, keeping: &LeaseVariables) {
    let sidecar = Sidecar::start(pod, &keeping.variables());
    let file = pod.path("secrets/db.json");
    sidecar.kill_when(move || file.exists()).await;
}

#[tokio::test]
async fn a_broken_engine_creates_no_user_per_restart() {
    let pod = Pod::new().await;
    let keeping = LeaseVariables::new(&pod, ROLE);
    let answer = Effect::Answer { status: 200, body: "<html>".to_owned() };
    pod.vault.add_fault(Fault::on(Route::Generate, answer));
    let variables = [&keeping.variables()[..], &[("FETCH_TIMEOUT", "5s")]].concat();
    pod.run("init", &variables).await.check(1, &["the answer cannot be used"]);
    for _ in 0..3 {
        pod.run("init", &variables).await.check(1, &["database users that are not in use"]);
    }
    assert_eq!(pod.vault.requests(Route::Generate), 1);
    // The pause is over; after a usable lease there is no pause.
    pod.vault.clear_faults();
    keeping.change(|state| state["generations"][0][2] = 0.into());
    pod.run("init", &keeping.variables()).await.check(0, &["secrets written"]);
    assert_eq!((pod.vault.requests(Route::Generate), pod.live_leases()), (2, 1));
}

#[tokio::test]
async fn a_killed_generation_delays_the_next_start() {
    let pod = Pod::new().await;
    let keeping = LeaseVariables::new(&pod, ROLE);
    pod.vault.add_fault(Fault::hang(Route::Generate));
    let vault = pod.vault.clone();
    let sidecar = Sidecar::start(&pod, &keeping.variables());
    sidecar.kill_when(move || vault.requests(Route::Generate) == 1).await;
    pod.vault.clear_faults();
    let variables = [&keeping.variables()[..], &[("FETCH_TIMEOUT", "5s")]].concat();
    pod.run("init", &variables).await.check(1, &["database users that are not in use"]);
    assert_eq!(pod.vault.requests(Route::Generate), 1);
}

#[tokio::test]
async fn a_refused_generation_is_no_reason_for_a_long_pause() {
    let pod = Pod::new().await;
    let keeping = LeaseVariables::new(&pod, ROLE);
    pod.vault.add_fault(Fault::refuse(Route::Generate, "service_unavailable", 2));
    pod.run("init", &keeping.variables()).await.check(0, &["no lease yet, trying again"]);
    assert_eq!(pod.vault.requests(Route::Generate), 3);
}

#[tokio::test]
async fn a_replaced_lease_is_revoked_after_a_crash() {
    let pod = Pod::new().await;
    let keeping = LeaseVariables::new(&pod, ROLE);
    killed(&pod, &keeping).await;
    keeping.age(3000);
    pod.vault.add_fault(Fault::always(Route::Renew, "access_denied"));
    let before = pod.secret("db.json");
    let state = pod.path("state/state.json");
    let sidecar = Sidecar::start(&pod, &keeping.variables());
    until(|| pod.secret("db.json") != before).await;
    assert_eq!(pod.live_leases(), 2, "the application may still use the one before");
    sidecar
        .kill_when(move || fs::read_to_string(&state).is_ok_and(|state| state.contains("\"retired\":[[")))
        .await;
    let sidecar = Sidecar::start(&pod, &keeping.variables());
    sidecar.line("files").await;
    assert_eq!(pod.live_leases(), 2);
    sidecar.end().await.check(0, &["lease revoked"]);
    assert_eq!(pod.live_leases(), 0);
}

#[tokio::test]
async fn a_clock_step_forwards_costs_no_lease() {
    let pod = Pod::new().await;
    let keeping = LeaseVariables::new(&pod, ROLE);
    killed(&pod, &keeping).await;
    keeping.age(7200);
    let before = pod.secret("db.json");
    let sidecar = Sidecar::start(&pod, &keeping.variables());
    sidecar.line("lease renewed").await;
    sidecar.end().await.check(0, &["lease revoked"]);
    assert_eq!((pod.vault.requests(Route::Generate), pod.live_leases()), (1, 0));
    assert!(before.is_some());
}

#[tokio::test]
async fn a_hanging_renewal_does_not_outlast_its_lease() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=15s", "db.json")]);
    pod.vault.add_fault(Fault::hang(Route::Renew));
    let sidecar = Sidecar::start(&pod, &[("DYNAMIC", &dynamic)]);
    until(|| pod.secret("db.json").is_some()).await;
    let before = pod.secret("db.json");
    until(|| pod.secret("db.json") != before).await;
    assert_eq!(pod.live_leases(), 2, "new credentials exist before the old ones end");
    sidecar.end().await.check(0, &["has not answered within"]);
}

#[tokio::test]
async fn leases_are_renewed_while_the_application_drains() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=6s", "db.json")]);
    let variables = [("DYNAMIC", dynamic.as_str()), ("SCAIVAULT_REVOKE_DELAY", "12s")];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.secret("db.json").is_some()).await;
    let ended = tokio::spawn(terminate(sidecar));
    // After the second renewal the lease is older than its first term.
    pod.requested(Route::Renew, 2).await;
    until(|| pod.vault.leases()[0].seconds_left > 3).await;
    assert!(!ended.is_finished() && pod.live_leases() == 1);
    ended.await.unwrap().check(0, &["lease renewed", "lease revoked"]);
    assert_eq!((pod.vault.requests(Route::Generate), pod.live_leases()), (1, 0));
}

#[tokio::test]
async fn a_revoked_token_at_the_end_leaves_no_lease() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[(ROLE, "db.json")]);
    let sidecar = start(&mut pod.agent("sidecar", &[("DYNAMIC", &dynamic)]));
    until(|| pod.secret("db.json").is_some()).await;
    pod.vault.revoke_tokens();
    terminate(sidecar).await.check(0, &["lease revoked"]);
    assert_eq!(pod.live_leases(), 0);
}

#[tokio::test]
async fn a_start_that_fails_waits_for_its_generation() {
    let pod = Pod::new().await;
    let keeping = LeaseVariables::new(&pod, ROLE);
    pod.vault.add_fault(Fault::on(Route::Generate, Effect::Late { milliseconds: 17_000 }));
    let variables = [&keeping.variables()[..], &[("FETCH_TIMEOUT", "1s")]].concat();
    pod.run("init", &variables).await.check(1, &["it was not answered in time", "lease revoked"]);
    assert_eq!((pod.vault.requests(Route::Generate), pod.live_leases()), (1, 0));
}

#[tokio::test]
async fn a_lease_in_a_malformed_answer_is_revoked_after_a_crash() {
    let pod = Pod::new().await;
    let keeping = LeaseVariables::new(&pod, ROLE);
    let world = World::start(pod.server(), 1).unwrap();
    let unreadable = Misbehaviour::Reshape(|answer, _| {
        *answer = json!({ "lease_id": answer["lease_id"], "credentials": "in the next answer" });
    });
    world.add(Calls::GENERATE, Chance::Always, unreadable);
    pod.vault.add_fault(Fault::always(Route::Revoke, "service_unavailable"));
    let url = world.url();
    let other = [("SCAIVAULT_URL", url.as_str()), ("FAIL_OPEN", "true"), ("FETCH_TIMEOUT", "5s")];
    let variables = [&keeping.variables()[..], &other].concat();
    let vault = pod.vault.clone();
    let sidecar = Sidecar::start(&pod, &variables);
    sidecar.kill_when(move || vault.requests(Route::Revoke) > 0).await;
    assert_eq!(pod.live_leases(), 1);
    pod.vault.clear_faults();
    let sidecar = Sidecar::start(&pod, &variables);
    until(|| pod.live_leases() == 0).await;
    sidecar.line("lease revoked").await;
    sidecar.end().await.check(0, &[]);
    assert_eq!((pod.vault.requests(Route::Generate), pod.live_leases()), (1, 0));
}

fn listening<'a>(watch: &'a str, uid: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("WATCH_PATHS", watch),
        ("REFRESH_INTERVAL", "1d"),
        ("REFRESH_ON_EVENT", "true"),
        ("SCAIVAULT_POD", "web-0"),
        ("SCAIVAULT_POD_UID", uid),
    ]
}

#[tokio::test]
async fn a_killed_sidecar_resumes_its_subscription() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables = listening(&watch, "uid-1");
    let mut polls = 0;
    for _ in 0..3 {
        let vault = pod.vault.clone();
        let sidecar = Sidecar::start(&pod, &variables);
        sidecar.kill_when(move || vault.requests(Route::Poll) > polls).await;
        polls = pod.vault.requests(Route::Poll);
    }
    let sidecar = Sidecar::start(&pod, &variables);
    pod.requested(Route::Poll, polls + 1).await;
    sidecar.end().await.check(0, &["resuming the subscription of an earlier start"]);
    assert_eq!((pod.vault.subscriptions(), pod.vault.requests(Route::Subscribe)), (0, 1));
}

/// For example, of two namespaces.
#[tokio::test]
async fn a_pod_of_the_same_name_keeps_its_subscription() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let vault = pod.vault.clone();
    let sidecar = Sidecar::start(&pod, &listening(&watch, "uid-1"));
    sidecar.kill_when(move || vault.requests(Route::Poll) > 0).await;
    for start in [2, 3] {
        let polls = pod.vault.requests(Route::Poll);
        let (vault, sidecar) = (pod.vault.clone(), Sidecar::start(&pod, &listening(&watch, "uid-2")));
        sidecar.kill_when(move || vault.requests(Route::Poll) > polls).await;
        assert_eq!((pod.vault.subscriptions(), pod.vault.requests(Route::Subscribe)), (2, 2), "{start}");
    }
}

/// The files of another pod on a volume that has outlived it do not count.
#[tokio::test]
async fn a_volume_that_outlives_the_pod_is_fetched_again() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let sidecar = Sidecar::start(&pod, &listening(&watch, "uid-1"));
    until(|| pod.secret("key").is_some()).await;
    pod.requested(Route::Poll, 1).await;
    sidecar.end().await.check(0, &[]);
    let (first, second) = (listening(&watch, "uid-1"), listening(&watch, "uid-2"));
    pod.run("healthz", &first).await.check(0, &[]);
    pod.run("healthz", &second).await.check(1, &["the secrets are not fetched yet"]);
    let sidecar = Sidecar::start(&pod, &second);
    sidecar.line("secrets written").await;
    pod.run("wait", &second).await.check(0, &[]);
    sidecar.end().await.check(0, &[]);
}

/// The init container has set the mark, and no sidecar was started before.
#[tokio::test]
async fn a_sidecar_after_an_init_container_lists_no_subscriptions() {
    let pod = Pod::new().await;
    let (mapping, listed) = (pod.mapping(&[("app/stripe#key", "key")]), Calls("GET", "/v1/subscriptions"));
    let world = World::start(pod.server(), 1).unwrap();
    let url = world.url();
    pod.run("init", &[("SECRETS", &mapping), ("SCAIVAULT_POD_UID", "uid-1")]).await.check(0, &[]);
    let variables = [&listening(&mapping, "uid-1")[..], &[("SCAIVAULT_URL", url.as_str())]].concat();
    let lists = || world.seen(listed).iter().filter(|seen| !seen.path.contains("/poll")).count();
    for expected in [0, 1] {
        let (vault, polls) = (pod.vault.clone(), pod.vault.requests(Route::Poll));
        let sidecar = Sidecar::start(&pod, &variables);
        sidecar.kill_when(move || vault.requests(Route::Poll) > polls).await;
        assert_eq!(lists(), expected);
    }
    assert_eq!((pod.vault.subscriptions(), pod.vault.requests(Route::Subscribe)), (1, 1));
}

#[tokio::test]
async fn a_lost_subscription_is_created_again() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    // A code that no version of the client knows for this request.
    pod.vault.add_fault(Fault::refuse(Route::Poll, "consumer_not_found", 1));
    let sidecar = Sidecar::start(&pod, &listening(&watch, "uid-1"));
    let line = sidecar.line("events unavailable").await;
    let pause = line["pause_seconds"].as_f64().unwrap();
    assert!(pause <= 5.0, "one failure is one step: {pause}");
    pod.requested(Route::Poll, 2).await;
    assert_eq!(pod.vault.requests(Route::Subscribe), 2);
    pod.vault.rotate(&"app/stripe".parse().unwrap(), data("rotated"));
    until(|| pod.secret("key").as_deref() == Some("rotated")).await;
    sidecar.end().await.check(0, &["events unavailable"]);
}

#[tokio::test]
async fn refused_subscriptions_are_retried_later() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    pod.vault.add_fault(Fault::always(Route::Subscribe, "access_denied"));
    let sidecar = Sidecar::start(&pod, &listening(&watch, "uid-1"));
    let line = sidecar.line("event connection failed, retrying later").await;
    let pause = Duration::from_secs_f64(line["pause_seconds"].as_f64().unwrap());
    assert!((Duration::from_mins(5)..=Duration::from_mins(10)).contains(&pause), "{pause:?}");
    sidecar.end().await.check(0, &[]);
}
