//! Reading Rust by hand, as far as the rules need it: code without comments, texts and tests, and the paths in it.
//!
//! It knows no rule. It is no parser either: it relies on the code being formatted and compiled.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One source file of the product.
pub(crate) struct Source {
    /// From the workspace's root, such as `daemon/src/vault/seal.rs`.
    pub(crate) path: String,
    /// As it stands on the disk.
    pub(crate) text: String,
    /// Without comments, without what stands in quotes and without tests; line for line as in `text`.
    pub(crate) code: String,
    /// Every path that the code names, from its first segment on: `crate::vault::Vault`, `std::fs::File`.
    pub(crate) paths: BTreeSet<String>,
}

impl Source {
    /// The sources below `folder` (`daemon/src`), without those files that are tests.
    pub(crate) fn of_folder(folder: &str) -> Vec<Self> {
        let mut files = Vec::new();
        collect(&root().join(folder), &mut files);
        files.sort();
        let sources: Vec<(Self, Vec<String>)> =
            files.iter().map(|file| Self::read(folder, &shown(file))).collect();
        let tests: BTreeSet<String> = sources.iter().flat_map(|(_, tests)| tests.iter().cloned()).collect();
        sources.into_iter().map(|(source, _)| source).filter(|source| !tests.contains(&source.path)).collect()
    }

    fn read(folder: &str, path: &str) -> (Self, Vec<String>) {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let (code, test_modules) = without_tests(&bare(&text));
        let module = module_of(folder, path);
        let paths = paths(&code).into_iter().map(|path| absolute(&path, &module)).collect();
        let tests = test_modules.iter().map(|name| child_file(path, name)).collect();
        (Self { path: path.to_owned(), text, code, paths }, tests)
    }

    /// The room of its crate in which it stands: `vault` for `vault/seal.rs`, `cli` for `cli.rs`.
    pub(crate) fn room(&self, folder: &str) -> &str {
        let inner = self.path.strip_prefix(folder).unwrap().trim_start_matches('/');
        inner.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// How many lines of it are code.
    pub(crate) fn code_lines(&self) -> usize {
        self.code.lines().filter(|line| !line.trim().is_empty()).count()
    }

    /// The `//!` lines at its top.
    pub(crate) fn header(&self) -> String {
        self.text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join(" ")
    }
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Code with its comments and the contents of its texts blanked; every line keeps its place.
pub(crate) fn bare(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = if rest.starts_with(b"//") {
            rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment(rest)
        } else if let Some(length) = raw_text(rest, bytes[..at].last().copied()) {
            length
        } else if rest[0] == b'"' {
            quoted(rest, b'"')
        } else if rest[0] == b'\'' && is_character(rest) {
            quoted(rest, b'\'')
        } else {
            out.push(rest[0]);
            at += 1;
            continue;
        };
        out.extend(rest[..length].iter().map(|&b| if b == b'\n' { b'\n' } else { b' ' }));
        at += length;
    }
    String::from_utf8(out).unwrap()
}

/// Code without what stands under `#[cfg(test)]`, and the names of the modules that stand in files of their own there.
pub(crate) fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut out = code.to_owned();
    let mut modules = Vec::new();
    while let Some(start) = out.find(TEST_MARK) {
        let after = start + TEST_MARK.len();
        let length = item_length(&out[after..]);
        let item = out[after..after + length].to_owned();
        if let Some(name) = item.trim_end().strip_suffix(';').and_then(|item| item.split("mod ").nth(1)) {
            modules.push(name.trim().to_owned());
        }
        let blank: String =
            out[start..after + length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..after + length, &blank);
    }
    (out, modules)
}

/// Every path in bare code, `use` trees unfolded.
pub(crate) fn paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = code;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        let before = rest[..start].chars().next_back();
        let tail = &rest[start..];
        let path: String = path_at(tail);
        let is_use = path == "use" && tail[3..].starts_with(char::is_whitespace);
        if is_use {
            let end = tail.find(';').unwrap_or(tail.len());
            unfold("", &tail[3..end].split_whitespace().collect::<Vec<_>>().join(" "), &mut found);
            rest = &tail[end..];
            continue;
        }
        // What stands behind a dot is a method, and behind a number a suffix.
        if path.contains("::") && !before.is_some_and(|c| c == '.' || c == ':' || c.is_ascii_digit()) {
            found.insert(path.clone());
        }
        rest = &tail[path.len()..];
    }
    found
}

fn path_at(text: &str) -> String {
    let end = |text: &str| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut length = end(text);
    while text[length..].starts_with("::") && text[length + 2..].starts_with(is_name_start) {
        length += 2 + end(&text[length + 2..]);
    }
    text[..length].to_owned()
}

fn unfold(prefix: &str, tree: &str, found: &mut BTreeSet<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap().trim();
        let path =
            if path == "self" { prefix.trim_end_matches("::").to_owned() } else { format!("{prefix}{path}") };
        if !path.is_empty() {
            found.insert(path);
        }
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..open].trim());
    let inner = &tree[open + 1..tree.rfind('}').unwrap()];
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    unfold(&prefix, &inner[start..at], found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// `super::x` and `self::x` of a module, from the crate on.
fn absolute(path: &str, module: &[String]) -> String {
    let mut segments = path.split("::").peekable();
    let mut base = module.to_vec();
    match segments.peek() {
        Some(&"self") => drop(segments.next()),
        Some(&"super") => {
            while segments.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        _ => return path.to_owned(),
    }
    let base = std::iter::once("crate".to_owned()).chain(base);
    base.chain(segments.map(str::to_owned)).collect::<Vec<_>>().join("::")
}

fn module_of(folder: &str, path: &str) -> Vec<String> {
    let inner = path.strip_prefix(folder).unwrap().trim_start_matches('/').trim_end_matches(".rs");
    let segments = inner.split('/').filter(|segment| !["mod", "lib", "main"].contains(segment));
    segments.map(str::to_owned).collect()
}

fn child_file(path: &str, name: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let folder = ["/mod", "/lib", "/main"].iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem);
    format!("{folder}/{name}.rs")
}

/// As far as the first `;` or the brace that closes, counted outside of brackets.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' if depth == 1 => return at + 1,
            ')' | ']' | '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_text(rest: &[u8], before: Option<u8>) -> Option<usize> {
    if before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return None;
    }
    let skipped = usize::from(rest.starts_with(b"b"));
    let tail = rest[skipped..].strip_prefix(b"r")?;
    let hashes = tail.iter().take_while(|&&b| b == b'#').count();
    if tail.get(hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &tail[hashes + 1..];
    let length = body.windows(end.len()).position(|window| window == end)?;
    Some(skipped + 1 + hashes + 1 + length + end.len())
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Whether a `'` begins a character, and not a lifetime.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(_) => {
            let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]);
            text.chars().nth(1) == Some('\'')
        }
        None => false,
    }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

const TEST_MARK: &str = "#[cfg(test)]";
