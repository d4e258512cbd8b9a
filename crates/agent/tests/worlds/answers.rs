//! Responses in formats that ScaiVault does not document but may use.

use scaivault_devserver::Route;
use scaivault_testkit::{
    SplitMix,
    world::{Answer, Calls, Chance, Misbehaviour},
};
use serde_json::{Map, Value, json};

use crate::{
    site::Site,
    support::{data, until},
};

type Reshape = fn(&mut Value, &mut SplitMix);

/// Replaces all members about time by this one.
fn with_time(value: &mut Value, member: &str, time: Value) {
    let object = value.as_object_mut().unwrap();
    for member in ["ttl", "ttl_seconds", "lease_duration", "expires_at"] {
        object.remove(member);
    }
    object.insert(member.to_owned(), time);
}

/// Shuffles the members and adds unknown ones.
pub(crate) fn shuffle(value: &mut Value, random: &mut SplitMix) {
    if let Value::Object(object) = value {
        let mut members: Vec<_> = std::mem::take(object).into_iter().collect();
        for (_, value) in &mut members {
            shuffle(value, random);
        }
        while !members.is_empty() {
            let (name, value) = members.remove(random.below(members.len()));
            object.insert(name, value);
        }
    }
}

async fn init_with_lease(site: &Site) -> crate::support::RunResult {
    let dynamic = site.pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
    site.run("init", &[("DYNAMIC", &dynamic), ("FETCH_TIMEOUT", "6s")]).await
}

#[tokio::test]
async fn a_lease_in_any_shape_is_understood() {
    let shapes: [(&str, Reshape); 16] = [
        ("integer", |value, _| with_time(value, "ttl", json!(3600))),
        ("float", |value, _| with_time(value, "ttl_seconds", json!(3600.0))),
        ("text", |value, _| with_time(value, "ttl_seconds", json!("3600"))),
        ("text of a float", |value, _| with_time(value, "lease_duration", json!("3600.0"))),
        ("duration", |value, _| with_time(value, "ttl", json!("1h"))),
        ("compound duration", |value, _| with_time(value, "ttl", json!("1h30m"))),
        ("Go's duration", |value, _| with_time(value, "ttl", json!("1h0m0s"))),
        ("ISO 8601", |value, _| with_time(value, "ttl", json!("PT1H"))),
        ("ISO 8601, compound", |value, _| with_time(value, "ttl", json!("P1DT1H30M"))),
        ("ISO 8601 with a fraction", |value, _| with_time(value, "ttl", json!("PT3600.5S"))),
        ("in ttl_seconds", |value, _| with_time(value, "ttl_seconds", json!("PT1H"))),
        ("an offset", |value, _| with_time(value, "expires_at", json!("2999-01-01T00:00:00+02:00"))),
        ("credentials", |value, _| {
            let object = value.as_object_mut().unwrap();
            let credentials = object.remove("data").unwrap();
            object.insert("credentials".to_owned(), credentials);
        }),
        ("unknown members", |value, random| {
            value["self"] = json!({ "href": "/v1/x", "deep": [[1e300], null] });
            value["lease_options"] = Value::Null;
            shuffle(value, random);
        }),
        ("renewable as text", |value, _| value["renewable"] = json!("true")),
        ("nulls", |value, _| {
            value["max_ttl_seconds"] = Value::Null;
            value["renewable"] = Value::Null;
        }),
    ];
    for (name, reshape) in shapes {
        let site = Site::new().await;
        site.world.add(Calls::GENERATE, Chance::Always, Misbehaviour::Reshape(reshape));
        let ended = init_with_lease(&site).await;
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.log);
        assert_eq!((site.pod.live_leases(), site.pod.vault.requests(Route::Generate)), (1, 1), "{name}");
        assert!(site.pod.secret("db.json").unwrap().contains("v_readonly"), "{name}");
    }
}

#[tokio::test]
async fn a_lease_that_is_not_understood_is_revoked() {
    let shapes: [(&str, Reshape); 7] = [
        ("data", |value, _| drop(value.as_object_mut().unwrap().remove("data"))),
        ("data", |value, _| value["data"] = json!(5)),
        ("data", |value, _| value["data"] = json!(["user", "password"])),
        ("ttl", |value, _| with_time(value, "ttl", json!("soon"))),
        ("ttl", |value, _| with_time(value, "ttl", json!({ "hours": 1 }))),
        ("ttl", |value, _| with_time(value, "ttl", json!(true))),
        ("ttl_seconds", |value, _| with_time(value, "ttl_seconds", json!(-5))),
    ];
    for (member, reshape) in shapes {
        let site = Site::new().await;
        site.world.add(Calls::GENERATE, Chance::Always, Misbehaviour::Reshape(reshape));
        let ended = init_with_lease(&site).await;
        assert_ne!(ended.code, Some(0), "{member}: {}", ended.log);
        assert!(site.pod.vault.requests(Route::Generate) >= 1);
        assert_eq!(site.pod.live_leases(), 0, "{member}: {}", ended.log);
        assert!(ended.log.contains(member), "{member} is not named: {}", ended.log);
    }
}

