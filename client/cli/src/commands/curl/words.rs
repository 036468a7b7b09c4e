//! The words for curl: which of its options may stand beside a token, and where a path leads. Pure.
//!
//! What is not known to be harmless is refused, so that an option of a later curl is, too. Options are read as curl does: short ones may
//! stand together, with a value behind them; long ones have to be written in full.

use std::ffi::{OsStr, OsString};

use procurify_token_protocol::BaseUrl;

use crate::exit::{ExitCode, Failure};
use crate::http::is_same_origin;

/// Words that curl may be given beside a token.
#[derive(Debug)]
pub(super) struct Words {
    words: Vec<Word>,
    names_certificates: bool,
}

#[derive(Debug)]
enum Word {
    /// An option, or the value of one.
    Option(OsString),
    /// Where to.
    Address(String),
}

impl Words {
    /// Reads what was typed.
    pub(super) fn read(typed: &[OsString]) -> Result<Self, Failure> {
        let mut words = Self { words: Vec::new(), names_certificates: false };
        let mut typed = typed.iter();
        while let Some(word) = typed.next() {
            let text = word.to_str().unwrap_or_default();
            let last = if let Some(name) = text.strip_prefix("--") {
                Some(long(name)?)
            } else if let Some(letters) = text.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                short(letters)?
            } else {
                words.words.push(Word::Address(address(word)?));
                continue;
            };
            words.words.push(Word::Option(word.clone()));
            // The value of a short option may stand behind it in the same word.
            let Some(Known { name, takes_value: true, .. }) = last else { continue };
            words.names_certificates |= matches!(*name, "cacert" | "capath");
            let within = text.strip_prefix('-').filter(|_| !text.starts_with("--")).and_then(value_within);
            let value = if let Some(value) = within {
                OsString::from(value)
            } else {
                let next = typed.next();
                let value = next.ok_or_else(|| {
                    refused(format!("--{name}: its value is missing")).hint("curl --help all")
                })?;
                words.words.push(Word::Option(value.clone()));
                value.clone()
            };
            if *name == "header" {
                harmless_header(&value)?;
            }
            if !MAY_HAVE_LINES.iter().any(|prefix| name.starts_with(prefix)) {
                of_one_line(name, &value)?;
            }
        }
        if !words.words.iter().any(|word| matches!(word, Word::Address(_))) {
            return Err(refused("there is no path").hint("name one, such as /api/v3/vendors/"));
        }
        Ok(words)
    }

    /// The same with the addresses in full.
    pub(super) fn at(mut self, base: &BaseUrl) -> Result<Self, Failure> {
        for word in &mut self.words {
            let Word::Address(address) = word else { continue };
            if address.starts_with('/') {
                *address = base.join(address).map_err(|error| refused(format!("{address}: {error}")))?;
            } else if !is_same_origin(base.as_str(), address) || address.contains(['[', ']', '{', '}', '\\'])
            {
                return Err(refused(format!(
                    "{address} is not at {base}, and the token is sent nowhere else"
                ))
                .hint("give a path, such as /api/v3/vendors/"));
            }
        }
        Ok(self)
    }

    /// Whether they say which certificates to trust.
    pub(super) fn names_certificates(&self) -> bool {
        self.names_certificates
    }

    /// As arguments.
    pub(super) fn as_arguments(&self) -> impl Iterator<Item = &OsStr> {
        self.words.iter().map(|word| match word {
            Word::Option(word) => word.as_os_str(),
            Word::Address(address) => OsStr::new(address),
        })
    }
}

/// An option that may stand.
struct Known {
    letter: Option<char>,
    name: &'static str,
    takes_value: bool,
}

fn long(name: &str) -> Result<&'static Known, Failure> {
    let plain = name.strip_prefix("no-").filter(|plain| CAN_BE_TURNED_OFF.contains(plain)).unwrap_or(name);
    KNOWN.iter().find(|known| known.name == plain).ok_or_else(|| refused_option(&format!("--{name}")))
}

/// The last option of several letters, the only one that may take a value.
fn short(letters: &str) -> Result<Option<&'static Known>, Failure> {
    for letter in letters.chars() {
        let known = by_letter(letter).ok_or_else(|| refused_option(&format!("-{letter}")))?;
        if known.takes_value {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

/// What stands in a word of short options behind the one that takes a value.
fn value_within(letters: &str) -> Option<&str> {
    let (at, letter) = letters
        .char_indices()
        .find(|(_, letter)| by_letter(*letter).is_some_and(|known| known.takes_value))?;
    Some(&letters[at + letter.len_utf8()..]).filter(|value| !value.is_empty())
}

fn by_letter(letter: char) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.letter == Some(letter))
}

fn address(word: &OsStr) -> Result<String, Failure> {
    word.to_str().map(str::to_owned).ok_or_else(|| refused("an address is not text"))
}

