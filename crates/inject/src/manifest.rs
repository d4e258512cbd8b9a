//! Finds the pod template in a workload's manifest.

use std::ops::Range;

use crate::patch::escape_pointer;

/// Maximum depth of a template in keys and indices. The template of a Kubeflow job is at depth
/// four, and in a `ManifestWork` at six.
const MAX_DEPTH: usize = 12;

/// Maximum number of templates that are found per object.
const MAX_TEMPLATES: usize = 64;

/// Maximum length of a template's pointer, in bytes of its keys as written. No real template has
/// longer keys, and messages about it would be as long.
const MAX_POINTER: usize = 1024;

/// Maximum nesting depth at which containers are looked for; deeper values are skipped without
/// using memory.
const MAX_STACK: usize = MAX_DEPTH + 4;

/// API groups whose objects contain pod templates that create no pods: schemas, rules and patterns.
const NO_PODS: &[&str] = &["admissionregistration.k8s.io", "apiextensions.k8s.io", "kyverno.io"];

/// The fields of a pod template; an object with other fields is not one.
const TEMPLATE_KEYS: &[&str] = &["apiVersion", "kind", "metadata", "spec"];

/// The RFC 6901 pointer to the pod, or to the `metadata` and `spec` of a template; `None` for kinds
/// without a pod. A `List` has no pointer: walk its `items`.
pub fn pod_pointer(api_version: &str, kind: &str) -> Option<&'static str> {
    match (api_version, kind) {
        ("v1", "Pod") => Some(""),
        ("v1", "PodTemplate") => Some("/template"),
        ("v1", "ReplicationController")
        | ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch/v1", "Job")
        | ("argoproj.io/v1alpha1", "Rollout")
        | ("apps.openshift.io/v1", "DeploymentConfig") => Some("/spec/template"),
        ("batch/v1", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// A pod template in an object of an unknown kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTemplate<'a> {
    /// The RFC 6901 pointer to it in the object.
    pub pointer: String,
    /// Its JSON text.
    pub json: &'a str,
}

/// Finds the pod templates of an object by their shape: an object with `spec.containers`, which is
/// a list of objects with a `name` or an `image`, and with no other field except `metadata`.
/// Returns at most 64 templates, each with a pointer of at most about 1 KiB. It reads each byte
/// once and copies nothing until all templates are found.
///
/// `json` must be well-formed; otherwise templates may be missing or wrong.
pub fn find_templates<'a>(api_version: &str, json: &'a str) -> Vec<FoundTemplate<'a>> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    if NO_PODS.contains(&group) || !json.contains("\"containers\"") {
        return Vec::new();
    }
    #[cfg(any(test, feature = "count-work"))]
    crate::work::look(json.len());
    let mut scanner = Scanner { json, stack: Vec::new(), passed_over: 0, found: Vec::new() };
    scanner.run();
    let found = scanner.found.into_iter();
    found.map(|Place { path, range }| FoundTemplate { pointer: pointer(&path), json: &json[range] }).collect()
}

/// What a value may be part of, as far as templates are concerned.
#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "an object can be all of it")]
struct Shape {
    is_text: bool,
    /// An object with a name or an image.
    is_container: bool,
    /// A list of containers.
    is_containers: bool,
    /// An object whose `containers` is such a list.
    is_spec: bool,
}

/// An object or an array that is still open.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that was seen")]
struct Frame<'a> {
    start: usize,
    is_object: bool,
    /// The last key of an object, as written between its quotes.
    key: &'a str,
    /// The number of items of an array before the current one.
    index: usize,
    /// The shape of the object or array if it ended here.
    shape: Shape,
    /// The member `spec` is a pod's.
    has_spec: bool,
    has_other_keys: bool,
    /// Its `kind` is not a pod's.
    is_other_kind: bool,
}

/// Scans a JSON text once.
struct Scanner<'a> {
    json: &'a str,
    stack: Vec<Frame<'a>>,
    /// The number of open objects and arrays beyond the maximum depth.
    passed_over: usize,
    found: Vec<Place<'a>>,
}

/// The location of a template that was found.
struct Place<'a> {
    path: Vec<Step<'a>>,
    range: Range<usize>,
}

/// A step from a value to a value inside it.
#[derive(Clone, Copy)]
enum Step<'a> {
    /// To the member with this key, as written between its quotes.
    Key(&'a str),
    Index(usize),
}

