//! A log that is not read.

use std::{fs::File, io::Read as _, os::fd::OwnedFd, process::Stdio};

use rustix::pipe::{fcntl_setpipe_size, pipe};
use scaivault_devserver::{Fault, Route};

use crate::support::{Pod, within};

/// A full pipe of one page that is not read.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe().unwrap();
    let size = fcntl_setpipe_size(&writer, 4096).unwrap();
    assert_eq!(rustix::io::write(&writer, &vec![b'x'; size]).unwrap(), size);
    (reader, writer)
}

#[tokio::test]
async fn queued_lines_are_written_when_the_log_is_read_again() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("other/secret#key", "key")]);
    let (reader, writer) = full_pipe();
    // Ends with an error while the log is blocked.
    pod.vault.add_fault(Fault::hang(Route::Read).times(1));
    let variables = [("SECRETS", watch.as_str()), ("FETCH_TIMEOUT", "1s")];
    let mut init = pod.agent("init", &variables).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    pod.requested(Route::Read, 1).await;
    let reading = tokio::task::spawn_blocking(move || {
        let mut log = String::new();
        File::from(reader).read_to_string(&mut log).map(|_| log)
    });
    assert_eq!(within(init.wait()).await.unwrap().code(), Some(1));
    let log = within(reading).await.unwrap().unwrap();
    assert!(log.trim_start_matches('x').starts_with('{') && log.contains("\"exit_code\":1"), "{log}");
}
