//! The agent's environment: a mount namespace, and the reload endpoint of an application.

use std::{
    process::{Command as StdCommand, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    process::Command,
};

use super::skipped;

/// The `PATH` for shells.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The command in a separate mount namespace, in which this `sh` script has created mounts; `None`
/// if that is not possible.
pub(crate) fn with_mounts(mounts: &str, command: &Command) -> Option<Command> {
    // Without root, a user namespace may allow it.
    let flags = [&["--mount"][..], &["--map-root-user", "--mount"]].into_iter().find(|flags| {
        let mut unshare = StdCommand::new("unshare");
        let tried = unshare.args(*flags).args(["sh", "-ec", mounts]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    let Some(flags) = flags else {
        skipped("`unshare` of util-linux cannot make a mount namespace: run as root");
        return None;
    };
    let command = command.as_std();
    let mut wrapped = Command::new("unshare");
    wrapped.args(flags).args(["sh", "-ec", &format!("{mounts}\nexec \"$0\" \"$@\"")]);
    wrapped.arg(command.get_program()).args(command.get_args()).kill_on_drop(true);
    wrapped
        .env_clear()
        .env("PATH", PATH)
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(wrapped)
}

/// The application's endpoint in `RELOAD_URL`.
pub(crate) struct ReloadEndpoint {
    url: String,
    calls: Arc<AtomicUsize>,
}

impl ReloadEndpoint {
    /// Answers each request with the status that `answer` returns.
    pub(crate) async fn start(mut answer: impl FnMut() -> u16 + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/-/reload", listener.local_addr().unwrap().port());
        let calls = Arc::new(AtomicUsize::new(0));
        let endpoint = Self { url, calls: Arc::clone(&calls) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n")
                    && stream.read_buf(&mut request).await.is_ok_and(|count| count > 0)
                {}
                // The agent was killed before it sent the whole request.
                if !request.ends_with(b"\r\n\r\n") {
                    continue;
                }
                assert!(request.starts_with(b"POST /-/reload HTTP/1.1\r\n"));
                let status = answer();
                calls.fetch_add(1, Ordering::Relaxed);
                let answer =
                    format!("HTTP/1.1 {status} Answer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _: Result<_, _> = stream.write_all(answer.as_bytes()).await;
            }
        });
        endpoint
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}
