use serde_json::Value;

use super::*;
use crate::testing::{audit, hostile, workload};

fn plain(audit: &Audit, options: TableOptions) -> String {
    let text = table(audit, options);
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').expect("a sequence of colours ends in m").1;
    }
    plain + rest
}

fn page(audit: &Audit) -> String {
    html(audit, |_| [0; 32])
}

#[test]
fn each_workload_has_its_stage() {
    let audit = audit();
    let stages: Vec<_> = audit.workloads.iter().map(|w| (w.name.as_str(), w.stage.name())).collect();
    assert_eq!(
        stages,
        [
            ("api", "moved"),
            ("worker", "mixed"),
            ("cart", "refused"),
            ("search", "other product"),
            ("static", "no secrets"),
            ("web", "native Secrets"),
        ]
    );
    let summary = audit.summary();
    assert_eq!((summary.workloads, summary.stages.with_secrets(), summary.native_secrets), (6, 5, 2));
    assert_eq!((summary.pods, summary.drifted_pods), (5, 2));
    assert!(audit.has_problems());
}

#[test]
fn the_table_fits_the_terminal() {
    for width in [60, 80, 100, 140] {
        let text = plain(&audit(), TableOptions { width: Some(width), all: true });
        let table = text.split("\n\n").next().unwrap();
        let longest = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= width.max(80), "{width}: {longest}\n{table}");
        assert_eq!(table.lines().count(), 7, "{table}");
    }
}

#[test]
fn the_reports_are_as_recorded() {
    insta::assert_snapshot!("table", plain(&audit(), TableOptions { width: Some(110), all: false }));
    insta::assert_snapshot!("markdown", markdown(&audit()));
    insta::assert_snapshot!("json", json(&audit()).unwrap());
}

#[test]
fn workloads_without_secrets_are_not_in_the_table() {
    let text = plain(&audit(), TableOptions::default());
    assert!(
        !text.contains("deployment/static") && text.contains("1 workload without secrets not shown"),
        "{text}"
    );
    assert!(plain(&audit(), TableOptions { all: true, width: None }).contains("deployment/static"));
}

#[test]
fn a_terminal_cannot_be_written_to_by_a_name() {
    let text = plain(&hostile(), TableOptions::default());
    let forged = text.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
    assert_eq!(forged, None, "{text}");
}

#[test]
fn no_text_of_others_is_markup_in_the_page() {
    let own = page(&audit());
    let text = page(&hostile());
    // The page has exactly the elements of a harmless audit.
    for name in ["script", "img", "a ", "iframe", "style", "link"] {
        let count = |page: &str| page.matches(&format!("<{name}")).count();
        if name == "a " {
            assert!(!text.contains("<a href=\"http"), "{name}");
        } else {
            assert_eq!(count(&text), count(&own), "{name}");
        }
    }
    assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'));
    // No attribute ends early: outside quotes, tags contain only attribute names that the report
    // writes.
    let (body, _) = text.split_once("<script>").unwrap();
    let (_, body) = body.split_once("</style>").unwrap();
    for tag in body.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag) {
        assert!(tag.matches('"').count() % 2 == 0, "{tag}");
        let names: String = tag.split('"').step_by(2).collect();
        assert!(names.chars().all(|c| c.is_ascii_alphanumeric() || "-=/ ".contains(c)), "{tag}");
        assert!(!names.contains("onerror"), "{tag}");
    }
}

#[test]
fn no_text_of_others_is_markdown_or_html() {
    let text = markdown(&hostile());
    for markup in ["<script", "<img", "[a](http", "`b`", "\u{1b}", "\u{202e}"] {
        assert!(!text.contains(markup), "{markup}: {text}");
    }
    // Every row has as many cells as its header.
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let cells = row.replace("\\|", "").matches('|').count();
        assert!([7, 9, 10, 5].contains(&cells), "{cells}: {row}");
    }
}

#[test]
fn the_page_names_only_its_own_style_and_script() {
    let text = page(&audit());
    let policy = "default-src 'none'; style-src 'sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='; \
                  script-src 'sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='; base-uri 'none'; form-action 'none'";
    assert!(text.contains(policy));
    // The Content-Security-Policy comes before everything that it restricts, and the page
    // references no other resource.
    assert!(text.find("Content-Security-Policy") < text.find("<style>"));
    for reference in ["src=", "url(", "@import", "http://", "https://e", " style=", "javascript:"] {
        assert!(!text.replace("https://127.0.0.1:6443", "").contains(reference), "{reference}");
    }
}

#[test]
fn every_stage_has_words_and_a_colour() {
    for stage in Stage::ALL {
        let style = include_str!("html/page.css");
        for rule in [format!(".bar .{}", stage.id()), format!(".chip.{}", stage.id())] {
            assert!(style.contains(&rule), "{rule}");
        }
    }
}

#[test]
fn an_audit_of_nothing_is_a_report() {
    let empty = Audit::new(Source::Manifests { files: 0 }, String::new(), vec![], vec![], vec![], vec![]);
    assert!(page(&empty).contains("There are no workloads"));
    assert_eq!(plain(&empty, TableOptions::default()), "0 workloads; 0 native Secrets\n");
    assert!(markdown(&empty).contains("0 workloads"));
}

#[test]
fn the_json_has_a_summary_and_the_workloads() {
    let value: Value = serde_json::from_str(&json(&audit()).unwrap()).unwrap();
    assert_eq!(value["summary"]["stages"]["moved"], 1);
    assert_eq!(value["namespaces"][0]["name"], "billing");
    assert_eq!(value["workloads"][1]["pods"]["drifted"][0]["state"], "not-injected");
    let quiet = Audit::new(
        Source::Manifests { files: 1 },
        String::new(),
        vec![workload("", "a", Verdict::NotCovered)],
        vec![],
        vec![],
        vec![],
    );
    assert!(!quiet.has_problems());
}
