//! Failures while the sidecar runs, and what they must not affect.

use std::{
    fs,
    io::{self, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use scaivault_devserver::{Fault, Route};

use crate::support::{Outputs, Pod, Sidecar, data, start, terminate, until};

#[tokio::test]
async fn leases_that_end_at_once_are_not_generated_in_a_row() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=1s", "db.json")]);
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    pod.vault.add_fault(Fault::always(Route::Renew, "lease_not_found"));
    let variables =
        [("DYNAMIC", dynamic.as_str()), ("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1s")];
    let began = Instant::now();
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.requested(Route::Generate, 2).await;
    let reads = pod.vault.requests(Route::Read);
    pod.requested(Route::Read, reads + 4).await;
    // They are 30 s apart, except at the start.
    let (generated, seconds) = (pod.vault.requests(Route::Generate), began.elapsed().as_secs());
    assert!(generated <= 2 + seconds / 30, "{generated} in {seconds} s");
    terminate(sidecar).await.check(0, &["generating a new one"]);
}

#[tokio::test]
async fn credentials_that_could_not_be_written_are_written_later() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=6s", "db.json")]);
    let (secrets, aside) = (pod.path("secrets"), pod.path("aside"));
    let sidecar = Sidecar::start(&pod, &[("DYNAMIC", &dynamic)]);
    until(|| pod.secret("db.json").is_some()).await;
    let before = pod.secret("db.json");
    fs::rename(&secrets, &aside).unwrap();
    fs::write(&secrets, "in the way").unwrap();
    pod.vault.take_lease_away(&pod.vault.leases().first().unwrap().id);
    until(|| sidecar.said("not refreshed") > 0).await;
    fs::remove_file(&secrets).unwrap();
    fs::rename(&aside, &secrets).unwrap();
    until(|| pod.secret("db.json").is_some_and(|now| Some(now) != before)).await;
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn an_unreadable_secret_is_retried_and_delays_no_lease() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly ttl=3s", "db.json")]);
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let variables = [
        ("DYNAMIC", dynamic.as_str()),
        ("WATCH_PATHS", watch.as_str()),
        ("FETCH_TIMEOUT", "2m"),
        ("REFRESH_INTERVAL", "1d"),
        ("REFRESH_ON_EVENT", "true"),
    ];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.requested(Route::Poll, 1).await;
    pod.vault.add_fault(Fault::always(Route::Read, "service_unavailable"));
    let reads = pod.vault.requests(Route::Read);
    pod.vault.rotate(&"app/stripe".parse().unwrap(), data("rotated"));
    pod.requested(Route::Read, reads + 1).await;
    let renewals = pod.vault.requests(Route::Renew);
    pod.requested(Route::Renew, renewals + 2).await;
    pod.vault.clear_faults();
    until(|| pod.secret("key").as_deref() == Some("rotated")).await;
    terminate(sidecar).await.check(0, &["keeping the file as it is"]);
}

#[tokio::test]
async fn an_event_is_about_its_own_secrets() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key"), ("app/database#port", "port")]);
    let variables =
        [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1d"), ("REFRESH_ON_EVENT", "true")];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.requested(Route::Poll, 1).await;
    // Two at the start, and two more after the subscription, because events before it were missed.
    pod.requested(Route::Read, 4).await;
    pod.vault.rotate(&"app/stripe".parse().unwrap(), data("rotated"));
    until(|| pod.secret("key").as_deref() == Some("rotated")).await;
    pod.requested(Route::Read, 5).await;
    assert_eq!(pod.vault.requests(Route::Read), 5);
    terminate(sidecar).await.check(0, &[]);
}

#[tokio::test]
async fn a_pod_that_ends_during_its_first_fetch_leaves_no_lease() {
    for (command, name) in [("init", "SECRETS"), ("sidecar", "WATCH_PATHS")] {
        let pod = Pod::new().await;
        let dynamic = pod.mapping(&[
            ("engine=postgres role=readonly", "a"),
            ("engine=postgres role=readonly ttl=2h", "b"),
        ]);
        let state = pod.path("state");
        let variables = [("DYNAMIC", dynamic.as_str()), ("SCAIVAULT_STATE_DIR", state.to_str().unwrap())];
        pod.run("init", &variables).await.check(0, &[]);
        assert_eq!(pod.live_leases(), 2);
        let watch = pod.mapping(&[("app/stripe", "c")]);
        // The application is not running yet: there is nothing to wait for.
        fs::remove_dir_all(pod.path("secrets")).unwrap();
        let variables =
            [variables[0], variables[1], (name, watch.as_str()), ("SCAIVAULT_REVOKE_DELAY", "1h")];
        pod.vault.add_fault(Fault::hang(Route::Read));
        let reads = pod.vault.requests(Route::Read);
        let stuck = start(&mut pod.agent(command, &variables));
        pod.requested(Route::Read, reads + 1).await;
        terminate(stuck).await.check(1, &["stopped by SIGTERM", "lease revoked"]);
        assert_eq!(pod.live_leases(), 0, "{command}");
    }
}

