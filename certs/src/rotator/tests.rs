use std::time::UNIX_EPOCH;

use hyper::StatusCode;
use k8s_openapi::ByteString;
use serde_json::json;

use super::*;
use crate::{
    ca_bundle::CaBundle,
    fake_api::{CONFIGURATION, FakeApi, NAMESPACE, SECRET},
};

const DAY: Duration = Duration::from_hours(24);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

/// Tests use a settle delay of zero unless they need one.
fn replica(api: &FakeApi, settle_delay: Duration) -> (Rotator, Arc<CertResolver>) {
    let managed = ManagedCertificate {
        namespace: NAMESPACE.to_owned(),
        secret: SECRET.to_owned(),
        webhook_configuration: CONFIGURATION.to_owned(),
        names: vec!["scaivault-injector.scaivault-system.svc".to_owned()],
        policy: Policy::new(365 * DAY, DAY, settle_delay).unwrap(),
    };
    Rotator::new(api.client(), managed)
}

/// A cluster in which one replica serves a certificate.
async fn serving() -> (FakeApi, Rotator, Arc<CertResolver>) {
    let api = FakeApi::new();
    let (mut rotator, resolver) = replica(&api, Duration::ZERO);
    assert_eq!(rotator.sync(now()).await.unwrap().change, Change::Announced);
    assert_eq!(rotator.sync(now()).await.unwrap().change, Change::Promoted);
    assert!(rotator.is_trusted(now()));
    (api, rotator, resolver)
}

fn current(rotator: &Rotator) -> CaBundle {
    CaBundle::parse(rotator.authority.as_ref().unwrap().certificate_pem().as_bytes()).unwrap()
}

fn served(resolver: &CertResolver) -> Option<Vec<u8>> {
    Some(resolver.current()?.cert.first().unwrap().to_vec())
}

#[tokio::test]
async fn nothing_is_served_before_the_authority_has_settled() {
    let api = FakeApi::new();
    let settle = Duration::from_secs(30);
    let (mut rotator, resolver) = replica(&api, settle);
    let synced = rotator.sync(now()).await.unwrap();
    assert_eq!(synced.change, Change::Announced);
    assert!(synced.again_in.unwrap() <= settle);
    let bundles = api.bundles();
    assert!(bundles.len() == 3 && bundles.iter().all(|bundle| bundle.len() == 1 && *bundle == bundles[0]));

    // Setting the wall clock ahead does not cause an early promotion.
    assert_eq!(rotator.sync(now() + DAY).await.unwrap().change, Change::Nothing);
    assert_eq!((served(&resolver), rotator.is_trusted(now() + DAY)), (None, false));
}

/// This order keeps the bundle of an old state from replacing that of a newer one.
#[tokio::test]
async fn the_configurations_are_read_first_and_written_last() {
    let api = FakeApi::new();
    replica(&api, Duration::ZERO).0.sync(now()).await.unwrap();
    let (mutating, validating) = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations");
    let expected = [
        format!("GET {mutating}"),
        format!("GET {validating}"),
        "GET secrets".to_owned(),
        "PUT secrets".to_owned(),
        format!("PATCH {mutating}"),
        format!("PATCH {validating}"),
    ];
    assert_eq!(api.objects().calls, expected);
}

#[tokio::test]
async fn a_second_replica_serves_at_once_with_the_same_authority() {
    let (api, first, _resolver) = serving().await;
    let writes = api.objects().writes;
    let (mut second, resolver) = replica(&api, Duration::from_hours(1));
    assert_eq!(second.sync(now()).await.unwrap().change, Change::Nothing);
    assert!(second.is_trusted(now()) && served(&resolver).is_some());
    assert_eq!(current(&second), current(&first));
    assert_eq!(api.objects().writes, writes, "nothing is written without need");
}

#[tokio::test]
async fn replicas_that_start_together_agree() {
    let api = FakeApi::new();
    let mut replicas: Vec<_> = (0..4).map(|_| replica(&api, Duration::ZERO).0).collect();
    for _ in 0..3 {
        let [a, b, c, d] = replicas.get_disjoint_mut([0, 1, 2, 3]).unwrap();
        let (a, b, c, d) = tokio::join!(a.sync(now()), b.sync(now()), c.sync(now()), d.sync(now()));
        assert!([a, b, c, d].iter().all(Result::is_ok));
    }
    assert!(replicas.iter().all(|replica| current(replica) == current(&replicas[0])));
    assert!(api.bundles().iter().all(|bundle| *bundle == current(&replicas[0])));
}

