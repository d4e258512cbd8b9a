//! Runs [`scaivault_fuzz::annotations`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scaivault_fuzz::annotations(bytes));
