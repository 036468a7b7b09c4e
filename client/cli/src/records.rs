//! Credentials as lines of text: what `export` writes, and what `import` reads.
//!
//! An export is lines of JSON: first `{"format":"procurify-token export","version":1}`, then an object for each credential.
//! `import` reads that, the same without the first line, and CSV with a header of the same names. What is wrong with a
//! line is told by its number and the field, and never by what it holds: that may be a secret. A little long, because what is
//! written has to be what is read.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Read as _;

use chrono::{DateTime, Utc};
use procurify_token_protocol::{
    Audience, BaseUrl, BodyEncoding, ClientSecret, CredentialCopy, CredentialName, NewCredential, PairCopy,
    TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::exit::{ExitCode, Failure};
use crate::when;

/// A credential, and the line that it stands on.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) line: u64,
    pub(crate) copy: CredentialCopy,
}

/// What is wrong, line by line.
#[derive(Debug, Default)]
pub(crate) struct Faults(BTreeMap<u64, String>);

impl Faults {
    pub(crate) fn add(&mut self, line: u64, what: String) {
        self.0.entry(line).or_insert(what);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, what) in self.0.iter().take(MOST_SHOWN) {
            writeln!(f, "  line {line}: {what}")?;
        }
        match self.0.len().checked_sub(MOST_SHOWN) {
            None | Some(0) => write!(f, "{} wrong in all", lines(self.0.len())),
            Some(more) => write!(f, "  and {} more; {} wrong in all", lines(more), lines(self.0.len())),
        }
    }
}

fn lines(count: usize) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

/// The first line of an export.
pub(crate) fn head() -> String {
    format!("{{\"format\":\"{FORMAT}\",\"version\":{VERSION}}}\n")
}

/// A credential with its secrets, on its line.
#[expect(clippy::disallowed_methods, reason = "an export is for whoever asked for the secrets")]
pub(crate) fn line(copy: &CredentialCopy) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let CredentialCopy { credential, added_at, staged, previous } = copy;
    let written = Written {
        name: credential.name.as_str(),
        client_id: credential.client_id.as_str(),
        client_secret: credential.client_secret.secret().expose_secret(),
        description: credential.description.as_str(),
        base_url: credential.base_url.as_str(),
        token_url: credential.token_url.as_str(),
        audience: credential.audience.as_str(),
        body_encoding: match credential.body_encoding {
            BodyEncoding::Json => "json",
            BodyEncoding::Form => "form",
        },
        added_at: added_at.map(when::stamp),
        staged: staged.as_ref().map(WrittenPair::of),
        previous: previous.as_ref().map(WrittenPair::of),
    };
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
    serde_json::to_writer(&mut *line, &written)
        .map_err(|_| Failure::new(ExitCode::Other, format!("{} cannot be written", credential.name)))?;
    line.push(b'\n');
    Ok(line)
}

/// All credentials in a file, or everything that is wrong with it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Record>, Faults> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let is_json = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let mut faults = Faults::default();
    let lines = if is_json { of_json(bytes, &mut faults) } else { of_csv(bytes, &mut faults) };
    let mut records = Vec::with_capacity(lines.len());
    let mut seen = HashMap::new();
    for (line, read) in lines {
        match read.credential() {
            Ok(copy) => {
                let name = copy.credential.name.clone();
                if let Some(first) = seen.insert(name.clone(), line) {
                    faults.add(line, format!("{name} stands on line {first} already"));
                }
                records.push(Record { line, copy });
            }
            Err(what) => faults.add(line, what),
        }
    }
    if faults.is_empty() { Ok(records) } else { Err(faults) }
}

