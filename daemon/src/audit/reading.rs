//! The records read back: a page of them for people, and whether all of them are as they were written.
//!
//! Reads files and writes none. What it takes to be told apart from a record that is being written, whoever writes has to say.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use procurify_token_protocol::{AuditBreak, AuditVerdict, CredentialName};

use super::journal::{files, lines};
use super::record::{Head, Line, Walk, Wrong};
use crate::principal::Principal;
use crate::vault::AuditKey;

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// About this credential.
    pub credential: Option<CredentialName>,
    /// Of this user.
    pub user: Option<Principal>,
    /// From then on.
    pub since: Option<DateTime<Utc>>,
}

impl Filter {
    fn wants(&self, line: &[u8]) -> bool {
        let Some(Line { record, .. }) = Line::read(line) else {
            // Whoever looks for nothing in particular sees what became of it.
            return self.credential.is_none() && self.user.is_none() && self.since.is_none();
        };
        let is_since =
            |since: &DateTime<Utc>| DateTime::parse_from_rfc3339(&record.at).is_ok_and(|at| at >= *since);
        self.since.as_ref().is_none_or(is_since)
            && self.user.as_ref().is_none_or(|user| record.uid == user.uid() && record.sid == user.sid())
            && self.credential.as_ref().is_none_or(|name| record.credential.as_deref() == Some(name.as_str()))
    }
}

/// Some of the records.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) lines: Vec<String>,
    pub(super) next: u64,
    pub(super) more: bool,
}

/// The records behind a number, up to the last that there should be.
pub(super) fn page(folder: &Path, after: Option<u64>, filter: &Filter, last: u64) -> io::Result<Page> {
    let files = files(folder)?;
    let mut page = Page { next: after.unwrap_or(0), ..Page::default() };
    let mut seen = 0;
    let mut length = 0;
    for (at, (_, path)) in files.iter().enumerate() {
        // All that is in it was seen.
        if files.get(at + 1).is_some_and(|(first, _)| *first <= page.next + 1) {
            continue;
        }
        let file = match File::open(path) {
            // It was dropped a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            if line.pop() != Some(b'\n') {
                break;
            }
            // What is no record, or none of ours, is shown once, and hides none that follows.
            let seq = Line::read(&line).map(|line| line.record.seq).filter(|seq| *seq <= last);
            seen = seq.unwrap_or(seen);
            if seq.map_or(after.is_some_and(|after| seen <= after), |seq| seq <= page.next) {
                continue;
            }
            if filter.wants(&line) {
                length += line.len() + 8;
                if length > MOST_IN_ANSWER && !page.lines.is_empty() {
                    page.more = true;
                    return Ok(page);
                }
                page.lines.push(String::from_utf8_lossy(&line).into_owned());
            }
            page.next = seq.unwrap_or(page.next);
        }
    }
    Ok(page)
}

/// What there should be, as whoever writes it knows.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) key: Option<Arc<AuditKey>>,
    /// Whether anything is known of them.
    pub(super) is_open: bool,
    pub(super) head: Head,
    /// Whether the last file ends where it should.
    pub(super) ends_well: bool,
}

/// Whether what there should be is there.
pub(super) fn verify(folder: &Path, key: &AuditKey, snapshot: &Snapshot) -> io::Result<AuditVerdict> {
    let Head { first, last, mac } = snapshot.head;
    let mut verdict = AuditVerdict { first, last, folder: folder.display().to_string(), broken: None };
    if last < first {
        (verdict.first, verdict.last) = (0, 0);
        return Ok(verdict);
    }
    let mut walk = Walk::new(key, first);
    let files = files(folder)?;
    let mut broken = None;
    'files: for (_, path) in &files {
        let mut text = Vec::new();
        File::open(path)?.read_to_end(&mut text)?;
        for line in lines(&text) {
            if walk.position() == (last.saturating_add(1), Some(mac)) {
                break 'files;
            }
            if let Err(Wrong { record, what }) = walk.step(line) {
                broken = Some(AuditBreak { record, file: path.display().to_string(), what });
                break 'files;
            }
        }
    }
    let whole = walk.position() == (last.saturating_add(1), Some(mac));
    let last_file = files.last().map_or_else(|| folder.to_owned(), |(_, path)| PathBuf::from(path));
    let at_the_end = |record, what: &str| AuditBreak {
        record,
        file: last_file.display().to_string(),
        what: what.to_owned(),
    };
    verdict.broken = broken.or_else(|| match (whole, snapshot.ends_well) {
        (true, true) => None,
        (true, false) => Some(at_the_end(
            last + 1,
            "something stands behind the last record that the daemon has not written",
        )),
        (false, _) => Some(at_the_end(walk.position().0, "it is missing, and so are those behind it")),
    });
    Ok(verdict)
}

/// An answer has at most 256 KiB, head and frame included.
const MOST_IN_ANSWER: usize = 192 * 1024;
/// Longer than any record.
const LONGEST_LINE: u64 = 64 * 1024;
