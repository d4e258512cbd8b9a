//! The file format of `scaivault-injector policy test`: cases for policies.

use std::{collections::BTreeMap, sync::LazyLock};

use kube_core::schema::{OptionalEnum, StructuralSchemaRewriter};
use scaivault_contract::Excerpt;
use scaivault_inject::annotations::{Key, nearest, specs};
use schemars::{JsonSchema, generate::SchemaSettings, transform::AddNullable};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Date, PolicyProblems, VERSION,
    definition::forbid_null,
    rules::check_text_field,
    schema::{self, entry},
};

/// The `kind` of a file with test cases. The API server does not know it.
pub const TEST_KIND: &str = "InjectionPolicyTest";

/// Test cases for policies.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTest {
    /// Files and directories with policies, relative to this file. Policies in this file are
    /// included.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The namespaces that the cases use.
    #[serde(default)]
    #[schemars(length(max = 128), extend("x-kubernetes-list-map-keys" = ["name"]))]
    pub namespaces: Vec<TestNamespace>,
    /// The oldest Kubernetes version of the cluster, in quotes, such as `"1.36"`. Default: that of
    /// the command line.
    #[serde(default)]
    pub kube_version: Option<String>,
    /// The cases. They are independent of each other.
    #[schemars(length(min = 1, max = 128))]
    pub cases: Vec<Case>,
}

/// A namespace. Its label `kubernetes.io/metadata.name` is added.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestNamespace {
    /// The name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The labels, for policies' selectors.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The annotations, which are defaults for its pods.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A pod and the expected result.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// A description of the case.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The current date, for exceptions. Default: today.
    #[serde(default)]
    pub date: Option<Date>,
    /// The pod's namespace. If it is not in `namespaces`, its only label is its name.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The annotation `scaikey.scailabs.ai/role` of the pod's service account.
    #[serde(default)]
    pub service_account_role: Option<String>,
    /// The pod: `metadata` and `spec`. Without containers it gets one with the name `app`.
    #[serde(default)]
    #[schemars(with = "PodFields")]
    pub pod: Map<String, Value>,
    /// The expected result. Fields that are not set are not compared.
    #[schemars(extend("minProperties" = 1))]
    pub expect: Expectation,
}

/// The fields of a pod where an undetected mistake would change which policies select it.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct PodFields {
    #[schemars(extend("enum" = ["v1"]))]
    api_version: Option<String>,
    #[schemars(extend("enum" = ["Pod"]))]
    kind: Option<String>,
    metadata: Option<PodMetadata>,
    spec: Option<Map<String, Value>>,
    status: Option<Map<String, Value>>,
}

/// The metadata of a pod, including fields that `kubectl get pod -o yaml` prints.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct PodMetadata {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<Map<String, Value>>>,
    finalizers: Option<Vec<String>>,
    creation_timestamp: Option<String>,
    generation: Option<i64>,
    resource_version: Option<String>,
    uid: Option<String>,
}

/// The expected result for a pod.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    /// The outcome.
    #[serde(default)]
    pub outcome: Option<ExpectedOutcome>,
    /// All files, by path relative to the mount path, with their source.
    #[serde(default)]
    pub secrets: Option<BTreeMap<String, String>>,
    /// All variables, with their field.
    #[serde(default)]
    pub variables: Option<BTreeMap<String, String>>,
    /// The containers that get the files.
    #[serde(default)]
    pub containers: Option<Vec<String>>,
    /// Settings by annotation key, as in `check --explain`. Others are not compared.
    #[serde(default)]
    pub settings: Option<BTreeMap<String, String>>,
    /// A part of each problem's text. Every problem must match one.
    #[serde(default)]
    pub problems: Option<Vec<String>>,
    /// A part of each warning's text. Every warning must match one.
    #[serde(default)]
    pub warnings: Option<Vec<String>>,
    /// A part of each text in which a policy with `enforcement: audit` reports what it would have
    /// done.
    #[serde(default)]
    pub audit: Option<Vec<String>>,
    /// The effect of each policy that selects the pod.
    #[serde(default)]
    pub policies: Option<BTreeMap<String, ExpectedEffect>>,
}

/// The effect of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectedEffect {
    /// It selects the pod without any other effect.
    Selected,
    /// It added secrets to the pod.
    Injected,
    /// It warned.
    Warned,
    /// It refused the pod.
    Refused,
    /// It is under `audit` and would have had an effect.
    Audited,
}

/// An outcome, with its name in reports and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectedOutcome {
    /// The pod is injected.
    Injected,
    /// The pod is refused.
    Denied,
    /// The pod stays unchanged.
    Skipped,
    /// An injection is removed.
    Detached,
}

impl ExpectedOutcome {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Denied => "denied",
            Self::Skipped => "skipped",
            Self::Detached => "detached",
        }
    }
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let settings = settings
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum);
    let mut schema = settings.into_generator().into_root_schema_for::<PolicyTest>().to_value();
    forbid_null(&mut schema);
    schema
});

