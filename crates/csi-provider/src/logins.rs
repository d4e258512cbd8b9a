//! Logins: one token exchange for each pod and token. A caller with a token that ScaiVault has not accepted
//! gets nothing, not even cached secrets: claims can be forged, and only ScaiVault verifies the signature.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use scaivault_client::{Client, Connections, SetupError, Timeouts, Token};
use secrecy::SecretString;
use tokio::{sync::Notify, time::Instant};

use crate::{
    attributes::Pod,
    config::{Config, LoginTarget},
    failure::Failure,
    lock,
    secrets::Identity,
    token::TokenHash,
};

/// How long a login is kept after its last use. The driver calls again about every minute while the pod
/// exists.
const IDLE_LIMIT: Duration = Duration::from_mins(10);
/// The maximum number of logins. Beyond it, the namespace with the most logins loses its least recently used
/// one.
const LOGINS_MAX: usize = 1024;
/// The maximum number of mounted volumes that are recorded for a pod.
const VOLUMES_MAX: usize = 64;

/// The logins of all pods of this node.
pub(crate) struct Logins {
    config: Arc<Config>,
    /// One for each server of the configuration.
    connections: Vec<Connections>,
    pods: Mutex<BTreeMap<(Pod, LoginTarget), Arc<PodLogin>>>,
    /// Notified if a login was added that must be saved for a restart.
    changed: Arc<Notify>,
}

/// The login of one pod.
pub(crate) struct PodLogin {
    /// Locked during an exchange, so that concurrent calls make only one.
    exchange: tokio::sync::Mutex<()>,
    accepted: Mutex<Option<AcceptedToken>>,
    used: Mutex<Instant>,
    /// The mounted volumes of the pod by target path, and when their files were first returned.
    volumes: Mutex<BTreeMap<String, Instant>>,
}

/// A token that ScaiVault has exchanged.
#[derive(Clone)]
pub(crate) struct AcceptedToken {
    pub(crate) token: TokenHash,
    /// Whether it is from an earlier process: then it has a login, but no token for the next one.
    is_restored: bool,
    pub(crate) client: Arc<Client>,
}

impl PodLogin {
    fn new() -> Self {
        Self {
            exchange: tokio::sync::Mutex::default(),
            accepted: Mutex::default(),
            used: Mutex::new(Instant::now()),
            volumes: Mutex::default(),
        }
    }

    /// Whether the files of the volume were first returned longer ago than `after`. An earlier call may
    /// repeat a mount that failed in the driver.
    pub(crate) fn has_mounted(&self, target_path: &str, after: Duration) -> bool {
        lock(&self.volumes).get(target_path).is_some_and(|first| first.elapsed() >= after)
    }

    /// Records that the files of the volume were returned.
    pub(crate) fn add_volume(&self, target_path: &str) {
        let mut volumes = lock(&self.volumes);
        if !target_path.is_empty() && volumes.len() < VOLUMES_MAX && !volumes.contains_key(target_path) {
            volumes.insert(target_path.to_owned(), Instant::now());
        }
    }

    fn accepted(&self) -> Option<AcceptedToken> {
        lock(&self.accepted).clone()
    }
}

impl Logins {
    pub(crate) fn new(config: Arc<Config>, changed: Arc<Notify>) -> Result<Self, SetupError> {
        let connections = config.servers().iter().map(|server| {
            Connections::new(server.address.clone(), server.trust.clone(), None, Timeouts::default())
        });
        let connections = connections.collect::<Result<_, _>>()?;
        Ok(Self { connections, config, pods: Mutex::default(), changed })
    }

    /// A client that has logged in with exactly this token.
    pub(crate) async fn client(
        &self,
        pod: &Pod,
        target: &LoginTarget,
        token: SecretString,
    ) -> Result<(Arc<Client>, Arc<PodLogin>), Failure> {
        let login = self.pod(pod, target);
        let hash = TokenHash::new(&token);
        let _one_exchange = login.exchange.lock().await;
        let same = login.accepted().filter(|accepted| accepted.token == hash);
        if let Some(AcceptedToken { is_restored: false, client, .. }) = same {
            return Ok((client, Arc::clone(&login)));
        }
        let client = Arc::new(self.connections[target.server].client(
            token,
            target.audience.clone(),
            target.role.clone(),
            self.config.tenant.clone(),
        ));
        // ScaiVault accepted this token from an earlier process.
        if let Some(kept) = same.and_then(|accepted| accepted.client.token()) {
            client.resume(kept);
        }
        client.login().await.map_err(|error| {
            self.forget_refused(pod, target, &login);
            let subject = format!("service account {}/{}", pod.namespace, pod.service_account);
            Failure::from_error(target, subject, &error)
        })?;
        // A new token of the kubelet replaces the previous one, which expires soon.
        let accepted = AcceptedToken { token: hash, is_restored: false, client: Arc::clone(&client) };
        *lock(&login.accepted) = Some(accepted);
        self.changed.notify_one();
        Ok((client, Arc::clone(&login)))
    }

    /// Restores a login of an earlier process, for the same token of the pod.
    pub(crate) fn restore(&self, pod: &Pod, target: &LoginTarget, hash: TokenHash, token: Token) {
        let client = self.restored(target, Some(token));
        let login = self.pod(pod, target);
        *lock(&login.accepted) = Some(AcceptedToken { token: hash, is_restored: true, client });
    }

    /// A client with the login of an earlier process, which is valid until its token expires.
    pub(crate) fn restored(&self, target: &LoginTarget, token: Option<Token>) -> Arc<Client> {
        let LoginTarget { server, audience, role } = target.clone();
        let none = SecretString::default();
        let client = self.connections[server].client(none, audience, role, self.config.tenant.clone());
        if let Some(token) = token {
            client.resume(token);
        }
        Arc::new(client)
    }

