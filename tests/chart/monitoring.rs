//! Alerts and dashboard use metrics that exist, and link to pages that exist.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value;

use super::helm::{asset, file, left_out, root, template};
use crate::server::Server;

const PREFIX: &str = "scaivault_injector_";

/// Certificates from files, with a limit for the expiry alert.
const FILES: &str = "certificates.mode=files,certificates.files.secretName=tls,\
    certificates.files.caBundle=-----BEGIN CERTIFICATE-----,certificates.files.warnBefore=2h";

/// The restart controller, which Prometheus finds by the chart's `PodMonitor`.
const RESTARTER: &str = "restarter.enabled=true,restarter.podMonitor.enabled=true";

/// Before the names of the restart controller's metrics.
const RESTARTER_PREFIX: &str = "scaivault_restarter_";

/// A ConfigMap with the authorities of clients.
const CLIENTS: &str = "server.clientCa.configMap=clients";

/// The ways in which Prometheus can discover the pods, with the labels that each adds to the series
/// of the pod `POD`. The first is that of the chart's `ServiceMonitor`.
const SCRAPES: [(&str, &str); 4] = [
    (
        "ServiceMonitor",
        r#"namespace="scaivault-system",service="scaivault-injector",pod="POD",instance="POD:8080""#,
    ),
    ("PodMonitor", r#"namespace="scaivault-system",container="injector",pod="POD",instance="POD:8080""#),
    (
        "annotations",
        r#"kubernetes_namespace="scaivault-system",kubernetes_pod_name="POD",instance="POD:8080""#,
    ),
    ("static addresses", r#"instance="POD:8080""#),
];

fn rules_with(set: &str) -> Value {
    rules_for(set, true)
}

fn rules_for(set: &str, is_service_monitor: bool) -> Value {
    let monitoring = format!("prometheusRule.enabled=true,serviceMonitor.enabled={is_service_monitor}");
    let manifests = template(&["--set", &monitoring, "--set", set]).unwrap();
    manifests.only("PrometheusRule")["spec"].clone()
}

/// The rules of all modes, because those for certificates depend on the mode.
fn rules() -> Vec<Value> {
    [CLIENTS, FILES, RESTARTER].map(rules_with).iter().flat_map(rules_of).collect()
}

fn rules_of(spec: &Value) -> Vec<Value> {
    let groups = spec["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The alert's expression, if the alert exists.
fn expression(set: &str, alert: &str) -> Option<String> {
    let rules = rules_of(&rules_with(set));
    let rule = rules.iter().find(|rule| rule["alert"] == alert)?;
    Some(rule["expr"].as_str().unwrap().to_owned())
}

/// The injector's metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    metrics_with(PREFIX, text)
}

fn metrics_with(prefix: &str, text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.match_indices(prefix)
        .map(|(start, _)| text[start..].chars().take_while(|character| is_part(*character)).collect())
        .collect()
}

#[test]
fn every_queried_metric_exists() {
    let known = metrics_in(&Server::start().metrics());
    let asked = metrics_in(&(Value::from(rules()).to_string() + &file("dashboards/scaivault-injector.json")));
    assert!(asked.len() > 8, "{asked:?}");
    let missing: Vec<_> = asked.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {known:?}");
}

#[test]
fn the_dashboard_shows_every_metric() {
    let shown = metrics_in(&file("dashboards/scaivault-injector.json"));
    let exposition = Server::start().metrics();
    let families = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    // Queries add these suffixes to counters and histograms.
    let is_shown = |family: &str| {
        ["", "_total", "_bucket"].map(|end| format!("{family}{end}")).iter().any(|name| shown.contains(name))
    };
    let (there, missing): (Vec<_>, Vec<_>) = families.partition(|family| is_shown(family));
    assert!(missing.is_empty() && there.len() > 15, "{missing:?} are not shown, {there:?} are");
}

/// The page is compared with the program where the program's metrics are tested.
#[test]
fn metrics_of_restarts_are_those_of_the_page() {
    let page = fs::read_to_string(root().join("docs/restart.md")).unwrap();
    let rows: String = page.lines().filter(|line| line.starts_with("| `scaivault_restarter_")).collect();
    let known = metrics_with(RESTARTER_PREFIX, &rows);
    let summary = |name: &String| name.trim_end_matches("_sum").trim_end_matches("_count").to_owned();
    let metrics = |text: &str| -> BTreeSet<String> {
        metrics_with(RESTARTER_PREFIX, text).iter().map(summary).collect()
    };
    let alerts = metrics(&Value::from(rules()).to_string());
    assert!(alerts.len() > 6 && alerts.is_subset(&known), "{alerts:?}");
    assert_eq!(metrics(&file("dashboards/scaivault-injector.json")), known);
}

#[test]
fn every_alert_has_its_section() {
    let alerts = rules();
    assert!(alerts.len() > 8);
    check_sections(&alerts, "docs/operations.md");
}

/// Checks that each alert has a section on the page and links to it.
pub(super) fn check_sections(alerts: &[Value], page: &str) {
    let text = fs::read_to_string(root().join(page)).unwrap();
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        assert!(text.contains(&format!("\n### {name}\n")), "{name} has no section");
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/{page}#{}", name.to_lowercase())), "{url}");
    }
}

/// Alerts for components that are not installed would always fire, or never.
#[test]
fn alerts_depend_on_the_installed_parts() {
    let down = |set: &str| expression(set, "ScaiVaultInjectorDown").unwrap();
    assert!(!down("").contains(" and "), "the ServiceMonitor has it scraped");
    for set in ["serviceMonitor.enabled=false", "webhook.url=https://injector.example.com"] {
        assert!(down(set).contains(" and on () count(present_over_time("), "{set}");
    }
    assert!(expression("serviceMonitor.enabled=false", "ScaiVaultInjectorReplicaDown").is_some());
    assert_eq!(expression("webhook.url=https://injector.example.com", "ScaiVaultInjectorReplicaDown"), None);
    let replicas =
        expression("autoscaling.enabled=true,autoscaling.minReplicas=3", "ScaiVaultInjectorReplicaDown");
    assert!(replicas.unwrap().ends_with("< 3"));
    assert_eq!(expression("", "ScaiVaultInjectorCertificateBroken"), None, "nothing is read from files");
    assert_eq!(
        expression("", "ScaiVaultInjectorClientCaBroken"),
        None,
        "there are no authorities of clients"
    );
    for (set, alert, end) in [
        ("certificates.self.leafLifetime=8h", "ScaiVaultInjectorCertificateExpires", "< 3600"),
        (
            "certificates.mode=cert-manager,certificates.certManager.duration=8h,certificates.certManager.renewBefore=2h",
            "ScaiVaultInjectorCertificateExpires",
            "< 3600",
        ),
        ("certificates.reloadInterval=10s", "ScaiVaultInjectorCaBundleUnchecked", "> 600"),
        ("certificates.reloadInterval=1h", "ScaiVaultInjectorCaBundleUnchecked", "> 10800"),
        ("certificates.reloadInterval=1h", "ScaiVaultInjectorCertificateSyncFailing", "[10800s])) > 0"),
    ] {
        let expression = expression(set, alert).unwrap();
        assert!(expression.ends_with(end), "{set}: {expression}");
    }
}

#[test]
fn alerts_depend_on_the_lifetimes() {
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

/// Evaluates the alerts on test series (`alerts*.yaml` in this directory) with the labels of every
/// way of scraping.
#[test]
fn alerts_fire_when_they_should() {
    let Some(promtool) = asset("promtool") else {
        return left_out("promtool", "the alerts were not tried");
    };
    for (set, series) in [
        (CLIENTS, "alerts.yaml"),
        (CLIENTS, "alerts-attack.yaml"),
        (CLIENTS, "alerts-for-days.yaml"),
        (FILES, "alerts-of-files.yaml"),
        (RESTARTER, "alerts-of-restarts.yaml"),
        (RESTARTER, "alerts-of-restarts-for-days.yaml"),
    ] {
        let text = fs::read_to_string(root().join("tests/chart").join(series)).unwrap();
        for (scrape, labels) in SCRAPES {
            let directory = tempfile::tempdir().unwrap();
            let rules = rules_for(set, scrape == "ServiceMonitor");
            fs::write(directory.path().join("rules.yaml"), rules.to_string()).unwrap();
            let tests = ["a", "b", "c"].iter().fold(text.clone(), |text, pod| {
                text.replace(&format!("SCRAPED=\"{pod}\""), &labels.replace("POD", pod))
            });
            fs::write(directory.path().join(series), tests).unwrap();
            for arguments in [["check", "rules", "rules.yaml"], ["test", "rules", series]] {
                let output =
                    Command::new(&promtool).current_dir(&directory).args(arguments).output().unwrap();
                let said = [output.stdout, output.stderr].concat();
                assert!(output.status.success(), "{series}, {scrape}:\n{}", String::from_utf8_lossy(&said));
            }
        }
    }
}
