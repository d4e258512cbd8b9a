//! Runs [`scaivault_fuzz::policy`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scaivault_fuzz::policy(bytes));
