//! Runs [`scaivault_fuzz::inverse`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scaivault_fuzz::inverse(bytes));