/// A line end would begin another header or another request, as whom and where to nobody has looked at.
fn of_one_line(name: &str, value: &OsStr) -> Result<(), Failure> {
    if value.as_encoded_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err(refused(format!("--{name}: its value has a line end in it")).hint("leave it out"));
    }
    Ok(())
}

/// Headers that say where to or as whom are ours, and those in a file are not seen.
fn harmless_header(value: &OsStr) -> Result<(), Failure> {
    let text = value.to_str().ok_or_else(|| refused("a header is not text"))?;
    if text.starts_with('@') {
        return Err(
            refused("-H @FILE: what is in the file is not seen here").hint("give each header by itself")
        );
    }
    let name = text.split([':', ';']).next().unwrap_or_default().trim().to_ascii_lowercase();
    if text.contains(['\r', '\n']) || OUR_HEADERS.contains(&name.as_str()) {
        return Err(refused(format!("the header {name} is set by procurify-token")).hint("leave it out"));
    }
    Ok(())
}

fn refused_option(option: &str) -> Failure {
    let why = match option {
        "-L" | "--location" | "--location-trusted" => {
            "redirects are not followed with a token: it is for one host"
        }
        "-v" | "--verbose" | "--trace" | "--trace-ascii" | "--libcurl" => "it prints the token",
        "-k" | "--insecure" => "then anybody could be the server that gets the token",
        "-:" | "--next" | "--url" | "-K" | "--config" => "it could lead to another host",
        "-u" | "--user" | "-n" | "--netrc" | "--oauth2-bearer" => "the credentials are procurify-token's",
        _ => "it is not known to be harmless beside a token",
    };
    let hint = match option {
        "-v" | "--verbose" => "-i shows the headers of the answer",
        "-k" | "--insecure" => "--cacert FILE names the certificate to trust",
        "-L" | "--location" => "ask for the address that it leads to; paths of Procurify end in /",
        _ => "for all that curl can do: procurify-token get NAME --header | curl -H @- URL",
    };
    refused(format!("curl {option} is refused: {why}")).hint(hint)
}

fn refused(why: impl Into<String>) -> Failure {
    Failure::new(ExitCode::Usage, why)
}

/// Options whose values go into the body or to the terminal.
const MAY_HAVE_LINES: [&str; 4] = ["data", "form", "json", "write-out"];

const fn flag(letter: char, name: &'static str) -> Known {
    Known { letter: Some(letter), name, takes_value: false }
}

const fn long_flag(name: &'static str) -> Known {
    Known { letter: None, name, takes_value: false }
}

const fn value(letter: char, name: &'static str) -> Known {
    Known { letter: Some(letter), name, takes_value: true }
}

const fn long_value(name: &'static str) -> Known {
    Known { letter: None, name, takes_value: true }
}

const OUR_HEADERS: [&str; 4] = ["authorization", "host", "proxy-authorization", "x-procurify-client"];

/// Those of which people write `--no-…`.
const CAN_BE_TURNED_OFF: [&str; 6] =
    ["buffer", "clobber", "compressed", "keepalive", "progress-meter", "styled-output"];

