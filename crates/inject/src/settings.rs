//! The injector's own configuration.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::problem::Problems;

/// The configuration file as it is written (YAML or JSON). See `docs/configuration.md`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct InjectorConfig {
    /// Defaults by annotation key without the prefix: the lowest layer of every pod's settings.
    pub defaults: BTreeMap<String, String>,
    /// Image of the init container.
    pub init_image: Option<String>,
    /// Image of the sidecar.
    pub sidecar_image: Option<String>,
    /// `imagePullPolicy` of both.
    pub image_pull_policy: Option<String>,
    /// What happens to a pod whose annotations have problems.
    pub on_problem: OnProblem,
    /// What the annotation `url` may be: prefixes. Empty: any `https` URL is refused but the default one.
    pub allowed_urls: Vec<String>,
    /// What the annotation `image` may be: prefixes. Empty: none.
    pub allowed_images: Vec<String>,
    /// ScaiKey's token URL for the client-credentials fallback.
    pub token_url: Option<String>,
    /// Namespaces whose pods are left alone whatever they say.
    pub excluded_namespaces: Option<Vec<String>>,
}

/// What happens to a pod whose annotations have problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnProblem {
    /// It is refused.
    #[default]
    Deny,
    /// It goes through uninjected, with warnings and `status: skipped/problems`.
    Warn,
}

/// The configuration, checked.
#[derive(Clone, Debug, Default)]
pub struct Settings {}

impl TryFrom<InjectorConfig> for Settings {
    type Error = Problems;

    fn try_from(_config: InjectorConfig) -> Result<Self, Problems> {
        Ok(Self {})
    }
}
