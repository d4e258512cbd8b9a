//! Which process is meant by a name. Pure.

use std::collections::BTreeMap;

/// The most bytes of a process's name as the kernel keeps it: `proc(5)`, "comm".
const COMM_BYTES: usize = 15;

/// The user who may signal every process.
const ROOT: u32 = 0;

/// What is known of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    /// The effective user.
    pub(super) uid: u32,
    /// When it started, in clock ticks since the machine did.
    pub(super) started: u64,
    /// The signals, one bit each, that it has a handler for or waits for; none where the kernel does not say.
    handled: Option<u64>,
    /// Whether it has ended and only waits to be noticed.
    is_zombie: bool,
    comm: Vec<u8>,
    /// The base name of `argv[0]`.
    program: Vec<u8>,
}

impl Process {
    /// Reads `/proc/<pid>/stat`, `status` and `cmdline`.
    pub(super) fn parse(pid: i32, stat: &[u8], status: &[u8], cmdline: &[u8]) -> Option<Self> {
        // The name stands in brackets and may have brackets and blanks itself: its end is the last one.
        let open = stat.iter().position(|byte| *byte == b'(')?;
        let close = stat.iter().rposition(|byte| *byte == b')')?;
        let comm = stat.get(open + 1..close)?.to_vec();
        let fields: Vec<_> = str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace().collect();
        // Fields 3, 4 and 22 of proc(5); the third is the first behind the name.
        let (state, parent, started) = (*fields.first()?, fields.get(1)?, fields.get(19)?);
        let line = |name: &str| {
            let mut lines = status.split(|byte| *byte == b'\n');
            lines.find_map(|line| str::from_utf8(line.strip_prefix(name.as_bytes())?).ok())
        };
        let uid = line("Uid:")?.split_ascii_whitespace().nth(1)?;
        let signals = |name| u64::from_str_radix(line(name)?.trim(), 16).ok();
        // A blocked signal waits for whoever reads it, by `sigwait` or `signalfd`.
        let handled = signals("SigCgt:").map(|caught| caught | signals("SigBlk:").unwrap_or_default());
        let argument = cmdline.split(|byte| *byte == 0).next().unwrap_or_default();
        // nginx and others write a title there: `nginx: master process nginx`.
        let word = argument.split(|byte| *byte == b' ').next().unwrap_or_default();
        let program = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let program = program.strip_suffix(b":").unwrap_or(program);
        Some(Self {
            pid,
            parent: parent.parse().ok()?,
            uid: uid.parse().ok()?,
            started: started.parse().ok()?,
            handled,
            is_zombie: matches!(state, "Z" | "X"),
            comm,
            program: program.to_vec(),
        })
    }

    /// Whether a signal does what the process wants it to do, and not what the kernel does by default: ending it, or nothing.
    pub(super) fn handles(&self, signal: i32) -> bool {
        let bit = u32::try_from(signal - 1).ok().and_then(|bit| 1_u64.checked_shl(bit)).unwrap_or_default();
        self.handled.is_none_or(|handled| handled & bit != 0)
    }

    fn is_called(&self, name: &str) -> bool {
        let name = name.as_bytes();
        self.program == name || self.comm == name[..name.len().min(COMM_BYTES)]
    }
}

