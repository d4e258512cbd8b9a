//! The agent's environment: the published names first, then ours; what is the agent's own default is left out.

use std::fmt::{Display, Write as _};

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};
use scaivault_contract::{
    Duration,
    env::{self, ENVIRONMENT},
    escape_env_value,
    names::{CA_DIR, CA_FILE, CREDENTIALS_DIR, ENV_DIR, ENV_FILE, STATE_DIR, TOKEN_DIR, TOKEN_FILE},
};

use crate::{
    intent::{Intent, Reload},
    pattern::Pattern,
    settings::Settings,
};

/// The variables of the init container or of the sidecar.
pub(super) fn of(intent: &Intent<'_>, settings: &Settings, container: Pattern) -> Vec<EnvVar> {
    let is_sidecar = container == Pattern::Sidecar;
    let mut variables = Variables(Vec::with_capacity(12));
    variables.always(env::SCAIVAULT_URL, &intent.draft.url);
    if intent.draft.client_credentials_secret.is_none() {
        variables.always(env::SCAIVAULT_TOKEN_FILE, format_args!("{TOKEN_DIR}/{TOKEN_FILE}"));
    } else {
        variables.always(env::SCAIVAULT_CREDENTIALS_DIR, CREDENTIALS_DIR);
        variables
            .unless_default(env::SCAIKEY_TOKEN_URL, settings.config.token_url.as_deref().unwrap_or_default());
    }
    variables.unless_default(env::SCAIVAULT_ROLE, intent.draft.role.as_deref().unwrap_or_default());
    variables.unless_default(env::SCAIVAULT_AUDIENCE, &intent.draft.audience);
    variables.unless_default(env::SCAIVAULT_ALLOW_HTTP, intent.draft.url.is_plain_http());
    if intent.draft.ca_configmap.is_some() {
        variables.always(env::SCAIVAULT_CA_FILE, format_args!("{CA_DIR}/{CA_FILE}"));
    }
    if let Some(trust) = intent.trust.scaivault {
        variables.always(env::SCAIVAULT_TRUST, trust);
    }
    if let Some(trust) = intent.trust.scaikey {
        variables.always(env::SCAIKEY_TRUST, trust);
    }
    variables.lines(if is_sidecar { env::WATCH_PATHS } else { env::SECRETS }, &intent.secrets);
    variables.lines(env::DYNAMIC, &intent.dynamic);
    variables.lines(env::SECRET_ENV, &intent.variables);
    if !intent.variables.is_empty() {
        variables.always(env::SCAIVAULT_ENV_FILE, format_args!("{ENV_DIR}/{ENV_FILE}"));
    }
    if intent.has_state() {
        variables.always(env::SCAIVAULT_STATE_DIR, STATE_DIR);
    }
    if is_sidecar {
        variables.always(env::REFRESH_INTERVAL, intent.draft.refresh_interval);
        variables.unless_default(env::REFRESH_ON_EVENT, intent.draft.refresh_on_event);
        if intent.draft.refresh_on_event {
            variables.field(env::SCAIVAULT_POD, "metadata.name");
            variables.field(env::SCAIVAULT_POD_UID, "metadata.uid");
        }
        match &intent.reload {
            None => {}
            Some(Reload::Signal(target)) => {
                variables.always(env::RELOAD_SIGNAL, target.signal);
                variables.always(env::RELOAD_TARGET, &target.process);
            }
            Some(Reload::Url(url)) => variables.always(env::RELOAD_URL, url),
        }
        // A native sidecar is stopped after the app: no draining app needs its database user any more.
        variables.unless_default(env::SCAIVAULT_REVOKE_DELAY, Duration::ZERO);
    }
    variables.unless_default(env::FETCH_TIMEOUT, intent.draft.fetch_timeout);
    variables.unless_default(env::FAIL_OPEN, intent.draft.fail_open);
    variables.unless_default(env::LOG_LEVEL, intent.draft.log_level.0);
    variables.0
}

struct Variables(Vec<EnvVar>);

impl Variables {
    fn always(&mut self, name: &str, value: impl Display) {
        self.push(name, &value.to_string());
    }

    /// Adds a variable whose value differs from what the agent takes without it.
    fn unless_default(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        if ENVIRONMENT.iter().find(|spec| spec.name == name).is_none_or(|spec| spec.default != value)
            && !value.is_empty()
        {
            self.push(name, &value);
        }
    }

    /// Adds a mapping, an entry a line.
    fn lines(&mut self, name: &str, entries: &[impl Display]) {
        let mut text = String::new();
        for entry in entries {
            writeln!(text, "{entry}").expect("writing into a String cannot fail");
        }
        if !text.is_empty() {
            self.push(name, &text);
        }
    }

    /// Adds a variable that the kubelet fills in from the pod.
    fn field(&mut self, name: &str, path: &str) {
        let field = ObjectFieldSelector { api_version: None, field_path: path.to_owned() };
        let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
        self.0.push(EnvVar { name: name.to_owned(), value: None, value_from: Some(source) });
    }

    fn push(&mut self, name: &str, value: &str) {
        self.0.push(EnvVar { name: name.to_owned(), value: Some(escape_env_value(value)), value_from: None });
    }
}
