//! Publishes the `caBundle` in the webhook configurations.
//!
//! The injector owns this field of every webhook and replaces other values: a foreign authority in
//! it could pose as the injector and read every pod that is sent to it. Foreign authorities are
//! kept only for a while after the first authority is created (see
//! [`step`](crate::rotation::step)), because a server may still use them.
//!
//! The field is written by a strategic merge patch, not by server-side apply. Server-side apply of
//! a webhook's `caBundle` would also own the webhook's `name`, the key of the list item. A client
//! that installed the configuration by server-side apply could then no longer remove that webhook,
//! because the remaining item would not be valid.

use std::fmt::Debug;

use k8s_openapi::{
    ByteString, Resource as _,
    api::admissionregistration::v1::{
        MutatingWebhook, MutatingWebhookConfiguration, ValidatingWebhook, ValidatingWebhookConfiguration,
    },
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use rustls::pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;

use crate::{
    FIELD_MANAGER,
    ca_bundle::CaBundle,
    call::{CallError, bounded},
};

/// Why a webhook configuration cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It does not exist. The injector may not create it. A sync fails only if both are missing; a
    /// single missing one is reported while the other is maintained.
    #[error("the {kind} {name} does not exist; install the chart again or correct the configuration's name")]
    Missing {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A call failed.
    #[error("cannot {verb} the {kind} {name}")]
    Call {
        /// The verb: `get` or `patch`.
        verb: &'static str,
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why it failed.
        source: CallError,
    },
}

impl PublishError {
    /// Whether another client has written it since it was read.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.is_conflict())
    }
}

/// The mutating and the validating configuration of one name.
pub(crate) struct Publisher {
    mutating: Api<MutatingWebhookConfiguration>,
    validating: Api<ValidatingWebhookConfiguration>,
    name: String,
}

/// The content of the two configurations. A configuration that does not exist is treated like one
/// without webhooks: no API server calls through it, and calls through the other still need the
/// injector.
#[derive(Clone, Debug)]
pub(crate) struct WebhookBundles {
    mutating: Option<Configuration>,
    validating: Option<Configuration>,
    name: String,
}

/// One configuration: its version, and the name and `caBundle` of each webhook.
#[derive(Clone, Debug)]
struct Configuration {
    resource_version: Option<String>,
    webhooks: Vec<(String, Vec<u8>)>,
}

impl Publisher {
    /// The `MutatingWebhookConfiguration` and the `ValidatingWebhookConfiguration` called `name`.
    pub(crate) fn new(client: Client, name: &str) -> Self {
        Self { mutating: Api::all(client.clone()), validating: Api::all(client), name: name.to_owned() }
    }

    /// Reads both; at least one has to exist.
    pub(crate) async fn read(&self) -> Result<WebhookBundles, PublishError> {
        let mutating = self.read_one(&self.mutating).await?;
        let validating = self.read_one(&self.validating).await?;
        let published = WebhookBundles { mutating, validating, name: self.name.clone() };
        if let (None, None, Some(missing)) = (&published.mutating, &published.validating, published.missing())
        {
            return Err(missing);
        }
        Ok(published)
    }

    /// Writes `bundle` to every webhook in `published` that has another, unless the configuration
    /// was written since it was read: then `bundle` may be outdated.
    pub(crate) async fn write(
        &self,
        published: &WebhookBundles,
        bundle: &CaBundle,
    ) -> Result<(), PublishError> {
        let pem = bundle.to_pem();
        self.write_one(&self.mutating, published.mutating.as_ref(), &pem).await?;
        self.write_one(&self.validating, published.validating.as_ref(), &pem).await
    }

    async fn read_one<K: WebhookConfiguration>(
        &self,
        api: &Api<K>,
    ) -> Result<Option<Configuration>, PublishError> {
        match bounded(api.get(&self.name)).await {
            Ok(read) => Ok(Some(Configuration {
                resource_version: read.resource_version(),
                webhooks: read.bundles(),
            })),
            Err(source) if source.is_not_found() => Ok(None),
            Err(source) => Err(self.failed::<K>("get", source)),
        }
    }

