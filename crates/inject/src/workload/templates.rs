//! Validates objects of unknown kinds: every pod template that is found in one.

use std::{borrow::Cow, collections::BTreeMap};

use scaivault_contract::names::ANNOTATION_PREFIX;
use serde::Deserialize;

use super::{Validation, ValidationReason, view::Metadata};
use crate::{
    Context, Decision, Excerpt, Patch, PodView, Problems, SkipReason,
    manifest::{FoundTemplate, find_templates},
    pod::object,
    problem::{Code, shown_key},
};

/// Maximum number of keys that a warning names.
const KEYS_SHOWN: usize = 4;

/// Maximum number of annotated templates that are validated. Each may cost as much as a pod.
const MAX_ANNOTATED: usize = 8;
/// Number of problems after which no further template is validated. Each may cost a suggestion.
const PROBLEMS_SOUGHT: usize = 8;
/// Number of additions to all pods after which no further template is validated. A variable is
/// written once and added to many containers.
const MAX_ADDITIONS: usize = 1_000;

/// Maximum length in bytes of a pointer that is shown in full.
const PLACE_BYTES: usize = 128;

/// The previous state of an object.
#[derive(Clone, Copy, Debug)]
pub enum FormerObject<'a> {
    /// There is none: the request creates the object.
    Nothing,
    /// The JSON of the previous object.
    Object(&'a str),
    /// The request does not contain it.
    Unknown,
}

/// Validates the pod templates that are found in an object. As for a workload, only problems that
/// the request introduces lead to a rejection.
pub fn validate_object(
    api_version: &str,
    json: &str,
    templates: &[FoundTemplate<'_>],
    former: FormerObject<'_>,
    context: &Context<'_>,
) -> Validation {
    let own = Own::read(json);
    if own.metadata.deletion_timestamp.is_some() {
        return ValidationReason::Deleting.into();
    }
    let before = match former {
        FormerObject::Object(json) => find_templates(api_version, json),
        FormerObject::Nothing | FormerObject::Unknown => Vec::new(),
    };
    let mut before: BTreeMap<&str, &str> =
        before.iter().map(|template| (template.pointer.as_str(), template.json)).collect();
    let mut found = TemplateResults { warnings: own.warnings(), ..TemplateResults::default() };
    let mut annotated = 0;
    for template in templates {
        let place = shown_place(&template.pointer);
        let pod = match PodView::parse(template.json) {
            Ok(pod) => pod,
            Err(error) => {
                // The object's controller may complete it.
                found.warnings.push(format!("not checked: {place}: {error}"));
                continue;
            }
        };
        annotated += usize::from(pod.is_annotated());
        if pod.is_annotated() && (annotated > MAX_ANNOTATED || found.is_full()) {
            found.warnings.push(format!(
                "not checked: {place} and what follows: an object is checked up to {PROBLEMS_SOUGHT} problems, \
                 {MAX_ANNOTATED} pod templates with annotations of the injector, and {MAX_ADDITIONS} additions to them"
            ));
            break;
        }
        let brings = match former {
            FormerObject::Nothing => true,
            FormerObject::Unknown => false,
            // Removed from the map, so that each is parsed only once even if a key is repeated.
            FormerObject::Object(_) => {
                before.remove(template.pointer.as_str()).is_none_or(|former| is_changed(&pod, former))
            }
        };
        found.add(&pod, if templates.len() == 1 { "" } else { &place }, brings, context);
    }
    found.into()
}

/// Whether the injector's annotations of a template have changed.
fn is_changed(pod: &PodView<'_>, former: &str) -> bool {
    PodView::parse(former).map_or(true, |former| !pod.annotations().eq(former.annotations()))
}

/// A pointer in a form that is safe to show: unchanged if it is short and plain, else quoted and
/// truncated.
fn shown_place(pointer: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    if pointer.len() <= PLACE_BYTES && pointer.bytes().all(plain) {
        Cow::Borrowed(pointer)
    } else {
        Cow::Owned(Excerpt::new(pointer).to_string())
    }
}

/// The combined result for all templates of an object.
#[derive(Default)]
struct TemplateResults {
    refused: Problems,
    allowed: Problems,
    unchanged: Problems,
    warnings: Vec<String>,
    /// The number of additions to all pods.
    additions: usize,
}

impl TemplateResults {
    /// Whether no further template is to be validated.
    fn is_full(&self) -> bool {
        let problems = self.refused.len() + self.allowed.len() + self.unchanged.len();
        problems >= PROBLEMS_SOUGHT || self.additions >= MAX_ADDITIONS
    }

    /// Adds the decision on a template. `place` distinguishes it from the object's other templates.
    fn add(&mut self, pod: &PodView<'_>, place: &str, brings: bool, context: &Context<'_>) {
        let decision = crate::decide(pod, context);
        let warnings = decision.warnings().iter().map(|warning| match place {
            "" => warning.clone(),
            place => format!("{place}: {warning}"),
        });
        self.warnings.extend(warnings);
        self.additions += decision.patch().map_or(0, Patch::entries);
        let (target, problems) = match decision {
            Decision::Deny(denial) if brings && !denial.problems.are_all(Code::VariableWithoutValue) => {
                (&mut self.refused, denial.problems)
            }
            Decision::Deny(denial) => (&mut self.unchanged, denial.problems),
            Decision::Skip(skip) if skip.reason == SkipReason::Problems => (&mut self.allowed, skip.problems),
            _ => return,
        };
        for problem in &problems {
            target.push_with(|| {
                let mut problem = problem.clone();
                if !place.is_empty() {
                    problem.message = format!("{} (pod template {place})", problem.message).into();
                }
                problem
            });
        }
    }
}

impl From<TemplateResults> for Validation {
    fn from(found: TemplateResults) -> Self {
        let TemplateResults { refused, allowed, unchanged, mut warnings, additions: _ } = found;
        let (reason, problems, others) = if !refused.is_empty() {
            (ValidationReason::Problems, refused, [unchanged, allowed])
        } else if !allowed.is_empty() {
            (ValidationReason::ProblemsAllowed, allowed, [unchanged, Problems::new()])
        } else if !unchanged.is_empty() {
            warnings.extend(unchanged.iter().map(ToString::to_string));
            (ValidationReason::ProblemsUnchanged, unchanged, [Problems::new(), Problems::new()])
        } else {
            return Self { warnings, ..ValidationReason::Valid.into() };
        };
        warnings.extend(others.iter().flat_map(Problems::iter).map(ToString::to_string));
        Self { reason, problems, warnings }
    }
}

/// The object's own metadata.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Own<'a> {
    #[serde(borrow, deserialize_with = "object")]
    metadata: Metadata<'a>,
}

