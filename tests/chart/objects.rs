//! Assertions on the rendered objects for any values.

use std::{collections::BTreeSet, fs, process::Command};

use scaivault_testkit::pod_security::{is_restricted_volume, restricted_violations};
use serde_json::{Value, json};

use super::helm::{Manifests, template};
use crate::server;

/// The API server's limit for one webhook.
const MATCH_CONDITIONS: usize = 64;

/// Sets of values that cover the differences asserted here.
const SETS: [&[&str]; 5] = [
    &[],
    &["--set", "certificates.mode=cert-manager"],
    &[
        "--set",
        "certificates.mode=files,certificates.files.secretName=tls,certificates.files.caBundle=-----BEGIN CERTIFICATE-----",
    ],
    &[
        "--set",
        "webhook.failurePolicy=Ignore,server.clientCa.configMap=callers,injector.excludedNamespaces={monitoring}",
    ],
    &[
        "--set",
        "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null,podSecurityContext.fsGroup=null",
    ],
];

fn each(check: impl Fn(&Manifests, &[&str])) {
    for set in SETS {
        check(&template(set).unwrap(), set);
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn webhooks(manifests: &Manifests) -> Vec<Value> {
    let kinds = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
    kinds.iter().flat_map(|kind| list(&manifests.only(kind)["webhooks"]).to_vec()).collect()
}

#[test]
fn its_own_pods_pass_the_level_restricted() {
    each(|manifests, set| {
        let deployment = manifests.only("Deployment");
        for spec in [&deployment["spec"]["template"]["spec"], &manifests.only("Pod")["spec"]] {
            for container in list(&spec["containers"]) {
                assert_eq!(restricted_violations(container), [""; 0], "{set:?}");
            }
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{set:?}");
            assert_ne!(spec["hostNetwork"], true);
            assert!(list(&spec["volumes"]).iter().all(is_restricted_volume), "{set:?}");
        }
    });
}

/// After a change of the mode, the CA is kept until the last pod of the previous mode is gone.
#[test]
fn the_authoritys_secret_is_rendered_in_every_mode() {
    each(|manifests, set| {
        let secret = manifests.only("Secret");
        assert_eq!(secret["metadata"]["name"], "scaivault-injector-ca", "{set:?}");
        assert_eq!(secret.get("data"), None, "{set:?}");
    });
}

#[test]
fn another_configuration_is_another_pod_template() {
    let template = |set: &str| {
        let deployment = template(&["--set", set]).unwrap().only("Deployment");
        deployment["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let default = template("");
    assert_ne!(template("injector.onProblem=warn"), default);
    assert_ne!(template("injector.defaults.url=https://vault.example.com"), default);
    assert_eq!(template("webhook.failurePolicy=Ignore"), default, "which the pods do not read");
}

/// Two pods on a node cannot use the same host port.
#[test]
fn a_rollout_in_the_nodes_network_needs_no_free_node() {
    let strategy = |set: &str| {
        template(&["--set", set]).unwrap().only("Deployment")["spec"]["strategy"]["rollingUpdate"].clone()
    };
    assert_eq!(strategy("hostNetwork=false"), json!({"maxUnavailable": 0, "maxSurge": 1}));
    assert_eq!(strategy("hostNetwork=true"), json!({"maxUnavailable": 1, "maxSurge": 0}));
}

/// The CEL expressions of a webhook's match conditions.
fn conditions(manifests: &Manifests, entry: &str) -> String {
    let webhooks = webhooks(manifests);
    let name = format!("{entry}.injector.scaivault.scailabs.ai");
    let webhook = webhooks.iter().find(|webhook| webhook["name"] == name).unwrap();
    list(&webhook["matchConditions"])
        .iter()
        .map(|condition| condition["expression"].as_str().unwrap())
        .collect()
}

/// kube-system also contains service accounts that apply users' manifests, for example k3s with its
/// `HelmChart`s.
#[test]
fn built_in_controllers_are_named_and_no_namespace_is() {
    let manifests = template(&[]).unwrap();
    for entry in ["mode", "validate"] {
        let conditions = conditions(&manifests, entry);
        assert!(!conditions.contains("startsWith('system:"), "{conditions}");
        for name in [
            "deployment",
            "replicaset",
            "statefulset",
            "daemon-set",
            "job",
            "cronjob",
            "replication",
            "namespace",
        ] {
            let user = format!("'system:serviceaccount:kube-system:{name}-controller'");
            assert!(conditions.contains(&user), "{entry}: {user}");
        }
        for user in
            ["system:kube-controller-manager", "system:serviceaccount:kube-system:generic-garbage-collector"]
        {
            assert!(conditions.contains(&format!("'{user}'")), "{entry}: {user}");
        }
    }
}

/// Without OpenShift, any tenant may own the service account's namespace.
#[test]
fn openshifts_controller_is_exempt_for_its_own_kind() {
    let manifests = template(&[]).unwrap();
    for entry in ["mode", "validate"] {
        let conditions = conditions(&manifests, entry);
        let user = "'system:serviceaccount:openshift-infra:deploymentconfig-controller'";
        assert_eq!(conditions.matches("openshift-infra").count(), 1, "{entry}: {conditions}");
        let expected = format!(
            "!(request.resource.group == 'apps.openshift.io' && request.userInfo.username == {user})"
        );
        assert!(conditions.contains(&expected), "{entry}: {conditions}");
    }
}

/// Volcano's `jobs` differ from those of `batch`: their templates are in another field.
#[test]
fn an_extra_resource_is_known_by_group_and_name() {
    let manifests = template(&[
        "--set",
        "webhook.validate.extraResources[0].apiGroups={batch.volcano.sh},\
        webhook.validate.extraResources[0].apiVersions={v1alpha1},webhook.validate.extraResources[0].resources={jobs}",
    ])
    .unwrap();
    let conditions = conditions(&manifests, "validate");
    let (_, known) =
        conditions.split_once("!(request.resource.group + '/' + request.resource.resource in [").unwrap();
    let known: BTreeSet<_> = known.split(']').next().unwrap().split(", ").collect();
    let webhooks = webhooks(&manifests);
    let rules = list(&webhooks.last().unwrap()["rules"]);
    let words = |rule: &Value, key: &str| {
        list(&rule[key]).iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let resources: Vec<_> = rules
        .iter()
        .map(|rule| {
            let [group] = &words(rule, "apiGroups")[..] else { panic!("{rule}") };
            words(rule, "resources").iter().map(|name| format!("'{group}/{name}'")).collect::<Vec<_>>()
        })
        .collect();
    let (extra, own) = resources.split_last().unwrap();
    assert_eq!(extra[..], ["'batch.volcano.sh/jobs'"]);
    assert_eq!(own.iter().flatten().map(String::as_str).collect::<BTreeSet<_>>(), known);
    assert!(!known.contains(&*extra[0]));
}

/// A renewed CA with another key would not verify the certificates that pods still serve.
#[test]
fn the_ca_of_cert_manager_keeps_its_key() {
    let manifests = template(&["--set", "certificates.mode=cert-manager"]).unwrap();
    let certificates = manifests.of_kind("Certificate");
    let policies: Vec<_> = certificates
        .iter()
        .map(|certificate| {
            (certificate["spec"]["isCA"] == true, &certificate["spec"]["privateKey"]["rotationPolicy"])
        })
        .collect();
    assert_eq!(policies, [(false, &json!("Always")), (true, &json!("Never"))]);
}

#[test]
fn no_foreign_fields_are_rendered() {
    let manifests = template(&[]).unwrap();
    assert_eq!(manifests.only("Secret").get("data"), None);
    for webhook in webhooks(&manifests) {
        assert_eq!(webhook["clientConfig"].get("caBundle"), None);
    }
    let scaled = template(&["--set", "autoscaling.enabled=true"]).unwrap();
    assert_eq!(scaled.only("Deployment")["spec"].get("replicas"), None);
}

#[test]
fn every_entry_leaves_the_cluster_and_itself_alone() {
    each(|manifests, set| {
        let mut selectors: Vec<_> =
            webhooks(manifests).iter().map(|webhook| webhook["namespaceSelector"].clone()).collect();
        // Policies are cluster-scoped, and labels of every namespace are protected.
        selectors.retain(|selector| !selector.is_null());
        let policies = manifests.of_kind("ValidatingAdmissionPolicy");
        let policies = policies.iter().filter(|policy| policy["metadata"]["name"] == "scaivault-injector");
        selectors
            .extend(policies.map(|policy| policy["spec"]["matchConstraints"]["namespaceSelector"].clone()));
        assert!(selectors.len() >= 3, "{set:?}");
        for selector in selectors {
            let excluded = &selector["matchExpressions"][0];
            assert_eq!(
                (&excluded["key"], &excluded["operator"]),
                (&json!("kubernetes.io/metadata.name"), &json!("NotIn"))
            );
            for namespace in ["kube-node-lease", "kube-public", "kube-system", "scaivault-system"] {
                assert!(list(&excluded["values"]).contains(&json!(namespace)), "{set:?}: {excluded}");
            }
        }
    });
}

#[test]
fn every_endpoint_only_receives_the_needed_objects() {
    let entries = webhooks(&template(&[]).unwrap());
    let of = |field: &str| entries.iter().map(|entry| entry[field].clone()).collect::<Vec<_>>();
    let suffix = "injector.scaivault.scailabs.ai";
    let names = ["pods", "opted-out", "policies", "mode", "policy", "validate"];
    assert_eq!(of("name"), names.map(|name| json!(format!("{name}.{suffix}"))));
    assert_eq!(of("failurePolicy"), ["Fail", "Ignore", "Fail", "Fail", "Ignore", "Ignore"]);
    let on_dry_run = "NoneOnDryRun";
    assert_eq!(of("sideEffects"), [on_dry_run, on_dry_run, on_dry_run, "None", "None", "None"]);
    for entry in &entries {
        assert!((1..=MATCH_CONDITIONS).contains(&list(&entry["matchConditions"]).len()), "{entry}");
        for rule in list(&entry["rules"]) {
            let is_of_policies = rule["resources"] == json!(["injectionpolicies"]);
            assert_eq!(rule["scope"], if is_of_policies { "Cluster" } else { "Namespaced" });
            assert!(
                !list(&rule["operations"]).contains(&json!("DELETE")) && !rule.to_string().contains('*'),
                "{rule}"
            );
        }
    }
}

/// If one of the two is missing, the injector logs it and counts it as a failure.
#[test]
fn both_configurations_are_always_rendered() {
    let manifests = template(&[
        "--set",
        "webhook.mode.enabled=false,webhook.validate.enabled=false,policies.enabled=false",
    ])
    .unwrap();
    let names: Vec<_> = webhooks(&manifests).iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(
        names,
        ["pods", "opted-out"].map(|name| json!(format!("{name}.injector.scaivault.scailabs.ai")))
    );
    assert_eq!(manifests.only("ValidatingWebhookConfiguration")["webhooks"], json!([]));
}

/// Each pod is sent through one webhook at most, for every combination of namespace labels. If two
/// or three webhooks match the namespace, their conditions exclude each other.
#[test]
fn no_pod_is_posted_by_two_entries() {
    for set in ["policies.enabled=false", "policies.labelNamespaces=false", "policies.labelNamespaces=true"] {
        let entries = webhooks(&template(&["--set", set]).unwrap());
        let pods = |entry: &&Value| entry["rules"][0]["resources"] == json!(["pods"]);
        let keys = ["scaivault.scailabs.ai/injection", "scaivault.scailabs.ai/injection-by-policy"];
        let labels = ["", "enabled"].map(|own| ["", "audit", "enabled"].map(|by_policy| [own, by_policy]));
        for labels in labels.into_iter().flatten() {
            let holds = |expression: &Value| {
                let Some(index) = keys.iter().position(|key| expression["key"] == *key) else { return true };
                let is_listed = list(&expression["values"]).contains(&json!(labels[index]));
                is_listed == (expression["operator"] == "In")
            };
            let selects =
                |entry: &&Value| list(&entry["namespaceSelector"]["matchExpressions"]).iter().all(holds);
            let names: Vec<_> = entries
                .iter()
                .filter(pods)
                .filter(selects)
                .map(|entry| entry["name"].as_str().unwrap())
                .collect();
            let names: Vec<_> = names.iter().map(|name| name.split('.').next().unwrap()).collect();
            let expected = match (set, labels) {
                ("policies.enabled=false", _) | (_, ["", ""]) => &["pods", "opted-out"][..],
                (_, ["enabled", _]) => &["policies"],
                ("policies.labelNamespaces=false", _) => &["pods", "opted-out"],
                // The third handles the pods that the others exclude.
                (_, [_, "audit"]) => &["pods", "opted-out", "policies-by-label-audit"],
                _ => &["policies-by-label"],
            };
            assert_eq!(names, expected, "{set} {labels:?}");
        }
    }
}

#[test]
fn labels_of_namespaces_are_protected_unless_switched_off() {
    let protects = |set: &str| {
        let policies = template(&["--set", set]).unwrap().of_kind("ValidatingAdmissionPolicyBinding");
        policies.iter().any(|policy| policy["metadata"]["name"] == "scaivault-injector-ns-labels")
    };
    assert!(protects("policies.enabled=true"));
    assert!(!protects("policies.protectLabels=false") && !protects("policies.enabled=false"));
}

#[test]
fn the_safety_net_is_rendered_if_the_webhook_fails_open() {
    let nets = |set: &str| {
        let policies = template(&["--set", set]).unwrap().of_kind("ValidatingAdmissionPolicy");
        policies.iter().filter(|policy| policy["metadata"]["name"] == "scaivault-injector").count()
    };
    assert_eq!(nets("webhook.failurePolicy=Fail"), 0);
    assert_eq!(nets("webhook.failurePolicy=Ignore"), 1);
    assert_eq!(nets("webhook.failurePolicy=Ignore,safetyNet.enabled=false"), 0);
    assert_eq!(nets("safetyNet.enabled=true"), 1);
}

/// The permissions of the injector's roles: resources with their group, verbs, and the resource
/// name if restricted.
fn rights(manifests: &Manifests) -> BTreeSet<String> {
    let words = |rule: &Value, key: &str| {
        let words = list(&rule[key]).iter().map(|word| word.as_str().unwrap().to_owned());
        words.collect::<Vec<_>>().join(",")
    };
    let roles = [manifests.of_kind("ClusterRole"), manifests.of_kind("Role")].concat();
    // The role of the test creates pods and only exists for the test.
    let roles = roles.iter().filter(|role| role["metadata"]["name"] == "scaivault-injector");
    let right = |rule: &Value| {
        let [groups, resources, verbs, names] =
            ["apiGroups", "resources", "verbs", "resourceNames"].map(|key| words(rule, key));
        let urls = words(rule, "nonResourceURLs");
        let what = if urls.is_empty() { format!("{groups}/{resources}") } else { urls };
        format!("{what} {verbs} {names}").trim().to_owned()
    };
    roles.flat_map(|role| list(&role["rules"])).map(right).collect()
}

/// All of them are used: without one of these the injector does not become ready, or logs the
/// missing permission.
#[test]
fn the_permissions_are_the_used_ones() {
    const READS: &str = "/namespaces,serviceaccounts list,watch";
    const NODES: &str = "/nodes list";
    const EVENTS: &str = "events.k8s.io/events create";
    const CONFIGURATIONS: &str = "admissionregistration.k8s.io/\
        mutatingwebhookconfigurations,validatingwebhookconfigurations get,patch,watch scaivault-injector";
    const SECRET: &str = "/secrets get,update scaivault-injector-ca";

    #[track_caller]
    fn check(set: &str, expected: &[&str]) {
        let expected = expected.iter().map(|&right| right.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(rights(&template(&["--set", set]).unwrap()), expected, "{set}");
    }
    const POLICIES: &str = "scaivault.scailabs.ai/injectionpolicies list,watch";
    const STATUS: &str = "scaivault.scailabs.ai/injectionpolicies/status patch";
    const DISCOVERY: &str = "/apis/scaivault.scailabs.ai,/apis/scaivault.scailabs.ai/* get";
    const LABEL: &str = "/namespaces patch";
    const LABEL_RIGHT: &str = "scaivault.scailabs.ai/injectionpolicies label-namespaces";
    check("policies.enabled=false", &[READS, NODES, EVENTS, CONFIGURATIONS, SECRET]);
    check("", &[READS, NODES, EVENTS, POLICIES, DISCOVERY, STATUS, CONFIGURATIONS, SECRET]);
    check(
        "policies.labelNamespaces=true",
        &[READS, NODES, EVENTS, POLICIES, DISCOVERY, STATUS, LABEL, LABEL_RIGHT, CONFIGURATIONS, SECRET],
    );
    // Without policies, the label is not used either.
    check(
        "policies.labelNamespaces=true,policies.enabled=false",
        &[READS, NODES, EVENTS, CONFIGURATIONS, SECRET],
    );
    check("server.kubeVersion=1.33", &[READS, EVENTS, POLICIES, DISCOVERY, STATUS, CONFIGURATIONS, SECRET]);
    // With certificates from elsewhere, the injector writes nothing.
    check("certificates.mode=cert-manager", &[READS, NODES, EVENTS, POLICIES, DISCOVERY, STATUS]);
    check(
        "certificates.mode=files,certificates.files.secretName=a,certificates.files.caBundle=-----BEGIN CERTIFICATE-----",
        &[READS, NODES, EVENTS, POLICIES, DISCOVERY, STATUS],
    );
    check("rbac.create=false", &[]);
}

#[test]
fn the_pod_lives_longer_than_its_drain() {
    let pod =
        |set: &str| template(&["--set", set]).unwrap().only("Deployment")["spec"]["template"]["spec"].clone();
    assert!(pod("server.drainDelaySeconds=5")["terminationGracePeriodSeconds"].as_u64() > Some(25));
    assert!(pod("server.drainDelaySeconds=60")["terminationGracePeriodSeconds"].as_u64() > Some(80));
}

#[test]
fn an_injector_elsewhere_gets_its_rights_and_no_pods() {
    let manifests = template(&["--set", "webhook.url=https://injector.example.com:8443/"]).unwrap();
    for kind in ["Deployment", "Service", "ConfigMap", "PodDisruptionBudget", "ResourceQuota"] {
        assert_eq!(manifests.of_kind(kind).len(), 0, "{kind}");
    }
    for kind in ["ServiceAccount", "ClusterRole", "Role"] {
        assert!(!manifests.of_kind(kind).is_empty(), "{kind}");
    }
    let urls: Vec<_> =
        webhooks(&manifests).iter().map(|webhook| webhook["clientConfig"]["url"].clone()).collect();
    assert_eq!(
        urls,
        ["mutate", "mutate", "mutate/policies", "mode", "policy", "validate"]
            .map(|path| json!(format!("https://injector.example.com:8443/{path}")))
    );
    let both =
        template(&["--set", "webhook.url=https://injector.example.com,deployment.enabled=true"]).unwrap();
    let args = both.only("Deployment")["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(args.contains("--tls-name=injector.example.com\""), "{args}");
}

#[test]
fn the_injector_reads_the_configuration_that_is_rendered() {
    let everything = "injector.defaults.url=https://vault.example.com,injector.defaults.refresh-interval=10m,\
        injector.imagePullPolicy=Always,injector.onProblem=warn,injector.allowedUrls={https://b.example.com},\
        injector.allowedImages={registry.example.com/agents},injector.allowHttp=true,\
        injector.tokenUrl=https://key.example.com/token,injector.excludedNamespaces={monitoring,logging},\
        injector.sidecars.containers={team-proxy},injector.sidecars.images={team/log-shipper},\
        imageRegistry=mirror.example.com";
    for set in ["", everything] {
        let manifests = template(&["--set", set]).unwrap();
        let configuration = manifests.only("ConfigMap")["data"]["injector.yaml"].as_str().unwrap().to_owned();
        let directory = tempfile::tempdir().unwrap();
        let (config, pod) = (directory.path().join("injector.yaml"), directory.path().join("pod.yaml"));
        fs::write(&config, &configuration).unwrap();
        fs::write(&pod, "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations: {scaivault.scailabs.ai/inject-secret-a: a/b}\nspec: {containers: [{name: a}]}\n").unwrap();
        let mut inject: Command = server::program();
        inject.arg("inject").arg("--config").arg(&config).arg("-f").arg(&pod);
        let output = inject.output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{configuration}\n{stderr}");
        let image = if set.is_empty() {
            "scailabs/scaivault-init:"
        } else {
            "mirror.example.com/scailabs/scaivault-init:"
        };
        assert!(stdout.contains(&format!("\"image\": \"{image}")), "{stdout}");
    }
}

#[test]
fn chart_and_program_have_one_version() {
    let chart: Value = serde_saphyr::from_str(&super::helm::file("Chart.yaml")).unwrap();
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
}

const RESTARTER: &str = "restarter.enabled=true";

fn of_restarter(set: &str, kind: &str) -> Value {
    let manifests = template(&["--set", &format!("{RESTARTER},{set}")]).unwrap();
    let objects = manifests.of_kind(kind).into_iter();
    let mut named = objects.filter(|object| object["metadata"]["name"] == "scaivault-injector-restarter");
    named.next().unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn pods_of_the_restarter_pass_the_level_restricted() {
    let spec = of_restarter("", "Deployment")["spec"]["template"]["spec"].clone();
    for container in list(&spec["containers"]) {
        assert_eq!(restricted_violations(container), [""; 0]);
    }
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert!(list(&spec["volumes"]).iter().all(is_restricted_volume));
}

/// A selector of one must not find the pods of the other.
#[test]
fn the_restarter_and_the_injector_have_other_labels() {
    let manifests = template(&["--set", RESTARTER]).unwrap();
    let labels = |deployment: &Value, place: &str| deployment.pointer(place).unwrap().clone();
    let deployments = manifests.of_kind("Deployment");
    let [one, other] = &deployments[..] else { panic!("two Deployments") };
    for (selecting, selected) in [(one, other), (other, one)] {
        let selector = labels(selecting, "/spec/selector/matchLabels");
        let labels = labels(selected, "/spec/template/metadata/labels");
        assert!(selector.as_object().unwrap().iter().any(|(key, value)| labels[key] != *value));
    }
}

#[test]
fn the_restarter_only_has_the_enabled_permissions() {
    let rules = |set: &str| of_restarter(set, "ClusterRole")["rules"].to_string();
    assert!(!rules("").contains("secrets\""), "no Secrets without nativeSecrets");
    assert!(
        rules("restarter.nativeSecrets=true").contains(r#""resources":["secrets"],"verbs":["list","watch"]"#)
    );
    assert!(!rules("policies.enabled=false").contains("injectionpolicies"));
    let dry = rules("restarter.dryRun=true");
    for verb in ["patch", "create", "update"] {
        assert!(!dry.contains(verb) && rules("").contains(verb), "{verb}");
    }
    for kind in ["Role", "ClusterRole"] {
        assert!(!of_restarter("", kind)["rules"].to_string().contains("\"*\""), "{kind}");
    }
}

/// Server-side apply refuses a list with the same name twice.
#[test]
fn a_users_variable_replaces_the_charts_own() {
    let variables =
        |set: &str| of_restarter(set, "Deployment").to_string().matches("MIMALLOC_PURGE_DELAY").count();
    assert_eq!(variables(""), 1);
    let set = "restarter.extraEnv[0].name=MIMALLOC_PURGE_DELAY,restarter.extraEnv[0].value=later";
    assert_eq!(variables(set), 1);
}

#[test]
fn a_mode_that_yaml_reads_as_false_is_off() {
    for mode in ["off", "false"] {
        let deployment = of_restarter(&format!("restarter.mode={mode}"), "Deployment").to_string();
        assert!(deployment.contains("\"--mode=off\""), "{mode}");
    }
}
