//! The termination message: what `kubectl describe pod` shows of a container that has ended.

use std::{fs::OpenOptions, io::Write as _, path::Path};

/// Where the kubelet reads it: the default of `terminationMessagePath`.
const FILE: &str = "/dev/termination-log";
/// The kubelet cuts what is longer.
const MAX_BYTES: usize = 4096;

/// Leaves a message. Where the file is not there, nobody would read it.
pub(crate) fn leave(message: &str) {
    leave_at(Path::new(FILE), message);
}

fn leave_at(file: &Path, message: &str) {
    // Not made: outside of a container it would be a stray file.
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(file) {
        let end = message.floor_char_boundary(MAX_BYTES);
        let _ = file.write_all(&message.as_bytes()[..end]);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_message_takes_the_place_of_the_one_before_and_is_cut_between_characters() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        leave_at(&file, "nobody reads it");
        assert!(!file.exists());
        fs::write(&file, "an older and longer message").unwrap();
        leave_at(&file, "new");
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        leave_at(&file, &format!("x{}", "é".repeat(4096)));
        assert_eq!(fs::read_to_string(&file).unwrap().len(), 4095);
    }
}
