//! Runs [`scaivault_fuzz::cost`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scaivault_fuzz::cost(bytes));
