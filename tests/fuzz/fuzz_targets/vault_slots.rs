//! Any bytes as a key slot: kind and payload.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| procurify_tokend::vault::fuzzing::slot(bytes));
