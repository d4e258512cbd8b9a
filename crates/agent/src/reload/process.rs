//! Finds the process with a given name. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// The maximum length of a process's name in the kernel, see `comm` in `proc(5)`.
const COMM_BYTES: usize = 15;

/// The maximum number of arguments to keep: a script follows the options of its interpreter, of
/// which `java` has many.
const ARGUMENTS_KEPT: usize = 64;

/// The user that may signal every process.
const ROOT: u32 = 0;

/// Programs whose first argument that is not an option is a script, with or without a version
/// suffix (`python3.13`).
const INTERPRETERS: [&[u8]; 11] =
    [b"ash", b"bash", b"bun", b"dash", b"java", b"node", b"perl", b"php", b"python", b"ruby", b"sh"];

/// The relevant properties of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    /// The effective user.
    pub(super) uid: u32,
    /// When it started, in clock ticks since boot.
    pub(super) started: u64,
    /// The signals, one bit each, that it has a handler for or waits for; `None` if the kernel does
    /// not report them.
    handled: Option<u64>,
    /// Whether it has exited but was not reaped.
    is_zombie: bool,
    /// The kernel's name: the first bytes of the executed file's name, or a name that the process
    /// has set.
    comm: Vec<u8>,
    /// The possible names of the program according to `argv[0]`.
    programs: Vec<Vec<u8>>,
    /// The base names of the following arguments.
    pub(super) arguments: Vec<Vec<u8>>,
}

/// How a process matches a name, the most certain first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    /// The base name of `argv[0]`, or the first word of the title there.
    Program,
    /// The kernel's complete name; if it is truncated, the rest is in an argument (a script that
    /// was executed directly).
    Comm,
    /// The script that an interpreter runs.
    Script,
    /// The kernel's truncated name, and no argument contains the rest.
    CutComm,
}

impl Process {
    /// Parses `/proc/<pid>/stat`, `status` and `cmdline`.
    pub(super) fn parse(pid: i32, stat: &[u8], status: &[u8], cmdline: &[u8]) -> Option<Self> {
        // The name is in parentheses and may itself contain parentheses and blanks, so it ends at
        // the last one.
        let open = stat.iter().position(|byte| *byte == b'(')?;
        let close = stat.iter().rposition(|byte| *byte == b')')?;
        let comm = stat.get(open + 1..close)?.to_vec();
        let fields: Vec<_> = str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace().collect();
        // Fields 3, 4 and 22 of proc(5); field 3 is the first after the name.
        let (state, parent, started) = (*fields.first()?, fields.get(1)?, fields.get(19)?);
        let line = |name: &str| {
            let mut lines = status.split(|byte| *byte == b'\n');
            lines.find_map(|line| str::from_utf8(line.strip_prefix(name.as_bytes())?).ok())
        };
        let uid = line("Uid:")?.split_ascii_whitespace().nth(1)?;
        let signals = |name| u64::from_str_radix(line(name)?.trim(), 16).ok();
        // A blocked signal is received by `sigwait` or `signalfd`.
        let handled = signals("SigCgt:").map(|caught| caught | signals("SigBlk:").unwrap_or_default());
        let mut arguments = cmdline.split(|byte| *byte == 0);
        let programs = programs(arguments.next().unwrap_or_default());
        Some(Self {
            pid,
            parent: parent.parse().ok()?,
            uid: uid.parse().ok()?,
            started: started.parse().ok()?,
            handled,
            is_zombie: matches!(state, "Z" | "X"),
            comm,
            programs,
            arguments: arguments.map(base_name).take(ARGUMENTS_KEPT).collect(),
        })
    }

    /// Whether the process handles the signal itself, so that the kernel's default action (end it,
    /// or ignore the signal) does not apply.
    pub(super) fn handles(&self, signal: i32) -> bool {
        let bit = u32::try_from(signal - 1).ok().and_then(|bit| 1_u64.checked_shl(bit)).unwrap_or_default();
        self.handled.is_none_or(|handled| handled & bit != 0)
    }

    fn is_called(&self, name: &[u8]) -> Option<Match> {
        if self.programs.iter().any(|program| program == name) {
            return Some(Match::Program);
        }
        if self.comm == cut(name) {
            // A name of 15 bytes may be truncated. The rest is in the program's name or in that of
            // the script, which follows the interpreter and perhaps one option.
            let mut names = self.programs.iter().chain(self.arguments.iter().take(2));
            match names.find(|whole| cut(whole) == self.comm) {
                _ if self.comm.len() < COMM_BYTES => return Some(Match::Comm),
                Some(whole) if whole == name => return Some(Match::Comm),
                None => return Some(Match::CutComm),
                Some(_) => {}
            }
        }
        (self.script() == Some(name)).then_some(Match::Script)
    }

