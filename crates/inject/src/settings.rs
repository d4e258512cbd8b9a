//! The injector's own configuration.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    annotations::{Draft, Url},
    bare_pod,
    known_sidecars::SidecarsConfig,
    layer::{CollectedDraft, Fill, collect},
    problem::{Code, Excerpt, Layer, Problem, Problems},
};

/// The namespaces whose pods are never changed, so that a cluster can start without the injector.
const EXCLUDED_NAMESPACES: [&str; 3] = ["kube-node-lease", "kube-public", "kube-system"];

/// The configuration file (YAML or JSON). `docs/configuration.md` describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct InjectorConfig {
    /// Defaults by annotation key without the prefix: the layer of lowest precedence in every pod's
    /// settings.
    pub defaults: BTreeMap<String, String>,
    /// Image of the agent, for both containers. Its user must not be root.
    pub init_image: Option<String>,
    /// Another image for the sidecar; default: [`Self::init_image`].
    pub sidecar_image: Option<String>,
    /// `imagePullPolicy` of both containers; if absent, the API server's default applies.
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// What happens to a pod whose annotations have problems.
    pub on_problem: OnProblem,
    /// Allowed values of the annotation `url` on pods and namespaces: these URLs and those below
    /// them. Empty: only the default URL.
    pub allowed_urls: Vec<String>,
    /// Allowed values of the annotation `image`: these images, and tags, digests and
    /// sub-repositories of them. Empty: no image is allowed.
    pub allowed_images: Vec<String>,
    /// Allows `http` URLs. For development only: tokens and secrets are sent unencrypted.
    pub allow_http: bool,
    /// ScaiKey's token URL for the client credentials fallback; if absent, the agent's default
    /// applies.
    pub token_url: Option<String>,
    /// Namespaces whose pods are never injected, in addition to those of Kubernetes.
    pub excluded_namespaces: Vec<String>,
    /// Containers that count as sidecars of other products, in addition to the known ones.
    pub sidecars: SidecarsConfig,
}

/// When the kubelet pulls the agent's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ImagePullPolicy {
    /// At every start.
    Always,
    /// If the node does not have it.
    IfNotPresent,
    /// Never.
    Never,
}

impl ImagePullPolicy {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// What happens to a pod whose annotations have problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnProblem {
    /// It is rejected.
    #[default]
    Deny,
    /// It is admitted without an injection, with warnings and `status: skipped/problems`.
    Warn,
}

/// The validated configuration.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub(crate) config: InjectorConfig,
    /// The configuration's `defaults`, merged over the built-in ones.
    pub(crate) base: Draft,
}

impl Settings {
    /// Whether the pods of a namespace are never injected.
    pub fn excludes(&self, namespace: &str) -> bool {
        EXCLUDED_NAMESPACES.contains(&namespace)
            || self.config.excluded_namespaces.iter().any(|name| name == namespace)
    }

    /// The configuration's layer of settings.
    pub(crate) fn defaults(&self) -> impl Iterator<Item = (&str, &str)> {
        defaults(&self.config)
    }

    /// The image of both containers. It has both subcommands, and its user is not root.
    pub fn init_image(&self) -> &str {
        self.config
            .init_image
            .as_deref()
            .unwrap_or(concat!("scailabs/scaivault-init:", env!("CARGO_PKG_VERSION")))
    }

    /// The image of a sidecar whose user the injector sets: the published sidecar image runs as
    /// root.
    pub(crate) fn sidecar_image(&self) -> &str {
        self.config.sidecar_image.as_deref().unwrap_or_else(|| self.init_image())
    }
}

/// The `defaults` of the configuration.
fn defaults(config: &InjectorConfig) -> impl Iterator<Item = (&str, &str)> {
    config.defaults.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}

impl TryFrom<InjectorConfig> for Settings {
    type Error = Problems;

    /// Validates everything. What is only a warning in an annotation (a misspelt key) is a problem
    /// here, because the operator sees the result only once, at start.
    fn try_from(config: InjectorConfig) -> Result<Self, Problems> {
        let mut collected = CollectedDraft::over(Draft::default());
        collect(&mut collected, &Layer::Injector, Fill::Nothing, &mut defaults(&config));
        let CollectedDraft { draft, mut problems, warnings, .. } = collected;
        for warning in warnings {
            problems.push(mistake("defaults", None, &warning, "correct or remove the key"));
        }
        let InjectorConfig {
            init_image,
            sidecar_image,
            allowed_urls,
            allowed_images,
            allow_http,
            token_url,
            ..
        } = &config;
        check_url("defaults.url", draft.url.as_str(), *allow_http, &mut problems);
        if let Some(url) = token_url {
            check_url("tokenUrl", url, *allow_http, &mut problems);
        }
        for url in allowed_urls {
            check_url("allowedUrls", url, true, &mut problems);
        }
        let images = [("initImage", init_image), ("sidecarImage", sidecar_image)];
        let images = images.into_iter().filter_map(|(field, image)| Some((field, image.as_ref()?)));
        for (field, image) in images.chain(allowed_images.iter().map(|image| ("allowedImages", image))) {
            if crate::annotations::image(image).is_err() {
                let fix = "write [registry/]repository[:tag][@digest]";
                problems.push(mistake(field, Some(image), "not an image", fix));
            }
        }
        for (field, value, message) in config.sidecars.mistakes() {
            problems.push(mistake(field, Some(value), message, "correct or remove the entry"));
        }
        for namespace in &config.excluded_namespaces {
            if !is_dns_label(namespace) {
                let fix = "write lower-case letters, digits and -, at most 63 characters, as `kubectl get namespaces` shows them";
                problems.push(mistake(
                    "excludedNamespaces",
                    Some(namespace),
                    "no namespace can have this name",
                    fix,
                ));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let settings = Self { config, base: draft };
        let problems = bare_pod::problems(&settings.base, &settings);
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

fn check_url(field: &'static str, url: &str, allow_http: bool, problems: &mut Problems) {
    match url.parse::<Url>() {
        Ok(parsed) if parsed.is_plain_http() && !allow_http => {
            let fix = "use https, or set allowHttp: true for development";
            problems.push(mistake(field, Some(url), "http is not allowed", fix));
        }
        Ok(_) => {}
        Err(reason) => problems.push(mistake(field, Some(url), &reason, "write an https URL")),
    }
}

fn mistake(field: &'static str, value: Option<&str>, message: &str, fix: &'static str) -> Problem {
    Problem {
        code: Code::Configuration,
        key: None,
        layer: Layer::Injector,
        value: value.map(Excerpt::new),
        message: format!("{field}: {message}").into(),
        allowed: None,
        fix: fix.into(),
    }
}

/// Whether a text is valid as the name of a namespace (RFC 1123).
fn is_dns_label(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
