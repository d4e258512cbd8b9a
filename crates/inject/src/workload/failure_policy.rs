//! Warnings on a Job's `podFailurePolicy`, which applies to the exit codes of injected containers
//! too.

use scaivault_contract::names::FAILURE_EXIT_CODES;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::pod::Text;

/// Maximum size of a policy that is read, in bytes. Kubernetes allows 20 rules with 255 codes each.
const POLICY_BYTES: usize = 64 * 1024;
/// Maximum number of rules that a warning lists.
const RULES_SHOWN: usize = 4;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Policy<'a> {
    #[serde(borrow)]
    rules: Option<Vec<Rule<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule<'a> {
    #[serde(borrow)]
    action: Option<Text<'a>>,
    #[serde(borrow)]
    on_exit_codes: Option<ExitCodes<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ExitCodes<'a> {
    #[serde(borrow)]
    container_name: Option<Text<'a>>,
    #[serde(borrow)]
    operator: Option<Text<'a>>,
    values: Option<Vec<i64>>,
}

impl ExitCodes<'_> {
    fn counts_the_agents(&self) -> bool {
        let values = self.values.as_deref().unwrap_or_default();
        let is_named = self.container_name.as_deref().is_some_and(|name| !name.is_empty());
        !is_named
            && match self.operator.as_deref() {
                Some("In") => values.iter().any(|value| FAILURE_EXIT_CODES.contains(value)),
                Some("NotIn") => FAILURE_EXIT_CODES.into_iter().any(|code| !values.contains(&code)),
                _ => false,
            }
    }
}

/// Warnings about rules that apply to the agent's init container. Invalid policies are ignored,
/// because the API server rejects them.
pub(super) fn warnings(policy: Option<&RawValue>) -> Vec<String> {
    let Some(policy) = policy.filter(|policy| policy.get().len() <= POLICY_BYTES) else { return Vec::new() };
    let Policy { rules } = serde_json::from_str(policy.get()).unwrap_or_default();
    let rules = rules.unwrap_or_default();
    let counted = rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.on_exit_codes.as_ref().is_some_and(ExitCodes::counts_the_agents));
    counted
        .take(RULES_SHOWN)
        .map(|(index, rule)| {
            let effect = match rule.action.as_deref() {
                Some("FailJob") => "fails the Job without a retry",
                Some("FailIndex") => "fails the index without a retry",
                Some("Ignore") => "is retried for ever",
                _ => "counts as a failure",
            };
            format!(
                "podFailurePolicy: rule {} has onExitCodes without containerName, so it applies to the injected init container \
                 too: a secret that cannot be fetched (exit codes {} to {}) {effect}; set containerName",
                index + 1,
                FAILURE_EXIT_CODES.start(),
                FAILURE_EXIT_CODES.end()
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rule: &str) -> Vec<String> {
        let text = format!(
            r#"{{"rules":[{{"action":"Ignore","onPodConditions":[{{"type":"DisruptionTarget"}}]}},{rule}]}}"#
        );
        warnings(Some(&RawValue::from_string(text).unwrap()))
    }

    #[test]
    fn rules_that_count_the_agents_exit_codes_are_found() {
        for (codes, expected) in [
            (r#"{"operator":"In","values":[1,42]}"#, true),
            (r#"{"operator":"In","values":[42]}"#, false),
            (r#"{"operator":"NotIn","values":[42]}"#, true),
            (r#"{"operator":"NotIn","values":[1,2,3,4,5]}"#, false),
            (r#"{"containerName":"app","operator":"In","values":[1]}"#, false),
            (r#"{"containerName":null,"operator":"In","values":[3]}"#, true),
        ] {
            let said = said(&format!(r#"{{"action":"FailJob","onExitCodes":{codes}}}"#));
            assert_eq!(!said.is_empty(), expected, "{codes}: {said:?}");
            assert!(
                said.iter().all(|said| said.contains("rule 2") && said.contains("fails the Job")),
                "{said:?}"
            );
        }
        assert!(said(r#"{"onExitCodes":7}"#).is_empty());
        assert!(warnings(None).is_empty());
    }
}
