//! The application: this test program started once more, under a name of its own. It counts the signals that it gets.

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

/// Where the application writes what it has heard. With this variable the program is the application.
const REPORT: &str = "APPLICATION_REPORT";
/// The same for another one of the same name, which it starts below itself.
const BELOW: &str = "APPLICATION_BELOW";
/// A file that it reads whenever it is told to.
const READS: &str = "APPLICATION_READS";
/// The arguments with which the test program runs but one test: that which is the application.
pub(crate) const ARGUMENTS: [&str; 4] =
    ["--exact", "application::it_hears_each_signal", "--nocapture", "--test-threads=1"];

/// A name that no other process of the machine has.
pub(crate) fn name(of: &str) -> String {
    format!("{of}-{}", id())
}

/// A running application. It is killed when this is dropped.
pub(crate) struct Application {
    child: Child,
    pub(crate) reports: Reports,
}

impl Application {
    pub(crate) async fn start(name: &str) -> Self {
        Self::run(&mut command(&env::current_exe().unwrap(), name)).await
    }

    /// Starts one that reads a file each time it is told to.
    pub(crate) async fn start_reader(name: &str, file: &Path) -> Self {
        Self::run(command(&env::current_exe().unwrap(), name).env(READS, file)).await
    }

    /// Starts one of another user.
    pub(crate) async fn start_as(user: &User, name: &str) -> Self {
        let program = user.program(&env::current_exe().unwrap());
        Self::run(user.start_as(&mut command(&program, name))).await
    }

    /// Starts one with another one below it.
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

/// What applications have heard: one, and perhaps another one below it.
pub(crate) struct Reports(TempDir);

impl Reports {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Applications of all users write here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self(dir)
    }

    /// The variables that make an application, with another one below it, write here.
    pub(crate) fn of_two(&self) -> [(&'static str, PathBuf); 2] {
        [(REPORT, self.top()), (BELOW, self.below())]
    }

    /// How many signals the application has got.
    pub(crate) fn heard(&self) -> u32 {
        report(&self.top()).0
    }

    /// How many signals the one below it has got.
    pub(crate) fn heard_below(&self) -> u32 {
        report(&self.below()).0
    }

    /// What stood in the application's file when it was told the last time.
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
#[expect(clippy::disallowed_methods, reason = "says which of the two processes this is")]
async fn it_hears_each_signal() {
    if let Some(report) = env::var_os(REPORT) {
        return be_the_application(Path::new(&report), env::var_os(BELOW), env::var_os(READS)).await;
    }
    let application = Application::start(&name("heard")).await;
    for count in 1..=3 {
        kill_process(Pid::from_raw(application.pid()).unwrap(), Signal::HUP).unwrap();
        until(|| application.reports.heard() == count).await;
    }
}

/// Reports until it is killed, or until whoever started it is gone.
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
