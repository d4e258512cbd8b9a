//! The example of a file template inside another product's chart, rendered by helm.

use std::{fs, process::Command};

use scaivault_testkit::key;
use serde_json::Value;
use tempfile::TempDir;

use super::helm::{asset, helm, left_out, root};

const VALUES: &str = "host: db.shop.svc\npgpass: \"*:*:*:{{ data.username }}:{{ data.password }}\\n\"\n";

/// Renders a chart with only this template.
fn render(template: &str) -> String {
    let chart = TempDir::new().unwrap();
    let path = chart.path();
    fs::create_dir(path.join("templates")).unwrap();
    fs::write(path.join("Chart.yaml"), "apiVersion: v2\nname: billing\nversion: 0.1.0\n").unwrap();
    fs::write(path.join("values.yaml"), VALUES).unwrap();
    fs::write(path.join("templates/deployment.yaml"), template).unwrap();
    let output = helm(&["template", "billing", path.to_str().unwrap(), "--namespace", "shop"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_helm_example_renders_to_the_agents_templates() {
    if asset("helm").is_none() {
        return left_out("helm", "the example of a Helm chart");
    }
    let rendered = render(&fs::read_to_string(root().join("examples/deployment.helm.tpl")).unwrap());
    let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    let deployment = documents.iter().find(|document| document["kind"] == "Deployment").unwrap();
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    for (name, expected) in [
        (
            "db.url",
            "postgres://{{ data.username | urlencode }}:{{ data.password | urlencode }}@db.shop.svc/billing",
        ),
        (
            "app.properties",
            "spring.datasource.username={{ data.username }}\nspring.datasource.password={{ data.password }}\n\
             {% if data.schema is defined %}spring.jpa.properties.hibernate.default_schema={{ data.schema }}\n{% endif %}\n",
        ),
        ("pgpass", "*:*:*:{{ data.username }}:{{ data.password }}\n"),
    ] {
        assert_eq!(annotations[key(&format!("secret-template-{name}"))], expected, "{name}");
    }
    let file = TempDir::new().unwrap();
    let manifest = file.path().join("rendered.yaml");
    fs::write(&manifest, &rendered).unwrap();
    let check =
        Command::new(env!("CARGO_BIN_EXE_scaivault-injector")).arg("check").arg("-f").arg(&manifest).output();
    let check = check.unwrap();
    let report = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success() && !report.contains("warning:"), "{report}");
}
