//! Signals that make an application reload its files.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::Excerpt;

/// A signal that an application can handle. `SIGKILL` and `SIGSTOP` are missing because they cannot
/// be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// The conventional signal for reloading the configuration.
    Hup,
    /// Interrupt.
    Int,
    /// Quit.
    Quit,
    /// Application-defined.
    Usr1,
    /// Application-defined.
    Usr2,
    /// Timer; some applications reload their files on it.
    Alrm,
    /// Terminate.
    Term,
    /// Continue.
    Cont,
    /// Window size; Apache httpd and nginx stop their workers gracefully on it.
    Winch,
}

impl Signal {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGCONT or SIGWINCH, with or without SIG";

    /// All signals, in the order of [`Self::ALLOWED`].
    pub const ALL: [Self; 9] = [
        Self::Hup,
        Self::Int,
        Self::Quit,
        Self::Usr1,
        Self::Usr2,
        Self::Alrm,
        Self::Term,
        Self::Cont,
        Self::Winch,
    ];

    /// The name, including `SIG`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hup => "SIGHUP",
            Self::Int => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Usr1 => "SIGUSR1",
            Self::Usr2 => "SIGUSR2",
            Self::Alrm => "SIGALRM",
            Self::Term => "SIGTERM",
            Self::Cont => "SIGCONT",
            Self::Winch => "SIGWINCH",
        }
    }

    /// The number on Linux (x86-64, arm64, riscv64, s390x, ppc64le: `signal(7)`, column "x86/ARM").
    pub const fn number(self) -> i32 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Usr1 => 10,
            Self::Usr2 => 12,
            Self::Alrm => 14,
            Self::Term => 15,
            Self::Cont => 18,
            Self::Winch => 28,
        }
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    /// Accepts any case, with or without `SIG`.
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(signal) = Self::ALL.into_iter().find(|signal| signal.name()[3..] == *short) {
            return Ok(signal);
        }
        let fault = match (short, text.parse::<i32>()) {
            ("KILL" | "STOP", _) => SignalFault::Unhandled,
            (_, Ok(number)) => match Self::ALL.into_iter().find(|signal| signal.number() == number) {
                Some(signal) => SignalFault::Number(signal),
                None => SignalFault::Unknown,
            },
            _ => SignalFault::Unknown,
        };
        Err(SignalError { text: Excerpt::new(text), fault })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

text_in_serde!(Signal);

/// A text that is not a signal for reloading.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a reload signal: {fault}; allowed: {}", Signal::ALLOWED)]
pub struct SignalError {
    /// The text.
    pub text: Excerpt,
    /// Why it is rejected.
    pub fault: SignalFault,
}

/// Why a signal is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignalFault {
    /// It is `SIGKILL` or `SIGSTOP`.
    #[error("no process can handle it")]
    Unhandled,
    /// It is the number of a known signal.
    #[error("write the name {0}")]
    Number(Signal),
    /// It is unknown.
    #[error("it is not known")]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_reads_back_and_is_listed() {
        for signal in Signal::ALL {
            let name = signal.to_string();
            let spellings =
                [name.clone(), name.to_lowercase(), name[3..].to_owned(), name[3..].to_lowercase()];
            for spelling in spellings {
                assert_eq!(spelling.parse(), Ok(signal), "{spelling}");
            }
            assert!(Signal::ALLOWED.contains(&name));
        }
    }

    #[test]
    fn numbers_are_those_of_linux() {
        let numbers: Vec<_> = Signal::ALL.map(Signal::number).into();
        assert_eq!(numbers, [1, 2, 3, 10, 12, 14, 15, 18, 28]);
    }

    #[test]
    fn refusals_name_the_reason() {
        for (text, fault) in [
            ("SIGKILL", SignalFault::Unhandled),
            ("stop", SignalFault::Unhandled),
            ("1", SignalFault::Number(Signal::Hup)),
            ("9", SignalFault::Unknown),
            ("", SignalFault::Unknown),
            ("SIG", SignalFault::Unknown),
            ("SIGSIGHUP", SignalFault::Unknown),
            ("HUP ", SignalFault::Unknown),
        ] {
            assert_eq!(text.parse::<Signal>().unwrap_err().fault, fault, "{text:?}");
        }
    }
}
