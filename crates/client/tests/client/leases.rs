//! Dynamic credentials: generated, renewed, expired, revoked.

use std::time::Duration;

use scaivault_devserver::Route;

use crate::fixture::{Fixture, TIMEOUT};

#[tokio::test]
async fn a_lease_is_renewed_up_to_its_maximum() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let lease = client
        .generate(&"engine=postgres-prod role=readonly ttl=2h".parse().unwrap(), TIMEOUT)
        .await
        .unwrap();
    assert_eq!(lease.term.ttl, Duration::from_hours(2));
    assert_eq!((lease.term.is_renewable, lease.term.max_ttl), (true, Some(Duration::from_hours(24))));
    let credentials: serde_json::Value = serde_json::from_str(lease.credentials.json()).unwrap();
    assert!(credentials["username"].as_str().unwrap().starts_with("v_readonly_"));
    assert!(!format!("{lease:?}").contains(credentials["password"].as_str().unwrap()));

    fixture.handle.advance(Duration::from_hours(1));
    let term = client.renew(&lease.id, Some("2h".parse().unwrap())).await.unwrap();
    assert_eq!(term.ttl, Duration::from_hours(2));
    let term = client.renew(&lease.id, Some("30d".parse().unwrap())).await.unwrap();
    assert!(term.ttl <= Duration::from_hours(23) && !term.is_renewable, "{term:?}");
    assert_eq!(fixture.handle.leases().len(), 1);
}

#[tokio::test]
async fn an_expired_lease_is_not_found() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let lease =
        client.generate(&"engine=postgres-prod role=readonly".parse().unwrap(), TIMEOUT).await.unwrap();
    assert_eq!(lease.term.ttl, Duration::from_hours(1));
    fixture.handle.advance(Duration::from_hours(1));
    let error = client.renew(&lease.id, None).await.unwrap_err();
    assert!(error.is_gone(), "{error}");
    assert_eq!(fixture.handle.requests(Route::Exchange), 2, "the token had ended too");
}

#[tokio::test]
async fn a_lease_is_revoked_and_twice_is_as_good() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let lease =
        client.generate(&"engine=postgres-prod role=readonly".parse().unwrap(), TIMEOUT).await.unwrap();
    client.revoke(&lease.id).await.unwrap();
    assert!(fixture.handle.leases()[0].is_revoked);
    client.revoke(&lease.id).await.unwrap();
    assert_eq!(fixture.handle.requests(Route::Revoke), 2);
}

#[tokio::test]
async fn missing_and_forbidden_engines_are_refused() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    for (dynamic, code) in [
        ("engine=none role=readonly", "engine_not_found"),
        ("engine=postgres-prod role=none", "role_not_found"),
        ("engine=postgres-prod role=admin", "access_denied"),
    ] {
        let error = client.generate(&dynamic.parse().unwrap(), TIMEOUT).await.unwrap_err();
        assert_eq!(error.code().unwrap().as_str(), code, "{dynamic}");
    }
    assert!(fixture.handle.leases().is_empty());
}
