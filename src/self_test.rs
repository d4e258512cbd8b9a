//! `self-test`: creates an annotated pod as a dry run and checks that it is injected.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PostParams},
};
use scaivault_contract::names::ANNOTATION_PREFIX;
use serde_json::json;

use crate::{args::SelfTestArgs, cluster, output, runtime};

/// Longer than the API server's maximum timeout of an admission webhook (30 s), so that its own
/// answer is reported.
const TIMEOUT: Duration = Duration::from_secs(40);

/// The secret need not exist: a dry run fetches nothing.
const SECRET: &str = "environments/self-test/nothing";

/// Reports on standard output that the pod was injected; every other answer is an error.
pub(crate) fn run(args: &SelfTestArgs) -> anyhow::Result<ExitCode> {
    runtime::run(ask(&args.namespace))?;
    let said = format!("a pod of the namespace {} is injected\n", args.namespace);
    output::write_stdout(said.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(namespace: &str) -> anyhow::Result<()> {
    let pods: Api<DynamicObject> = Api::namespaced_with(cluster::client().await?, namespace, &pods());
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let pod = pod();
    let answer = tokio::time::timeout(TIMEOUT, pods.create(&dry_run, &pod))
        .await
        .with_context(|| format!("the API server did not answer within {} s", TIMEOUT.as_secs()))?;
    match answer {
        Ok(pod) => injected(&pod, namespace),
        Err(error) => Err(refused(error, namespace)),
    }
}

fn pods() -> ApiResource {
    ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        plural: "pods".to_owned(),
    }
}

/// A pod that every namespace admits, including those with the Pod Security level `restricted`.
fn pod() -> DynamicObject {
    let mut pod = DynamicObject::new("", &pods()).data(json!({
        "spec": {
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "app",
                "image": "example.invalid/never-started",
                "resources": {
                    "requests": {"cpu": "1m", "memory": "1Mi"},
                    "limits": {"cpu": "1m", "memory": "1Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": true,
                },
            }],
        },
    }));
    pod.metadata.name = None;
    pod.metadata.generate_name = Some("scaivault-self-test-".to_owned());
    pod.metadata.annotations =
        Some([(format!("{ANNOTATION_PREFIX}inject-secret-self-test"), SECRET.to_owned())].into());
    pod
}

/// Checks the annotation in which the injector records what it did.
fn injected(pod: &DynamicObject, namespace: &str) -> anyhow::Result<()> {
    let status = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(&format!("{ANNOTATION_PREFIX}status")));
    match status.map(String::as_str) {
        Some("injected") => Ok(()),
        Some(status) => bail!("the injector was called and did not inject the pod: {status}"),
        None => bail!(
            "the pod was not changed: the API server called no injector, or the injector ignores \
             this namespace; check the namespaceSelector and failurePolicy of the webhook \
             configuration, excludedNamespaces, and the annotation \
             {ANNOTATION_PREFIX}mutation-mode of the namespace {namespace}"
        ),
    }
}

/// Explains the API server's error, with a fix if it is known.
fn refused(error: kube::Error, namespace: &str) -> anyhow::Error {
    let status = match error {
        kube::Error::Api(status) => status,
        other => return anyhow::Error::new(other).context("cannot request a pod from the API server"),
    };
    let message = &status.message;
    let fix = if message.contains("failed calling webhook") {
        "check the injector's pods, its Service and the caBundle of its webhook \
         configuration"
            .to_owned()
    } else if message.contains("denied the request") {
        "the webhook that the message names denies the pod".to_owned()
    } else if status.code == 403 {
        format!(
            "this user needs the right to create pods in the namespace {namespace}, and room in its quotas"
        )
    } else if status.code == 404 {
        format!("there is no namespace {namespace}; name one with --namespace")
    } else {
        format!("the API server answered with {}", status.code)
    };
    anyhow!("{message}; {fix}")
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use scaivault_testkit::pod_security::restricted_violations;

    use super::*;

    /// The returned pod with this status.
    fn answer(status: Option<&str>) -> DynamicObject {
        let mut pod = pod();
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.extend(status.map(|status| (format!("{ANNOTATION_PREFIX}status"), status.to_owned())));
        pod
    }

    #[test]
    fn only_an_injected_pod_will_do() {
        assert!(injected(&answer(Some("injected")), "a").is_ok());
        let skipped = injected(&answer(Some("skipped/problems")), "a").unwrap_err().to_string();
        assert!(skipped.contains("skipped/problems"), "{skipped}");
        let untouched = injected(&answer(None), "a").unwrap_err().to_string();
        assert!(untouched.contains("namespace a") && untouched.contains("failurePolicy"), "{untouched}");
    }

    #[test]
    fn a_refusal_has_a_fix() {
        for (code, message, fix) in [
            (500, r#"Internal error occurred: failed calling webhook "pods": refused"#, "caBundle"),
            (400, r#"admission webhook "other" denied the request: no"#, "denies the pod"),
            (403, "pods is forbidden", "namespace a"),
            (404, r#"namespaces "a" not found"#, "--namespace"),
            (422, "spec is invalid", "422"),
        ] {
            let error = kube::Error::Api(Box::new(Status::failure(message, "").with_code(code)));
            let text = refused(error, "a").to_string();
            assert!(text.starts_with(message) && text.contains(fix), "{text}");
        }
    }

    #[test]
    fn the_pod_is_admitted_everywhere() {
        let pod = pod();
        let spec = &pod.data["spec"];
        let mut container = spec["containers"][0].clone();
        for (key, value) in spec["securityContext"].as_object().unwrap() {
            container["securityContext"][key] = value.clone();
        }
        assert_eq!(restricted_violations(&container), [""; 0]);
    }
}
