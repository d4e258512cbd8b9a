//! Alerts and dashboard: they speak of metrics that exist, and lead to a page that exists.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

use super::helm::{asset, file, left_out, root, template};
use crate::server::Server;

const PREFIX: &str = "scaivault_injector_";

fn rules() -> Value {
    let manifests = template(&["--set", "prometheusRule.enabled=true"]).unwrap();
    manifests.only("PrometheusRule")["spec"].clone()
}

/// The injector's metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.match_indices(PREFIX)
        .map(|(start, _)| text[start..].chars().take_while(|character| is_part(*character)).collect())
        .collect()
}

#[test]
fn every_metric_that_is_asked_for_exists() {
    let known = metrics_in(&Server::start().metrics());
    let asked = metrics_in(&(rules().to_string() + &file("dashboards/scaivault-injector.json")));
    assert!(asked.len() > 8, "{asked:?}");
    let missing: Vec<_> = asked.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {known:?}");
}

#[test]
fn the_dashboard_shows_every_metric() {
    let shown = metrics_in(&file("dashboards/scaivault-injector.json"));
    let exposition = Server::start().metrics();
    let families = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    // What a counter and a histogram are read by.
    let is_shown = |family: &str| {
        ["", "_total", "_bucket"].map(|end| format!("{family}{end}")).iter().any(|name| shown.contains(name))
    };
    let (there, missing): (Vec<_>, Vec<_>) = families.partition(|family| is_shown(family));
    assert!(missing.is_empty() && there.len() > 15, "{missing:?} are not shown, {there:?} are");
}

#[test]
fn every_alert_has_its_section() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let rules = rules();
    let alerts = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(alerts.len() > 8);
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        assert!(page.contains(&format!("\n### {name}\n")), "{name} has no section");
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/docs/operations.md#{}", name.to_lowercase())), "{url}");
    }
}

#[test]
fn alerts_know_how_long_things_live() {
    let values = "prometheusRule.enabled=true,certificates.reloadInterval=1h,certificates.self.caLifetime=100h,\
        certificates.self.leafLifetime=8h";
    let rules = template(&["--set", values]).unwrap().only("PrometheusRule").to_string();
    for (metric, end) in [
        ("ca_bundle_checked_timestamp_seconds", "> 10800"),
        ("certificate_authority_expiry_timestamp_seconds", "- time() < 90000"),
        ("certificate_expiry_timestamp_seconds", "- time() < 3600"),
    ] {
        let expression = rules.split("\"expr\":").find(|text| text.contains(&format!("{PREFIX}{metric}{{")));
        let expression = expression.unwrap().split("\"for\"").next().unwrap();
        assert!(expression.contains(end), "{expression}");
    }
}

#[test]
fn the_dashboard_is_the_file() {
    let manifests = template(&["--set", "dashboard.enabled=true"]).unwrap();
    let maps = manifests.of_kind("ConfigMap");
    let shown = maps.iter().find_map(|map| map["data"]["scaivault-injector.json"].as_str()).unwrap();
    let [shown, kept] = [shown, &file("dashboards/scaivault-injector.json")]
        .map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(shown, kept);
}

/// The alerts over made-up series (`tests/chart/alerts.yaml`).
#[test]
fn alerts_fire_when_they_should() {
    let Some(promtool) = asset("promtool") else {
        return left_out("promtool", "the alerts were not tried");
    };
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("rules.yaml"), rules().to_string()).unwrap();
    fs::copy(root().join("tests/chart/alerts.yaml"), directory.path().join("alerts.yaml")).unwrap();
    for arguments in [["check", "rules", "rules.yaml"], ["test", "rules", "alerts.yaml"]] {
        let output = Command::new(&promtool).current_dir(&directory).args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}
