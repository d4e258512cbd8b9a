//! The process that is signalled if the kernel truncates names at 15 bytes.

use scaivault_devserver::Route;

use crate::{
    application::{Application, SIGNAL},
    site::Site,
    support::{data, until},
};

async fn signalled(target: &str, of: &[&str]) -> Vec<u32> {
    let site = Site::new().await;
    let watch = site.pod.mapping(&[("app/stripe#key", "key")]);
    let mut applications = Vec::new();
    for name in of {
        applications.push(Application::start_program(name).await);
    }
    let variables = [
        ("WATCH_PATHS", watch.as_str()),
        ("REFRESH_INTERVAL", "1s"),
        ("RELOAD_SIGNAL", SIGNAL),
        ("RELOAD_TARGET", target),
    ];
    let sidecar = site.sidecar(&variables);
    until(|| site.pod.secret("key").is_some()).await;
    let reads = site.pod.vault.requests(Route::Read);
    site.pod.requested(Route::Read, reads + 1).await;
    site.pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    until(|| sidecar.said("application signalled") + sidecar.said("application not") > 0).await;
    until(|| sidecar.said("application not") > 0 || applications.iter().any(|app| app.signals() > 0)).await;
    let ended = sidecar.end().await;
    ended.check(0, &[]);
    let missing = format!("no process of the pod is called {target}");
    assert!(!ended.log.contains("application not") || ended.log.contains(&missing), "{}", ended.log);
    applications.iter().map(Application::signals).collect()
}

/// A prefix of the names in this run, so that processes of other runs are not found. All names are
/// longer than 15 bytes, and their first 15 bytes are the same.
fn prefix() -> String {
    format!("{:0<12}-svc-", format!("w{}", std::process::id()))
}

#[tokio::test]
async fn a_name_that_is_cut_alike_is_another_process() {
    let prefix = prefix();
    let [web, worker] = ["web", "worker"].map(|name| format!("{prefix}{name}"));
    assert_eq!(signalled(&worker, &[&web, &worker]).await, [0, 1]);
    assert_eq!(signalled(&worker, &[&worker, &web]).await, [1, 0]);
}

/// If only the other process exists, none is signalled.
#[tokio::test]
async fn another_process_is_not_signalled_instead() {
    let prefix = format!("x{}", prefix());
    let [web, worker] = ["web", "worker"].map(|name| format!("{prefix}{name}"));
    assert_eq!(signalled(&worker, &[&web]).await, [0]);
}
