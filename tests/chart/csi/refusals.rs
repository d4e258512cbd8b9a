//! Values that the chart rejects with an error that names them.

use super::{super::refusals::check_refusal, template};

#[track_caller]
fn refused(set: &str, words: &[&str]) {
    let arguments = ["--set", set];
    check_refusal(template(&arguments), &arguments, words);
}

#[test]
fn unknown_and_misspelt_values() {
    refused("scaivault.urls=x", &["'/scaivault'", "'urls' not allowed"]);
    refused("serviceMonitor.enabled=true", &["'serviceMonitor' not allowed"]);
    refused("scaivault.allowedUrls[0].uri=https://a.example", &["/scaivault/allowedUrls/0"]);
}

#[test]
fn values_of_another_kind_or_out_of_bounds() {
    refused("scaivault.url=http://vault.example.com", &["/scaivault/url"]);
    refused("scaivault.url=https://", &["/scaivault/url"]);
    refused("scaivault.caBundle=AAAA", &["/scaivault/caBundle"]);
    refused("scaivault.refreshInterval=0s", &["/scaivault/refreshInterval"]);
    refused("scaivault.refreshInterval=90", &["/scaivault/refreshInterval"]);
    refused("scaivault.refreshInterval=367d", &["scaivault.refreshInterval is 367d", "366d"]);
    refused("scaivault.audience=", &["/scaivault/audience"]);
    refused("providerName=a.b", &["/providerName"]);
    refused("providerName=a-name-that-has-more-than-30-chars", &["/providerName"]);
    refused("socketDirs={}", &["/socketDirs"]);
    refused("socketDirs={/a/../b}", &["/socketDirs/0"]);
    refused("server.opsPort=0", &["/server/opsPort"]);
    refused("daemonSet.maxUnavailable=0", &["/daemonSet/maxUnavailable"]);
    refused("fullnameOverride=csi.v2", &["/fullnameOverride"]);
    refused("versionKey.existingSecret=Keys", &["/versionKey/existingSecret"]);
    refused("versionKey.shared=false,versionKey.existingSecret=keys", &["set versionKey.shared to true"]);
    refused("networkPolicy.apiServerPorts={}", &["/networkPolicy/apiServerPorts"]);
    refused("networkPolicy.scaivault={10.0.0.1}", &["/networkPolicy/scaivault/0"]);
}

/// Credentials and tokens must not be written to a disk.
#[test]
fn a_state_directory_that_may_be_on_a_disk() {
    for path in ["/var/lib/scaivault", "/run", "/run/../etc", "/running/a", "run/a"] {
        refused(&format!("stateDir={path}"), &["/stateDir"]);
    }
    for path in ["/run/a", "/var/run/a/b", "/dev/shm/a"] {
        assert!(template(&["--set", &format!("stateDir={path}")]).is_ok(), "{path}");
    }
}

#[test]
fn values_that_need_each_other() {
    refused("stateDir=/run/a,socketDirs={/run/a}", &["stateDir and socketDirs both contain /run/a"]);
    refused(
        "scaivault.allowedUrls[0].url=https://SCAIVAULT.scailabs.ai/",
        &["scaivault.allowedUrls[0].url and scaivault.url are both", "remove one of them"],
    );
    let twice =
        "scaivault.allowedUrls[0].url=https://a.example,scaivault.allowedUrls[1].url=https://a.example/";
    refused(twice, &["scaivault.allowedUrls[1].url and scaivault.allowedUrls[0].url are both"]);
}

#[test]
fn a_private_key_among_the_authorities() {
    let key = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----";
    refused(&format!("scaivault.caBundle={key}"), &["scaivault.caBundle contains a private key"]);
    let allowed =
        format!("scaivault.allowedUrls[0].url=https://a.example,scaivault.allowedUrls[0].caBundle={key}");
    refused(&allowed, &["scaivault.allowedUrls[0].caBundle contains a private key"]);
}

#[test]
fn an_empty_value_that_would_widen_rights() {
    refused("serviceAccount.create=false", &["serviceAccount.name is empty"]);
    refused("serviceAccount.name=default", &["serviceAccount.name is default"]);
    refused("networkPolicy.enabled=true,networkPolicy.apiServerPorts=null", &["apiServerPorts"]);
    for value in ["securityContext", "socketDirs", "scaivault.allowedRoles"] {
        refused(&format!("{value}=null"), &[value.rsplit('.').next().unwrap()]);
    }
}

#[test]
fn labels_that_the_chart_or_kubernetes_sets() {
    for key in ["app\\.kubernetes\\.io/name", "helm\\.sh/chart", "controller-revision-hash"] {
        for value in ["commonLabels", "podLabels"] {
            refused(&format!("{value}.{key}=x"), &[value, &key.replace('\\', ""), "remove it"]);
        }
    }
    refused("commonLabels.a=b,podLabels.a=c", &["podLabels and commonLabels both set a"]);
}
