//! The report as Markdown, for an issue or a wiki page.

use std::fmt::Write as _;

use crate::{
    describe::{self, counted},
    model::{Audit, PodState, Workload},
    printable::Printable,
    stage::Stage,
};

/// The report as GitHub Flavored Markdown.
pub fn markdown(audit: &Audit) -> String {
    let mut out = String::new();
    let summary = audit.summary();
    let _ = writeln!(out, "# Secrets audit\n");
    let _ = writeln!(out, "{}, {}.\n", text(&describe::source(&audit.source)), text(&audit.time));
    let _ = writeln!(
        out,
        "{}, {} with secrets; {}; {} ({} drifted); {}.",
        counted(summary.workloads, "workload"),
        summary.stages.with_secrets(),
        counted(summary.native_secrets, "native Secret"),
        counted(summary.pods, "running pod"),
        summary.drifted_pods,
        counted(summary.long_lived_tokens, "long-lived token"),
    );
    for note in &audit.notes {
        let _ = writeln!(out, "\n> {}", text(note));
    }
    write_namespaces(audit, &mut out);
    write_workloads(audit, &mut out);
    write_problems(audit, &mut out);
    write_drift(audit, &mut out);
    write_tokens(audit, &mut out);
    write_errors(audit, &mut out);
    out
}

/// Escapes untrusted text so that no character of it is read as Markdown or HTML.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in Printable(text).to_string().chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // GitHub turns these into links and mentions.
            '@' => escaped.push_str("&#64;"),
            ':' => escaped.push_str("&#58;"),
            '#' => escaped.push_str("&#35;"),
            c if c.is_ascii_punctuation()
                && !matches!(
                    c,
                    '/' | '.' | ',' | '-' | '(' | ')' | ';' | '%' | '=' | '\'' | '"' | '?' | '+'
                ) =>
            {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn namespace(name: &str) -> String {
    if name.is_empty() { "(none)".to_owned() } else { text(name) }
}

fn write_namespaces(audit: &Audit, out: &mut String) {
    let namespaces = audit.namespaces();
    if namespaces.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## Progress by namespace\n");
    let titles: Vec<_> = Stage::ALL.iter().map(|stage| capital(stage.name())).collect();
    let _ = writeln!(out, "| Namespace | {} | Pods | Drifted |", titles.join(" | "));
    let _ = writeln!(out, "|---|{}---:|---:|", "---:|".repeat(titles.len()));
    for row in namespaces {
        let counts: Vec<_> = Stage::ALL.iter().map(|stage| row.stages.get(*stage).to_string()).collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            namespace(&row.name),
            counts.join(" | "),
            row.pods,
            row.drifted_pods
        );
    }
}

fn write_workloads(audit: &Audit, out: &mut String) {
    let relevant: Vec<_> = audit.workloads.iter().filter(|workload| workload.is_relevant()).collect();
    if relevant.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## Workloads that use secrets\n");
    let _ = writeln!(
        out,
        "| Namespace | Workload | Stage | Native Secrets | Other products | Here | Policies | Pods |"
    );
    let _ = writeln!(out, "|---|---|---|---|---|---|---|---|");
    for workload in relevant {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            namespace(&workload.namespace),
            text(&workload.display_name()),
            workload.stage.name(),
            native(workload),
            join(workload.other_products.iter().map(|other| text(other.product.name()))),
            text(&describe::outcome(workload)),
            join(workload.policies.iter().map(|policy| text(&policy.name))),
            describe::pods(workload),
        );
    }
}

fn native(workload: &Workload) -> String {
    join(workload.native_secrets.iter().map(|native| {
        let uses: Vec<_> = describe::uses(native).iter().map(|line| text(line)).collect();
        let writers = describe::writers(native).map(|writers| format!(", from {}", text(&writers)));
        format!("**{}** ({}{})", text(&native.secret), uses.join("; "), writers.unwrap_or_default())
    }))
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("<br>")
}

fn title(workload: &Workload) -> String {
    let name = workload.display_name();
    match &workload.place {
        Some(place) => text(&format!("{name} ({}:{})", place.file, place.line)),
        None => text(&format!("{}/{name}", workload.namespace)),
    }
}

fn write_problems(audit: &Audit, out: &mut String) {
    let concerned = audit
        .workloads
        .iter()
        .filter(|workload| !workload.becomes.problems.is_empty() || !workload.becomes.warnings.is_empty());
    let mut concerned = concerned.peekable();
    if concerned.peek().is_none() {
        return;
    }
    let _ = writeln!(out, "\n## Problems\n");
    for workload in concerned {
        let _ = writeln!(out, "- **{}**: {}", title(workload), text(&describe::outcome(workload)));
        for problem in &workload.becomes.problems {
            let _ = writeln!(out, "  - problem: {}", text(problem));
        }
        for warning in &workload.becomes.warnings {
            let _ = writeln!(out, "  - warning: {}", text(warning));
        }
    }
}

fn write_drift(audit: &Audit, out: &mut String) {
    if audit.summary().drifted_pods == 0 {
        return;
    }
    let _ = writeln!(out, "\n## Pods to create anew\n");
    for state in PodState::ALL {
        let _ = writeln!(out, "- {}: {}", state.name(), state.sentence());
    }
    let _ = writeln!(out, "\n| Workload | Pod | State | Difference |\n|---|---|---|---|");
    for workload in &audit.workloads {
        for pod in workload.pods.iter().flat_map(|pods| &pods.drifted) {
            let differences = join(pod.differences.iter().map(|difference| text(difference)));
            let _ = writeln!(
                out,
                "| {} | {} | {} | {differences} |",
                title(workload),
                text(&pod.name),
                pod.state.name()
            );
        }
    }
}

fn write_tokens(audit: &Audit, out: &mut String) {
    if audit.long_lived_tokens.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## Long-lived tokens\n");
    let _ = writeln!(out, "| Namespace | Secret | Service account | Last used | Invalid since | Read by |");
    let _ = writeln!(out, "|---|---|---|---|---|---|");
    for token in &audit.long_lived_tokens {
        let day = |day: &Option<String>| day.as_deref().map(text).unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            namespace(&token.namespace),
            text(&token.secret),
            text(&token.service_account),
            day(&token.last_used),
            day(&token.invalid_since),
            join(token.used_by.iter().map(|workload| text(workload))),
        );
    }
}

fn write_errors(audit: &Audit, out: &mut String) {
    if audit.errors.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## Not read\n\nThe report is incomplete:\n");
    for error in &audit.errors {
        let fix = error.fix.as_deref().map(|fix| format!(". To fix: {}", text(fix))).unwrap_or_default();
        let _ = writeln!(out, "- {}: {}{fix}", text(&error.what), text(&error.message));
    }
}