fn of_json(bytes: &[u8], faults: &mut Faults) -> Vec<(u64, Read)> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if lines.is_empty()
            && let Ok(Head { format, version }) = serde_json::from_slice(line)
        {
            if format != FORMAT || version != VERSION {
                let known = format!(
                    "this is not a {FORMAT} of version {VERSION}, the newest that this command reads"
                );
                faults.add(number, known);
                return Vec::new();
            }
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(read) => lines.push((number, read)),
            Err(error) => {
                let what = match error.classify() {
                    serde_json::error::Category::Data => {
                        "a field is missing (name, client_id and client_secret are needed), unknown, there twice, or no text"
                    }
                    _ => "this is not a JSON object on one line",
                };
                faults.add(number, format!("{what}, before column {}", error.column().max(1)));
            }
        }
    }
    lines
}

fn of_csv(bytes: &[u8], faults: &mut Faults) -> Vec<(u64, Read)> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(bytes);
    let Ok(header) = reader.headers() else {
        faults.add(1, "this is neither CSV with a header nor JSON".to_owned());
        return Vec::new();
    };
    let header: Vec<String> = header.iter().map(str::to_owned).collect();
    let known = |name: &String| FIELDS.contains(&name.as_str());
    let missing: Vec<_> =
        FIELDS[..NEEDED].iter().filter(|field| !header.iter().any(|name| name == *field)).collect();
    let odd = header.iter().filter(|name| !known(name)).count();
    let twice = header.iter().enumerate().any(|(at, name)| header[..at].contains(name));
    if !missing.is_empty() || odd > 0 || twice {
        // What stands there may be a secret, where somebody has left the header out.
        let what = format!(
            "the header has to name name, client_id and client_secret, and may name {}, each once: {} of these are missing, \
             and {odd} others are there",
            FIELDS[NEEDED..].join(", "),
            missing.len()
        );
        faults.add(1, what);
        return Vec::new();
    }
    let mut lines = Vec::new();
    let mut lines_of = LineCounter { bytes, at: 0, line: 1 };
    // To the reader, a quotation that nobody closes ends with the file, and what was cut off is whole. It swallows this line then.
    let end = format!("\n{}\n", ",".repeat(header.len() - 1));
    let mut reader = csv::Reader::from_reader(bytes.chain(end.as_bytes()));
    let mut last = 1;
    for record in reader.records() {
        let at = record.as_ref().map_or_else(csv::Error::position, csv::StringRecord::position);
        let line = lines_of.line_at(at);
        if lines_of.is_at_end() {
            return lines;
        }
        last = line;
        match record {
            Ok(record) => {
                let mut read = Read::default();
                for (name, value) in header.iter().zip(&record) {
                    read.put(name, value);
                }
                lines.push((line, read));
            }
            Err(error) => {
                let what = match error.kind() {
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        format!("there are {len} fields, and the header has {expected_len}")
                    }
                    csv::ErrorKind::Utf8 { .. } => "this is not UTF-8".to_owned(),
                    _ => "this cannot be read as CSV".to_owned(),
                };
                faults.add(line, what);
            }
        }
    }
    faults.add(
        last,
        "a quotation mark is opened here and never closed, so the end of the file may be missing".to_owned(),
    );
    lines
}

/// Tells on which line a record begins: the reader's own count stops at the empty lines before it.
struct LineCounter<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl LineCounter<'_> {
    /// Whether nothing is left of the file.
    fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn line_at(&mut self, position: Option<&csv::Position>) -> u64 {
        let start = position.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(self.at);
        let is_within =
            |at: usize| self.bytes.get(at).is_some_and(|byte| at < start || b"\r\n".contains(byte));
        let mut at = self.at;
        while is_within(at) {
            self.line += u64::from(self.bytes[at] == b'\n');
            at += 1;
        }
        self.at = at;
        self.line
    }
}

/// A line as it was read. What is not there, or empty, is as `add` would have it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    name: String,
    client_id: String,
    client_secret: SecretText,
    #[serde(default)]
    description: String,
    #[serde(default)]
    base_url: String,
    #[serde(default)]
    token_url: String,
    #[serde(default)]
    audience: String,
    #[serde(default)]
    body_encoding: String,
    added_at: Option<DateTime<Utc>>,
    staged: Option<ReadPair>,
    previous: Option<ReadPair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadPair {
    client_id: String,
    client_secret: SecretText,
}

