//! Tells the application of a change: one signal to one process of the pod.

use std::{fs, io, path::Path};

use rustix::process::{Pid, PidfdFlags, Signal as RawSignal, geteuid, pidfd_open, pidfd_send_signal};
use scaivault_contract::Signal;
use thiserror::Error;

use crate::config::Reload;

mod process;

use process::{Process, choose};

/// The kernel's list of processes.
const PROC: &str = "/proc";

/// Signals the process that is to be told, and returns its number.
pub(crate) fn send(reload: &Reload) -> Result<i32, ReloadError> {
    let Reload { signal, target } = reload;
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let processes = processes()?;
    let Some(chosen) = choose(&processes, target, own, geteuid().as_raw()) else {
        return Err(ReloadError::Absent { target: target.clone(), is_shared: is_shared(&processes, own) });
    };
    let gone = || ReloadError::Gone { target: target.clone() };
    let pid = Pid::from_raw(chosen.pid).ok_or_else(gone)?;
    // From here on the number cannot come to mean another process; whether it has meanwhile is looked up once more.
    let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
    let now = read(Path::new(PROC), chosen.pid).filter(|now| now.started == chosen.started);
    let now = now.ok_or_else(gone)?;
    if ends_the_unready(*signal) && !now.handles(signal.number()) {
        return Err(ReloadError::Unready { target: target.clone(), signal: *signal });
    }
    match pidfd_send_signal(&handle, raw(*signal)) {
        Ok(()) => Ok(chosen.pid),
        Err(rustix::io::Errno::PERM) => {
            Err(ReloadError::Denied { target: target.clone(), uid: chosen.uid, own_uid: geteuid().as_raw() })
        }
        Err(rustix::io::Errno::SRCH) => Err(gone()),
        Err(errno) => Err(ReloadError::Kernel { target: target.clone(), source: errno.into() }),
    }
}

/// A signal that did not reach its process. All are worth another try: the process may start later.
#[derive(Debug, Error)]
pub(crate) enum ReloadError {
    /// No process has the name.
    #[error(
        "no process of the pod is called {target}{}",
        if *.is_shared { "; RELOAD_TARGET is the base name of its program" } else { "; the pod needs shareProcessNamespace: true" }
    )]
    Absent {
        /// The name.
        target: String,
        /// Whether the agent sees other containers' processes at all.
        is_shared: bool,
    },
    /// It ended while it was looked at.
    #[error("the process {target} has just ended")]
    Gone {
        /// The name.
        target: String,
    },
    /// It has no handler for the signal, or not yet.
    #[error(
        "the process {target} does not handle {signal}, which would end it or be lost; it may be starting, or RELOAD_SIGNAL is not for it"
    )]
    Unready {
        /// The name.
        target: String,
        /// The signal.
        signal: Signal,
    },
    /// It belongs to another user.
    #[error(
        "user {own_uid} may not signal the process {target} of user {uid}; run the agent as user {uid} (annotation run-as-user)"
    )]
    Denied {
        /// The name.
        target: String,
        /// Its user.
        uid: u32,
        /// The agent's.
        own_uid: u32,
    },
    /// Anything else.
    #[error("cannot signal the process {target}: {source}")]
    Kernel {
        /// The name.
        target: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The list of processes.
    #[error("cannot read the list of processes: {0}")]
    List(#[from] io::Error),
}

fn processes() -> io::Result<Vec<Process>> {
    let proc = Path::new(PROC);
    let mut processes = Vec::new();
    for entry in fs::read_dir(proc)? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        // One that ends while it is read is none.
        processes.extend(pid.and_then(|pid| read(proc, pid)));
    }
    Ok(processes)
}

fn read(proc: &Path, pid: i32) -> Option<Process> {
    let dir = proc.join(pid.to_string());
    let text = |file: &str| fs::read(dir.join(file)).ok();
    Process::parse(pid, &text("stat")?, &text("status")?, &text("cmdline").unwrap_or_default())
}

/// In a shared namespace the first process is the pod's `pause`; else it is this one.
fn is_shared(processes: &[Process], own: i32) -> bool {
    own != 1 && processes.iter().any(|process| process.pid != own)
}

/// Whether the signal is meant for a handler alone: a process that has none yet would be ended by it. What is there to end a
/// process may do so, and what does nothing by default does no harm.
fn ends_the_unready(signal: Signal) -> bool {
    match signal {
        Signal::Hup | Signal::Usr1 | Signal::Usr2 | Signal::Alrm => true,
        Signal::Int | Signal::Quit | Signal::Term | Signal::Cont | Signal::Winch => false,
    }
}

fn raw(signal: Signal) -> RawSignal {
    match signal {
        Signal::Hup => RawSignal::HUP,
        Signal::Int => RawSignal::INT,
        Signal::Quit => RawSignal::QUIT,
        Signal::Usr1 => RawSignal::USR1,
        Signal::Usr2 => RawSignal::USR2,
        Signal::Alrm => RawSignal::ALARM,
        Signal::Term => RawSignal::TERM,
        Signal::Cont => RawSignal::CONT,
        Signal::Winch => RawSignal::WINCH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_contract() {
        for signal in Signal::ALL {
            assert_eq!(raw(signal).as_raw(), signal.number(), "{signal}");
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_said_with_a_cure() {
        let reload = Reload { signal: Signal::Hup, target: "no-such-program".to_owned() };
        let error = send(&reload).unwrap_err();
        assert!(matches!(error, ReloadError::Absent { .. }), "{error}");
        let say = |is_shared| ReloadError::Absent { target: "nginx".to_owned(), is_shared }.to_string();
        assert!(say(true).contains("RELOAD_TARGET is the base name"), "{}", say(true));
        assert!(say(false).contains("shareProcessNamespace: true"), "{}", say(false));
    }

    #[test]
    fn the_kernels_list_has_this_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        let processes = processes().unwrap();
        let this = processes.iter().find(|process| process.pid == own).unwrap();
        assert_eq!(this.uid, geteuid().as_raw());
        // Rust's own handler of stack overflows, and what every program that Rust starts ignores.
        assert!(this.handles(RawSignal::SEGV.as_raw()) && !this.handles(RawSignal::PIPE.as_raw()));
        assert!(this.started > 0);
    }
}