/// The kubelet restarts the container: one lease remains, and it is the one in the file.
#[tokio::test]
async fn the_start_after_an_odd_lease_has_one_lease() {
    let site = Site::new().await;
    let dynamic = site.pod.mapping(&[("engine=postgres role=readonly", "db.json")]);
    let state = site.state();
    let variables = [("DYNAMIC", dynamic.as_str()), ("SCAIVAULT_STATE_DIR", state.as_str())];
    let odd: Reshape = |value, _| value["data"] = json!("none");
    site.world.add(Calls::GENERATE, Chance::First(1), Misbehaviour::Reshape(odd));
    site.run("sidecar", &variables).await.check(1, &["data"]);
    assert_eq!(site.pod.live_leases(), 0);
    let sidecar = site.sidecar(&variables);
    until(|| site.pod.secret("db.json").is_some()).await;
    assert_eq!(site.pod.live_leases(), 1);
    sidecar.end().await.check(0, &[]);
    assert_eq!(site.pod.live_leases(), 0);
}

#[tokio::test]
async fn the_lifetime_of_a_login_may_have_any_shape() {
    let shapes: [(&str, Reshape); 8] = [
        ("float", |value, _| value["expires_in"] = json!(3600.0)),
        ("text", |value, _| value["expires_in"] = json!("3600")),
        ("duration", |value, _| value["expires_in"] = json!("1h")),
        ("ISO 8601", |value, _| value["expires_in"] = json!("PT1H")),
        ("null", |value, _| value["expires_in"] = Value::Null),
        ("absent", |value, _| drop(value.as_object_mut().unwrap().remove("expires_in"))),
        ("other members", |value, random| {
            value["token_type"] = json!("bearer");
            value["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:access_token");
            value["scope"] = json!(["secrets:read"]);
            shuffle(value, random);
        }),
        ("huge", |value, _| value["expires_in"] = json!(1e30)),
    ];
    for (name, reshape) in shapes {
        let site = Site::new().await;
        site.world.add(Calls::EXCHANGE, Chance::Always, Misbehaviour::Reshape(reshape));
        let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
        let ended = site.run("init", &[("SECRETS", &secrets), ("FETCH_TIMEOUT", "6s")]).await;
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.log);
    }
}

