//! Permission bits of a secret file.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::Excerpt;

/// Permission bits of a secret file: readable by the owner, executable by no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileMode(u16);

impl FileMode {
    /// The accepted values, for error messages.
    pub const ALLOWED: &'static str = "an octal number such as 0444, 0440 or 0400, with read permission for the owner and without execute permission";

    /// Readable by all users. The mount is read-only and belongs to one pod, whose containers may
    /// run as any uid.
    pub const DEFAULT: Self = Self(0o444);

    /// Readable by the owner only: sufficient if the agent and all readers share one uid.
    pub const OWNER_ONLY: Self = Self(0o400);

    /// The bits.
    pub const fn bits(self) -> u16 {
        self.0
    }
}

impl FromStr for FileMode {
    type Err = FileModeError;

    fn from_str(text: &str) -> Result<Self, FileModeError> {
        parse(text).map_err(|fault| FileModeError { text: Excerpt::new(text), fault })
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

text_in_serde!(FileMode);

fn parse(text: &str) -> Result<FileMode, FileModeFault> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return Err(FileModeFault::NotOctal);
    }
    // A number that overflows the type is also above 0777.
    let bits = u16::from_str_radix(digits, 8).unwrap_or(u16::MAX);
    if bits > 0o777 {
        return Err(FileModeFault::TooLarge);
    }
    if bits & 0o400 == 0 {
        return Err(FileModeFault::OwnerCannotRead);
    }
    if bits & 0o111 != 0 {
        return Err(FileModeFault::Executable);
    }
    Ok(FileMode(bits))
}

/// A text that is not a file mode.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text} is not a file mode: {fault}; allowed: {}", FileMode::ALLOWED)]
pub struct FileModeError {
    /// The text.
    pub text: Excerpt,
    /// Why it is rejected.
    pub fault: FileModeFault,
}

/// Why a file mode is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileModeFault {
    /// It has characters other than 0 to 7.
    #[error("it is not an octal number")]
    NotOctal,
    /// It has the setuid, setgid or sticky bit, or higher bits.
    #[error("it is above 0777, and a secret's file has no setuid, setgid or sticky bit")]
    TooLarge,
    /// Bit 0400 is missing, so the agent could not read the file to compare it.
    #[error("its owner must be able to read it")]
    OwnerCannotRead,
    /// A bit of 0111 is set.
    #[error("a secret's file is not executable")]
    Executable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_octal_and_writes_four_digits() {
        for text in ["0440", "440", "0o440", "00440"] {
            assert_eq!(text.parse::<FileMode>().unwrap().to_string(), "0440", "{text}");
        }
        assert_eq!("0666".parse::<FileMode>().unwrap().bits(), 0o666);
        for mode in [FileMode::DEFAULT, FileMode::OWNER_ONLY] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
    }

    #[test]
    fn refusals_name_the_reason() {
        use FileModeFault::{Executable, NotOctal, OwnerCannotRead, TooLarge};
        for (text, fault) in [
            ("", NotOctal),
            ("0o", NotOctal),
            ("0x1ff", NotOctal),
            ("0489", NotOctal),
            ("+440", NotOctal),
            (" 440", NotOctal),
            ("rw-r--r--", NotOctal),
            ("4444", TooLarge),
            ("1000", TooLarge),
            ("7777777777", TooLarge),
            ("0", OwnerCannotRead),
            ("0044", OwnerCannotRead),
            ("0200", OwnerCannotRead),
            ("0500", Executable),
            ("0755", Executable),
            ("0401", Executable),
        ] {
            assert_eq!(text.parse::<FileMode>().unwrap_err().fault, fault, "{text:?}");
        }
    }
}