    async fn write_one<K: WebhookConfiguration>(
        &self,
        api: &Api<K>,
        read: Option<&Configuration>,
        pem: &str,
    ) -> Result<(), PublishError> {
        let Some(read) = read.filter(|read| !read.is(pem)) else { return Ok(()) };
        // Webhooks are merged by name. Only the bundle is sent, because the injector does not own
        // the other fields.
        let bundle = ByteString(pem.as_bytes().to_vec());
        let webhooks: Vec<_> = read
            .webhooks
            .iter()
            .map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        let patch = json!({
            // Causes a conflict if the configuration has changed since it was read.
            "metadata": {"resourceVersion": read.resource_version},
            "webhooks": webhooks,
        });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        bounded(api.patch(&self.name, &params, &Patch::Strategic(patch)))
            .await
            .map(drop)
            .map_err(|source| self.failed::<K>("patch", source))
    }

    fn failed<K: WebhookConfiguration>(&self, verb: &'static str, source: CallError) -> PublishError {
        PublishError::Call { verb, kind: K::kind(&()).into_owned(), name: self.name.clone(), source }
    }
}

impl WebhookBundles {
    /// Whether every webhook trusts this authority.
    pub(crate) fn contains(&self, authority: &CertificateDer<'_>) -> bool {
        self.webhooks().all(|bundle| parse(bundle).contains(authority))
    }

    /// The error to report if one of the configurations does not exist.
    pub(crate) fn missing(&self) -> Option<PublishError> {
        let kind = match self {
            Self { mutating: None, .. } => MutatingWebhookConfiguration::KIND,
            Self { validating: None, .. } => ValidatingWebhookConfiguration::KIND,
            _ => return None,
        };
        Some(PublishError::Missing { kind: kind.to_owned(), name: self.name.clone() })
    }

    /// The authorities that at least one webhook trusts.
    pub(crate) fn found(&self) -> CaBundle {
        self.webhooks().fold(CaBundle::default(), |all, bundle| all.union(&parse(bundle)))
    }

    fn webhooks(&self) -> impl Iterator<Item = &[u8]> {
        let Self { mutating, validating, name: _ } = self;
        let configurations = mutating.iter().chain(validating);
        configurations.flat_map(|read| &read.webhooks).map(|(_, bundle)| bundle.as_slice())
    }
}

impl Configuration {
    fn is(&self, pem: &str) -> bool {
        self.webhooks.iter().all(|(_, bundle)| bundle == pem.as_bytes())
    }
}

/// A bundle that cannot be parsed contains no authority.
fn parse(bundle: &[u8]) -> CaBundle {
    CaBundle::parse(bundle).unwrap_or_default()
}

/// The common interface of the two kinds.
trait WebhookConfiguration: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned {
    /// Each webhook's name and `caBundle`.
    fn bundles(self) -> Vec<(String, Vec<u8>)>;
}

impl WebhookConfiguration for MutatingWebhookConfiguration {
    fn bundles(self) -> Vec<(String, Vec<u8>)> {
        let entry = |webhook: MutatingWebhook| (webhook.name, webhook.client_config.ca_bundle);
        self.webhooks.into_iter().flatten().map(entry).map(bytes).collect()
    }
}

impl WebhookConfiguration for ValidatingWebhookConfiguration {
    fn bundles(self) -> Vec<(String, Vec<u8>)> {
        let entry = |webhook: ValidatingWebhook| (webhook.name, webhook.client_config.ca_bundle);
        self.webhooks.into_iter().flatten().map(entry).map(bytes).collect()
    }
}

fn bytes((name, bundle): (String, Option<ByteString>)) -> (String, Vec<u8>) {
    (name, bundle.map(|bundle| bundle.0).unwrap_or_default())
}
