//! Validates all keys together and against the pod. The resulting intent is valid by construction.

use std::borrow::Cow;

use scaivault_contract::{
    DynamicMapping, MountPoint, PodVariable, SecretMapping, TrustPolicy, VariableMapping,
};

use crate::{
    Context,
    annotations::{Draft, ExactKey, NamedKey, Position},
    known_sidecars::{SidecarKind, SidecarsConfig},
    kube_version::KubeVersion,
    limits, ownership,
    pattern::Pattern,
    pod::PodView,
    policy::ReplacedLists,
    problem::{Code, Excerpt, Layer, Problem, Problems},
    settings::Settings,
};

mod bounds;
mod conflicts;
mod files;
mod identity;
mod mount_points;
mod permissions;
mod readers;
mod reload;
mod resources;
mod templates;

pub(crate) use files::{MappingTexts, lines};
pub(crate) use identity::Identity;
pub(crate) use readers::Readers;
pub(crate) use reload::Reload;
pub(crate) use resources::Resources;

/// The validated settings of an injection. A plan can be built from it without further checks.
#[derive(Clone, Debug)]
pub(crate) struct Intent<'d> {
    /// The settings that need no further resolution.
    pub(crate) draft: &'d Draft,
    pub(crate) pattern: Pattern,
    /// Set if the pod never restarts containers: the sidecar would be restarted forever and a Job
    /// would never fail, so an init container fetches first and fails the pod on errors.
    pub(crate) init_before_sidecar: bool,
    pub(crate) secrets: Vec<SecretMapping>,
    pub(crate) dynamic: Vec<DynamicMapping>,
    pub(crate) variables: Vec<VariableMapping>,
    pub(crate) mappings: MappingTexts,
    pub(crate) readers: Readers,
    /// The mount points that the agent creates in the volume, so that readers can mount other
    /// volumes there.
    pub(crate) mount_points: Vec<MountPoint>,
    /// The index of the agent among the init containers, counted without the injector's.
    pub(crate) insert_at: usize,
    /// How the application is notified of changes.
    pub(crate) reload: Option<Reload>,
    pub(crate) trust: Trust,
    pub(crate) identity: Identity,
    pub(crate) resources: Resources,
}

impl Intent<'_> {
    /// Whether any secret becomes a file.
    pub(crate) fn has_files(&self) -> bool {
        !self.secrets.is_empty() || !self.dynamic.is_empty()
    }

    /// Whether the agent needs persistent state: what the init container hands to the sidecar,
    /// leases that must not be issued twice, or a subscription.
    pub(crate) fn has_state(&self) -> bool {
        self.pattern == Pattern::Sidecar
            && (self.init_before_sidecar || !self.dynamic.is_empty() || self.draft.refresh_on_event)
    }

    /// Whether any mapping uses this variable.
    pub(crate) fn uses(&self, variable: PodVariable) -> bool {
        let secrets = self.secrets.iter().flat_map(SecretMapping::variables);
        let dynamic = self.dynamic.iter().flat_map(DynamicMapping::variables);
        let fields = self.variables.iter().flat_map(|mapping| mapping.secret.path.variables());
        secrets.chain(dynamic).chain(fields).any(|used| used == variable)
    }

    /// Number of secrets, dynamic credentials and variables; each secret of a file counts.
    pub(crate) fn count(&self) -> usize {
        let secrets: usize = self.secrets.iter().map(|mapping| mapping.source.secrets().count()).sum();
        secrets + self.dynamic.len() + self.variables.len()
    }
}

/// The inputs of an intent.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a, 'p> {
    pub(crate) draft: &'a Draft,
    /// The pod without the injection.
    pub(crate) pod: &'a PodView<'p>,
    pub(crate) settings: &'a Settings,
    pub(crate) kube_version: KubeVersion,
    /// The allow-lists of the injector that are replaced by policies, and the uids that the
    /// policies allow.
    pub(crate) replaced_lists: &'a ReplacedLists,
    /// The pod including the injection, if an existing injection is to be completed.
    pub(crate) injected: Option<&'a PodView<'p>>,
}

impl<'a, 'p> Inputs<'a, 'p> {
    /// The inputs for a pod without an injection, or for a pod from which it was removed.
    pub(crate) fn new(
        draft: &'a Draft,
        pod: &'a PodView<'p>,
        context: &Context<'a>,
        replaced_lists: &'a ReplacedLists,
    ) -> Self {
        let Context { settings, kube_version, .. } = *context;
        Self { draft, pod, settings, kube_version, replaced_lists, injected: None }
    }
}

