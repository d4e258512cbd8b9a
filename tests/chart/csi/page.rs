//! The tables of docs/csi.md match the provider's sources, and its example is accepted by the
//! driver.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::{SETS, arguments, source, with};
use crate::chart::helm::root;

fn page() -> String {
    fs::read_to_string(root().join("docs/csi.md")).unwrap()
}

/// The words in backquotes in the first column of the first table below a heading.
fn rows(heading: &str) -> BTreeSet<String> {
    let page = page();
    let (_, section) = page.split_once(&format!("\n{heading}\n")).unwrap();
    let table =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = table.skip(2).filter_map(|row| row.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The texts in a constant with the allowed content of a class.
fn texts(file: &str, constant: &str) -> BTreeSet<String> {
    let source = fs::read_to_string(root().join("crates/csi-class/src").join(file)).unwrap();
    let (_, rest) = source.split_once(&format!("const {constant}: [&str; ")).unwrap();
    let list = rest.split_once('=').unwrap().1.split(']').next().unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_parameter_has_its_row() {
    assert_eq!(rows("## Parameters"), texts("parameters.rs", "PARAMETERS"));
    assert_eq!(rows("### Keys of an object"), texts("objects.rs", "OBJECT_KEYS"));
    let variables = texts("variables.rs", "VARIABLES").into_iter().map(|name| format!("${{{name}}}"));
    assert_eq!(rows("### Variables"), variables.collect());
}

#[test]
fn every_outcome_has_its_row() {
    let source = source("failure.rs");
    let labels = source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""));
    let labels = labels.filter_map(|(_, label)| Some(label.split_once('"')?.0.to_owned()));
    assert_eq!(
        rows("## When a pod does not start"),
        labels.chain(["done".to_owned()]).collect::<BTreeSet<_>>()
    );
}

#[test]
fn every_key_of_the_configuration_has_its_row() {
    let source = source("config.rs");
    let file = source.split_once("\nstruct File {\n").unwrap().1.split("\n}").next().unwrap();
    let fields = file.lines().filter_map(|line| Some(line.trim().split_once(": ")?.0.replace('_', "-")));
    let fields: BTreeSet<_> = fields.filter(|field| !field.starts_with("//")).collect();
    assert_eq!(rows("### Keys of the configuration"), fields);
}

#[test]
fn every_metric_has_its_row() {
    let families = super::monitoring::families();
    let rows = rows("## Metrics");
    let names = rows.iter().map(|row| row.trim_start_matches("scaivault_csi_provider_").to_owned());
    assert_eq!(names.collect::<BTreeSet<_>>(), families);
}

/// The page's examples use the names of the chart.
#[test]
fn examples_have_the_charts_names() {
    let page = page();
    let examples = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let examples: Vec<Value> = examples.map(|text| serde_saphyr::from_str(text).unwrap()).collect();
    let class = examples.iter().find(|example| example["kind"] == "SecretProviderClass").unwrap();
    let given = arguments(&with(SETS[0]));
    let socket = format!("/{}.sock", class["spec"]["provider"].as_str().unwrap());
    assert!(given.iter().any(|argument| argument.starts_with("--socket=") && argument.ends_with(&socket)));
    let url = format!("--url={}", class["spec"]["parameters"]["base_url"].as_str().unwrap());
    assert!(given.contains(&url), "{given:?}");
    let pod = &examples.iter().find(|example| example["spec"]["volumes"].is_array()).unwrap()["spec"];
    let volume = &pod["volumes"][0]["csi"];
    assert_eq!(volume["volumeAttributes"]["secretProviderClass"], class["metadata"]["name"]);
    assert_eq!(volume["readOnly"], true);
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/run/secrets");
    assert_eq!(pod["automountServiceAccountToken"], false);
}
