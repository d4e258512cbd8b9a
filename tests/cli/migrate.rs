//! `migrate --output-dir` and `verify`: the written files, and the commands in them.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use super::program::{Outcome, run, run_with};

/// A value that may only appear in the copies of its own manifest.
const VALUE: &str = "c3dvcmRmaXNo";

const MANIFESTS: &str = "\
# Billing.
apiVersion: apps/v1
kind: Deployment
metadata: {name: billing, namespace: shop}
spec:
  selector: {matchLabels: {app: billing}}
  template:
    metadata: {labels: {app: billing}}
    spec:
      serviceAccountName: billing
      containers:
      - name: app   # the only one
        image: registry.example.com/billing:1
        volumeMounts:
        - {name: db, mountPath: /etc/db}
      volumes:
      - name: db
        secret: {secretName: db}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
data: {password: c3dvcmRmaXNo}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other, namespace: shop}
spec:
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec:
      containers:
      - name: app
        image: registry.example.com/other:1
        env: [{name: P, valueFrom: {secretKeyRef: {name: db, key: password}}}]
        volumeMounts: [{name: x, mountPath: /x, subPathExpr: $(P)}]
      volumes: [{name: x, secret: {secretName: x}}]
";

const RULE: [&str; 2] = ["--path", "environments/prod/${namespace}/${secret}"];

/// Every file below a directory, by its relative path.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).expect("the directory can be read") {
            let path = entry.expect("the directory can be read").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path
                    .strip_prefix(directory)
                    .expect("it is below")
                    .to_str()
                    .expect("it is UTF-8")
                    .to_owned();
                found.insert(name, fs::read_to_string(&path).expect("it is text"));
            }
        }
    }
    found
}

/// Migrates [`MANIFESTS`] into a directory.
fn migrated(directory: &Path) -> (Outcome, BTreeMap<String, String>) {
    let (input, output) = (directory.join("deploy"), directory.join("out"));
    fs::create_dir(&input).expect("it is new");
    fs::write(input.join("app.yaml"), MANIFESTS).expect("it can be written");
    let arguments =
        ["migrate", "-f", input.to_str().expect("UTF-8"), "--output-dir", output.to_str().expect("UTF-8")];
    let outcome = run(arguments.into_iter().chain(RULE)).exits(1);
    (outcome, files(&output))
}

#[test]
fn the_directory_has_the_batches_and_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let (outcome, files) = migrated(directory.path());
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "batches/01/apply/shop-deployment-billing.yaml",
            "batches/01/rollback/shop-deployment-billing.yaml",
            "batches/01/verify.yaml",
            "manifests/app.yaml",
            "original/app.yaml",
            "plan.json",
            "plan.md",
        ]
    );
    assert_eq!(files["original/app.yaml"], MANIFESTS);
    let (first, rest) = MANIFESTS.split_at(MANIFESTS.find("---").unwrap());
    assert_eq!(files["batches/01/rollback/shop-deployment-billing.yaml"], first);
    assert!(files["manifests/app.yaml"].ends_with(rest), "{}", files["manifests/app.yaml"]);
    let apply = &files["batches/01/apply/shop-deployment-billing.yaml"];
    assert!(apply.contains("# the only one") && !apply.contains("secretName"), "{apply}");
    run_with(apply, ["check", "-f", "-", "--deny-warnings"]).exits(0);
    // The plan contains both, with the reason for the one that is not migrated.
    let plan: Value = serde_json::from_str(&files["plan.json"]).unwrap();
    assert_eq!(plan["batches"][0]["workloads"][0]["name"], "billing");
    assert!(plan["left"][0]["reasons"][0].as_str().unwrap().contains("subPathExpr"), "{plan}");
    assert_eq!(plan["finish"], serde_json::json!([]), "the other workload still uses the Secret");
    assert!(files["plan.md"].contains("kubectl rollout status"), "{}", files["plan.md"]);
    assert!(
        outcome.stdout.contains("2 workloads with secrets: 1 migrated, 1 left as they are"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn no_value_of_a_secret_is_printed_or_planned() {
    let directory = tempfile::tempdir().unwrap();
    let (outcome, files) = migrated(directory.path());
    assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains(VALUE));
    for (name, text) in files.iter().filter(|(name, _)| !name.ends_with("app.yaml")) {
        assert!(!text.contains(VALUE), "{name}: {text}");
    }
    let jobs = run_with(MANIFESTS, ["verify"].into_iter().chain(RULE)).exits(1);
    assert!(!jobs.stdout.contains(VALUE));
}

#[test]
fn an_earlier_result_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().to_str().unwrap();
    fs::write(directory.path().join("note"), "").unwrap();
    run_with(MANIFESTS, ["migrate", "--output-dir", output].into_iter().chain(RULE))
        .exits(2)
        .says("the directory is not empty");
}

