//! Answers of ScaiVault, and of what stands in front of it, that would take other secrets along.

use scaivault_devserver::{Effect, Fault, Route};

use crate::support::{Pod, start, terminate, until};

const MANY: &str = r#"
policies:
  billing: [{path_pattern: "app/**", permissions: [read]}]
identities:
  - id: sa:billing
    service_accounts: [billing/web]
    policies: [billing]
secrets:
  app/s0: {data: {key: v0}}
  app/s1: {data: {key: v1}}
  app/s2: {data: {key: v2}}
  app/s3: {data: {key: v3}}
  app/s4: {data: {key: v4}}
  app/s5: {data: {key: v5}}
  app/s6: {data: {key: v6}}
  app/s7: {data: {key: v7}}
  app/s8: {data: {key: v8}}
  app/s9: {data: {key: v9}}
"#;

fn answer(route: Route, body: &str, times: u32) -> Fault {
    Fault::on(route, Effect::Answer { body: body.to_owned() }).times(times)
}

#[tokio::test]
async fn a_value_that_no_parser_takes_fails_its_secret_and_no_other() {
    for value in [r#""\ud800""#, "1e999"] {
        let pod = Pod::new().await;
        let secrets = pod.mapping(&[("app/stripe#key", "key")]);
        pod.vault.add_fault(answer(Route::Read, &format!(r#"{{"version":1,"data":{{"key":{value}}}}}"#), 1));
        let variables = [("SECRETS", secrets.as_str())];
        pod.run("init", &variables).await.check(1, &["app/stripe", "the answer cannot be used"]);
        pod.run("init", &variables).await.check(0, &[]);
    }
}

#[tokio::test]
async fn a_batch_that_cannot_be_used_is_read_singly() {
    let pod = Pod::with(MANY).await;
    let names: Vec<_> = (0..10).map(|number| (format!("app/s{number}#key"), format!("k{number}"))).collect();
    let entries: Vec<_> = names.iter().map(|(source, file)| (source.as_str(), file.as_str())).collect();
    let secrets = pod.mapping(&entries);
    pod.vault.add_fault(answer(Route::ReadBatch, "<html>", 1));
    pod.run("init", &[("SECRETS", &secrets)]).await.check(0, &[]);
    assert_eq!((pod.vault.requests(Route::ReadBatch), pod.vault.requests(Route::Read)), (1, 10));
    assert_eq!(pod.secret("k9").as_deref(), Some("v9"));
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
    // Three at the start, and the two that may change once more for what no event has told before the subscription.
    pod.requested(Route::Read, 5).await;
    let before = pod.secret("variables");
    pod.vault.rotate(&"app/stripe".parse().unwrap(), crate::support::data("rotated"));
    until(|| pod.secret("key").as_deref() == Some("rotated")).await;
    assert_eq!(pod.secret("variables"), before);
    assert!(before.is_some_and(|text| text.contains("USERNAME=") && text.contains("PORT=")));
    terminate(sidecar).await.check(0, &[]);
}
