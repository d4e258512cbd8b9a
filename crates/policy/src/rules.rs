//! The validation rules of a policy, each in CEL for the API server and in Rust for validation
//! without one, with one message.

use std::{fmt::Write as _, sync::LazyLock};

use kube_core::{Message, Rule};
use scaivault_contract::{Excerpt, is_subdomain};
use scaivault_inject::{
    Layer,
    annotations::{ExactKey, Key, nearest, specs},
};
use serde_json::Value;

use crate::{
    KIND, PolicyProblems, VERSION, definition,
    schema::{self, child, entry},
    text::{self, Text},
};

/// A rule in CEL.
pub(crate) struct CelRule {
    rule: &'static str,
    /// What is wrong, and how to fix it.
    message: &'static str,
}

impl CelRule {
    pub(crate) fn cel(&self) -> Rule {
        Rule::new(self.rule).message(self.message)
    }
}

pub(crate) const NAME_LENGTH: CelRule = CelRule {
    rule: "self.metadata.name.size() <= 63",
    message: "the name of a policy must have at most 63 characters",
};

pub(crate) const EXPRESSION_VALUES: CelRule = CelRule {
    rule: "has(self.values) && self.values.size() > 0 ? self.operator in ['In', 'NotIn'] : self.operator in ['Exists', 'DoesNotExist']",
    message: "In and NotIn need values; Exists and DoesNotExist take none",
};

pub(crate) const FORMAT_OR_TEMPLATE: CelRule = CelRule {
    rule: "!has(self.format) || !has(self.template)",
    message: "a template writes the file already; remove format or template",
};

pub(crate) const ENCODING_NEEDS_FIELD: CelRule = CelRule {
    rule: "!has(self.encoding) || (self.path.contains('#') && !self.path.contains('=') && !has(self.template) && (!has(self.format) || self.format == 'raw'))",
    message: "encoding decodes one field that is written as it is; add a #field to path, and remove template and format",
};

pub(crate) const RAW_NEEDS_FIELD: CelRule = CelRule {
    rule: "!has(self.format) || self.format != 'raw' || (self.path.contains('#') && !self.path.contains('='))",
    message: "format: raw writes one field; add a #field to path, or choose json, env, dotenv, yaml or properties",
};

pub(crate) const CREDENTIALS_ARE_NOT_RAW: CelRule = CelRule {
    rule: "!has(self.format) || self.format != 'raw'",
    message: "dynamic credentials are several fields; choose json, env, dotenv, yaml or properties, or write a template",
};

pub(crate) const VARIABLE_NEEDS_FIELD: CelRule = CelRule {
    rule: "self.secret.contains('#')",
    message: "a variable holds one field; add a #field to secret, such as a/b#password",
};

pub(crate) const NAMES_DIFFER: CelRule = CelRule {
    rule: "!has(self.secrets) || !has(self.dynamic) || self.secrets.all(s, !self.dynamic.exists(d, d.name == s.name))",
    message: "secrets and dynamic name the same file; give each a name of its own",
};

pub(crate) const UID_RANGES: CelRule = CelRule {
    rule: "!has(self.uids) || self.uids.all(u, !u.matches('^[0-9]{1,10}-[0-9]{1,10}$') || int(u.split('-')[0]) <= int(u.split('-')[1]))",
    message: "a range of uids must go from the lower to the higher, such as 1000-1999",
};

pub(crate) const DELIVERED_AS_VARIABLES: CelRule = CelRule {
    rule: "!has(self.delivery) || self.delivery != 'variables' || !has(self.inject) || !has(self.inject.secrets) || self.inject.secrets.all(s, s.path.contains('#') && !s.path.contains('=') && !has(s.template) && !has(s.encoding) && (!has(s.format) || s.format == 'raw') && (!has(s.optional) || !s.optional))",
    message: "delivery: variables needs secrets that are one field each: add a #field to path, and remove template, encoding, format and optional",
};

pub(crate) const CREDENTIALS_AS_VARIABLES: CelRule = CelRule {
    rule: "!has(self.delivery) || self.delivery != 'variables' || !has(self.inject) || !has(self.inject.dynamic) || self.inject.dynamic.size() == 0",
    message: "dynamic credentials are renewed in files and cannot be variables; remove delivery, or move inject.dynamic to a policy of its own",
};

