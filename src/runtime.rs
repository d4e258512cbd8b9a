//! The asynchronous runtimes of the commands.

use anyhow::{Context as _, anyhow};
use rustls::crypto::CryptoProvider;
use scaivault_certs::provider;
use tokio::runtime::{Builder, Runtime};

/// Runs a server on this many threads.
pub(crate) fn serve<T>(workers: usize, server: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // The Kubernetes client uses the process's default provider; the injector's own code names it
    // explicitly.
    CryptoProvider::install_default((*provider()).clone())
        .map_err(|_| anyhow!("a crypto provider is installed already; this is a bug"))?;
    build(Builder::new_multi_thread().worker_threads(workers))?.block_on(server)
}

/// Runs a command on this thread.
pub(crate) fn run<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    build(&mut Builder::new_current_thread())?.block_on(command)
}

fn build(builder: &mut Builder) -> anyhow::Result<Runtime> {
    builder.enable_all().build().context("cannot start the runtime")
}
