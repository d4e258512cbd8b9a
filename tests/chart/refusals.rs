//! Invalid values are rejected with an error that names them.

use super::helm::{Manifests, template, template_as};

#[track_caller]
fn refused(set: &str, words: &[&str]) {
    refused_with(&["--set", set], words);
}

#[track_caller]
fn refused_with(arguments: &[&str], words: &[&str]) {
    check_refusal(template(arguments), arguments, words);
}

/// Checks that the chart rejected these arguments with an error that contains these words.
#[track_caller]
pub(super) fn check_refusal(rendered: Result<Manifests, String>, arguments: &[&str], words: &[&str]) {
    match rendered {
        Ok(_) => panic!("{arguments:?} is let through"),
        Err(said) => {
            for word in words {
                assert!(said.contains(word), "{arguments:?}: {word} is not in\n{said}");
            }
        }
    }
}

#[test]
fn namespaces_that_are_not_the_injectors_own() {
    refused_with(
        &["--namespace", "default"],
        &["namespace is default", "no pod in default would get secrets", "--namespace scaivault-system"],
    );
    for namespace in ["kube-system", "kube-public", "kube-node-lease"] {
        refused_with(
            &["--namespace", namespace],
            &[namespace, "belongs to Kubernetes", "--namespace scaivault-system"],
        );
        refused(&format!("test.namespace={namespace}"), &["test.namespace is", namespace, "never called"]);
    }
    refused("test.namespace=scaivault-system", &["test.namespace is scaivault-system"]);
}

/// A pod with the injector's permissions can set any CA in the cluster's webhooks.
#[test]
fn a_service_account_that_other_pods_have() {
    refused(
        "serviceAccount.create=false",
        &["serviceAccount.create is false", "`default`, and so every pod of the namespace, would get"],
    );
    for create in [true, false] {
        let set = format!("serviceAccount.create={create},serviceAccount.name=default");
        refused(&set, &["serviceAccount.name is default", "leave it empty"]);
    }
    let named = template(&["--set", "serviceAccount.create=false,serviceAccount.name=injector"]).unwrap();
    assert_eq!(named.only("ClusterRoleBinding")["subjects"][0]["name"], "injector");
}

#[test]
fn conflicting_values_of_the_restarter() {
    let refused = |set: &str, words: &[&str]| refused(&format!("restarter.enabled=true,{set}"), words);
    refused("restarter.scaivault.url=", &["set restarter.scaivault.url", "restarter.nativeSecrets"]);
    refused("restarter.scaivault.url=http://vault.example.com", &["url"]);
    refused("restarter.pace.debounce=1s", &["restarter.pace.debounce is 1s", "at least 2s"]);
    refused("restarter.pace.maxWait=5s", &["restarter.pace.maxWait is 5s", "restarter.pace.debounce (10s)"]);
    refused("restarter.pace.windows={2 o'clock}", &["windows"]);
    refused(
        "restarter.podLabels.app\\.kubernetes\\.io/name=x",
        &["restarter.podLabels sets app.kubernetes.io/name"],
    );
    refused(
        "restarter.serviceAccount.create=false",
        &["`default`, and so every pod of the namespace, would get"],
    );
    for account in ["default", "scaivault-injector"] {
        refused(
            &format!("restarter.serviceAccount.name={account}"),
            &["restarter.serviceAccount.name is", account, "only the restart controller uses"],
        );
    }
}

/// With `null`, Helm deletes a value together with its default.
#[test]
fn removed_values() {
    for value in [
        "networkPolicy.apiServerPorts",
        "networkPolicy",
        "serviceAccount.name",
        "podSecurityContext",
        "securityContext",
        "webhook.failurePolicy",
        "injector.allowedUrls",
        "replicas",
        "certificates.self",
    ] {
        let key = value.rsplit('.').next().unwrap();
        refused(&format!("{value}=null"), &["missing property", key]);
    }
    // Without schema validation.
    let ports = "networkPolicy.enabled=true,networkPolicy.apiServerPorts=";
    for empty in ["null", "{}"] {
        let set = format!("{ports}{empty}");
        refused_with(
            &["--skip-schema-validation", "--set", &set],
            &["networkPolicy.apiServerPorts is empty", "[443, 6443]"],
        );
    }
}

#[test]
fn labels_that_the_chart_sets_itself() {
    for value in ["commonLabels", "podLabels"] {
        for key in [
            "app\\.kubernetes\\.io/name",
            "app\\.kubernetes\\.io/instance",
            "helm\\.sh/chart",
            "pod-template-hash",
        ] {
            refused(&format!("{value}.{key}=x"), &[value, &key.replace('\\', ""), "remove it"]);
        }
        refused(&format!("{value}.a=-b"), &["/a", value]);
    }
    refused("commonLabels.a=b,podLabels.a=c", &["podLabels and commonLabels both set a"]);
}

