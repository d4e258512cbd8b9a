//! A thread with a runtime of its own, for probes and metrics: whatever load there is on the main runtime, the kubelet gets
//! its answer and does not restart the container.

use std::{io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// The thread. It ends, with all tasks of its runtime, when this is dropped.
pub struct OpsThread {
    handle: Handle,
    /// Ends the thread when it is dropped.
    _stop: Option<oneshot::Sender<()>>,
}

impl OpsThread {
    /// Starts the thread. Fails if the system gives no event loop or no thread.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name("ops".to_owned()).spawn(move || runtime.block_on(stopped))?;
        Ok(Self { handle, _stop: Some(stop) })
    }

    /// Its runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// A runtime that runs already, such as that of a test, in place of a thread.
impl From<Handle> for OpsThread {
    fn from(handle: Handle) -> Self {
        Self { handle, _stop: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_while_the_main_runtime_is_blocked() {
        let ops = OpsThread::start().unwrap();
        let (asked, mut questions) = tokio::sync::mpsc::channel::<oneshot::Sender<u8>>(1);
        ops.handle().spawn(async move {
            while let Some(question) = questions.recv().await {
                let _ = question.send(7);
            }
        });
        let (question, answer) = oneshot::channel();
        asked.send(question).await.unwrap();
        // The main runtime has one thread, which blocks here.
        assert_eq!(thread::spawn(move || answer.blocking_recv()).join().unwrap(), Ok(7));
    }
}
