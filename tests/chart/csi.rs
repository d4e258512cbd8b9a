//! The chart of the CSI provider.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::{Value, json};

use super::{
    helm::{CSI_CHART, Manifests, render, root},
    names::{LABEL, RELEASE, is_label, is_name, labels},
    releases::documents,
    renderings::check_case,
    schema::Api,
};

mod monitoring;
mod page;
mod refusals;

/// Sets of values that cover the differences asserted here.
const SETS: [&str; 8] = [
    "",
    "dynamicCredentials.enabled=false",
    "versionKey.shared=false",
    "versionKey.existingSecret=keys",
    "socketDirs={/a,/etc/kubernetes/b},stateDir=/run/c",
    "providerName=other,scaivault.allowedRoles={*}",
    "policies.enabled=false",
    "dynamicCredentials.enabled=false,policies.enabled=false,versionKey.shared=false",
];

fn template(arguments: &[&str]) -> Result<Manifests, String> {
    render(CSI_CHART, "scaivault-csi", "kube-system", arguments)
}

fn with(set: &str) -> Manifests {
    template(&["--set", set]).unwrap()
}

/// A file of the chart.
fn file(path: &str) -> String {
    fs::read_to_string(root().join(CSI_CHART).join(path)).unwrap()
}

/// The source of a module of the provider, without its tests.
fn source(name: &str) -> String {
    let text = fs::read_to_string(root().join("crates/csi-provider/src").join(name)).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The pod of the DaemonSet.
fn pod_spec(manifests: &Manifests) -> Value {
    manifests.only("DaemonSet")["spec"]["template"]["spec"].clone()
}

fn arguments(manifests: &Manifests) -> Vec<String> {
    let arguments = pod_spec(manifests)["containers"][0]["args"].clone();
    list(&arguments).iter().map(|argument| argument.as_str().unwrap().to_owned()).collect()
}

#[test]
fn golden_renderings() {
    let default = template(&[]).unwrap().text;
    insta::glob!("csi/cases/*/values.yaml", |values| {
        check_case(values, &default, &template(&["--values", values.to_str().unwrap()]).unwrap().text);
    });
}

#[test]
fn nothing_is_random() {
    assert_eq!(with("").text, with("").text);
}

#[test]
fn the_provider_has_no_privilege() {
    for set in SETS {
        let spec = pod_spec(&with(set));
        let [container] = list(&spec["containers"]) else { panic!("{set}: {spec}") };
        let context = &container["securityContext"];
        assert_eq!(context["privileged"], false, "{set}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{set}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{set}");
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{set}");
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{set}");
        for namespace in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
            assert_eq!(spec[namespace], Value::Null, "{set}: {namespace}");
        }
    }
}

#[test]
fn only_directories_of_sockets_and_state_are_the_nodes() {
    for (set, expected) in [
        ("", ["/var/run/secrets-store-csi-providers", "/run/scaivault-csi-provider"].as_slice()),
        ("providerName=other", &["/var/run/secrets-store-csi-providers", "/run/other-csi-provider"]),
        ("socketDirs={/a,/etc/kubernetes/b},stateDir=/run/c", &["/a", "/etc/kubernetes/b", "/run/c"]),
    ] {
        let spec = pod_spec(&with(set));
        let paths: Vec<_> =
            list(&spec["volumes"]).iter().filter_map(|volume| volume["hostPath"]["path"].as_str()).collect();
        assert_eq!(paths, expected, "{set}");
        // Every directory that the provider writes to is a mount.
        let mounts = list(&spec["containers"][0]["volumeMounts"]);
        let mounted: BTreeSet<_> = mounts.iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
        assert!(paths.iter().all(|path| mounted.contains(path)), "{set}: {mounted:?}");
    }
}

#[test]
fn sockets_are_named_after_the_provider() {
    let given = arguments(&with("providerName=other,socketDirs={/a,/b}"));
    let sockets: Vec<_> = given.iter().filter(|argument| argument.starts_with("--socket=")).collect();
    assert_eq!(sockets, ["--socket=/a/other.sock", "--socket=/b/other.sock"]);
    assert!(given.contains(&"--state-dir=/run/other-csi-provider".to_owned()), "{given:?}");
}

