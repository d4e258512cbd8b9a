//! `check` of SecretProviderClasses and of pods that mount volumes of the Secrets Store CSI driver.

use serde_json::Value;

use super::program::{run, run_with};

/// The class on ScaiVault's Kubernetes page.
const CLASS: &str = "\
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: billing-secrets
  namespace: billing
spec:
  provider: scaivault
  parameters:
    base_url: https://scaivault.scailabs.ai
    audience: scaivault
    objects: |
      - path: environments/production/billing/database
        file: db.json
      - path: environments/production/billing/stripe
        file: stripe.json
        field: secret_key
";

/// The pod on that page, as published.
const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: billing, namespace: billing}
spec:
  serviceAccountName: billing-prod
  containers:
  - name: app
    image: acme/billing:1.0
    volumeMounts:
    - name: secrets
      mountPath: /run/secrets
      readOnly: true
  volumes:
  - name: secrets
    csi:
      driver: secrets-store.csi.k8s.io
      readOnly: true
      volumeAttributes:
        secretProviderClass: billing-secrets
";

/// That pod with the secrets in another directory.
fn pod() -> String {
    POD.replace("/run/secrets", "/secrets")
}

/// The lines of a report that start with this word.
fn lines<'a>(report: &'a str, word: &str) -> Vec<&'a str> {
    report.lines().filter_map(|line| line.trim_start().strip_prefix(word)?.strip_prefix(": ")).collect()
}

/// Checks that the manifests have exactly these problems and warnings; each is a part of a line.
#[track_caller]
fn check(manifests: &[&str], problems: &[&str], warnings: &[&str]) {
    let outcome = run_with(manifests.join("---\n"), ["check"]).exits(i32::from(!problems.is_empty()));
    for (word, expected) in [("problem", problems), ("warning", warnings)] {
        let found = lines(&outcome.stdout, word);
        assert_eq!(found.len(), expected.len(), "{word}: {expected:#?}\n{}", outcome.stdout);
        for part in expected {
            assert!(found.iter().any(|line| line.contains(part)), "{word}: {part}\n{}", outcome.stdout);
        }
    }
}

#[test]
fn the_published_class_is_accepted_and_the_published_pod_is_not() {
    let outcome = run_with(format!("{CLASS}---\n{POD}"), ["check"]).exits(1);
    assert!(
        outcome.stdout.contains("secretproviderclass/billing-secrets: accepted (class)"),
        "{}",
        outcome.stdout
    );
    let problems = lines(&outcome.stdout, "problem");
    let [problem] = problems.as_slice() else { panic!("{}", outcome.stdout) };
    for part in [
        "spec.containers[0].volumeMounts[0].mountPath (line 28): the token of the API server",
        "does not start; to fix: use another mountPath",
        "`automountServiceAccountToken: false`",
        "[csi-mount-conflict]",
    ] {
        assert!(problem.contains(part), "{part}: {problem}");
    }
}

/// The example is the published manifest with one of the fixes applied.
#[test]
fn the_example_needs_its_fix() {
    let example = include_str!("../../examples/csi.yaml");
    check(&[example], &[], &[]);
    let fix = "      automountServiceAccountToken: false\n";
    assert!(example.contains(fix));
    check(&[&example.replace(fix, "")], &["[csi-mount-conflict]"], &[]);
}

#[test]
fn each_fix_of_the_published_pod_works() {
    check(&[CLASS, &pod()], &[], &[]);
    let own =
        POD.replace("  serviceAccountName", "  automountServiceAccountToken: false\n  serviceAccountName");
    check(&[CLASS, &own], &[], &[]);
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: billing-prod, namespace: billing}\n\
                   automountServiceAccountToken: false\n";
    check(&[CLASS, POD, account], &[], &[]);
    // The pod's setting overrides that of its service account.
    let own = own.replace("Token: false", "Token: true");
    check(&[CLASS, &own, account], &["the token of the API server"], &[]);
    let other = account.replace("billing-prod", "other");
    check(&[CLASS, POD, &other], &["the token of the API server"], &[]);
}

