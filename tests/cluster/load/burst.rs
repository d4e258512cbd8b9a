//! Many pods at once, as after the failure of a node pool.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use kube::{
    Client,
    api::{DeleteParams, GetParams, ListParams},
    core::Request,
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    fleet::{Fleet, turn},
    support::api,
    traffic,
};

const PODS: usize = 1000;
const WRITERS: usize = 64;
/// The webhook for pods in the API server's metrics.
const WEBHOOK: &str = r#"name="pods.injector.scaivault.scailabs.ai""#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pods_of_64_writers_are_all_injected() {
    let _turn = turn().await;
    let fleet = Fleet::install("burst", &json!({})).await;
    let (first, second) = (fleet.start_replica().await, fleet.start_replica().await);
    fleet.wait_until_called().await;
    let before = metrics(&fleet.client).await;

    let next = Arc::new(AtomicUsize::new(0));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (pods, next) = (api(&fleet.client, "v1", "Pod", &fleet.tenant), Arc::clone(&next));
        writers.spawn(async move {
            let mut failures = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= PODS {
                    break failures;
                }
                failures.extend(traffic::make(&pods, &format!("pod-{number}")).await.err());
            }
        });
    }
    let failures = writers.join_all().await.concat();
    assert!(failures.is_empty(), "{} failures, such as {}", failures.len(), failures[0]);

    let after = metrics(&fleet.client).await;
    let calls = Calls::read(&after).since(&Calls::read(&before));
    let [p50, p99] = [0.5, 0.99].map(|share| calls.quantile(share) * 1000.0);
    println!(
        "{} calls of the webhook as the API server sees them: p50 {p50:.1} ms, p99 {p99:.1} ms",
        calls.number()
    );
    assert!(calls.number() >= 1000.0, "{calls:?}");
    // Uses the API server's metrics, not those of the injector.
    for counter in
        ["apiserver_admission_webhook_rejection_count", "apiserver_admission_webhook_fail_open_count"]
    {
        let count = |text: &str| samples(text, counter).map(|(_, value)| value).sum::<f64>();
        assert!(count(&after) <= count(&before), "{counter} has grown by {}", count(&after) - count(&before));
    }
    let pods = api(&fleet.client, "v1", "Pod", &fleet.tenant);
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), PODS);
    pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await.unwrap();
    for replica in [first, second] {
        fleet.retire(replica).await;
    }
}

/// The API server's metrics.
async fn metrics(client: &Client) -> String {
    client.request_text(Request::new("").get("metrics", &GetParams::default()).unwrap()).await.unwrap()
}

/// The samples of a metric for the pod webhook: labels and value.
fn samples<'a>(text: &'a str, metric: &str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(metric)?.strip_prefix('{')?.rsplit_once("} ")?;
        labels.contains(WEBHOOK).then(|| (labels, value.parse().unwrap()))
    })
}

/// A histogram of calls: upper bounds in seconds, with the cumulative number of calls.
#[derive(Debug)]
struct Calls(Vec<(f64, f64)>);

impl Calls {
    fn read(metrics: &str) -> Self {
        let mut calls: Vec<(f64, f64)> = Vec::new();
        for (labels, count) in
            samples(metrics, "apiserver_admission_webhook_admission_duration_seconds_bucket")
        {
            let (_, bound) = labels.split_once("le=\"").unwrap();
            let bound = bound.trim_end_matches('"').replace("+Inf", "inf").parse().unwrap();
            match calls.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += count,
                None => calls.push((bound, count)),
            }
        }
        calls.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Self(calls)
    }

    /// The difference from an earlier reading.
    fn since(mut self, earlier: &Self) -> Self {
        for (bound, count) in &mut self.0 {
            *count -= earlier
                .0
                .iter()
                .find(|(known, _)| known.total_cmp(bound).is_eq())
                .map_or(0.0, |(_, count)| *count);
        }
        self
    }

    fn number(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The time in seconds within which this share of the calls was answered, interpolated linearly
    /// between two bounds as Prometheus does.
    fn quantile(&self, share: f64) -> f64 {
        let rank = share * self.number();
        let (mut below, mut counted) = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank && bound.is_finite() {
                return below + (bound - below) * (rank - counted) / (count - counted).max(1.0);
            }
            (below, counted) = (bound, count);
        }
        below
    }
}
