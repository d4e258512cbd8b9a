use std::{
    env,
    io::{BufRead as _, BufReader, Read as _},
    thread,
    time::{Duration, Instant},
};

use super::*;

/// Far longer than ending a program takes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Set for the child process that starts a program and is killed.
const HOLDER: &str = "SCAIVAULT_TESTKIT_HOLDER";

fn sleeper(directory: &Directory) -> Program {
    Program::start("sleeper", Command::new("sleep").arg("600"), directory.path()).unwrap()
}

/// The program's process id, once it runs.
fn process_id(directory: &Path) -> String {
    let file = directory.join("sleeper.pid");
    wait_until("its process id", || fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')));
    fs::read_to_string(file).unwrap().trim().to_owned()
}

fn runs(process_id: &str) -> bool {
    Command::new("kill").args(["-0", process_id]).stderr(Stdio::null()).status().unwrap().success()
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for {what}");
        thread::yield_now();
    }
}

#[test]
fn a_dropped_program_and_its_directory_are_removed() {
    let directory = Directory::new("scaivault-program-").unwrap();
    let path = directory.path().to_owned();
    let mut program = sleeper(&directory);
    let process_id = process_id(&path);
    assert!(runs(&process_id));
    program.check().unwrap();
    drop(program);
    assert!(!runs(&process_id));
    drop(directory);
    assert!(!path.exists());
}

#[test]
fn a_program_that_ends_is_noticed_and_its_last_words_are_shown() {
    let directory = Directory::new("scaivault-program-").unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo first; for i in 1 2 $LAST; do echo line $i >&2; done; exit 3"])
        .env("LAST", "3");
    let mut program = Program::start("short", &command, directory.path()).unwrap();
    wait_until("its end", || program.check().is_err());
    assert_eq!(program.ended().unwrap().unwrap().code(), Some(3));
    let error = program.check().unwrap_err().to_string();
    assert_eq!(error, "short ended before it was ready; the end of its log:\nfirst\nline 1\nline 2\nline 3");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "distinguishes the two processes")]
fn nothing_remains_of_a_killed_process() {
    if env::var_os(HOLDER).is_some() {
        hold();
        return;
    }
    let mut holder = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "control_plane::program::tests::nothing_remains_of_a_killed_process",
        ])
        .env(HOLDER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines().map(Result::unwrap);
    let path = lines.find_map(|line| line.split_once("held: ").map(|(_, path)| PathBuf::from(path))).unwrap();
    let process_id = process_id(&path);
    assert!(runs(&process_id) && path.exists());

    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_until("the program's end", || !runs(&process_id));
    wait_until("the directory's end", || !path.exists());
}

/// Keeps a program running until this process is killed, or until its parent ends.
fn hold() {
    let directory = Directory::new("scaivault-program-").unwrap();
    let _program = sleeper(&directory);
    println!("held: {}", directory.path().display());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
