//! Whether the CRD exists. When it is deleted, the API server deletes all policies one by one, and
//! each of them may be a restriction that must not silently disappear.

use kube::Client;
use tokio::time::{Duration, timeout};

use super::{API_VERSION, PLURAL};
use crate::client::reason;

/// How long the API server may take to answer. Other changes wait meanwhile.
const ANSWER: Duration = Duration::from_secs(5);

/// The state of the CRD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    /// It is served: policies can be created.
    Served,
    /// It is deleted or being deleted, so the deletion of a policy is a side effect and not
    /// intended.
    Leaving,
    /// The API server did not answer, for this reason.
    Unknown(String),
}

/// Asks the API server for the state of the CRD.
pub(super) async fn read(client: &Client) -> Definition {
    let Ok(answer) = timeout(ANSWER, client.list_api_group_resources(API_VERSION)).await else {
        return Definition::Unknown(format!("no answer in {ANSWER:?}"));
    };
    match answer {
        Ok(list) => {
            let found = list.resources.iter().find(|resource| resource.name == PLURAL);
            // A CRD that is being deleted serves every verb except `create`.
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
        assert_eq!((read(&server.client()).await, started.elapsed() < ANSWER * 2), (unknown, true));
    }
}
