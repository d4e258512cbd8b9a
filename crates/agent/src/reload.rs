//! Notifies the application of a change: one signal to one process of the pod, or one POST.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal as RawSignal, geteuid, pidfd_open, pidfd_send_signal};
use scaivault_contract::Signal;
use thiserror::Error;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::config::Reload;

mod post;
mod process;

use process::{Process, choose};

/// The kernel's list of processes.
const PROC: &str = "/proc";
/// The maximum number of process names in an error.
const NAMES_SHOWN: usize = 8;
/// The maximum number of processes that are searched, starting with the lowest ids.
const PROCESS_LIMIT: usize = 1000;
/// The maximum size of a process's arguments in bytes, which the process controls itself.
const CMDLINE_LIMIT: u64 = 4096;
/// The maximum size of a file of the kernel in bytes: about 2 KiB, plus six for each group of the
/// process.
const KERNEL_LIMIT: u64 = 64 * 1024;
/// The timeout of a search for a process. Arguments are read from the memory of their process,
/// which may be mapped from a hanging file system.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);
/// One search at a time: if it hangs, further attempts do not use more threads.
static SEARCH: Semaphore = Semaphore::const_new(1);

/// Makes one attempt.
pub(crate) async fn send(reload: &Reload) -> Result<(), ReloadError> {
    match reload {
        Reload::Signal { signal, target } => {
            let pid = send_signal(*signal, target).await?;
            tracing::info!(%signal, target_process = target, pid, "application signalled");
        }
        Reload::Post(url) => {
            let status = post::post(url).await?;
            tracing::info!(url = post::without_query(url), status = status.as_u16(), "application notified");
        }
    }
    Ok(())
}

/// Signals the process of this name, and returns its id.
async fn send_signal(signal: Signal, target: &str) -> Result<i32, ReloadError> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let processes = search().await?;
    let Some(chosen) = choose(&processes, target, own, geteuid().as_raw()) else {
        let names = process::names(&processes, own, NAMES_SHOWN);
        return Err(ReloadError::Absent { target: target.to_owned(), names });
    };
    let gone = || ReloadError::Gone { target: target.to_owned() };
    let pid = Pid::from_raw(chosen.pid).ok_or_else(gone)?;
    // From here on the id cannot be reused for another process; whether it was reused before is
    // checked again.
    let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
    let now = read(chosen.pid, b"").filter(|now| now.started == chosen.started);
    let now = now.ok_or_else(gone)?;
    if ends_the_unready(signal) && !now.handles(signal.number()) {
        return Err(ReloadError::Unready { target: target.to_owned(), signal });
    }
    let number =
        RawSignal::from_named_raw(signal.number()).expect("the kernel has every signal of the contract");
    match pidfd_send_signal(&handle, number) {
        Ok(()) => Ok(chosen.pid),
        Err(rustix::io::Errno::PERM) => Err(ReloadError::Denied {
            target: target.to_owned(),
            uid: chosen.uid,
            own_uid: geteuid().as_raw(),
        }),
        Err(rustix::io::Errno::SRCH) => Err(gone()),
        Err(errno) => Err(ReloadError::Kernel { target: target.to_owned(), source: errno.into() }),
    }
}

/// Why an application was not notified. All errors are retried, because the application may start
/// later.
#[derive(Debug, Error)]
pub(crate) enum ReloadError {
    /// No process has the name. `names` are the pod's processes; empty if the agent cannot see
    /// other containers.
    #[error(
        "no process of the pod is called {target}{}",
        if names.is_empty() {
            "; the pod needs shareProcessNamespace: true".to_owned()
        } else {
            format!("; RELOAD_TARGET is the base name of its program; the pod runs {}", names.join(", "))
        }
    )]
    Absent { target: String, names: Vec<String> },
    /// The process ended during the search.
    #[error("the process {target} has just ended")]
    Gone { target: String },
    /// The process has no handler for the signal, or not yet.
    #[error(
        "the process {target} does not handle {signal}, so it was not sent; if the process is not \
         just starting, set RELOAD_SIGNAL to a signal that it handles"
    )]
    Unready { target: String, signal: Signal },
    /// The process belongs to another user.
    #[error(
        "user {own_uid} may not signal the process {target} of user {uid}; run the agent as user {uid} (annotation run-as-user)"
    )]
    Denied { target: String, uid: u32, own_uid: u32 },
    /// Any other error.
    #[error("cannot signal the process {target}: {source}")]
    Kernel { target: String, source: io::Error },
    /// The search timed out.
    #[error(
        "the processes of the pod were not read within {} s; one of them may wait for a file system that hangs", SEARCH_TIMEOUT.as_secs()
    )]
    Search,
    /// The list of processes cannot be read.
    #[error("cannot read the list of processes: {0}")]
    List(#[from] io::Error),
    /// The status of the application's response is not 2xx.
    #[error("{url} answered with status {status}; expected 2xx, and redirects are not followed")]
    Refused { url: String, status: u16 },
    /// The application did not respond in time.
    #[error("{url} did not answer within {} s", post::TIMEOUT.as_secs())]
    Late { url: String },
    /// The application cannot be reached, or its response is not HTTP.
    #[error("cannot call {url}: {reason}")]
    Call { url: String, reason: String },
}

