//! An API server with any number of objects, which are generated when they are listed. Rollouts end at once.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use jiff::Timestamp;
use scaivault_restarter::MARKER;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::broadcast};

use crate::vault;

/// Workloads of one namespace.
const IN_NAMESPACE: usize = 100;
/// Secrets that each workload uses.
pub(crate) const SECRETS: usize = 2;
/// Pods of each workload.
const PODS: usize = 2;
/// Watch events that may be queued.
const QUEUE: usize = 1 << 17;

/// The objects of the cluster.
pub(crate) struct Api {
    /// Whether the secrets are native ones.
    is_native: bool,
    workloads: Mutex<Vec<Workload>>,
    version: AtomicU64,
    requests: Mutex<BTreeMap<&'static str, usize>>,
    events: broadcast::Sender<(&'static str, Bytes)>,
    started: i64,
    /// The time of the last patch and the number of patches.
    patches: Mutex<(Option<Instant>, usize)>,
}

#[derive(Clone, Default)]
struct Workload {
    marker: Option<String>,
    version: u64,
    /// Of its pods.
    created: i64,
    /// How often the pods were replaced.
    round: usize,
    /// When each Secret was written.
    written: [i64; SECRETS],
    record: Option<(u64, Value)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap().to_string()
}

impl Api {
    /// Serves this number of workloads on a free port. Returns the address.
    pub(crate) async fn start(workloads: usize, is_native: bool) -> (Arc<Self>, String) {
        let started = Timestamp::now().as_second() - 3600;
        let workload =
            Workload { version: 1, created: started, written: [started; SECRETS], ..Workload::default() };
        let api = Arc::new(Self {
            is_native,
            workloads: Mutex::new(vec![workload; workloads]),
            version: AtomicU64::new(1),
            requests: Mutex::default(),
            events: broadcast::channel(QUEUE).0,
            started,
            patches: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&api));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (api, address)
    }

    /// The requests since the last call, by their purpose.
    pub(crate) fn take_requests(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut *lock(&self.requests))
    }

    /// The number of workloads with a record.
    pub(crate) fn records(&self) -> usize {
        lock(&self.workloads).iter().filter(|workload| workload.record.is_some()).count()
    }

    /// The time of the last patch and the number of patches.
    pub(crate) fn patches(&self) -> (Option<Instant>, usize) {
        *lock(&self.patches)
    }

    /// Writes the first Secret of a workload.
    pub(crate) fn rotate(&self, number: usize) {
        let now = Timestamp::now().as_second();
        lock(&self.workloads)[number].written[0] = now;
        let secret = self.secret(number, 0, now);
        self.send_event("secrets", "MODIFIED", &secret);
    }

