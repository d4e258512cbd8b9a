//! Policies on three replicas: how fast a change comes into force, the cost of many changes, and
//! robustness against mistakes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kube::{
    Client,
    api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use scaivault_testkit::inspect;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    fleet::{Fleet, turn},
    support::{api, cluster_api, create, eventually, injection_policies, injector::Injector, object},
};

/// Edits of policies per second, and their duration.
const EDITS: u32 = 100;
const STORM: Duration = Duration::from_secs(10);
/// The maximum number of concurrent edits.
const IN_FLIGHT: usize = 16;

const CHANGES: &str = "scaivault_injector_policy_set_changes_total";
const IN_FORCE: &str = "scaivault_injector_policies{state=\"in-force\"}";

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "scaivault.scailabs.ai/v1alpha1", "kind": "InjectionPolicy", "metadata": {"name": name}, "spec": spec,
    })
}

/// A policy that selects a namespace and injects a file.
fn injecting(namespace: &str, path: &str) -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "inject": {"secrets": [{"name": "db.json", "path": path}]},
    })
}

async fn apply(client: &Client, name: &str, spec: &Value) {
    let params = PatchParams::apply("tests").force();
    injection_policies(client).patch(name, &params, &Patch::Apply(policy(name, spec))).await.unwrap();
}

async fn delete_all(client: &Client) {
    injection_policies(client)
        .delete_collection(&DeleteParams::default(), &kube::api::ListParams::default())
        .await
        .unwrap();
}

/// A release with three replicas and a namespace that is labelled for policies.
async fn fleet(prefix: &str) -> (Fleet, Vec<Injector>) {
    let fleet = Fleet::install(prefix, &json!({})).await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(fleet.start_replica().await);
    }
    fleet.wait_until_called().await;
    let label = json!({"metadata": {"labels": {"scaivault.scailabs.ai/injection": "enabled"}}});
    let namespaces = cluster_api(&fleet.client, "v1", "Namespace");
    namespaces.patch(&fleet.tenant, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    (fleet, replicas)
}

async fn end(fleet: Fleet, replicas: Vec<Injector>) {
    delete_all(&fleet.client).await;
    for replica in replicas {
        fleet.retire(replica).await;
    }
}

/// The mappings that a pod without annotations gets, if it is injected.
async fn mappings(pods: &Api<DynamicObject>) -> Result<String, String> {
    let pod = json!({"metadata": {"generateName": "probe-"}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}});
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let made = pods.create(&dry_run, &object(pod)).await.map_err(|error| error.to_string())?;
    let made = serde_json::to_value(made).unwrap();
    let agents = inspect::injected_containers(&made);
    Ok(agents.iter().filter_map(|agent| inspect::env(agent, "SECRETS")).collect())
}

