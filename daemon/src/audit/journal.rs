//! The files that the records are in: written at the end, begun anew at a size, the oldest dropped.
//!
//! Each file is named by the number of its first record, which names the MAC of the last record of the file before. Beside them is
//! `head`: two slots, written in turn, which say what was written last and what is the oldest that is kept. A slot is written only when
//! the disk has confirmed the records that it speaks of. So a power loss never makes it promise what is not there, and what was cut
//! off is missed, but for what came after the last slot. A line that a crash left unfinished is cut off, and a record says so.
//!
//! One process at a time writes: it holds a lock on `head`. What a record says is not known here. Neither is when to write.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::record::{Head, Line, Mac, Record, SLOT, UNSURE, hex};
use crate::os;
use crate::vault::{AuditKey, create_folders, open_or_create};

/// How large a file gets, and how many of them are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In bytes.
    pub file_size: u64,
    /// At least two.
    pub files: usize,
}

/// The files, open for writing.
pub(super) struct Journal {
    folder: PathBuf,
    limits: Limits,
    key: Arc<AuditKey>,
    head_file: File,
    /// How many slots were written so far.
    slots: u64,
    /// What is in the files now; the head file may lag behind.
    head: Head,
    file: Option<Open>,
}

struct Open {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Journal {
    /// Opens what there is, or begins. Waits a little while another process writes. With it come the records that have to be said first:
    /// what was amiss.
    pub(super) fn open(
        folder: &Path,
        limits: Limits,
        key: Arc<AuditKey>,
        now: DateTime<Utc>,
    ) -> io::Result<(Self, Vec<Record>)> {
        create_folders(folder).map_err(|failure| failure.cause)?;
        os::make_private_folder(folder, false)?;
        let mut head_file = open_or_create(&folder.join(HEAD))?;
        lock(&head_file)?;
        let mut text = Vec::new();
        head_file.read_to_end(&mut text)?;
        let slots: Vec<_> = text.chunks(SLOT).take(2).map(|slot| Head::read(slot, &key)).collect();
        let head = slots.iter().flatten().max_by_key(|head| head.last).copied();
        // The next one takes the place of the other.
        let next_slot = u64::from(head.is_some() && slots.first() == Some(&head));
        let mut journal = Self {
            folder: folder.to_owned(),
            limits,
            key,
            head_file,
            slots: next_slot,
            head: Head::default(),
            file: None,
        };
        let mut notes = Vec::new();
        let files = files(folder)?;
        let mut last = None;
        if let Some((first, path)) = files.last() {
            let (file, cut) = mended(path)?;
            if cut > 0 {
                let detail = format!("an unfinished line of {cut} bytes was cut off");
                notes.push(Record { detail: Some(detail), ..Record::new("mended", now) });
            }
            last = Some((*first, file));
        }
        match (head, &mut last) {
            (Some(head), last) => {
                journal.head = head;
                if let Some((_, Open { file, .. })) = last {
                    let text = everything(file)?;
                    (journal.head.last, journal.head.mac) = journal.beyond(&text, head.last, head.mac);
                }
            }
            (None, None) => journal.head.first = 1,
            (None, Some((first, Open { file, .. }))) => {
                let text = everything(file)?;
                journal.head.first = files.first().map_or(1, |(oldest, _)| *oldest);
                let (seq, mac) = journal.beyond_nothing(&text, *first);
                (journal.head.last, journal.head.mac) = (seq, mac);
                let why = "the head file was missing, or under another key";
                notes.insert(0, Record { detail: Some(why.to_owned()), ..Record::new(UNSURE, now) });
            }
        }
        journal.file = last.map(|(_, file)| file);
        if head.is_none() {
            // Before the first record is: a journal without a head was interfered with.
            journal.write_head()?;
            journal.write_head()?;
            flush_folder(folder)?;
        }
        Ok((journal, notes))
    }

    /// What is in the files.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Whether the file ends where this process has stopped writing.
    pub(super) fn ends_where_it_should(&self) -> bool {
        self.file
            .as_ref()
            .is_none_or(|open| fs::metadata(&open.path).is_ok_and(|metadata| metadata.len() == open.length))
    }