#[derive(Deserialize)]
struct SecretText(SecretString);

impl Default for SecretText {
    fn default() -> Self {
        Self(String::new().into())
    }
}

impl Read {
    fn put(&mut self, field: &str, value: &str) {
        let value = value.trim();
        match field {
            "name" => value.clone_into(&mut self.name),
            "client_id" => value.clone_into(&mut self.client_id),
            "client_secret" => self.client_secret = SecretText(value.into()),
            "description" => value.clone_into(&mut self.description),
            "base_url" => value.clone_into(&mut self.base_url),
            "token_url" => value.clone_into(&mut self.token_url),
            "audience" => value.clone_into(&mut self.audience),
            "body_encoding" => value.clone_into(&mut self.body_encoding),
            _ => unreachable!("the header was looked at"),
        }
    }

    fn credential(self) -> Result<CredentialCopy, String> {
        let name = CredentialName::from_pasted(&self.name).map_err(|error| format!("name: {error}"))?;
        let base_url = match self.base_url.as_str() {
            "" => BaseUrl::of_domain(&name.domain()),
            text => text.parse().map_err(|error| format!("base_url: {error}"))?,
        };
        let token_url = match self.token_url.as_str() {
            "" => TokenUrl::below(&base_url),
            text => text.parse().map_err(|error| format!("token_url: {error}"))?,
        };
        let audience = match self.audience.as_str() {
            "" => Audience::default(),
            text => text.parse().map_err(|error| format!("audience: {error}"))?,
        };
        let body_encoding = match self.body_encoding.as_str() {
            "" | "json" => BodyEncoding::Json,
            "form" => BodyEncoding::Form,
            _ => return Err("body_encoding: write json or form".to_owned()),
        };
        let current = pair(&self.client_id, &self.client_secret)?;
        let others = |which: &str, other: Option<ReadPair>| {
            other
                .map(|other| pair(&other.client_id, &other.client_secret))
                .transpose()
                .map_err(|what| format!("{which}: {what}"))
        };
        Ok(CredentialCopy {
            staged: others("staged", self.staged)?,
            previous: others("previous", self.previous)?,
            added_at: self.added_at,
            credential: NewCredential {
                description: self.description.parse().map_err(|error| format!("description: {error}"))?,
                name,
                client_id: current.client_id,
                client_secret: current.client_secret,
                base_url,
                token_url,
                audience,
                body_encoding,
            },
        })
    }
}

fn pair(client_id: &str, SecretText(client_secret): &SecretText) -> Result<PairCopy, String> {
    Ok(PairCopy {
        client_id: client_id.parse().map_err(|error| format!("client_id: {error}"))?,
        client_secret: ClientSecret::new(client_secret).map_err(|error| format!("client_secret: {error}"))?,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    version: u32,
}

#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    client_id: &'a str,
    client_secret: &'a str,
    description: &'a str,
    base_url: &'a str,
    token_url: &'a str,
    audience: &'a str,
    body_encoding: &'static str,
    added_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    staged: Option<WrittenPair<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<WrittenPair<'a>>,
}

#[derive(Serialize)]
struct WrittenPair<'a> {
    client_id: &'a str,
    client_secret: &'a str,
}

impl<'a> WrittenPair<'a> {
    #[expect(clippy::disallowed_methods, reason = "an export is for whoever asked for the secrets")]
    fn of(pair: &'a PairCopy) -> Self {
        Self {
            client_id: pair.client_id.as_str(),
            client_secret: pair.client_secret.secret().expose_secret(),
        }
    }
}

