//! The command line together with the core: an injection can be removed again.

#[path = "cli/program.rs"]
mod program;

use std::fs;

use program::{Outcome, POD, run, run_with};
use serde_json::Value;

const PREFIX: &str = "scaivault.scailabs.ai/";

const MANIFEST: &str = "\
# Billing, owned by the payments team.
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: billing
  namespace: shop
spec:
  template:
    metadata:
      annotations:
        scaivault.scailabs.ai/inject-secret-db.json: environments/production/billing/database
    spec:
      # One container, on purpose.
      containers:
      - name: app   # the only one
        image: registry.example.com/billing
        args: [\"yes\", \"0400\", \"12:30:45\", \"null\"]
        env:
        - name: SCRIPT
          value: |
            set -e
            run
---
# Stays as it is.
apiVersion: v1
kind: Service
metadata: {name: billing}   # not a pod
";

/// The values of all documents of a YAML stream.
#[track_caller]
fn values(stream: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(stream).expect(stream)
}

/// The manifest with one more annotation on the pod template.
fn with_annotation(key: &str, value: &str) -> String {
    let first = "        scaivault.scailabs.ai/inject-secret-db.json";
    MANIFEST.replace(first, &format!("        scaivault.scailabs.ai/{key}: {value:?}\n{first}"))
}

fn inject(manifest: &str) -> Outcome {
    run_with(manifest, ["inject"])
}

#[test]
fn inject_keeps_everything_else() {
    let injected = inject(MANIFEST).exits(0).says("deployment/billing: injected (init, 1 secret)");
    let documents = values(&injected.stdout);
    let pod = &documents[0]["spec"]["template"]["spec"];
    assert_eq!(pod["initContainers"][0]["name"], "scaivault-init");
    assert_eq!(pod["containers"][0]["args"], serde_json::json!(["yes", "0400", "12:30:45", "null"]));
    assert_eq!(pod["containers"][0]["env"][0]["value"], "set -e\nrun\n");
    assert!(
        injected.stdout.starts_with("# Billing, owned by the payments team.\n---\n"),
        "{}",
        injected.stdout
    );
    let service = &MANIFEST[MANIFEST.find("---\n# Stays").unwrap()..];
    assert!(injected.stdout.ends_with(service), "{}", injected.stdout);
}

#[test]
fn detach_is_the_inverse_of_inject() {
    let injected = inject(MANIFEST).exits(0).stdout;
    let detached =
        run_with(&injected, ["detach"]).exits(0).says("deployment/billing: detached (requested)").stdout;
    assert_eq!(detached, MANIFEST);
    for text in
        [MANIFEST.replace('\n', "\r\n"), MANIFEST.trim_end().to_owned(), format!("\u{FEFF}{MANIFEST}")]
    {
        let injected = inject(&text).exits(0).stdout;
        assert_eq!(run_with(&injected, ["detach"]).exits(0).stdout, text);
    }
}

#[test]
fn json_keeps_its_layout_and_its_digits() {
    let value = &values(MANIFEST)[0];
    for json in [
        serde_json::to_string(value).unwrap(),
        format!("{}\n", serde_json::to_string_pretty(value).unwrap()),
        "{\"apiVersion\": \"v1\",  \"kind\": \"Pod\", \"metadata\": {\"annotations\": {\n\
         \"scaivault.scailabs.ai/inject-secret-a\": \"a/b/c/d\" }},\n\"spec\": {\"containers\": [{\n\
         \"name\": \"a\", \"x\": 1.10}], \"volumes\": []}}\n"
            .to_owned(),
    ] {
        let injected = inject(&json).exits(0).says("injected");
        assert!(!injected.stderr.contains("warning"), "{}", injected.stderr);
        serde_json::from_str::<Value>(&injected.stdout).expect(&injected.stdout);
        assert_eq!(run_with(&injected.stdout, ["detach"]).exits(0).stdout, json);
    }
}

#[test]
fn an_alias_causes_a_rewrite_with_a_warning() {
    let manifest = MANIFEST.replace(
        "containers:\n",
        "initContainers: &list\n      - {name: prepare, image: x}\n      containers: *list\n      other:\n",
    );
    let injected = inject(&manifest).exits(0).says("stdin:3 deployment/billing: injected").says(
        "warning: the document is rewritten, without its comments and layout: the change is inside an a",
    );
    let spec = &values(&injected.stdout)[0]["spec"]["template"]["spec"];
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["mountPath"], "/run/secrets");
    assert!(!injected.stdout.contains("on purpose"), "{}", injected.stdout);
    let check = run_with(&manifest, ["check"]).exits(0);
    assert!(!check.stdout.contains("rewritten"), "{}", check.stdout);
}

