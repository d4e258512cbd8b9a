//! What another process of the same user can read of the agent.

use std::{path::Path, process::Stdio};

use scaivault_devserver::Route;
use tokio::process::Command;

use crate::{
    support::{AGENT, Pod, Sidecar, start, within},
    user::User,
};

/// A user id that no other process has.
const USER: u32 = 64_101;

#[tokio::test]
async fn a_neighbour_cannot_read_environment_and_files() {
    let (pod, user) = (Pod::new().await, User::other_or_own(USER));
    user.give(&pod.path(""));
    let watch = pod.mapping(&[("app/stripe", "stripe.json")]);
    let variables =
        [("WATCH_PATHS", watch.as_str()), ("REFRESH_INTERVAL", "1d"), ("REFRESH_ON_EVENT", "true")];
    let program = user.program(Path::new(AGENT));
    let agent = Sidecar::run(&pod, user.start_as(&mut pod.agent_at(&program, "sidecar", &variables)));
    pod.requested(Route::Poll, 1).await;

    // For other processes of this user, both can be read: it is not the environment that prevents
    // it.
    let mut cat = Command::new("cat");
    cat.env_clear().env("MARK", "of-a-process").stdin(Stdio::piped()).kill_on_drop(true);
    let plain = start(user.start_as(&mut cat));
    let plain_pid = plain.id().unwrap().try_into().unwrap();
    assert_eq!(look(&user, "cat", plain_pid, "environ").await.unwrap(), "MARK=of-a-process\0");
    assert_eq!(look(&user, "readlink", plain_pid, "root").await.unwrap(), "/\n");

    for (program, file) in
        [("cat", "environ"), ("readlink", "root"), ("ls", "root/"), ("ls", "fd"), ("cat", "mem")]
    {
        let said = look(&user, program, agent.pid(), file).await.unwrap_err();
        assert!(said.contains("Permission denied"), "{program} {file}: {said}");
    }
    agent.end().await.check(0, &[]);
}

/// What the user can read of a file of a process, or the error.
async fn look(user: &User, program: &str, pid: i32, file: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    // Without this option `readlink` prints no error.
    if program == "readlink" {
        command.arg("--verbose");
    }
    command.arg(format!("/proc/{pid}/{file}")).env("LC_ALL", "C");
    let output = within(user.start_as(&mut command).output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}
