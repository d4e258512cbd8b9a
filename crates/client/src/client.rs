//! The client: one method for each request of the API.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use hyper::{
    Method,
    header::{self, HeaderName, HeaderValue},
};
use scaivault_contract::{Duration as Ttl, DynamicRef, SecretPath, env};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::{
    Address, Backoff, Error, ErrorKind, Event, EventId, Lease, LeaseId, LeaseTerm, Login, NewSubscription,
    Operation, Poll, Proxy, Retry, Secret, Settings, SetupError, SubscriptionId, TenantId, Timeouts, Token,
    Trust,
    code::Class,
    connect::Connector,
    documented, envelope, guessed, lock, login,
    rate_limit::RateLimit,
    tls::Authorities,
    transport::{Answer, OutgoingRequest, Transport},
};

mod versions;

pub use versions::{SecretVersion, VERSIONS_BATCH, Versions};

/// The first and the longest pause between logins whose tokens are rejected immediately.
const REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// The header with the tenant.
const TENANT_HEADER: HeaderName = HeaderName::from_static("x-tenant-id");

/// A client of `ScaiVault` for one identity. It logs in when needed; connections and token are
/// shared by all calls.
///
/// Calls may run concurrently. Call [`Self::login`] before the first ones, so that a failing login
/// fails only once.
pub struct Client {
    vault: Arc<Transport>,
    login: LoginMethod,
    tenant: Option<TenantId>,
    token: Mutex<Option<Token>>,
    /// Held during a login, so that concurrent calls cause only one.
    login_lock: tokio::sync::Mutex<()>,
    /// Backoff of logins after a new token was rejected.
    refused: Mutex<Backoff>,
    /// The rate limit reported by the last answer to a read.
    read_limit: Mutex<Option<RateLimit>>,
    /// Until when the route for batches of versions is not asked, because the server does not have it.
    no_batches_until: Mutex<Option<Instant>>,
}

