//! The key file: one line of text, `PROCURIFY-TOKEN-KEY-1` and 64 hexadecimal digits, a space between
//! them. Written in small letters and with a line end (`\n`); read in either case, and with or without that, and nothing more. The
//! digits are the 32 bytes of the key in their order.
//!
//! It is written once, never over anything, and on the disk before the vault that needs it. It may open a backup, so
//! one that is already there is used again and never replaced. Its text passes only through buffers that are wiped.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use super::disk::{self, Temporary};
use super::error::{Step, VaultError};
use super::seal::{KEY_LEN, WrappingKey};

/// The key in a key file.
pub(super) fn read(path: &Path) -> Result<WrappingKey, VaultError> {
    existing(path)?.ok_or_else(|| VaultError::KeyFileMissing { path: path.to_owned() })
}

/// The key in the key file that is there, or in a new one.
pub(super) fn read_or_create(path: &Path) -> Result<WrappingKey, VaultError> {
    if let Some(key) = existing(path)? {
        return Ok(key);
    }
    let folder = disk::folder_of(path);
    disk::create_folders(folder)?;
    disk::check_folder(folder)?;
    let key = WrappingKey::random();
    Temporary::filled(path, &*text(&key))?.settle(path)?;
    disk::flush_folder(folder)?;
    Ok(key)
}

/// The key in a file that systemd hands to its service: its folder is closed to others, the file itself may be root's with
/// an entry for the service's user.
pub(super) fn read_credential(path: &Path) -> Result<WrappingKey, VaultError> {
    let missing = || VaultError::CredentialMissing { path: Some(path.to_owned()) };
    let mut file = disk::open_handed_over(path)?.ok_or_else(missing)?;
    key_in(&mut file, path)
}

/// A new key file's line, for somewhere else than a key file.
pub(crate) fn new_line() -> Zeroizing<[u8; TEXT_LEN]> {
    text(&WrappingKey::random())
}

fn existing(path: &Path) -> Result<Option<WrappingKey>, VaultError> {
    let Some(mut file) = disk::open_private(path)? else { return Ok(None) };
    key_in(&mut file, path).map(Some)
}

fn key_in(file: &mut File, path: &Path) -> Result<WrappingKey, VaultError> {
    let mut buffer = Zeroizing::new([0; TEXT_LEN + 1]);
    let length = disk::attempt(Step::Read, path, || read_to_end(file, &mut *buffer))?;
    parse(&buffer[..length]).ok_or_else(|| VaultError::KeyFileMalformed { path: path.to_owned() })
}

/// Fills `buffer` as far as the file goes. `Read::read_to_end` would leave copies behind while its buffer grows.
fn read_to_end(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

/// The line end may be missing: editors and clipboards lose it.
pub(super) fn parse(text: &[u8]) -> Option<WrappingKey> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text).strip_prefix(HEAD)?;
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    WrappingKey::try_fill(|key| {
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0]).ok_or(())? << 4 | digit(pair[1]).ok_or(())?;
        }
        Ok::<_, ()>(())
    })
    .ok()
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

fn text(key: &WrappingKey) -> Zeroizing<[u8; TEXT_LEN]> {
    let mut text = Zeroizing::new([b'\n'; TEXT_LEN]);
    text[..HEAD.len()].copy_from_slice(HEAD);
    for (pair, byte) in text[HEAD.len()..].chunks_exact_mut(2).zip(key.bytes()) {
        let mut digits = [byte >> 4, byte & 15].map(|nibble| HEX[usize::from(nibble)]);
        pair.copy_from_slice(&digits);
        digits.zeroize();
    }
    text
}

const HEAD: &[u8] = b"PROCURIFY-TOKEN-KEY-1 ";
pub(super) const TEXT_LEN: usize = HEAD.len() + 2 * KEY_LEN + 1;
const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const DIGITS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    fn line(digits: &str) -> String {
        format!("PROCURIFY-TOKEN-KEY-1 {digits}\n")
    }

    #[test]
    fn what_is_written_is_read() {
        let key = parse(line(DIGITS).as_bytes()).unwrap();
        assert_eq!((key.bytes()[1], key.bytes()[31]), (1, 255));
        assert_eq!(*text(&key), *line(DIGITS).as_bytes());
    }

    #[rstest]
    #[case::upper_case(line(DIGITS).replace("0a", "0A"))]
    #[case::no_line_end(line(DIGITS).trim_end().to_owned())]
    fn harmless_differences_are_read(#[case] text: String) {
        assert!(parse(text.as_bytes()).is_some());
    }

    #[rstest]
    #[case::empty(String::new())]
    #[case::short(line(&DIGITS[1..]))]
    #[case::long(line(DIGITS).replace('\n', "0\n"))]
    #[case::two_lines(line(DIGITS) + "\n")]
    #[case::not_hex(line(DIGITS).replace("ff", "fg"))]
    #[case::sign(line(DIGITS).replace("00", "+0"))]
    #[case::later_kind(line(DIGITS).replace("KEY-1", "KEY-2"))]
    #[case::no_head(DIGITS.to_owned())]
    fn anything_else_is_not_a_key_file(#[case] text: String) {
        assert!(parse(text.as_bytes()).is_none());
    }
}
