//! Any bytes as what a caller does on a connection, and the driver behind it, with a clock that never makes anybody wait.

#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(procurify_tokend::ipc::fuzzing::conversation(script));
});