#[test]
fn inject_twice_is_inject_once() {
    let injected = inject(MANIFEST).exits(0).stdout;
    let again = inject(&injected).exits(0).says("skipped (already-injected)");
    assert_eq!(again.stdout, injected);
}

#[test]
fn without_a_receipt_detach_refuses_and_by_name_does_it() {
    let injected = inject(MANIFEST).exits(0).stdout;
    let forgotten: String =
        injected.split_inclusive('\n').filter(|line| !line.contains("/receipt:")).collect();
    let refused =
        run_with(&forgotten, ["detach"]).exits(1).says("kept (no-receipt)").says("detach --by-name");
    assert_eq!(refused.stdout, "");
    let detached = run_with(&forgotten, ["detach", "--by-name"]).exits(0).stdout;
    assert!(!detached.contains("scaivault-init"), "{detached}");
    assert_eq!(
        values(&detached)[0]["spec"]["template"]["spec"],
        values(MANIFEST)[0]["spec"]["template"]["spec"]
    );
}

#[test]
fn problems_are_all_reported_and_nothing_is_written() {
    let first = with_annotation("refresh-interval", "soon");
    let manifest = format!("{first}---\n{}", with_annotation("fetch-timeout", "never"));
    let refused = inject(&manifest)
        .exits(1)
        .says("stdin:3 deployment/billing: denied (problems)")
        .says("refresh-interval: \"soon\"")
        .says("fetch-timeout: \"never\"")
        .says("nothing is written to standard output");
    assert_eq!(refused.stdout, "");
    let checked = run_with(&manifest, ["check"]).exits(1);
    assert!(checked.stdout.contains("refresh-interval: \"soon\""), "{}", checked.stdout);
    assert_eq!(checked.stderr, "");
}

#[test]
fn tolerated_problems_are_reported_and_the_rest_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yaml");
    fs::write(&config, "onProblem: warn\n").unwrap();
    let manifest = with_annotation("fetch-timeout", "never");
    let written = run_with(manifest, ["inject", "--config", config.to_str().unwrap()]).exits(1);
    assert_eq!(values(&written.stdout).len(), 2, "{}", written.stdout);
    assert!(written.stderr.contains("fetch-timeout"), "{}", written.stderr);
}

#[test]
fn json_stays_json() {
    let manifest = serde_json::to_string_pretty(&values(MANIFEST)[0]).unwrap();
    let injected = inject(&format!("{manifest}\n")).exits(0).stdout;
    let value: Value = serde_json::from_str(&injected).unwrap();
    assert_eq!(value["spec"]["template"]["spec"]["initContainers"][0]["name"], "scaivault-init");
    assert!(injected.starts_with("{\n  \"apiVersion\"") && injected.ends_with("}\n"), "{injected}");
}

#[test]
fn the_json_list_has_the_result() {
    let written = run_with(MANIFEST, ["inject", "--output", "json"]).exits(0).stdout;
    let list: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(list["items"], Value::from(values(&inject(MANIFEST).stdout)));
}

#[test]
fn one_object_as_json_is_that_object() {
    let deployment = &MANIFEST[..MANIFEST.find("---\n# Stays").unwrap()];
    let written = run_with(deployment, ["inject", "--output", "json"]).exits(0).stdout;
    let object: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(object, values(&inject(deployment).stdout)[0]);
    let list = "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, spec: {containers: []}}]\n";
    let written = run_with(list, ["detach", "--output", "json"]).exits(0).stdout;
    let list: Value = serde_json::from_str(&written).unwrap();
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&"List".into(), &"Pod".into()));
}

