//! Reads: announced versions, hanging reads, restarts in an outage, files of several secrets,
//! optional secrets.

use std::{
    fs,
    time::{Duration, Instant},
};

use scaivault_devserver::{Fault, Route};
use scaivault_testkit::world::{Answer, Calls, Chance, Misbehaviour, RecordedRequest, World};
use serde_json::json;

use crate::support::{Outputs, Pod, Sidecar, data, start, terminate, until, within};

/// How long the client waits for progress of a request.
const IDLE: Duration = Duration::from_secs(15);
const STRIPE: Calls = Calls("GET", "/v1/secrets/app/stripe");

fn write(pod: &Pod, path: &str, value: &str) {
    pod.vault.write(&path.parse().unwrap(), data(value));
}

/// The maximum number of these requests in flight at the same time.
fn at_once(seen: &[RecordedRequest]) -> usize {
    let overlaps = |one: &RecordedRequest| {
        seen.iter().filter(|other| other.from <= one.from && one.from < other.to).count()
    };
    seen.iter().map(overlaps).max().unwrap_or_default()
}

#[tokio::test]
async fn an_announced_version_is_read_before_the_interval() {
    let pod = Pod::new().await;
    let world = World::start(pod.server(), 1).unwrap();
    let url = world.url();
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables = [
        ("SCAIVAULT_URL", url.as_str()),
        ("WATCH_PATHS", watch.as_str()),
        ("REFRESH_INTERVAL", "1d"),
        ("REFRESH_ON_EVENT", "true"),
    ];
    let sidecar = Sidecar::start(&pod, &variables);
    pod.requested(Route::Poll, 1).await;
    pod.requested(Route::Read, 2).await;
    let old = Answer::json(200, r#"{"version":1,"data":{"key":"sk-swordfish"}}"#);
    world.add(STRIPE, Chance::First(2), Misbehaviour::Replace(old));
    pod.vault.rotate(&"app/stripe".parse().unwrap(), data("rotated"));
    until(|| pod.secret("key").as_deref() == Some("rotated")).await;
    sidecar.end().await.check(0, &["ScaiVault returned version 1, but version 2 exists"]);
}

#[tokio::test]
async fn a_recreated_secret_is_accepted() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let sidecar = Sidecar::start(&pod, &[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
    until(|| pod.secret("key").is_some()).await;
    write(&pod, "app/stripe", "second");
    until(|| pod.secret("key").as_deref() == Some("second")).await;
    pod.vault.delete_for_good(&"app/stripe".parse().unwrap());
    until(|| sidecar.said("secret_not_found") > 0).await;
    assert_eq!(pod.secret("key").as_deref(), Some("second"));
    write(&pod, "app/stripe", "first of a new one");
    until(|| pod.secret("key").as_deref() == Some("first of a new one")).await;
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn a_hanging_read_delays_no_lease_and_no_other_secret() {
    let pod = Pod::new().await;
    let world = World::start(pod.server(), 1).unwrap();
    let url = world.url();
    let watch = pod.mapping(&[("app/stripe#key", "key"), ("app/database#port", "port")]);
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=6s", "db.json")]);
    let variables = [
        ("SCAIVAULT_URL", url.as_str()),
        ("WATCH_PATHS", watch.as_str()),
        ("DYNAMIC", dynamic.as_str()),
        ("REFRESH_INTERVAL", "1s"),
    ];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.secret("db.json").is_some()).await;
    world.add(STRIPE, Chance::Always, Misbehaviour::Hang);
    let database = "app/database".parse().unwrap();
    within(async {
        for port in 6432.. {
            let reads = world.seen(STRIPE).len();
            until(|| world.seen(STRIPE).len() > reads).await;
            let (began, renewals) = (Instant::now(), pod.vault.requests(Route::Renew));
            pod.vault.write(&database, json!({ "port": port }).as_object().unwrap().clone());
            until(|| pod.secret("port") == Some(port.to_string())).await;
            pod.requested(Route::Renew, renewals + 1).await;
            // The client cancels a request without progress after 15 s. On a busy machine the read
            // may have ended by then, which proves nothing: try again with the next one.
            if began.elapsed() < IDLE {
                break;
            }
        }
    })
    .await;
    terminate(sidecar).await.check(0, &[]);
}

#[tokio::test]
async fn a_throttled_secret_leaves_the_others_alone() {
    let pod = Pod::new().await;
    let world = World::start(pod.server(), 1).unwrap();
    let url = world.url();
    let watch = pod.mapping(&[("app/stripe#key", "key"), ("app/database#port", "port")]);
    let variables =
        [("SCAIVAULT_URL", url.as_str()), ("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "2s")];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    until(|| pod.secret("port").is_some()).await;
    let throttled = Answer::error(429, "rate_limited").header("Retry-After", "3600");
    world.add(STRIPE, Chance::First(1), Misbehaviour::Answer(throttled));
    until(|| world.seen(STRIPE).iter().any(|seen| seen.answer.is_none())).await;
    write(&pod, "app/stripe", "after");
    pod.vault.write(&"app/database".parse().unwrap(), json!({"port": 6432}).as_object().unwrap().clone());
    until(|| pod.secret("port").as_deref() == Some("6432")).await;
    // Not after an hour, but after the interval.
    until(|| pod.secret("key").as_deref() == Some("after")).await;
    terminate(sidecar).await.check(0, &["rate_limited"]);
}

#[tokio::test]
async fn a_restart_in_an_outage_renews_leases_at_once() {
    let pod = Pod::new().await;
    let outputs = Outputs::new(&pod, "engine=postgres role=readonly ttl=6s");
    let variables = outputs.variables(&[("FETCH_TIMEOUT", "10m")]);
    let mut first = start(&mut pod.agent("sidecar", &variables));
    pod.run("wait", &variables).await.check(0, &[]);
    let lease = pod.secret("db.json");
    within(first.kill()).await.unwrap();
    pod.vault.add_fault(Fault::always(Route::Read, "service_unavailable"));
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.requested(Route::Renew, 3).await;
    assert_eq!((pod.secret("db.json"), pod.vault.requests(Route::Generate)), (lease, 1));
    terminate(sidecar).await.check(0, &["found the files of an earlier start", "keeping the file as it is"]);
}

#[tokio::test]
async fn a_restart_does_not_write_older_versions() {
    let pod = Pod::new().await;
    let world = World::start(pod.server(), 1).unwrap();
    let url = world.url();
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables =
        [("SCAIVAULT_URL", url.as_str()), ("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    write(&pod, "app/stripe", "second");
    let first = Sidecar::start(&pod, &variables);
    until(|| pod.secret("key").as_deref() == Some("second")).await;
    first.kill_after(Duration::ZERO).await;
    let old = Answer::json(200, r#"{"version":1,"data":{"key":"sk-swordfish"}}"#);
    world.add(STRIPE, Chance::First(2), Misbehaviour::Replace(old));
    let sidecar = Sidecar::start(&pod, &variables);
    until(|| sidecar.said("ScaiVault returned version 1, but version 2 exists") == 2).await;
    assert_eq!(pod.secret("key").as_deref(), Some("second"));
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn a_file_of_several_secrets_is_written_once_for_each_change() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[
        (
            "db=app/database stripe=app/stripe",
            "both template=\"{{ secrets.db.data.port }} {{ secrets.stripe.data.key }}\"",
        ),
        ("app/stripe#key", "key"),
    ]);
    let sidecar = Sidecar::start(&pod, &[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
    until(|| pod.secret("both").as_deref() == Some("5432 sk-swordfish")).await;
    write(&pod, "app/stripe", "second");
    until(|| pod.secret("both").as_deref() == Some("5432 second")).await;
    assert_eq!(pod.secret("key").as_deref(), Some("second"));
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 4).await;
    assert_eq!(sidecar.said("file changed"), 2, "each of both files");
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn an_optional_secret_may_appear_and_disappear() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[
        ("app/stripe#key", "key"),
        ("app/license#key", "license optional=true"),
        ("app/stripe#other", "other optional=true"),
    ]);
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    let sidecar = Sidecar::start(&pod, &variables);
    until(|| pod.secret("key").is_some()).await;
    pod.run("healthz", &variables).await.check(0, &[]);
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 4).await;
    assert_eq!(sidecar.said("leaving its file out"), 2, "once for each");
    write(&pod, "app/license", "valid");
    until(|| pod.secret("license").as_deref() == Some("valid")).await;
    pod.vault.delete_for_good(&"app/license".parse().unwrap());
    until(|| sidecar.said("leaving its file out") == 3).await;
    assert_eq!(pod.secret("license").as_deref(), Some("valid"), "an application may still need it");
    let ended = sidecar.end().await;
    ended.check(0, &[]);
    assert!(!ended.log.contains("WARN"), "{}", ended.log);
}

#[tokio::test]
async fn many_secrets_are_read_three_at_a_time() {
    let pod = Pod::new().await;
    let world = World::start(pod.server(), 1).unwrap();
    let url = world.url();
    let paths: Vec<_> = (0..12).map(|number| format!("app/{number}")).collect();
    for path in &paths {
        write(&pod, path, "there");
    }
    world.add(
        Calls::READ,
        Chance::Always,
        Misbehaviour::Slow(Duration::from_millis(50), Duration::from_millis(100)),
    );
    let entries: Vec<_> = paths.iter().map(|path| (path.as_str(), path.as_str())).collect();
    let secrets = pod.mapping(&entries);
    let variables = [("SCAIVAULT_URL", url.as_str()), ("SECRETS", secrets.as_str())];
    pod.run("init", &variables).await.check(0, &[]);
    let seen = world.seen(Calls::READ);
    assert_eq!((seen.len(), at_once(&seen)), (12, 3));
    assert!(paths.iter().all(|path| pod.secret(path).is_some()));
}

#[tokio::test]
async fn a_pinned_version_is_read_again_if_its_file_is_missing() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key@1", "a/key"), ("app/database#port", "b/port")]);
    let sidecar = Sidecar::start(&pod, &[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
    until(|| pod.secret("a/key").is_some()).await;
    pod.requested(Route::Read, 4).await;
    fs::remove_dir_all(pod.path("secrets/a")).unwrap();
    until(|| pod.secret("a/key").as_deref() == Some("sk-swordfish")).await;
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn another_version_than_the_pinned_one_is_not_written() {
    let pod = Pod::new().await;
    let world = World::start(pod.server(), 1).unwrap();
    let (url, secrets) = (world.url(), pod.mapping(&[("app/stripe#key@3", "key")]));
    let newest = Answer::json(200, r#"{"version":9,"data":{"key":"sk-swordfish"}}"#);
    world.add(STRIPE, Chance::Always, Misbehaviour::Answer(newest));
    let variables = [("SCAIVAULT_URL", url.as_str()), ("SECRETS", &secrets), ("FETCH_TIMEOUT", "2s")];
    let said = "version 3 was requested, but version 9 was returned";
    pod.run("init", &variables).await.check(1, &[said]);
    assert_eq!(pod.secret("key"), None);
}
