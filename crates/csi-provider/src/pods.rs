//! Which pods of this node are gone. The driver does not say when a volume is unmounted, so leases follow the pods
//! themselves: a list, and then a watch, of the metadata of this node's pods.

use std::{collections::BTreeSet, error::Error, pin::pin, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Client, Config,
    api::{ListParams, WatchParams},
    core::{Request, WatchEvent},
};
use scaivault_client::{Backoff, Retry};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::leases::Leases;

const PODS: &str = "/api/v1/pods";
/// The first and the longest pause after a list or a watch that failed.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a watch may be silent: the API server sends a bookmark each minute.
const READ_TIMEOUT: Duration = Duration::from_mins(5);

/// A pod, as far as it is looked at.
#[derive(Clone, Debug, Deserialize)]
struct PodMetadata {
    metadata: Metadata,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: String,
}

#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
    items: Vec<PodMetadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

/// A client of the cluster around this pod. Nothing is sent yet.
pub(crate) async fn client() -> Result<Client, Box<dyn Error + Send + Sync>> {
    // Fails only where a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    Ok(Client::try_from(config)?)
}

/// Tells `leases` which pods of `node` are gone, for ever. While the API server cannot be reached, leases go on.
pub(crate) async fn follow(client: Client, node: String, leases: Leases) {
    let selector = format!("spec.nodeName={node}");
    let mut backoff = Backoff::new(PAUSES);
    loop {
        let began = Instant::now();
        match follow_once(&client, &selector, &leases).await {
            // A watch ends now and then.
            Ok(()) if began.elapsed() > PAUSES.1 => backoff.succeeded(),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "pods of this node cannot be watched, leases of deleted pods are revoked later; the provider's service account must be allowed to list and watch pods");
            }
        }
        if let Some(again) = backoff.failed(Instant::now(), Retry::Backoff) {
            sleep_until(again).await;
        }
    }
}

async fn follow_once(client: &Client, selector: &str, leases: &Leases) -> kube::Result<()> {
    let since = Instant::now();
    let list = Request::new(PODS).list_metadata(&ListParams::default().fields(selector));
    let list: List = client.request(list.map_err(kube::Error::BuildRequest)?).await?;
    leases.keep_pods(&list.items.into_iter().map(|pod| pod.metadata.uid).collect::<BTreeSet<_>>(), since);
    let params = WatchParams::default().fields(selector);
    let watch = Request::new(PODS).watch_metadata(&params, &list.metadata.resource_version);
    let watch = watch.map_err(kube::Error::BuildRequest)?;
    let mut events = pin!(client.request_events::<PodMetadata>(watch).await?);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Deleted(pod) => leases.end_pod(&pod.metadata.uid),
            // The version is too old: the next list tells what has changed.
            WatchEvent::Error(_) => return Ok(()),
            WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}