/// The core finds nothing wrong with these objects, but the driver or the restart controller does.
#[test]
fn an_object_with_a_problem_of_these_is_denied() {
    let inject = "{scaivault.scailabs.ai/inject-secret-db.json: a/b}, name: billing";
    let annotated = pod().replace("{name: billing", &format!("{{annotations: {inject}"));
    let annotated = annotated.replace("      readOnly: true\n      volumeA", "      volumeA");
    let deployment = |annotation: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, annotations: {{{annotation}}}}}\nspec: \
             {{template: {{spec: {{containers: [{{name: app}}]}}}}}}\n"
        )
    };
    let invalid = "scaivault.scailabs.ai/restart: always";
    for (manifest, line) in [
        (POD.to_owned(), "pod/billing: denied (invalid-volume)\n"),
        (annotated, "pod/billing: denied (invalid-volume)\n"),
        (deployment(invalid), "deployment/web: denied (invalid-restart)\n"),
        (
            format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: db, annotations: {{{invalid}}}}}\n"),
            "secret/db: denied (invalid-restart)\n",
        ),
    ] {
        let report = run_with(&manifest, ["check"]).exits(1).stdout;
        assert!(report.contains(line) && report.ends_with("\n1 object: 1 denied\n"), "{line}\n{report}");
        let json = run_with(manifest, ["check", "--output", "json"]).exits(1).stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["summary"], serde_json::json!({"denied": 1}), "{json:#}");
    }
}

#[test]
fn no_mount_is_below_a_read_only_volume() {
    let with = |mounts: &str, volumes: &str| {
        pod()
            .replace("      readOnly: true\n  volumes:", &format!("      readOnly: true\n{mounts}  volumes:"))
            + volumes
    };
    for (path, problem) in [
        ("/secrets/cache", Some("the volume other is mounted below it, at /secrets/cache")),
        ("/secrets//cache/", Some("is mounted below it")),
        ("/secretsx", None),
        ("/", None),
    ] {
        let mounts = format!("    - {{name: other, mountPath: {path}}}\n");
        let pod = with(&mounts, "  - {name: other, emptyDir: {}}\n");
        check(&[CLASS, &pod], problem.as_slice(), &[]);
    }
    let below = "    - {name: other, mountPath: /}\n".replace("mountPath: /", "mountPath: /secrets/..");
    check(&[CLASS, &with(&below, "  - {name: other, emptyDir: {}}\n")], &[], &[]);
    for (volume, problem) in [
        ("{name: other, configMap: {name: a}}", Some("it is mounted below the volume other at /etc/app")),
        ("{name: other, emptyDir: {}}", None),
    ] {
        let pod = with("    - {name: other, mountPath: /etc/app}\n", &format!("  - {volume}\n"));
        check(
            &[CLASS, &pod.replace("mountPath: /secrets", "mountPath: /etc/app/secrets")],
            problem.as_slice(),
            &[],
        );
    }
}

#[test]
fn the_token_is_found_under_both_spellings_of_run() {
    for (path, problem) in [
        ("/var/run/secrets", Some("is mounted below it")),
        ("/run", Some("is mounted below it")),
        ("/var/run", Some("is mounted below it")),
        ("/run/secrets/kubernetes.io", Some("is mounted below it")),
        ("/run/secrets/kubernetes.io/serviceaccount", Some("at the same place")),
        ("/run/secrets/kubernetes.io/serviceaccount/scaivault", Some("it is mounted below the token")),
        ("/run/secrets/scaivault", None),
        // With a mount at this path, the API server adds no token.
        ("/var/run/secrets/kubernetes.io/serviceaccount", None),
    ] {
        check(&[CLASS, &POD.replace("/run/secrets", path)], problem.as_slice(), &[]);
    }
}

