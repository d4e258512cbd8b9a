//! Restarts while ScaiVault answers some requests and others not, and pending notifications.

use std::time::Duration;

use scaivault_devserver::Route;
use scaivault_testkit::world::{Answer, Calls, Chance, Misbehaviour};

use crate::{
    application::{Application, SIGNAL, unused_name},
    site::Site,
    support::{data, ended, start, terminate, until},
};

fn unavailable() -> Misbehaviour {
    Misbehaviour::Answer(Answer::error(503, "service_unavailable"))
}

/// Secrets cannot be read for longer than the lifetime of a lease.
#[tokio::test]
async fn a_restart_renews_leases_although_reads_fail() {
    for misbehaviour in [unavailable(), Misbehaviour::Hang] {
        let site = Site::new().await;
        let dynamic = site.pod.mapping(&[("engine=postgres role=readonly ttl=9s", "db.json")]);
        let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
        let state = site.state();
        let variables = [
            ("DYNAMIC", dynamic.as_str()),
            ("WATCH_PATHS", watch.as_str()),
            ("SCAIVAULT_STATE_DIR", state.as_str()),
            ("FETCH_TIMEOUT", "2m"),
        ];
        let sidecar = site.sidecar(&variables);
        until(|| site.pod.secret("db.json").is_some() && site.pod.secret("key").is_some()).await;
        let before = site.pod.secret("db.json");
        sidecar.kill_after(Duration::ZERO).await;
        site.world.add(Calls::READ, Chance::Always, misbehaviour);
        let renewals = site.pod.vault.requests(Route::Renew);
        let sidecar = site.sidecar(&variables);
        site.pod.requested(Route::Renew, renewals + 2).await;
        assert_eq!((site.pod.live_leases(), site.pod.vault.requests(Route::Generate)), (1, 1));
        assert_eq!(site.pod.secret("db.json"), before);
        site.world.clear();
        site.pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
        sidecar.end().await.check(0, &[]);
        assert_eq!(site.pod.live_leases(), 0);
    }
}

/// The server requests a pause longer than the lease: the credentials in the file stay valid
/// nevertheless.
#[tokio::test]
async fn a_long_pause_costs_no_lease() {
    for calls in [Calls::RENEW, Calls::GENERATE, Calls::EXCHANGE] {
        let site = Site::new().await;
        let target = "user template=\"{{ data.username }}\"";
        let dynamic = site.pod.mapping(&[("engine=postgres role=readonly ttl=12s", target)]);
        let sidecar = site.sidecar(&[("DYNAMIC", &dynamic)]);
        until(|| site.pod.secret("user").is_some()).await;
        let throttled = Answer::error(429, "rate_limited").header("Retry-After", "600");
        site.world.add(calls, Chance::First(1), Misbehaviour::Answer(throttled));
        if calls == Calls::EXCHANGE {
            site.pod.vault.revoke_tokens();
        }
        let first = site.pod.secret("user");
        let progress = || site.pod.vault.requests(Route::Renew) >= 4 || site.pod.secret("user") != first;
        until(|| {
            // The file is read first: its credentials were valid before they were written.
            let user = site.pod.secret("user").unwrap();
            let leases = site.pod.vault.leases();
            let lease = leases.iter().find(|lease| lease.username == user).unwrap();
            assert!(lease.seconds_left > 0, "{calls:?}: {user} is no user any more");
            progress()
        })
        .await;
        sidecar.end().await.check(0, &[]);
        assert_eq!(site.pod.live_leases(), 0, "{calls:?}");
    }
}

/// The state cannot be stored: this run works, and releases what it has.
#[tokio::test]
async fn a_state_directory_that_cannot_be_written_loses_no_lease() {
    for is_file in [true, false] {
        let site = Site::new().await;
        let dynamic = site.pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
        let state = site.pod.path("state/none");
        if is_file {
            std::fs::write(&state, "").unwrap();
        }
        let variables = [("DYNAMIC", dynamic.as_str()), ("SCAIVAULT_STATE_DIR", state.to_str().unwrap())];
        let mut agent = start(&mut site.agent("sidecar", &variables));
        let mut has_ended = false;
        until(|| {
            has_ended = agent.try_wait().unwrap().is_some();
            has_ended || site.pod.secret("db.json").is_some()
        })
        .await;
        let ended = if has_ended { ended(agent).await } else { terminate(agent).await };
        println!("{:?}: {}", ended.code, ended.log);
        assert_eq!(site.pod.live_leases(), 0, "{}", ended.log);
    }
}