impl<'a> Own<'a> {
    /// Defaults if it cannot be parsed, because it is not what is validated.
    fn read(json: &'a str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    fn warnings(&self) -> Vec<String> {
        let own = &self.metadata.annotations.injector;
        let name = |key: &str| shown_key(key.strip_prefix(ANNOTATION_PREFIX).unwrap_or(key)).into_owned();
        let shown: Vec<_> = own.iter().take(KEYS_SHOWN).map(|(key, _)| name(key)).collect();
        if shown.is_empty() {
            return Vec::new();
        }
        let more = match own.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        vec![format!(
            "{}{more} has no effect in the object's own metadata: write it in the annotations of \
             the pod template",
            shown.join(", ")
        )]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{KubeVersion, Namespace, Settings};

    const TEMPLATE: &str = "/spec/jobTargetRef/template";

    fn object(own: &Value, templates: &[Value]) -> String {
        let template = |annotations: &Value| json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app", "image": "x"}]}});
        let mut spec: Value = templates
            .iter()
            .skip(1)
            .enumerate()
            .map(|(index, t)| (format!("t{index}"), template(t)))
            .collect();
        spec["jobTargetRef"] = json!({"template": template(&templates[0])});
        json!({"metadata": own, "spec": spec}).to_string()
    }

    fn key(name: &str) -> String {
        format!("{ANNOTATION_PREFIX}{name}")
    }

    fn good() -> Value {
        json!({"scaivault.scailabs.ai/inject-secret-a": "a/b"})
    }

    fn bad() -> Value {
        json!({"scaivault.scailabs.ai/inject-secret-a": "a/b", "scaivault.scailabs.ai/refresh-interval": "soon"})
    }

    fn check(object: &str, former: FormerObject<'_>) -> Option<Validation> {
        let (settings, namespace) = (Settings::default(), Namespace::default());
        let context = Context::new(&settings, &namespace, KubeVersion::FILE_KEY_REF);
        let templates = find_templates("keda.sh/v1alpha1", object);
        let check = || validate_object("keda.sh/v1alpha1", object, &templates, former, &context);
        (!templates.is_empty()).then(check)
    }

    #[test]
    fn problems_of_the_request_itself_are_refused() {
        let (was_good, is_bad) = (object(&json!({}), &[good()]), object(&json!({}), &[bad()]));
        for (former, reason) in [
            (FormerObject::Nothing, ValidationReason::Problems),
            (FormerObject::Object(&was_good), ValidationReason::Problems),
            (FormerObject::Object("{}"), ValidationReason::Problems),
            (FormerObject::Object(&is_bad), ValidationReason::ProblemsUnchanged),
            (FormerObject::Unknown, ValidationReason::ProblemsUnchanged),
        ] {
            let validation = check(&is_bad, former).unwrap();
            assert_eq!(validation.reason, reason, "{former:?}");
            let problems = validation.problems.to_string();
            assert!(problems.contains("refresh-interval") && !problems.contains(TEMPLATE), "{problems}");
        }
        assert_eq!(check(&was_good, FormerObject::Nothing).unwrap().reason, ValidationReason::Valid);
        assert_eq!(check(r#"{"spec":{"containers":[]}}"#, FormerObject::Nothing), None);
    }

    #[test]
    fn each_of_several_templates_is_checked_and_named() {
        let both = object(&json!({}), &[good(), bad()]);
        let validation = check(&both, FormerObject::Nothing).unwrap();
        let problems = validation.problems.to_string();
        assert!(problems.contains("(pod template /spec/t0)"), "{problems}");
        // The other template has the same problems as before.
        let changed = object(&json!({}), &[bad(), bad()]);
        let validation = check(&changed, FormerObject::Object(&both)).unwrap();
        assert_eq!((validation.reason, validation.problems.iter().count()), (ValidationReason::Problems, 1));
        assert!(validation.warnings.iter().any(|warning| warning.contains("/spec/t0")), "{validation:?}");
    }

    #[test]
    fn so_many_annotated_templates_are_checked() {
        let with = |first: usize| {
            let mut all = vec![json!({}); 30];
            all.extend(vec![good(); first]);
            all.push(bad());
            object(&json!({}), &all)
        };
        let validation = check(&with(MAX_ANNOTATED - 1), FormerObject::Nothing).unwrap();
        assert_eq!(validation.reason, ValidationReason::Problems, "those without annotations are free");
        let validation = check(&with(MAX_ANNOTATED), FormerObject::Nothing).unwrap();
        assert_eq!(validation.reason, ValidationReason::Valid);
        assert!(validation.warnings[0].contains("not checked: /spec/t"), "{validation:?}");
    }

    #[test]
    fn no_template_is_checked_after_eight_problems() {
        let mut bad = good();
        bad["scaivault.scailabs.ai/containers"] = "b,c,d,e,f,g,h,i".into();
        let validation = check(&object(&json!({}), &[bad.clone(), bad]), FormerObject::Nothing).unwrap();
        assert_eq!(validation.problems.len(), PROBLEMS_SOUGHT, "{}", validation.problems);
        assert!(validation.warnings.iter().any(|warning| warning.contains("not checked: /spec/")));
    }

    #[test]
    fn no_template_is_checked_after_many_additions() {
        let variables: Value = (0..25).map(|n| (key(&format!("inject-env-V{n}")), json!("a/b#c"))).collect();
        let containers: Vec<_> = (0..MAX_ADDITIONS / 25).map(|n| json!({"name": format!("c{n}")})).collect();
        let large = json!({"metadata": {"annotations": variables}, "spec": {"containers": containers}});
        let small = json!({"metadata": {"annotations": bad()}, "spec": {"containers": [{"name": "a"}]}});
        let reason = |object: Value| {
            let validation = check(&object.to_string(), FormerObject::Nothing).unwrap();
            (validation.reason, validation.warnings.iter().any(|text| text.contains("not checked: /spec/b")))
        };
        assert_eq!(reason(json!({"spec": {"a": large, "b": small}})), (ValidationReason::Valid, true));
        assert_eq!(reason(json!({"spec": {"a": small, "b": large}})), (ValidationReason::Problems, false));
    }

    #[test]
    fn a_long_pointer_is_cut_in_texts() {
        let (long, odd) = ("k".repeat(500), "a\nb");
        let template =
            |keys| json!({"metadata": {"annotations": keys}, "spec": {"containers": [{"name": "a"}]}});
        let object = json!({"spec": {long.as_str(): template(bad()), odd: template(bad())}}).to_string();
        let problems = check(&object, FormerObject::Nothing).unwrap().problems.to_string();
        assert!(problems.contains("kkk…\")") && !problems.contains(&"k".repeat(41)), "{problems}");
        assert!(problems.contains("(pod template \"/spec/a\\nb\")"), "{problems}");
    }

    #[test]
    fn a_label_that_a_controller_may_set_is_a_warning() {
        let with = |path: &str| json!({"scaivault.scailabs.ai/inject-secret-a": path});
        let absent = object(&json!({}), &[with("pods/${label:apps.kubernetes.io/pod-index}")]);
        let validation = check(&absent, FormerObject::Nothing).unwrap();
        assert_eq!(validation.reason, ValidationReason::ProblemsUnchanged);
        assert!(validation.warnings[0].contains("the pod has no label"), "{validation:?}");
        let unknown = object(&json!({}), &[with("pods/${lable:x}")]);
        assert_eq!(check(&unknown, FormerObject::Nothing).unwrap().reason, ValidationReason::Problems);
    }

    #[test]
    fn own_metadata_is_checked() {
        let validation =
            check(&object(&json!({"annotations": good()}), &[good()]), FormerObject::Nothing).unwrap();
        assert_eq!(validation.reason, ValidationReason::Valid);
        assert!(validation.warnings[0].contains("has no effect"), "{validation:?}");
        let deleting = object(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), &[bad()]);
        assert_eq!(check(&deleting, FormerObject::Nothing).unwrap().reason, ValidationReason::Deleting);
    }
}