impl Client {
    /// Creates a client without connecting. Reads the CA file.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let Settings { address, login, trust, proxy, tenant, timeouts } = settings;
        let authorities = Arc::new(Authorities::new(trust)?);
        let transport = |address, authorities, setting| {
            let connector = Connector::new(address, proxy.as_ref(), authorities, setting)?;
            Ok::<_, SetupError>(Transport::new(connector, timeouts))
        };
        let login = match login {
            Login::Exchange { token_file, audience, role } => {
                LoginMethod::Exchange { token_file, audience, role }
            }
            Login::ClientCredentials { directory, token_url, trust } => {
                let same = authorities.trust == trust;
                let authorities =
                    if same { Arc::clone(&authorities) } else { Arc::new(Authorities::new(trust)?) };
                let scaikey = Box::new(transport(token_url, authorities, env::SCAIKEY_TRUST)?);
                LoginMethod::ClientCredentials { directory, scaikey }
            }
        };
        let vault = Arc::new(transport(address, authorities, env::SCAIVAULT_TRUST)?);
        Ok(Self::over(vault, login, tenant))
    }

    fn over(vault: Arc<Transport>, login: LoginMethod, tenant: Option<TenantId>) -> Self {
        Self {
            vault,
            login,
            tenant,
            token: Mutex::default(),
            login_lock: tokio::sync::Mutex::default(),
            refused: Mutex::new(Backoff::new(REFUSED)),
            read_limit: Mutex::default(),
            no_batches_until: Mutex::default(),
        }
    }

    /// Logs in, unless there is a usable token.
    pub async fn login(&self) -> Result<(), Error> {
        self.usable_token(None).await.map(drop)
    }

    /// The token, if it is usable: a later run can [`Self::resume`] with it.
    pub fn token(&self) -> Option<Token> {
        lock(&self.token).as_ref().filter(|token| token.is_usable(SystemTime::now())).cloned()
    }

    /// Continues with a token that was received earlier. A token that is no longer usable is
    /// ignored.
    pub fn resume(&self, token: Token) {
        *lock(&self.token) = Some(token);
    }

    /// The share of the read limit that is left at `now`; `None` if no answer has reported it yet.
    pub fn reads_left(&self, now: SystemTime) -> Option<f64> {
        lock(&self.read_limit).and_then(|limit| limit.left(now))
    }

    /// Reads a secret in the given version, or the current one.
    pub async fn read(&self, path: &SecretPath, version: Option<NonZeroU32>) -> Result<Secret, Error> {
        let call = OutgoingRequest::new(Operation::Read, Method::GET, documented::read_route(path, version));
        self.call(call, documented::secret).await
    }

    /// Generates credentials. Each call creates new ones: after a failure without an answer there
    /// may be an unknown lease, which ends by its TTL.
    ///
    /// Waits up to `patience` for the answer: an engine may be slow, and a lease whose answer is
    /// dropped cannot be revoked. If the answer contains a lease but is invalid otherwise, the
    /// error has the [lease](Error::orphaned_lease).
    pub async fn generate(&self, dynamic: &DynamicRef, patience: Duration) -> Result<Lease, Error> {
        let mut call =
            OutgoingRequest::new(Operation::Generate, Method::POST, guessed::generate_route(dynamic))
                .with_body(guessed::generate(dynamic))
                .only_once();
        call.patience = Some(patience);
        let answer = self.send(&call).await?;
        guessed::lease(answer, SystemTime::now()).map_err(|kind| Error::new(Operation::Generate, kind))
    }

    /// Renews a lease for `increment` or its role's default. The server may grant less, up to the
    /// lease's maximum.
    pub async fn renew(&self, lease: &LeaseId, increment: Option<Ttl>) -> Result<LeaseTerm, Error> {
        let call = OutgoingRequest::new(Operation::Renew, Method::POST, guessed::renew_route(lease))
            .with_body(guessed::renew(increment));
        self.call(call, |answer| guessed::term(answer, SystemTime::now())).await
    }

    /// Revokes a lease. Succeeds if it no longer exists.
    pub async fn revoke(&self, lease: &LeaseId) -> Result<(), Error> {
        self.delete(OutgoingRequest::new(Operation::Revoke, Method::POST, guessed::revoke_route(lease))).await
    }

    /// Subscribes to events. The subscription remains until it is deleted.
    pub async fn subscribe(&self, subscription: &NewSubscription) -> Result<SubscriptionId, Error> {
        let call = OutgoingRequest::new(
            Operation::Subscribe,
            Method::POST,
            documented::SUBSCRIPTIONS_ROUTE.to_owned(),
        )
        .with_body(documented::subscribe(subscription))
        .only_once();
        self.call(call, documented::subscription).await
    }

    /// Waits for events, oldest first. An empty result after the wait is not an error. Events that
    /// are not acknowledged are delivered again.
    pub async fn poll(&self, subscription: &SubscriptionId, poll: &Poll) -> Result<Vec<Event>, Error> {
        let mut call =
            OutgoingRequest::new(Operation::Poll, Method::GET, documented::poll_route(subscription, poll));
        call.wait = documented::poll_wait(poll);
        self.call(call, documented::events).await
    }

    /// Changes the secrets of a subscription. Pending events are kept.
    pub async fn change_subscription(
        &self,
        subscription: &SubscriptionId,
        paths: &BTreeSet<SecretPath>,
    ) -> Result<(), Error> {
        let route = documented::subscription_route(subscription);
        let call = OutgoingRequest::new(Operation::ChangeSubscription, Method::PATCH, route)
            .with_body(documented::change_subscription(paths));
        self.call(call, |_| Ok(())).await
    }

    /// Acknowledges events, so that they are not delivered again.
    pub async fn acknowledge(&self, subscription: &SubscriptionId, events: &[EventId]) -> Result<(), Error> {
        let call =
            OutgoingRequest::new(Operation::Acknowledge, Method::POST, documented::ack_route(subscription))
                .with_body(documented::ack(events));
        self.call(call, |_| Ok(())).await
    }

    /// Deletes a subscription. Succeeds if it no longer exists.
    pub async fn unsubscribe(&self, subscription: &SubscriptionId) -> Result<(), Error> {
        let route = documented::subscription_route(subscription);
        self.delete(OutgoingRequest::new(Operation::Unsubscribe, Method::DELETE, route)).await
    }

    /// The subscriptions of this identity, with their names.
    pub async fn subscriptions(&self) -> Result<Vec<(SubscriptionId, String)>, Error> {
        let mut cursor: Option<String> = None;
        let mut all = Vec::new();
        for _ in 0..guessed::SUBSCRIPTION_PAGES {
            let route = guessed::subscriptions_route(cursor.as_deref());
            let call = OutgoingRequest::new(Operation::ListSubscriptions, Method::GET, route);
            let (page, next) = self.call(call, guessed::subscriptions).await?;
            all.extend(page);
            if next.is_none() || next == cursor {
                break;
            }
            cursor = next;
        }
        Ok(all)
    }

    /// Sends a request with the token, and reads the complete answer.
    async fn call<T>(
        &self,
        call: OutgoingRequest,
        read: impl FnOnce(&Answer) -> Result<T, ErrorKind>,
    ) -> Result<T, Error> {
        let answer = self.send(&call).await?.whole();
        answer.and_then(|answer| read(&answer)).map_err(|kind| Error::new(call.operation, kind))
    }

    /// Sends a request that deletes something. Succeeds if it no longer exists.
    async fn delete(&self, call: OutgoingRequest) -> Result<(), Error> {
        match self.call(call, |_| Ok(())).await {
            Err(error) if error.is_gone() => Ok(()),
            answered => answered,
        }
    }

    /// Sends a request with the token, and repeats it once with a new token if the token is
    /// rejected: it may have expired, been revoked, or be unknown to a restarted server. The body
    /// of the answer may be truncated.
    async fn send(&self, call: &OutgoingRequest) -> Result<Answer, Error> {
        let (mut token, mut is_new) = self.usable_token(None).await?;
        loop {
            match self.send_once(call, &token).await {
                Err(error) if error.class() == Class::Authentication => {
                    let mut refused = lock(&self.refused);
                    let now = Instant::now();
                    if is_new && !refused.is_waiting(now) {
                        // Another login would have the same result. The backoff avoids a login on
                        // each call.
                        refused.failed(now, Retry::Backoff);
                    }
                    if is_new || refused.is_waiting(now) {
                        return Err(error);
                    }
                }
                answered => {
                    if answered.is_ok() {
                        lock(&self.refused).succeeded();
                    }
                    return answered;
                }
            }
            token = self.usable_token(Some(&token)).await?.0;
            is_new = true;
        }
    }

    async fn send_once(&self, call: &OutgoingRequest, token: &Token) -> Result<Answer, Error> {
        let mut outgoing = call.clone();
        outgoing.headers.insert(header::AUTHORIZATION, bearer(token));
        if let Some(tenant) = &self.tenant {
            let tenant = HeaderValue::from_str(tenant.as_str()).expect("an identifier is plain text");
            outgoing.headers.insert(TENANT_HEADER, tenant);
        }
        let sent = self.vault.send(outgoing).await;
        if call.operation == Operation::Read
            && let Ok(answer) = &sent
            && let Some(limit) = envelope::rate_limit(&answer.headers)
        {
            *lock(&self.read_limit) = Some(limit);
        }
        let answered = sent.and_then(|answer| envelope::success(&answer).map(|()| answer));
        answered.map_err(|kind| Error::new(call.operation, kind.without(&[token.secret()])))
    }

    /// The current token or a new one, and whether it is new. `refused` is no longer usable: of
    /// several calls that were rejected with the same token, the first logs in and the others get
    /// its token.
    async fn usable_token(&self, refused: Option<&Token>) -> Result<(Token, bool), Error> {
        let _one_login = self.login_lock.lock().await;
        let is_refused = |token: &Token| {
            refused.is_some_and(|refused| refused.secret().expose_secret() == token.secret().expose_secret())
        };
        if let Some(token) = self.token().filter(|token| !is_refused(token)) {
            return Ok((token, false));
        }
        *lock(&self.token) = None;
        let token = self.log_in().await?;
        self.resume(token.clone());
        Ok((token, true))
    }

    async fn exchange(
        &self,
        token: &SecretString,
        audience: &str,
        role: Option<&str>,
    ) -> Result<Token, Error> {
        let body = guessed::exchange(token, audience, role);
        let route = documented::EXCHANGE_ROUTE.to_owned();
        let call = OutgoingRequest::new(Operation::Exchange, Method::POST, route).with_body(body);
        let asked = ask_for_token(&self.vault, call).await;
        asked.map_err(|kind| Error::new(Operation::Exchange, kind.without(&[token])))
    }

    async fn log_in(&self) -> Result<Token, Error> {
        match &self.login {
            LoginMethod::Exchange { token_file, audience, role } => {
                let token =
                    login::read_file(token_file).map_err(|error| Error::new(Operation::Exchange, error))?;
                self.exchange(&token, audience, role.as_deref()).await
            }
            LoginMethod::Presented { token, audience, role } => {
                self.exchange(token, audience, role.as_deref()).await
            }
            LoginMethod::ClientCredentials { directory, scaikey } => {
                let fail = |kind| Error::new(Operation::ClientCredentials, kind);
                let read = login::read_credentials(directory);
                let [id, secret] = read.map_err(|error| fail(error.into()))?;
                let call = OutgoingRequest::new(Operation::ClientCredentials, Method::POST, String::new())
                    .with_body(documented::client_credentials(&id, &secret));
                let encoded = documented::percent_encoded(secret.expose_secret()).to_string().into();
                ask_for_token(scaikey, call).await.map_err(|kind| fail(kind.without(&[&secret, &encoded])))
            }
        }
    }
}