#[tokio::test]
async fn a_conflict_is_retried_a_few_times() {
    let api = FakeApi::new();
    let (mut rotator, _resolver) = replica(&api, Duration::ZERO);
    api.objects().interference = 2;
    rotator.sync(now()).await.unwrap();
    api.objects().interference = 100;
    assert!(matches!(rotator.sync(now()).await, Err(SyncError::Busy)));
}

#[tokio::test]
async fn a_removed_authority_is_published_again() {
    let (api, mut rotator, _resolver) = serving().await;
    api.objects().validating.as_mut().unwrap()["webhooks"][0]["clientConfig"]["caBundle"] = json!(null);
    rotator.sync(now()).await.unwrap();
    assert!(rotator.is_trusted(now()));
    assert!(api.bundles().iter().all(|bundle| *bundle == current(&rotator)));
    let labels = api.objects().secret.as_ref().unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels, json!({"app": "scaivault-injector"}));

    // Until the bundle is restored, the certificate is not trusted.
    api.objects().mutating.as_mut().unwrap()["webhooks"][0]["clientConfig"]["caBundle"] = json!(null);
    api.objects().interference = 100;
    assert!(rotator.sync(now()).await.is_err());
    assert!(!rotator.is_trusted(now()));
}

#[tokio::test]
async fn an_api_server_that_is_away_ends_nothing() {
    let (api, mut rotator, resolver) = serving().await;
    let before = served(&resolver);
    api.objects().refusal = Some(StatusCode::INTERNAL_SERVER_ERROR);
    let error = rotator.sync(now() + DAY / 2).await.unwrap_err();
    assert!(matches!(error, SyncError::Configuration(_)), "{error}");
    assert_eq!((served(&resolver), rotator.is_trusted(now())), (before.clone(), true));

    // The renewal of the leaf does not need the API server either: it is signed from memory.
    rotator.sync(now() + DAY).await.unwrap_err();
    assert_ne!(served(&resolver), before);
    assert!(rotator.is_trusted(now() + DAY));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_is_not_waited_for() {
    let (api, mut rotator, resolver) = serving().await;
    let before = served(&resolver);
    api.objects().hangs = true;
    let error = rotator.sync(now()).await.unwrap_err();
    assert!(chain(&error).contains("no answer"), "{error}");
    assert!(rotator.is_trusted(now()));

    // A due leaf is renewed before the API server answers.
    tokio::time::timeout(Duration::from_secs(1), rotator.sync(now() + DAY)).await.unwrap_err();
    assert_ne!(served(&resolver), before);
}

#[tokio::test]
async fn an_expired_authority_is_replaced() {
    let (api, _rotator, _resolver) = serving().await;
    let late = now() + 400 * DAY;
    let (mut fresh, resolver) = replica(&api, Duration::ZERO);
    assert_eq!(fresh.sync(late).await.unwrap().change, Change::Announced);
    assert_eq!((served(&resolver), fresh.is_trusted(late)), (None, false));
    assert_eq!(fresh.sync(late).await.unwrap().change, Change::Promoted);
    assert!(served(&resolver).is_some() && fresh.is_trusted(late));
}

#[tokio::test]
async fn a_renewed_authority_replaces_the_old_one() {
    let (api, mut rotator, resolver) = serving().await;
    let (old, old_leaf) = (current(&rotator), served(&resolver));
    let late = now() + 250 * DAY;
    assert_eq!(rotator.sync(late).await.unwrap().change, Change::Announced);
    assert_eq!(current(&rotator), old, "the next one does not sign yet");
    assert_eq!(rotator.sync(late).await.unwrap().change, Change::Promoted);
    let new = current(&rotator);
    assert!(new != old && served(&resolver) != old_leaf);
    assert!(api.bundles().iter().all(|bundle| *bundle == new.clone().union(&old)));
    assert_eq!(rotator.sync(late + DAY).await.unwrap().change, Change::Nothing);
    assert_eq!(rotator.sync(late + 2 * DAY).await.unwrap().change, Change::Forgot);
    assert!(api.bundles().iter().all(|bundle| *bundle == new));
}

#[tokio::test]
async fn an_authority_from_the_future_is_waited_for() {
    let (api, mut rotator, _resolver) = serving().await;
    let old = current(&rotator);
    let (mut ahead, _) = replica(&api, Duration::ZERO);
    let (late, hour) = (now() + 250 * DAY, Duration::from_hours(1));
    assert_eq!(ahead.sync(late + hour).await.unwrap().change, Change::Announced);
    assert_eq!(ahead.sync(late + hour).await.unwrap().change, Change::Promoted);

    let synced = rotator.sync(late).await.unwrap();
    assert_eq!((synced.change, synced.waits), (Change::Nothing, Some(hour)));
    assert!(synced.again_in.unwrap() <= hour);
    assert_eq!(current(&rotator), old);
    assert!(rotator.is_trusted(late), "by the retired one");
    // A replica that starts now has no working authority.
    let (mut fresh, resolver) = replica(&api, Duration::ZERO);
    assert_eq!(fresh.sync(late).await.unwrap().waits, Some(hour));
    assert_eq!((served(&resolver), fresh.is_trusted(late)), (None, false));
    // The same holds for the replica whose clock was ahead, once its clock is corrected.
    assert_eq!(ahead.sync(late).await.unwrap().waits, Some(hour));
    assert!(!ahead.is_trusted(late));

    for rotator in [&mut rotator, &mut fresh, &mut ahead] {
        assert_eq!(rotator.sync(late + hour).await.unwrap().waits, None);
        assert!(rotator.is_trusted(late + hour) && current(rotator) != old);
    }
}

#[tokio::test]
async fn an_emptied_secret_gets_a_new_authority_without_a_gap() {
    let (api, mut rotator, resolver) = serving().await;
    let (old, old_leaf) = (current(&rotator), served(&resolver));
    api.objects().secret.as_mut().unwrap()["data"] = json!(null);
    assert_eq!(rotator.sync(now()).await.unwrap().change, Change::Announced);
    assert_eq!(served(&resolver), old_leaf);
    assert!(rotator.is_trusted(now()));
    assert_eq!(rotator.sync(now()).await.unwrap().change, Change::Promoted);
    let new = current(&rotator);
    assert!(new != old);
    assert!(api.bundles().iter().all(|bundle| *bundle == new.clone().union(&old)));
}

#[tokio::test]
async fn an_unreadable_secret_is_reported_and_not_changed() {
    let (api, mut rotator, resolver) = serving().await;
    let before = served(&resolver);
    let garbage = json!({"ca.crt": ByteString(b"mine".to_vec())});
    api.objects().secret.as_mut().unwrap()["data"] = garbage.clone();
    let error = chain(&rotator.sync(now()).await.unwrap_err());
    assert!(error.contains(SECRET) && error.contains("ca.key"), "{error}");
    assert_eq!(api.objects().secret.as_ref().unwrap()["data"], garbage);
    assert_eq!((served(&resolver), rotator.is_trusted(now())), (before, true));

    let (mut fresh, resolver) = replica(&api, Duration::ZERO);
    fresh.sync(now()).await.unwrap_err();
    assert_eq!((served(&resolver), fresh.is_trusted(now())), (None, false));
}

#[tokio::test]
async fn missing_objects_are_reported_with_the_fix() {
    let (api, mut rotator, _resolver) = serving().await;
    let secret = api.objects().secret.take();
    let error = rotator.sync(now()).await.unwrap_err().to_string();
    assert!(error.contains("kubectl -n scaivault-system create secret"), "{error}");
    assert!(rotator.is_trusted(now()));
    api.objects().secret = secret;
    api.objects().mutating = None;
    api.objects().validating = None;
    let error = rotator.sync(now()).await.unwrap_err().to_string();
    assert!(error.contains("MutatingWebhookConfiguration scaivault-injector does not exist"), "{error}");
    assert!(!rotator.is_trusted(now()));
    api.objects().refusal = Some(StatusCode::FORBIDDEN);
    let error = rotator.sync(now()).await.unwrap_err();
    assert!(chain(&error).contains("403"), "{error}");
}

#[tokio::test]
async fn a_missing_configuration_does_not_stop_the_other_one() {
    let (api, mut rotator, _resolver) = serving().await;
    let validating = api.objects().validating.take();
    let late = now() + 250 * DAY;
    let (mut fresh, _) = replica(&api, Duration::ZERO);
    for (rotator, change) in [(&mut rotator, Change::Announced), (&mut fresh, Change::Promoted)] {
        let synced = rotator.sync(late).await.unwrap();
        let missing = synced.missing.unwrap().to_string();
        assert!(missing.contains("ValidatingWebhookConfiguration scaivault-injector does not"), "{missing}");
        assert_eq!(synced.change, change);
        assert!(rotator.is_trusted(late));
    }
    // It exists again, with the previous bundle.
    api.objects().validating = validating;
    assert!(rotator.sync(late).await.unwrap().missing.is_none());
    assert!(api.bundles().iter().all(|bundle| bundle.len() == 2));

    api.objects().mutating = None;
    let missing = rotator.sync(late).await.unwrap().missing.unwrap().to_string();
    assert!(missing.contains("MutatingWebhookConfiguration scaivault-injector does not"), "{missing}");
    assert!(rotator.is_trusted(late));
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