/// Maximum number of warnings per response: the API server truncates all warnings together at 4,096
/// characters.
const WARNINGS_KEPT: usize = 64;

/// The problems and warnings that were found so far.
#[derive(Debug)]
pub(crate) struct Diagnostics<'d> {
    pub(crate) problems: Problems,
    pub(crate) warnings: Vec<String>,
    /// The draft, which knows the layer of each key.
    draft: &'d Draft,
}

impl<'d> Diagnostics<'d> {
    /// Starts with the problems and warnings from parsing the keys one by one.
    pub(crate) fn new(draft: &'d Draft, problems: Problems, warnings: Vec<String>) -> Self {
        Self { problems, warnings, draft }
    }

    fn problem(
        &mut self,
        code: Code,
        key: impl Into<Option<ExactKey>>,
        value: Option<&str>,
        message: impl Into<Cow<'static, str>>,
        fix: impl Into<Cow<'static, str>>,
    ) {
        let key = key.into();
        self.problem_with(|draft| about(draft, code, key, value, message.into(), fix.into()));
    }

    fn named_problem(
        &mut self,
        code: Code,
        (key, name): (NamedKey, &str),
        value: Option<&str>,
        message: impl Into<Cow<'static, str>>,
        fix: impl Into<Cow<'static, str>>,
    ) {
        self.problem_with(|draft| about_named(draft, code, (key, name), value, message.into(), fix.into()));
    }

    /// Adds a problem, which is only built if it is kept.
    fn problem_with(&mut self, problem: impl FnOnce(&Draft) -> Problem) {
        self.problems.push_with(|| problem(self.draft));
    }

    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        self.warn_with(|| warning.into());
    }

    /// Adds a warning, which is only built if it is kept.
    fn warn_with(&mut self, warning: impl FnOnce() -> String) {
        if self.warnings.len() < WARNINGS_KEPT {
            self.warnings.push(warning());
        }
    }
}

/// A problem of a key, or of the pod.
fn about(
    draft: &Draft,
    code: Code,
    key: Option<ExactKey>,
    value: Option<&str>,
    message: Cow<'static, str>,
    fix: Cow<'static, str>,
) -> Problem {
    Problem {
        code,
        key: key.map(|key| key.text().to_owned()),
        layer: key.map_or(Layer::Pod, |key| shown_layer(draft.layer_of(key))),
        value: value.map(Excerpt::new),
        message,
        allowed: None,
        fix,
    }
}

/// A problem of a key with a name.
fn about_named(
    draft: &Draft,
    code: Code,
    (key, name): (NamedKey, &str),
    value: Option<&str>,
    message: Cow<'static, str>,
    fix: Cow<'static, str>,
) -> Problem {
    Problem {
        key: Some(format!("{key}{name}")),
        layer: shown_layer(draft.layer_of_named(key, name)),
        ..about(draft, code, None, value, message, fix)
    }
}

/// The layer that a problem names. A default is only wrong in combination with the pod's own
/// settings, so the pod is named.
fn shown_layer(layer: &Layer) -> Layer {
    if *layer == Layer::BuiltIn { Layer::Pod } else { layer.clone() }
}

/// Validates the files of a draft without a pod.
pub(crate) fn check_files(draft: &Draft, diagnostics: &mut Diagnostics<'_>) {
    files::resolve(draft, false, diagnostics);
    templates::check(draft, diagnostics);
}

