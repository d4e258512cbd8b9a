//! Responses of ScaiVault, and of proxies in front of it, that must not affect other secrets.

use scaivault_devserver::{Effect, Fault, Route};

use crate::support::{Pod, start, terminate, until};

fn answer(route: Route, body: &str, times: u32) -> Fault {
    Fault::on(route, Effect::Answer { status: 200, body: body.to_owned() }).times(times)
}

#[tokio::test]
async fn an_unparsable_value_only_fails_its_own_secret() {
    let pod = Pod::new().await;
    let secrets = pod.mapping(&[("app/stripe#key", "key")]);
    pod.vault.add_fault(answer(Route::Read, r#"{"version":1,"data":{"key":"\ud800"}}"#, 1));
    let variables = [("SECRETS", secrets.as_str())];
    pod.run("init", &variables).await.check(1, &["app/stripe", "the answer cannot be used"]);
    pod.run("init", &variables).await.check(0, &[]);
}

#[tokio::test]
async fn variables_stay_together_when_a_file_is_read_for_itself() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let file = pod.path("secrets/variables");
    let variables = [
        ("WATCH_PATHS", watch.as_str()),
        ("SECRET_ENV", "app/database#username -> USERNAME\napp/database#port@1 -> PORT"),
        ("SCAIVAULT_ENV_FILE", file.to_str().unwrap()),
        ("REFRESH_INTERVAL", "1d"),
        ("REFRESH_ON_EVENT", "true"),
    ];
    let sidecar = start(&mut pod.agent("sidecar", &variables));
    pod.requested(Route::Poll, 1).await;
    // Three at the start, and two of secrets that can change, again after the subscription, because
    // events before it were missed.
    pod.requested(Route::Read, 5).await;
    let before = pod.secret("variables");
    pod.vault.rotate(&"app/stripe".parse().unwrap(), crate::support::data("rotated"));
    until(|| pod.secret("key").as_deref() == Some("rotated")).await;
    assert_eq!(pod.secret("variables"), before);
    assert!(before.is_some_and(|text| text.contains("USERNAME=") && text.contains("PORT=")));
    terminate(sidecar).await.check(0, &[]);
}