impl<'a> Scanner<'a> {
    fn run(&mut self) {
        let bytes = self.json.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'{' | b'[' => self.begin(at, byte == b'{'),
                b'}' | b']' => self.end(at + 1),
                b',' => {
                    if let Some(frame) = self.stack.last_mut().filter(|_| self.passed_over == 0) {
                        frame.index += 1;
                    }
                }
                b'"' => {
                    let end = string_end(bytes, at);
                    self.string(at + 1, end);
                    at = end;
                }
                b't' | b'f' | b'n' | b'-' | b'0'..=b'9' => {
                    self.value(Shape::default(), "");
                    while bytes.get(at + 1).is_some_and(|byte| !b",]}".contains(byte)) {
                        at += 1;
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn begin(&mut self, start: usize, is_object: bool) {
        if self.passed_over > 0 || self.stack.len() == MAX_STACK {
            self.passed_over += 1;
            return;
        }
        self.stack.push(Frame {
            start,
            is_object,
            key: "",
            index: 0,
            shape: Shape::default(),
            has_spec: false,
            has_other_keys: false,
            is_other_kind: false,
        });
    }

    fn end(&mut self, end: usize) {
        if self.passed_over > 0 {
            self.passed_over -= 1;
            return self.value(Shape::default(), "");
        }
        let Some(frame) = self.stack.pop() else { return };
        let is_template = frame.has_spec && !frame.has_other_keys && !frame.is_other_kind;
        if is_template && (1..=MAX_DEPTH).contains(&self.stack.len()) && !self.is_about_the_object() {
            // Templates inside a template are part of it.
            while self.found.last().is_some_and(|inner| inner.range.start > frame.start) {
                self.found.pop();
            }
            if self.found.len() < MAX_TEMPLATES && self.pointer_bytes() <= MAX_POINTER {
                self.found.push(Place { path: self.path().collect(), range: frame.start..end });
            }
        }
        self.value(frame.shape, "");
    }

    /// Whether the current position is in the object's own `metadata` or `status`.
    fn is_about_the_object(&self) -> bool {
        self.stack.first().is_some_and(|root| ["metadata", "status"].contains(&root.key))
    }

    /// Handles a string: a key if a colon follows in an object, else a value.
    fn string(&mut self, start: usize, end: usize) {
        if self.passed_over > 0 {
            return;
        }
        let text = self.json.get(start..end).unwrap_or_default();
        let after = self.json.get(end + 1..).unwrap_or_default();
        let is_key = after.trim_ascii_start().starts_with(':');
        match self.stack.last_mut() {
            Some(frame) if frame.is_object && is_key => {
                frame.key = text;
                frame.has_other_keys |= !TEMPLATE_KEYS.contains(&text);
            }
            _ => self.value(Shape { is_text: true, ..Shape::default() }, text),
        }
    }

    /// Handles the end of a value: updates the shape of the enclosing object or array.
    fn value(&mut self, value: Shape, text: &str) {
        let Some(frame) = self.stack.last_mut().filter(|_| self.passed_over == 0) else { return };
        if frame.is_object {
            match frame.key {
                "containers" => frame.shape.is_spec = value.is_containers,
                "name" | "image" => frame.shape.is_container |= value.is_text,
                "spec" => frame.has_spec = value.is_spec,
                "kind" => frame.is_other_kind = text != "Pod",
                _ => {}
            }
        } else {
            let is_first = frame.index == 0;
            frame.shape.is_containers = value.is_container && (is_first || frame.shape.is_containers);
        }
    }

    /// The path to the value that comes next.
    fn path(&self) -> impl Iterator<Item = Step<'a>> {
        self.stack
            .iter()
            .map(|frame| if frame.is_object { Step::Key(frame.key) } else { Step::Index(frame.index) })
    }

    fn pointer_bytes(&self) -> usize {
        let bytes = self.path().map(|step| match step {
            Step::Key(key) => 1 + key.len(),
            // A slash and a few digits.
            Step::Index(_) => 4,
        });
        bytes.sum()
    }
}

/// The RFC 6901 pointer of a path.
fn pointer(path: &[Step<'_>]) -> String {
    let mut pointer = String::new();
    for step in path {
        pointer.push('/');
        match step {
            Step::Key(key) => {
                let key = serde_json::from_str::<String>(&format!("\"{key}\""));
                escape_pointer(&key.unwrap_or_default(), &mut pointer);
            }
            Step::Index(index) => pointer.push_str(&index.to_string()),
        }
    }
    #[cfg(any(test, feature = "count-work"))]
    crate::work::look(pointer.len());
    pointer
}

/// The index of the quote that ends a string.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(object: &Value, expected: &[&str]) {
        for text in [object.to_string(), serde_json::to_string_pretty(object).unwrap()] {
            let found = find_templates("example.com/v1", &text);
            let pointers: Vec<_> = found.iter().map(|template| template.pointer.as_str()).collect();
            assert_eq!(pointers, expected, "{text}");
            for FoundTemplate { pointer, json } in found {
                let template: Value = serde_json::from_str(json).unwrap();
                assert_eq!(Some(&template), object.pointer(&pointer));
            }
        }
    }

    fn template() -> Value {
        json!({"metadata": {"annotations": {"a\"b": "c\\"}}, "spec": {"containers": [{"image": "x", "name": "a"}]}})
    }

    #[test]
    fn templates_are_found_anywhere() {
        let bare = json!({"spec": {"x": [1, [2, -3.5e1], true, null], "containers": [{"name": "a"}, {"image": "b"}]}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": template()["spec"]});
        for (object, expected) in [
            (
                json!({"spec": {"jobTargetRef": {"template": template()}}}),
                vec!["/spec/jobTargetRef/template"],
            ),
            (
                json!({"spec": {"replicaSpecs": {"Worker": {"replicas": 2, "template": bare}, "a/b~": {"template": bare}}}}),
                vec!["/spec/replicaSpecs/Worker/template", "/spec/replicaSpecs/a~1b~0/template"],
            ),
            (
                json!({"spec": {"headGroupSpec": {"template": bare}, "workerGroupSpecs": [{}, {"template": bare}]}}),
                vec!["/spec/headGroupSpec/template", "/spec/workerGroupSpecs/1/template"],
            ),
            (
                json!({"spec": {"replicatedJobs": [{"template": {"spec": {"template": template()}}}]}}),
                vec!["/spec/replicatedJobs/0/template/spec/template"],
            ),
            (json!({"spec": {"manifests": ["x,{", pod]}}), vec!["/spec/manifests/1"]),
        ] {
            check(&object, &expected);
        }
    }

    #[test]
    fn text_that_looks_like_a_template_is_none() {
        let spec = template()["spec"].clone();
        for object in [
            // The object itself is not a template: `containers` of a `Prometheus` are patches for
            // its operator.
            json!({"kind": "Prometheus", "spec": spec}),
            json!({"metadata": {"x": template()}, "status": {"x": template()}}),
            json!({"spec": {"template": {"spec": {"containers": []}}}}),
            json!({"spec": {"template": {"spec": {"containers": {"type": "array"}}}}}),
            json!({"spec": {"template": {"spec": {"containers": ["a"]}}}}),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"env": []}]}}}}),
            json!({"spec": {"x": {"kind": "Prometheus", "spec": spec}}}),
            json!({"spec": {"x": {"replicas": 1, "spec": spec}}}),
            json!({"data": {"pod.json": template().to_string()}}),
            json!("containers"),
        ] {
            check(&object, &[]);
        }
        let schema = json!({"spec": {"template": template()}}).to_string();
        assert_eq!(find_templates("apiextensions.k8s.io/v1", &schema), []);
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let nested = |depth: usize| (0..depth).fold(template(), |inner, _| json!({"x": inner}));
        check(&nested(MAX_DEPTH), &["/x".repeat(MAX_DEPTH).as_str()]);
        check(&nested(MAX_DEPTH + 1), &[]);
        let mut deep_inside = template();
        deep_inside["spec"]["x"] =
            (0..100).fold(json!({"containers": []}), |inner, _| json!([inner, {"name": 1}]));
        check(&json!({"spec": {"template": deep_inside, "y": template()}}), &["/spec/template", "/spec/y"]);
        let many = json!({"spec": vec![template(); MAX_TEMPLATES + 1]}).to_string();
        assert_eq!(find_templates("example.com/v1", &many).len(), MAX_TEMPLATES);
    }

    #[test]
    fn below_a_long_key_nothing_is_a_template() {
        let key = |bytes: usize| "k".repeat(bytes);
        // Each of the two keys has a slash.
        let longest = key(MAX_POINTER - 2 - "spec".len());
        check(&json!({"spec": {longest.as_str(): template()}}), &[format!("/spec/{longest}").as_str()]);
        let longer = format!("{longest}k");
        check(
            &json!({"spec": {longer.as_str(): {"x": template()}, "x": template(), "y": {key(5_000): [template()]}}}),
            &["/spec/x"],
        );
    }

    #[test]
    fn a_template_inside_a_template_belongs_to_it() {
        let mut outer = template();
        outer["spec"]["nested"] = template();
        check(&json!({"spec": {"template": outer}}), &["/spec/template"]);
    }

    #[test]
    fn broken_text_does_no_harm() {
        let text = json!({"spec": {"template": template()}}).to_string();
        for end in 0..text.len() {
            assert!(find_templates("example.com/v1", &text[..end]).len() <= 1);
            let turned = format!("{}{}", &text[end..], &text[..end]);
            assert!(find_templates("example.com/v1", &turned).len() <= 1);
        }
    }
}
