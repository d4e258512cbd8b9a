//! The table of all workloads, and its filters.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{escape::Escaped, namespace};
use crate::{
    describe::{self, counted},
    model::{Audit, NativeUse, Workload},
    stage::Stage,
};

/// Maximum number of drifted pods that the page names per workload; JSON and Markdown list all.
const NAMED_PODS: usize = 50;

/// The section with the filters and the table.
pub(super) fn section(audit: &Audit, out: &mut String) {
    out.push_str("<section id=\"workloads\" aria-labelledby=\"workloads-title\">\n<h2 id=\"workloads-title\">Workloads</h2>\n");
    if audit.workloads.is_empty() {
        out.push_str("<p>There are no workloads.</p>\n</section>\n");
        return;
    }
    filters(audit, out);
    let has_pods = audit.has_pods();
    out.push_str(
        "<table class=\"workloads\" role=\"table\">\n<caption>Each workload with the native Secrets that its containers read, \
         the other products that handle it, and what the injector makes of it. Open an entry to see where it is used.</caption>\n\
         <colgroup><col class=\"c-namespace\"><col class=\"c-workload\"><col class=\"c-stage\"><col class=\"c-native\">\
         <col class=\"c-others\"><col class=\"c-here\">",
    );
    if has_pods {
        out.push_str("<col class=\"c-pods\">");
    }
    out.push_str("</colgroup>\n<thead role=\"rowgroup\"><tr role=\"row\">");
    let titles = ["Namespace", "Workload", "Stage", "Native Secrets", "Other products", "Here"];
    for title in titles.into_iter().chain(has_pods.then_some("Pods")) {
        let _ = write!(out, "<th scope=\"col\" role=\"columnheader\">{title}</th>");
    }
    out.push_str("</tr></thead>\n<tbody id=\"workload-rows\" role=\"rowgroup\">\n");
    for workload in &audit.workloads {
        row(workload, has_pods, out);
    }
    out.push_str("</tbody>\n</table>\n<p class=\"empty\" id=\"no-rows\" hidden>No workload matches the filters.</p>\n</section>\n");
}

/// The filters. They are hidden until the script runs, because they do nothing without it.
fn filters(audit: &Audit, out: &mut String) {
    out.push_str(
        "<form id=\"filters\" role=\"search\" aria-label=\"Filter the workloads\" hidden>\n\
         <div class=\"field\"><label for=\"filter-text\">Text</label><input type=\"search\" id=\"filter-text\" autocomplete=\"off\"></div>\n\
         <div class=\"field\"><label for=\"filter-namespace\">Namespace</label><select id=\"filter-namespace\"><option value=\"all\">All</option>",
    );
    let names: BTreeSet<_> = audit.workloads.iter().map(|workload| workload.namespace.as_str()).collect();
    for name in names {
        let _ = write!(out, "<option value=\"n:{}\">{}</option>", Escaped(name), namespace(name));
    }
    out.push_str("</select></div>\n<fieldset><legend>Stage</legend>");
    let stages = audit.summary().stages;
    let has_secrets = stages.with_secrets() > 0;
    for stage in Stage::ALL.into_iter().filter(|stage| stages.get(*stage) > 0) {
        let checked = if stage == Stage::None && has_secrets { "" } else { " checked" };
        let _ = write!(
            out,
            "<label><input type=\"checkbox\" name=\"stage\" value=\"{}\"{checked}> {}</label>",
            stage.id(),
            stage.name()
        );
    }
    out.push_str(
        "</fieldset>\n<fieldset><legend class=\"visually-hidden\">Attention</legend><label><input type=\"checkbox\" id=\"filter-attention\"> \
         only with problems, warnings or drifted pods</label></fieldset>\n\
         <button type=\"button\" id=\"filter-reset\">Show all</button>\n<p role=\"status\" id=\"filter-status\"></p>\n</form>\n",
    );
}

fn row(workload: &Workload, has_pods: bool, out: &mut String) {
    let needs_attention = !workload.becomes.problems.is_empty()
        || !workload.becomes.warnings.is_empty()
        || workload.pods.as_ref().is_some_and(|pods| !pods.drifted.is_empty());
    let _ = write!(
        out,
        "<tr role=\"row\" data-stage=\"{}\" data-namespace=\"n:{}\"{}>",
        workload.stage.id(),
        Escaped(&workload.namespace),
        if needs_attention { " data-attention" } else { "" }
    );
    cell("Namespace", &namespace(&workload.namespace), out);
    name(workload, out);
    cell("Stage", &chip(workload.stage), out);
    cell("Native Secrets", &native(workload), out);
    cell("Other products", &others(workload), out);
    cell("Here", &here(workload), out);
    if has_pods {
        cell("Pods", &pods(workload), out);
    }
    out.push_str("</tr>\n");
}