#[test]
fn windows_line_breaks_stay() {
    let injected = inject(&MANIFEST.replace('\n', "\r\n")).exits(0).stdout;
    assert!(injected.contains("scaivault-init"));
    assert!(!injected.replace("\r\n", "").contains('\n'), "{injected:?}");
    assert_eq!(values(&injected), values(&inject(MANIFEST).stdout));
}

#[test]
fn a_list_is_walked() {
    let documents = values(MANIFEST);
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": documents});
    let injected = inject(&list.to_string()).exits(0).says("(items/0) deployment/billing: injected");
    let value: Value = serde_json::from_str(&injected.stdout).unwrap();
    assert_eq!(value["items"][0], values(&inject(MANIFEST).stdout)[0]);
    assert_eq!(value["items"][1], documents[1]);
}

/// The output of `kubectl get --raw`: the items have neither `apiVersion` nor `kind`.
#[test]
fn a_typed_list_is_walked() {
    let mut deployment = values(MANIFEST)[0].clone();
    let fields = deployment.as_object_mut().unwrap();
    fields.remove("apiVersion");
    fields.remove("kind");
    let list = serde_json::json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {},
        "items": [deployment]});
    let injected = inject(&list.to_string()).exits(0).says("(items/0) deployment/billing: injected");
    let value: Value = serde_json::from_str(&injected.stdout).unwrap();
    assert_eq!(value["items"][0].get("kind"), None, "the list says it");
    assert_eq!(value["items"][0]["spec"], values(&inject(MANIFEST).stdout)[0]["spec"]);
    let as_list = run_with(list.to_string(), ["inject", "--output", "json"]).exits(0).stdout;
    let value: Value = serde_json::from_str(&as_list).unwrap();
    assert_eq!(value["items"][0], values(&inject(MANIFEST).stdout)[0]);
}

#[test]
fn a_namespace_in_the_manifests_is_a_layer() {
    let namespace = |annotation: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n    \
             scaivault.scailabs.ai/{annotation}\n"
        )
    };
    let check = |annotation: &str, more: &[&str]| {
        let manifests = format!("{MANIFEST}---\n{}", namespace(annotation));
        run_with(manifests, ["check", "--explain"].iter().chain(more)).exits(0).stdout
    };
    let report = check("log-level: debug", &[]);
    assert!(report.contains("log-level = debug (namespace)"), "{report}");
    let report = check("mutation-mode: ignore", &[]);
    assert!(report.contains("skipped (ignored-by-namespace)"), "{report}");

    let directory = tempfile::tempdir().unwrap();
    let given = directory.path().join("namespace.yaml");
    fs::write(&given, namespace("log-level: warn")).unwrap();
    let report = check("mutation-mode: ignore", &["--namespace-file", given.to_str().unwrap()]);
    assert!(report.contains("log-level = warn (namespace)") && report.contains("injected"), "{report}");
}

#[test]
fn the_diff_shows_the_additions() {
    let checked = run_with(MANIFEST, ["check", "--diff"]).exits(0).stdout;
    assert!(
        checked.contains("--- deployment/billing (before)\n+++ deployment/billing (after)\n"),
        "{checked}"
    );
    let is_change =
        |line: &&str, sign: char| line.starts_with(sign) && !line.starts_with(&sign.to_string().repeat(3));
    assert!(
        checked.lines().any(|line| is_change(&line, '+') && line.contains("name: scaivault-init")),
        "{checked}"
    );
    assert!(
        !checked.lines().any(|line| is_change(&line, '-')),
        "nothing of the user's is taken away:\n{checked}"
    );
    assert!(checked.lines().any(|line| line == "       # One container, on purpose."), "{checked}");
    let detached = run_with(inject(MANIFEST).stdout, ["detach", "--diff", "--output=report"]).exits(0).stdout;
    assert!(detached.lines().any(|line| line == "       # One container, on purpose."), "{detached}");
    assert!(!detached.lines().any(|line| is_change(&line, '+')), "{detached}");
    // If a text cannot be edited, or a document has several objects, the diff shows the values.
    let anchored =
        MANIFEST.replace("    spec:\n", "    spec: &spec\n").replace("run\n---", "run\nx: *spec\n---");
    let checked = run_with(anchored, ["check", "--diff"]).exits(0).stdout;
    assert!(checked.contains("name: scaivault-init") && !checked.contains("rewritten"), "{checked}");
}

