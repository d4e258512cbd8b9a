//! Unpredictable names and passwords.

use std::fmt::Write as _;

use rustls::crypto::{SecureRandom, aws_lc_rs};

/// The crypto provider's random bytes.
pub(crate) struct Random(&'static dyn SecureRandom);

impl Random {
    pub(crate) fn new() -> Self {
        Self(aws_lc_rs::default_provider().secure_random)
    }

    /// 24 hexadecimal digits.
    pub(crate) fn word(&mut self) -> String {
        let mut bytes = [0; 12];
        self.0
            .fill(&mut bytes)
            .expect("aws-lc-rs draws from the system's generator, which does not fail once it runs");
        bytes.iter().fold(String::new(), |mut word, byte| {
            write!(word, "{byte:02x}").expect("a String takes any text");
            word
        })
    }
}