const FORMAT: &str = "procurify-token export";
const VERSION: u32 = 1;
/// Those of a CSV file; the first three are needed.
const FIELDS: [&str; 8] = [
    "name",
    "client_id",
    "client_secret",
    "description",
    "base_url",
    "token_url",
    "audience",
    "body_encoding",
];
const NEEDED: usize = 3;
const MOST_SHOWN: usize = 20;
/// Longer than what any credential takes, so that the buffer never grows and leaves a copy behind.
const LONGEST_LINE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    fn faults(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_exported_is_imported_and_exported_again_the_same() {
        let file = head()
            + concat!(
                r#"{"name":"acme","client_id":"id","client_secret":"s\"1","description":"Größe","#,
                r#""base_url":"https://acme.procurify.com","token_url":"https://acme.procurify.com/oauth/token","#,
                r#""audience":"https://api.procurify.com/","body_encoding":"form","added_at":"2026-03-01T12:00:00Z","#,
                r#""staged":{"client_id":"id-2","client_secret":"s2"},"previous":{"client_id":"id-0","client_secret":"s0"}}"#,
                "\n"
            );
        let records = parse(file.as_bytes()).unwrap();
        assert_eq!(head() + text(&line(&records[0].copy).unwrap()), file);
        assert_eq!(records[0].line, 2);
    }

    #[test]
    fn three_columns_are_enough() {
        let csv = "\u{feff}client_id, name ,client_secret\r\nid,Acme.procurify.com,s1\r\n\r\n\"i\",globex/x,\"s,2\"\r\n";
        let records = parse(csv.as_bytes()).unwrap();
        let lines: Vec<_> =
            records.iter().map(|record| (record.line, record.copy.credential.name.as_str())).collect();
        assert_eq!(lines, [(2, "acme"), (4, "globex/x")]);
        assert!(text(&line(&records[1].copy).unwrap()).contains(r#""client_secret":"s,2""#));
    }

    #[test]
    fn every_bad_line_is_named_and_none_is_shown() {
        let csv = "name,client_id,client_secret\nacme,id,canary one\nb b,id,canary\nacme2,id\nok,id,canary\nok,id,canary\n";
        let shown = faults(csv);
        for named in [
            "line 2: client_secret",
            "line 3: name",
            "line 4: there are 2 fields",
            "line 6: ok stands on line 5",
        ] {
            assert!(shown.contains(named), "{named} in\n{shown}");
        }
        assert!(shown.ends_with("4 lines wrong in all") && !shown.contains("canary"), "{shown}");

        let json = "{\"name\":\"acme\",\"client_id\":\"id\",\"client_secret\":3}\n{\"canary\":1}\n{\"name\":\"canary\n";
        let shown = faults(json);
        for named in ["line 1: a field", "line 2: a field", "line 3: this is not a JSON object"] {
            assert!(shown.contains(named), "{named} in\n{shown}");
        }
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_file_that_ends_within_quotation_marks_is_not_taken_for_whole() {
        let head = "name,client_id,client_secret\nacme,id,\"s1\"\n";
        for (rest, line) in [("beta,id,\"canary", 3), ("\nbeta,id,\"canary\ngamma,id,s3\n", 4), ("\"", 3)] {
            let shown = faults(&format!("{head}{rest}"));
            assert!(shown.contains(&format!("line {line}: ")) && !shown.contains("canary"), "{shown}");
        }
        for rest in ["", "\n\n", "beta,id,\"s2\"", "beta,id,s\"2\r\n\r\n"] {
            parse(format!("{head}{rest}").as_bytes()).unwrap_or_else(|faults| panic!("{rest:?}: {faults}"));
        }
    }

    #[test]
    fn a_file_without_a_header_shows_nothing_of_its_first_line() {
        let shown = faults("acme,id,canary-secret\n");
        assert!(shown.contains("line 1: the header") && !shown.contains("canary"), "{shown}");
        let newer = head().replace(":1}", ":2}");
        assert!(faults(&newer).contains("line 1: this is not a procurify-token export of version 1"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_text_with_a_header_is_read_or_refused(rest in "[a-z,\"\n\r{}:]{0,200}") {
            let _ = parse(format!("name,client_id,client_secret\n{rest}").as_bytes());
            let _ = parse(format!("{{{rest}").as_bytes());
        }
    }
}
