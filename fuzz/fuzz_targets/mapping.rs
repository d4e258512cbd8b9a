//! Runs [`scaivault_fuzz::mapping`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scaivault_fuzz::mapping(bytes));
