//! The agent's environment: published variables first. Values that are the agent's own default are
//! omitted.

use std::borrow::Cow;

use scaivault_contract::{
    Duration, PodVariable,
    env::{self, ENVIRONMENT},
    escape_env_value,
    names::{CA_DIR, CA_FILE, CREDENTIALS_DIR, ENV_DIR, ENV_FILE, STATE_DIR, TOKEN_DIR, TOKEN_FILE},
};

use super::objects::{EnvVar, EnvVarSource, ObjectFieldSelector};
use crate::{
    intent::{Intent, Reload, lines},
    pattern::Pattern,
    settings::Settings,
};

/// The variables of the init container or of the sidecar.
pub(super) fn of<'i>(intent: &'i Intent<'_>, settings: &'i Settings, container: Pattern) -> Vec<EnvVar<'i>> {
    let is_sidecar = container == Pattern::Sidecar;
    let mut variables = Variables(Vec::with_capacity(12));
    variables.always(env::SCAIVAULT_URL, intent.draft.url.as_str());
    if intent.draft.client_credentials_secret.is_none() {
        variables.always(env::SCAIVAULT_TOKEN_FILE, [TOKEN_DIR, "/", TOKEN_FILE].concat());
    } else {
        variables.always(env::SCAIVAULT_CREDENTIALS_DIR, CREDENTIALS_DIR);
        variables
            .unless_default(env::SCAIKEY_TOKEN_URL, settings.config.token_url.as_deref().unwrap_or_default());
    }
    variables.unless_default(env::SCAIVAULT_ROLE, intent.draft.role.as_deref().unwrap_or_default());
    variables.unless_default(env::SCAIVAULT_AUDIENCE, &intent.draft.audience);
    variables.unless_default(env::SCAIVAULT_ALLOW_HTTP, word(intent.draft.url.is_plain_http()));
    if intent.draft.ca_configmap.is_some() {
        variables.always(env::SCAIVAULT_CA_FILE, [CA_DIR, "/", CA_FILE].concat());
    }
    if let Some(trust) = intent.trust.scaivault {
        variables.always(env::SCAIVAULT_TRUST, trust.to_string());
    }
    if let Some(trust) = intent.trust.scaikey {
        variables.always(env::SCAIKEY_TRUST, trust.to_string());
    }
    variables
        .unless_empty(if is_sidecar { env::WATCH_PATHS } else { env::SECRETS }, &intent.mappings.secrets);
    variables.unless_empty(env::DYNAMIC, &intent.mappings.dynamic);
    variables.unless_empty(env::SECRET_ENV, &intent.mappings.variables);
    if !intent.variables.is_empty() {
        variables.always(env::SCAIVAULT_ENV_FILE, [ENV_DIR, "/", ENV_FILE].concat());
    }
    if intent.has_state() {
        variables.always(env::SCAIVAULT_STATE_DIR, STATE_DIR);
    }
    if is_sidecar {
        variables.always(env::REFRESH_INTERVAL, intent.draft.refresh_interval.to_string());
        variables.unless_default(env::REFRESH_ON_EVENT, word(intent.draft.refresh_on_event));
        if intent.draft.refresh_on_event {
            variables.pod_variable(PodVariable::Pod);
            variables.field(env::SCAIVAULT_POD_UID, "metadata.uid");
        }
        match &intent.reload {
            None => {}
            Some(Reload::Signal(target)) => {
                variables.always(env::RELOAD_SIGNAL, target.signal.to_string());
                variables.always(env::RELOAD_TARGET, target.process.clone());
            }
            Some(Reload::Url(url)) => variables.always(env::RELOAD_URL, url.to_string()),
        }
        // A native sidecar stops after the application, so no draining application needs its
        // database user any more.
        variables.unless_default(env::SCAIVAULT_REVOKE_DELAY, Duration::ZERO.to_string());
    }
    for variable in PodVariable::ALL.into_iter().filter(|variable| intent.uses(*variable)) {
        variables.pod_variable(variable);
    }
    variables.unless_default(env::FETCH_TIMEOUT, intent.draft.fetch_timeout.to_string());
    variables.unless_default(env::FAIL_OPEN, word(intent.draft.fail_open));
    variables.unless_default(env::LOG_LEVEL, intent.draft.log_level.0.to_string());
    // Last, where it also goes if it is added later because another webhook has added a mount.
    variables.unless_empty(env::MOUNT_POINTS, lines(&intent.mount_points));
    variables.0
}

/// A boolean as the agent parses it.
const fn word(is_on: bool) -> &'static str {
    if is_on { "true" } else { "false" }
}

struct Variables<'i>(Vec<EnvVar<'i>>);

impl<'i> Variables<'i> {
    fn always(&mut self, name: &'static str, value: impl Into<Cow<'i, str>>) {
        let value = match value.into() {
            Cow::Borrowed(value) => escape_env_value(value),
            Cow::Owned(value) if value.contains('$') => escape_env_value(&value).into_owned().into(),
            Cow::Owned(value) => value.into(),
        };
        self.0.push(EnvVar { name, value: Some(value), value_from: None });
    }

    /// Adds a variable if its value differs from the agent's default.
    fn unless_default(&mut self, name: &'static str, value: impl Into<Cow<'i, str>>) {
        let value = value.into();
        if !value.is_empty()
            && ENVIRONMENT.iter().find(|spec| spec.name == name).is_none_or(|spec| spec.default != value)
        {
            self.always(name, value);
        }
    }

    fn unless_empty(&mut self, name: &'static str, value: impl Into<Cow<'i, str>>) {
        let value = value.into();
        if !value.is_empty() {
            self.always(name, value);
        }
    }

    /// Adds the source of a `${…}` variable, unless it was already added for another purpose.
    fn pod_variable(&mut self, variable: PodVariable) {
        if self.0.iter().all(|there| there.name != variable.env()) {
            self.field(variable.env(), variable.field_path());
        }
    }

    /// Adds a variable that the kubelet sets from a field of the pod.
    fn field(&mut self, name: &'static str, field_path: &'static str) {
        let source = EnvVarSource::FieldRef(ObjectFieldSelector { field_path });
        self.0.push(EnvVar { name, value: None, value_from: Some(source) });
    }
}
