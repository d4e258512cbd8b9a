//! Formats the plan as Markdown.

use std::fmt::Write as _;

use scaivault_audit::Printable;

use super::{Batch, Phase, Plan, Step};

/// The description of each phase, in order.
const FORWARD: &[(Phase, &str, &str)] = &[
    (
        Phase::Compare,
        "Compare",
        "Each key of today's Secrets is compared with ScaiVault before anything changes. A Job that fails names the keys that differ; no value is shown. Do not go on before all are equal.",
    ),
    (Phase::Baseline, "Measure", "The start of today's pods, for the comparison below."),
    (Phase::Apply, "Apply", ""),
    (Phase::Rollout, "Wait", "Go back (below) if one does not finish."),
    (
        Phase::Verify,
        "Verify",
        "The sidecar reads ScaiVault again and compares it with the files of its pod. It fails if one differs.",
    ),
    (
        Phase::Latency,
        "Check the start",
        "READY minus CREATED, as before. Go back if it has grown by more than you accept.",
    ),
];

/// The plan in Markdown.
pub(in crate::migrate) fn markdown(plan: &Plan) -> String {
    let mut text = String::from("# Migration to ScaiVault\n\n");
    if plan.is_empty() {
        text.push_str("No workload is migrated.\n");
    } else {
        text.push_str(INTRODUCTION);
        overview(plan, &mut text);
        for batch in &plan.batches {
            write_batch(batch, &mut text);
        }
        finish(plan, &mut text);
    }
    left(plan, &mut text);
    text
}

const INTRODUCTION: &str = "\
Run the commands in this directory, one batch after the other. `plan.json` has the same commands as lists of arguments,
for a program. `batches/NN/apply` has the manifests after the migration, `batches/NN/rollback` those from before it;
`manifests/` and `original/` have whole files, for a repository.

Where a tool such as Argo CD or Flux applies the manifests, commit the files of a batch from `manifests/` in place of
the step *Apply*, and those from `original/` to go back.

";

fn overview(plan: &Plan, text: &mut String) {
    text.push_str("| batch | namespace | workloads |\n|---|---|---|\n");
    for batch in &plan.batches {
        let mut namespaces: Vec<&str> =
            batch.workloads.iter().map(|workload| workload.namespace.as_str()).collect();
        namespaces.dedup();
        for namespace in namespaces {
            let of_namespace = batch.workloads.iter().filter(|workload| workload.namespace == namespace);
            let names: Vec<String> = of_namespace
                .map(|workload| code(&format!("{}/{}", workload.kind.to_lowercase(), workload.name)))
                .collect();
            let namespace = if namespace.is_empty() { "the current one".to_owned() } else { code(namespace) };
            let _ = writeln!(text, "| {} | {namespace} | {} |", batch.number, names.join(", "));
        }
    }
    text.push('\n');
}

fn write_batch(batch: &Batch, text: &mut String) {
    let _ = writeln!(text, "## Batch {}\n", batch.number);
    let mut number = 0;
    for (phase, title, explanation) in FORWARD {
        let steps: Vec<&Step> = batch.steps.iter().filter(|step| step.phase == *phase).collect();
        if steps.is_empty() {
            continue;
        }
        number += 1;
        let _ = writeln!(text, "### {number}. {title}\n");
        if !explanation.is_empty() {
            let _ = writeln!(text, "{explanation}\n");
        }
        commands(&steps, text);
    }
    text.push_str("### Go back\n\n");
    text.push_str("The manifests from before the migration; the native Secrets are still there.\n\n");
    commands(&batch.rollback.iter().collect::<Vec<_>>(), text);
}

fn finish(plan: &Plan, text: &mut String) {
    if plan.finish.is_empty() {
        return;
    }
    text.push_str("## Finish\n\n");
    text.push_str(
        "When all batches have run for as long as you may want to go back: nothing in the manifests that were read uses these\n\
         Secrets any more. Others may: `scaivault-injector audit` lists what the cluster uses. Without its Secret, a workload\n\
         cannot go back.\n\n",
    );
    commands(&plan.finish.iter().collect::<Vec<_>>(), text);
}

fn left(plan: &Plan, text: &mut String) {
    if plan.left.is_empty() {
        return;
    }
    text.push_str("## Left as they are\n\n");
    for left in &plan.left {
        let place = format!("{}:{}", left.file, left.line);
        let _ = writeln!(text, "* {} ({})", code(&left.workload), code(&place));
        for reason in &left.reasons {
            let _ = writeln!(text, "  * {}", prose(reason));
        }
    }
    text.push('\n');
}

fn commands(steps: &[&Step], text: &mut String) {
    text.push_str("```console\n");
    for step in steps {
        let words: Vec<String> = step.command.iter().map(|word| quoted(word)).collect();
        let _ = writeln!(text, "$ {}", words.join(" "));
    }
    text.push_str("```\n\n");
}

/// A word for a shell: in single quotes unless it is plain.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@".contains(c);
    let word = Printable(word).to_string();
    if !word.is_empty() && word.chars().all(is_plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Text from manifests in a code span.
fn code(text: &str) -> String {
    format!("`{}`", Printable(&text.replace('`', "'").replace('|', "¦")))
}

/// A sentence with Markdown and HTML escaped.
fn prose(text: &str) -> String {
    let mut escaped = String::new();
    for c in Printable(text).to_string().chars() {
        if "\\`*_{}[]<>#|!$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
