//! Converts a decision to an outcome of the report.

use scaivault_audit::{Outcome as Becomes, Verdict};
use scaivault_inject::{Decision, MalformedPod, Problems, SkipReason};

use crate::evaluate::{ObjectResult, Outcome};

/// The outcome for an object's pods; `None` if it has no pods and no problems.
pub(super) fn becomes(result: &ObjectResult) -> Option<Becomes> {
    let mut becomes = match &result.outcome {
        Outcome::NoObject
        | Outcome::NoPod
        | Outcome::Class
        | Outcome::NoReceipt
        | Outcome::InvalidPolicy(_) => return None,
        Outcome::Malformed(message) => {
            let problems = vec![message.clone()];
            Becomes { problems, ..outcome(Verdict::Refused, MalformedPod::REASON) }
        }
        Outcome::Decided(decision) => decided(decision),
    };
    becomes.warnings.splice(..0, result.warnings.iter().cloned());
    Some(becomes)
}

fn decided(decision: &Decision) -> Becomes {
    let becomes = match decision {
        Decision::Inject(injection) => {
            Becomes { secrets: injection.secrets, ..outcome(Verdict::Injected, decision.reason()) }
        }
        Decision::Skip(skip) if !skip.problems.is_empty() => {
            Becomes { problems: texts(&skip.problems), ..outcome(Verdict::Refused, decision.reason()) }
        }
        Decision::Skip(skip) if skip.reason == SkipReason::AlreadyInjected => {
            outcome(Verdict::Injected, decision.reason())
        }
        Decision::Skip(_) | Decision::Detach(_) => outcome(Verdict::NotCovered, decision.reason()),
        Decision::Deny(denial) => {
            Becomes { problems: texts(&denial.problems), ..outcome(Verdict::Refused, decision.reason()) }
        }
    };
    Becomes { warnings: decision.warnings().to_vec(), ..becomes }
}

fn outcome(verdict: Verdict, reason: &str) -> Becomes {
    Becomes { verdict, reason: reason.to_owned(), secrets: 0, problems: Vec::new(), warnings: Vec::new() }
}

fn texts(problems: &Problems) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
