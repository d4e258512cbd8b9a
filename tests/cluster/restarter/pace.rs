//! The speed of restarts, and the reasons to stop them.

use std::{process::Command, time::Duration};

use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{
    TIMEOUT, api, eventually, eventually_within,
    restarter::{Cluster, Restarter, manifest, size},
    run,
};

const AUTO: &str = "scaivault.scailabs.ai/restart";

/// Start and end of the last restart of each Deployment, as text that sorts by time, in the order of the
/// starts. The end is that of Kubernetes, because a record may be written some seconds later.
pub(super) async fn rollouts(cluster: &Cluster) -> Vec<(String, String)> {
    let deployments = api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace);
    let records =
        api(&cluster.client, "scaivault.scailabs.ai/v1alpha1", "RotationRollout", &cluster.namespace);
    let mut times = Vec::new();
    for record in records.list(&ListParams::default()).await.unwrap() {
        let began = record.data["status"]["rollout"]["since"].as_str().unwrap().to_owned();
        let deployment = deployments.get(record.data["spec"]["name"].as_str().unwrap()).await.unwrap();
        let conditions = deployment.data["status"]["conditions"].as_array().unwrap();
        let progress = conditions.iter().find(|condition| condition["type"] == "Progressing").unwrap();
        assert_eq!(progress["reason"], "NewReplicaSetAvailable");
        times.push((began, progress["lastUpdateTime"].as_str().unwrap().to_owned()));
    }
    times.sort();
    times
}

/// Asserts that each wave began after all earlier ones had ended: the canary, and then this number at once.
pub(super) fn check_waves(times: &[(String, String)], wave: usize) {
    let mut waves = vec![&times[..1]];
    waves.extend(times[1..].chunks(wave));
    for pair in waves.windows(2) {
        let ended = pair[0].iter().map(|(_, ended)| ended).max().unwrap();
        let began = pair[1].iter().map(|(began, _)| began).min().unwrap();
        assert!(began >= ended, "{times:?}");
    }
}

/// The maximum number of concurrent restarts, counted at the start of each. Times are whole seconds. Those that began in one
/// second belong to one decision, because the controller pauses for a second between decisions.
fn most_at_once(times: &[(String, String)]) -> usize {
    let is_in_progress = |began: &String, (other_began, other_ended): &(String, String)| {
        other_began == began || other_began < began && began < other_ended
    };
    let at_once = |began: &String| times.iter().filter(|other| is_in_progress(began, other)).count();
    times.iter().map(|(began, _)| at_once(began)).max().unwrap()
}

#[tokio::test]
async fn a_shared_secret_rolls_in_waves_within_its_limits() {
    let workloads = size("RESTARTER_SHARED", 12);
    let cluster = Cluster::new("restarter-waves").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    let names: Vec<String> = (0..workloads).map(|number| format!("web-{number}")).collect();
    for name in &names {
        cluster.workload("Deployment", name, "db", json!({})).await;
    }
    // First the waves are the limit, then the concurrent rollouts.
    let (wave, concurrency) = (workloads / 3, workloads / 4);
    for (restarts, [wave, concurrency]) in
        [[wave, workloads], [workloads, concurrency]].into_iter().enumerate()
    {
        let flags = [
            format!("--wave={wave}"),
            format!("--concurrency={concurrency}"),
            format!("--namespace-concurrency={concurrency}"),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &flags).await;
        for name in &names {
            cluster.until_known("Deployment", name).await;
        }
        cluster.rotate("db").await;
        let limit = TIMEOUT + Duration::from_secs(5) * u32::try_from(workloads).unwrap();
        eventually_within(limit, "all restarts", async || {
            let records = cluster.records().await;
            let is_done = |record: &Value| {
                let count = record["restarts"].as_array().map_or(0, Vec::len);
                record["phase"] == "Current" && count == restarts + 1
            };
            (records.len() == workloads && records.iter().all(is_done)).then_some(())
        })
        .await;
        let times = rollouts(&cluster).await;
        check_waves(&times, wave);
        let most = most_at_once(&times);
        assert!((2..=wave.min(concurrency)).contains(&most), "{most} at once, {flags:?}");
        restarter.terminate().await;
    }
    for name in &names {
        assert_eq!(cluster.replica_sets(name).await, 3, "{name}");
    }
    cluster.end().await;
}

