//! Handles a mount: from the bytes of the request to the files of the volume.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use scaivault_client::{Backoff, Client, SetupError};
use scaivault_contract::{DynamicRef, ObjectName, SecretRef};
use scaivault_render::Source;
use secrecy::SecretString;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};
use tonic::{Request, Response, Status};

use crate::{
    attributes::{Attributes, Pod},
    cluster::Cluster,
    config::{Config, LoginTarget},
    events::Events,
    failure::{Failure, FailureKind},
    generated::{
        File, MountRequest, MountResponse, ObjectVersion, VersionRequest, VersionResponse,
        csi_driver_provider_server::CsiDriverProvider,
    },
    leases::{LeaseKey, LeaseRequest, Leases},
    lock,
    logins::{Logins, PodLogin},
    metrics::{Metrics, TableSizes},
    objects::Object,
    pods::PodResources,
    policies,
    renderer::{Input, Renderer, Steps},
    secrets::{Identity, Purpose, Secrets},
    session::SessionFile,
    state::{RestoredLeases, StateFile},
    token,
    turns::Turns,
    versions::Versions,
};

/// The time limits of a mount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// For the whole mount. The kubelet gives up after two minutes, and after a mount that is cut off there,
    /// the container starts with an empty directory.
    pub(crate) mount: Duration,
    /// For its turn among the mounts of the node.
    pub(crate) turn: Duration,
    /// For pods, namespaces and policies that are not in the cache yet, counted from its turn: a new pod, or
    /// all objects after the start. The kubelet calls again.
    pub(crate) facts: Duration,
    /// For retries. It ends before the whole mount, so that the last error is reported and not only the
    /// timeout.
    pub(crate) repeat: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            mount: Duration::from_secs(25),
            turn: Duration::from_secs(10),
            facts: Duration::from_secs(5),
            repeat: Duration::from_secs(20),
        }
    }
}

/// The backoff between attempts, from and to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// The number of concurrent reads of one mount. Together with the number of concurrent mounts, it limits the
/// memory for responses.
const READS_AT_ONCE: usize = 4;
/// The maximum size of all files: that of a native Secret, to which the driver can write them.
const FILES_MAX_BYTES: usize = 1024 * 1024;

/// The settings of a provider.
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) versions: Versions,
    /// Without it, classes with dynamic credentials are refused.
    pub(crate) leases: Option<StateFile>,
    /// Without it, the API server is not used.
    pub(crate) node: Option<NodeSettings>,
    pub(crate) session: SessionFile,
    /// The listener's name, a part of the subscriptions' names.
    pub(crate) listener: String,
    pub(crate) deadlines: Deadlines,
}

/// The node on which the provider runs.
pub(crate) struct NodeSettings {
    pub(crate) name: ObjectName,
    /// Whether `InjectionPolicies` limit mounts.
    pub(crate) has_policies: bool,
}

/// The provider, which implements the service that the driver calls.
#[derive(Clone)]
pub(crate) struct Provider(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    cluster: Option<Arc<Cluster>>,
    deadlines: Deadlines,
    turns: Turns,
    renderer: Renderer,
    leases: Option<Leases>,
    logins: Arc<Logins>,
    secrets: Arc<Secrets>,
    events: Arc<Events>,
    session: SessionFile,
    /// Notified if the session file must be written.
    session_changed: Arc<Notify>,
    versions: Versions,
    metrics: Metrics,
}