#[test]
fn mounts_of_the_injector_count() {
    let annotated = pod().replace(
        "namespace: billing}",
        "namespace: billing, annotations: {scaivault.scailabs.ai/inject-secret-db: a/b}}",
    );
    check(&[CLASS, &annotated], &[], &[]);
    let at = |path: &str| annotated.replace("/secrets\n", &format!("{path}\n"));
    let without_token = |pod: &str| {
        pod.replace("  serviceAccountName", "  automountServiceAccountToken: false\n  serviceAccountName")
    };
    check(&[CLASS, &without_token(&at("/run/secrets"))], &["[mount-conflict]"], &[]);
    check(
        &[CLASS, &without_token(&at("/run"))],
        &["is mounted below it, at /run/secrets"],
        &["mounts a read-only volume at \"/run\""],
    );
}

#[test]
fn all_mistakes_of_a_class_have_their_lines() {
    let class = CLASS
        .replace("    audience: scaivault\n", "    roleName: billing\n    audience: ''\n")
        .replace("https://scaivault", "http://scaivault")
        .replace("file: db.json", "objectName: db.json")
        .replace("field: secret_key", "fild: secret_key\n        mode: 0777")
        + "  secretObject: []\n";
    check(
        &[&class],
        &[
            "spec.secretObject (line 19): the field is not known; did you mean secretObjects?",
            "spec.parameters.roleName (line 10): the parameter \"roleName\" is not known; did you mean role?",
            "spec.parameters.audience (line 11): the value is empty",
            "spec.parameters.base_url (line 9): \"http://scaivault.scailabs.ai\" is not the address",
            "spec.parameters.objects (line 14): objects[0]: the key \"objectName\" is not known; did you mean file?",
            "objects[0]: file is missing",
            "(line 17): objects[1]: the key \"fild\" is not known; did you mean field?",
            "(line 18): objects[1]: mode: \"0777\"",
        ],
        &[],
    );
    let outcome = run_with(class, ["check", "--output", "json"]).exits(1);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let object = &report["objects"][0];
    assert_eq!((&object["outcome"], &object["reason"]), (&"denied".into(), &"invalid-class".into()));
    let problem =
        object["problems"].as_array().unwrap().iter().find(|problem| problem["line"] == 10).unwrap();
    assert_eq!(
        (&problem["code"], &problem["key"]),
        (&"csi-parameter".into(), &"spec.parameters.roleName".into())
    );
}

#[test]
fn a_class_needs_the_fields_of_driver_and_provider() {
    for (from, to, expected) in [
        ("provider: scaivault", "provider: scaivalt", "did you mean scaivault?"),
        ("  provider: scaivault\n", "", "the provider is missing"),
        ("x-k8s.io/v1", "k8s.io/v1", "is not the API of the driver"),
        ("audience: scaivault", "audience: 5", "spec.parameters.audience (line 10): the value is not a text"),
        ("objects: |", "objects:", "write `objects: |`"),
        ("objects: |", "role: |", "the parameter objects is missing"),
        ("file: stripe.json", "file: db.json", "written twice"),
        (
            "path: environments/production/billing/stripe",
            "path: pods/${PODNAME}",
            "did you mean ${POD_NAME}?",
        ),
        ("field: secret_key", "template: '{{ data.x'", "(line 16): objects[1]: template: "),
        (
            "      - path: environments/production/billing/s",
            "      -path: s",
            "not a list of objects in YAML",
        ),
    ] {
        let class = CLASS.replacen(from, to, 1);
        let outcome = run_with(&class, ["check"]).exits(1);
        assert!(outcome.stdout.contains(expected), "{expected}\n{}", outcome.stdout);
    }
    check(&[&CLASS.replace("/stripe\n", "/${POD_NAME}/${namespace}\n")], &[], &[]);
    // Another provider's parameters are unknown.
    let vault = CLASS.replace("provider: scaivault", "provider: vault").replace("base_url", "vaultAddress");
    check(&[&vault, POD], &[], &[]);
}

