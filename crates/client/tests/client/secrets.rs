//! Reading secrets, and the meaning of each error.

use std::time::{Duration, SystemTime};

use scaivault_client::{Class, ErrorKind, Retry};
use scaivault_devserver::{Category, Effect, Fault, Route};
use serde_json::{Value, json};

use crate::fixture::{DATABASE, Fixture, STRIPE, data, path};

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

#[tokio::test]
async fn the_current_or_the_requested_version_is_read() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let secret = client.read(&path(DATABASE), None).await.unwrap();
    assert_eq!(secret.version, 1);
    assert_eq!(value(secret.data.json()), json!({"username": "billing", "port": 5432}));

    fixture.handle.write(&path(DATABASE), data(json!({"username": "other"})));
    let secret = client.read(&path(DATABASE), None).await.unwrap();
    assert_eq!((secret.version, value(secret.data.json())), (2, json!({"username": "other"})));
    let secret = client.read(&path(DATABASE), Some(1.try_into().unwrap())).await.unwrap();
    assert_eq!((secret.version, value(secret.data.json())["port"].clone()), (1, json!(5432)));

    fixture.handle.age_out(&path(DATABASE));
    let error = client.read(&path(DATABASE), Some(1.try_into().unwrap())).await.unwrap_err();
    assert_eq!((error.code().unwrap().as_str(), error.class()), ("version_not_found", Class::NotFound));
}

#[tokio::test]
async fn deleted_and_forbidden_secrets_are_refused() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let error = client.read(&path("environments/production/other/key"), None).await.unwrap_err();
    assert_eq!((error.code().unwrap().as_str(), error.class()), ("access_denied", Class::Denied));
    let ErrorKind::Refused(refusal) = error.kind else { panic!("{error}") };
    assert!(refusal.request_id.unwrap().starts_with("req_"));
    assert!(fixture.handle.delete(&path(STRIPE)));
    let error = client.read(&path(STRIPE), None).await.unwrap_err();
    assert_eq!((error.code().unwrap().as_str(), error.class()), ("secret_not_found", Class::NotFound));
    let text = error.to_string();
    assert!(text.starts_with("cannot read the secret: \"Secret 'environments/production/billing/stripe' not found\" (secret_not_found, status 404, request req_"), "{text}");
}

#[tokio::test]
async fn every_code_arrives_verbatim_and_is_sent_once() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    client.login().await.unwrap();
    for (sent, (code, class, retry)) in [
        ("access_denied", Class::Denied, Retry::Never),
        ("invalid_path", Class::Invalid, Retry::Never),
        ("validation_error", Class::Invalid, Retry::Never),
        ("secret_not_found", Class::NotFound, Retry::Never),
        ("tenant_not_found", Class::NotFound, Retry::Never),
        ("policy_in_use", Class::Conflict, Retry::Never),
        ("rate_limited", Class::Throttled, Retry::Backoff),
        ("service_unavailable", Class::Unavailable, Retry::Backoff),
        ("internal_error", Class::Unavailable, Retry::Once),
    ]
    .into_iter()
    .enumerate()
    {
        fixture.handle.add_fault(Fault::refuse(Route::Read, code, 1));
        let error = client.read(&path(DATABASE), None).await.unwrap_err();
        assert_eq!(error.code().unwrap().as_str(), code);
        assert_eq!((error.class(), error.retry()), (class, retry), "{code}");
        assert!(error.to_string().contains(code), "{error}");
        assert_eq!(fixture.handle.requests(Route::Read), sent as u64 + 1, "{code}");
    }
}

#[tokio::test]
async fn the_requested_pause_is_returned() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    for code in ["rate_limited", "service_unavailable"] {
        let effect = Effect::Refuse { code: code.to_owned(), retry_after: Some(7) };
        fixture.handle.add_fault(Fault::on(Route::Read, effect).times(1));
        let error = client.read(&path(DATABASE), None).await.unwrap_err();
        assert_eq!(error.retry(), Retry::After(Duration::from_secs(7)), "{code}");
    }
}

#[tokio::test]
async fn a_drained_bucket_throttles_until_time_has_passed() {
    let fixture = Fixture::new().await;
    fixture.handle.set_rate_limit(Category::Read, 2);
    let client = fixture.client();
    let left = || client.reads_left(SystemTime::now());
    assert_eq!(left(), None);
    for remaining in [0.5, 0.0] {
        client.read(&path(DATABASE), None).await.unwrap();
        assert_eq!(left(), Some(remaining));
    }
    let error = client.read(&path(DATABASE), None).await.unwrap_err();
    assert_eq!(error.class(), Class::Throttled);
    let Retry::After(after) = error.retry() else { panic!("{error}") };
    assert!((25..=30).contains(&after.as_secs()), "{after:?}");
    fixture.handle.advance(after);
    client.read(&path(DATABASE), None).await.unwrap();
}

#[tokio::test]
async fn connections_are_kept() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    for _ in 0..5 {
        client.read(&path(DATABASE), None).await.unwrap();
    }
    assert_eq!(fixture.server.connections(), 1);
}