#[test]
fn settings_are_explained_with_their_origin() {
    let directory = tempfile::tempdir().unwrap();
    let namespaces = directory.path().join("namespaces.yaml");
    fs::write(
        &namespaces,
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n    \
         scaivault.scailabs.ai/log-level: debug\n",
    )
    .unwrap();
    let account = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: default\n  namespace: shop\n  annotations:\n    \
                   scaikey.scailabs.ai/role: billing-reader\n";
    let checked = run_with(
        format!("{}{account}", with_annotation("fetch-timeout", "20s")),
        ["check", "--explain", "--namespace-file", namespaces.to_str().unwrap()],
    )
    .exits(0)
    .stdout;
    for expected in [
        "log-level = debug (namespace)",
        "role = billing-reader (service account)",
        "fetch-timeout = 20s (pod)",
    ] {
        assert!(checked.contains(expected), "{expected} is not in\n{checked}");
    }
}

#[test]
fn the_kubernetes_version_decides_about_variables() {
    let manifest =
        with_annotation("inject-env-DB_PASSWORD", "environments/production/billing/database#password");
    inject(&manifest).exits(1).says("inject-env-DB_PASSWORD");
    let injected = run_with(&manifest, ["inject", "--kube-version", "1.36"]).exits(0).stdout;
    assert!(injected.contains("fileKeyRef"), "{injected}");
}

#[test]
fn the_workloads_own_mode_is_obeyed() {
    let manifest = MANIFEST.replace(
        "  namespace: shop\n",
        "  namespace: shop\n  annotations: {scaivault.scailabs.ai/mutation-mode: ignore}\n",
    );
    let outcome = inject(&manifest).exits(0).says("skipped (ignored-by-workload)");
    assert_eq!(outcome.stdout, manifest);
}

#[test]
fn every_workload_among_the_examples_is_injected() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    // Variables need a newer Kubernetes than the oldest supported.
    let report = run(["check", "-f", examples, "--kube-version", "1.35"]).exits(0).stdout;
    for expected in [
        "deployment/billing: injected (init, 2 secrets)",
        "deployment/gateway: injected (sidecar, 1 secret)",
        "job/migrate: injected (sidecar, 1 secret)",
        "cronjob/backup: injected (init, 1 secret)",
        "deployment/storefront: injected (init, 2 secrets)",
        "deployment/invoices: skipped (not-annotated)",
        "job/pricing-secret: skipped (not-annotated)",
        "deployment/pricing: skipped (not-annotated)",
        "deployment/reports: injected (sidecar, 1 secret)",
        "namespace/shop: skipped (no-pod)",
    ] {
        assert!(report.contains(expected), "{expected} is not in\n{report}");
    }
}

/// Kinds with their own pod template, each with the same mistake.
#[test]
fn templates_of_other_kinds_are_checked_and_injected() {
    let template = |column: usize| {
        let indent = " ".repeat(column);
        format!(
            "{indent}template: # the pod\n{indent}  metadata:\n{indent}    annotations:\n{indent}      {PREFIX}inject-secret-a: a/b\n{indent}      {PREFIX}refresh-interval: 1m\n{indent}  spec:\n{indent}    containers:\n{indent}    - name: app\n{indent}      image: x\n"
        )
    };
    for (api_version, kind, path, template) in [
        ("argoproj.io/v1alpha1", "Rollout", "", template(2)),
        ("apps.openshift.io/v1", "DeploymentConfig", "", template(2)),
        (
            "keda.sh/v1alpha1",
            "ScaledJob",
            "spec/jobTargetRef/template",
            format!("  jobTargetRef:\n{}", template(4)),
        ),
        ("serving.knative.dev/v1", "Service", "spec/template", template(2)),
        (
            "batch/v1beta1",
            "CronJob",
            "spec/jobTemplate/spec/template",
            format!("  jobTemplate:\n    spec:\n{}", template(6)),
        ),
        (
            "ray.io/v1",
            "RayCluster",
            "spec/headGroupSpec/template",
            format!("  headGroupSpec:\n{}", template(4)),
        ),
    ] {
        let manifest =
            format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n{template}");
        let place = if path.is_empty() { String::new() } else { format!(" ({path})") };
        let name = format!("{}/web{place}: ", kind.to_lowercase());
        let injected = inject(&manifest).exits(0).says(&format!("{name}injected (sidecar, 1 secret)")).stdout;
        assert!(injected.contains("scaivault-sidecar") && injected.contains("# the pod"), "{injected}");
        assert_eq!(run_with(&injected, ["detach"]).exits(0).stdout, manifest);
        let wrong = run_with(manifest.replace("1m", "soon"), ["check", "-o", "json"]).exits(1).stdout;
        let report: Value = serde_json::from_str(&wrong).unwrap();
        assert_eq!(
            report["objects"][0]["template"].as_str().unwrap_or_default().trim_start_matches('/'),
            path
        );
        assert_eq!(report["objects"][0]["problems"][0]["key"], "refresh-interval");
    }
}

