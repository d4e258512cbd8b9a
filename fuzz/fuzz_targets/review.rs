//! Runs [`scaivault_fuzz::review`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scaivault_fuzz::review(bytes));
