//! The HTML page of `audit` in a real browser: at two widths, with and without scripts.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test says so by panicking")]

mod browser;

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use browser::Browser;

/// The hostile text in every field: a script, an image that runs one, and the end of an attribute.
const HOSTILE: &str = "\"><script>parent.document.title='executed'</script><img src=x onerror=\"parent.document.title='executed'\">'";

/// Measures the page in four frames and writes the results into its own document, which the browser
/// prints.
const HARNESS: &str = include_str!("harness.html");

/// Manifests in three namespaces with an example of every migration stage, and with hostile names
/// and annotations.
fn manifests() -> Value {
    let mut items = vec![
        workload(
            "billing",
            "api",
            &json!({"scaivault.scailabs.ai/inject-secret-db.json": "environments/production/billing/db"}),
            None,
        ),
        workload(
            "billing",
            "worker",
            &json!({"scaivault.scailabs.ai/inject-secret-db.json": "environments/production/billing/db"}),
            Some("legacy"),
        ),
        workload("shop", "cart", &json!({"scaivault.scailabs.ai/inject-secret-db.json": "../x"}), None),
        workload(
            "shop",
            "search",
            &json!({"vault.hashicorp.com/agent-inject-secret-db": "database/creds/app"}),
            None,
        ),
        workload("shop", "static", &json!({}), None),
        workload(
            HOSTILE,
            HOSTILE,
            &json!({"vault.hashicorp.com/agent-inject-template-x": HOSTILE, "scaivault.scailabs.ai/mode": HOSTILE}),
            Some(HOSTILE),
        ),
    ];
    items.extend((0..40).map(|number| {
        let name = format!("a-service-with-a-rather-long-name-number-{number}-of-the-warehouse");
        workload("warehouse", &name, &json!({}), Some("database-credentials-of-the-warehouse-in-production"))
    }));
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn workload(namespace: &str, name: &str, annotations: &Value, secret: Option<&str>) -> Value {
    let mut container = json!({"name": "app", "image": "app:1"});
    if let Some(secret) = secret {
        container["envFrom"] = json!([{"secretRef": {"name": secret}}]);
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": namespace, "name": name},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}}})
}

/// The page as the built program writes it.
fn page(directory: &Path) -> String {
    let manifests_path = directory.join("manifests.json");
    fs::write(&manifests_path, manifests().to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"))
        .args(["audit", "-o", "html", "-f"])
        .arg(&manifests_path)
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "one workload has problems: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_page_works_at_two_widths_with_and_without_scripts() {
    let Some(browser) = Browser::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("page.html"), page(directory.path())).unwrap();
    fs::write(directory.path().join("harness.html"), HARNESS).unwrap();
    let document = browser.document(&directory.path().join("harness.html"), directory.path());
    assert!(!document.contains("<title>executed</title>"), "a text of the manifests ran as a script");
    let found = browser::result(&document);

    for (frame, width, has_scripts) in [
        ("narrow", 360, true),
        ("wide", 1440, true),
        ("narrow-plain", 360, false),
        ("wide-plain", 1440, false),
    ] {
        let at = &found[frame];
        assert_eq!(at["innerWidth"], width, "{frame}: {found}");
        assert_eq!(at["overflow"], 0, "{frame} scrolls sideways: {at}");
        assert_eq!(at["resources"], 0, "{frame} loads nothing: {at}");
        assert_eq!(at["rows"], 46, "{frame}: {at}");
        // Without scripts all rows are shown, and the elements that need scripts are hidden.
        assert_eq!(at["filtersShown"], has_scripts, "{frame}: {at}");
        assert_eq!(at["rowsShown"], if has_scripts { 45 } else { 46 }, "{frame}: {at}");
        assert_eq!(at["unlabelled"], json!([]), "{frame}: {at}");
        assert_eq!(at["tables"], 2, "{frame}: {at}");
        assert_eq!(at["tablesWithoutCaption"], 0, "{frame}: {at}");
        assert_eq!(at["picturesWithoutWords"], 0, "{frame}: {at}");
        assert_eq!(at["pictures"], 5, "{frame}: one for each namespace and one for all: {at}");
        // In a narrow window a row is displayed as a card; the roles are the same.
        assert_eq!(at["rowDisplay"], if width == 360 { "flex" } else { "table-row" }, "{frame}: {at}");
        assert_eq!(at["rowRole"], "row", "{frame}: {at}");
        assert_eq!(at["detailsOpen"], true, "{frame}: an entry opens: {at}");
    }
    for frame in ["narrow", "wide"] {
        let steps = &found[frame]["filters"];
        assert_eq!(steps["start"], "Showing 45 of 46 workloads.", "{frame}");
        assert_eq!(steps["all"], "Showing 46 of 46 workloads.", "{frame}");
        assert_eq!(steps["text"], "Showing 1 of 46 workloads.", "{frame}: {steps}");
        assert_eq!(steps["namespace"], "Showing 3 of 46 workloads.", "{frame}: {steps}");
        assert_eq!(steps["attention"], "Showing 2 of 46 workloads.", "{frame}: {steps}");
        assert_eq!(steps["nothing"], "Showing 0 of 46 workloads.", "{frame}: {steps}");
        assert_eq!(steps["emptyShown"], true, "{frame}: {steps}");
        assert_eq!(steps["link"], "Showing 2 of 46 workloads.", "{frame}: {steps}");
        assert_eq!(steps["violations"], 0, "{frame}: the policy lets style and script through: {steps}");
    }
}
