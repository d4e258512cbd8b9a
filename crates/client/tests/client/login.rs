//! Login, and reuse of the token.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use scaivault_client::{
    Address, Class, Client, Error, ErrorKind, Login, Operation, PlainHttp, Retry, Settings, Token,
};
use scaivault_devserver::{Effect, Fault, Route};

use crate::fixture::{DATABASE, Fixture, PUBLIC, path};

fn code(error: &Error) -> &str {
    error.code().unwrap().as_str()
}

#[tokio::test]
async fn one_token_serves_all_calls() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    client.login().await.unwrap();
    client.login().await.unwrap();
    for _ in 0..3 {
        client.read(&path(DATABASE), None).await.unwrap();
    }
    assert_eq!(fixture.handle.requests(Route::Exchange), 1);
    assert_eq!(fixture.handle.requests(Route::Read), 3);
}

#[tokio::test]
async fn calls_at_once_log_in_once() {
    let fixture = Fixture::new().await;
    let (client, path) = (fixture.client(), path(DATABASE));
    let (a, b, c) =
        tokio::join!(client.read(&path, None), client.read(&path, None), client.read(&path, None));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(fixture.handle.requests(Route::Exchange), 1);
}

#[tokio::test]
async fn a_token_that_lasts_no_time_is_not_kept() {
    let fixture = Fixture::new().await;
    fixture.handle.set_token_lifetime(0);
    let client = fixture.client();
    client.login().await.unwrap();
    client.login().await.unwrap();
    assert_eq!(fixture.handle.requests(Route::Exchange), 2);
    assert!(client.token().is_none());
}

#[tokio::test]
async fn an_expired_token_is_replaced_once() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    client.read(&path(DATABASE), None).await.unwrap();
    fixture.handle.expire_tokens();
    client.read(&path(DATABASE), None).await.unwrap();
    assert_eq!(fixture.handle.requests(Route::Exchange), 2);
    assert_eq!(fixture.handle.requests(Route::Read), 3);

    fixture.handle.add_fault(Fault::refuse(Route::Read, "token_expired", 5));
    let error = client.read(&path(DATABASE), None).await.unwrap_err();
    assert_eq!((code(&error), error.retry()), ("token_expired", Retry::Never));
    assert_eq!(fixture.handle.requests(Route::Read), 5, "sent twice and no more");
}

#[tokio::test]
async fn any_refused_token_is_replaced_once() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    client.login().await.unwrap();
    fixture.handle.revoke_tokens();
    client.read(&path(DATABASE), None).await.unwrap();
    assert_eq!((fixture.handle.requests(Route::Exchange), fixture.handle.requests(Route::Read)), (2, 2));

    for code in ["token_invalid", "authentication_required", "token_revoked", "session_unknown"] {
        let logins = fixture.handle.requests(Route::Exchange);
        let body = format!(r#"{{"error":{{"code":"{code}","message":"no"}}}}"#);
        fixture.handle.add_fault(Fault::on(Route::Read, Effect::Answer { status: 401, body }).times(1));
        client.read(&path(DATABASE), None).await.unwrap();
        assert_eq!(fixture.handle.requests(Route::Exchange), logins + 1, "{code}");
    }
}

#[tokio::test]
async fn a_token_of_the_same_call_is_not_replaced() {
    let fixture = Fixture::new().await;
    fixture.handle.add_fault(Fault::refuse(Route::Read, "token_revoked", 1));
    let error = fixture.client().read(&path(DATABASE), None).await.unwrap_err();
    assert_eq!((code(&error), error.class()), ("token_revoked", Class::Authentication));
    assert_eq!((fixture.handle.requests(Route::Exchange), fixture.handle.requests(Route::Read)), (1, 1));
}

#[tokio::test]
async fn calls_with_the_same_dead_token_share_one_login() {
    let fixture = Fixture::new().await;
    let (client, path) = (fixture.client(), path(DATABASE));
    client.login().await.unwrap();
    fixture.handle.revoke_tokens();
    let (a, b, c) =
        tokio::join!(client.read(&path, None), client.read(&path, None), client.read(&path, None));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(fixture.handle.requests(Route::Exchange), 2);
}

#[tokio::test]
async fn a_server_that_refuses_every_token_is_not_flooded_with_logins() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    fixture.handle.add_fault(Fault::always(Route::Read, "token_invalid"));
    for _ in 0..20 {
        let error = client.read(&path(DATABASE), None).await.unwrap_err();
        assert_eq!(code(&error), "token_invalid");
    }
    // The first pause is at least half a second.
    let logins = fixture.handle.requests(Route::Exchange);
    assert!(logins <= 3, "{logins}");
}