pub(crate) const DELIVERED_AS_FILES: CelRule = CelRule {
    rule: "!has(self.delivery) || self.delivery != 'files' || !has(self.inject) || !has(self.inject.variables) || self.inject.variables.all(v, v.name.size() <= 47 && (!has(self.inject.secrets) || !self.inject.secrets.exists(s, s.name == v.name)) && (!has(self.inject.dynamic) || !self.inject.dynamic.exists(d, d.name == v.name)))",
    message: "delivery: files makes each variable a file of its name: use names of at most 47 characters that no secret has",
};

pub(crate) const ONE_RELOAD: CelRule = CelRule {
    rule: "has(self.signal) == has(self.target) && (has(self.signal) != has(self.url))",
    message: "reload needs signal and target, or url alone",
};

/// The accepted keys of `defaults`, sorted. `mutation-mode` and `restart` are not among them,
/// because they have their own fields.
static DEFAULT_KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let settable = specs().filter(|spec| spec.setters.include(&Layer::Namespace));
    let mut keys: Vec<_> = settable
        .filter_map(|spec| match spec.key {
            Key::Exact(ExactKey::MutationMode) | Key::Named(_) => None,
            Key::Exact(key) if key.is_for_restarts() => None,
            Key::Exact(key) => Some(key.text()),
        })
        .collect();
    keys.sort_unstable();
    keys
});

/// The rule for the keys of `defaults`.
pub(crate) fn default_keys() -> Rule {
    let quoted: Vec<_> = DEFAULT_KEYS.iter().map(|key| format!("'{key}'")).collect();
    let list = format!("[{}]", quoted.join(", "));
    let message = format!(
        "'unknown default ' + self.filter(key, !(key in {list}))[0] + '; allowed: {}'",
        DEFAULT_KEYS.join(", ")
    );
    Rule::new(format!("self.all(key, key in {list})")).message(Message::Expression(message))
}

/// A part of a policy with its path.
#[derive(Clone)]
struct Node<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    fn field(&self, name: &str) -> Option<Node<'a>> {
        Some(Node { path: child(&self.path, name), value: self.value.get(name)? })
    }

    fn items(&self, name: &str) -> impl Iterator<Item = Node<'a>> {
        let list = self.field(name);
        let items = list.as_ref().and_then(|list| list.value.as_array()).into_iter().flatten();
        let path = list.as_ref().map(|list| list.path.clone()).unwrap_or_default();
        items.enumerate().map(move |(index, value)| Node { path: format!("{path}[{index}]"), value })
    }

    fn has(&self, name: &str) -> bool {
        self.value.get(name).is_some()
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.value.get(name)?.as_str()
    }

    /// Whether the text is one field of one secret.
    fn is_one_field(&self, name: &str) -> bool {
        self.text(name).is_none_or(|path| path.contains('#') && !path.contains('='))
    }
}

/// All problems of an `InjectionPolicy` object, except those that only the core detects.
pub fn check_resource(object: &Value) -> PolicyProblems {
    let mut problems = PolicyProblems::new();
    check_outer_fields(object, &mut problems);
    let schema = definition::schema();
    if let Some(spec) = object.get("spec") {
        schema::check(&schema["properties"]["spec"], spec, "spec", &mut problems);
        check_rules(&Node { path: "spec".to_owned(), value: spec }, &mut problems);
    } else {
        problems.add("spec", "is required");
    }
    problems
}

/// Checks the fields besides `spec`. The status is written by the injector and not checked.
fn check_outer_fields(object: &Value, problems: &mut PolicyProblems) {
    const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    for name in object.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !FIELDS.contains(&name.as_str()) {
            let meant = nearest(name, FIELDS).map(|meant| format!("; did you mean {meant}?"));
            let message =
                format!("unknown field{}", meant.unwrap_or_else(|| "; move it below spec".to_owned()));
            problems.add(name, message);
        }
    }
    check_text_field(object, "apiVersion", VERSION, problems);
    check_text_field(object, "kind", KIND, problems);
    let name = &object["metadata"]["name"];
    if !name.is_null() && !name.is_string() {
        problems.add("metadata.name", schema::wrong_type("string", name));
        return;
    }
    let name = name.as_str().unwrap_or_default();
    if name.is_empty() {
        problems.add("metadata.name", "is required");
    } else if name.len() > 63 {
        problems.add("metadata.name", NAME_LENGTH.message);
    } else if !is_subdomain(name) {
        let message = format!(
            "{} is not a name: expected a-z, 0-9, - and ., with a letter or digit at both ends",
            Excerpt::new(name)
        );
        problems.add("metadata.name", message);
    }
    if let Some(namespace) = object["metadata"]["namespace"].as_str().filter(|text| !text.is_empty()) {
        let message = format!(
            "a policy belongs to no namespace; remove {}, and select namespaces by spec.namespaceSelector",
            Excerpt::new(namespace)
        );
        problems.add("metadata.namespace", message);
    }
}

