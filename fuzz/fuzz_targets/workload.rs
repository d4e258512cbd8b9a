//! Runs [`scaivault_fuzz::workload`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scaivault_fuzz::workload(bytes));