impl Provider {
    /// Creates a provider with the state of an earlier process.
    pub(crate) fn new(parts: Parts) -> Result<Self, SetupError> {
        let Parts { config, versions, leases, node, session, listener, deadlines } = parts;
        let session_changed = Arc::new(Notify::new());
        let logins = Arc::new(Logins::new(Arc::clone(&config), Arc::clone(&session_changed))?);
        let leases = leases.map(|state| {
            let restored = state.load(&config);
            let leases = Leases::new(Arc::clone(&config), state);
            for RestoredLeases { key, leases: kept, token } in restored {
                let client = logins.restored(&key.target, token);
                leases.restore(key, client, kept);
            }
            leases
        });
        let secrets = Arc::new(Secrets::new(config.refresh_interval));
        let listener = config.events.then_some(listener);
        let events = Arc::new(Events::new(listener, Arc::clone(&secrets), Arc::clone(&session_changed)));
        session.load(&config, &logins, &events);
        let pods = PodResources::new(leases.clone(), Arc::clone(&logins), Arc::clone(&events));
        let cluster = node.map(|NodeSettings { name, has_policies }| Cluster::new(name, has_policies, pods));
        let (turns, renderer, metrics) = (Turns::new(deadlines.turn), Renderer::new(), Metrics::default());
        Ok(Self(Arc::new(Inner {
            config,
            cluster,
            deadlines,
            turns,
            renderer,
            leases,
            logins,
            secrets,
            events,
            session,
            session_changed,
            versions,
            metrics,
        })))
    }

    /// The leases of this node's pods; `None` if dynamic credentials are refused.
    pub(crate) fn leases(&self) -> Option<&Leases> {
        self.0.leases.as_ref()
    }

    /// The cache of cluster objects, if the API server is used.
    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.0.cluster.as_ref()
    }

    /// The text of the metrics.
    pub(crate) fn metrics(&self) -> String {
        let Inner { cluster, leases, logins, secrets, events, metrics, .. } = &*self.0;
        let mut text = metrics.text(&TableSizes {
            logins: logins.count(),
            secrets: secrets.count(),
            connected: events.connected(),
            leases: leases.as_ref().map_or(0, Leases::count),
        });
        if let Some(cluster) = cluster.as_ref().filter(|cluster| cluster.has_policies()) {
            text.push_str(&cluster.metrics.text());
        }
        text
    }

    /// Removes logins and secrets that no pod has used for a while.
    pub(crate) fn forget_idle(&self) {
        let now = Instant::now();
        self.0.logins.forget_idle(now);
        self.0.secrets.forget_idle(now);
        self.0.events.keep_only(&self.0.logins.identities());
        // A client may have renewed its token.
        self.0.session_changed.notify_one();
    }

    /// Writes the session file after each change. Never returns.
    pub(crate) async fn keep_session(self) {
        loop {
            self.0.session_changed.notified().await;
            self.save_session().await;
        }
    }

    async fn save_session(&self) {
        let inner = Arc::clone(&self.0);
        let saving = tokio::task::spawn_blocking(move || {
            inner.session.save(&inner.config, &inner.logins, &inner.events);
        });
        // Only fails after a panic, which is logged.
        drop(saving.await);
    }

    /// Deletes the subscriptions of this process at ScaiVault, and saves the rest for the next process.
    pub(crate) async fn stop(&self) {
        self.0.events.stop().await;
        self.save_session().await;
    }

    /// Saves the changes of the last mounts for the next process.
    pub(crate) async fn save_leases(&self) {
        if let Some(leases) = &self.0.leases {
            // A failure is logged.
            drop(leases.save().await);
        }
    }
}

#[tonic::async_trait]
impl CsiDriverProvider for Provider {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: "v1alpha1".to_owned(),
            runtime_name: "scaivault-csi-provider".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn mount(&self, request: Request<MountRequest>) -> Result<Response<MountResponse>, Status> {
        let began = Instant::now();
        let MountRequest { attributes, target_path, .. } = request.into_inner();
        // In a separate task, so that a panic becomes an error of this mount, and a driver that disconnects
        // does not cancel a login for which other calls wait.
        let inner = Arc::clone(&self.0);
        let mounting = tokio::spawn(async move { inner.mount(attributes, &target_path, began).await });
        let answer = mounting.await.unwrap_or_else(|_| Err(Failure::internal()));
        self.0.metrics.mounted(answer.as_ref().map(drop).map_err(|failure| failure.kind), began.elapsed());
        answer.map(Response::new).map_err(|failure| failure.status())
    }
}

