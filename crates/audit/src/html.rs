//! The report as one self-contained HTML page: it works without scripts and loads nothing.
//!
//! Text from manifests and the cluster goes through [`Escaped`]. If that ever fails, the page's
//! Content-Security-Policy still blocks every script and resource except the script and the style
//! sheet that it names by hash.

mod escape;
mod progress;
mod workloads;

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use escape::Escaped;

use crate::{
    describe,
    model::{Audit, PodState},
    stage::Stage,
    summary::Summary,
};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/filters.js");

/// The report as an HTML page. `sha256` computes the hashes for the Content-Security-Policy;
/// passing it in keeps this crate free of a crypto library.
pub fn html(audit: &Audit, sha256: impl Fn(&[u8]) -> [u8; 32]) -> String {
    let mut out = String::with_capacity(16 * 1024 + audit.workloads.len() * 1024);
    let hash = |text: &str| STANDARD.encode(sha256(text.as_bytes()));
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Secrets audit</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#workloads\">Skip to the workloads</a>\n",
        hash(STYLE),
        hash(SCRIPT),
    );
    let summary = audit.summary();
    header(audit, &summary, &mut out);
    out.push_str("<main>\n");
    total(&summary, &mut out);
    namespaces(audit, &mut out);
    workloads::section(audit, &mut out);
    tokens(audit, &mut out);
    errors(audit, &mut out);
    out.push_str("</main>\n");
    footer(audit, &mut out);
    let _ = write!(out, "<script>{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

/// A namespace's name, escaped for HTML.
fn namespace(name: &str) -> String {
    if name.is_empty() { "(none)".to_owned() } else { Escaped(name).to_string() }
}

fn header(audit: &Audit, summary: &Summary, out: &mut String) {
    let _ = writeln!(
        out,
        "<header>\n<h1>Secrets audit</h1>\n<p class=\"muted\">{}<br>{}</p>",
        Escaped(&describe::source(&audit.source)),
        Escaped(&audit.time)
    );
    for note in &audit.notes {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", Escaped(note));
    }
    if !audit.errors.is_empty() {
        let _ = writeln!(
            out,
            "<p class=\"error\">The report is incomplete: <a href=\"#errors\">{} could not be read</a>.</p>",
            describe::counted(audit.errors.len(), "resource")
        );
    }
    let with_secrets = summary.stages.with_secrets();
    out.push_str("<dl class=\"tiles\">");
    let mut tile = |name: &str, number: usize, of: Option<usize>, is_alarm: bool| {
        let class = if is_alarm && number > 0 { " class=\"alarm\"" } else { "" };
        let of = of.map(|of| format!(" <small>of {of}</small>")).unwrap_or_default();
        let _ = write!(out, "<div{class}><dt>{name}</dt><dd>{number}{of}</dd></div>");
    };
    tile("Workloads with secrets", with_secrets, Some(summary.workloads), false);
    tile("Moved to the injector", summary.stages.moved, Some(with_secrets), false);
    tile("Native Secrets in use", summary.native_secrets, None, false);
    tile("Workloads refused", summary.stages.refused, None, true);
    if audit.has_pods() {
        tile("Drifted pods", summary.drifted_pods, Some(summary.pods), true);
    }
    tile("Long-lived tokens", summary.long_lived_tokens, None, true);
    out.push_str("</dl>\n</header>\n");
}

fn total(summary: &Summary, out: &mut String) {
    if summary.workloads == 0 {
        return;
    }
    out.push_str("<section class=\"total\" aria-labelledby=\"total-title\">\n<h2 id=\"total-title\">All workloads</h2>\n");
    progress::bar("All workloads", &summary.stages, out);
    out.push_str("\n<ul class=\"legend\">");
    for stage in Stage::ALL {
        let number = summary.stages.get(stage);
        let _ = write!(
            out,
            "<li>{}<span><b>{number}</b> {}</span></li>",
            progress::swatch(stage),
            Escaped(stage.name())
        );
    }
    out.push_str("</ul>\n</section>\n");
}

fn namespaces(audit: &Audit, out: &mut String) {
    let namespaces = audit.namespaces();
    if namespaces.is_empty() {
        return;
    }
    out.push_str(
        "<section aria-labelledby=\"progress-title\">\n<h2 id=\"progress-title\">Progress by namespace</h2>\n\
         <table class=\"progress-table\" role=\"table\">\n<caption>The number of workloads in each stage, by namespace. A namespace's name shows its \
         workloads.</caption>\n<thead role=\"rowgroup\"><tr role=\"row\"><th scope=\"col\" role=\"columnheader\">Namespace</th>\
         <th scope=\"col\" role=\"columnheader\" class=\"progress\">Progress</th>",
    );
    let of_pods: &[&str] = if audit.has_pods() { &["pods", "drifted"] } else { &[] };
    let titles = Stage::ALL.iter().map(|stage| stage.name()).chain(of_pods.iter().copied());
    for title in titles.clone() {
        let _ =
            write!(out, "<th scope=\"col\" role=\"columnheader\" class=\"number\">{}</th>", capital(title));
    }
    out.push_str("</tr></thead>\n<tbody role=\"rowgroup\">\n");
    for row in namespaces {
        let name = namespace(&row.name);
        let _ = write!(
            out,
            "<tr role=\"row\"><th scope=\"row\" role=\"rowheader\"><a href=\"#workloads\" data-namespace=\"n:{}\">{name}</a></th>\
             <td role=\"cell\" class=\"progress\" data-label=\"Progress\">",
            Escaped(&row.name)
        );
        let whose = if row.name.is_empty() { "No namespace" } else { &row.name };
        progress::bar(whose, &row.stages, out);
        out.push_str("</td>");
        let numbers =
            Stage::ALL.iter().map(|stage| row.stages.get(*stage)).chain([row.pods, row.drifted_pods]);
        for (title, number) in titles.clone().zip(numbers) {
            let zero = if number == 0 { " zero" } else { "" };
            let _ = write!(
                out,
                "<td role=\"cell\" class=\"number{zero}\" data-label=\"{}\">{number}</td>",
                capital(title)
            );
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn tokens(audit: &Audit, out: &mut String) {
    const TITLES: [&str; 6] =
        ["Secret", "Namespace", "Service account", "Last used", "Invalid since", "Read by"];

    if audit.long_lived_tokens.is_empty() {
        return;
    }
    out.push_str(
        "<section aria-labelledby=\"tokens-title\">\n<h2 id=\"tokens-title\">Long-lived tokens</h2>\n<table role=\"table\">\n\
         <caption>Native Secrets with a token of a service account that does not expire. Delete those that nothing reads; let the others read a \
         projected token.</caption>\n<thead role=\"rowgroup\"><tr role=\"row\">",
    );
    for title in TITLES {
        let _ = write!(out, "<th scope=\"col\" role=\"columnheader\">{title}</th>");
    }
    out.push_str("</tr></thead>\n<tbody role=\"rowgroup\">\n");
    for token in &audit.long_lived_tokens {
        let _ = write!(
            out,
            "<tr role=\"row\"><th scope=\"row\" role=\"rowheader\"><code>{}</code></th>",
            Escaped(&token.secret)
        );
        let day =
            |day: &Option<String>| day.as_deref().map(|day| Escaped(day).to_string()).unwrap_or_default();
        let cells = [
            namespace(&token.namespace),
            Escaped(&token.service_account).to_string(),
            day(&token.last_used),
            day(&token.invalid_since),
            Escaped(&token.used_by.join(", ")).to_string(),
        ];
        for (title, markup) in TITLES[1..].iter().zip(cells) {
            let class = if markup.is_empty() { " class=\"blank\"" } else { "" };
            let _ = write!(out, "<td role=\"cell\" data-label=\"{title}\"{class}>{markup}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
}

fn errors(audit: &Audit, out: &mut String) {
    if audit.errors.is_empty() {
        return;
    }
    out.push_str("<section id=\"errors\" aria-labelledby=\"errors-title\">\n<h2 id=\"errors-title\">Not read</h2>\n<ul>\n");
    for error in &audit.errors {
        let _ = write!(out, "<li><code>{}</code>: {}", Escaped(&error.what), Escaped(&error.message));
        if let Some(fix) = &error.fix {
            let _ = write!(out, "<span class=\"small\">To fix: {}</span>", Escaped(fix));
        }
        out.push_str("</li>\n");
    }
    out.push_str("</ul>\n</section>\n");
}

fn footer(audit: &Audit, out: &mut String) {
    out.push_str("<footer>\n<h2>Words</h2>\n<dl>");
    for stage in Stage::ALL {
        let _ = write!(
            out,
            "<dt>{}</dt><dd>The workload {}.</dd>",
            workloads::chip(stage),
            Escaped(stage.sentence())
        );
    }
    if audit.has_pods() {
        for state in PodState::ALL {
            let _ = write!(
                out,
                "<dt><b>{}</b></dt><dd>The pod {}.</dd>",
                capital(state.name()),
                Escaped(state.sentence())
            );
        }
    }
    out.push_str("</dl>\n<p>No value of any Secret was read for this page. It loads nothing, and it works without scripts but for the filters.</p>\n</footer>\n");
}