    fn next_version(&self) -> u64 {
        self.version.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn send_event(&self, resource: &'static str, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        let _ = self.events.send((resource, line.into()));
    }

    fn namespace(number: usize) -> String {
        format!("team-{}", number / IN_NAMESPACE)
    }

    fn metadata(&self, number: usize, name: &str, version: u64, created: i64) -> Value {
        json!({
            "name": name, "namespace": Self::namespace(number), "uid": format!("{name}-0000-4000-8000-000000000000"),
            "resourceVersion": version.to_string(), "creationTimestamp": time(created), "generation": 1,
            "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "Helm"},
            "managedFields": [{"manager": "helm", "operation": "Update", "apiVersion": "v1", "time": time(self.started),
                "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}}}],
        })
    }

    fn secret(&self, number: usize, which: usize, written: i64) -> Value {
        let name = format!("db-{number}-{which}");
        let mut metadata = self.metadata(number, &name, self.next_version(), self.started);
        metadata["annotations"] = json!({"scaivault.scailabs.ai/restart": "auto"});
        metadata["managedFields"][0]["fieldsV1"] = json!({"f:data": {".": {}, "f:password": {}}});
        metadata["managedFields"][0]["time"] = time(written).into();
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata})
    }

    fn deployment(&self, number: usize, workload: &Workload) -> Value {
        let name = format!("web-{number}");
        let natives = if self.is_native { SECRETS } else { 0 };
        let variables: Vec<_> = (0..natives)
            .map(|which| {
                let from =
                    json!({"secretKeyRef": {"name": format!("db-{number}-{which}"), "key": "password"}});
                json!({"name": format!("PASSWORD_{which}"), "valueFrom": from})
            })
            .collect();
        let mut annotations = json!({});
        for which in natives..SECRETS {
            let key = format!("scaivault.scailabs.ai/inject-secret-db-{which}");
            annotations[key] = vault::path(SECRETS * number + which).into();
        }
        if let Some(marker) = &workload.marker {
            annotations[MARKER] = marker.as_str().into();
        }
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": self.metadata(number, &name, workload.version, self.started),
            "spec": {"replicas": PODS, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"serviceAccountName": "web", "containers": [{
                    "name": "app", "image": "registry.example/team/app:1.2.3", "env": variables,
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                    "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}}}]}}},
            "status": {"observedGeneration": 1, "replicas": PODS, "updatedReplicas": PODS, "availableReplicas": PODS},
        })
    }

    fn pod(&self, number: usize, which: usize, workload: &Workload) -> Value {
        let name = format!("web-{number}-{:x}-{which}", workload.round + 0x5d);
        let mut metadata = self.metadata(number, &name, self.next_version(), workload.created);
        let hash = format!("{:x}", workload.round + 0x5d);
        metadata["labels"] = json!({"app": format!("web-{number}"), "pod-template-hash": hash});
        metadata["annotations"] =
            workload.marker.as_ref().map_or(json!({}), |marker| json!({MARKER: marker}));
        metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "name": format!("web-{number}-{hash}"), "uid": "u", "controller": true}]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {"containers": [{"name": "app", "image": "registry.example/team/app:1.2.3"}], "nodeName": "node-7"},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "app", "ready": true, "restartCount": 0, "state": {"running": {}}}]}})
    }

    /// A page of a list.
    fn list(&self, resource: &str, begin: usize, limit: usize) -> Option<Value> {
        let workloads = lock(&self.workloads);
        let range = begin..(begin + limit).min(workloads.len());
        let mut items = Vec::new();
        match resource {
            "namespaces" => items.extend((0..workloads.len().div_ceil(IN_NAMESPACE)).map(
                |number| json!({"metadata": {"name": format!("team-{number}"), "resourceVersion": "1"}}),
            )),
            "statefulsets" | "daemonsets" => {}
            _ => {
                for number in range.clone() {
                    let workload = &workloads[number];
                    match resource {
                        "deployments" => items.push(self.deployment(number, workload)),
                        "pods" => items.extend((0..PODS).map(|which| self.pod(number, which, workload))),
                        "secrets" => {
                            items.extend(
                                (0..SECRETS).map(|which| self.secret(number, which, workload.written[which])),
                            );
                        }
                        "rotationrollouts" => {
                            items.extend(workload.record.iter().map(|(_, record)| record.clone()));
                        }
                        _ => return None,
                    }
                }
            }
        }
        let version = self.version.load(Ordering::Relaxed).to_string();
        let token = if range.end < workloads.len() && resource != "namespaces" {
            range.end.to_string()
        } else {
            String::new()
        };
        Some(
            json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version, "continue": token}, "items": items}),
        )
    }

    /// Marks the template of a workload, whose pods are replaced at once.
    fn patch(&self, number: usize, body: &Value) -> Value {
        let mut workloads = lock(&self.workloads);
        let workload = &mut workloads[number];
        for which in 0..PODS {
            self.send_event("pods", "DELETED", &self.pod(number, which, workload));
        }
        let marker = &body["spec"]["template"]["metadata"]["annotations"][MARKER];
        workload.marker = marker.as_str().map(str::to_owned);
        workload.version = self.next_version();
        workload.created = Timestamp::now().as_second();
        workload.round += 1;
        let deployment = self.deployment(number, workload);
        self.send_event("deployments", "MODIFIED", &deployment);
        for which in 0..PODS {
            self.send_event("pods", "ADDED", &self.pod(number, which, workload));
        }
        let mut patches = lock(&self.patches);
        *patches = (Some(Instant::now()), patches.1 + 1);
        deployment
    }

    fn record(&self, number: usize, mut body: Value) -> Value {
        let version = self.next_version();
        body["metadata"]["resourceVersion"] = version.to_string().into();
        let mut workloads = lock(&self.workloads);
        workloads[number].record = Some((version, body.clone()));
        self.send_event("rotationrollouts", "MODIFIED", &body);
        body
    }

    fn watch(&self, resource: &'static str) -> Response {
        let receiver = self.events.subscribe();
        let lines = stream::unfold(receiver, move |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok((of, line)) if of == resource => return Some((Ok::<_, Infallible>(line), receiver)),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        });
        Body::from_stream(lines).into_response()
    }

    fn count(&self, what: &'static str) {
        *lock(&self.requests).entry(what).or_default() += 1;
    }
}

const RESOURCES: [&str; 7] =
    ["namespaces", "deployments", "statefulsets", "daemonsets", "pods", "secrets", "rotationrollouts"];

async fn answer(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    let option = |name: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let body = || serde_json::from_slice::<Value>(&body).unwrap();
    let number = |name: &str| name.rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
    let segments: Vec<&str> = path.split('/').collect();
    let object = match (&parts.method, segments.as_slice()) {
        (&Method::GET, [.., resource]) => {
            let Some(resource) = RESOURCES.into_iter().find(|known| known == resource) else {
                api.count("GET of what is not installed");
                return (
                    StatusCode::NOT_FOUND,
                    json!({"kind": "Status", "code": 404, "status": "Failure"}).to_string(),
                )
                    .into_response();
            };
            if option("watch").is_some() {
                api.count("watch");
                return api.watch(resource);
            }
            api.count("list");
            let begin = option("continue").and_then(|token| token.parse().ok()).unwrap_or_default();
            let limit = option("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX / 2);
            api.list(resource, begin, limit)
        }
        (&Method::POST, [.., "rotationrollouts"]) => {
            api.count("create a record");
            let body = body();
            number(body["spec"]["name"].as_str().unwrap()).map(|number| api.record(number, body))
        }
        (&Method::PUT, [.., name, "status"]) => {
            api.count("write a record");
            number(name).map(|number| api.record(number, body()))
        }
        (&Method::PATCH, [.., "deployments", name]) => {
            api.count("patch");
            number(name).map(|number| api.patch(number, &body()))
        }
        (&Method::POST, [.., "events"]) => {
            api.count("event");
            Some(body())
        }
        _ => None,
    };
    object.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |object| object.to_string().into_response())
}