    /// Writes records, in order, and says how many it could. The disk need not have confirmed them yet.
    pub(super) fn write(&mut self, records: &mut [Record], now: DateTime<Utc>) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < records.len() {
            match self.write_some(&mut records[written..], now) {
                Ok(count) => written += count,
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// Has the disk confirm what was written.
    pub(super) fn confirm(&mut self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |open| open.file.sync_data())
    }

    /// Writes down how far the records go. What they are has to be confirmed before.
    pub(super) fn write_head(&mut self) -> io::Result<()> {
        let slot = self.head.slot(&self.key);
        self.head_file.seek(SeekFrom::Start(self.slots % 2 * SLOT as u64))?;
        self.head_file.write_all(&slot)?;
        self.head_file.sync_data()?;
        self.slots += 1;
        Ok(())
    }

    /// Writes as many as fit into the file, at least one.
    fn write_some(&mut self, records: &mut [Record], now: DateTime<Utc>) -> io::Result<usize> {
        // Somebody may have taken the file away. What is written from then on should be found.
        if self.file.as_ref().is_some_and(|open| open.length >= self.limits.file_size || !open.path.exists())
        {
            self.confirm()?;
            self.write_head()?;
            self.file = None;
        }
        if self.file.is_none() {
            self.begin_file(now)?;
        }
        let Some(open) = &mut self.file else { unreachable!("a file was begun") };
        let (mut seq, mut mac, mut bytes, mut count) = (self.head.last, self.head.mac, Vec::new(), 0);
        for record in records {
            if open.length + bytes.len() as u64 >= self.limits.file_size && count > 0 {
                break;
            }
            seq = seq.saturating_add(1);
            record.seq = seq;
            let (line, own) = record.line(&self.key, &mac);
            bytes.extend_from_slice(&line);
            mac = own;
            count += 1;
        }
        open.append(&bytes)?;
        (self.head.last, self.head.mac) = (seq, mac);
        Ok(count)
    }

    fn begin_file(&mut self, now: DateTime<Utc>) -> io::Result<()> {
        create_folders(&self.folder).map_err(|failure| failure.cause)?;
        let seq = self.head.last.saturating_add(1);
        let path = self.folder.join(format!("{seq:012}.jsonl"));
        let begun = self.begin(&path, seq, now);
        if begun.is_err() {
            // It holds nothing that counts.
            let _ = fs::remove_file(&path);
        }
        let (open, mac) = begun?;
        (self.head.last, self.head.mac) = (seq, mac);
        self.file = Some(open);
        self.drop_the_oldest()
    }

    fn begin(&self, path: &Path, seq: u64, now: DateTime<Utc>) -> io::Result<(Open, Mac)> {
        let before = Some(hex(&self.head.mac));
        let (line, mac) = Record { seq, before, ..Record::new("file", now) }.line(&self.key, &self.head.mac);
        let file = open_or_create(path)?;
        let mut open = Open { length: 0, path: path.to_owned(), file };
        open.append(&line)?;
        open.file.sync_data()?;
        flush_folder(&self.folder)?;
        Ok((open, mac))
    }

    fn drop_the_oldest(&mut self) -> io::Result<()> {
        let files = files(&self.folder)?;
        let Some(extra) = files.len().checked_sub(self.limits.files).filter(|extra| *extra > 0) else {
            return Ok(());
        };
        self.head.first = files[extra].0;
        // First it is said that they are no longer kept: then they are not missed.
        self.write_head()?;
        files[..extra].iter().try_for_each(|(_, path)| fs::remove_file(path))
    }

    /// How far records follow each other authentically behind what the head says.
    fn beyond(&self, text: &[u8], mut seq: u64, mut mac: Mac) -> (u64, Mac) {
        for line in lines(text).filter_map(Line::read) {
            if line.record.seq == seq.saturating_add(1) && line.follows(&self.key, &mac) {
                (seq, mac) = (line.record.seq, line.mac);
            }
        }
        (seq, mac)
    }

    /// The last number that is used in a file about which no head says anything.
    fn beyond_nothing(&self, text: &[u8], first: u64) -> (u64, Mac) {
        let records: Vec<_> = lines(text).filter_map(Line::read).collect();
        let begin = records.first().and_then(|line| Some((line.record.seq.checked_sub(1)?, line.before()?)));
        let (seq, mac) = begin.map_or((0, Mac::default()), |(seq, before)| self.beyond(text, seq, before));
        let used = records.iter().map(|line| line.record.seq).filter(|seq| *seq < ABSURD).max();
        match used.unwrap_or(first) {
            used if used > seq => (used, Mac::default()),
            _ => (seq, mac),
        }
    }
}

impl Open {
    /// All of it or nothing.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.seek(SeekFrom::Start(self.length)).and_then(|_| self.file.write_all(bytes));
        match written {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                let _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }
}

/// A daemon that ends may still be writing its last records. One that stays is not waited for.
/// Makes the names in a folder safe from a power loss. Windows has no such call and needs none.
fn flush_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn lock(head_file: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match head_file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "another daemon writes its records there"))
}

/// The files with the numbers of their first records, in their order.
pub(super) fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_suffix(".jsonl").filter(|number| number.len() >= 12);
        if let Some(Ok(number)) = number.map(str::parse) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

/// The lines of a file without their ends. What is behind the last end is none.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    text[..whole].split_inclusive(|byte| *byte == b'\n').map(|line| &line[..line.len() - 1])
}

/// Opens a file, and cuts off what a crash left of a line. Says how many bytes that were.
fn mended(path: &Path) -> io::Result<(Open, u64)> {
    let mut file = open_or_create(path)?;
    let text = everything(&mut file)?;
    let whole: usize = lines(&text).map(|line| line.len() + 1).sum();
    let cut = (text.len() - whole) as u64;
    if cut > 0 {
        file.set_len(whole as u64)?;
    }
    Ok((Open { file, path: path.to_owned(), length: whole as u64 }, cut))
}

fn everything(file: &mut File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut text)?;
    Ok(text)
}