/// The server rejects the token, with any code.
#[tokio::test]
async fn any_401_gets_a_new_login() {
    for code in
        ["token_expired", "token_invalid", "token_revoked", "authentication_required", "something_new"]
    {
        let site = Site::new().await;
        let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
        let sidecar = site.sidecar(&[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
        until(|| site.pod.secret("key").is_some()).await;
        let logins = site.pod.vault.requests(Route::Exchange);
        site.world.add(Calls::READ, Chance::First(1), Misbehaviour::Answer(Answer::error(401, code)));
        site.pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
        until(|| site.pod.secret("key").as_deref() == Some("new")).await;
        assert_eq!(site.pod.vault.requests(Route::Exchange), logins + 1, "{code}");
        assert_eq!(sidecar.said("keeping the file as it is"), 0, "{code}");
        sidecar.end().await.check(0, &[]);
    }
}

#[tokio::test]
async fn a_401_without_an_envelope_gets_a_new_login() {
    for answer in [Answer::html(401), Answer::json(401, ""), Answer::json(401, "[]")] {
        let site = Site::new().await;
        let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
        let sidecar = site.sidecar(&[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
        until(|| site.pod.secret("key").is_some()).await;
        let logins = site.pod.vault.requests(Route::Exchange);
        site.world.add(Calls::READ, Chance::First(1), Misbehaviour::Answer(answer));
        site.pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
        until(|| site.pod.secret("key").as_deref() == Some("new")).await;
        assert_eq!(site.pod.vault.requests(Route::Exchange), logins + 1);
        sidecar.end().await.check(0, &[]);
    }
}

#[tokio::test]
async fn leases_are_revoked_with_a_new_login_at_the_end() {
    let site = Site::new().await;
    let dynamic = site.pod.mapping(&[
        ("engine=postgres role=readonly", "a.json"),
        ("engine=postgres role=readonly ttl=2h", "b.json"),
    ]);
    let sidecar = site.sidecar(&[("DYNAMIC", &dynamic)]);
    until(|| site.pod.live_leases() == 2 && site.pod.secret("b.json").is_some()).await;
    site.pod.vault.revoke_tokens();
    sidecar.end().await.check(0, &["lease revoked"]);
    assert_eq!(site.pod.live_leases(), 0);
}

/// Responses of a proxy in front of the server are never written to a file, and are retried.
#[tokio::test]
async fn garbage_is_retried_and_never_written() {
    let garbage: [(&str, Misbehaviour); 12] = [
        ("html 200", Misbehaviour::Answer(Answer::html(200))),
        ("html 502", Misbehaviour::Answer(Answer::html(502))),
        ("html 404", Misbehaviour::Answer(Answer::html(404))),
        ("empty", Misbehaviour::Answer(Answer::json(200, ""))),
        ("no object", Misbehaviour::Answer(Answer::json(200, "[1, 2]"))),
        ("no data", Misbehaviour::Answer(Answer::json(200, r#"{"version": 9}"#))),
        ("truncated", Misbehaviour::Truncate),
        ("cut", Misbehaviour::Cut),
        ("too short a length", Misbehaviour::WrongLength(-7)),
        ("bytes", Misbehaviour::Answer(Answer::json(200, [0xff, 0xfe, 0x00, 0x80]))),
        ("reset", Misbehaviour::Reset),
        ("reset after", Misbehaviour::ResetAnswer),
    ];
    for (name, misbehaviour) in garbage {
        let site = Site::new().await;
        let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
        let sidecar = site.sidecar(&[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
        until(|| site.pod.secret("key").is_some()).await;
        let seen = site.world.seen(Calls::READ).len();
        site.world.add(Calls::READ, Chance::First(3), misbehaviour);
        site.pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
        let is_old_or_new = || ["sk-swordfish", "new"].map(Some).contains(&site.pod.secret("key").as_deref());
        until(|| {
            assert!(is_old_or_new(), "{name}");
            site.pod.secret("key").as_deref() == Some("new")
        })
        .await;
        // A request whose connection is reset is not counted by the world.
        assert!(name == "reset" || site.world.seen(Calls::READ).len() > seen, "{name}");
        sidecar.end().await.check(0, &[]);
    }
}

/// Also at start, when the failures may be temporary.
#[tokio::test]
async fn a_start_gets_through_a_bad_connection() {
    let passing = [
        ("html 502", Misbehaviour::Answer(Answer::html(502))),
        ("empty 503", Misbehaviour::Answer(Answer::json(503, ""))),
        ("cut", Misbehaviour::Cut),
        ("reset", Misbehaviour::Reset),
        ("reset after", Misbehaviour::ResetAnswer),
        ("429", Misbehaviour::Answer(Answer::error(429, "rate_limited").header("Retry-After", "1"))),
        ("429 at a date", Misbehaviour::Answer(Answer::error(429, "slow_down").header("Retry-After", "x"))),
    ];
    for (name, misbehaviour) in passing {
        let site = Site::new().await;
        let secrets = site.pod.mapping(&[("app/stripe#key", "key")]);
        for calls in [Calls::EXCHANGE, Calls::READ] {
            site.world.add(calls, Chance::First(2), misbehaviour.clone());
        }
        let ended = site.run("init", &[("SECRETS", &secrets), ("FETCH_TIMEOUT", "50s")]).await;
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.log);
        assert_eq!(site.pod.secret("key").as_deref(), Some("sk-swordfish"), "{name}");
    }
}

/// A pause requested for one secret does not apply to the others.
#[tokio::test]
async fn retry_after_is_about_its_own_request() {
    let site = Site::new().await;
    let watch = site.pod.mapping(&[("app/stripe#key", "key"), ("app/database#port", "port")]);
    let sidecar = site.sidecar(&[("WATCH_PATHS", &watch), ("REFRESH_INTERVAL", "1s")]);
    until(|| site.pod.secret("key").is_some()).await;
    let refusal = Answer::error(429, "rate_limited").header("Retry-After", "600");
    let stripe = Calls("GET", "/v1/secrets/app/stripe");
    site.world.add(stripe, Chance::First(1), Misbehaviour::Answer(refusal));
    until(|| sidecar.said("rate_limited") > 0).await;
    let port: Map<String, Value> = json!({ "port": 1 }).as_object().unwrap().clone();
    site.pod.vault.write(&"app/database".parse().unwrap(), port);
    until(|| site.pod.secret("port").as_deref() == Some("1")).await;
    // It is not longer than the interval either.
    site.pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    until(|| site.pod.secret("key").as_deref() == Some("new")).await;
    sidecar.end().await.check(0, &[]);
}