#[test]
fn native_secrets_need_files_that_are_written() {
    let class = CLASS.replace("        field: secret_key\n", "        field: secret_key\n        optional: true\n      - engine: postgres\n        role: billing\n        file: pg.json\n")
        + "  secretObjects:
  - secretName: billing
    type: Opaque
    data:
    - {objectName: db.json, key: db.json}
    - {objectName: db.jsn, key: a}
    - {objectName: stripe.json, key: b}
    - {objectName: pg.json, key: c}
  - secretName: billing
    data: []
  - {secretName: tls, type: kubernetes.io/tls, data: [{objectName: db.json, key: cert}], dat: 1}
";
    check(
        &[&class],
        &[
            "spec.secretObjects[0].data[1].objectName (line 26): no object of the class writes \"db.jsn\"; did you mean db.json?",
            "spec.secretObjects[1].secretName (line 29): \"billing\" is written twice",
            "spec.secretObjects[1].type (line 29): the type of the Secret is missing",
            "spec.secretObjects[1].data (line 30): no key is listed",
            "allowed: tls.crt, tls.key",
            "spec.secretObjects[2].dat (line 31): the field is not known; did you mean data?",
        ],
        &["\"stripe.json\" is optional", "\"pg.json\" has dynamic credentials"],
    );
}

#[test]
fn a_volume_is_read_only_mounted_whole_and_on_linux() {
    for (from, to, problem, warning) in [
        ("      readOnly: true\n      volumeA", "      volumeA", Some("[csi-read-only]"), None),
        (
            "      readOnly: true\n      volumeA",
            "      readOnly: false\n      volumeA",
            Some("(line 34): the driver only mounts read-only"),
            None,
        ),
        (
            "      readOnly: true\n  volumes",
            "      readOnly: false\n  volumes",
            None,
            Some("so is this mount"),
        ),
        (
            "      readOnly: true\n  volumes",
            "      subPath: db.json\n  volumes",
            None,
            Some("subPath is never updated"),
        ),
        (
            "      readOnly: true\n  volumes",
            "      subPath: db.jsn\n  volumes",
            Some("did you mean db.json?"),
            None,
        ),
        (
            "    volumeMounts:\n    - name: secrets\n",
            "    x:\n    - name: secrets\n",
            None,
            Some("no container mounts the volume"),
        ),
        (
            "spec:\n",
            "spec:\n  os: {name: windows}\n",
            Some("spec.os.name (line 22): the provider has no image"),
            None,
        ),
        ("spec:\n", "spec:\n  nodeSelector: {kubernetes.io/os: windows}\n", Some("[csi-windows]"), None),
        (
            "secretProviderClass: billing-secrets",
            "providerClass: billing-secrets",
            Some("the volume names no class"),
            None,
        ),
        (
            "driver: secrets-store.csi.k8s.io",
            "driver: secrets-store.csi.x-k8s.io",
            Some("expected secrets-store.csi.k8s.io"),
            None,
        ),
        (
            "        secretP",
            "        csi.storage.k8s.io/serviceAccount.tokens: x\n        secretP",
            None,
            Some("the kubelet sets this attribute"),
        ),
    ] {
        let pod = pod().replacen(from, to, 1);
        assert_ne!(pod, self::pod(), "{from}");
        check(&[CLASS, &pod], problem.as_slice(), warning.as_slice());
    }
}

#[test]
fn attributes_of_the_pod_override_its_class() {
    let with = |attributes: &str| pod() + attributes;
    check(&[CLASS, &with("        audience: legacy\n        role: sa:billing\n")], &[], &[]);
    check(
        &[CLASS, &with("        base_url: ftp://x\n        audienc: x\n        role: 5\n")],
        &["volumeAttributes.base_url (line 37)", "did you mean audience?", "the value is not a text"],
        &[],
    );
    let class = format!(
        "{CLASS}  secretObjects: [{{secretName: a, type: Opaque, data: [{{objectName: db.json, key: b}}]}}]\n"
    );
    let objects =
        "        objects: |\n          - {path: a/b, file: other.json}\n          - {path: A, file: c}\n";
    check(&[&class, &with(objects)], &["(line 40): objects[1]: path: \"A\""], &[]);
    check(
        &[&class, &with(&objects.replace("path: A", "path: a"))],
        &["no object of the class writes \"db.json\""],
        &[],
    );
}

