//! Alerts and dashboard only use metrics that exist, and every alert has its section.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

use super::{file, source, with};
use crate::chart::{
    helm::{asset, left_out, root},
    monitoring::check_sections,
};

const PREFIX: &str = "scaivault_csi_provider_";
const DASHBOARD: &str = "dashboards/scaivault-csi-provider.json";

fn rules() -> Value {
    with("prometheusRule.enabled=true,podMonitor.enabled=true").only("PrometheusRule")["spec"].clone()
}

fn name_at(text: &str) -> String {
    let is_part = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    text.chars().take_while(is_part).collect()
}

/// The provider's metrics in a text, without their prefix.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.match_indices(PREFIX).map(|(start, _)| name_at(&text[start + PREFIX.len()..])).collect()
}

/// The metric families in the source of the provider's exposition: headers, and the table of
/// gauges.
pub(super) fn families() -> BTreeSet<String> {
    let source = source("metrics.rs");
    let header = "# TYPE {PREFIX}";
    let headers = source.match_indices(header).map(|(start, _)| name_at(&source[start + header.len()..]));
    let gauges = source.lines().filter_map(|line| Some(name_at(line.trim().strip_prefix("(\"")?)));
    headers.chain(gauges).filter(|name| !name.is_empty()).collect()
}

#[test]
fn alerts_and_dashboard_only_use_existing_metrics() {
    let families = families();
    assert!(families.len() > 5, "{families:?}");
    let asked = metrics_in(&(rules().to_string() + &file(DASHBOARD)));
    let missing: Vec<_> =
        asked.iter().filter(|name| !families.contains(name.trim_end_matches("_bucket"))).collect();
    assert!(missing.is_empty() && asked.len() > 4, "{missing:?} are not in {families:?}");
}

#[test]
fn the_dashboard_shows_every_metric() {
    let shown = metrics_in(&file(DASHBOARD));
    let is_shown = |family: &String| shown.contains(family) || shown.contains(&format!("{family}_bucket"));
    let missing: Vec<_> = families().into_iter().filter(|family| !is_shown(family)).collect();
    assert!(missing.is_empty(), "{missing:?} are not shown");
}

#[test]
fn the_dashboard_is_the_file() {
    let maps = with("dashboard.enabled=true").of_kind("ConfigMap");
    let shown = maps.iter().find_map(|map| map["data"]["scaivault-csi-provider.json"].as_str()).unwrap();
    let [shown, kept] = [shown, &file(DASHBOARD)].map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(shown, kept);
}

#[test]
fn every_alert_has_its_section() {
    let rules = rules();
    let alerts = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(alerts.len() > 4);
    check_sections(alerts, "docs/csi.md");
}

/// Without the `PodMonitor` it is not known whether the provider is scraped at all.
#[test]
fn an_alert_that_would_always_fire_is_omitted() {
    let down = |monitor: bool| {
        let set = format!("prometheusRule.enabled=true,podMonitor.enabled={monitor}");
        let rules = with(&set).only("PrometheusRule")["spec"]["groups"][0]["rules"].clone();
        rules[0]["expr"].as_str().unwrap().to_owned()
    };
    assert!(!down(true).contains("present_over_time"));
    assert!(down(false).contains("present_over_time"));
}

/// Evaluates the alerts on test series.
#[test]
fn alerts_fire_when_they_should() {
    let Some(promtool) = asset("promtool") else {
        return left_out("promtool", "the alerts of the CSI provider were not tried");
    };
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("rules.yaml"), rules().to_string()).unwrap();
    fs::copy(root().join("tests/chart/csi/alerts.yaml"), directory.path().join("alerts.yaml")).unwrap();
    for arguments in [["check", "rules", "rules.yaml"], ["test", "rules", "alerts.yaml"]] {
        let output = Command::new(&promtool).current_dir(&directory).args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}