#[test]
fn the_role_may_read_the_watched_resources() {
    let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]});
    let namespaces = json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]});
    let policies = json!({
        "apiGroups": ["scaivault.scailabs.ai"], "resources": ["injectionpolicies"], "verbs": ["get", "list", "watch"],
    });
    let discovery = json!({
        "nonResourceURLs": ["/apis/scaivault.scailabs.ai", "/apis/scaivault.scailabs.ai/*"], "verbs": ["get"],
    });
    let rules = |set: &str| with(set).only("ClusterRole")["rules"].clone();
    assert_eq!(rules("policies.enabled=false"), json!([pods]));
    let all = json!([pods, namespaces, policies, discovery]);
    assert_eq!((rules("dynamicCredentials.enabled=false"), rules("")), (all.clone(), all));
    let manifests = with("");
    let subject = &manifests.only("ClusterRoleBinding")["subjects"][0];
    assert_eq!(subject["name"], pod_spec(&manifests)["serviceAccountName"]);
    assert_eq!(subject["namespace"], "kube-system");
}

#[test]
fn without_features_there_are_no_permissions() {
    let manifests = with(
        "dynamicCredentials.enabled=false,policies.enabled=false,versionKey.shared=false,networkPolicy.enabled=true",
    );
    let roles = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    assert!(roles.iter().all(|kind| manifests.of_kind(kind).is_empty()));
    assert_eq!(pod_spec(&manifests)["automountServiceAccountToken"], false);
    assert!(!arguments(&manifests).iter().any(|argument| argument.starts_with("--node-name")));
    assert_eq!(list(&manifests.only("NetworkPolicy")["spec"]["egress"]).len(), 2, "DNS and ScaiVault");
}

#[test]
fn policies_and_dynamic_credentials_are_apart() {
    for (set, expected) in [
        ("", [true, true, false]),
        ("policies.enabled=false", [true, false, false]),
        ("dynamicCredentials.enabled=false", [true, true, true]),
    ] {
        let given = arguments(&with(set));
        let has = |flag: &str| given.iter().any(|argument| argument.starts_with(flag));
        let found = ["--node-name=", "--policies", "--no-dynamic-credentials"].map(has);
        assert_eq!(found, expected, "{set}: {given:?}");
    }
}

#[test]
fn the_version_key_is_in_a_secret_that_upgrades_leave_alone() {
    let manifests = with("dynamicCredentials.enabled=false,policies.enabled=false");
    let secret = manifests.only("Secret");
    assert_eq!((&secret["data"], &secret["stringData"]), (&Value::Null, &Value::Null));
    let name = secret["metadata"]["name"].as_str().unwrap();
    let rule = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["get", "patch"]}]);
    assert_eq!(manifests.only("Role")["rules"], rule);
    assert!(arguments(&manifests).contains(&format!("--version-key-secret=kube-system/{name}")));
    assert_eq!(pod_spec(&manifests)["automountServiceAccountToken"], true);

    let existing = with(
        "dynamicCredentials.enabled=false,policies.enabled=false,versionKey.existingSecret=keys,versionKey.existingSecretKey=csi",
    );
    assert!(existing.of_kind("Secret").is_empty() && existing.of_kind("Role").is_empty());
    assert_eq!(pod_spec(&existing)["automountServiceAccountToken"], false);
    assert!(
        arguments(&existing)
            .contains(&"--version-key-file=/etc/scaivault-csi-version-key/version-key".to_owned())
    );
    let volumes = pod_spec(&existing)["volumes"].clone();
    let volume = list(&volumes).iter().find(|volume| volume["name"] == "version-key").unwrap();
    assert_eq!(volume["secret"]["items"], json!([{"key": "csi", "path": "version-key"}]));
}

/// With an unknown argument, the provider would not start on any node.
#[test]
fn every_argument_and_key_is_the_providers() {
    let (flags, keys) = (source("cli.rs"), source("config.rs"));
    let everything = ["--values", "tests/chart/csi/cases/everything-on/values.yaml"];
    let manifests = template(&everything).unwrap();
    let given = arguments(&manifests);
    assert_eq!(given[0], "serve");
    for argument in &given[1..] {
        let flag = argument.strip_prefix("--").and_then(|flag| flag.split('=').next()).unwrap();
        let field = format!(" {}: ", flag.replace('-', "_"));
        assert!(flags.contains(&field) || flags.contains(&format!("long = \"{flag}\"")), "{argument}");
    }
    let maps = manifests.of_kind("ConfigMap");
    let text = maps.iter().find_map(|map| map["data"]["config.yaml"].as_str()).unwrap();
    let config: BTreeMap<String, Value> = serde_saphyr::from_str(text).unwrap();
    let nested = list(&config["allow-urls"]).iter().flat_map(|url| url.as_object().unwrap().keys());
    for key in config.keys().chain(nested) {
        assert!(keys.contains(&format!("\n    {}: ", key.replace('-', "_"))), "{key}");
    }
    assert_eq!(config.len(), 7, "{text}");
}