#[tokio::test]
async fn leases_are_revoked_even_if_the_subscription_remains() {
    let pod = Pod::new().await;
    let outputs = Outputs::new(&pod, "engine=postgres role=readonly");
    let variables = outputs.variables(&[("REFRESH_ON_EVENT", "true")]);
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    let is_kept = |state: String| state.contains("\"subscription\":\"");
    until(|| fs::read_to_string(pod.path("state/state.json")).is_ok_and(is_kept)).await;
    pod.vault.add_fault(Fault::hang(Route::Unsubscribe));
    terminate(sidecar).await.check(0, &["lease revoked"]);
    assert_eq!(pod.live_leases(), 0);
}

#[tokio::test]
async fn a_pod_with_leases_alone_is_fresh_once_they_are_written() {
    let pod = Pod::new().await;
    let dynamic = pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
    let variables = [("DYNAMIC", dynamic.as_str()), ("SCAIVAULT_METRICS_LISTEN", "127.0.0.1:0")];
    let sidecar = Sidecar::start(&pod, &variables);
    // The kernel chooses the port, which the log contains.
    let line = sidecar.line("showing metrics").await;
    let address = line["address"].as_str().unwrap();
    until(|| {
        let text = TcpStream::connect(address).and_then(|mut stream| {
            stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n")?;
            io::read_to_string(stream)
        });
        text.is_ok_and(|text| !text.contains("scaivault_agent_fresh_timestamp_seconds 0\n"))
    })
    .await;
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn a_restart_in_an_outage_keeps_incomplete_files() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/database#port", "port"), ("other/secret", "other")]);
    let variables_file = pod.path("env/variables");
    let variables = |fetch_timeout| {
        [
            ("WATCH_PATHS", watch.as_str()),
            ("SECRET_ENV", "app/stripe#key -> KEY"),
            ("SCAIVAULT_ENV_FILE", variables_file.to_str().unwrap()),
            ("FAIL_OPEN", "true"),
            ("FETCH_TIMEOUT", fetch_timeout),
        ]
    };
    // A denied secret is not waited for, and the others have enough time on a busy machine.
    let mut sidecar = start(&mut pod.agent("sidecar", &variables("30s")));
    until(|| variables_file.exists()).await;
    sidecar.kill().await.unwrap();
    pod.vault.add_fault(Fault::always(Route::Read, "service_unavailable"));
    let sidecar = Sidecar::start(&pod, &variables("1s"));
    sidecar.line("keeping the file as it is").await;
    assert_eq!(fs::read_to_string(&variables_file).unwrap(), "KEY='sk-swordfish'\n");
    sidecar.end().await.check(0, &[]);
}

#[tokio::test]
async fn a_login_that_is_refused_is_not_sent_for_each_secret() {
    let pod = Pod::new().await;
    let paths: Vec<_> = (0..8).map(|number| format!("app/{number}")).collect();
    for path in &paths {
        pod.vault.write(&path.parse().unwrap(), data("there"));
    }
    let entries: Vec<_> = paths.iter().map(|path| (path.as_str(), path.as_str())).collect();
    let watch = pod.mapping(&entries);
    let sidecar = Sidecar::start(&pod, &[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
    until(|| paths.iter().all(|path| pod.secret(path).is_some())).await;
    pod.vault.add_fault(Fault::always(Route::Exchange, "forbidden"));
    pod.vault.revoke_tokens();
    let (logins, began) = (pod.vault.requests(Route::Exchange), Instant::now());
    pod.requested(Route::Exchange, logins + 8).await;
    // The reads in flight detect that the token is invalid. Afterwards there is one login after
    // each pause of at least 0.5 s.
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    pod.vault.clear_faults();
    pod.vault.write(&"app/7".parse().unwrap(), data("after"));
    until(|| pod.secret("app/7").is_some_and(|text| text.contains("after"))).await;
    sidecar.end().await.check(0, &["forbidden", "keeping the file as it is"]);
}