impl PolicyTest {
    /// Parses an object of the kind [`TEST_KIND`]. Returns all of its problems, by field.
    pub fn read(object: &Value) -> Result<Self, PolicyProblems> {
        let mut problems = PolicyProblems::new();
        check_text_field(object, "apiVersion", VERSION, &mut problems);
        let mut fields = object.clone();
        if let Value::Object(fields) = &mut fields {
            for outer in ["apiVersion", "kind", "metadata"] {
                fields.remove(outer);
            }
        }
        schema::check(&SCHEMA, &fields, "", &mut problems);
        check_namespaces(&fields, &mut problems);
        check_settings(&fields, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        serde_json::from_value(fields).map_err(|error| {
            problems.add("cases", error.to_string());
            problems
        })
    }
}

/// A pod is evaluated in the namespace of its case, so it must not name another one.
fn check_namespaces(fields: &Value, problems: &mut PolicyProblems) {
    for (index, case) in fields["cases"].as_array().into_iter().flatten().enumerate() {
        let namespace = case["namespace"].as_str().unwrap_or_default();
        let of_pod = case["pod"]["metadata"]["namespace"].as_str().unwrap_or(namespace);
        if of_pod != namespace {
            problems.add(
                format!("cases[{index}].pod.metadata.namespace"),
                format!(
                    "{} is not the namespace of the case; write it as the case's namespace",
                    Excerpt::new(of_pod)
                ),
            );
        }
    }
}

/// Settings are named by annotation keys without the prefix.
fn check_settings(fields: &Value, problems: &mut PolicyProblems) {
    let is_key = |name: &str| {
        specs().any(|spec| match spec.key {
            Key::Exact(exact) => exact.text() == name,
            Key::Named(named) => name.starts_with(named.text()),
        })
    };
    for (index, case) in fields["cases"].as_array().into_iter().flatten().enumerate() {
        let settings = case["expect"]["settings"].as_object();
        for name in settings.into_iter().flat_map(Map::keys).filter(|name| !is_key(name)) {
            let meant = nearest(name, specs().map(|spec| spec.key.text()));
            let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
            problems.add(
                entry(&format!("cases[{index}].expect.settings"), name),
                format!("unknown setting{meant}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_mistakes_of_a_file_are_named() {
        let object = json!({
            "apiVersion": "v1",
            "kind": TEST_KIND,
            "cases": [
                {"name": "one", "expected": {}, "expect": {}},
                {"name": "two", "date": "tomorrow", "expect": {"outcome": "inject", "secrets": {"db": 1}}},
            ],
        });
        let problems = PolicyTest::read(&object).unwrap_err();
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "apiVersion: expected scaivault.scailabs.ai/v1alpha1, found \"v1\"",
            "cases[0].expected: unknown field; did you mean expect?",
            "cases[0].expect: must have at least 1 of",
            r#"cases[1].date: "tomorrow" is no date: expected a date such as 2027-01-31"#,
            r#"cases[1].expect.outcome: "inject" is not one of injected, denied, skipped, detached; did you mean injected?"#,
            "cases[1].expect.secrets[db]: expected a string, found the number 1; put it in quotes",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}\n{expected}");
        }
    }

    #[test]
    fn a_mistake_in_a_pod_is_named() {
        let object = json!({
            "apiVersion": VERSION,
            "kind": TEST_KIND,
            "namespaces": [{"name": "shop"}, {"name": "shop", "labels": {"team": "x"}}],
            "cases": [
                {"name": "one", "pod": {"metdata": {}}, "expect": {"outcome": "skipped"}},
                {"name": "two", "pod": {"labels": {"app": "x"}}, "expect": {"outcome": "skipped"}},
                {"name": "three", "pod": {"kind": "Deployment"}, "expect": {"outcome": "skipped"}},
                {"name": "four", "pod": {"metadata": {"label": {}}}, "expect": {"outcome": "skipped"}},
                {"name": "five", "pod": {"metadata": {"labels": {"app": 5}}}, "expect": {"outcome": "skipped"}},
                {
                    "name": "six",
                    "namespace": "shop",
                    "pod": {"metadata": {"namespace": "billing"}},
                    "expect": {"policies": {"limits": "refuse"}},
                },
            ],
        });
        let problems = PolicyTest::read(&object).unwrap_err();
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "cases[0].pod.metdata: unknown field; did you mean metadata?",
            "cases[1].pod.labels: unknown field; allowed: apiVersion, kind, metadata, spec, status",
            "cases[2].pod.kind: \"Deployment\" is not one of Pod",
            "cases[3].pod.metadata.label: unknown field; did you mean labels?",
            "cases[4].pod.metadata.labels[app]: expected a string, found the number 5; put it in quotes",
            "cases[5].expect.policies[limits]: \"refuse\" is not one of selected, injected, warned, refused, audited; did you mean refused?",
            "namespaces[1]: duplicate name \"shop\"; give each item a name of its own",
            "cases[5].pod.metadata.namespace: \"billing\" is not the namespace of the case; write it as the case's namespace",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn a_pod_may_be_written_as_the_cluster_has_it() {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "x"}, "uid": "1"},
            "spec": {"containers": [{"name": "app", "image": "x"}], "nodeName": "n"},
            "status": {"phase": "Running"},
        });
        let object = json!({"apiVersion": VERSION, "kind": TEST_KIND, "cases": [
            {"name": "one", "namespace": "shop", "pod": pod, "expect": {"outcome": "skipped"}},
        ]});
        assert!(PolicyTest::read(&object).is_ok());
    }

    #[test]
    fn a_setting_that_does_not_exist_is_named() {
        let settings = json!({"rol": "a", "role": "a", "inject-secret-x": "a"});
        let object = json!({"apiVersion": VERSION, "kind": TEST_KIND,
            "cases": [{"name": "one", "expect": {"settings": settings}}]});
        let problems = PolicyTest::read(&object).unwrap_err().to_string();
        assert_eq!(problems, "cases[0].expect.settings[rol]: unknown setting; did you mean role?");
    }

    #[test]
    fn a_case_needs_little() {
        let object = json!({"apiVersion": VERSION, "kind": TEST_KIND,
            "cases": [{"name": "one", "expect": {"outcome": "skipped"}}]});
        let test = PolicyTest::read(&object).unwrap();
        assert_eq!(test.cases[0].expect.outcome, Some(ExpectedOutcome::Skipped));
    }
}
