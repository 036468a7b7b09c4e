//! Any bytes as a file that is imported; what is read is what an export of it would be read as.

#![no_main]
#![expect(dead_code, reason = "the rooms of the command are taken whole, and this uses a part of them")]

#[path = "../../../client/cli/src/exit.rs"]
mod exit;
#[path = "../../../client/cli/src/records.rs"]
mod records;
#[path = "../../../client/cli/src/text.rs"]
mod text;
#[path = "../../../client/cli/src/when.rs"]
mod when;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = records::parse(bytes) else { return };
    let lines = |records: &[records::Record]| -> Vec<u8> {
        let lines = records.iter().map(|record| records::line(&record.copy).expect("it can be written"));
        records::head().into_bytes().into_iter().chain(lines.flat_map(|line| line.to_vec())).collect()
    };
    let written = lines(&read);
    let again = records::parse(&written).expect("what was written is read");
    assert!(lines(&again) == written);
});
