//! Validates a policy. The API server validates much of it too, but policies in files do not pass
//! through it.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use scaivault_contract::{is_label_value, is_subdomain};

use super::{
    glob,
    limits::{Field, Users},
    parts::{Allow, Exception, Expression, Operator, PolicyParts, Selector},
    variables,
};
use crate::{
    annotations::{Draft, ExactKey, Key, Url, image, spec_of},
    intent::{self, Diagnostics},
    layer::{CollectedDraft, Fill, collect},
    problem::{Code, Excerpt, Layer, Problem, Problems},
};

/// Maximum length in bytes of an object's or exception's name and of a label key.
const NAME_BYTES: usize = 253;
/// Maximum number of entries of a list.
const ENTRIES: usize = 64;
/// Maximum number of values of one selector expression.
const VALUES: usize = 256;
/// Maximum number of exceptions.
const EXCEPTIONS: usize = 32;
/// Maximum number of keys that a policy adds, including options of files.
const KEYS: usize = 800;
/// Maximum total size of all texts in bytes. Larger ones do not fit into an object of the API
/// server together with its managed fields.
const BYTES: usize = 512 * 1024;
/// Maximum length of an exception's reason in bytes.
const REASON_BYTES: usize = 1024;
/// Maximum length of an environment and of a label value in characters.
const LABEL_CHARS: usize = 63;

/// The policy with sorted values, or all of its problems.
pub(super) fn checked(mut parts: PolicyParts) -> Result<PolicyParts, Problems> {
    let mut checks = Checks { policy: parts.name.as_str().into(), problems: Problems::new() };
    if checks.size(&parts) {
        checks.identity(&parts);
        checks.selector("namespaceSelector", &mut parts.namespaces);
        checks.selector("podSelector", &mut parts.pods);
        checks.globs("serviceAccounts", &parts.service_accounts);
        checks.keys(&parts);
        checks.allow("allow", &parts.allow);
        checks.exceptions(&mut parts.exceptions);
    }
    if checks.problems.is_empty() { Ok(parts) } else { Err(checks.problems) }
}

struct Checks {
    policy: Arc<str>,
    problems: Problems,
}

impl Checks {
    fn problem(&mut self, field: &str, value: Option<&str>, message: &str, fix: &str) {
        let policy = self.policy.clone();
        self.problems.push_with(|| Problem {
            code: Code::InvalidPolicy,
            key: Some(field.to_owned()),
            value: value.map(Excerpt::new),
            message: message.to_owned().into(),
            layer: Layer::Policy(policy),
            allowed: None,
            fix: fix.to_owned().into(),
        });
    }

    fn at_most(&mut self, field: &str, count: usize, most: usize) -> bool {
        if count > most {
            let message = format!("{count} entries, and at most {most} are allowed");
            self.problem(field, None, &message, "split the policy");
        }
        count <= most
    }

    /// Whether the sizes are within the limits, so that the rest can be validated.
    fn size(&mut self, parts: &PolicyParts) -> bool {
        let PolicyParts { service_accounts, inject, defaults, exceptions, .. } = parts;
        let bytes: usize = inject.iter().chain(defaults).map(|(key, value)| key.len() + value.len()).sum();
        if bytes > BYTES {
            let message = format!("{bytes} bytes, and at most {BYTES} are allowed");
            self.problem("inject", None, &message, "split the policy");
        }
        let lists = [
            ("serviceAccounts", service_accounts.len(), ENTRIES),
            ("inject", inject.len(), KEYS),
            ("defaults", defaults.len(), ENTRIES),
            ("exceptions", exceptions.len(), EXCEPTIONS),
        ];
        for (field, count, most) in lists {
            self.at_most(field, count, most);
        }
        self.problems.is_empty()
    }

    fn identity(&mut self, parts: &PolicyParts) {
        if !is_subdomain(&parts.name) {
            let fix = "write lower-case letters, digits, - and ., at most 253 characters";
            self.problem("metadata.name", Some(&parts.name), "not the name of an object", fix);
        }
        let is_level = |text: &str| {
            let is_allowed =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
            (1..=LABEL_CHARS).contains(&text.len()) && text.bytes().all(is_allowed)
        };
        if let Some(environment) = parts.environment.as_deref().filter(|text| !is_level(text)) {
            let fix = "write one level of a path: 1 to 63 of a-z, 0-9, - and _, such as production";
            self.problem("environment", Some(environment), "not the name of an environment", fix);
        }
    }