#[test]
fn authorities_are_files_of_the_config_map() {
    let manifests = template(&["--values", "tests/chart/csi/cases/everything-on/values.yaml"]).unwrap();
    let maps = manifests.of_kind("ConfigMap");
    let data = maps.iter().map(|map| &map["data"]).find(|data| data["config.yaml"].is_string()).unwrap();
    assert!(arguments(&manifests).contains(&"--ca-file=/etc/scaivault-csi-provider/ca.pem".to_owned()));
    assert!(data["ca.pem"].as_str().unwrap().contains("\nAAAA\n"), "{data}");
    let config: Value = serde_saphyr::from_str(data["config.yaml"].as_str().unwrap()).unwrap();
    let staging = json!({"url": "https://vault-staging.example.com", "audiences": ["staging"], "roles": []});
    assert_eq!(config["allow-urls"][0], staging);
    let ca_file = config["allow-urls"][1]["ca-file"].as_str().unwrap();
    let name = ca_file.strip_prefix("/etc/scaivault-csi-provider/").unwrap();
    assert!(data[name].as_str().unwrap().contains("\nBBBB\n"), "{name}: {data}");
}

/// The provider reads its files only at start.
#[test]
fn another_configuration_is_another_pod_template() {
    let annotations = |set: &str| with(set).only("DaemonSet")["spec"]["template"]["metadata"].clone();
    let default = annotations("");
    for set in ["scaivault.allowedRoles={a}", "scaivault.caBundle=-----BEGIN CERTIFICATE-----"] {
        assert_ne!(annotations(set), default, "{set}");
    }
    assert_eq!(annotations("daemonSet.maxUnavailable=2"), default);
}

#[test]
fn the_network_policy_allows_every_address() {
    let ports = |set: &str| {
        let policy = with(&format!("networkPolicy.enabled=true,{set}")).only("NetworkPolicy");
        let ports = policy["spec"]["egress"][1]["ports"].clone();
        list(&ports).iter().map(|port| port["port"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ports("scaivault.url=https://a.example"), [443]);
    let several = "scaivault.url=https://a.example:8443,scaivault.allowedUrls[0].url=https://[fd00::1],\
        scaivault.allowedUrls[1].url=https://[fd00::1]:9443/vault";
    assert_eq!(ports(several), [8443, 443, 9443]);
}

#[test]
fn two_releases_share_no_name_and_no_directory() {
    let all = "networkPolicy.enabled=true,podMonitor.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true";
    let release = |name: &str, set: &str| {
        render(CSI_CHART, name, "kube-system", &["--set", all, "--set", set]).unwrap()
    };
    let other = RELEASE.replace("abc", "abd");
    let (one, other) = (release(RELEASE, ""), release(&other, "providerName=other"));
    let names = |manifests: &Manifests| -> BTreeSet<String> {
        let objects = manifests.objects();
        objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect()
    };
    assert!(names(&one).is_disjoint(&names(&other)));
    assert_eq!(names(&one).len(), one.objects().len());
    let sockets = |manifests: &Manifests| arguments(manifests)[1].clone();
    assert_ne!(sockets(&one), sockets(&other));
    for set in ["", &format!("nameOverride={LABEL}"), "nameOverride=b"] {
        for object in release(RELEASE, set).objects() {
            let name = object["metadata"]["name"].as_str().unwrap();
            assert!(is_name(name) && name.len() <= 58, "{set}: {name}");
            for (key, value) in labels(&object) {
                assert!(is_label(&value), "{set}: {name}: {key}: {value:?}");
            }
        }
    }
}

#[test]
fn every_release_can_validate_its_manifests() {
    let mut wrong = Vec::new();
    for (minor, document) in documents() {
        let api = Api::new(&fs::read_to_string(document).unwrap());
        let version = format!("1.{minor}.0");
        for case in fs::read_dir(root().join("tests/chart/csi/cases")).unwrap() {
            let values = case.unwrap().path().join("values.yaml");
            let manifests =
                template(&["--values", values.to_str().unwrap(), "--kube-version", &version]).unwrap();
            let objects = manifests.objects();
            let own = objects.iter().filter(|object| object["apiVersion"] != "monitoring.coreos.com/v1");
            let problems = own.flat_map(|object| api.problems(object));
            wrong.extend(problems.map(|problem| format!("{version}, {}: {problem}", values.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