#[test]
fn the_mode_of_a_rollout_is_its_own() {
    let rollout =
        MANIFEST.replace("apps/v1", "argoproj.io/v1alpha1").replace("kind: Deployment", "kind: Rollout");
    let frozen = rollout
        .replace("  namespace: shop\n", &format!("  annotations: {{{PREFIX}mutation-mode: ignore}}\n"));
    inject(&frozen).exits(0).says("rollout/billing: skipped (ignored-by-workload)");
    let elsewhere = frozen.replace("  template:\n", "  workloadRef: {name: web}\n  other:\n");
    inject(&elsewhere)
        .exits(0)
        .says("skipped (no-pod)")
        .says("its pod template is that of the workload web")
        .says(&format!("{PREFIX}mutation-mode has no effect in metadata.annotations"));
}

#[test]
fn a_pod_without_annotations_is_not_changed() {
    assert_eq!(inject(POD).exits(0).stdout, POD);
}

#[test]
fn unchanged_numbers_keep_their_digits() {
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","annotations":{"scaivault.scailabs.ai/inject-secret-a":"demo/a"}},"spec":{"containers":[{"name":"app","image":"x"}]}}"#;
    let list = |numbers: &[&str]| {
        let spec: Vec<_> =
            numbers.iter().enumerate().map(|(index, digits)| format!("\"k{index}\": {digits}")).collect();
        format!(
            r#"{{"apiVersion":"v1","kind":"List","items":[{{"apiVersion":"example.com/v1","kind":"Price","spec":{{{}}}}},{pod}]}}"#,
            spec.join(", ")
        )
    };
    let json = [
        "1.10",
        "1e3",
        "-0",
        "1E+2",
        "123456789012345678901234567890",
        "0.1000000000000000055",
        "18446744073709551616",
        "-9223372036854775809",
        "7",
    ];
    let yaml = [&json[..], &["0400", "0o17", "0x1F", "0b11", "1_000", ".5", "5.", "+1", "\"1.10\""]].concat();
    let has = |text: &str, numbers: &[&str]| {
        for (index, digits) in numbers.iter().enumerate() {
            let lines = [format!("k{index}: {digits}"), format!("\"k{index}\": {digits}")];
            let is_there = text.split(['\n', ',', '{', '}']).map(str::trim);
            assert!(
                is_there.clone().any(|line| lines.iter().any(|wanted| line == wanted)),
                "{digits}: {text}"
            );
        }
    };
    let json_list = list(&json)
        .replace("{\"apiVersion\":\"v1\",\"kind\":\"List\"", "{\n  \"apiVersion\":\"v1\",\"kind\":\"List\"");
    let injected = inject(&json_list).exits(0);
    has(&injected.stdout, &json);
    has(&run_with(&injected.stdout, ["detach"]).exits(0).stdout, &json);
    has(&run_with(&json_list, ["inject", "--output", "json"]).exits(0).stdout, &json);

    let yaml_list = format!("# a comment makes it YAML\n--- # so\n{}", list(&yaml));
    let injected = inject(&yaml_list).exits(0);
    has(&injected.stdout, &yaml);
    has(&run_with(&injected.stdout, ["detach"]).exits(0).stdout, &yaml);
    let containers = r#"[{"name":"app","image":"x"}]"#;
    let with_alias = yaml_list.replace(containers, &format!("&list {containers}, \"other\": *list"));
    has(&inject(&with_alias).exits(0).says("rewritten").stdout, &yaml);
    let as_json = run_with(&yaml_list, ["inject", "--output", "json"]).exits(0).stdout;
    has(&as_json, &json);
    assert!(serde_json::from_str::<Value>(&as_json).is_ok(), "{as_json}");
}

