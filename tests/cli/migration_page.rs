//! The migration page for users of another injector mentions the injector's annotations: they must
//! exist, and its examples must work.

use super::program::{run, run_with};

const PAGE: &str = include_str!("../../docs/migrate.md");
const PREFIX: &str = "scaivault.scailabs.ai/";

#[test]
fn every_key_in_the_pages_tables_exists() {
    let reference = run(["annotations", "--format", "json"]).exits(0).stdout;
    let reference: Vec<serde_json::Value> = serde_json::from_str(&reference).unwrap();
    let keys: Vec<_> = reference.iter().filter_map(|row| row["key"].as_str()?.strip_prefix(PREFIX)).collect();
    let tables =
        PAGE.split_once("## Annotation by annotation").unwrap().1.split_once("## Templates").unwrap().0;
    let mut seen = 0;
    for row in tables.lines().filter(|line| line.starts_with('|')) {
        let column = row.split('|').nth(2).unwrap();
        // Every other part between backticks is code.
        for code in column.split('`').skip(1).step_by(2) {
            let key = code.split_once(':').map_or(code, |(key, _)| key);
            assert!(keys.contains(&key), "{key} is no annotation: {row}");
            seen += 1;
        }
    }
    assert!(seen > 25, "the tables are where this test looks: {seen} keys");
}

#[test]
fn every_example_is_free_of_problems_and_warnings() {
    // Code is between fences; fences in a list are indented.
    let examples: Vec<String> = PAGE
        .split("```")
        .skip(1)
        .step_by(2)
        .map(|code| {
            let own = code.lines().map(str::trim).filter(|line| line.starts_with(PREFIX));
            own.flat_map(|line| ["    ", line, "\n"]).collect()
        })
        .filter(|annotations: &String| !annotations.is_empty())
        .collect();
    assert_eq!(examples.len(), 2, "the examples are where this test looks");
    for annotations in examples {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: billing\n  annotations:\n{annotations}\
             spec:\n  containers: [{{name: app}}]\n"
        );
        let report = run_with(&pod, ["check", "-f", "-"]).exits(0).stdout;
        assert!(report.contains("1 injected") && !report.contains("warning:"), "{report}\n{pod}");
    }
}