/// None of them leads elsewhere, shows what is sent, or says as whom.
const KNOWN: &[Known] = &[
    value('X', "request"),
    value('H', "header"),
    value('d', "data"),
    long_value("data-ascii"),
    long_value("data-binary"),
    long_value("data-raw"),
    long_value("data-urlencode"),
    long_value("json"),
    long_value("url-query"),
    value('F', "form"),
    long_value("form-string"),
    value('T', "upload-file"),
    flag('G', "get"),
    flag('I', "head"),
    flag('i', "include"),
    long_flag("show-headers"),
    flag('f', "fail"),
    long_flag("fail-with-body"),
    long_flag("fail-early"),
    flag('s', "silent"),
    flag('S', "show-error"),
    flag('#', "progress-bar"),
    long_flag("progress-meter"),
    long_flag("styled-output"),
    value('o', "output"),
    flag('O', "remote-name"),
    long_flag("remote-name-all"),
    flag('J', "remote-header-name"),
    long_value("output-dir"),
    long_flag("create-dirs"),
    long_flag("remove-on-error"),
    long_flag("clobber"),
    value('D', "dump-header"),
    value('w', "write-out"),
    long_value("stderr"),
    value('m', "max-time"),
    long_value("connect-timeout"),
    long_value("retry"),
    long_value("retry-delay"),
    long_value("retry-max-time"),
    long_flag("retry-all-errors"),
    long_flag("retry-connrefused"),
    long_value("max-filesize"),
    long_value("limit-rate"),
    value('y', "speed-time"),
    value('Y', "speed-limit"),
    long_flag("compressed"),
    value('A', "user-agent"),
    value('r', "range"),
    value('C', "continue-at"),
    value('z', "time-cond"),
    flag('R', "remote-time"),
    long_value("etag-save"),
    long_value("etag-compare"),
    flag('N', "buffer"),
    flag('Z', "parallel"),
    long_value("parallel-max"),
    long_value("rate"),
    flag('g', "globoff"),
    long_flag("path-as-is"),
    long_value("cacert"),
    long_value("capath"),
    flag('0', "http1.0"),
    long_flag("http1.1"),
    long_flag("http2"),
    long_flag("tlsv1.2"),
    long_flag("tlsv1.3"),
    flag('4', "ipv4"),
    flag('6', "ipv6"),
    long_flag("keepalive"),
    long_value("keepalive-time"),
    long_flag("tcp-nodelay"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn read(line: &str) -> Result<Words, Failure> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Words::read(&words)?.at(&"https://acme.procurify.com".parse().unwrap())
    }

    #[rstest]
    #[case("/api/ -sS", "https://acme.procurify.com/api/ -sS")]
    #[case("-sSo out /api/?a=b", "-sSo out https://acme.procurify.com/api/?a=b")]
    #[case("-oout -d /etc/x /api/", "-oout -d /etc/x https://acme.procurify.com/api/")]
    #[case("-d -L --output --next /a", "-d -L --output --next https://acme.procurify.com/a")]
    #[case(
        "-XPOST --json {} /a /b",
        "-XPOST --json {} https://acme.procurify.com/a https://acme.procurify.com/b"
    )]
    #[case("https://acme.procurify.com/api/?page=2", "https://acme.procurify.com/api/?page=2")]
    #[case(
        "-H accept:text/csv --no-progress-meter -N /a",
        "-H accept:text/csv --no-progress-meter -N https://acme.procurify.com/a"
    )]
    fn harmless_words_stand(#[case] typed: &str, #[case] words: &str) {
        let read = read(typed).unwrap();
        let arguments: Vec<_> = read.as_arguments().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(arguments.join(" "), words);
    }

    #[rstest]
    #[case("/a -L")]
    #[case("/a -sSL")]
    #[case("/a --location")]
    #[case("/a --location-trusted")]
    #[case("/a --locatio")]
    #[case("/a --output=x")]
    #[case("/a --next")]
    #[case("/a -:")]
    #[case("/a --url https://evil.example/")]
    #[case("/a -K file")]
    #[case("/a -sK- ")]
    #[case("/a --config -")]
    #[case("/a -x http://evil.example")]
    #[case("/a --proxy http://evil.example")]
    #[case("/a --preproxy http://evil.example")]
    #[case("/a --connect-to ::evil.example:443")]
    #[case("/a --resolve acme.procurify.com:443:6.6.6.6")]
    #[case("/a --unix-socket /tmp/evil")]
    #[case("/a --doh-url https://evil.example/")]
    #[case("/a -k")]
    #[case("/a -v")]
    #[case("/a -sv")]
    #[case("/a --trace -")]
    #[case("/a --libcurl x.c")]
    #[case("/a -u a:b")]
    #[case("/a --netrc")]
    #[case("/a --")]
    #[case("/a -H Host:evil.example")]
    #[case("/a -Hhost:evil.example")]
    #[case("/a -sHHOST:evil.example")]
    #[case("/a --header Authorization:x")]
    #[case("/a -H Authorization;")]
    #[case("/a -H @file")]
    #[case("/a -A x\r\nHost:evil.example")]
    #[case("/a -r 1-\r\nHost:evil.example")]
    #[case("/a -X GET\nHost:evil.example")]
    #[case("/a -H a:b\nHost:evil.example")]
    #[case("/a https://evil.example/")]
    #[case("/a evil.example")]
    #[case("http://acme.procurify.com/")]
    #[case("https://acme.procurify.com@evil.example/")]
    #[case("https://acme.procurify.com.evil.example/")]
    #[case("https://acme.procurify.com/{a,b}")]
    #[case("https://{acme.procurify.com,evil.example}/")]
    #[case("//evil.example/")]
    #[case("/\\evil.example/")]
    #[case("-")]
    #[case("-s")]
    #[case("/a -o")]
    #[case("/a --no-location")]
    fn what_could_show_the_token_to_others_is_refused(#[case] typed: &str) {
        let failure = read(typed).unwrap_err();
        assert!(matches!(failure, Failure::Told { code: ExitCode::Usage, .. }), "{failure:?}");
    }

    #[test]
    fn no_letter_and_no_name_is_there_twice() {
        for (at, known) in KNOWN.iter().enumerate() {
            let before = &KNOWN[..at];
            let is_there = |other: &Known| {
                other.name == known.name || known.letter.is_some() && other.letter == known.letter
            };
            assert!(!before.iter().any(is_there), "{}", known.name);
        }
    }
}