/// A table cell. Empty cells are hidden in narrow windows.
fn cell(label: &str, markup: &str, out: &mut String) {
    let class = if markup.is_empty() { " class=\"blank\"" } else { "" };
    let _ = write!(out, "<td role=\"cell\" data-label=\"{label}\"{class}><div>{markup}</div></td>");
}

/// A stage as a coloured label.
pub(super) fn chip(stage: Stage) -> String {
    format!(
        "<span class=\"chip {}\" title=\"{}\">{}</span>",
        stage.id(),
        Escaped(stage.sentence()),
        stage.name()
    )
}

fn name(workload: &Workload, out: &mut String) {
    let name = if workload.name.is_empty() { "(no name)" } else { &workload.name };
    let _ = write!(
        out,
        "<th scope=\"row\" role=\"rowheader\">{}<span class=\"kind\">{}",
        Escaped(name),
        Escaped(&workload.kind)
    );
    if let Some(template) = &workload.template {
        let _ = write!(out, " {}", Escaped(template));
    }
    if let Some(place) = &workload.place {
        let _ = write!(out, " · {}:{}", Escaped(&place.file), place.line);
    }
    let account = Escaped(&workload.tokens.service_account);
    let _ = write!(out, "</span><details class=\"account\"><summary>service account {account}</summary><ul>");
    for line in describe::tokens(workload) {
        let _ = write!(out, "<li>{}</li>", Escaped(&line));
    }
    out.push_str("</ul></details></th>");
}

/// A disclosure element that shows its lines when it is opened.
fn entry(summary: &str, lines: &[String], is_open: bool, out: &mut String) {
    let open = if is_open { " open" } else { "" };
    let _ = write!(out, "<details{open}><summary>{summary}</summary><ul>");
    for line in lines {
        let _ = write!(out, "<li>{line}</li>");
    }
    out.push_str("</ul></details>");
}

fn escaped(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| Escaped(line).to_string()).collect()
}

fn native(workload: &Workload) -> String {
    let mut out = String::new();
    for native in &workload.native_secrets {
        native_entry(native, &mut out);
    }
    let lines = workload.other_native_secrets.iter().map(|native| {
        let uses = Escaped(&describe::uses(native).join("; ")).to_string();
        format!("<code>{}</code>: {uses}", Escaped(&native.secret))
    });
    let lines: Vec<_> = lines.collect();
    if !lines.is_empty() {
        let summary = format!("<span class=\"muted\">{} not read by containers</span>", lines.len());
        entry(&summary, &lines, false, &mut out);
    }
    out
}

fn native_entry(native: &NativeUse, out: &mut String) {
    let mut lines = escaped(&describe::uses(native));
    lines.extend(describe::writers(native).map(|writers| format!("from {}", Escaped(&writers))));
    entry(&format!("<code>{}</code>", Escaped(&native.secret)), &lines, false, out);
}

fn others(workload: &Workload) -> String {
    let mut out = String::new();
    for other in &workload.other_products {
        let lines: Vec<_> = other.evidence.iter().map(describe::evidence).collect();
        entry(&Escaped(other.product.name()).to_string(), &escaped(&lines), false, &mut out);
    }
    out
}

fn here(workload: &Workload) -> String {
    let mut out = Escaped(&describe::outcome(workload)).to_string();
    for policy in &workload.policies {
        let name = format!("{}@{}", policy.name, policy.generation);
        let _ = write!(out, "<span class=\"small\">policy {}: {}", Escaped(&name), Escaped(&policy.effect));
        if let Some(message) = &policy.message {
            let _ = write!(out, " ({})", Escaped(message));
        }
        out.push_str("</span>");
    }
    let outcome = &workload.becomes;
    if !outcome.problems.is_empty() {
        let lines =
            outcome.problems.iter().map(|line| format!("<span class=\"problem\">{}</span>", Escaped(line)));
        entry(&counted(outcome.problems.len(), "problem"), &lines.collect::<Vec<_>>(), false, &mut out);
    }
    if !outcome.warnings.is_empty() {
        entry(&counted(outcome.warnings.len(), "warning"), &escaped(&outcome.warnings), false, &mut out);
    }
    out
}

fn pods(workload: &Workload) -> String {
    let Some(pods) = &workload.pods else { return String::new() };
    let mut out = pods.total.to_string();
    if pods.drifted.is_empty() {
        return out;
    }
    let mut lines: Vec<_> = pods
        .drifted
        .iter()
        .take(NAMED_PODS)
        .map(|pod| {
            let differences = pod.differences.join("; ");
            let differences = if differences.is_empty() { differences } else { format!(" ({differences})") };
            Escaped(&format!("{}: {}{differences}", pod.name, pod.state.name())).to_string()
        })
        .collect();
    if pods.drifted.len() > NAMED_PODS {
        lines.push(format!("and {} more", pods.drifted.len() - NAMED_PODS));
    }
    entry(&format!("{} drifted", pods.drifted.len()), &lines, false, &mut out);
    out
}
