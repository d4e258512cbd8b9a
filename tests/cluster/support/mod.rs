//! One control plane for all tests of this program, with helpers.
//!
//! Each test works in its own namespaces ([`ControlPlane::namespace`]), and the names of its
//! cluster-scoped objects contain a namespace's name, so that tests can run in parallel.

#![allow(dead_code, reason = "each test uses its part of this module")]

pub(crate) mod injector;
pub(crate) mod install;
pub(crate) mod kubectl;
pub(crate) mod ops;
pub(crate) mod other_webhook;
pub(crate) mod policies;
pub(crate) mod release;
pub(crate) mod restarter;
pub(crate) mod workload;

use std::{
    panic::Location,
    process::{Command, Stdio},
    time::Duration,
};

use kube::{
    Client,
    api::{Api, ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
pub(crate) use scaivault_testkit::eventually as eventually_within;
use scaivault_testkit::{
    control_plane::{ControlPlane, Options},
    poll,
};
use serde_json::Value;
use tokio::sync::OnceCell;

/// Far longer than any step takes; only a failing test waits this long.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

/// Started by the first test that uses it; ends with the process.
static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();

/// The control plane of all tests, with two simulated nodes.
pub(crate) async fn control_plane() -> &'static ControlPlane {
    let options = Options { nodes: 2, ..Options::default() };
    // A failure is cached: the other tests would fail in the same way after the same delay.
    let started = SHARED
        .get_or_init(|| async {
            let plane = ControlPlane::start(&options).await.map_err(|error| chain(&error))?;
            policies::define(&plane).await;
            Ok(plane)
        })
        .await;
    started.as_ref().unwrap_or_else(|error| panic!("no control plane: {error}"))
}

/// All policies of the control plane; each test creates those that select its own namespaces.
pub(crate) fn injection_policies(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("scaivault.scailabs.ai", "v1alpha1", "InjectionPolicy");
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "injectionpolicies"))
}

/// Objects of a kind in a namespace, `api(client, "apps/v1", "Deployment", namespace)`.
pub(crate) fn api(client: &Client, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(api_version, kind))
}

/// Cluster-scoped objects of a kind.
pub(crate) fn cluster_api(client: &Client, api_version: &str, kind: &str) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource(api_version, kind))
}

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Converts JSON to an object.
pub(crate) fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

/// Creates an object and returns the API server's version of it.
pub(crate) async fn create(api: &Api<DynamicObject>, value: Value) -> kube::Result<Value> {
    let created = api.create(&PostParams::default(), &object(value)).await?;
    Ok(serde_json::to_value(created).unwrap())
}

/// Polls until there is a result, and returns it.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    eventually_within(TIMEOUT, what, look)
}

/// Waits for the first line of a log that contains `words`, and returns it. A program writes its log
/// after its metrics and effects, so looking once is not enough.
#[track_caller]
pub(crate) fn until_logged(log: impl AsyncFn() -> String, words: &str) -> impl Future<Output = String> {
    let caller = Location::caller();
    async move {
        let look = async || log().await.lines().find(|line| line.contains(words)).map(str::to_owned);
        if let Some(line) = poll(TIMEOUT, look).await {
            return line;
        }
        panic!("{caller}: waited {TIMEOUT:?} for {words:?} in the log:\n{}", log().await)
    }
}

/// Runs a program and returns its standard output; it must succeed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed ({}):\n{said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
