//! The outcome for a pod, in the terms of a test case.

use std::collections::BTreeMap;

use anyhow::Context as _;
use scaivault_contract::{
    env, expand_env_value,
    names::{INIT_CONTAINER, SECRETS_VOLUME, SIDECAR_CONTAINER},
    parse_dynamic, parse_secrets, parse_variables,
};
use scaivault_inject::{
    Context, Decision, Explanation, PodView, PolicyEffect, PolicyUse, decide_with_policies, explain,
};
use scaivault_policy::Expectation;
use serde_json::{Map, Value, json};

use crate::apply::apply;

/// The name of the container that is added to a pod without one.
const CONTAINER: &str = "app";

/// What became of a pod.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    word: &'static str,
    secrets: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
    containers: Vec<String>,
    settings: BTreeMap<String, String>,
    problems: Vec<String>,
    warnings: Vec<String>,
    audit: Vec<String>,
    policies: BTreeMap<String, String>,
}

impl Outcome {
    /// Decides on a pod of a case.
    pub(super) fn of_pod(pod: &Map<String, Value>, context: &Context<'_>) -> anyhow::Result<Self> {
        let mut pod = completed(pod);
        let json = pod.to_string();
        let view = match PodView::parse(&json) {
            Ok(view) => view,
            Err(error) => {
                return Ok(Self { word: "denied", problems: vec![error.to_string()], ..Self::default() });
            }
        };
        let (decision, report) = decide_with_policies(&view, context);
        let mut outcome = Self {
            word: decision.outcome(),
            problems: problems(&decision),
            warnings: decision.warnings().to_vec(),
            settings: explain(&view, context).into_iter().map(setting).collect(),
            ..Self::default()
        };
        for PolicyUse { name, generation: _, effect, message } in report.uses {
            if effect == PolicyEffect::Audited {
                outcome.audit.extend(message);
            }
            outcome.policies.insert(name.to_string(), effect.name().to_owned());
        }
        if let Some(patch) = decision.patch() {
            apply(&mut pod, patch)?;
        }
        if matches!(decision, Decision::Inject(_)) {
            outcome.read_pod(&pod)?;
        }
        Ok(outcome)
    }

    /// Reads the agent's configuration in an injected pod, and which containers get the files.
    fn read_pod(&mut self, pod: &Value) -> anyhow::Result<()> {
        let containers = ["initContainers", "containers"]
            .into_iter()
            .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
        for container in containers {
            let name = container["name"].as_str().unwrap_or_default();
            let mount = container["volumeMounts"].as_array().into_iter().flatten();
            let mount =
                mount.filter(|mount| mount["name"] == SECRETS_VOLUME).find_map(|m| m["mountPath"].as_str());
            if [INIT_CONTAINER, SIDECAR_CONTAINER].contains(&name) {
                self.read_agent(container, mount.unwrap_or_default())?;
            } else if mount.is_some() {
                self.containers.push(name.to_owned());
            }
        }
        Ok(())
    }

