//! Reads workloads again after a change of their namespace, policies or settings, because templates are not
//! cached.

use std::{collections::BTreeSet, sync::Arc};

use kube::{Client, api::ListParams};
use scaivault_cluster::{Content, Page, page_of_items, reason};
use scaivault_restarter::Kind;
use serde_json::Value;
use tokio::time::{Duration, sleep};

use super::{
    kinds::plural,
    memory::{Memory, OutdatedTemplates},
};

/// The minimum time between two runs, and the pause after a failed one.
const PAUSE: Duration = Duration::from_secs(2);
/// The number of objects in a page.
const PAGE: u32 = 250;

/// Reads outdated workloads again. Never returns.
pub(super) async fn run(client: Client, memory: Arc<Memory>) {
    loop {
        memory.to_read.notified().await;
        let outdated = memory.lock().begin_reading();
        let failed = read(&client, &memory, outdated).await;
        memory.change(|state| state.end_reading(failed));
        memory.changes.notify_one();
        sleep(PAUSE).await;
    }
}

/// Reads workloads again and returns those that could not be read.
async fn read(client: &Client, memory: &Memory, outdated: OutdatedTemplates) -> OutdatedTemplates {
    let mut failed = BTreeSet::new();
    match outdated {
        OutdatedTemplates::None => {}
        OutdatedTemplates::In(namespaces) => {
            for namespace in namespaces {
                if let Err(error) = read_in(client, memory, &format!("/namespaces/{namespace}")).await {
                    tracing::warn!(%namespace, error = reason(&error), "workloads not read again, retrying");
                    failed.insert(namespace);
                }
            }
        }
        OutdatedTemplates::All => {
            if let Err(error) = read_in(client, memory, "").await {
                tracing::warn!(error = reason(&error), "workloads not read again, retrying");
                return OutdatedTemplates::All;
            }
        }
    }
    if failed.is_empty() { OutdatedTemplates::None } else { OutdatedTemplates::In(failed) }
}

async fn read_in(client: &Client, memory: &Memory, place: &str) -> kube::Result<()> {
    for kind in Kind::ALL {
        let path = format!("/apis/{}{place}/{}", kind.api_version(), plural(kind));
        match read_kind(client, memory, kind, &path).await {
            // Argo Rollouts may not be installed.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            read => read?,
        }
    }
    Ok(())
}

async fn read_kind(client: &Client, memory: &Memory, kind: Kind, path: &str) -> kube::Result<()> {
    let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() };
    loop {
        let page = page_of_items(client, path, Content::Whole, &params, |item| {
            let object: Value = serde_json::from_slice(item)?;
            memory.lock().put_workload_again(kind, &object);
            Ok(())
        });
        match page.await?.page {
            Page::Continues(token) => params.continue_token = Some(token),
            Page::Last { .. } => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
