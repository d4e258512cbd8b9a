//! Saves logins and subscriptions over a restart of the provider, in a file next to that of the leases. It
//! must also be in memory, because it has tokens.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use scaivault_client::{StoredToken, SubscriptionId};
use scaivault_contract::ObjectName;
use serde::{Deserialize, Serialize};

use crate::{
    attributes::Pod,
    config::Config,
    events::Events,
    logins::Logins,
    secrets::Identity,
    state::{self, StoredTarget},
    token::TokenHash,
};

/// The file in the state directory.
const FILE: &str = "logins.json";

/// The path of the file.
pub(crate) struct SessionFile(PathBuf);

#[derive(Serialize, Deserialize)]
struct StoredSession {
    logins: Vec<StoredLogin>,
    subscriptions: Vec<StoredSubscription>,
}

#[derive(Serialize, Deserialize)]
struct StoredLogin {
    pod: Pod,
    target: StoredTarget,
    /// Hash of the pod's token, in base64, because the login is only valid for this token.
    pod_token: String,
    token: StoredToken,
}

#[derive(Serialize, Deserialize)]
struct StoredSubscription {
    namespace: ObjectName,
    service_account: ObjectName,
    target: StoredTarget,
    id: SubscriptionId,
}

impl SessionFile {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join(FILE))
    }

    /// Restores the logins and subscriptions of an earlier process. If the file cannot be read, pods log in
    /// again.
    pub(crate) fn load(&self, config: &Config, logins: &Logins, events: &Events) {
        let unreadable = "logins of the previous process cannot be read, pods log in again";
        let Some(StoredSession { logins: kept, subscriptions }) = state::read(&self.0, unreadable) else {
            return;
        };
        for StoredLogin { pod, target, pod_token, token } in kept {
            let hash = URL_SAFE_NO_PAD.decode(pod_token).ok().and_then(|hash| hash.try_into().ok());
            if let (Some(target), Some(hash), Some(token)) = (target.restore(config), hash, token.restore()) {
                logins.restore(&pod, &target, TokenHash(hash), token);
            }
        }
        for StoredSubscription { namespace, service_account, target, id } in subscriptions {
            let Some(target) = target.restore(config) else { continue };
            let identity = Identity { namespace, service_account, target };
            if let Some(client) = logins.client_of(&identity) {
                events.restore(identity, &client, id);
            }
        }
    }

    /// Writes the file atomically.
    pub(crate) fn save(&self, config: &Config, logins: &Logins, events: &Events) {
        let kept_logins = logins.accepted().into_iter().filter_map(|(pod, target, accepted)| {
            Some(StoredLogin {
                pod,
                target: StoredTarget::new(target, config),
                pod_token: URL_SAFE_NO_PAD.encode(accepted.token.0),
                token: StoredToken::new(&accepted.client.token()?),
            })
        });
        let subscriptions = events.subscriptions().into_iter().map(|(identity, id)| {
            let Identity { namespace, service_account, target } = identity;
            StoredSubscription { namespace, service_account, target: StoredTarget::new(target, config), id }
        });
        let kept = StoredSession { logins: kept_logins.collect(), subscriptions: subscriptions.collect() };
        let json = serde_json::to_vec(&kept).expect("text and numbers can be written as JSON");
        if let Err(error) = state::write(&self.0, &json) {
            tracing::warn!(file = %self.0.display(), %error, "logins not saved, pods log in again after a restart; check the directory of --state-dir");
        }
    }
}