impl Inner {
    async fn mount(&self, text: String, target_path: &str, began: Instant) -> Result<MountResponse, Failure> {
        let attributes = Attributes::read(&text)?;
        // It may be large, and the mount may wait for a while.
        drop(text);
        let Attributes { pod, class, .. } = &attributes;
        let answer = self.attempts(&attributes, target_path, began).await;
        match &answer {
            Ok(_) => {
                let microseconds = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                tracing::debug!(namespace = %pod.namespace, pod = %pod.name, class, microseconds, "mounted");
            }
            Err(failure) => {
                tracing::warn!(namespace = %pod.namespace, pod = %pod.name, class, %failure, "mount failed");
            }
        }
        answer
    }

    /// Retries until the files are read, the error is permanent, or no time is left for another attempt. A
    /// pause between attempts holds no turn, so that mounts from a server that is down do not delay mounts
    /// from others. A volume that has its files is tried once, because the driver calls again in about a
    /// minute.
    async fn attempts(
        &self,
        attributes: &Attributes,
        target_path: &str,
        began: Instant,
    ) -> Result<MountResponse, Failure> {
        let call = self.turns.call(&attributes.pod)?;
        let mut turn = call.turn().await?;
        let volume = self.volume(attributes, target_path, began).await?;
        let (mut backoff, deadline) = (Backoff::new(PAUSES), began + self.deadlines.repeat);
        loop {
            let failure = match self.files(&volume).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            drop(turn);
            let interval = self.config.refresh_interval;
            if self.logins.has_mounted(volume.pod, &volume.target, target_path, interval) {
                return Err(failure);
            }
            // If the server requests a longer pause than the remaining time, the mount fails: the kubelet
            // calls again.
            match backoff.failed(Instant::now(), failure.retry()) {
                Some(again) if again < deadline => sleep_until(again).await,
                _ => return Err(failure),
            }
            match timeout_at(deadline, call.turn()).await {
                Ok(Ok(next)) => turn = next,
                Ok(Err(_)) | Err(_) => return Err(failure),
            }
        }
    }

