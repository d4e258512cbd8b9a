//! Runs [`scaivault_fuzz::template`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scaivault_fuzz::template(bytes));