    fn read_agent(&mut self, agent: &Value, mount_path: &str) -> anyhow::Result<()> {
        const DEFECT: &str = "the injector wrote a mapping that it cannot read";
        let file = |path: &str| {
            let relative = path.strip_prefix(mount_path).map(|rest| rest.trim_start_matches('/'));
            relative.unwrap_or(path).to_owned()
        };
        for variable in agent["env"].as_array().into_iter().flatten() {
            let value = expand_env_value(variable["value"].as_str().unwrap_or_default());
            match variable["name"].as_str().unwrap_or_default() {
                env::SECRETS | env::WATCH_PATHS => {
                    let mappings = parse_secrets(&value).context(DEFECT)?;
                    let mappings = mappings.into_iter();
                    let files = mappings.map(|m| (file(m.file.as_str()), m.source.to_string()));
                    self.secrets.extend(files);
                }
                env::DYNAMIC => {
                    let mappings = parse_dynamic(&value).context(DEFECT)?;
                    let files = mappings.into_iter().map(|m| (file(m.file.as_str()), m.dynamic.to_string()));
                    self.secrets.extend(files);
                }
                env::SECRET_ENV => {
                    let mappings = parse_variables(&value).context(DEFECT)?;
                    let variables =
                        mappings.into_iter().map(|m| (m.variable.to_string(), m.secret.to_string()));
                    self.variables.extend(variables);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The expected and the actual result, limited to what is expected: equal if the case has
    /// passed.
    pub(super) fn compare(self, expectation: &Expectation) -> [Value; 2] {
        let Self { word, secrets, variables, containers, settings, problems, warnings, audit, policies } =
            self;
        let Expectation {
            outcome: expected_outcome,
            secrets: expected_secrets,
            variables: expected_variables,
            containers: expected_containers,
            settings: expected_settings,
            problems: expected_problems,
            warnings: expected_warnings,
            audit: expected_audit,
            policies: expected_policies,
        } = expectation;
        let mut sides = Sides::default();
        // Without it, a rejected pod would only show that its files are missing.
        let is_surprising = !problems.is_empty() && expected_problems.is_none();
        if let Some(expected) = expected_outcome {
            sides.add("outcome", &expected.name(), &word);
        }
        if let Some(expected) = expected_secrets {
            sides.add("secrets", expected, &secrets);
        }
        if let Some(expected) = expected_variables {
            sides.add("variables", expected, &variables);
        }
        if let Some(expected) = expected_containers {
            sides.add("containers", expected, &containers);
        }
        if let Some(expected) = expected_settings {
            let asked: BTreeMap<_, _> =
                settings.into_iter().filter(|(key, _)| expected.contains_key(key)).collect();
            sides.add("settings", expected, &asked);
        }
        for (name, expected, actual) in [
            ("problems", expected_problems, &problems),
            ("warnings", expected_warnings, &warnings),
            ("audit", expected_audit, &audit),
        ] {
            if let Some(expected) = expected {
                sides.add(name, expected, &covered(expected.as_slice(), actual));
            }
        }
        if let Some(expected) = expected_policies {
            sides.add("policies", expected, &policies);
        }
        if is_surprising && sides.differ() {
            sides.add("problems", &Vec::<String>::new(), &problems);
        }
        [sides.expected.into(), sides.actual.into()]
    }
}

/// The two sides of a comparison.
#[derive(Default)]
struct Sides {
    expected: Map<String, Value>,
    actual: Map<String, Value>,
}

impl Sides {
    fn add<A: serde::Serialize, B: serde::Serialize>(&mut self, name: &str, expected: &A, actual: &B) {
        self.expected.insert(name.to_owned(), json!(expected));
        self.actual.insert(name.to_owned(), json!(actual));
    }

    fn differ(&self) -> bool {
        self.expected != self.actual
    }
}

/// The expected parts that occur in one of the texts, and the texts without any of them.
fn covered(expected: &[String], texts: &[String]) -> Vec<String> {
    let found = expected.iter().filter(|part| texts.iter().any(|text| text.contains(part.as_str())));
    let others = texts.iter().filter(|text| !expected.iter().any(|part| text.contains(part.as_str())));
    found.chain(others).cloned().collect()
}

/// The pod with a container added; only test cases may omit it.
fn completed(pod: &Map<String, Value>) -> Value {
    let mut pod = pod.clone();
    let spec = pod.entry("spec").or_insert_with(|| json!({}));
    if let Value::Object(spec) = spec {
        spec.entry("containers").or_insert_with(|| json!([{"name": CONTAINER, "image": CONTAINER}]));
    }
    Value::Object(pod)
}

fn problems(decision: &Decision) -> Vec<String> {
    let problems = match decision {
        Decision::Deny(denial) => &denial.problems,
        Decision::Skip(skip) => &skip.problems,
        Decision::Inject(_) | Decision::Detach(_) => return Vec::new(),
    };
    problems.iter().map(ToString::to_string).collect()
}

fn setting(explanation: Explanation) -> (String, String) {
    let Explanation { key, value, layer: _ } = explanation;
    (key, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn parts_cover_whole_texts_and_others_are_shown() {
        let actual = texts(&["path a/b is not allowed", "another"]);
        assert_eq!(covered(&texts(&["a/b", "another"]), &actual), texts(&["a/b", "another"]));
        assert_eq!(covered(&texts(&["a/b"]), &actual), texts(&["a/b", "another"]));
        assert_eq!(covered(&texts(&["c"]), &actual), actual);
        assert_eq!(covered(&[], &[]), texts(&[]));
    }

    #[test]
    fn a_pod_without_containers_gets_one() {
        let pod = json!({"metadata": {"labels": {"a": "b"}}});
        let pod = completed(pod.as_object().unwrap());
        assert_eq!(pod["spec"]["containers"][0]["name"], "app");
        let own = json!({"spec": {"containers": [{"name": "own"}]}});
        assert_eq!(completed(own.as_object().unwrap()), own);
    }
}
