//! Values that are not right are refused, in words that name them.

use super::helm::template;

#[track_caller]
fn refused(set: &str, words: &[&str]) {
    match template(&["--set", set]) {
        Ok(_) => panic!("{set} is let through"),
        Err(said) => {
            for word in words {
                assert!(said.contains(word), "{set}: {word} is not in\n{said}");
            }
        }
    }
}

#[test]
fn unknown_and_misspelt_values() {
    refused("replica=3", &["'replica' not allowed"]);
    refused("webhook.failurepolicy=Ignore", &["'/webhook'", "'failurepolicy' not allowed"]);
    refused(
        "injector.defaults.refresh-intervall=5m",
        &["/injector/defaults", "'refresh-intervall' not allowed"],
    );
    // A pod may say it, the configuration may not.
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
    refused("injector.defaults.start-gate=maybe", &["/injector/defaults/start-gate", "'hook', 'probe'"]);
    refused("injector.defaults.fail-open=true", &["/injector/defaults/fail-open", "want string"]);
}

#[test]
fn values_that_need_each_other() {
    refused("certificates.mode=files", &["certificates.files.secretName"]);
    refused("certificates.mode=files,certificates.files.secretName=a", &["certificates.files.caBundle"]);
    refused("server.opsPort=8443", &["server.port and server.opsPort"]);
    refused("autoscaling.enabled=true,autoscaling.maxReplicas=1", &["autoscaling.maxReplicas is less"]);
}