    async fn volume<'a>(
        &self,
        attributes: &'a Attributes,
        target_path: &'a str,
        began: Instant,
    ) -> Result<Volume<'a>, Failure> {
        let pod = &attributes.pod;
        let target = self.config.login_target(attributes)?;
        let cluster = self.cluster.as_deref();
        let facts_until = Instant::now() + self.deadlines.facts;
        let objects = policies::objects(attributes, &target, &self.config, cluster, facts_until).await?;
        let token = token::choose(attributes.tokens.as_deref(), &target.audience, pod, SystemTime::now())?;
        Ok(Volume { pod, target, objects, token, target_path, end: began + self.deadlines.mount })
    }

    /// One attempt.
    async fn files(&self, volume: &Volume<'_>) -> Result<MountResponse, Failure> {
        let Volume { pod, target, objects, token, target_path, end } = volume;
        let login = timeout_at(*end, self.logins.client(pod, target, token.clone())).await;
        let (client, login) = login.unwrap_or_else(|_| Err(late_login(self.deadlines.mount, pod, target)))?;
        let is_republish = login.has_mounted(target_path, self.config.refresh_interval);
        let (room, steps) = (AtomicUsize::new(FILES_MAX_BYTES), Steps::for_mount());
        let identity = Identity::new(pod, target);
        let waits = Mutex::default();
        let leases = self.request_leases(volume, &client).await;
        let reader = Reader { identity, pod, target, client, leases, is_republish, room, steps, waits };
        let reading = async {
            let response = self.read_files(objects, &reader).await?;
            self.mounted(objects, &reader, &login, target_path);
            Ok(response)
        };
        let answer = timeout_at(*end, reading).await;
        answer.unwrap_or_else(|_| Err(reader.late(self.deadlines.mount)))
    }

    /// Records the requested leases of the volume.
    async fn request_leases(&self, volume: &Volume<'_>, client: &Arc<Client>) -> Result<(), Failure> {
        let Volume { pod, target, objects, target_path, end, .. } = volume;
        let Some(leases) = &self.leases else { return Ok(()) };
        let dynamics = dynamics(objects);
        let request = LeaseRequest { pod, target, volume: target_path, dynamics: &dynamics, client };
        leases.request(&request, (*end).min(Instant::now() + self.deadlines.facts)).await
    }

    /// Completes a mount: subscribes to changes of the volume's secrets, and records its leases.
    fn mounted(&self, objects: &[Arc<Object>], reader: &Reader<'_>, login: &PodLogin, target_path: &str) {
        login.add_volume(target_path);
        if let Some(leases) = &self.leases {
            leases.mounted(reader.pod, reader.target, target_path, &dynamics(objects));
        }
        let secrets = objects.iter().flat_map(|object| match &object.source {
            Source::Secrets(secrets) => secrets.secrets().collect(),
            Source::Lease(_) => Vec::new(),
        });
        let newest = secrets.filter(|secret| secret.version.is_none()).map(|secret| secret.path.clone());
        self.events.cover(&reader.identity, &reader.client, newest.collect());
    }

    async fn read_files(
        &self,
        objects: &[Arc<Object>],
        reader: &Reader<'_>,
    ) -> Result<MountResponse, Failure> {
        let reads: Vec<_> = objects.iter().map(|object| self.file(object, reader)).collect();
        let files: Vec<_> = stream::iter(reads).buffered(READS_AT_ONCE).collect().await;
        let (mut response, mut failures) = (MountResponse::default(), Vec::new());
        for file in files {
            match file {
                Ok(Some(file)) => {
                    let version = self.versions.version(&file.path, &file.contents);
                    response.object_version.push(ObjectVersion { id: file.path.clone(), version });
                    response.files.push(file);
                }
                Ok(None) => {}
                Err(failure) => failures.push(failure),
            }
        }
        // The driver removes files that are not in the response, so an incomplete list must not be returned.
        if let Some(failure) = Failure::joined(failures) {
            return Err(failure);
        }
        // The driver takes an empty response for one of a provider that writes the files itself.
        if response.files.is_empty() {
            let text = "all objects are optional and none of their secrets exists, and a volume needs a file; create a secret or make an object mandatory";
            return Err(Failure::new(FailureKind::NotFound, text));
        }
        Ok(response)
    }

    /// One file; `None` for an optional one whose secret does not exist.
    async fn file(&self, object: &Arc<Object>, reader: &Reader<'_>) -> Result<Option<File>, Failure> {
        let Object { file, mode, is_optional, .. } = &**object;
        let composed = match self.read(object, reader).await {
            Ok(read) => {
                reader.wait(object, Wait::Composing);
                self.renderer.render(object, read, &reader.steps).await
            }
            Err(failure) => Err(failure),
        };
        reader.end_wait(object);
        match composed {
            Ok(contents) if !reader.has_room(contents.len()) => Err(too_large()),
            Ok(contents) => Ok(Some(File { path: file.to_string(), mode: i32::from(mode.bits()), contents })),
            Err(failure) if *is_optional && failure.kind == FailureKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The data of each secret of a file, with its version, or the credentials of its lease.
    async fn read(&self, object: &Object, reader: &Reader<'_>) -> Result<Vec<Input>, Failure> {
        let Reader { identity, pod, target, client, is_republish, .. } = reader;
        let secrets = match &object.source {
            Source::Secrets(secrets) => secrets,
            Source::Lease(dynamic) => {
                let leases = self.leases.as_ref().ok_or_else(no_leases)?;
                reader.leases.clone()?;
                reader.wait(object, Wait::Credentials);
                let (pod, target) = ((*pod).clone(), (*target).clone());
                let key = LeaseKey { pod, target, dynamic: dynamic.clone() };
                return Ok(vec![Input::Lease(leases.credentials(key, client).await?)]);
            }
        };
        let mut read = Vec::new();
        for secret in secrets.secrets() {
            let purpose = if *is_republish {
                Purpose::Republish(self.events.since(identity, &secret.path))
            } else {
                Purpose::NewVolume
            };
            reader.wait(object, Wait::Secret(secret.clone()));
            let answer = self.secrets.read(client, identity, secret, purpose).await;
            let answer = answer.map_err(|error| {
                let mut failure = Failure::from_error(target, secret, &error);
                // The identity or the tenant does not exist, so the secret may.
                if failure.kind == FailureKind::NotFound && !error.is_gone() {
                    failure.kind = FailureKind::Denied;
                }
                failure
            })?;
            read.push(Input::Secret(answer));
        }
        Ok(read)
    }
}

/// A volume with its parsed class.
struct Volume<'a> {
    pod: &'a Pod,
    target: LoginTarget,
    objects: Vec<Arc<Object>>,
    token: SecretString,
    target_path: &'a str,
    /// The deadline of its mount.
    end: Instant,
}

