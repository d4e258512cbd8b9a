//! Bytes to bytes, without HTTP.

use std::{fmt::Write as _, hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use scaivault_inject::{KubeVersion, Settings};
use scaivault_webhook::{AdmissionContext, AnyNamespace, review_to_response};

/// A pod's creation with as many containers and about as many bytes each as real ones have: 4 KB with 3.
fn review(containers: usize) -> String {
    let mut list = String::new();
    for index in 0..containers {
        let separator = if index > 0 { "," } else { "" };
        let _ = write!(
            list,
            r#"{separator}{{"name":"app-{index}","image":"registry.invalid/app:{index}","command":["/bin/app"],
            "env":[{{"name":"A","value":"b"}},{{"name":"C","valueFrom":{{"fieldRef":{{"fieldPath":"metadata.name"}}}}}}],
            "resources":{{"limits":{{"memory":"128Mi"}},"requests":{{"cpu":"100m","memory":"64Mi"}}}},"volumeMounts":[{{
            "name":"kube-api-access-t6g4c","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}}],
            "terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}}"#
        );
    }
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"45eacf37-b063-482f-86d7-9ce68445e507",
        "kind":{{"group":"","version":"v1","kind":"Pod"}},"resource":{{"group":"","version":"v1","resource":"pods"}},
        "requestKind":{{"group":"","version":"v1","kind":"Pod"}},"name":"web","namespace":"shop","operation":"CREATE",
        "userInfo":{{"username":"admin","groups":["system:masters","system:authenticated"]}},"object":{{"kind":"Pod",
        "apiVersion":"v1","metadata":{{"name":"web","namespace":"shop","labels":{{"app":"web"}},"annotations":{{
        "scaivault.scailabs.ai/inject-secret-db.json":"environments/production/billing/database",
        "scaivault.scailabs.ai/inject-secret-key":"environments/production/billing/stripe#secret_key"}}}},
        "spec":{{"volumes":[{{"name":"kube-api-access-t6g4c","projected":{{"sources":[{{"serviceAccountToken":{{
        "expirationSeconds":3607,"path":"token"}}}},{{"configMap":{{"name":"kube-root-ca.crt","items":[{{"key":"ca.crt",
        "path":"ca.crt"}}]}}}}],"defaultMode":420}}}}],"containers":[{list}],"restartPolicy":"Always","dnsPolicy":"ClusterFirst",
        "serviceAccountName":"billing","securityContext":{{}},"schedulerName":"default-scheduler","priority":0}},"status":{{}}}},
        "oldObject":null,"dryRun":false,"options":{{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}}}}}"#
    )
}

fn reviews(criterion: &mut Criterion) {
    let context = AdmissionContext::new(Settings::default(), KubeVersion::OLDEST, Arc::new(AnyNamespace));
    let mut group = criterion.benchmark_group("review_to_response");
    for (name, containers) in [("4 KB", 3), ("9 KB", 10)] {
        let review = review(containers);
        group.throughput(Throughput::Bytes(review.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| review_to_response(black_box(review.as_bytes()), &context));
        });
    }
    group.finish();
}

criterion_group!(benches, reviews);
criterion_main!(benches);
