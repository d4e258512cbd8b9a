//! The report as JSON. The field names are a stable interface for scripts.

use std::{borrow::Cow, collections::BTreeMap};

use scaivault_inject::Code;
use serde::Serialize;

use super::{Entry, Report, Unreadable};
use crate::{
    csi::{Finding, Severity},
    evaluate::{ObjectResult, Outcome},
};

/// The report as indented JSON with a final line break.
pub(super) fn render(report: &Report) -> Result<String, serde_json::Error> {
    let Report { entries, errors } = report;
    let mut json = serde_json::to_string_pretty(&JsonReport {
        objects: entries.iter().map(JsonEntry::from).collect(),
        errors: errors.iter().map(JsonError::from).collect(),
        summary: report.counts(),
    })?;
    json.push('\n');
    Ok(json)
}

#[derive(Serialize)]
struct JsonReport<'a> {
    objects: Vec<JsonEntry<'a>>,
    errors: Vec<JsonError<'a>>,
    summary: BTreeMap<&'static str, usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonEntry<'a> {
    file: &'a str,
    line: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    pointer: &'a str,
    /// The pointer to the pod template in an object of an unknown kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'a str>,
    #[serde(flatten)]
    object: Option<JsonObject<'a>>,
    outcome: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    problems: Vec<JsonProblem<'a>>,
    warnings: Vec<Cow<'a, str>>,
    /// Notes that depend on objects that are not in the manifests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonObject<'a> {
    api_version: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    settings: Vec<JsonSetting<'a>>,
    /// The policies that select the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<JsonPolicy<'a>>,
}

#[derive(Serialize)]
struct JsonPolicy<'a> {
    name: &'a str,
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonProblem<'a> {
    code: &'static str,
    key: Option<Cow<'a, str>>,
    layer: String,
    /// The line of the file, if the problem is about one field.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// The complete message, with value, allowed values and fix.
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonSetting<'a> {
    key: &'a str,
    value: &'a str,
    layer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonError<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

impl<'a> From<&'a Entry> for JsonEntry<'a> {
    fn from(entry: &'a Entry) -> Self {
        let outcome = entry.outcome();
        Self {
            file: &entry.file,
            line: entry.line,
            pointer: &entry.result.pointer,
            template: entry.result.template.as_deref(),
            object: (entry.result.outcome != Outcome::NoObject).then(|| JsonObject::from(&entry.result)),
            outcome: outcome.word,
            reason: outcome.reason,
            note: outcome.note,
            problems: outcome
                .problems
                .into_iter()
                .map(|problem| JsonProblem {
                    code: problem.code.name(),
                    key: problem.key.as_deref().map(Cow::Borrowed),
                    layer: problem.layer.to_string(),
                    line: None,
                    text: problem.to_string(),
                    fix: Some(&problem.fix),
                })
                .chain(outcome.policy_problems.into_iter().map(|problem| JsonProblem {
                    code: Code::InvalidPolicy.name(),
                    key: Some(problem.field.as_str().into()),
                    layer: "policy".to_owned(),
                    line: None,
                    text: problem.to_string(),
                    fix: None,
                }))
                .chain(entry.result.csi_findings(Severity::Problem).map(JsonProblem::from))
                .collect(),
            warnings: outcome
                .warnings
                .into_iter()
                .map(Cow::Borrowed)
                .chain(entry.result.csi_findings(Severity::Warning).map(|finding| finding.to_string().into()))
                .collect(),
            notes: entry.result.csi_findings(Severity::Note).map(ToString::to_string).collect(),
            diff: entry.diff.as_deref(),
        }
    }
}

impl<'a> From<&'a Finding> for JsonProblem<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            code: finding.code.name(),
            key: Some(finding.field().into()),
            layer: "manifest".to_owned(),
            line: finding.line,
            text: finding.to_string(),
            fix: Some(finding.fix.as_ref()).filter(|fix| !fix.is_empty()),
        }
    }
}

impl<'a> From<&'a ObjectResult> for JsonObject<'a> {
    fn from(result: &'a ObjectResult) -> Self {
        let ObjectResult {
            pointer: _,
            template: _,
            api_version,
            kind,
            namespace,
            name,
            outcome: _,
            is_detach_requested: _,
            warnings: _,
            settings,
            policies,
            with_policies: _,
            csi: _,
        } = result;
        Self {
            api_version,
            kind,
            namespace,
            name,
            secrets: result.secrets(),
            settings: settings
                .iter()
                .map(|setting| JsonSetting {
                    key: &setting.key,
                    value: &setting.value,
                    layer: &setting.layer,
                    rule: setting.rule.as_deref(),
                })
                .collect(),
            policies: policies
                .iter()
                .map(|found| JsonPolicy {
                    name: &found.name,
                    effect: found.effect.name(),
                    message: found.message.as_deref(),
                })
                .collect(),
        }
    }
}

impl<'a> From<&'a Unreadable> for JsonError<'a> {
    fn from(error: &'a Unreadable) -> Self {
        let Unreadable { file, place, message, hint } = error;
        Self {
            file,
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            message,
            hint: *hint,
        }
    }
}
