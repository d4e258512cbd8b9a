//! What the annotations about restarts say, read as the restart controller reads them.

use std::collections::BTreeMap;

use scaivault_contract::{Excerpt, names::ANNOTATION_PREFIX};
use scaivault_inject::{annotations::spec_of, manifest};
use scaivault_restarter::{Annotations, Kind, Mode, Places, choose, keys};
use serde_json::Value;

use super::{class, finding::Finding};
use crate::{apply::escape, csi::Code};

/// RFC 6901 pointer to the annotations in an object.
const OWN: &str = "/metadata/annotations";

/// What is wrong with those of an object.
pub(super) fn check(api_version: &str, kind: &str, object: &Value) -> Vec<Finding> {
    let own = annotations(object, OWN);
    if (api_version, kind) == ("v1", "Secret") || class::is_class(kind) {
        return check_source(&own);
    }
    if (api_version, kind) == ("v1", "Namespace") {
        let nothing = Annotations::new();
        return problems(&[(&nothing, ""), (&nothing, ""), (&own, OWN)]);
    }
    let Some(pod) = manifest::pod_pointer(api_version, kind).filter(|pod| !pod.is_empty()) else {
        return Vec::new();
    };
    let of_template = format!("{pod}{OWN}");
    let template = annotations(object, &of_template);
    let places = [(&own, OWN), (&template, of_template.as_str())];
    if Kind::from_name(kind).is_some_and(|kind| kind.api_version() == api_version) {
        let nothing = Annotations::new();
        return problems(&[places[0], places[1], (&nothing, "")]);
    }
    let written = places.into_iter().flat_map(|(annotations, pointer)| {
        annotations.keys().filter(|key| is_for_restarts(key)).map(move |key| (key, pointer))
    });
    let without_effect = written.map(|(key, pointer)| {
        let message = format!("{key} has no effect: a {kind} is never restarted");
        let fix = "remove it; Deployments, StatefulSets, DaemonSets and Argo Rollouts are restarted";
        Finding::warning(Code::Restart, format!("{pointer}/{}", escape(key)), message, fix)
    });
    without_effect.collect()
}

/// The problems of a workload's, its template's and its namespace's annotations, each with its pointer.
fn problems(places: &[(&Annotations, &str); 3]) -> Vec<Finding> {
    let [workload, template, namespace] = places.map(|(annotations, _)| annotations);
    let (policy, default) = (None, Mode::default());
    let choice = choose(&Places { workload, template, namespace, policy, default, with_reloader: false });
    let problem = |text: &String| {
        let (key, message) = text.split_once(": ")?;
        let (_, pointer) = places.iter().find(|(annotations, _)| annotations.contains_key(key))?;
        Some(Finding::problem(
            Code::Restart,
            format!("{pointer}/{}", escape(key)),
            message,
            fix(key.strip_prefix(ANNOTATION_PREFIX)?),
        ))
    };
    choice.problems.iter().filter_map(problem).collect()
}

/// Of a native Secret or a SecretProviderClass.
fn check_source(own: &Annotations) -> Vec<Finding> {
    let allowed = [(keys::RESTART, ["auto", "off"]), (keys::MATCH, ["true", "false"])];
    let wrong = allowed.into_iter().filter_map(|(name, allowed)| {
        let key = format!("{ANNOTATION_PREFIX}{name}");
        let value = own.get(&key).filter(|value| !allowed.contains(&value.trim()))?;
        let message = format!("{} is not a value; allowed here: {}", Excerpt::new(value), allowed.join(", "));
        Some(Finding::problem(Code::Restart, format!("{OWN}/{}", escape(&key)), message, fix(name)))
    });
    wrong.collect()
}

fn fix(name: &str) -> String {
    let example = spec_of(name).map(|(spec, _)| spec.example());
    format!("write {ANNOTATION_PREFIX}{name}: {}, or remove it", example.unwrap_or_default())
}

fn is_for_restarts(key: &str) -> bool {
    let spec = key.strip_prefix(ANNOTATION_PREFIX).and_then(spec_of);
    spec.is_some_and(|(spec, _)| spec.key.is_for_restarts())
}

fn annotations(object: &Value, pointer: &str) -> Annotations {
    let entries = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    let texts = entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    texts.collect::<BTreeMap<_, _>>()
}