async fn until_mapped(fleet: &Fleet, path: &str) {
    let pods = api(&fleet.client, "v1", "Pod", &fleet.tenant);
    eventually(path, async || {
        mappings(&pods).await.ok().filter(|mappings| mappings.contains(path)).map(|_| ())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_policy_is_soon_in_force_on_three_replicas() {
    let _turn = turn().await;
    let (fleet, replicas) = fleet("policy-fast").await;
    apply(&fleet.client, "fast", &injecting(&fleet.tenant, "a/0")).await;
    until_mapped(&fleet, "a/0").await;
    let mut times = Vec::new();
    for turn in 1..=20 {
        let mut before = Vec::new();
        for replica in &replicas {
            before.push(replica.metric(CHANGES).await);
        }
        let started = Instant::now();
        apply(&fleet.client, "fast", &injecting(&fleet.tenant, &format!("a/{turn}"))).await;
        for (replica, before) in replicas.iter().zip(before) {
            eventually("the change", async || (replica.metric(CHANGES).await > before).then_some(())).await;
        }
        times.push(started.elapsed());
    }
    times.sort_unstable();
    println!("a changed policy in force on three replicas: median {:?}, longest {:?}", times[10], times[19]);
    until_mapped(&fleet, "a/20").await;
    end(fleet, replicas).await;
}

/// Requests pods until stopped; returns the latencies and the failures.
async fn ask(pods: &Api<DynamicObject>, is_over: &AtomicBool) -> (Vec<Duration>, Vec<String>) {
    let (mut times, mut failures) = (Vec::new(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let started = Instant::now();
        match mappings(pods).await {
            Ok(mappings) if mappings.contains("a/") => times.push(started.elapsed()),
            Ok(mappings) => failures.push(format!("injected with {mappings:?}")),
            Err(error) => failures.push(error),
        }
    }
    (times, failures)
}

/// The latencies of 4 writers during another activity.
async fn times_during(fleet: &Fleet, during: impl Future<Output = ()>) -> Vec<Duration> {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let (pods, is_over) = (api(&fleet.client, "v1", "Pod", &fleet.tenant), Arc::clone(&is_over));
        writers.spawn(async move { ask(&pods, &is_over).await });
    }
    during.await;
    is_over.store(true, Ordering::Relaxed);
    let (times, failures): (Vec<_>, Vec<_>) = writers.join_all().await.into_iter().unzip();
    let failures = failures.concat();
    assert!(failures.is_empty(), "{} failures, such as {}", failures.len(), failures[0]);
    let mut times = times.concat();
    times.sort_unstable();
    times
}

/// Reads or edits 50 policies at the rate [`EDITS`], if the API server keeps up, so that both cost
/// it about the same.
async fn busy(client: &Client, edits: bool) {
    let mut requests = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / EDITS);
    let started = Instant::now();
    let mut number = 0;
    while started.elapsed() < STORM {
        ticks.tick().await;
        if requests.len() >= IN_FLIGHT {
            requests.join_next().await;
        }
        number += 1;
        let client = client.clone();
        requests.spawn(async move {
            let name = format!("storm-{}", number % 50);
            if edits {
                apply(&client, &name, &injecting("nowhere", &format!("b/{number}"))).await;
            } else {
                injection_policies(&client).get(&name).await.unwrap();
            }
        });
    }
    requests.join_all().await;
    let what = if edits { "edits" } else { "reads" };
    println!("{number} {what} in {:?}", started.elapsed());
}

fn quantiles(times: &[Duration]) -> [Duration; 2] {
    [50, 99].map(|percent| times[times.len() * percent / 100])
}

/// The sum of the replicas' histograms of admissions: those within 100 ms, and all.
async fn admissions(replicas: &[Injector]) -> [f64; 2] {
    const METRIC: &str = "scaivault_injector_admission_duration_seconds";
    let mut sums = [0.0; 2];
    for replica in replicas {
        sums[0] += replica.metric(&format!("{METRIC}_bucket{{le=\"0.1\"}}")).await;
        sums[1] += replica.metric(&format!("{METRIC}_count")).await;
    }
    sums
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_edits_does_not_slow_admission() {
    let _turn = turn().await;
    let (fleet, replicas) = fleet("policy-storm").await;
    apply(&fleet.client, "used", &injecting(&fleet.tenant, "a/0")).await;
    for number in 0..50 {
        apply(&fleet.client, &format!("storm-{number}"), &injecting("nowhere", "b/0")).await;
    }
    until_mapped(&fleet, "a/0").await;
    for replica in &replicas {
        eventually("all policies", async || (replica.metric(IN_FORCE).await >= 51.0).then_some(())).await;
    }

    let first = admissions(&replicas).await;
    let before = times_during(&fleet, busy(&fleet.client, false)).await;
    let second = admissions(&replicas).await;
    let changes: f64 = replicas[0].metric(CHANGES).await;
    let during = times_during(&fleet, busy(&fleet.client, true)).await;
    let third = admissions(&replicas).await;
    let sets = replicas[0].metric(CHANGES).await - changes;
    let share = |from: [f64; 2], to: [f64; 2]| (to[0] - from[0]) / (to[1] - from[1]);
    let [calm, stormy] = [share(first, second), share(second, third)];
    println!(
        "admissions as a client sees them, p50 and p99: {:?} of {} before, {:?} of {} during; within 100 ms in the injector: {:.4} before, \
         {:.4} during; {sets} sets built by a replica",
        quantiles(&before),
        before.len(),
        quantiles(&during),
        during.len(),
        calm,
        stormy,
    );
    // Decisions do not wait for policy changes, even if the edits keep the machine busy.
    assert!(stormy > 0.95, "{stormy} of the decisions within 100 ms");
    assert!(sets < 250.0, "{sets} sets were built: changes are gathered");
    end(fleet, replicas).await;
}

/// An invalid policy is accepted by the API server if the injector is unavailable, or if it is
/// written in an older form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_policy_changes_nothing_for_the_others() {
    let _turn = turn().await;
    let (fleet, mut replicas) = fleet("policy-broken").await;
    apply(&fleet.client, "good", &injecting(&fleet.tenant, "a/good")).await;
    apply(&fleet.client, "breaks", &json!({"namespaceSelector": {}, "defaults": {"refresh-interval": "7m"}}))
        .await;
    until_mapped(&fleet, "a/good").await;
    for replica in &replicas {
        eventually("both policies", async || (replica.metric(IN_FORCE).await >= 2.0).then_some(())).await;
    }

    // Disables the validation for a moment by removing the webhook, which is an object of the
    // cluster.
    let configurations =
        cluster_api(&fleet.client, "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration");
    let configuration = configurations.get(&fleet.name).await.unwrap();
    let webhooks: Vec<_> = configuration.data["webhooks"].as_array().unwrap().clone();
    let others: Vec<_> =
        webhooks.iter().filter(|entry| !entry["name"].as_str().unwrap().starts_with("policy.")).collect();
    let without = Patch::Merge(json!({"webhooks": others}));
    configurations.patch(&fleet.name, &PatchParams::default(), &without).await.unwrap();
    let broken = json!({"namespaceSelector": {}, "defaults": {"refresh-interval": "soon"}});
    let params = PatchParams::apply("tests").force();
    eventually("a stored policy that cannot be used", async || {
        injection_policies(&fleet.client)
            .patch("breaks", &params, &Patch::Apply(policy("breaks", &broken)))
            .await
            .ok()
    })
    .await;

    let kept = "scaivault_injector_policies{state=\"kept\"}";
    for replica in &replicas {
        eventually("the last good version", async || (replica.metric(kept).await > 0.0).then_some(())).await;
    }
    let status = eventually("a status that says so", async || {
        let policy = injection_policies(&fleet.client).get("breaks").await.unwrap();
        let status = policy.data["status"].clone();
        (status["inForce"]["generation"] == 1 && status["observedGeneration"] == 2).then_some(status)
    })
    .await;
    let accepted = &status["conditions"][0];
    assert_eq!(
        (&accepted["type"], &accepted["status"], &accepted["reason"]),
        (&json!("Accepted"), &json!("False"), &json!("PreviousInForce"))
    );
    assert!(accepted["message"].as_str().unwrap().contains("refresh-interval"), "{accepted}");
    assert!(mappings(&api(&fleet.client, "v1", "Pod", &fleet.tenant)).await.unwrap().contains("a/good"));

    // A replica that starts now reads the version in force from the status.
    fleet.retire(replicas.remove(0)).await;
    let started = fleet.start_replica().await;
    assert!(started.metric(kept).await > 0.0 && started.metric(IN_FORCE).await >= 1.0);
    replicas.push(started);
    assert!(mappings(&api(&fleet.client, "v1", "Pod", &fleet.tenant)).await.unwrap().contains("a/good"));
    end(fleet, replicas).await;
}

/// Without their CRD, the API server deletes all policies, including those with limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_deleted_with_their_crd_stay_in_force() {
    let _turn = turn().await;
    let (fleet, replicas) = fleet("policy-crd").await;
    apply(&fleet.client, "kept", &injecting(&fleet.tenant, "a/kept")).await;
    until_mapped(&fleet, "a/kept").await;
    for replica in &replicas {
        eventually("the policy", async || (replica.metric(IN_FORCE).await >= 1.0).then_some(())).await;
    }
    let name = "injectionpolicies.scaivault.scailabs.ai";
    let definitions = cluster_api(&fleet.client, "apiextensions.k8s.io/v1", "CustomResourceDefinition");
    definitions.delete(name, &DeleteParams::default()).await.unwrap();
    eventually("the end of the CRD", async || {
        definitions.get_opt(name).await.unwrap().is_none().then_some(())
    })
    .await;
    for replica in &replicas {
        eventually("a line that says so", async || replica.event(LOST).map(|_| ())).await;
        assert!(replica.metric(IN_FORCE).await >= 1.0);
    }
    assert!(mappings(&api(&fleet.client, "v1", "Pod", &fleet.tenant)).await.unwrap().contains("a/kept"));

    // A replica that starts now has no policies, and reports what is missing.
    let late = fleet.start_unready().await;
    late.until_logged("the CRD injectionpolicies.scaivault.scailabs.ai does not exist").await;
    assert!(!late.is_ready().await);
    create(&definitions, scaivault_policy::definition().clone()).await.unwrap();
    eventually("the late replica", async || late.is_ready().await.then_some(())).await;
    fleet.retire(late).await;
    end(fleet, replicas).await;
}

const LOST: &str = "the CRD injectionpolicies.scaivault.scailabs.ai was deleted, and all policies with it; keeping them in force: install the \
    CRD and the policies again, or turn policies off (policies.enabled false)";