/// The most common typo: no key requests a secret, and one nearly does.
#[test]
fn a_misspelt_key_fails_the_check_and_stops_inject() {
    let misspelt = MANIFEST.replace("inject-secret-db.json", "inject-secert-db.json");
    let checked = run_with(&misspelt, ["check"]).exits(1);
    assert!(
        checked.stdout.contains("write scaivault.scailabs.ai/inject-secret-db.json"),
        "{}",
        checked.stdout
    );
    assert!(checked.stdout.contains("[misspelt-key]"), "{}", checked.stdout);
    assert_eq!(inject(&misspelt).exits(1).stdout, "");
}

#[test]
fn the_only_wish_where_nothing_reads_it_is_a_problem() {
    let own = MANIFEST.replace(
        "  namespace: shop\nspec:\n  template:\n    metadata:\n      annotations:\n",
        "  namespace: shop\n  annotations:\n    scaivault.scailabs.ai/inject-secret-db.json: a/b\nspec:\n  template:\n    \
         metadata:\n      annotations: {}\n      x:\n",
    );
    let label = MANIFEST.replace(
        "      annotations:\n",
        "      labels: {scaivault.scailabs.ai/pattern: sidecar}\n      annotations:\n",
    );
    let prefix = |prefix: &str| MANIFEST.replace("scaivault.scailabs.ai/", prefix);
    for (manifest, said, code) in [
        (own, "move it to the pod template", 1),
        (label, "labels are not read", 0),
        (prefix("scaivalt.scailabs.ai/"), "did you mean scaivault.scailabs.ai/inject-secret-db.json?", 1),
        (prefix("scaivault.scailab.ai/"), "did you mean scaivault.scailabs.ai/inject-secret-db.json?", 1),
        (prefix("scaivault.scailabs.ai."), "did you mean scaivault.scailabs.ai/inject-secret-db.json?", 1),
        (prefix("SCAIVAULT.scailabs.ai/"), "did you mean scaivault.scailabs.ai/inject-secret-db.json?", 1),
    ] {
        let checked = run_with(&manifest, ["check"]).exits(code);
        assert!(checked.stdout.contains(said), "{said} is not in\n{}", checked.stdout);
        let denied = run_with(&manifest, ["check", "--deny-warnings"]).exits(1);
        assert_eq!(denied.stdout, checked.stdout);
    }
    run_with(MANIFEST, ["check", "--deny-warnings"]).exits(0);
    run_with("a: [", ["check", "--deny-warnings"]).exits(2);
}

/// A setting that is derived from the pod is explained, too.
#[test]
fn derived_settings_are_explained() {
    let explained = run_with(MANIFEST, ["check", "--explain"]).exits(0).stdout;
    for line in [
        "    pattern = init (derived: sidecar if the pod asks for dynamic credentials, refresh or reload, else init)\n",
        "    ca-trust = public (derived: private with a ca-configmap, else public)\n",
        "    limits-memory = 32Mi (derived: volume-size-limit + 24Mi)\n",
        "    requests-cpu = 10m (derived: ",
        "    run-as-user = 65532 (derived: ",
        "    secret-format-db.json = json (derived: ",
        "    secret-mode-db.json = 0444 (derived: ",
        "    mount-path = /run/secrets (built-in default)\n",
    ] {
        assert!(explained.contains(line), "{line} is not in\n{explained}");
    }
    let set =
        run_with(with_annotation("pattern", "sidecar"), ["check", "--explain", "-o", "json"]).exits(0).stdout;
    let set: Value = serde_json::from_str(&set).unwrap();
    let settings = set["objects"][0]["settings"].as_array().unwrap();
    let find = |key: &str| settings.iter().filter(|setting| setting["key"] == key).collect::<Vec<_>>();
    assert_eq!(find("pattern").len(), 1, "{settings:?}");
    assert_eq!(find("pattern")[0]["layer"], "pod");
    assert_eq!(find("image")[0]["layer"], "derived");
}