#[test]
fn a_user_must_be_able_to_read_the_files() {
    let class = CLASS.replace("file: db.json", "file: db.json\n        mode: 0440");
    let with =
        |context: &str| pod().replacen("spec:\n", &format!("spec:\n  securityContext: {context}\n"), 1);
    for (context, is_readable) in [
        ("{}", true),
        ("{runAsUser: 0}", true),
        ("{runAsUser: 1000}", true),
        ("{runAsUser: 1000, runAsGroup: 1000}", false),
        ("{runAsNonRoot: true, runAsGroup: 1000}", false),
        ("{runAsUser: 1000, runAsGroup: 1000, supplementalGroups: [0]}", true),
    ] {
        let problem = (!is_readable).then_some("db.json has the mode 0440 and belongs to root");
        check(&[&class, &with(context)], problem.as_slice(), &[]);
    }
    let container = with("{runAsUser: 1000, runAsGroup: 1000}")
        .replace("    image:", "    securityContext: {runAsUser: 0}\n    image:");
    check(&[&class, &container], &[], &[]);
}

#[test]
fn classes_are_found_in_other_files_and_namespaces() {
    let unknown = run_with(pod(), ["check", "--deny-warnings"]).exits(0).stdout;
    assert!(
        unknown.contains(
            "note: spec.volumes[0].csi.volumeAttributes.secretProviderClass (line 19): the class is not among"
        ),
        "{unknown}"
    );
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a-pod.yaml"), pod().replace("stripe", "")).unwrap();
    std::fs::write(directory.path().join("b-class.yaml"), CLASS.replace("field: ", "fild: ")).unwrap();
    let report = run(["check".as_ref(), "-f".as_ref(), directory.path().as_os_str()]).exits(1).stdout;
    assert!(!report.contains("note:") && report.contains("did you mean field?"), "{report}");
    // The namespace may be chosen when the manifest is applied.
    check(&[&CLASS.replace("  namespace: billing\n", ""), &pod()], &[], &[]);
    check(&[CLASS, &pod().replace(", namespace: billing", "")], &[], &[]);
    check(
        &[CLASS, &pod().replace("namespace: billing", "namespace: shop")],
        &[],
        &["the class is in the namespace \"billing\""],
    );
}

#[test]
fn pod_templates_and_lists_are_checked() {
    let (_, spec) = POD.split_once("spec:\n").unwrap();
    let indented = |text: &str, by: usize| {
        let indent = " ".repeat(by);
        text.split_inclusive('\n').flat_map(|line| [indent.as_str(), line]).collect::<String>()
    };
    let template = |indent: usize| indented(spec, indent);
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d, namespace: billing}}\nspec:\n  template:\n    spec:\n{}",
        template(4)
    );
    check(
        &[CLASS, &deployment],
        &["spec.template.spec.containers[0].volumeMounts[0].mountPath (line 30)"],
        &[],
    );
    let cron_job = format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: d, namespace: billing}}\nspec:\n  jobTemplate:\n    spec:\n      template:\n        spec:\n{}",
        template(8)
    );
    check(&[CLASS, &cron_job], &["spec.jobTemplate.spec.template.spec.containers[0]"], &[]);
    let items: String = [CLASS, POD].map(|item| indented(item, 2).replacen("  ", "- ", 1)).concat();
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{items}");
    check(&[&list], &["spec.containers[0].volumeMounts[0].mountPath (line 30)"], &[]);
    // Kinds of operators.
    let rollout = deployment.replace("apps/v1", "argoproj.io/v1alpha1").replace("Deployment", "Rollout");
    check(&[CLASS, &rollout], &["[csi-mount-conflict]"], &[]);
}

#[test]
fn inject_does_not_look_at_volumes_of_the_driver() {
    let outcome = run_with(POD, ["inject"]).exits(0);
    assert_eq!(outcome.stdout, POD);
}