/// The login fails: the files of the previous run are kept.
#[tokio::test]
async fn a_restart_in_an_outage_refreshes_afterwards() {
    let site = Site::new().await;
    let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
    let variables = [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    let sidecar = site.sidecar(&variables);
    until(|| site.pod.secret("key").is_some()).await;
    sidecar.kill_after(Duration::ZERO).await;
    site.world.stop().await;
    site.pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    let sidecar = site.sidecar(&variables);
    site.pod.run("healthz", &variables).await.check(0, &[]);
    until(|| sidecar.said("not refreshed") > 0).await;
    assert_eq!(site.pod.secret("key").as_deref(), Some("sk-swordfish"));
    site.world.resume().unwrap();
    until(|| site.pod.secret("key").as_deref() == Some("new")).await;
    sidecar.end().await.check(0, &[]);
}

/// The file has changed, the application could not be notified, and the agent is killed.
#[tokio::test]
async fn a_signal_that_is_owed_survives_the_agent() {
    let site = Site::new().await;
    let file = site.pod.path("secrets/key");
    let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
    let application = Application::start(&[&file]).await;
    let variables = |name: &str| {
        [
            ("WATCH_PATHS", watch.clone()),
            ("REFRESH_INTERVAL", "1s".to_owned()),
            ("RELOAD_SIGNAL", SIGNAL.to_owned()),
            ("RELOAD_TARGET", name.to_owned()),
        ]
    };
    let start = |name: &str| {
        let variables = variables(name);
        site.sidecar(&variables.each_ref().map(|(variable, value)| (*variable, value.as_str())))
    };
    // An agent that was started for an application that does not run.
    let absent = unused_name("absent");
    let sidecar = start(&absent);
    until(|| site.pod.secret("key").is_some()).await;
    let reads = site.pod.vault.requests(Route::Read);
    site.pod.requested(Route::Read, reads + 2).await;
    site.pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    until(|| site.pod.secret("key").as_deref() == Some("new")).await;
    until(|| sidecar.said("application not") > 0).await;
    sidecar.kill_after(Duration::ZERO).await;

    // The next agent finds the application. Nothing changes meanwhile.
    let sidecar = start(application.name());
    until(|| application.signals() == 1).await;
    assert_eq!(application.read(), "new");
    until(|| sidecar.said("application signalled") == 1).await;
    sidecar.kill_after(Duration::ZERO).await;

    // The notification is no longer pending.
    let reads = site.pod.vault.requests(Route::Read);
    let sidecar = start(application.name());
    site.pod.requested(Route::Read, reads + 3).await;
    assert_eq!(application.signals(), 1);
    sidecar.end().await.check(0, &[]);
}

/// The previous agent's credentials were revoked at its end, so the application has to be notified
/// of the new ones.
#[tokio::test]
async fn new_credentials_after_a_restart_are_signalled() {
    for has_secrets in [false, true] {
        let site = Site::new().await;
        let file = site.pod.path("secrets/user");
        let dynamic = "engine=postgres role=readonly";
        let template = "user template=\"{{ data.username }}\"";
        let dynamic = site.pod.mapping(&[(dynamic, template)]);
        let watch = if has_secrets { site.pod.mapping(&[("app/stripe#key", "key")]) } else { String::new() };
        let state = site.state();
        let application = Application::start(&[&file]).await;
        let variables = [
            ("DYNAMIC", dynamic.as_str()),
            ("WATCH_PATHS", watch.as_str()),
            ("SCAIVAULT_STATE_DIR", state.as_str()),
            ("RELOAD_SIGNAL", SIGNAL),
            ("RELOAD_TARGET", application.name()),
        ];
        let sidecar = site.sidecar(&variables);
        until(|| site.pod.secret("user").is_some()).await;
        let before = site.pod.secret("user");
        until(|| sidecar.said("secrets written") > 0).await;
        sidecar.end().await.check(0, &["lease revoked"]);
        let sidecar = site.sidecar(&variables);
        until(|| site.pod.secret("user").is_some()).await;
        let after = site.pod.secret("user").unwrap();
        assert_ne!(before.as_ref(), Some(&after));
        until(|| application.read() == after).await;
        assert!(application.signals() >= 1);
        sidecar.end().await.check(0, &[]);
    }
}

/// Killed at a random moment around a change: finally the application has read the content of the
/// file.
#[tokio::test]
async fn the_last_change_is_notified_after_any_kill() {
    let site = Site::new().await;
    let file = site.pod.path("secrets/key");
    let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
    let application = Application::start(&[&file]).await;
    let variables = [
        ("WATCH_PATHS", watch.as_str()),
        ("REFRESH_INTERVAL", "1s"),
        ("REFRESH_ON_EVENT", "true"),
        ("RELOAD_SIGNAL", SIGNAL),
        ("RELOAD_TARGET", application.name()),
    ];
    let mut random = scaivault_testkit::SplitMix::new(crate::site::seed());
    for version in 0..12 {
        let version = version.to_string();
        let sidecar = site.sidecar(&variables);
        let polls = site.pod.vault.requests(Route::Poll);
        site.pod.requested(Route::Poll, polls + 1).await;
        site.pod.vault.rotate(&"app/stripe".parse().unwrap(), data(&version));
        if random.below(2) == 0 {
            let (file, value) = (file.clone(), version.clone());
            // Between the write and the signal, or right after it.
            sidecar.kill_when(move || std::fs::read_to_string(&file).is_ok_and(|text| text == value)).await;
        } else {
            sidecar.kill_after(Duration::from_millis(random.below(20))).await;
        }
    }
    let polls = site.pod.vault.requests(Route::Poll);
    let sidecar = site.sidecar(&variables);
    until(|| site.pod.secret("key").as_deref() == Some("11")).await;
    until(|| application.read() == "11").await;
    // Both may be the work of the agent that was killed last: this one must have started before it
    // is terminated.
    site.pod.requested(Route::Poll, polls + 1).await;
    sidecar.end().await.check(0, &[]);
}
