//! Whether the CRD is there. With it, the API server deletes all policies one by one, and each of them may be a limit.

use kube::Client;

use super::{API_VERSION, PLURAL};

/// What the API server says of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    /// Policies can be made.
    Served,
    /// It is gone, or on its way: policies that are deleted now are not deleted by anybody who meant them.
    Leaving,
    /// The API server did not say.
    Unknown,
}

/// Asks the API server. What it serves, every account may read.
pub(super) async fn look(client: &Client) -> Definition {
    match client.list_api_group_resources(API_VERSION).await {
        Ok(list) => {
            let found = list.resources.iter().find(|resource| resource.name == PLURAL);
            // A kind that is being deleted serves everything but `create`.
            let is_served = found.is_some_and(|resource| resource.verbs.iter().any(|verb| verb == "create"));
            if is_served { Definition::Served } else { Definition::Leaving }
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Definition::Leaving,
        Err(_) => Definition::Unknown,
    }
}
