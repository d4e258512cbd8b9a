//! Writers that create annotated pods.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, PostParams},
};
use scaivault_testkit::{inspect, key};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{api, object};

/// One in this many pods is really created and deleted again; the others are dry runs, so that the
/// API server's storage stays small.
const REAL: usize = 4;
/// A writer stops after this many failures, because more of them give no new information.
const MAX_FAILURES: usize = 5;

/// Writers that run until they are stopped.
pub(crate) struct Traffic {
    is_over: Arc<AtomicBool>,
    injected: Arc<AtomicUsize>,
    writers: JoinSet<Vec<String>>,
}

impl Traffic {
    /// Starts this many writers, each with one pod at a time.
    pub(crate) fn start(client: &Client, namespace: &str, writers: usize) -> Self {
        let mut traffic = Self { is_over: Arc::default(), injected: Arc::default(), writers: JoinSet::new() };
        for writer in 0..writers {
            let pods = api(client, "v1", "Pod", namespace);
            let (is_over, injected) = (Arc::clone(&traffic.is_over), Arc::clone(&traffic.injected));
            traffic.writers.spawn(async move {
                let mut failures = Vec::new();
                for turn in 0.. {
                    if is_over.load(Ordering::Relaxed) || failures.len() >= MAX_FAILURES {
                        break;
                    }
                    let name = format!("pod-{writer}-{turn}");
                    let made = if turn % REAL == 0 {
                        make_and_delete(&pods, &name).await
                    } else {
                        dry_run(&pods, &name).await
                    };
                    match made {
                        Ok(()) => _ = injected.fetch_add(1, Ordering::Relaxed),
                        Err(failure) => failures.push(failure),
                    }
                }
                failures
            });
        }
        traffic
    }

    /// How many pods have been injected so far.
    pub(crate) fn injected(&self) -> usize {
        self.injected.load(Ordering::Relaxed)
    }

    /// Whether a writer has stopped because of failures.
    pub(crate) fn has_failed(&mut self) -> bool {
        // A writer only ends early because of failures; its result is kept for the end.
        self.writers.try_join_next().is_some_and(|failures| {
            let failures = failures.unwrap();
            self.writers.spawn(async move { failures });
            true
        })
    }

    /// Stops after the pods in flight; returns the number of injected pods and the failures.
    pub(crate) async fn stop(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        let failures = self.writers.join_all().await.concat();
        (self.injected.load(Ordering::Relaxed), failures)
    }
}

/// Requests a pod as a dry run; an error unless it is injected.
pub(crate) async fn dry_run(pods: &Api<DynamicObject>, name: &str) -> Result<(), String> {
    create(pods, name, true).await
}

/// Creates a pod; an error unless it is injected.
pub(crate) async fn make(pods: &Api<DynamicObject>, name: &str) -> Result<(), String> {
    create(pods, name, false).await
}

async fn make_and_delete(pods: &Api<DynamicObject>, name: &str) -> Result<(), String> {
    make(pods, name).await?;
    let deleted = pods.delete(name, &DeleteParams::default().grace_period(0)).await;
    deleted.map(drop).map_err(|error| format!("{name} cannot be deleted: {error}"))
}

async fn create(pods: &Api<DynamicObject>, name: &str, dry_run: bool) -> Result<(), String> {
    let params = PostParams { dry_run, ..PostParams::default() };
    let made = pods.create(&params, &object(pod(name))).await;
    let made = made.map_err(|error| format!("{name}: {error}"))?;
    let made = serde_json::to_value(made).unwrap();
    let is_injected = inspect::init_container(&made, "scaivault-init").is_some()
        && inspect::injector_annotation(&made, "status") == Some("injected");
    if is_injected { Ok(()) } else { Err(format!("{name} came back without the injection: {made}")) }
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "annotations": {
            key("inject-secret-db.json"): "environments/production/billing/database",
            key("role"): "billing",
        }},
        "spec": {
            // No such scheduler runs, so the pods cost scheduler and nodes nothing.
            "schedulerName": "none",
            "containers": [{"name": "app", "image": "app:1"}],
        },
    })
}
