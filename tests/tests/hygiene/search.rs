//! Canaries, the forms in which they could leak, and the search for them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use procurify_token_tests::Home;

/// A secret that is planted, and how a report may call it.
#[derive(Clone, Debug)]
pub(crate) struct Canary {
    pub(crate) label: String,
    pub(crate) secret: String,
}

/// Everything that must not be found.
#[derive(Default)]
pub(crate) struct Canaries {
    needles: Vec<Needle>,
}

struct Needle {
    name: String,
    bytes: Vec<u8>,
}

impl Canary {
    /// 40 characters that fit every grammar there is, a domain's and a request id's included: what takes a secret for
    /// something else has no reason to refuse this one.
    pub(crate) fn new(label: &str) -> Self {
        Self { label: label.to_owned(), secret: pronounceless(label, 40) }
    }

    /// One with characters that each format writes in its own way.
    pub(crate) fn special(label: &str) -> Self {
        let [first, second] = ["one", "two"].map(|half| pronounceless(&format!("{label}{half}"), 16));
        Self { label: label.to_owned(), secret: format!("{first}\"\\'%25&=+/<é>${{x}}#{second}") }
    }
}

impl Canaries {
    pub(crate) fn plant(&mut self, canary: &Canary) {
        for (form, bytes) in forms(&canary.secret) {
            self.needles.push(Needle { name: format!("{} ({form})", canary.label), bytes });
        }
    }

    /// Plants a key: its bytes, and their digits.
    pub(crate) fn key(&mut self, label: &str, key: &[u8]) {
        for (form, bytes) in [("raw", key.to_vec()), ("hex", hex_of(key).into_bytes())] {
            self.needles.push(Needle { name: format!("{label} ({form})"), bytes });
        }
    }

    /// Plants a token.
    pub(crate) fn token(&mut self, label: &str, token: &str) {
        self.plant(&Canary { label: format!("token of {label}"), secret: token.to_owned() });
    }

    /// Which canaries are in these bytes.
    pub(crate) fn within(&self, bytes: &[u8]) -> Vec<&str> {
        let mut starts = vec![Vec::new(); 1 << 16];
        for needle in &self.needles {
            starts[pair(&needle.bytes)].push(needle);
        }
        let mut found = Vec::new();
        for at in 0..bytes.len().saturating_sub(1) {
            for needle in &starts[pair(&bytes[at..])] {
                if bytes[at..].starts_with(&needle.bytes) && !found.contains(&needle.name.as_str()) {
                    found.push(needle.name.as_str());
                }
            }
        }
        found
    }

    /// Fails if there is a canary to be seen in this home.
    #[track_caller]
    pub(crate) fn must_be_hidden(&self, home: &Home, when: &str) {
        let seen = self.seen_in(home);
        assert!(seen.is_empty(), "{when}, secrets are to be seen:\n  {}", seen.join("\n  "));
    }

    /// Which canaries are in which file of the home, in a file's name, or in what `ps` shows of its processes.
    pub(crate) fn seen_in(&self, home: &Home) -> Vec<String> {
        let mut places = Vec::new();
        files(home.path(), &mut places);
        assert!(!places.is_empty(), "a home has its configuration at least");
        for pid in home.processes() {
            for what in ["cmdline", "environ"] {
                let path = format!("/proc/{pid}/{what}");
                if let Ok(bytes) = fs::read(&path) {
                    places.push((path, bytes));
                }
            }
        }
        let mut seen = Vec::new();
        for (place, bytes) in &places {
            seen.extend(self.within(bytes).into_iter().map(|name| format!("{place}: {name}")));
            seen.extend(
                self.within(place.as_bytes()).into_iter().map(|name| format!("a file's name: {name}")),
            );
        }
        seen
    }
}

/// Each way in which a program could write a secret, by name.
pub(crate) fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let half = (0..=secret.len() / 2).rev().find(|&at| secret.is_char_boundary(at)).unwrap_or_default();
    let hex = hex_of(bytes);
    let mut forms = vec![
        ("plain", bytes.to_vec()),
        ("its first half", secret[..half].into()),
        ("its second half", secret[half..].into()),
        ("HEX", hex.to_uppercase().into()),
        ("hex", hex.into()),
        ("URL-encoded", percent(bytes).into()),
        ("url-encoded", percent(bytes).to_lowercase().into()),
        ("as JSON", inner(&serde_json::Value::from(secret).to_string()).into()),
        ("as Debug", inner(&format!("{secret:?}")).into()),
        ("as numbers", inner(&format!("{bytes:?}")).into()),
        ("UTF-16LE", secret.encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ];
    for (name, alphabet) in [("base64", STANDARD), ("base64url", URL_SAFE)] {
        for skipped in 0..3 {
            forms.push((name, base64_within(bytes, skipped, alphabet)));
        }
    }
    let mut seen = Vec::new();
    forms.retain(|(_, form)| {
        let is_new = !seen.contains(form);
        seen.push(form.clone());
        is_new
    });
    forms
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// How the secret looks in base64 behind `skipped` other bytes, without the digits that depend on its neighbours.
fn base64_within(bytes: &[u8], skipped: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let padded: Vec<u8> = std::iter::repeat_n(0, skipped).chain(bytes.iter().copied()).collect();
    let digits = padded.chunks_exact(3).flat_map(|group| {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        [18, 12, 6, 0].map(|shift| alphabet[usize::try_from(bits >> shift & 63).unwrap()])
    });
    digits.skip(if skipped == 0 { 0 } else { 4 }).collect()
}

fn percent(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// Without the first and the last character.
fn inner(text: &str) -> &str {
    &text[1..text.len() - 1]
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        // Temporary files may go while one looks.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files(&path, found);
        } else if kind.is_file()
            && let Ok(bytes) = fs::read(&path)
        {
            found.push((path.display().to_string(), bytes));
        }
    }
}

/// Letters and digits that look like nothing else, the same for the same label.
fn pronounceless(label: &str, length: usize) -> String {
    let mut state = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        DIGITS[usize::try_from(state % 36).unwrap()]
    };
    (0..length).map(|_| char::from(next())).collect()
}

const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
