//! The application: this test program, started under its own name. It counts the signals that it
//! receives.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Stdio, id},
};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use crate::{
    support::{until, until_exists},
    user::User,
};

/// The file of the application's report. If this variable is set, the program acts as the
/// application.
const REPORT: &str = "APPLICATION_REPORT";
/// The same for a second application of the same name, which it starts as its child.
const BELOW: &str = "APPLICATION_BELOW";
/// A file that it reads on each signal.
const READS: &str = "APPLICATION_READS";
/// The arguments with which the test program runs only the test that is the application.
pub(crate) const ARGUMENTS: [&str; 4] =
    ["--exact", "application::the_application_receives_each_signal", "--nocapture", "--test-threads=1"];

/// A name that no other process of the machine has.
pub(crate) fn name(of: &str) -> String {
    format!("{of}-{}", id())
}

/// A running application. Killed on drop.
pub(crate) struct Application {
    child: Child,
    pub(crate) reports: Reports,
}

impl Application {
    pub(crate) async fn start(name: &str) -> Self {
        Self::run(&mut command(&env::current_exe().unwrap(), name)).await
    }

    /// Starts an application that reads a file on each signal.
    pub(crate) async fn start_reader(name: &str, file: &Path) -> Self {
        Self::run(command(&env::current_exe().unwrap(), name).env(READS, file)).await
    }

    /// Starts an application of another user.
    pub(crate) async fn start_as(user: &User, name: &str) -> Self {
        let program = user.program(&env::current_exe().unwrap());
        Self::run(user.start_as(&mut command(&program, name))).await
    }

    /// Starts an application with another one as its child.
    pub(crate) async fn start_two(name: &str) -> Self {
        let reports = Reports::new();
        let mut command = command(&env::current_exe().unwrap(), name);
        let child = command.envs(reports.of_two()).spawn().unwrap();
        until_exists(&reports.below()).await;
        Self { child, reports }
    }

    async fn run(command: &mut Command) -> Self {
        let reports = Reports::new();
        let child = command.env(REPORT, reports.top()).spawn().unwrap();
        until_exists(&reports.top()).await;
        Self { child, reports }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().unwrap().try_into().unwrap()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// The reports of an application and its child, if any.
pub(crate) struct Reports(TempDir);

impl Reports {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Applications of all users write here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self(dir)
    }

    /// The variables for an application with a child that writes its report here, too.
    pub(crate) fn of_two(&self) -> [(&'static str, PathBuf); 2] {
        [(REPORT, self.top()), (BELOW, self.below())]
    }

    /// The number of signals that the application has received.
    pub(crate) fn heard(&self) -> u32 {
        report(&self.top()).0
    }

    /// The number of signals that its child has received.
    pub(crate) fn heard_below(&self) -> u32 {
        report(&self.below()).0
    }

    /// The content of the application's file at the last signal.
    pub(crate) fn read(&self) -> String {
        report(&self.top()).1
    }

    pub(crate) fn below(&self) -> PathBuf {
        self.0.path().join("below")
    }

    fn top(&self) -> PathBuf {
        self.0.path().join("top")
    }
}

fn report(path: &Path) -> (u32, String) {
    let report = fs::read_to_string(path).unwrap();
    let (heard, read) = report.split_once('\n').unwrap();
    (heard.parse().unwrap(), read.to_owned())
}

fn command(program: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.arg0(name).args(ARGUMENTS).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "distinguishes the two processes")]
async fn the_application_receives_each_signal() {
    if let Some(report) = env::var_os(REPORT) {
        return be_the_application(Path::new(&report), env::var_os(BELOW), env::var_os(READS)).await;
    }
    let application = Application::start(&name("heard")).await;
    for count in 1..=3 {
        kill_process(Pid::from_raw(application.pid()).unwrap(), Signal::HUP).unwrap();
        until(|| application.reports.heard() == count).await;
    }
}

/// Reports until it is killed, or until its parent exits.
async fn be_the_application(report: &Path, below: Option<OsString>, reads: Option<OsString>) {
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let mut signals = signal(SignalKind::hangup()).unwrap();
    let own_name = env::args_os().next().unwrap();
    let _below = below.map(|report| {
        let mut command = command(&env::current_exe().unwrap(), own_name.to_str().unwrap());
        command.env(REPORT, report).env_remove(BELOW).spawn().unwrap()
    });
    let mut heard = 0_u32;
    loop {
        let read =
            reads.as_ref().map_or_else(String::new, |file| fs::read_to_string(file).unwrap_or_default());
        let unfinished = report.with_extension("new");
        fs::write(&unfinished, format!("{heard}\n{read}")).unwrap();
        fs::rename(&unfinished, report).unwrap();
        signals.recv().await.unwrap();
        heard += 1;
    }
}