    /// The script that an interpreter runs.
    fn script(&self) -> Option<&[u8]> {
        let is_version = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        let is_interpreter = self.programs.iter().any(|program| {
            let end = program.iter().rposition(|byte| !is_version(byte)).map_or(0, |last| last + 1);
            INTERPRETERS.contains(&&program[..end])
        });
        let is_code = self.arguments.first().is_some_and(|first| first == b"-c");
        let mut arguments = self.arguments.iter().filter(|argument| !argument.starts_with(b"-"));
        arguments.next().map(Vec::as_slice).filter(|_| is_interpreter && !is_code)
    }
}

/// The part of a name that the kernel keeps.
fn cut(name: &[u8]) -> &[u8] {
    &name[..name.len().min(COMM_BYTES)]
}

fn base_name(path: &[u8]) -> Vec<u8> {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec()
}

/// The possible names of the program according to an `argv[0]`, which may be a title
/// (`nginx: master process nginx`, `redis-server *:6379`) or a path with blanks.
fn programs(argument: &[u8]) -> Vec<Vec<u8>> {
    let word = argument.split(|byte| *byte == b' ').next().unwrap_or_default();
    match word.strip_suffix(b":") {
        Some(title) => vec![base_name(title)],
        None if word == argument => vec![base_name(word)],
        None => vec![base_name(word), base_name(argument)],
    }
}

