//! One audit record: a line of JSON, and how it is chained to the one before.
//!
//! A line is the record's fields and, last, its MAC (HMAC-SHA256 under the audit key, `vault/seal.rs`) of
//! ```text
//! 00 ‖ MAC of the record before (32 bytes, zero for the first ever) ‖ the line up to, not including, ,"mac":
//! ```
//! So the bytes of a line are what is authentic, and nothing has to be brought into a form first. Pure: bytes in, bytes out. Which
//! files the lines are in, and what happened, is not known here.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::vault::AuditKey;

pub(super) type Mac = [u8; 32];

/// What a record says. The fields are described in the protocol's specification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) at: String,
    pub(super) act: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) credential: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) program: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) late: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lost: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
}

impl Record {
    pub(super) fn new(act: &str, at: DateTime<Utc>) -> Self {
        Self { act: act.to_owned(), at: stamp(at), ..Self::default() }
    }

    /// The line, its end included, and its MAC.
    pub(super) fn line(&self, key: &AuditKey, before: &Mac) -> (Vec<u8>, Mac) {
        let mut line = serde_json::to_vec(self).expect("texts and numbers can be written");
        line.pop();
        let mac = mac(key, before, &line);
        line.extend_from_slice(MAC_BEGINS);
        line.extend_from_slice(hex(&mac).as_bytes());
        line.extend_from_slice(b"\"}\n");
        (line, mac)
    }
}

/// A line that is a record, if not an authentic one.
pub(super) struct Line<'a> {
    signed: &'a [u8],
    pub(super) record: Record,
    pub(super) mac: Mac,
}

impl<'a> Line<'a> {
    /// Reads a line without its end.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let (signed, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
        let digits = tail.strip_prefix(MAC_BEGINS)?.strip_suffix(b"\"}")?;
        let mac = unhex(digits)?;
        let record = serde_json::from_slice(&[signed, b"}"].concat()).ok()?;
        Some(Self { signed, record, mac })
    }

    pub(super) fn follows(&self, key: &AuditKey, before: &Mac) -> bool {
        mac(key, before, self.signed) == self.mac
    }

    /// The MAC that the first record of a file says was the last before it.
    pub(super) fn before(&self) -> Option<Mac> {
        unhex(self.record.before.as_ref()?.as_bytes())
    }
}

/// Follows a chain from its beginning.
pub(super) struct Walk<'a> {
    key: &'a AuditKey,
    expected: u64,
    before: Option<Mac>,
}

/// The first record that is not as it was written, or not where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) record: u64,
    pub(super) what: String,
}

impl<'a> Walk<'a> {
    /// From the record with this number on, which says itself what was before it.
    pub(super) fn new(key: &'a AuditKey, first: u64) -> Self {
        Self { key, expected: first, before: None }
    }

    /// The next line, without its end.
    pub(super) fn step(&mut self, line: &[u8]) -> Result<(), Wrong> {
        let wrong = |what: String| Wrong { record: self.expected, what };
        let line = Line::read(line).ok_or_else(|| wrong("it is not a record any more".to_owned()))?;
        let seq = line.record.seq;
        let before = self.before.or_else(|| line.before());
        let is_authentic = before.is_some_and(|before| line.follows(self.key, &before));
        if seq > self.expected {
            return Err(wrong(format!("it is missing: record {seq} stands where it should be")));
        }
        if seq < self.expected {
            return Err(wrong(format!("record {seq} stands where it should be")));
        }
        if !is_authentic {
            return Err(wrong("it is not as it was written, or not where it was".to_owned()));
        }
        if line.record.act == UNSURE {
            let why = line.record.detail.unwrap_or_default();
            return Err(wrong(format!("the daemon wrote then that it cannot vouch for those before: {why}")));
        }
        (self.before, self.expected) = (Some(line.mac), seq.saturating_add(1));
        Ok(())
    }

    /// The number of the next record, and the MAC of the last.
    pub(super) fn position(&self) -> (u64, Option<Mac>) {
        (self.expected, self.before)
    }
}

/// What was written last, and what is the first that is kept: one slot of the head file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) mac: Mac,
}

#[derive(Serialize, Deserialize)]
struct HeadText {
    first: u64,
    last: u64,
    mac: String,
}

impl Head {
    /// Its slot: a line of JSON, padded, with a MAC of its own (of `01` and the line up to it).
    pub(super) fn slot(&self, key: &AuditKey) -> [u8; SLOT] {
        let Self { first, last, mac } = *self;
        let text = HeadText { first, last, mac: hex(&mac) };
        let mut line = serde_json::to_vec(&text).expect("texts and numbers can be written");
        line.pop();
        let own = key.mac(&[&[HEAD], &line]);
        line.extend_from_slice(format!(",\"head\":\"{}\"}}", hex(&own)).as_bytes());
        let mut slot = [b' '; SLOT];
        slot[..line.len()].copy_from_slice(&line);
        slot[SLOT - 1] = b'\n';
        slot
    }