/// Runs [`processes`] in a separate thread.
async fn search() -> Result<Vec<Process>, ReloadError> {
    let search = async {
        let permit = SEARCH.acquire().await.expect("it is never closed");
        let search = spawn_blocking(move || {
            let _permit = permit;
            processes()
        });
        search.await.map_err(io::Error::from)?
    };
    Ok(timeout(SEARCH_TIMEOUT, search).await.map_err(|_| ReloadError::Search)??)
}

fn processes() -> io::Result<Vec<Process>> {
    let pids = fs::read_dir(PROC)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // A process that ends while it is read is skipped.
    let read = |pid| read(pid, &head(pid, "cmdline", CMDLINE_LIMIT).unwrap_or_default());
    Ok(pids.take(PROCESS_LIMIT).filter_map(read).collect())
}

fn read(pid: i32, cmdline: &[u8]) -> Option<Process> {
    let text = |file| head(pid, file, KERNEL_LIMIT).ok();
    Process::parse(pid, &text("stat")?, &text("status")?, cmdline)
}

fn head(pid: i32, file: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(format!("{PROC}/{pid}/{file}"))?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the signal is only useful with a handler and would end a process that has none yet.
/// Signals meant to end a process may always be sent, and signals that are ignored by default do no
/// harm.
fn ends_the_unready(signal: Signal) -> bool {
    match signal {
        Signal::Hup | Signal::Usr1 | Signal::Usr2 | Signal::Alrm => true,
        Signal::Int | Signal::Quit | Signal::Term | Signal::Cont | Signal::Winch => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_contract() {
        let raw = [
            RawSignal::HUP,
            RawSignal::INT,
            RawSignal::QUIT,
            RawSignal::USR1,
            RawSignal::USR2,
            RawSignal::ALARM,
            RawSignal::TERM,
            RawSignal::CONT,
            RawSignal::WINCH,
        ];
        for (signal, raw) in Signal::ALL.into_iter().zip(raw) {
            assert_eq!(RawSignal::from_named_raw(signal.number()), Some(raw), "{signal}");
        }
    }

    #[tokio::test]
    async fn a_missing_process_is_reported_with_a_fix() {
        let error = send_signal(Signal::Hup, "no-such-program").await.unwrap_err();
        assert!(matches!(error, ReloadError::Absent { .. }), "{error}");
        let say = |names: &[&str]| {
            let names = names.iter().map(ToString::to_string).collect();
            ReloadError::Absent { target: "nginx".to_owned(), names }.to_string()
        };
        assert!(say(&["java", "sh"]).ends_with("base name of its program; the pod runs java, sh"));
        assert!(say(&[]).contains("shareProcessNamespace: true"));
    }

    #[test]
    fn the_kernels_list_has_this_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        let processes = processes().unwrap();
        let this = processes.iter().find(|process| process.pid == own).unwrap();
        assert_eq!(this.uid, geteuid().as_raw());
        // Rust's own handler for stack overflows, and a signal that every Rust program ignores.
        assert!(this.handles(RawSignal::SEGV.as_raw()) && !this.handles(RawSignal::PIPE.as_raw()));
        assert!(this.started > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_search_ends_the_attempt_and_uses_one_thread() {
        let permit = SEARCH.acquire().await.unwrap();
        let error = send_signal(Signal::Hup, "no-such-program").await.unwrap_err();
        assert!(matches!(error, ReloadError::Search), "{error}");
        drop(permit);
    }

    #[test]
    fn long_arguments_of_a_process_are_not_kept() {
        let (large, small) = ("a".repeat(100_000), vec![""; 10_000]);
        let mut command = std::process::Command::new("sh");
        let command = command.args(["-c", "read line", "app"]).args(small).arg(large);
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // The kernel shows the arguments a moment after the program has started.
        let has_begun = |process: &Process| process.pid == pid && !process.arguments.is_empty();
        let mut looks = (0..10_000).filter_map(|_| processes().unwrap().into_iter().find(has_begun));
        let process = looks.next().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!((3..=64).contains(&process.arguments.len()), "{}", process.arguments.len());
        assert!(process.arguments.iter().map(Vec::len).sum::<usize>() <= 4096);
    }
}