/// Connections to one server for clients of many identities, such as all pods of a node.
pub struct Connections(Arc<Transport>);

impl Connections {
    /// Connects when needed. Reads the CA file.
    pub fn new(
        address: Address,
        trust: Trust,
        proxy: Option<&Proxy>,
        timeouts: Timeouts,
    ) -> Result<Self, SetupError> {
        let authorities = Arc::new(Authorities::new(trust)?);
        let connector = Connector::new(address, proxy, authorities, env::SCAIVAULT_TRUST)?;
        Ok(Self(Arc::new(Transport::new(connector, timeouts))))
    }

    /// A client that exchanges this service account token. `role` is the requested `ScaiKey`
    /// identity.
    pub fn client(
        &self,
        token: SecretString,
        audience: String,
        role: Option<String>,
        tenant: Option<TenantId>,
    ) -> Client {
        Client::over(Arc::clone(&self.0), LoginMethod::Presented { token, audience, role }, tenant)
    }
}

/// The way to log in, with the server that it uses.
enum LoginMethod {
    Presented { token: SecretString, audience: String, role: Option<String> },
    Exchange { token_file: PathBuf, audience: String, role: Option<String> },
    ClientCredentials { directory: PathBuf, scaikey: Box<Transport> },
}

async fn ask_for_token(server: &Transport, outgoing: OutgoingRequest) -> Result<Token, ErrorKind> {
    let answer = server.send(outgoing).await?.whole()?;
    guessed::token(&answer, SystemTime::now())
}

fn bearer(token: &Token) -> HeaderValue {
    let text = format!("Bearer {}", token.secret().expose_secret());
    let mut value = HeaderValue::try_from(text).expect("a token is printable ASCII");
    value.set_sensitive(true);
    value
}