    fn selector(&mut self, field: &str, selector: &mut Selector) {
        let Selector { match_labels, match_expressions } = selector;
        if !self.at_most(&format!("{field}.matchLabels"), match_labels.len(), ENTRIES)
            | !self.at_most(&format!("{field}.matchExpressions"), match_expressions.len(), ENTRIES)
        {
            return;
        }
        let labels = format!("{field}.matchLabels");
        for (key, value) in match_labels.iter() {
            self.label_key(&labels, key);
            self.label_value(&labels, value);
        }
        for (index, expression) in match_expressions.iter_mut().enumerate() {
            self.expression(&format!("{field}.matchExpressions[{index}]"), expression);
        }
    }

    fn expression(&mut self, field: &str, expression: &mut Expression) {
        let Expression { key, operator, values } = expression;
        self.label_key(&format!("{field}.key"), key);
        let has_values = matches!(operator, Operator::In | Operator::NotIn);
        if has_values == values.is_empty() {
            let (message, fix) = if has_values {
                ("In and NotIn compare with values, and there is none", "add values")
            } else {
                ("Exists and DoesNotExist take no values", "remove the values, or write In or NotIn")
            };
            self.problem(field, Some(key), message, fix);
        }
        if self.at_most(&format!("{field}.values"), values.len(), VALUES) {
            for (index, value) in values.iter().enumerate() {
                self.label_value(&format!("{field}.values[{index}]"), value);
            }
            values.sort_unstable();
            values.dedup();
        }
    }

    fn label_key(&mut self, field: &str, key: &str) {
        let (prefix, name) = match key.split_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, key),
        };
        if name.is_empty() || !is_label_value(name) || prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
            let fix = "write a key as labels have it: [prefix/]name, the name of at most 63 characters";
            self.problem(field, Some(key), "not the key of a label", fix);
        }
    }

    fn label_value(&mut self, field: &str, value: &str) {
        if !is_label_value(value) {
            let fix = "write at most 63 letters, digits, -, _ and ., a letter or digit first and last";
            self.problem(field, Some(value), "not the value of a label", fix);
        }
    }

    /// Validates globs of names.
    fn globs(&mut self, field: &str, globs: &[String]) {
        for (index, glob) in globs.iter().enumerate() {
            let has_variable = glob.contains('$').then_some("variables are not filled here");
            if let Some(fault) = glob::fault(glob).or(has_variable) {
                let field = format!("{field}[{index}]");
                self.problem(&field, Some(glob), fault, "write a name, or a glob such as team-*");
            }
        }
    }

    /// Parses the keys of a policy like annotations, with a sample value in place of each variable.
    fn keys(&mut self, parts: &PolicyParts) {
        let before = self.problems.len();
        let mut seen = BTreeSet::new();
        for (field, entries) in [("inject", &parts.inject), ("defaults", &parts.defaults)] {
            for (key, _) in entries {
                if !is_taken(field, key) {
                    let fix = match field {
                        "inject" => {
                            "name what is injected (inject-secret-…, inject-dynamic-…, inject-env-…), the options of files \
                             (secret-…), containers or init-containers"
                        }
                        _ => "remove it: defaults are what a namespace may set, but mutation-mode",
                    };
                    self.problem(field, Some(key), "this key is not allowed here", fix);
                }
                if !seen.insert(key.as_str()) {
                    self.problem(field, Some(key), "is given twice", "keep one");
                }
            }
        }
        if self.problems.len() > before {
            return;
        }
        let mut collected = CollectedDraft::over(Draft::default());
        let layer = Layer::Policy(self.policy.clone());
        let entries = parts.defaults.iter().chain(&parts.inject);
        let mut entries = entries.map(|(key, value)| (key.as_str(), value.as_str()));
        collect(&mut collected, &layer, Fill::Sample, &mut entries);
        let CollectedDraft { draft, problems, warnings, .. } = collected;
        self.problems.append(&problems);
        for warning in warnings {
            self.problem("inject", None, &warning, "correct or remove the key");
        }
        let mut diagnostics = Diagnostics::new(&draft, Problems::new(), Vec::new());
        intent::check_files(&draft, &mut diagnostics);
        self.problems.append(&diagnostics.problems);
    }

    fn allow(&mut self, field: &str, allow: &Allow) {
        for kind in Field::ALL {
            let Some(entries) = kind.list(allow) else { continue };
            let field = format!("{field}.{}", kind.name());
            if self.at_most(&field, entries.len(), ENTRIES) {
                for (index, entry) in entries.iter().enumerate() {
                    if let Some((fault, fix)) = entry_fault(kind, entry) {
                        self.problem(&format!("{field}[{index}]"), Some(entry), &fault, &fix);
                    }
                }
            }
        }
    }

    fn exceptions(&mut self, exceptions: &mut [Exception]) {
        let mut seen = BTreeSet::new();
        for (index, exception) in exceptions.iter_mut().enumerate() {
            let field = format!("exceptions[{index}]");
            let Exception { name, namespaces, service_accounts, pods, allow, owner, reason, expires: _ } =
                exception;
            if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
                let field = format!("{field}.name");
                self.problem(&field, Some(name), "not a name", "write 1 to 253 characters");
            }
            if !seen.insert(name.clone()) {
                let field = format!("{field}.name");
                self.problem(&field, Some(name), "is given twice", "give each exception its own name");
            }
            for (part, text, most) in [("owner", owner, NAME_BYTES), ("reason", reason, REASON_BYTES)] {
                if text.trim().is_empty() || text.len() > most {
                    let message = format!("write 1 to {most} characters");
                    self.problem(&format!("{field}.{part}"), Some(text), "is missing or too long", &message);
                }
            }
            if self.at_most(&format!("{field}.namespaces"), namespaces.len(), ENTRIES)
                & self.at_most(&format!("{field}.serviceAccounts"), service_accounts.len(), ENTRIES)
            {
                self.globs(&format!("{field}.namespaces"), namespaces);
                self.globs(&format!("{field}.serviceAccounts"), service_accounts);
            }
            self.selector(&format!("{field}.podSelector"), pods);
            if Field::ALL.iter().all(|kind| kind.list(allow).is_none_or(<[String]>::is_empty)) {
                let fix = "add what it allows, such as paths, or remove the exception";
                self.problem(&format!("{field}.allow"), None, "allows nothing", fix);
            }
            self.allow(&format!("{field}.allow"), allow);
        }
    }
}