/// Checks a field that must have a fixed value.
pub(crate) fn check_text_field(object: &Value, field: &str, expected: &str, problems: &mut PolicyProblems) {
    let found = match &object[field] {
        Value::String(text) if text == expected => return,
        Value::Null => "nothing".to_owned(),
        Value::String(text) => Excerpt::new(text).to_string(),
        _ => "a value that is no string".to_owned(),
    };
    problems.add(field, format!("expected {expected}, found {found}"));
}

fn check_rules(spec: &Node<'_>, problems: &mut PolicyProblems) {
    for selector in ["namespaceSelector", "podSelector"] {
        check_selector(spec.field(selector).as_ref(), problems);
    }
    check_list(spec, "serviceAccounts", &text::NAME_GLOB, problems);
    check_list(spec, "containers", &text::CONTAINER, problems);
    check_list(spec, "initContainers", &text::CONTAINER, problems);
    check_text(spec, "environment", &text::ENVIRONMENT, problems);
    if let Some(inject) = spec.field("inject") {
        check_inject(&inject, problems);
        check_delivery(spec, &inject, problems);
    }
    if let Some(reload) = spec.field("reload") {
        let [signal, target, url] = ["signal", "target", "url"].map(|field| reload.has(field));
        if signal != target || signal == url {
            problems.add(reload.path, ONE_RELOAD.message);
        }
    }
    check_defaults(spec, problems);
    check_allow(spec, problems);
    for exception in spec.items("exceptions") {
        check_text(&exception, "name", &text::EXCEPTION_NAME, problems);
        check_list(&exception, "namespaces", &text::NAME_GLOB, problems);
        check_list(&exception, "serviceAccounts", &text::NAME_GLOB, problems);
        check_selector(exception.field("podSelector").as_ref(), problems);
        check_allow(&exception, problems);
    }
}

fn check_text(node: &Node<'_>, field: &str, text: &Text, problems: &mut PolicyProblems) {
    if let Some(node) = node.field(field) {
        check_item(&node, text, problems);
    }
}

fn check_list(node: &Node<'_>, field: &str, text: &Text, problems: &mut PolicyProblems) {
    for item in node.items(field) {
        check_item(&item, text, problems);
    }
}

fn check_item(node: &Node<'_>, text: &Text, problems: &mut PolicyProblems) {
    // The schema may have reported already that the text is empty or too long.
    if let Some(value) = node.value.as_str().filter(|value| !text.matches(value))
        && !problems.has_field(&node.path)
    {
        problems.add(node.path.as_str(), format!("{}: {}", Excerpt::new(value), text.expected));
    }
}

fn check_selector(selector: Option<&Node<'_>>, problems: &mut PolicyProblems) {
    for expression in selector.into_iter().flat_map(|selector| selector.items("matchExpressions")) {
        let has_values = expression.items("values").next().is_some();
        let needs_values = match expression.text("operator") {
            Some("In" | "NotIn") => true,
            Some("Exists" | "DoesNotExist") => false,
            _ => continue,
        };
        if has_values != needs_values {
            problems.add(expression.path, EXPRESSION_VALUES.message);
        }
    }
}