    pub(super) fn read(slot: &[u8], key: &AuditKey) -> Option<Self> {
        let line = slot.trim_ascii_end();
        let (signed, tail) = line.split_at_checked(line.len().checked_sub(TAIL + 1)?)?;
        let own = unhex(tail.strip_prefix(b",\"head\":\"")?.strip_suffix(b"\"}")?)?;
        if key.mac(&[&[HEAD], signed]) != own {
            return None;
        }
        let HeadText { first, last, mac } = serde_json::from_slice(&[signed, b"}"].concat()).ok()?;
        Some(Self { first, last, mac: unhex(mac.as_bytes())? })
    }
}

pub(super) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Exactly as [`hex`] writes it: another spelling would be other bytes that mean the same.
fn unhex(digits: &[u8]) -> Option<Mac> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut mac = Mac::default();
    if digits.len() != 2 * mac.len() {
        return None;
    }
    for (byte, pair) in mac.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(mac)
}

fn mac(key: &AuditKey, before: &Mac, signed: &[u8]) -> Mac {
    key.mac(&[&[RECORD], before, signed])
}

/// What the daemon writes where it cannot know what was before.
pub(super) const UNSURE: &str = "unsure";
/// How long a slot of the head file is.
pub(super) const SLOT: usize = 256;
const RECORD: u8 = 0;
const HEAD: u8 = 1;
const MAC_BEGINS: &[u8] = b",\"mac\":\"";
/// `,"mac":"`, 64 digits, and `"}`.
const TAIL: usize = 8 + 64 + 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain(key: &AuditKey, count: u64) -> Vec<Vec<u8>> {
        let mut before = Mac::default();
        let lines = (1..=count).map(|seq| {
            let mut record = Record { seq, ..Record::new("get", DateTime::UNIX_EPOCH) };
            record.credential = Some(format!("acme/{seq}"));
            if seq == 1 {
                record.before = Some(hex(&before));
            }
            let (mut line, mac) = record.line(key, &before);
            before = mac;
            line.pop();
            line
        });
        lines.collect()
    }

    fn walked(key: &AuditKey, lines: &[Vec<u8>]) -> Result<u64, u64> {
        let mut walk = Walk::new(key, 1);
        for line in lines {
            walk.step(line).map_err(|wrong| wrong.record)?;
        }
        Ok(walk.position().0 - 1)
    }

    #[test]
    fn what_is_written_is_read_and_follows() {
        let key = AuditKey::for_tests();
        let lines = chain(&key, 5);
        assert_eq!(walked(&key, &lines), Ok(5));
        assert_eq!(walked(&AuditKey::for_tests(), &lines), Err(1), "under another key");
        let text = String::from_utf8(lines[1].clone()).unwrap();
        assert!(text.starts_with(r#"{"seq":2,"at":"1970-01-01T00:00:00.000Z","act":"get","#), "{text}");
        let head = Head { first: 1, last: u64::MAX, mac: [7; 32] };
        let slot = head.slot(&key);
        assert_eq!(Head::read(&slot, &key), Some(head));
        assert_eq!(Head::read(&slot, &AuditKey::for_tests()), None);
    }

    #[test]
    fn the_first_that_was_changed_removed_moved_or_doubled_is_named() {
        let key = AuditKey::for_tests();
        let good = chain(&key, 6);
        let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut lines = good.clone();
            change(&mut lines);
            walked(&key, &lines)
        };
        assert_eq!(with(&|lines| drop(lines.remove(2))), Err(3), "removed");
        assert_eq!(with(&|lines| lines.swap(2, 3)), Err(3), "reordered");
        assert_eq!(with(&|lines| lines.insert(3, lines[2].clone())), Err(4), "doubled");
        assert_eq!(with(&|lines| lines[4].truncate(30)), Err(5), "cut");
        assert_eq!(with(&|lines| drop(lines.remove(0))), Err(1), "the first removed");
        assert_eq!(with(&|lines| drop(lines.pop())), Ok(5), "only the head tells");
    }

    proptest! {
        #[test]
        fn any_byte_that_is_changed_names_its_record(record in 0_usize..6, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let key = AuditKey::for_tests();
            let mut lines = chain(&key, 6);
            let at = at.index(lines[record].len());
            prop_assume!(lines[record][at] != byte);
            lines[record][at] = byte;
            prop_assert_eq!(walked(&key, &lines), Err(record as u64 + 1));
        }

        #[test]
        fn lines_in_any_other_order_name_the_first_that_is_out_of_place(order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let key = AuditKey::for_tests();
            let lines = chain(&key, 6);
            let shuffled: Vec<_> = order.iter().map(|at| lines[*at].clone()).collect();
            let first = order.iter().enumerate().find(|(at, from)| at != *from).map(|(at, _)| at as u64 + 1);
            prop_assert_eq!(walked(&key, &shuffled), first.map_or(Ok(6), Err));
        }

        #[test]
        fn any_bytes_are_no_record_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Line::read(&bytes).is_none());
            prop_assert!(Head::read(&bytes, &AuditKey::for_tests()).is_none());
        }
    }
}
