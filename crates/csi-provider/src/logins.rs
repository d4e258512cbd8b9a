//! Logins: one exchange for each pod and token. Whoever shows a token that ScaiVault has not accepted gets nothing, also
//! nothing that is in memory: claims can be forged, and only ScaiVault verifies the signature.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use scaivault_client::{Client, Connections, SetupError, Timeouts, Token};
use secrecy::SecretString;
use tokio::time::Instant;

use crate::{
    attributes::Pod,
    config::{Config, LoginTarget},
    failure::Failure,
    mount::repeat,
    token::TokenHash,
};

/// How long a login is kept after its last use. The driver calls again about every minute, as long as the pod is there.
const IDLE_LIMIT: Duration = Duration::from_mins(10);

/// The logins of all pods of this node.
pub(crate) struct Logins {
    config: Arc<Config>,
    /// One for each server of the configuration.
    connections: Vec<Connections>,
    pods: Mutex<BTreeMap<(Pod, LoginTarget), Arc<PodLogin>>>,
}

/// The login of one pod.
struct PodLogin {
    /// Held during an exchange, so that calls that come at once make one.
    accepted: tokio::sync::Mutex<Option<Accepted>>,
    used: Mutex<Instant>,
}

/// A token that ScaiVault has exchanged.
#[derive(Clone)]
struct Accepted {
    token: TokenHash,
    client: Arc<Client>,
}

impl Logins {
    pub(crate) fn new(config: Arc<Config>) -> Result<Self, SetupError> {
        let connections = config.servers().iter().map(|server| {
            Connections::new(server.address.clone(), server.trust.clone(), None, Timeouts::default())
        });
        Ok(Self { connections: connections.collect::<Result<_, _>>()?, config, pods: Mutex::default() })
    }

    /// A client that has logged in with exactly this token.
    pub(crate) async fn client(
        &self,
        pod: &Pod,
        target: &LoginTarget,
        token: SecretString,
        deadline: Instant,
    ) -> Result<Arc<Client>, Failure> {
        let login = self.pod(pod, target);
        let hash = TokenHash::new(&token);
        let mut accepted = login.accepted.lock().await;
        if let Some(accepted) = accepted.as_ref().filter(|accepted| accepted.token == hash) {
            return Ok(Arc::clone(&accepted.client));
        }
        let client = Arc::new(self.connections[target.server].client(
            token,
            target.audience.clone(),
            target.role.clone(),
            self.config.tenant.clone(),
        ));
        repeat(deadline, || client.login()).await.map_err(|error| {
            let subject = format!("service account {}/{}", pod.namespace, pod.service_account);
            Failure::from_error(subject, &error)
        })?;
        // A token of the kubelet replaces the one before, which ends soon.
        *accepted = Some(Accepted { token: hash, client: Arc::clone(&client) });
        Ok(client)
    }

    /// A client with the login of an earlier process, which ends when its token does.
    pub(crate) fn restored(&self, target: &LoginTarget, token: Option<Token>) -> Arc<Client> {
        let LoginTarget { server, audience, role } = target.clone();
        let none = SecretString::default();
        let client = self.connections[server].client(none, audience, role, self.config.tenant.clone());
        if let Some(token) = token {
            client.resume(token);
        }
        Arc::new(client)
    }

    fn pod(&self, pod: &Pod, target: &LoginTarget) -> Arc<PodLogin> {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let login = pods.entry((pod.clone(), target.clone())).or_insert_with(|| {
            Arc::new(PodLogin { accepted: tokio::sync::Mutex::default(), used: Mutex::new(now) })
        });
        *login.used.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Arc::clone(login)
    }

    /// Forgets logins that were not used for a while: their pods are gone.
    pub(crate) fn forget_idle(&self, now: Instant) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.retain(|_, login| *login.used.lock().unwrap_or_else(PoisonError::into_inner) + IDLE_LIMIT > now);
    }

    /// How many pods have a login.
    pub(crate) fn count(&self) -> usize {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
