//! Any bytes as a vault file, as they are and behind a head and a checksum that are right.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| procurify_tokend::vault::fuzzing::file(bytes));