#[tokio::test]
async fn a_token_is_reused_by_the_next_client() {
    let fixture = Fixture::new().await;
    let first = fixture.client();
    first.login().await.unwrap();
    let kept = first.token().unwrap();
    let restored = Token::restore(kept.secret().clone(), kept.received(), kept.use_until()).unwrap();
    let second = fixture.client();
    second.resume(restored);
    second.read(&path(DATABASE), None).await.unwrap();
    assert_eq!(fixture.handle.requests(Route::Exchange), 1);

    let hour = Duration::from_hours(1);
    let old = SystemTime::now() - hour;
    let third = fixture.client();
    third.resume(Token::restore(kept.secret().clone(), old, old + hour / 2).unwrap());
    third.read(&path(DATABASE), None).await.unwrap();
    assert_eq!(fixture.handle.requests(Route::Exchange), 2, "an old token is not tried");
}

#[tokio::test]
async fn the_token_file_is_read_at_each_login() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    fixture.write_token("billing", "web", "scaivault", -10);
    let error = client.login().await.unwrap_err();
    assert_eq!((error.operation, code(&error)), (Operation::Exchange, "token_expired"));
    fixture.write_token("billing", "web", "scaivault", 600);
    client.login().await.unwrap();
}

#[tokio::test]
async fn an_unmapped_identity_is_denied() {
    let fixture = Fixture::new().await;
    for (account, audience, class) in
        [("stranger", "scaivault", Class::Denied), ("web", "other-audience", Class::Authentication)]
    {
        fixture.write_token("billing", account, audience, 600);
        let error = fixture.client().read(&path(DATABASE), None).await.unwrap_err();
        assert_eq!((error.operation, error.class()), (Operation::Exchange, class), "{error}");
        assert_eq!(error.retry(), Retry::Never);
    }
    assert_eq!(fixture.handle.requests(Route::Read), 0);
}

#[tokio::test]
async fn a_role_is_requested() {
    let fixture = Fixture::new().await;
    let client =
        |role| Client::new(Settings { login: fixture.exchange(Some(role)), ..fixture.settings() }).unwrap();
    client("sa:billing-prod").read(&path(DATABASE), None).await.unwrap();
    let error = client("sa:other").read(&path(DATABASE), None).await.unwrap_err();
    assert_eq!((error.operation, error.class()), (Operation::Read, Class::Denied));
    let error = client("sa:nobody").login().await.unwrap_err();
    assert_eq!((error.operation, error.class()), (Operation::Exchange, Class::Denied));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let fixture = Fixture::new().await;
    fs::remove_file(fixture.file("token")).unwrap();
    let error = fixture.client().read(&path(DATABASE), None).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::LoginFile(_)), "{error}");
    assert_eq!((error.class(), error.retry()), (Class::Authentication, Retry::Never));
    assert_eq!(fixture.handle.requests(Route::Exchange), 0);
}

#[tokio::test]
async fn client_credentials_replace_the_exchange() {
    let fixture = Fixture::new().await;
    let token_url = format!("{}/oauth/token", fixture.server.url());
    let login = Login::ClientCredentials {
        directory: fixture.file(""),
        token_url: Address::new(&token_url, PlainHttp::LoopbackOnly).unwrap(),
        trust: PUBLIC,
    };
    let client = Client::new(Settings { login, ..fixture.settings() }).unwrap();
    fs::write(fixture.file("client_id"), "app\n").unwrap();
    fs::write(fixture.file("client_secret"), "wrong").unwrap();
    let error = client.login().await.unwrap_err();
    assert_eq!((error.operation, error.class()), (Operation::ClientCredentials, Class::Authentication));
    assert_eq!(error.code().unwrap().as_str(), "invalid_client");

    fs::write(fixture.file("client_secret"), "s&cr=t %").unwrap();
    client.read(&path(DATABASE), None).await.unwrap();
    client.read(&path(DATABASE), None).await.unwrap();
    assert_eq!(fixture.handle.requests(Route::ClientCredentials), 2);
    assert_eq!(fixture.handle.requests(Route::Exchange), 0);
}

#[tokio::test]
async fn the_tenant_is_named_where_one_is_set() {
    let fixture = Fixture::new().await;
    for (tenant, expected) in [("tnt_dev", None), ("tnt_other", Some("tenant_access_denied"))] {
        let tenant = Some(tenant.parse().unwrap());
        let client = Client::new(Settings { tenant, ..fixture.settings() }).unwrap();
        let error = client.read(&path(DATABASE), None).await.err();
        assert_eq!(error.as_ref().map(code), expected);
    }
}