/// Whether a key is allowed in this part of a policy.
fn is_taken(field: &str, key: &str) -> bool {
    let Some((spec, _)) = spec_of(key) else { return false };
    match (field, spec.key) {
        ("inject", Key::Named(_)) => true,
        ("inject", Key::Exact(key)) => matches!(
            key,
            ExactKey::Containers
                | ExactKey::InitContainers
                | ExactKey::Pattern
                | ExactKey::ReloadSignal
                | ExactKey::ReloadTarget
                | ExactKey::ReloadUrl
        ),
        (_, key) => {
            spec.setters.include(&Layer::Namespace)
                && key != Key::Exact(ExactKey::MutationMode)
                && !key.is_for_restarts()
        }
    }
}

/// The error in an entry of an allow-list, and its fix.
fn entry_fault(field: Field, entry: &str) -> Option<(String, Cow<'static, str>)> {
    let fix = field.example();
    let text = match field.place().map(|place| variables::sample(entry, place)) {
        None if entry.contains("${") => {
            return Some(("variables are not filled here".to_owned(), fix.into()));
        }
        None => Cow::Borrowed(entry),
        Some(Ok(filled)) => filled.text,
        Some(Err(fault)) => return Some((fault.message.into_owned(), fault.fix)),
    };
    let is_path = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_/*?".contains(&byte);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/*?".contains(&byte);
    let fault = match field {
        Field::Paths
            if !text.bytes().all(|byte| is_path(byte) || byte == b'$' || byte == b'{' || byte == b'}') =>
        {
            Some("paths have a-z, 0-9, -, _ and /".to_owned())
        }
        Field::Dynamic if !text.bytes().all(is_name) => {
            Some("engines and roles have A-Z, a-z, 0-9, - and _".to_owned())
        }
        Field::Dynamic if text != "**" && text.split('/').count() != 2 => {
            Some("an engine and its role have one slash between".to_owned())
        }
        Field::Paths
        | Field::Dynamic
        | Field::Roles
        | Field::CaConfigmaps
        | Field::ClientCredentialsSecrets => glob::fault(&text).map(str::to_owned),
        Field::Urls => text.parse::<Url>().err().map(Cow::into_owned),
        Field::Images => image(&text).err().map(Cow::into_owned),
        Field::Uids => Users::parse(&text).is_none().then(|| "neither a uid nor a range".to_owned()),
    };
    fault.map(|fault| (fault, fix.into()))
}
