//! Reloads the settings while the server runs when the configuration file changes.

use std::{sync::Arc, time::SystemTime};

use scaivault_certs::CheckResult;
use scaivault_cluster::unix_seconds;
use scaivault_webhook::{AdmissionContext, Metrics};

use crate::config::Follower;

/// Checks the configuration file for ever.
pub(super) async fn follow(follower: Follower, context: Arc<AdmissionContext>, metrics: Arc<Metrics>) {
    follower.each_interval(|follower| sync(follower, &context, &metrics, SystemTime::now())).await;
}

fn sync(follower: &mut Follower, context: &AdmissionContext, metrics: &Metrics, now: SystemTime) {
    match follower.check() {
        CheckResult::Unchanged => {}
        CheckResult::Replaced(settings) => {
            context.replace_settings(settings);
            metrics.config_replaced(unix_seconds(now));
            tracing::info!("configuration replaced");
        }
        CheckResult::Kept(error) => {
            metrics.config_kept();
            tracing::error!(error, "new configuration rejected, keeping the previous one");
        }
    }
    metrics.config_refused(follower.is_refused());
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use scaivault_inject::KubeVersion;
    use scaivault_webhook::{Endpoint, NoCluster, review_to_response};

    use super::*;

    const REVIEW: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","namespace":"shop",
        "kind":{"group":"","version":"v1","kind":"Pod"},"operation":"CREATE","object":{"metadata":{"annotations":{
        "scaivault.scailabs.ai/inject-secret-db":"apps/db"}},"spec":{"containers":[{"name":"app","image":"a"}]}}}}"#;

    #[test]
    fn decisions_follow_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("injector.yaml");
        fs::write(&path, "onProblem: deny\n").unwrap();
        let (mut follower, settings) = Follower::new(Some(path.clone()), None).unwrap();
        let context = AdmissionContext::new(settings, KubeVersion::OLDEST, Arc::new(NoCluster));
        let metrics = Metrics::new();
        let mut excluded_with = |text: &str| {
            fs::write(&path, text).unwrap();
            sync(&mut follower, &context, &metrics, SystemTime::UNIX_EPOCH + Duration::from_secs(7));
            let reply = review_to_response(Endpoint::Mutate, REVIEW.as_bytes(), &context);
            String::from_utf8(reply.body).unwrap().contains("excluded-namespace")
        };
        let is_refused = || metrics.encode().unwrap().contains("config_refused 1\n");
        assert!(!excluded_with("onProblem: deny\n"));
        assert!(excluded_with("excludedNamespaces: [shop]\n"));
        for _ in 0..2 {
            assert!(excluded_with("excludedNamespace: []\n"), "a bad file changes nothing");
            assert!(is_refused(), "as long as the file is bad, not only when it became so");
        }
        assert!(excluded_with("excludedNamespaces: [shop]\n"));
        assert!(!is_refused());
        let text = metrics.encode().unwrap();
        for line in [
            "config_reloads_total{result=\"replaced\"} 1",
            "config_reloads_total{result=\"kept\"} 1",
            "config_loaded_timestamp_seconds 7",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
