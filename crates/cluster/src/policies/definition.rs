//! Whether the CRD is there. With it, the API server deletes all policies one by one, and each of them may be a limit.

use kube::Client;
use tokio::time::{Duration, timeout};

use super::{API_VERSION, PLURAL};
use crate::client::reason;

/// How long the API server may take: what else has changed waits for it.
const ANSWER: Duration = Duration::from_secs(5);

/// What the API server says of the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    /// Policies can be made.
    Served,
    /// It is gone, or on its way: policies that are deleted now are not deleted by anybody who meant them.
    Leaving,
    /// The API server did not say, for this reason.
    Unknown(String),
}

/// Asks the API server.
pub(super) async fn look(client: &Client) -> Definition {
    let Ok(answer) = timeout(ANSWER, client.list_api_group_resources(API_VERSION)).await else {
        return Definition::Unknown(format!("no answer in {ANSWER:?}"));
    };
    match answer {
        Ok(list) => {
            let found = list.resources.iter().find(|resource| resource.name == PLURAL);
            // A kind that is being deleted serves everything but `create`.
            let is_served = found.is_some_and(|resource| resource.verbs.iter().any(|verb| verb == "create"));
            if is_served { Definition::Served } else { Definition::Leaving }
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Definition::Leaving,
        Err(error) => Definition::Unknown(reason(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scaivault_testkit::api_server::ApiServer;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_for_seconds_only() {
        let server = ApiServer::start().await;
        let started = tokio::time::Instant::now();
        let unknown = Definition::Unknown("no answer in 5s".to_owned());
        assert_eq!((look(&server.client()).await, started.elapsed() < ANSWER * 2), (unknown, true));
    }
}
