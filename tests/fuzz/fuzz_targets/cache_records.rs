//! Any bytes as opened records of the token cache.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| procurify_tokend::cache::fuzz_records(bytes));
