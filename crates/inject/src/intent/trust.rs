//! The certificate authorities that the agent trusts.

use scaivault_contract::TrustPolicy;

use super::Diagnostics;
use crate::{
    annotations::{Draft, ExactKey},
    problem::{Code, Layer},
};

/// The trust settings of the agent; `None` if they are equal to the agent's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) scaivault: Option<TrustPolicy>,
    pub(crate) scaikey: Option<TrustPolicy>,
}

pub(super) fn resolve(draft: &Draft, diagnostics: &mut Diagnostics<'_>) -> Trust {
    let (has_ca, has_credentials) = (draft.ca_configmap.is_some(), draft.client_credentials_secret.is_some());
    let ca_keys = [ExactKey::CaConfigmapKey, ExactKey::CaTrust];
    let credentials_keys =
        [ExactKey::ClientCredentialsIdKey, ExactKey::ClientCredentialsSecretKey, ExactKey::ScaikeyTrust];
    let without_effect = ca_keys
        .map(|key| (key, ExactKey::CaConfigmap, has_ca || needs_ca(draft.ca_trust)))
        .into_iter()
        .chain(credentials_keys.map(|key| (key, ExactKey::ClientCredentialsSecret, has_credentials)));
    for (key, needed, _) in
        without_effect.filter(|(key, _, is_used)| !is_used && *draft.layer_of(*key) == Layer::Pod)
    {
        diagnostics.warn(format!("{key} has no effect without {needed}"));
    }
    let scaikey_trust = draft.scaikey_trust.filter(|_| has_credentials);
    if has_ca {
        let scaivault = draft.ca_trust.unwrap_or(TrustPolicy::default_for(true));
        return Trust {
            scaivault: Some(scaivault).filter(|policy| *policy != TrustPolicy::default_for(true)),
            scaikey: scaikey_trust.filter(|policy| *policy != scaivault),
        };
    }
    // Without a private authority, `both` is equivalent to `public`, the agent's default.
    for (key, trust) in [(ExactKey::CaTrust, draft.ca_trust), (ExactKey::ScaikeyTrust, scaikey_trust)] {
        if needs_ca(trust) {
            diagnostics.problem(
                Code::TrustConflict,
                key,
                Some(TrustPolicy::Private.name()),
                "only a private authority is to be trusted, and no ca-configmap names one",
                "add ca-configmap: <ConfigMap with the authority's certificate>, or remove this setting",
            );
        }
    }
    Trust::default()
}

fn needs_ca(trust: Option<TrustPolicy>) -> bool {
    trust == Some(TrustPolicy::Private)
}