fn check_inject(inject: &Node<'_>, problems: &mut PolicyProblems) {
    for secret in inject.items("secrets") {
        check_text(&secret, "name", &text::FILE_NAME, problems);
        let format = secret.text("format");
        let is_raw = format == Some("raw");
        if secret.has("format") && secret.has("template") {
            problems.add(secret.path.as_str(), FORMAT_OR_TEMPLATE.message);
        }
        let is_decodable =
            secret.is_one_field("path") && !secret.has("template") && (format.is_none() || is_raw);
        if secret.has("encoding") && !is_decodable {
            problems.add(secret.path.as_str(), ENCODING_NEEDS_FIELD.message);
        }
        if is_raw && !secret.is_one_field("path") {
            problems.add(secret.path.as_str(), RAW_NEEDS_FIELD.message);
        }
    }
    for dynamic in inject.items("dynamic") {
        check_text(&dynamic, "name", &text::FILE_NAME, problems);
        if dynamic.has("format") && dynamic.has("template") {
            problems.add(dynamic.path.as_str(), FORMAT_OR_TEMPLATE.message);
        }
        if dynamic.text("format") == Some("raw") {
            problems.add(dynamic.path.as_str(), CREDENTIALS_ARE_NOT_RAW.message);
        }
        if let Some(name) = dynamic.text("name")
            && inject.items("secrets").any(|secret| secret.text("name") == Some(name))
        {
            problems.add(dynamic.path.as_str(), NAMES_DIFFER.message);
        }
    }
    for variable in inject.items("variables") {
        check_text(&variable, "name", &text::VARIABLE_NAME, problems);
        if variable.text("secret").is_some_and(|secret| !secret.contains('#')) {
            problems.add(variable.path.as_str(), VARIABLE_NEEDS_FIELD.message);
        }
    }
}

fn check_delivery(spec: &Node<'_>, inject: &Node<'_>, problems: &mut PolicyProblems) {
    match spec.text("delivery") {
        Some("variables") => {
            for secret in inject.items("secrets") {
                let is_file_only = ["template", "encoding"].iter().any(|field| secret.has(field))
                    || secret.value.get("optional") == Some(&Value::Bool(true))
                    || secret.text("format").is_some_and(|format| format != "raw");
                if is_file_only || !secret.is_one_field("path") {
                    problems.add(secret.path, DELIVERED_AS_VARIABLES.message);
                }
            }
            if inject.items("dynamic").next().is_some() {
                problems.add("spec.inject.dynamic", CREDENTIALS_AS_VARIABLES.message);
            }
        }
        Some("files") => {
            let names: Vec<_> = ["secrets", "dynamic"]
                .into_iter()
                .flat_map(|list| inject.items(list))
                .filter_map(|file| file.text("name"))
                .collect();
            for variable in inject.items("variables") {
                if variable.text("name").is_some_and(|name| name.len() > 47 || names.contains(&name)) {
                    problems.add(variable.path, DELIVERED_AS_FILES.message);
                }
            }
        }
        _ => {}
    }
}

fn check_defaults(spec: &Node<'_>, problems: &mut PolicyProblems) {
    let Some(defaults) = spec.field("defaults") else { return };
    for key in defaults.value.as_object().into_iter().flat_map(|entries| entries.keys()) {
        if DEFAULT_KEYS.contains(&key.as_str()) {
            continue;
        }
        let mut message = format!("unknown default {}", Excerpt::new(key));
        let short = key.strip_prefix(scaivault_contract::names::ANNOTATION_PREFIX);
        if let Some(short) = short.filter(|short| DEFAULT_KEYS.contains(short)) {
            let _ = write!(message, "; write {short}, without the prefix");
        } else if key == ExactKey::MutationMode.text() {
            message.push_str("; use spec.mutationMode");
        } else if key == ExactKey::Restart.text() {
            message.push_str("; use spec.restart");
        } else if let Some(meant) = nearest(key, DEFAULT_KEYS.iter().copied()) {
            let _ = write!(message, "; did you mean {meant}?");
        } else {
            let _ = write!(message, "; allowed: {}", DEFAULT_KEYS.join(", "));
        }
        problems.add(entry(&defaults.path, key), message);
    }
}

fn check_allow(node: &Node<'_>, problems: &mut PolicyProblems) {
    let Some(allow) = node.field("allow") else { return };
    check_list(&allow, "paths", &text::PATH_GLOB, problems);
    check_list(&allow, "uids", &text::UIDS, problems);
    check_list(&allow, "caConfigMaps", &text::OBJECT_GLOB, problems);
    check_list(&allow, "clientCredentialsSecrets", &text::OBJECT_GLOB, problems);
    for range in allow.items("uids") {
        let bounds = range.value.as_str().and_then(|text| text.split_once('-'));
        if let Some((Ok(first), Ok(last))) = bounds.map(|(first, last)| (first.parse::<u64>(), last.parse()))
            && first > last
        {
            problems.add(range.path, UID_RANGES.message);
        }
    }
}