    /// Whether the volume was mounted before, see [`PodLogin::has_mounted`].
    pub(crate) fn has_mounted(&self, pod: &Pod, target: &LoginTarget, path: &str, after: Duration) -> bool {
        let pods = self.pods();
        pods.get(&(pod.clone(), target.clone())).is_some_and(|login| login.has_mounted(path, after))
    }

    fn pod(&self, pod: &Pod, target: &LoginTarget) -> Arc<PodLogin> {
        let mut pods = self.pods();
        let login = Arc::clone(
            pods.entry((pod.clone(), target.clone())).or_insert_with(|| Arc::new(PodLogin::new())),
        );
        *lock(&login.used) = Instant::now();
        while pods.len() > LOGINS_MAX {
            let mut namespaces: BTreeMap<_, (usize, _)> = BTreeMap::new();
            for (key, login) in &*pods {
                let used = (*lock(&login.used), key);
                let (count, oldest) = namespaces.entry(&key.0.namespace).or_insert((0, used));
                *count += 1;
                *oldest = (*oldest).min(used);
            }
            let largest = namespaces.into_values().max_by_key(|(count, _)| *count);
            largest.map(|(_, (_, key))| key.clone()).and_then(|key| pods.remove(&key));
        }
        login
    }

    /// Removes a pod whose token ScaiVault has refused, unless it has a login or other calls wait for one.
    fn forget_refused(&self, pod: &Pod, target: &LoginTarget, login: &Arc<PodLogin>) {
        /// The references of the table and of the caller.
        const OWN: usize = 2;
        let (mut pods, key) = (self.pods(), (pod.clone(), target.clone()));
        let is_own = pods.get(&key).is_some_and(|kept| Arc::ptr_eq(kept, login));
        if is_own && login.accepted().is_none() && Arc::strong_count(login) <= OWN {
            pods.remove(&key);
        }
    }

    /// Removes logins that were not used for a while, because their pods are gone.
    pub(crate) fn forget_idle(&self, now: Instant) {
        self.pods().retain(|_, login| *lock(&login.used) + IDLE_LIMIT > now);
    }

    /// Removes the logins of deleted pods. `is_kept` gets the pod and the last use of its login.
    pub(crate) fn retain(&self, is_kept: impl Fn(&Pod, Instant) -> bool) {
        self.pods().retain(|(pod, _), login| is_kept(pod, *lock(&login.used)));
    }

    /// The identities of all pods.
    pub(crate) fn identities(&self) -> BTreeSet<Identity> {
        self.pods().keys().map(|(pod, target)| Identity::new(pod, target)).collect()
    }

    /// The logins that ScaiVault has accepted, to save for a restart.
    pub(crate) fn accepted(&self) -> Vec<(Pod, LoginTarget, AcceptedToken)> {
        let pods = self.pods();
        let accepted = pods
            .iter()
            .filter_map(|((pod, target), login)| Some((pod.clone(), target.clone(), login.accepted()?)));
        accepted.collect()
    }

    /// A logged-in client of an identity; `None` if no pod of it has logged in.
    pub(crate) fn client_of(&self, identity: &Identity) -> Option<Arc<Client>> {
        let pods = self.pods();
        let mut own = pods.iter().filter(|((pod, target), _)| Identity::new(pod, target) == *identity);
        own.find_map(|(_, login)| Some(login.accepted()?.client).filter(|client| client.token().is_some()))
    }

    /// The number of pods with a login.
    pub(crate) fn count(&self) -> usize {
        self.pods().len()
    }

    fn pods(&self) -> MutexGuard<'_, BTreeMap<(Pod, LoginTarget), Arc<PodLogin>>> {
        lock(&self.pods)
    }
}

#[cfg(test)]
impl Logins {
    /// Makes the volumes of a pod one hour older.
    pub(crate) fn backdate_volumes(&self, pod: &Pod, target: &LoginTarget) {
        let pods = self.pods();
        for first in lock(&pods[&(pod.clone(), target.clone())].volumes).values_mut() {
            *first -= Duration::from_hours(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{attributes::tests::pod, config::ConfigFlags};

    #[tokio::test(start_paused = true)]
    async fn a_namespace_with_many_logins_ends_its_own() {
        let url = "https://scaivault.example".to_owned();
        let given = ConfigFlags { url, allow_urls: Vec::new(), ca_file: None, file: None };
        let logins = Logins::new(Arc::new(Config::read(given).unwrap()), Arc::default()).unwrap();
        let target = LoginTarget { server: 0, audience: "scaivault".to_owned(), role: None };
        let log_in = |namespace: &str, index: usize| {
            let (namespace, uid) = (namespace.parse().unwrap(), format!("u-{index}").parse().unwrap());
            logins.pod(&Pod { namespace, uid, ..pod() }, &target);
        };
        (0..10).for_each(|index| log_in("shop", index));
        tokio::time::advance(Duration::from_mins(1)).await;
        (0..LOGINS_MAX + 20).for_each(|index| log_in("billing", index));
        assert_eq!(logins.count(), LOGINS_MAX);
        let of_shop = logins.pods().keys().filter(|(pod, _)| pod.namespace.as_str() == "shop").count();
        assert_eq!(of_shop, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_volume_that_is_repeated_soon_is_a_first_mount() {
        let (login, minute) = (PodLogin::new(), Duration::from_mins(1));
        for _ in 0..2 {
            assert!(!login.has_mounted("/a", minute), "the driver may have failed to write the files");
            login.add_volume("/a");
            tokio::time::advance(Duration::from_secs(30)).await;
        }
        assert!(login.has_mounted("/a", minute) && !login.has_mounted("/b", minute));
    }
}