/// Like `helm upgrade`: the Secret, and then the template, which replaces the pods anyway.
#[tokio::test]
async fn a_secret_and_a_template_written_together_roll_once() {
    let cluster = Cluster::new("restarter-upgrade").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.workload("Deployment", "web", "db", json!({})).await;
    let flags = ["--clock-skew=2m", "--observation=5m"];
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &flags).await;
    cluster.until_known("Deployment", "web").await;
    let deployments = api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace);
    for upgrades in 1..=3 {
        // In a later second than the creation of the pods.
        let written = cluster.rotate("db").await;
        let change = json!({"spec": {"template": {"metadata": {"annotations": {"checksum": written}}}}});
        deployments.patch("web", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
        let version = written.parse::<jiff::Timestamp>().unwrap().as_second();
        cluster
            .until_record("Deployment", "web", |record| {
                record["phase"] == "Current" && record["accepted"][0]["version"] == format!("@{version}")
            })
            .await;
        assert_eq!(cluster.replica_sets("web").await, 1 + upgrades);
    }
    let record = cluster.record("Deployment", "web").await;
    assert!(record["restarts"].as_array().is_none_or(Vec::is_empty), "{record}");
    restarter.terminate().await;
    cluster.end().await;
}

#[tokio::test]
async fn restarts_wait_for_the_window_of_their_workload() {
    let cluster = Cluster::new("restarter-window").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    let windows = "scaivault.scailabs.ai/restart-windows";
    let hour = (jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour() + 12) % 24;
    let closed = format!("0 {hour} * * * for 1h");
    cluster.workload("Deployment", "web", "db", json!({windows: closed})).await;
    cluster.workload("Deployment", "free", "db", json!({})).await;
    // The workload's status counts, not the record of the controller.
    let flags = ["--window=* * * * * for 1h", "--canaries=2"];
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &flags).await;
    for name in ["web", "free"] {
        cluster.until_known("Deployment", name).await;
    }
    cluster.rotate("db").await;
    cluster.until_restarted("Deployment", "free", 1).await;
    let waiting =
        cluster.until_record("Deployment", "web", |record| record["reason"] == "WindowClosed").await;
    assert!(waiting["message"].as_str().unwrap().contains(&format!("T{hour:02}:00:00Z")), "{waiting}");
    assert_eq!(cluster.replica_sets("web").await, 1);
    cluster.annotate("web", windows, "* * * * * for 1h").await;
    cluster.until_restarted("Deployment", "web", 1).await;
    assert_eq!(cluster.replica_sets("web").await, 2);
    restarter.terminate().await;
    cluster.end().await;
}

#[tokio::test]
async fn a_bad_rotation_stops_after_its_canary() {
    let cluster = Cluster::new("restarter-bad").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    let names: Vec<String> = (0..5).map(|number| format!("web-{number}")).collect();
    for name in &names {
        let mut deployment = manifest("Deployment", name, "db", json!({}));
        deployment["spec"]["template"]["metadata"]["labels"]["crashes-after-restart"] = "true".into();
        crate::support::create(
            &api(&cluster.client, "apps/v1", "Deployment", &cluster.namespace),
            deployment,
        )
        .await
        .unwrap();
    }
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &[]).await;
    for name in &names {
        cluster.until_known("Deployment", name).await;
    }
    cluster.rotate("db").await;
    let failed = eventually("one to fail, and the others to be stopped", async || {
        let (stopped, mut others): (Vec<_>, Vec<_>) =
            cluster.records().await.into_iter().partition(|record| record["reason"] == "Stopped");
        let failed = others.pop().filter(|record| record["phase"] == "Failed")?;
        (stopped.len() == names.len() - 1 && others.is_empty()).then_some(failed)
    })
    .await;
    assert_eq!(failed["reason"], "PodsFailing");
    let conditions = failed["conditions"].as_array().unwrap();
    assert!(
        conditions.iter().any(|condition| condition["type"] == "Succeeded" && condition["status"] == "False")
    );
    let mut sets = Vec::new();
    for name in &names {
        sets.push(cluster.replica_sets(name).await);
    }
    sets.sort_unstable();
    assert_eq!(sets, [1, 1, 1, 1, 2], "only the canary was restarted");
    restarter.until_has("rollouts_total{outcome=\"failed\"}", true).await;
    let events = api(&cluster.client, "events.k8s.io/v1", "Event", &cluster.namespace);
    eventually("a warning for the owner", async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        events
            .into_iter()
            .find(|event| event.data["reason"] == "PodsFailing" && event.data["type"] == "Warning")
    })
    .await;
    restarter.terminate().await;
    cluster.end().await;
}