#[test]
fn with_an_unreadable_file_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out");
    let broken = format!("{MANIFESTS}---\na: [\n");
    let arguments = ["migrate", "--output-dir", output.to_str().unwrap()];
    run_with(&broken, arguments.into_iter().chain(RULE)).exits(2);
    assert!(!output.exists());
    let outcome = run_with(&broken, ["migrate"].into_iter().chain(RULE)).exits(2).says("nothing is written");
    assert_eq!(outcome.stdout, "");
}

#[test]
fn a_job_compares_each_key_as_the_workloads_account() {
    let jobs = run_with(MANIFESTS, ["verify"].into_iter().chain(RULE)).exits(1);
    let jobs: Vec<Value> = serde_saphyr::from_multiple(&jobs.stdout).unwrap();
    let [job] = jobs.as_slice() else { panic!("{jobs:?}") };
    let spec = &job["spec"]["template"]["spec"];
    assert_eq!(
        (&job["metadata"]["name"], &job["metadata"]["namespace"]),
        (&"scaivault-verify-billing".into(), &"shop".into())
    );
    assert_eq!(spec["serviceAccountName"], "billing");
    assert_eq!(
        spec["containers"][0]["args"],
        serde_json::json!(["verify", "/scaivault/new/db/password", "/scaivault/today/db/password"])
    );
    assert_eq!(spec["volumes"][0]["secret"]["secretName"], "db");
    // The webhook places ScaiVault's files in the compared directory.
    let injected = run_with(job.to_string(), ["inject", "-o", "json"]).exits(0).stdout;
    let pod: Value = serde_json::from_str(&injected).unwrap();
    let pod = &pod["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["volumeMounts"][1]["mountPath"], "/scaivault/new");
    let secrets = &pod["initContainers"][0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .find(|env| env["name"] == "SECRETS")
        .unwrap()["value"];
    assert!(
        secrets
            .as_str()
            .unwrap()
            .starts_with("environments/prod/shop/db#password -> /scaivault/new/db/password"),
        "{secrets}"
    );
}

#[test]
fn a_rule_without_its_environment_is_refused() {
    for (arguments, said) in [
        (vec!["--path", "a/${environment}"], "name it with --environment"),
        (vec!["--path", "a/${path}"], "${environment}, ${namespace}, ${secret}"),
        (vec!["--map", "/does/not/exist"], "/does/not/exist"),
        (vec!["--refresh", "soon"], "soon"),
    ] {
        let arguments = ["migrate"].into_iter().chain(arguments);
        run_with(MANIFESTS, arguments).exits(2).says(said);
    }
}

#[test]
fn missing_entries_are_printed_as_a_map() {
    let outcome = run_with(MANIFESTS, ["migrate"]).exits(1);
    assert_eq!(outcome.stdout, MANIFESTS);
    for said in [
        "secrets:\n- namespace: \"shop\"\n  name: \"db\"\n  path: \"\"",
        "the map has no entry for the Secret db",
    ] {
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
}

#[test]
fn keys_of_manifests_and_of_the_map_are_merged() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.yaml"), MANIFESTS.replace("data: {password", "data: {username: eA==, password"))
        .expect("written");
    let map = "secrets:\n- {name: db, path: environments/prod/db, keys: {username: user}}\n";
    fs::write(path("map.yaml"), map).expect("written");
    let words = ["migrate".into(), "-f".into(), path("a.yaml"), "--map".into(), path("map.yaml")];
    let output = run(words).exits(1).stdout;
    for expected in [
        r#"inject-secret-username": "environments/prod/db#user""#,
        r#"inject-secret-password": "environments/prod/db#password""#,
    ] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[test]
fn a_key_of_the_map_that_is_no_field_is_explained() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.yaml"), MANIFESTS).expect("written");
    let map = "secrets: [{name: db, path: a/b, keys: {password: {fild: x}}}]\n";
    fs::write(path("map.yaml"), map).expect("written");
    let words = ["migrate".into(), "-f".into(), path("a.yaml"), "--map".into(), path("map.yaml")];
    let refused = run(words).exits(2);
    assert!(
        refused.stderr.contains("a key must be the name of its field, or a map with path"),
        "{}",
        refused.stderr
    );
}

#[test]
fn manifests_of_one_workload_are_warned_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("in")).expect("made");
    fs::write(path("in/dev.yaml"), MANIFESTS).expect("written");
    fs::write(path("in/prod.yaml"), MANIFESTS).expect("written");
    let words = ["migrate".into(), "-f".into(), path("in"), RULE[0].into(), RULE[1].into()];
    let report = run(words).exits(1).stderr;
    let (dev, prod) = (path("in/dev.yaml"), path("in/prod.yaml"));
    let warning = format!(
        "several manifests describe this workload: {}:2, {}:2; migrate those of one cluster at a time",
        dev.display(),
        prod.display()
    );
    assert_eq!(report.matches(&warning).count(), 2, "{warning}: {report}");
    let one = run(["migrate".into(), "-f".into(), dev, RULE[0].into(), RULE[1].into()]).exits(1).stderr;
    assert!(!one.contains("several manifests"), "{one}");
}

#[test]
fn a_job_without_a_name_is_created() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let job = "\
apiVersion: batch/v1
kind: Job
metadata: {generateName: once-, namespace: shop}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: a, image: x, volumeMounts: [{name: v, mountPath: /etc/db}]}]
      volumes: [{name: v, secret: {secretName: db, items: [{key: a, path: a}]}}]
