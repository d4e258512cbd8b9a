//! The demo from a user's view: its output, its exit code, and that it cleans up.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by panicking")]

#[path = "cli/program.rs"]
#[allow(dead_code, reason = "it offers more to other test programs")]
mod program;

use program::run;

#[cfg(not(all(feature = "demo", target_os = "linux")))]
#[test]
fn without_an_agent_inside_the_injection_is_shown() {
    let shown = run(["demo"]).exits(0).stdout;
    for expected in ["3/3 injector", "+ native sidecar scaivault-sidecar", "no agent inside"] {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
}

#[test]
fn the_whole_patch_is_shown_on_request() {
    let shown = run(["demo", "--diff"]).exits(0).stdout;
    for expected in ["--- pod/shop (before)\n", "\n+  shareProcessNamespace: true\n", "\n+    - sidecar\n"] {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
}

#[cfg(all(feature = "demo", target_os = "linux"))]
mod chain {
    use std::{
        fs,
        io::{BufRead as _, BufReader},
        path::Path,
        thread,
        time::{Duration, Instant},
    };

    use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};
    use tempfile::TempDir;

    use super::program::command;

    /// How long a test waits for an expected event.
    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Directly below `/tmp`, because the nearest mount must not be below it.
    fn directory() -> TempDir {
        // Orphaned processes become children of this process, so that they can be found.
        set_child_subreaper(Some(getpid())).unwrap();
        tempfile::tempdir_in("/tmp").unwrap()
    }

    fn expect_nothing_left(directory: &Path) {
        expect_no_process_left();
        let left: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    fn expect_no_process_left() {
        let deadline = Instant::now() + TIMEOUT;
        while !orphans().is_empty() {
            assert!(Instant::now() < deadline, "left behind: {:?}", orphans());
            thread::yield_now();
        }
    }

    /// Processes that the demo started, that are no longer its children and still run.
    fn orphans() -> Vec<String> {
        let own = getpid().as_raw_nonzero().to_string();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let directory = entry.ok()?.path();
            let stat = fs::read_to_string(directory.join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
            let is_zombie = fields.next()? == "Z";
            let is_ours = !is_zombie && fields.next()? == own;
            let command = is_ours.then(|| fs::read_to_string(directory.join("cmdline")).ok())??;
            let program = command.split('\0').next()?.rsplit('/').next()?.to_owned();
            (program == "scaivault-agent" || program.starts_with("scaivault-demo-app-")).then_some(program)
        });
        processes.collect()
    }

    #[test]
    fn the_whole_chain_works_and_cleans_up() {
        let directory = directory();
        let child = command(["demo"]).env("TMPDIR", directory.path()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""), "{shown}");

        let shown = shown.replace(&directory.path().display().to_string(), "/tmp");
        assert_eq!(masked(&shown), masked(transcript()), "docs/getting-started.md shows the output");
        // The numbers are masked above, so this checks that nothing was done twice. Reading all
        // secrets after a subscription may find the rotation before its event arrives, and then no
        // further read is needed.
        let counted = |reads| format!("logins 1, reads {reads}, leases generated 1, leases revoked 1\n");
        assert!([2, 3].into_iter().any(|reads| shown.contains(&counted(reads))), "{shown}");
        assert!(!shown.contains('\x1b'), "no colours on a pipe");
        let wide: Vec<_> = shown.lines().filter(|line| line.chars().count() > 110).collect();
        assert!(wide.is_empty(), "{wide:?}");
        expect_nothing_left(directory.path());
    }

    /// The transcript in docs/getting-started.md.
    fn transcript() -> &'static str {
        let page = include_str!("../docs/getting-started.md");
        let (_, shown) = page.split_once("$ cargo run --release -- demo\n").unwrap();
        shown.split_once("```").unwrap().0
    }

    /// The text with varying parts replaced: numbers, and names with random parts.
    fn masked(text: &str) -> String {
        let mut masked = text.to_owned();
        for prefix in ["v_readonly_", "lease_", "scaivault-demo-app-", "/scaivault-demo-"] {
            let parts = masked.split(prefix).enumerate();
            let parts = parts.map(|(index, part)| match index {
                0 => part,
                _ => part.trim_start_matches(|c: char| c.is_ascii_alphanumeric()),
            });
            masked = parts.collect::<Vec<_>>().join(prefix);
        }
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        masked.split(is_number).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("#")
    }

    #[test]
    fn an_interrupted_run_ends_its_processes() {
        let directory = directory();
        let mut child = command(["demo"]).env("TMPDIR", directory.path()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Now the agent and the application are running.
        assert!(lines.any(|line| line.unwrap().starts_with("7/9")));
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("error: interrupted"), "{errors}");
        expect_nothing_left(directory.path());
    }

    #[test]
    fn a_killed_run_ends_its_processes() {
        let directory = directory();
        let mut child = command(["demo"]).env("TMPDIR", directory.path()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("7/9")));
        child.kill().unwrap();
        child.wait().unwrap();
        expect_no_process_left();
    }

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        let directory = directory();
        let mut child = command(["demo"]).env("TMPDIR", directory.path()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().starts_with("1/9"));
        drop(lines);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
        expect_nothing_left(directory.path());
    }
}