/// The topmost process with a name: the one without an ancestor of that name. A more certain match takes
/// precedence ([`Match`]). Of several, one of the agent's user `uid`, which may not signal other users, takes
/// precedence, because the same name may run in another container. Then the one that started first, because a
/// later one is probably a user's shell in the container. Never the first process of the namespace, nor the
/// agent.
pub(super) fn choose<'a>(processes: &'a [Process], name: &str, own: i32, uid: u32) -> Option<&'a Process> {
    let by_pid: BTreeMap<_, _> = processes.iter().map(|process| (process.pid, process)).collect();
    let called = |process: &Process| {
        let may_be = process.pid > 1 && process.pid != own && !process.is_zombie;
        may_be.then(|| process.is_called(name.as_bytes())).flatten()
    };
    let surest = processes.iter().filter_map(called).min()?;
    let is_candidate = |process: &Process| called(process) == Some(surest);
    let has_one_above = |process: &Process| {
        let mut above = by_pid.get(&process.parent);
        // A list that was not read atomically may contain a cycle, so the number of steps is
        // limited.
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

/// The names of the programs that other processes run, at most `limit`. Without a shared process
/// namespace the agent is the first process, and all others are its own.
pub(super) fn names(processes: &[Process], own: i32, limit: usize) -> Vec<String> {
    let others = processes.iter().filter(|process| own != 1 && process.pid != own && process.pid != 1);
    let name = |process: &Process| {
        let program = process.programs.iter().find(|program| !program.is_empty());
        String::from_utf8_lossy(program.unwrap_or(&process.comm)).into_owned()
    };
    others.map(name).collect::<BTreeSet<_>>().into_iter().take(limit).collect()
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
        let cmdline = format!("{argument}\0");
        Process::parse(pid, stat.as_bytes(), status.as_bytes(), cmdline.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(processes: &[Process], name: &str, expected: Option<i32>) {
        assert_eq!(choose(processes, name, OWN, 1001).map(|process| process.pid), expected, "{name}");
    }

    #[test]
    fn the_kernels_format_is_parsed() {
        let process = process(20, 3, "my (odd) name", "/usr/bin/billing");
        assert_eq!((process.pid, process.parent, process.uid, process.started), (20, 3, 1001, 1020));
        assert_eq!(process.comm, b"my (odd) name");
        assert_eq!(process.programs, [b"billing"]);
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
    fn of_several_processes_the_oldest_is_signalled() {
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

    /// Checks which process `name` selects among those with these kernel names and arguments, in
    /// the order of their start.
    #[track_caller]
    fn check_called(name: &str, processes: &[(&str, &str)], expected: Option<usize>) {
        let processes: Vec<_> =
            (20..).zip(processes).map(|(pid, (comm, line))| process(pid, 0, comm, line)).collect();
        let expected = expected.map(|index| processes[index].pid);
        check(&processes, name, expected);
    }

    #[test]
    fn a_truncated_kernel_name_matches_no_other_name() {
        let name = "billing-service-worker";
        let (web, worker) = (
            ("billing-service", "./billing-service-web"),
            ("billing-service", "/app/billing-service-worker"),
        );
        check_called(name, &[web, worker], Some(1));
        check_called(name, &[web], None);
        check_called("billing-service-w", &[web, worker], None);
        // Scripts that are executed directly: the kernel has their name, and the interpreter is the
        // first argument.
        let script = |line| ("billing-service", line);
        check_called(
            name,
            &[
                script("/bin/sh\0-e\0/app/billing-service-web"),
                script("/bin/sh\0-e\0/app/billing-service-worker"),
            ],
            Some(1),
        );
        check_called(name, &[script("/bin/sh\0/app/billing-service-web")], None);
        // No argument contains the rest of the name.
        check_called(name, &[script("app")], Some(0));
        check_called(name, &[script("app"), ("python3", "python3\0/app/billing-service-worker")], Some(1));
        check_called(name, &[script("")], Some(0));
        check_called("billing-service", &[web], None);
        check_called("billing-service", &[web, ("billing-service", "billing-service")], Some(1));
        check_called("billing-service", &[("x", "billing-service-web")], None);
    }

    #[test]
    fn the_programs_name_precedes_the_kernels() {
        check_called("billing", &[("billing", "/bin/sh\0/app/billing"), ("x", "/app/billing")], Some(1));
        check_called(
            "billing",
            &[("billing", "/bin/sh\0/app/billing"), ("python3", "python3\0billing")],
            Some(0),
        );
        check_called("worker", &[("worker", "java")], Some(0));
        check_called("shopapp", &[("sh", "shopapp\0-c\0loop")], Some(0));
    }

    #[test]
    fn titles_paths_and_scripts() {
        for (name, comm, line) in [
            ("nginx", "nginx", "nginx: master process /usr/sbin/nginx -g daemon off;"),
            ("php-fpm", "php-fpm8.2", "php-fpm: master process (/etc/php/8.2/php-fpm.conf)"),
            ("redis-server", "redis-server", "/usr/bin/redis-server *:6379"),
            ("gunicorn", "gunicorn", "gunicorn: master [app/wsgi:app]"),
            ("billing-service-worker", "billing-service", "/opt/My App/bin/billing-service-worker"),
            ("python", "python", "python\0app.py"),
            ("app.py", "python3.13", "/usr/bin/python3.13\0-u\0/app/app.py\0--debug"),
            ("server.js", "node-MainThread", "node\0server.js"),
            ("node", "node-MainThread", "node\0server.js"),
            ("billing.jar", "java", "java\0-Xmx1g\0-jar\0/app/billing.jar"),
            ("java", "java", "/opt/java/bin/java\0-jar\0/app/billing.jar"),
            ("bash", "bash", "-bash"),
            ("run.sh", "sh", "/bin/sh\0run.sh"),
        ] {
            check_called(name, &[(comm, line)], Some(0));
        }
        check_called("billing", &[("sh", "sh\0-c\0billing")], None);
        check_called("nginx.conf", &[("vi", "vi\0/etc/nginx.conf")], None);
        check_called("worker", &[("nginx", "nginx: worker process")], None);
    }

    #[test]
    fn names_are_those_of_the_other_processes() {
        let processes = [
            process(1, 0, "pause", "/pause"),
            process(OWN, 0, "agent", "agent"),
            process(20, 0, "x", "/bin/java"),
            process(21, 0, "kernel", ""),
        ];
        assert_eq!(names(&processes, OWN, 8), ["java", "kernel"]);
        assert_eq!(names(&processes, OWN, 1), ["java"]);
        assert_eq!(names(&processes[1..3], 1, 8), [""; 0]);
    }

    #[test]
    fn init_the_agent_and_zombies_are_not_signalled() {
        let mut dead = process(12, 0, "app", "app");
        dead.is_zombie = true;
        let processes = [process(1, 0, "app", "app"), process(OWN, 0, "app", "app"), dead];
        check(&processes, "app", None);
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let processes = [process(10, 11, "x", "x"), process(11, 10, "y", "y")];
        // Only that the search ends matters.
        check(&processes, "x", None);
    }
}
