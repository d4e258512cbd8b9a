//! Audits for tests.

use scaivault_usage::{other_products, secrets};
use serde_json::{Value, json};

use crate::{
    Audit, AuditError, LongLivedToken, NativeUse, Outcome, Place, PodDrift, PodState, Pods, PolicyRow,
    Source, Stage, Tokens, Verdict, Workload, Writer,
};

/// A name that would run a script in HTML, be a link in Markdown and switch a terminal to red.
pub(crate) const HOSTILE: &str = "x\"><script>alert(1)</script><img src=x onerror=alert(2)> [a](http://e.example) | `b` \u{1b}[31m\u{202e}'";

/// A workload that uses no secrets.
pub(crate) fn workload(namespace: &str, name: &str, verdict: Verdict) -> Workload {
    Workload {
        namespace: namespace.to_owned(),
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: name.to_owned(),
        template: None,
        place: None,
        stage: Stage::None,
        becomes: Outcome {
            verdict,
            reason: if verdict == Verdict::Injected { "sidecar" } else { "not-annotated" }.to_owned(),
            secrets: usize::from(verdict == Verdict::Injected) * 2,
            problems: Vec::new(),
            warnings: Vec::new(),
        },
        native_secrets: Vec::new(),
        other_native_secrets: Vec::new(),
        csi_volumes: Vec::new(),
        other_products: Vec::new(),
        policies: Vec::new(),
        tokens: Tokens {
            service_account: "default".to_owned(),
            api_token: Some(true),
            projected: Vec::new(),
        },
        pods: None,
    }
}

/// The Secrets that the containers of this pod read.
pub(crate) fn native(pod: &Value) -> Vec<NativeUse> {
    NativeUse::by_secret(secrets(pod))
}

/// A pod whose only container reads this Secret both as files and as a variable.
pub(crate) fn pod(secret: &str) -> Value {
    json!({"spec": {
        "volumes": [{"name": "creds", "secret": {"secretName": secret}}],
        "containers": [{
            "name": "app",
            "volumeMounts": [{"name": "creds", "mountPath": "/etc/creds", "readOnly": true}],
            "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": secret, "key": "password"}}}],
        }],
    }})
}

/// One workload of each stage, and everything else that a report can show.
pub(crate) fn audit() -> Audit {
    let moved = Workload {
        policies: vec![PolicyRow {
            name: "billing".to_owned(),
            generation: 3,
            effect: "injected".to_owned(),
            message: None,
        }],
        pods: Some(Pods { total: 3, current: 3, drifted: Vec::new() }),
        ..workload("billing", "api", Verdict::Injected)
    };
    let mixed = Workload {
        native_secrets: native(&pod("legacy")),
        pods: Some(Pods {
            total: 2,
            current: 0,
            drifted: vec![
                PodDrift {
                    name: "worker-1".to_owned(),
                    state: PodState::NotInjected,
                    differences: Vec::new(),
                },
                PodDrift {
                    name: "worker-2".to_owned(),
                    state: PodState::Outdated,
                    differences: vec!["image agent:1 is now agent:2".to_owned()],
                },
            ],
        }),
        ..workload("billing", "worker", Verdict::Injected)
    };
    let mut refused = workload("shop", "cart", Verdict::Refused);
    refused.becomes.problems.push("inject-secret-db: \"../x\" is no path".to_owned());
    let mut native_secret = native(&pod("db"));
    native_secret[0].written_by.push(Writer { kind: "ExternalSecret", name: "db".to_owned() });
    let native = Workload {
        native_secrets: native_secret,
        place: Some(Place { file: "deploy/web.yaml".to_owned(), line: 7 }),
        ..workload("shop", "web", Verdict::NotCovered)
    };
    let annotated = json!({"metadata": {"annotations": {"vault.hashicorp.com/agent-inject-secret-db": "database/creds/app"}}});
    let other = Workload {
        other_products: other_products(&json!({}), &annotated),
        ..workload("shop", "search", Verdict::NotCovered)
    };
    let token = LongLivedToken {
        namespace: "shop".to_owned(),
        secret: "robot-token".to_owned(),
        service_account: "robot".to_owned(),
        last_used: Some("2026-11-01".to_owned()),
        invalid_since: None,
        used_by: vec!["deployment/web".to_owned()],
    };
    let error = AuditError {
        what: "replicasets.apps".to_owned(),
        message: "forbidden".to_owned(),
        fix: Some("grant list".to_owned()),
    };
    let none = workload("shop", "static", Verdict::NotCovered);
    let source = Source::Cluster {
        context: Some("prod".to_owned()),
        server: "https://127.0.0.1:6443".to_owned(),
        kube_version: "1.37".to_owned(),
        namespace: None,
    };
    let workloads = vec![none, other, native, refused, mixed, moved];
    Audit::new(
        source,
        "2026-11-26T12:00:00Z".to_owned(),
        workloads,
        vec![token],
        vec![error],
        vec!["a note".to_owned()],
    )
}

/// An audit in which every untrusted text is hostile.
pub(crate) fn hostile() -> Audit {
    let text = || HOSTILE.to_owned();
    let mut hostile = audit();
    for workload in &mut hostile.workloads {
        for field in
            [&mut workload.namespace, &mut workload.kind, &mut workload.name, &mut workload.api_version]
        {
            *field = text();
        }
        workload.template = Some(text());
        workload.place = Some(Place { file: text(), line: 1 });
        workload.native_secrets = native(&pod(HOSTILE));
        workload.native_secrets[0].written_by = vec![Writer { kind: "ExternalSecret", name: text() }];
        workload.native_secrets[0].token_of = Some(text());
        let annotated =
            json!({"metadata": {"annotations": {format!("vault.hashicorp.com/{HOSTILE}"): HOSTILE}}});
        workload.other_products = other_products(&json!({}), &annotated);
        workload.becomes.problems = vec![text()];
        workload.becomes.warnings = vec![text()];
        workload.becomes.reason = text();
        workload.policies =
            vec![PolicyRow { name: text(), generation: 1, effect: text(), message: Some(text()) }];
        workload.tokens.service_account = text();
        workload.pods = Some(Pods {
            total: 1,
            current: 0,
            drifted: vec![PodDrift { name: text(), state: PodState::Outdated, differences: vec![text()] }],
        });
    }
    for token in &mut hostile.long_lived_tokens {
        *token = LongLivedToken {
            namespace: text(),
            secret: text(),
            service_account: text(),
            last_used: Some(text()),
            invalid_since: Some(text()),
            used_by: vec![text()],
        };
    }
    hostile.errors = vec![AuditError { what: text(), message: text(), fix: Some(text()) }];
    hostile.notes = vec![text()];
    hostile.time = text();
    hostile.source = Source::Cluster {
        context: Some(text()),
        server: text(),
        kube_version: text(),
        namespace: Some(text()),
    };
    hostile
}