";
    fs::write(path("in.yaml"), job).expect("written");
    let words = ["migrate".into(), "-f".into(), path("in.yaml"), "--output-dir".into(), path("out")];
    run(words.into_iter().chain(RULE.map(Into::into))).exits(0);
    let plan = fs::read_to_string(path("out/plan.md")).expect("a plan");
    for expected in [
        "kubectl create --namespace=shop -f batches/01/apply/shop-job.yaml",
        "kubectl create --namespace=shop -f batches/01/rollback/shop-job.yaml",
    ] {
        assert!(plan.contains(expected), "{expected}: {plan}");
    }
    assert!(!plan.contains("once-"), "{plan}");
}

/// A namespace with invalid defaults, one that is missing, a policy that cannot be used, and a
/// broken pod template.
#[test]
fn problems_of_other_objects_are_reported() {
    const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, annotations: {scaivault.scailabs.ai/token-expiration-seconds: 60, scaivault.scailabs.ai/refresh-intervall: 5m}}
";
    const OTHERS: &str = "
---
apiVersion: scaivault.scailabs.ai/v1alpha1
kind: InjectionPolicy
metadata: {name: billing}
spec: {namespaceSelector: {}, enviroment: production}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: broken, namespace: shop}
spec: {template: {spec: {containers: [{name: app, image: app}], volumes: {name: db}}}}
";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("namespaces.yaml");
    fs::write(&file, NAMESPACE).unwrap();
    let words = ["migrate", "--kube-version", "1.36", "--namespace-file", file.to_str().unwrap()];
    let (billing, _) = MANIFESTS.rsplit_once("---").unwrap();
    let outcome = run_with(format!("{billing}{OTHERS}"), words.into_iter().chain(RULE)).exits(1);
    for part in [
        "namespace/shop: denied (problems)",
        "token-expiration-seconds (of the namespace): \"60\": the value is a number",
        "did you mean scaivault.scailabs.ai/refresh-interval?",
        "injectionpolicy/billing: denied (invalid-policy)",
        "spec.enviroment: unknown field; did you mean environment?",
        "deployment/broken: denied (malformed-pod)",
        "1 workload with secrets: 1 migrated, 0 left as they are",
    ] {
        assert!(outcome.stderr.contains(part), "{part}\n{}", outcome.stderr);
    }
    let audit = ["audit", "-f", "-", "--namespace-file", file.to_str().unwrap()];
    let audited = run_with(billing, audit).exits(1).stdout;
    assert!(audited.contains("token-expiration-seconds (of the namespace): \"60\""), "{audited}");
    fs::write(&file, NAMESPACE.replace("shop, annotations", "shopp, labels")).unwrap();
    let outcome = run_with(billing, words.into_iter().chain(RULE)).exits(0);
    assert!(outcome.stderr.contains("no workload among the manifests is in a namespace of this file"));
}
