//! What the next run restores.

use std::{fs, time::Duration};

use scaivault_devserver::Route;

use crate::support::{Pod, Sidecar, until};

#[tokio::test]
async fn the_sidecar_resumes_the_state_of_the_previous_container() {
    let pod = Pod::new().await;
    let secrets = pod.mapping(&[("app/stripe#key", "key")]);
    let dynamic = pod.mapping(&[
        ("engine=postgres role=readonly", "db.json"),
        ("engine=postgres role=readonly ttl=2h", "user template=\"{{ data.username }}\""),
    ]);
    let state = pod.path("state");
    let variables = [
        ("SECRETS", secrets.as_str()),
        ("WATCH_PATHS", secrets.as_str()),
        ("DYNAMIC", dynamic.as_str()),
        ("SCAIVAULT_STATE_DIR", state.to_str().unwrap()),
        ("REFRESH_ON_EVENT", "true"),
    ];
    pod.run("init", &variables).await.check(0, &["secrets written"]);
    let of_init = (pod.secret("db.json"), pod.secret("user"));
    assert!(of_init.0.is_some() && of_init.1.is_some());
    let check = || {
        let requests = |route| pod.vault.requests(route);
        assert_eq!(requests(Route::Exchange), 1);
        assert_eq!((requests(Route::Generate), pod.vault.leases().len(), pod.live_leases()), (2, 2, 2));
        assert_eq!((pod.secret("db.json"), pod.secret("user")), of_init);
    };
    check();
    let is_kept = || {
        fs::read_to_string(state.join("state.json")).is_ok_and(|state| state.contains("\"subscription\":\""))
    };
    for start in 1..=3 {
        let sidecar = Sidecar::start(&pod, &variables);
        pod.requested(Route::Poll, start).await;
        // Each start compares the files with their secrets, in addition to the poll.
        pod.requested(Route::Read, 1 + start).await;
        until(is_kept).await;
        check();
        sidecar.kill_after(Duration::ZERO).await;
    }
    assert_eq!((pod.vault.requests(Route::Subscribe), pod.vault.subscriptions()), (1, 1));
    let sidecar = Sidecar::start(&pod, &variables);
    pod.requested(Route::Poll, 4).await;
    sidecar.end().await.check(0, &["stopped"]);
    assert_eq!((pod.live_leases(), pod.vault.subscriptions()), (0, 0));
}