#[test]
fn unknown_and_misspelt_values() {
    refused("replica=3", &["'replica' not allowed"]);
    refused("webhook.failurepolicy=Ignore", &["'/webhook'", "'failurepolicy' not allowed"]);
    refused(
        "injector.defaults.refresh-intervall=5m",
        &["/injector/defaults", "'refresh-intervall' not allowed"],
    );
    // A pod may set it, the configuration may not.
    refused("injector.defaults.inject-secret-x=a/b", &["/injector/defaults", "not allowed"]);
}

#[test]
fn values_of_another_kind_or_out_of_bounds() {
    refused("webhook.timeoutSeconds=31", &["/webhook/timeoutSeconds", "30"]);
    refused("webhook.failurePolicy=ignore", &["/webhook/failurePolicy", "'Fail', 'Ignore'"]);
    refused("webhook.url=http://injector.example.com", &["/webhook/url", "https"]);
    refused("certificates.mode=certmanager", &["/certificates/mode", "'self', 'cert-manager', 'files'"]);
    refused("certificates.self.leafLifetime=1 day", &["/certificates/self/leafLifetime"]);
    refused("replicas=two", &["/replicas", "want integer"]);
    refused("image.digest=sha256:1", &["/image/digest"]);
    refused("podDisruptionBudget.maxUnavailable=0", &["/podDisruptionBudget/maxUnavailable"]);
    refused("server.allowSources={10.0.0.1}", &["/server/allowSources/0"]);
    refused("server.allowSources={10.0.0.0/99}", &["/server/allowSources/0"]);
    refused("server.allowSources={10.0.0.256/8}", &["/server/allowSources/0"]);
    refused("server.allowSources={fd00::/129}", &["/server/allowSources/0"]);
    refused("networkPolicy.apiServers={10.0.0.0/33}", &["/networkPolicy/apiServers/0"]);
    refused("server.kubeVersion=1.29", &["/server/kubeVersion"]);
    refused("fullnameOverride=injector.v2", &["/fullnameOverride"]);
    refused("injector.defaults.start-gate=maybe", &["/injector/defaults/start-gate", "'hook', 'probe'"]);
    refused("networkPolicy.apiServerPorts={}", &["/networkPolicy/apiServerPorts"]);
    refused("networkPolicy.opsFrom[0]=null", &["/networkPolicy/opsFrom/0"]);
    refused("replicas=0", &["/replicas"]);
    refused("certificates.self.settleDelay=0s", &["/certificates/self/settleDelay"]);
    refused("injector.allowedUrls={https://}", &["/injector/allowedUrls/0"]);
    refused("injector.defaults.fail-open=true", &["/injector/defaults/fail-open", "want string"]);
}

/// The limits are those of the program: values at the limit are accepted.
#[test]
fn values_at_their_bounds() {
    for set in [
        "certificates.self.caLifetime=366d",
        "certificates.self.caLifetime=4323m",
        "server.kubeVersion=1.30",
        "server.allowSources={0.0.0.0/0,192.0.2.255/32,::/0,fd00::1/128}",
    ] {
        let rendered = template(&["--set-string", set]);
        assert!(rendered.is_ok(), "{set}: {:?}", rendered.err());
    }
}

/// The name of the release becomes that of a Service.
#[test]
fn a_release_name_that_is_invalid_for_a_service() {
    for name in ["injector.v2", "2nd"] {
        let said = template_as(name, &[]).err().unwrap_or_default();
        assert!(said.contains("fullnameOverride"), "{name}: {said}");
        assert!(template_as(name, &["--set", "fullnameOverride=injector"]).is_ok(), "{name}");
    }
}

#[test]
fn values_that_need_each_other() {
    refused("certificates.mode=files", &["certificates.files.secretName"]);
    refused("certificates.mode=files,certificates.files.secretName=a", &["certificates.files.caBundle"]);
    refused("deployment.enabled=false", &["deployment.enabled is false", "webhook.url"]);
    refused("certificates.self.caLifetime=43800h", &["certificates.self.caLifetime is 43800h", "366d"]);
    refused("certificates.reloadInterval=367d", &["certificates.reloadInterval is 367d", "366d"]);
    refused("certificates.self.caLifetime=72h", &["certificates.self.caLifetime is too short"]);
    refused(
        "certificates.mode=cert-manager,certificates.certManager.duration=720h",
        &["certificates.certManager.renewBefore"],
    );
    refused(
        "certificates.mode=cert-manager,certificates.certManager.caDuration=2160h",
        &["certificates.certManager.caDuration is 2160h", "three times"],
    );
    refused(
        "certificates.mode=cert-manager,certificates.certManager.issuerRef.kind=ClusterIssuer",
        &["certificates.certManager.issuerRef has no name"],
    );
    let key = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----";
    refused(
        &format!("certificates.mode=files,certificates.files.secretName=a,certificates.files.caBundle={key}"),
        &["certificates.files.caBundle contains a private key"],
    );
    refused("server.opsPort=8443", &["server.port and server.opsPort"]);
    refused(
        "autoscaling.enabled=true,autoscaling.maxReplicas=1",
        &["autoscaling.maxReplicas must not be less"],
    );
}
