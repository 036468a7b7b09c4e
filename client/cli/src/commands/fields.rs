//! `-f KEY=VALUE` and `-F KEY=VALUE` of `api`: the members of a JSON object, or of a query where a request has no body.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value};

use crate::args::FieldArgs;
use crate::exit::{ExitCode, Failure};

/// The members, where there are any.
pub(super) fn read(args: &FieldArgs) -> Result<Option<Map<String, Value>>, Failure> {
    let mut fields = Map::new();
    let raw = args.raw.iter().map(|field| (field, false));
    for (field, is_typed) in raw.chain(args.typed.iter().map(|field| (field, true))) {
        let (key, text) = field.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
            wrong(format!("{field:?} is no field")).hint("write KEY=VALUE, such as -f name='New vendor'")
        })?;
        let value = if is_typed { typed(key, text)? } else { Value::from(text) };
        if fields.insert(key.to_owned(), value).is_some() {
            return Err(wrong(format!("the field {key} is there twice")));
        }
    }
    Ok((!fields.is_empty()).then_some(fields))
}

/// A path with the members in its query.
pub(super) fn in_query(path: &str, fields: &Map<String, Value>) -> String {
    let mut path = path.to_owned();
    for (key, value) in fields {
        path.push(if path.contains('?') { '&' } else { '?' });
        escape(&mut path, key);
        path.push('=');
        match value {
            Value::String(text) => escape(&mut path, text),
            other => escape(&mut path, &other.to_string()),
        }
    }
    path
}

fn typed(key: &str, text: &str) -> Result<Value, Failure> {
    if let Some(path) = text.strip_prefix('@') {
        let text = fs::read_to_string(path).map_err(|error| wrong(format!("{path}, for {key}: {error}")))?;
        return Ok(Value::from(text));
    }
    match serde_json::from_str(text) {
        // Read as the nearest number that fits, which is another one.
        Ok(Value::Number(number))
            if number.is_f64() && text.bytes().all(|b| b.is_ascii_digit() || b == b'-') =>
        {
            Err(wrong(format!("{key}: the number has too many digits"))
                .hint(format!("-f {key}={text} sends it as a string")))
        }
        Ok(value) => Ok(value),
        Err(_) => Ok(Value::from(text)),
    }
}

/// RFC 3986 §2.1.
fn escape(into: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

fn wrong(why: String) -> Failure {
    Failure::new(ExitCode::Usage, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(raw: &[&str], typed: &[&str]) -> Result<Map<String, Value>, Failure> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        read(&FieldArgs { raw: owned(raw), typed: owned(typed) }).map(Option::unwrap_or_default)
    }

    #[test]
    fn a_raw_field_is_a_string_and_a_typed_one_what_json_makes_of_it() {
        let fields = fields(
            &["name=New vendor", "zip=01234", "eq=a=b", "n=5"],
            &["active=true", "amount=1.50", "tags=[\"a\",2]", "code=01234", "note=plain text", "none=null"],
        );
        let expected = r#"{"active":true,"amount":1.5,"code":"01234","eq":"a=b","n":"5","name":"New vendor","none":null,"note":"plain text","tags":["a",2],"zip":"01234"}"#;
        assert_eq!(serde_json::to_string(&fields.unwrap()).unwrap(), expected);
        assert!(fields_is_none());
    }

    fn fields_is_none() -> bool {
        read(&FieldArgs::default()).unwrap().is_none()
    }

    #[test]
    fn a_file_is_read_as_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note");
        fs::write(&path, "5\n").unwrap();
        let word = format!("note=@{}", path.display());
        assert_eq!(fields(&[], &[&word]).unwrap()["note"], "5\n");
        assert_eq!(fields(&[&word], &[]).unwrap()["note"], word[5..]);
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for (raw, typed) in [
            (&["name"][..], &[][..]),
            (&["=x"], &[]),
            (&["a=1", "a=2"], &[]),
            (&["a=1"], &["a=2"]),
            (&[], &["a=@/nonexistent"]),
            (&[], &["a=123456789012345678901234567890"]),
        ] {
            assert!(
                matches!(fields(raw, typed), Err(Failure::Told { code: ExitCode::Usage, .. })),
                "{raw:?}"
            );
        }
    }

    #[test]
    fn a_query_is_escaped() {
        let fields = fields(&["q=a b&c=ä"], &["page=2"]).unwrap();
        assert_eq!(in_query("/a/", &fields), "/a/?page=2&q=a%20b%26c%3D%C3%A4");
        assert_eq!(in_query("/a/?x=1", &fields), "/a/?x=1&page=2&q=a%20b%26c%3D%C3%A4");
    }
}
