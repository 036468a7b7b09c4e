//! Any bytes as an opened body of a vault.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| procurify_tokend::vault::fuzzing::body(bytes));
