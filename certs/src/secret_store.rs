//! The Secret that holds the authority, read and written with optimistic locking.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, api::PostParams};
use thiserror::Error;

use crate::{
    FIELD_MANAGER,
    call::{CallError, bounded},
    state::{State, StateError},
};

/// Why the Secret cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It does not exist. The injector may not create Secrets.
    #[error(
        "the Secret {namespace}/{name} does not exist; install the chart, which creates it, or \
         run: kubectl -n {namespace} create secret generic {name}"
    )]
    Missing {
        /// The namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
    },
    /// Its content is not a valid state. It is not modified.
    #[error("the Secret {namespace}/{name} cannot be read")]
    Malformed {
        /// The namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
        /// The error, with the key and the fix.
        source: StateError,
    },
    /// A call failed.
    #[error("cannot {verb} the Secret {namespace}/{name}")]
    Call {
        /// The verb: `get` or `update`.
        verb: &'static str,
        /// The namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
        /// Why it failed.
        source: CallError,
    },
}

impl StoreError {
    /// Whether another replica has written it since it was read.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.is_conflict())
    }
}

pub(crate) struct SecretStore {
    api: Api<Secret>,
    namespace: String,
    name: String,
}

/// The Secret as it was read, as the base for a replacement.
pub(crate) struct StoredSecret {
    secret: Secret,
    /// The parsed content.
    pub(crate) state: State,
}

impl SecretStore {
    pub(crate) fn new(client: Client, namespace: &str, name: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) async fn read(&self) -> Result<StoredSecret, StoreError> {
        let secret = bounded(self.api.get(&self.name)).await.map_err(|source| {
            if source.is_not_found() {
                StoreError::Missing { namespace: self.namespace.clone(), name: self.name.clone() }
            } else {
                self.failed("get", source)
            }
        })?;
        let data: BTreeMap<String, Vec<u8>> =
            secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
        match State::parse(&data) {
            Ok(state) => Ok(StoredSecret { secret, state }),
            Err(source) => {
                let (namespace, name) = (self.namespace.clone(), self.name.clone());
                Err(StoreError::Malformed { namespace, name, source })
            }
        }
    }

    /// Replaces the stored state, if the Secret has not been written since it was read. Labels,
    /// annotations and type are preserved.
    pub(crate) async fn replace(
        &self,
        stored: StoredSecret,
        state: State,
    ) -> Result<StoredSecret, StoreError> {
        let mut secret = stored.secret;
        let data = state.to_data();
        secret.data = Some(data.into_iter().map(|(key, value)| (key, ByteString(value))).collect());
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        // The object contains the resourceVersion that was read, so an outdated write is a
        // conflict.
        let secret = bounded(self.api.replace(&self.name, &params, &secret))
            .await
            .map_err(|source| self.failed("update", source))?;
        Ok(StoredSecret { secret, state })
    }

    fn failed(&self, verb: &'static str, source: CallError) -> StoreError {
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        StoreError::Call { verb, namespace, name, source }
    }
}