/// Validates all keys together. If there are problems, the result is only useful for finding more
/// of them and the caller must discard it.
pub(crate) fn resolve<'d>(inputs: &Inputs<'d, '_>, diagnostics: &mut Diagnostics<'_>) -> Intent<'d> {
    let Inputs { draft, pod, settings, .. } = *inputs;
    let sidecars = &settings.config.sidecars;
    bounds::check(inputs, diagnostics);
    let pattern = pattern(draft, diagnostics);
    conflicts::warn_about_pod(draft, pod, pattern, diagnostics);
    // The agent is validated at its current position, because other webhooks may have inserted
    // containers before it.
    let agent_at =
        inputs.injected.and_then(|pod| pod.spec.init_containers.iter().position(ownership::is_injected));
    let insert_at = agent_at.unwrap_or_else(|| place(pod, sidecars, draft.position));
    let readers = readers::resolve(inputs, insert_at, diagnostics);
    let reload = reload::resolve(inputs, &readers, diagnostics);
    let identity = identity::resolve(inputs, reload.as_ref().and_then(Reload::target), diagnostics);
    let resources = resources::resolve(draft, pod, diagnostics);
    let only_reader = identity.uid.filter(|uid| readers.all_run_as(pod, *uid));
    let files = files::resolve(draft, only_reader.is_some(), diagnostics);
    let variables: Vec<VariableMapping> = draft
        .variables
        .iter()
        .map(|(variable, secret)| VariableMapping { secret: secret.clone(), variable: variable.clone() })
        .collect();
    let mappings = files::texts(&files, &variables, diagnostics);
    templates::check(draft, diagnostics);
    permissions::check(draft, pod, &readers, identity, diagnostics);
    conflicts::check(draft, pod, &readers, &files, diagnostics);
    let mount_points = mount_points::resolve(draft, pod, &readers, insert_at, &files, diagnostics);
    let additions = (readers.init_containers.len() + readers.containers.len()) * (draft.variables.len() + 1);
    if let Some(problem) = limits::too_large("mounts and variables to add", additions, limits::ADDITIONS) {
        diagnostics.problems.push(problem);
    }
    Intent {
        draft,
        pattern,
        init_before_sidecar: pattern == Pattern::Sidecar && pod.spec.restart_policy() == "Never",
        secrets: files.secrets,
        dynamic: files.dynamic,
        variables,
        mappings,
        readers,
        mount_points,
        insert_at,
        reload,
        trust: trust(draft, diagnostics),
        identity,
        resources,
    }
}

/// The requested pattern, or the one that the pod's own keys require.
fn pattern(draft: &Draft, diagnostics: &mut Diagnostics<'_>) -> Pattern {
    let by_pod = |key: ExactKey| *draft.layer_of(key) == Layer::Pod;
    let keeps_fresh = [
        (ExactKey::RefreshInterval, by_pod(ExactKey::RefreshInterval)),
        (ExactKey::RefreshOnEvent, by_pod(ExactKey::RefreshOnEvent) && draft.refresh_on_event),
        (ExactKey::ReloadSignal, draft.reload_signal.is_some()),
        (ExactKey::ReloadUrl, draft.reload_url.is_some()),
    ];
    let renews = !draft.dynamic.is_empty() || keeps_fresh.iter().any(|(_, asked)| *asked);
    let pattern = draft.pattern.unwrap_or(if renews { Pattern::Sidecar } else { Pattern::Init });
    if pattern == Pattern::Init {
        for (key, _) in keeps_fresh.iter().filter(|(_, asked)| *asked) {
            diagnostics.problem(
                Code::PatternConflict,
                *key,
                None,
                "the pattern init fetches once and cannot keep anything fresh",
                "remove this annotation, or remove pattern: init",
            );
        }
        if !draft.dynamic.is_empty() {
            diagnostics.warn(
                "pattern: init with inject-dynamic-…: the lease is neither renewed nor revoked, \
                 so the credentials expire with it",
            );
        }
    } else if draft.refresh_interval.as_secs() < LEAST_CALM_SECONDS {
        diagnostics.warn(format!(
            "refresh-interval: {} is short; all pods of one identity share 1000 reads a minute",
            draft.refresh_interval
        ));
    }
    pattern
}

/// Intervals below this get a warning: ScaiVault allows an identity 1,000 single reads per minute.
const LEAST_CALM_SECONDS: u64 = 10;

/// The index of a new agent: first, but after the native sidecars of service meshes, without which
/// there is no network; or last.
fn place(pod: &PodView<'_>, sidecars: &SidecarsConfig, position: Position) -> usize {
    let init_containers = pod.spec.init_containers.as_slice();
    match position {
        Position::First => init_containers
            .iter()
            .rposition(|container| {
                container.is_native_sidecar() && sidecars.kind_of(container) == Some(SidecarKind::Mesh)
            })
            .map_or(0, |last| last + 1),
        Position::Last => init_containers.len(),
    }
}

/// The trust settings of the agent; `None` if they are equal to the agent's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) scaivault: Option<TrustPolicy>,
    pub(crate) scaikey: Option<TrustPolicy>,
}

/// The certificate authorities that the agent trusts.
fn trust(draft: &Draft, diagnostics: &mut Diagnostics<'_>) -> Trust {
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
