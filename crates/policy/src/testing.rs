//! The file format of `scaivault-injector policy test`: cases for policies.

use std::{collections::BTreeMap, sync::LazyLock};

use kube_core::schema::{OptionalEnum, StructuralSchemaRewriter};
use schemars::{JsonSchema, generate::SchemaSettings, transform::AddNullable};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Date, PolicyProblems, VERSION, definition::forbid_null, rules::check_text_field, schema};

/// `kind` of a file with cases. The API server does not know it.
pub const TEST_KIND: &str = "InjectionPolicyTest";

/// Cases for policies.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTest {
    /// Files and directories with the policies, beside those in the file itself. Relative to the file.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The namespaces that the cases use.
    #[serde(default)]
    pub namespaces: Vec<TestNamespace>,
    /// The oldest Kubernetes of the cluster, in quotes, such as `"1.36"`. Default: that of the command line.
    #[serde(default)]
    pub kube_version: Option<String>,
    /// The cases. Each is looked at by itself.
    #[schemars(length(min = 1))]
    pub cases: Vec<Case>,
}

/// A namespace. Its label `kubernetes.io/metadata.name` is added.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestNamespace {
    /// The name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The labels, which policies select by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The annotations, which are defaults of its pods.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A pod, and what becomes of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// What the case shows.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The day, on which exceptions depend. Default: today.
    #[serde(default)]
    pub date: Option<Date>,
    /// The name of the pod's namespace. One that is not among `namespaces` has no other labels than its name.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The annotation `scaikey.scailabs.ai/role` of the pod's service account.
    #[serde(default)]
    pub service_account_role: Option<String>,
    /// The pod: `metadata` and `spec`. Without containers it gets one that is called `app`.
    #[serde(default)]
    pub pod: Map<String, Value>,
    /// What becomes of it. What is left out is not compared.
    #[schemars(extend("minProperties" = 1))]
    pub expect: Expectation,
}

/// What becomes of a pod.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    /// The outcome.
    #[serde(default)]
    pub outcome: Option<ExpectedOutcome>,
    /// All files, by their path below the mount path, with what they are written from.
    #[serde(default)]
    pub secrets: Option<BTreeMap<String, String>>,
    /// All variables, with the field that they hold.
    #[serde(default)]
    pub variables: Option<BTreeMap<String, String>>,
    /// The containers that get the files.
    #[serde(default)]
    pub containers: Option<Vec<String>>,
    /// Settings by annotation key, as `check --explain` shows them. Others are not compared.
    #[serde(default)]
    pub settings: Option<BTreeMap<String, String>>,
    /// A part of the text of each problem. Every problem is covered by one.
    #[serde(default)]
    pub problems: Option<Vec<String>>,
    /// A part of the text of each warning. Every warning is covered by one.
    #[serde(default)]
    pub warnings: Option<Vec<String>>,
    /// A part of each text in which a policy with `enforcement: audit` says what it would have done.
    #[serde(default)]
    pub audit: Option<Vec<String>>,
    /// What each policy that selects the pod did: `selected`, `injected`, `warned`, `refused` or `audited`.
    #[serde(default)]
    pub policies: Option<BTreeMap<String, String>>,
}

/// An outcome, as reports and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExpectedOutcome {
    /// The pod is injected.
    Injected,
    /// The pod is refused.
    Denied,
    /// The pod is left as it is.
    Skipped,
    /// What was injected is removed.
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
    /// Reads an object of the kind [`TEST_KIND`]. Returns everything that is wrong with it, by field.
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
        if !problems.is_empty() {
            return Err(problems);
        }
        serde_json::from_value(fields).map_err(|error| {
            problems.add("cases", error.to_string());
            problems
        })
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
            "apiVersion: expected scaivault.scailabs.ai/v1alpha1",
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
    fn a_case_needs_little() {
        let object = json!({"apiVersion": VERSION, "kind": TEST_KIND,
            "cases": [{"name": "one", "expect": {"outcome": "skipped"}}]});
        let test = PolicyTest::read(&object).unwrap();
        assert_eq!(test.cases[0].expect.outcome, Some(ExpectedOutcome::Skipped));
    }
}