#[tokio::test]
async fn a_manual_workload_waits_for_the_command() {
    let cluster = Cluster::new("restarter-manual").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.workload("Deployment", "web", "db", json!({AUTO: "manual"})).await;
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &[]).await;
    cluster.until_known("Deployment", "web").await;
    let release = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scaivault-injector"));
        command.args(["restart", "deployment/web", "--namespace", &cluster.namespace]);
        command.env("KUBECONFIG", cluster.plane.kubeconfig_path());
        command
    };
    let refused = release().output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no pending restart"), "{refused:?}");
    cluster.rotate("db").await;
    cluster.until_record("Deployment", "web", |record| record["reason"] == "NotReleased").await;
    assert_eq!(cluster.replica_sets("web").await, 1);
    let said = run(&mut release());
    assert_eq!(said, format!("released the pending restart of Deployment {}/web\n", cluster.namespace));
    cluster.until_restarted("Deployment", "web", 1).await;
    assert_eq!(cluster.replica_sets("web").await, 2);
    restarter.terminate().await;
    cluster.end().await;
}

#[tokio::test]
async fn a_paused_workload_waits_until_its_owner_resumes() {
    let cluster = Cluster::new("restarter-paused").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.workload("Deployment", "web", "db", json!({})).await;
    let kubectl = crate::support::kubectl::Kubectl { plane: cluster.plane, namespace: &cluster.namespace };
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &[]).await;
    cluster.until_known("Deployment", "web").await;
    kubectl.run("rollout pause deployment/web").ok();
    cluster.rotate("db").await;
    cluster.until_record("Deployment", "web", |record| record["reason"] == "Paused").await;
    assert_eq!(cluster.get("Deployment", "web").await["spec"]["paused"], true);
    assert_eq!(cluster.replica_sets("web").await, 1);
    kubectl.run("rollout resume deployment/web").ok();
    cluster.until_restarted("Deployment", "web", 1).await;
    restarter.terminate().await;
    cluster.end().await;
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let cluster = Cluster::new("restarter-dry").await;
    cluster.secret("db", json!({AUTO: "auto"})).await;
    cluster.workload("Deployment", "web", "db", json!({})).await;
    let restarter = Restarter::start(&cluster.plane.kubeconfig_path(), &["--dry-run"]).await;
    eventually("first sight", async || {
        (restarter.metric("workloads{phase=\"Current\",reason=\"Current\"}").await > 0.0).then_some(())
    })
    .await;
    let before = cluster.get("Deployment", "web").await;
    cluster.rotate("db").await;
    eventually("the report", async || {
        (restarter.metric("workloads{phase=\"Waiting\",reason=\"DryRun\"}").await > 0.0).then_some(())
    })
    .await;
    restarter.until_logged("a restart would begin now").await;
    assert_eq!(cluster.get("Deployment", "web").await["spec"], before["spec"]);
    assert!(cluster.records().await.is_empty());
    restarter.terminate().await;
    cluster.end().await;
}

/// Owners rotate repeatedly: each workload is restarted for the last version, and not for each version.
#[tokio::test]
async fn a_storm_of_rotations_restarts_each_workload_once() {
    let (rotations, workloads) = (size("RESTARTER_STORM", 40), 10);
    let cluster = Cluster::new("restarter-storm").await;
    let secrets = ["a", "b", "c", "d", "e"];
    for secret in secrets {
        cluster.secret(secret, json!({AUTO: "auto"})).await;
    }
    let names: Vec<String> = (0..workloads).map(|number| format!("web-{number}")).collect();
    for (name, secret) in names.iter().zip(secrets.iter().cycle()) {
        cluster.workload("Deployment", name, secret, json!({})).await;
    }
    let restarter =
        Restarter::start(&cluster.plane.kubeconfig_path(), &["--debounce=20s", "--max-wait=10m"]).await;
    for name in &names {
        cluster.until_known("Deployment", name).await;
    }
    for secret in secrets {
        cluster.rotate(secret).await;
    }
    for number in secrets.len()..rotations {
        cluster.write(secrets[number % secrets.len()]).await;
    }
    for (name, secret) in names.iter().zip(secrets.iter().cycle()) {
        let record = cluster.until_restarted("Deployment", name, 1).await;
        let accepted = record["accepted"][0]["version"].as_str().unwrap().to_owned();
        let last: jiff::Timestamp = cluster.written(secret).await.parse().unwrap();
        assert_eq!(accepted, format!("@{}", last.as_second()), "{name}");
        assert_eq!(cluster.replica_sets(name).await, 2, "{name}");
    }
    restarter.terminate().await;
    cluster.end().await;
}
