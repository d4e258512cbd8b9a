//! Checks a SecretProviderClass.

use std::collections::BTreeSet;

use scaivault_contract::Excerpt;
use scaivault_csi_class::{
    ATTRIBUTES_MAX_BYTES, Fault, Object as ClassObject, check_parameter, did_you_mean, fill_for_any_pod,
    parse_base_url, read_objects,
};
use scaivault_inject::annotations::nearest;
use serde_json::{Map, Value};

use super::{
    finding::{Code, Finding},
    secret_objects::{self, SecretFile},
};
use crate::{apply::escape, edit::Places, yaml_stream};

/// The value of `spec.provider` for this product.
pub(super) const PROVIDER: &str = "scaivault";
pub(super) const KIND: &str = "SecretProviderClass";
const GROUP: &str = "secrets-store.csi.x-k8s.io";
const FIELDS: [&str; 3] = ["parameters", "provider", "secretObjects"];

/// The parts of a class that matter for pods that use it.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// Whether its provider is this product.
    pub(super) is_ours: bool,
    /// The files; `None` if `objects` is invalid.
    pub(super) objects: Option<Vec<ClassObject>>,
    /// The files that `secretObjects` refers to.
    pub(super) secret_files: Vec<SecretFile>,
}

/// Whether an object is a class, or was probably meant to be one.
pub(super) fn is_class(kind: &str) -> bool {
    kind == KIND
}

/// Reads and checks a class. A class of another provider is not checked.
pub(super) fn read(api_version: &str, object: &Value) -> (Class, Vec<Finding>) {
    let mut class = Class::default();
    let mut findings = Vec::new();
    if api_version.split_once('/').map(|(group, _)| group) != Some(GROUP) {
        findings.push(Finding::problem(
            Code::Class,
            "/apiVersion",
            format!("{} is not the API of the driver; expected {GROUP}/v1", Excerpt::new(api_version)),
            format!("write apiVersion: {GROUP}/v1"),
        ));
    }
    let empty = Map::new();
    let spec = object.get("spec").and_then(Value::as_object).unwrap_or(&empty);
    match spec.get("provider").and_then(Value::as_str).unwrap_or_default() {
        PROVIDER => class.is_ours = true,
        "" => findings.push(Finding::problem(
            Code::Class,
            "/spec/provider",
            "the provider is missing or not a string",
            format!("write provider: {PROVIDER}"),
        )),
        other => {
            if nearest(&other.to_lowercase(), [PROVIDER]).is_some() {
                findings.push(Finding::problem(
                    Code::Class,
                    "/spec/provider",
                    format!("no provider is known as {}; did you mean {PROVIDER}?", Excerpt::new(other)),
                    format!("write provider: {PROVIDER}"),
                ));
            }
            return (class, findings);
        }
    }
    unknown_fields(spec, &FIELDS, Code::Class, "/spec", &mut findings);
    class.objects = check_parameters(spec.get("parameters"), &mut findings);
    class.secret_files =
        secret_objects::check(spec.get("secretObjects"), class.objects.as_deref(), &mut findings);
    (class, findings)
}

/// Checks the parameters of a class. Returns the objects, if they are valid.
fn check_parameters(parameters: Option<&Value>, findings: &mut Vec<Finding>) -> Option<Vec<ClassObject>> {
    const POINTER: &str = "/spec/parameters";
    let empty = Map::new();
    let parameters = match parameters {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(parameters)) => parameters,
        Some(_) => {
            let message = "expected a mapping of parameters";
            findings.push(Finding::problem(Code::Class, POINTER, message, "write `objects: |` below it"));
            return None;
        }
    };
    let size: usize =
        parameters.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ATTRIBUTES_MAX_BYTES {
        findings.push(Finding::problem(
            Code::Parameter,
            POINTER,
            format!("the parameters have {size} bytes; allowed: {ATTRIBUTES_MAX_BYTES}"),
            "use several classes",
        ));
        return None;
    }
    for (name, value) in parameters {
        check_value(name, value, POINTER, findings);
    }
    let text = match parameters.get("objects") {
        None => None,
        Some(Value::String(text)) => Some(text.as_str()),
        Some(_) => return None,
    };
    objects(text, &format!("{POINTER}/objects"), findings)
}

/// Checks a parameter of a class, or an entry of a pod's `volumeAttributes`, except for the content
/// of `objects`.
pub(super) fn check_value(name: &str, value: &Value, pointer: &str, findings: &mut Vec<Finding>) {
    let pointer = format!("{pointer}/{}", escape(name));
    if let Err(fault) = check_parameter(name) {
        findings.push(Finding::problem(Code::Parameter, pointer, fault.text, "correct or remove it"));
        return;
    }
    let Some(text) = value.as_str() else {
        let fix = if name == "objects" {
            "write `objects: |`, and the list as text below it".to_owned()
        } else {
            format!("put the value of {name} in quotes")
        };
        findings.push(Finding::problem(Code::Parameter, pointer, "the value is not a text", fix));
        return;
    };
    match name {
        "objects" => {}
        _ if text.is_empty() => {
            let fix = "give it a value, or remove it for the provider's default";
            findings.push(Finding::problem(Code::Parameter, pointer, "the value is empty", fix));
        }
        "base_url" => {
            if let Err(error) = parse_base_url(text) {
                findings.push(Finding::problem(
                    Code::Parameter,
                    pointer,
                    error.to_string(),
                    "correct the address",
                ));
            }
        }
        _ => {}
    }
}

/// Parses the text of the parameter `objects`; `None` if it is invalid.
pub(super) fn objects(
    text: Option<&str>,
    pointer: &str,
    findings: &mut Vec<Finding>,
) -> Option<Vec<ClassObject>> {
    match read_objects(text, &fill_for_any_pod) {
        Ok(objects) => {
            for (index, object) in objects.iter().enumerate() {
                for warning in &object.warnings {
                    let message = format!("objects[{index}]: template: {warning}");
                    findings.push(Finding::warning(Code::Objects, pointer, message, ""));
                }
            }
            Some(objects)
        }
        Err(faults) => {
            let documents = yaml_stream::split(text.unwrap_or_default());
            let places = documents.first().and_then(Places::parse);
            findings.extend(faults.iter().map(|fault| object_fault(fault, places.as_ref(), pointer)));
            None
        }
    }
}

/// The line of such a finding is relative to the parameter's text, until [`super::finding::add_lines`]
/// adds where the text starts.
fn object_fault(fault: &Fault, places: Option<&Places<'_>>, pointer: &str) -> Finding {
    let line =
        fault.line.or_else(|| super::finding::line_in_text(places?, fault.object?, fault.key.as_deref()));
    Finding { line, ..Finding::problem(Code::Objects, pointer, fault.to_string(), "") }
}

/// Reports unknown fields of a mapping.
pub(super) fn unknown_fields(
    mapping: &Map<String, Value>,
    known: &[&str],
    code: Code,
    pointer: &str,
    findings: &mut Vec<Finding>,
) {
    let unknown: BTreeSet<_> = mapping.keys().filter(|key| !known.contains(&key.as_str())).collect();
    for key in unknown {
        let near = nearest(key, known.iter().copied());
        let hint = did_you_mean(near);
        findings.push(Finding::problem(
            code,
            format!("{pointer}/{}", escape(key)),
            format!("the field is not known{hint}; allowed: {}", known.join(", ")),
            "correct or remove it",
        ));
    }
}
