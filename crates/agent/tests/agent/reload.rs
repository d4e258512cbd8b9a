//! Applications that cannot be notified yet.

use std::{
    fs,
    process::{Stdio, id},
};

use tokio::process::Command;

use crate::support::{Pod, data, terminate, until};

#[tokio::test]
async fn a_process_that_does_not_handle_the_signal_is_not_ended_by_it() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("app/stripe#key", "key")]);
    let name = format!("unready-{}", id());
    let mut application = Command::new("sleep").arg0(&name).arg("600").kill_on_drop(true).spawn().unwrap();
    // It has its name only after it has executed the other program.
    let comm = format!("/proc/{}/cmdline", application.id().unwrap());
    until(|| fs::read_to_string(&comm).is_ok_and(|line| line.starts_with(&name))).await;
    let variables = [
        ("WATCH_PATHS", watch.as_str()),
        ("REFRESH_INTERVAL", "1s"),
        ("RELOAD_SIGNAL", "SIGHUP"),
        ("RELOAD_TARGET", name.as_str()),
    ];
    let log = pod.path("log");
    let mut agent = pod.agent("sidecar", &variables);
    let sidecar = agent.stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    until(|| pod.secret("key").is_some()).await;
    pod.vault.write(&"app/stripe".parse().unwrap(), data("new"));
    until(|| pod.secret("key").as_deref() == Some("new")).await;
    until(|| fs::read_to_string(&log).unwrap().contains("application")).await;
    assert!(fs::read_to_string(&log).unwrap().contains("does not handle SIGHUP"));
    assert_eq!(application.try_wait().unwrap(), None);
    application.kill().await.unwrap();
    terminate(sidecar).await.check(0, &[]);
}
