//! The process that the agent signals, and its behaviour if it cannot.

use std::{env, os::unix::fs::symlink, path::Path, process::Stdio};

use scaivault_devserver::Route;
use tokio::process::Command;

use crate::{
    application::{self, Application, Reports},
    support::{AGENT, Pod, Sidecar, data, skipped, until, until_exists},
    user::User,
};

/// Two user ids that no other process has.
const USERS: [u32; 2] = [64_102, 64_103];

/// The variables of a sidecar that signals an application with this name; the first one names its
/// files.
fn variables<'v>(watch: &'v str, name: &'v str) -> [(&'static str, &'v str); 5] {
    [
        ("WATCH_PATHS", watch),
        ("REFRESH_INTERVAL", "1d"),
        ("REFRESH_ON_EVENT", "true"),
        ("RELOAD_SIGNAL", "SIGHUP"),
        ("RELOAD_TARGET", name),
    ]
}

fn rotate(pod: &Pod, value: &str) {
    pod.vault.rotate(&"app/stripe".parse().unwrap(), data(value));
}

#[tokio::test]
async fn a_process_that_appears_later_gets_it_at_the_next_try() {
    let pod = Pod::new().await;
    let (watch, name) = (pod.mapping(&[("app/stripe#key", "key")]), application::name("later"));
    let sidecar = Sidecar::start(&pod, &variables(&watch, &name));
    pod.requested(Route::Poll, 1).await;
    rotate(&pod, "rotated");
    until(|| sidecar.said(&format!("no process of the pod is called {name}")) >= 1).await;
    assert_eq!(pod.secret("key").unwrap(), "rotated", "the file does not wait for the application");
    let application = Application::start(&name).await;
    until(|| application.reports.heard() == 1).await;
    // The line is logged after the signal.
    until(|| sidecar.said("application signalled") == 1).await;
    sidecar.end().await.check(0, &["trying again"]);
}

#[tokio::test]
async fn a_process_of_another_user_is_reported_and_retried() {
    let [Some(own), Some(other)] = USERS.map(User::other) else {
        return skipped("only root can start processes of two users");
    };
    let pod = Pod::new().await;
    own.give(&pod.path(""));
    let (watch, name) = (pod.mapping(&[("app/stripe#key", "key")]), application::name("other"));
    let anothers = Application::start_as(&other, &name).await;
    let program = own.program(Path::new(AGENT));
    let mut agent = pod.agent_at(&program, "sidecar", &variables(&watch, &name));
    let sidecar = Sidecar::run(&pod, own.start_as(&mut agent));
    pod.requested(Route::Poll, 1).await;
    rotate(&pod, "rotated");
    let [uid, other_uid] = USERS;
    let said = format!(
        "user {uid} may not signal the process {name} of user {other_uid}; run the agent as user {other_uid}"
    );
    until(|| sidecar.said(&said) >= 1).await;
    assert_eq!(anothers.reports.heard(), 0);
    anothers.kill().await;
    let application = Application::start_as(&own, &name).await;
    until(|| application.reports.heard() == 1).await;
    until(|| sidecar.said("application signalled") == 1).await;
    sidecar.end().await.check(0, &["trying again"]);
}

#[tokio::test]
async fn of_two_processes_of_a_name_it_is_the_topmost() {
    let pod = Pod::new().await;
    let (watch, name) = (pod.mapping(&[("app/stripe#key", "key")]), application::name("two"));
    let application = Application::start_two(&name).await;
    let sidecar = Sidecar::start(&pod, &variables(&watch, &name));
    pod.requested(Route::Poll, 1).await;
    for count in 1..=2 {
        rotate(&pod, &count.to_string());
        until(|| application.reports.heard() == count).await;
    }
    assert_eq!(application.reports.heard_below(), 0);
    until(|| sidecar.said(&format!("\"pid\":{}", application.pid())) == 2).await;
    sidecar.end().await.check(0, &[]);
}

/// In a separate process namespace, so that the first process of this machine cannot be affected.
#[tokio::test]
async fn the_first_process_is_never_signalled() {
    let in_namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).stdin(Stdio::null());
        command
    };
    if !in_namespace().arg("true").stderr(Stdio::null()).status().await.is_ok_and(|status| status.success()) {
        return skipped("only root can make a process namespace, with unshare of util-linux");
    }
    let pod = Pod::new().await;
    let (watch, name) = (pod.mapping(&[("app/stripe#key", "key")]), application::name("first"));
    let (log, program, reports) = (pod.path("log-inside"), pod.path(&name), Reports::new());
    symlink(env::current_exe().unwrap(), &program).unwrap();
    // The shell becomes the application, as the first process of its namespace; another one is its
    // child.
    let script = format!(
        "{AGENT} sidecar 2> {} & exec {} {}",
        log.display(),
        program.display(),
        application::ARGUMENTS.join(" ")
    );
    let agent = pod.agent("sidecar", &variables(&watch, &name));
    let variables = agent.as_std().get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut namespace = in_namespace();
    namespace.args(["/bin/sh", "-c", &script]).envs(variables).envs(reports.of_two()).kill_on_drop(true);
    let _namespace = namespace.stdout(Stdio::null()).spawn().unwrap();
    until_exists(&reports.below()).await;
    pod.requested(Route::Poll, 1).await;
    for count in 1..=2 {
        rotate(&pod, &count.to_string());
        until(|| reports.heard_below() == count).await;
    }
    assert_eq!(reports.heard(), 0);
}
