//! Runs kubectl as a user does.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use scaivault_testkit::control_plane::ControlPlane;
use serde_json::Value;

/// The result of a command and its output.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) is_success: bool,
    pub(crate) out: String,
    /// Contains kubectl's warnings and errors.
    pub(crate) err: String,
}

impl Said {
    /// Asserts success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.is_success, "{}{}", self.out, self.err);
        self
    }

    /// Asserts failure, with these words in the output.
    #[track_caller]
    pub(crate) fn refused(self, words: &[&str]) -> Self {
        assert!(!self.is_success, "{}{}", self.out, self.err);
        self.says(words)
    }

    /// Asserts success with a warning that contains these words.
    #[track_caller]
    pub(crate) fn warned(self, words: &[&str]) -> Self {
        self.ok().says(&["Warning: "]).says(words)
    }

    /// Asserts success without a warning.
    #[track_caller]
    pub(crate) fn quiet(self) -> Self {
        assert!(!self.err.contains("Warning"), "{}", self.err);
        self.ok()
    }

    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "without {word:?}: {}", self.err);
        }
        self
    }
}

/// kubectl for one namespace.
pub(crate) struct Kubectl<'a> {
    pub(crate) plane: &'a ControlPlane,
    pub(crate) namespace: &'a str,
}

impl Kubectl<'_> {
    /// The command with these arguments, separated by blanks.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = self.plane.kubectl().unwrap();
        command.args(["--namespace", self.namespace]).args(words.split_whitespace());
        command
    }

    /// Runs it with these arguments, separated by blanks.
    pub(crate) fn run(&self, words: &str) -> Said {
        said(self.command(words), None)
    }

    /// Applies a manifest.
    pub(crate) fn apply(&self, manifest: &Value) -> Said {
        self.run_with("apply --filename=-", manifest)
    }

    /// Runs it with a manifest as input.
    pub(crate) fn run_with(&self, words: &str, manifest: &Value) -> Said {
        said(self.command(words), Some(manifest))
    }
}

/// Runs a command; the input must fit into a pipe.
pub(crate) fn said(mut command: Command, input: Option<&Value>) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    if let Some(input) = input {
        stdin.write_all(input.to_string().as_bytes()).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { is_success: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}