/// The topmost process of a name: the one that has no other of that name above it. Of several the one that started
/// first, because a later one is somebody's shell in the container, and before it one of the agent's user `uid`, who may
/// signal no other: the same name may run in another container. Never the first of the namespace, nor the agent.
pub(super) fn choose<'a>(processes: &'a [Process], name: &str, own: i32, uid: u32) -> Option<&'a Process> {
    let by_pid: BTreeMap<_, _> = processes.iter().map(|process| (process.pid, process)).collect();
    let is_candidate = |process: &Process| {
        process.pid > 1 && process.pid != own && !process.is_zombie && process.is_called(name)
    };
    let has_one_above = |process: &Process| {
        let mut above = by_pid.get(&process.parent);
        // A list that was not read at once could have a circle: no more steps than processes.
        for _ in 0..processes.len() {
            match above {
                Some(parent) if is_candidate(parent) => return true,
                Some(parent) => above = by_pid.get(&parent.parent),
                None => return false,
            }
        }
        false
    };
    let topmost = processes.iter().filter(|process| is_candidate(process) && !has_one_above(process));
    let is_others = |process: &Process| uid != ROOT && process.uid != uid;
    topmost.min_by_key(|process| (is_others(process), process.started, process.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: i32 = 7;

    fn process(pid: i32, parent: i32, comm: &str, argument: &str) -> Process {
        let started = 1000 + pid;
        let stat =
            format!("{pid} ({comm}) S {parent} 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {started} 1 1");
        let status = "Name:\tx\nUid:\t1000\t1001\t1000\t1000\n";
        let cmdline = format!("{argument}\0-g\0daemon off;\0");
        Process::parse(pid, stat.as_bytes(), status.as_bytes(), cmdline.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(processes: &[Process], name: &str, expected: Option<i32>) {
        assert_eq!(choose(processes, name, OWN, 1001).map(|process| process.pid), expected, "{name}");
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        let process = process(20, 3, "my (odd) name", "/usr/bin/billing");
        assert_eq!((process.pid, process.parent, process.uid, process.started), (20, 3, 1001, 1020));
        assert_eq!(process.comm, b"my (odd) name");
        assert_eq!(process.program, b"billing");
        assert_eq!(Process::parse(1, b"1 (x", b"", b""), None);
        assert_eq!(Process::parse(1, b"", b"", b""), None);
    }

    #[test]
    fn the_topmost_of_a_name_is_meant() {
        let processes = [
            process(1, 0, "pause", "/pause"),
            process(30, 20, "nginx", "nginx: worker process"),
            process(20, 0, "nginx", "nginx: master process nginx"),
            process(31, 25, "nginx", "nginx: worker process"),
            process(25, 20, "sh", "/bin/sh"),
        ];
        check(&processes, "nginx", Some(20));
        check(&processes, "sh", Some(25));
        check(&processes, "absent", None);
    }

    #[test]
    fn of_several_it_is_the_one_that_started_first() {
        let processes = [process(50, 0, "billing", "billing"), process(40, 0, "billing", "billing")];
        check(&processes, "billing", Some(40));
    }

    #[test]
    fn of_several_users_it_is_the_agents_own() {
        let mut others = process(40, 0, "nginx", "nginx");
        others.uid = 33;
        let processes = [others, process(50, 0, "nginx", "nginx")];
        check(&processes, "nginx", Some(50));
        check(&processes[..1], "nginx", Some(40));
        assert_eq!(choose(&processes, "nginx", OWN, ROOT).map(|process| process.pid), Some(40));
    }

    #[test]
    fn a_signal_is_handled_where_it_is_caught_or_waited_for() {
        let stat = b"9 (x) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9 1 1";
        let handles = |signals: &str, signal| {
            let status = format!("Uid:\t1\t1\t1\t1\n{signals}ShdPnd:\t0\n");
            Process::parse(9, stat, status.as_bytes(), b"").unwrap().handles(signal)
        };
        let signals = "SigBlk:\t0000000000000200\nSigIgn:\t0000000000000002\nSigCgt:\t0000000180000001\n";
        for (signal, expected) in [(1, true), (2, false), (10, true), (12, false), (64, false), (0, false)] {
            assert_eq!(handles(signals, signal), expected, "{signal}");
        }
        assert!(handles("", 1), "a kernel that does not say");
    }

    #[test]
    fn the_kernels_name_is_cut_at_fifteen_bytes() {
        let processes = [process(9, 0, "a-very-long-pro", "/opt/java")];
        check(&processes, "a-very-long-program", Some(9));
        check(&processes, "java", Some(9));
        check(&processes, "a-very-long", None);
    }

    #[test]
    fn neither_the_first_process_nor_the_agent_nor_the_dead_are_signalled() {
        let mut dead = process(12, 0, "app", "app");
        dead.is_zombie = true;
        let processes = [process(1, 0, "app", "app"), process(OWN, 0, "app", "app"), dead];
        check(&processes, "app", None);
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let processes = [process(10, 11, "x", "x"), process(11, 10, "y", "y")];
        // What matters is that it ends.
        check(&processes, "x", None);
    }
}