/// The identity that reads the secrets of a mount.
struct Reader<'a> {
    identity: Identity,
    pod: &'a Pod,
    target: &'a LoginTarget,
    client: Arc<Client>,
    /// Whether the volume may have its leases.
    leases: Result<(), Failure>,
    /// Whether the volume was mounted before.
    is_republish: bool,
    /// The bytes that are left for files.
    room: AtomicUsize,
    steps: Steps,
    /// The state of each file in progress.
    waits: Mutex<BTreeMap<String, Wait>>,
}

/// The reason why a file waits.
enum Wait {
    /// ScaiVault's response, to this call or to another one for the same secret.
    Secret(SecretRef),
    Credentials,
    /// Other files, which are composed first.
    Composing,
}

impl Reader<'_> {
    /// Subtracts the size of a file, if enough bytes are left.
    fn has_room(&self, bytes: usize) -> bool {
        let left = |room: usize| room.checked_sub(bytes);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    fn wait(&self, object: &Object, wait: Wait) {
        lock(&self.waits).insert(object.file.to_string(), wait);
    }

    fn end_wait(&self, object: &Object) {
        lock(&self.waits).remove(&object.file.to_string());
    }

    /// The failure if the deadline of the mount has passed.
    fn late(&self, after: Duration) -> Failure {
        let waits = lock(&self.waits);
        let asks_scaivault = waits.values().any(|wait| !matches!(wait, Wait::Composing));
        let waits: Vec<_> = waits
            .iter()
            .map(|(file, wait)| match wait {
                Wait::Secret(secret) => format!("{file} waits for ScaiVault's answer about {secret}"),
                Wait::Credentials => format!("{file} waits for credentials of an engine of ScaiVault"),
                Wait::Composing => {
                    format!("{file} waits for the provider, which composes files of this node")
                }
            })
            .collect();
        let fix = if asks_scaivault {
            "check that ScaiVault is up and that the provider's network reaches it"
        } else {
            "give the provider more CPU, or find volumes with large secrets or slow templates"
        };
        let Pod { namespace, service_account, .. } = self.pod;
        let text = format!(
            "the mount for service account {namespace}/{service_account} is not done within {} s: {}; {fix}",
            after.as_secs(),
            waits.join(", ")
        );
        Failure::new(FailureKind::Late, text)
    }
}

/// The dynamic credentials of a volume.
fn dynamics(objects: &[Arc<Object>]) -> BTreeSet<&DynamicRef> {
    objects.iter().filter_map(|object| object.source.lease()).collect()
}

fn too_large() -> Failure {
    Failure::invalid(format!(
        "the files have more than {FILES_MAX_BYTES} bytes together, which is the limit; use fields instead of whole secrets, or several volumes"
    ))
}

fn no_leases() -> Failure {
    Failure::invalid(
        "dynamic credentials need a provider that knows which pods are gone; set --node-name and allow its service account to list and watch pods",
    )
}

/// The failure if the deadline has passed before the login. Logins do not depend on secrets, so at the
/// default server the class cannot have caused it.
fn late_login(after: Duration, pod: &Pod, target: &LoginTarget) -> Failure {
    let kind = if target.is_default_server() { FailureKind::Unreachable } else { FailureKind::Late };
    let text = format!(
        "ScaiVault has not answered the login of service account {}/{} within {} s; check that it is up and that the provider's network \
         reaches it",
        pod.namespace,
        pod.service_account,
        after.as_secs()
    );
    Failure::new(kind, text)
}

#[cfg(test)]
mod tests;