const HEAD: &str = "head";
const LOCK_TRIES: u32 = 150;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// No daemon has written so many records.
const ABSURD: u64 = 1 << 53;

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::reading::{Snapshot, verify};
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::TempDir;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    struct Desk {
        folder: TempDir,
        key: Arc<AuditKey>,
    }

    impl Desk {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
            Self { folder, key: Arc::new(AuditKey::for_tests()) }
        }

        fn open(&self) -> (Journal, Vec<String>) {
            let limits = Limits { file_size: 2000, files: 3 };
            let (journal, notes) =
                Journal::open(self.folder.path(), limits, Arc::clone(&self.key), NOW).unwrap();
            (journal, notes.into_iter().map(|note| note.act).collect())
        }

        /// The first record that is amiss.
        fn amiss(&self, journal: &Journal) -> Option<u64> {
            let (head, ends_well) = (journal.head(), journal.ends_where_it_should());
            let snapshot = Snapshot { key: None, is_open: true, head, ends_well };
            verify(self.folder.path(), &self.key, &snapshot).unwrap().broken.map(|broken| broken.record)
        }
    }

    fn write(journal: &mut Journal, count: usize) {
        let mut records = vec![Record::new("get", NOW); count];
        let (written, outcome) = journal.write(&mut records, NOW);
        assert_eq!((written, outcome.is_ok()), (count, true));
    }

    #[test]
    fn what_a_crash_leaves_before_the_head_follows_is_gone_on_from() {
        let desk = Desk::new();
        let (mut journal, notes) = desk.open();
        assert!(notes.is_empty() && desk.amiss(&journal).is_none());
        for round in 1..6 {
            write(&mut journal, 3);
            if round % 2 == 0 {
                journal.write_head().unwrap();
            }
            let last = journal.head().last;
            drop(journal);
            let (again, notes) = desk.open();
            assert_eq!((again.head().last, notes.len(), desk.amiss(&again)), (last, 0, None), "{round}");
            journal = again;
        }
    }

    #[test]
    fn the_oldest_files_go_and_are_not_missed_and_others_are() {
        let desk = Desk::new();
        let (mut journal, _) = desk.open();
        write(&mut journal, 200);
        journal.write_head().unwrap();
        let kept = files(desk.folder.path()).unwrap();
        assert_eq!((kept.len(), journal.head().first), (3, kept[0].0));
        assert!(kept[0].0 > 1 && desk.amiss(&journal).is_none());
        let aside = desk.folder.path().join("aside");
        for (first, path) in &kept {
            fs::rename(path, &aside).unwrap();
            assert_eq!(desk.amiss(&journal), Some(*first), "without the file of {first}");
            fs::rename(&aside, path).unwrap();
        }
        fs::rename(&kept[1].1, &aside).unwrap();
        fs::rename(&kept[0].1, &kept[1].1).unwrap();
        fs::rename(&aside, &kept[0].1).unwrap();
        assert_eq!(desk.amiss(&journal), Some(kept[0].0), "exchanged");
    }

    #[test]
    fn an_end_that_was_cut_off_is_missed_after_a_start_whatever_is_written_then() {
        let desk = Desk::new();
        let (mut journal, _) = desk.open();
        write(&mut journal, 5);
        journal.write_head().unwrap();
        drop(journal);
        let (_, path) = files(desk.folder.path()).unwrap().pop().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let short: Vec<_> = text.lines().take(4).collect();
        fs::write(&path, short.join("\n") + "\n").unwrap();
        let (mut journal, _) = desk.open();
        assert_eq!(desk.amiss(&journal), Some(5));
        write(&mut journal, 5);
        journal.write_head().unwrap();
        assert_eq!((desk.amiss(&journal), journal.head().last), (Some(5), 11));
        // An older head says less, and is not believed for long: what follows it is there.
        drop(journal);
        fs::remove_file(desk.folder.path().join(HEAD)).unwrap();
        let (mut journal, notes) = desk.open();
        assert_eq!(notes, [UNSURE]);
        let mut records = vec![Record::new(UNSURE, NOW)];
        assert_eq!(journal.write(&mut records, NOW).0, 1);
        assert_eq!(desk.amiss(&journal), Some(5));
    }

    #[test]
    fn a_file_that_was_taken_away_is_begun_anew() {
        let desk = Desk::new();
        let (mut journal, _) = desk.open();
        write(&mut journal, 2);
        let (first, path) = files(desk.folder.path()).unwrap().pop().unwrap();
        fs::remove_file(path).unwrap();
        write(&mut journal, 2);
        assert_eq!(files(desk.folder.path()).unwrap().len(), 1);
        assert_eq!(desk.amiss(&journal), Some(first));
    }

    #[test]
    fn two_daemons_do_not_write_one_journal() {
        let desk = Desk::new();
        let (journal, _) = desk.open();
        let limits = Limits { file_size: 2000, files: 3 };
        let other = Journal::open(desk.folder.path(), limits, Arc::clone(&desk.key), NOW);
        assert!(other.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        drop(journal);
        desk.open();
    }
}
