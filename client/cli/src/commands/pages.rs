//! Where a page of an answer says that the next one is: by its address, or by its number among so many. Knows Procurify's shapes;
//! fetches nothing, and holds no more of a page than these few members of it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{BufReader, Read};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::exit::{ExitCode, Failure};
use crate::http::is_same_origin;

/// The pages of one answer, as they are walked through.
#[derive(Debug)]
pub(super) struct Pages {
    base: String,
    seen: HashSet<String>,
}

impl Pages {
    /// Begins at `first`; no page may lead away from the origin of `base`.
    pub(super) fn new(base: &str, first: &str) -> Self {
        Self { base: base.to_owned(), seen: HashSet::from([first.to_owned()]) }
    }

    /// The address behind this page, if there is one. Reads the page as far as it is JSON.
    pub(super) fn next(&mut self, address: &str, page: impl Read) -> Result<Option<String>, Failure> {
        let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 * 1024, page));
        let page = Sketch::deserialize(&mut json).and_then(|page| json.end().map(|()| page));
        let page = page.map_err(|_| {
            Failure::new(ExitCode::ApiError, "a page is not JSON, so it does not say where the next one is")
        })?;
        let Some(next) = following(&page, address) else { return Ok(None) };
        if !is_same_origin(&self.base, &next) {
            let message = format!(
                "the next page is said to be at {next}, which is not {}: it is not followed",
                self.base
            );
            return Err(Failure::new(ExitCode::ApiError, message));
        }
        if !self.seen.insert(next.clone()) {
            return Err(Failure::new(
                ExitCode::ApiError,
                format!("the pages lead in a circle, back to {next}"),
            ));
        }
        Ok(Some(next))
    }
}

fn following(page: &Sketch, address: &str) -> Option<String> {
    let pagination =
        page.member("metadata").and_then(|metadata| metadata.member("pagination")).unwrap_or(page);
    match pagination.member("next") {
        Some(Sketch::Text(next)) => return Some(next.clone()),
        // It says that there is none.
        Some(_) => return None,
        None => {}
    }
    let number = |name| match pagination.member(name) {
        Some(Sketch::Number(number)) => Some(*number),
        _ => None,
    };
    let (current, last) = (number("current_page").or_else(|| number("page"))?, number("num_pages")?);
    (current < last).then(|| with_page(address, current + 1))
}

/// The same address, with another number of a page in its query.
fn with_page(address: &str, number: u64) -> String {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let others =
        query.split('&').filter(|pair| !pair.is_empty() && *pair != "page" && !pair.starts_with("page="));
    let mut pairs: Vec<_> = others.map(str::to_owned).collect();
    pairs.push(format!("page={number}"));
    format!("{path}?{}", pairs.join("&"))
}

/// Of a page only what may lead on.
#[derive(Debug)]
enum Sketch {
    Object(HashMap<String, Sketch>),
    Text(String),
    Number(u64),
    Other,
}

impl Sketch {
    fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(name),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Sketching)
    }
}

struct Sketching;

impl<'de> Visitor<'de> for Sketching {
    type Value = Sketch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sketch, A::Error> {
        let mut members = HashMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if LEADING_ON.contains(&name.as_str()) {
                members.insert(name, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Sketch::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sketch, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Sketch::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Sketch, E> {
        Ok(Sketch::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Sketch, E> {
        Ok(Sketch::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Sketch, E> {
        Ok(Sketch::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Sketch, E> {
        Ok(Sketch::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Sketch, E> {
        Ok(Sketch::Other)
    }

    fn visit_unit<E>(self) -> Result<Sketch, E> {
        Ok(Sketch::Other)
    }
}

const LEADING_ON: [&str; 6] = ["metadata", "pagination", "next", "num_pages", "current_page", "page"];

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const BASE: &str = "https://acme.procurify.com";
    const FIRST: &str = "https://acme.procurify.com/api/v3/vendors/?page_size=5";

    fn next(page: &str) -> Result<Option<String>, Failure> {
        Pages::new(BASE, FIRST).next(FIRST, page.as_bytes())
    }

    #[rstest]
    #[case(r#"{"metadata":{"pagination":{"next":"https://acme.procurify.com/p?page=2"}}}"#)]
    #[case(r#"{"count":3,"next":"https://acme.procurify.com/p?page=2","results":[{"next":"x"}]}"#)]
    fn the_next_address_is_found_in_both_shapes(#[case] page: &str) {
        assert_eq!(next(page).unwrap().as_deref(), Some("https://acme.procurify.com/p?page=2"));
    }

    #[rstest]
    #[case(r#"{"metadata":{"pagination":{"current_page":1,"num_pages":3}},"data":[]}"#)]
    #[case(r#"{"data":[{"page":9}],"page":1,"num_pages":3}"#)]
    fn where_there_is_no_address_the_number_leads_on(#[case] page: &str) {
        assert_eq!(next(page).unwrap().unwrap(), format!("{FIRST}&page=2"));
    }

    #[test]
    fn a_number_takes_the_place_of_the_one_before() {
        assert_eq!(with_page("https://a/?page=1&x=page", 2), "https://a/?x=page&page=2");
        assert_eq!(with_page("https://a/?page_size=5&page=12", 13), "https://a/?page_size=5&page=13");
        assert_eq!(with_page("https://a/", 2), "https://a/?page=2");
    }

    #[rstest]
    #[case(r#"{"metadata":{"pagination":{"next":null,"current_page":1,"num_pages":3}}}"#)]
    #[case(r#"{"metadata":{"pagination":{"current_page":3,"num_pages":3}}}"#)]
    #[case(r#"{"metadata":{"pagination":{"current_page":-1,"num_pages":3}}}"#)]
    #[case(r#"{"metadata":"none","data":[1.5,true,null,-1,{"a":{}}]}"#)]
    #[case("[1, 2]")]
    fn the_last_page_has_no_next(#[case] page: &str) {
        assert_eq!(next(page).unwrap(), None);
    }

    #[rstest]
    #[case(r#"{"next":"https://evil.example/p?page=2"}"#)]
    #[case(r#"{"next":"http://acme.procurify.com/p?page=2"}"#)]
    #[case(r#"{"next":"/p?page=2"}"#)]
    #[case("<html>")]
    #[case("{}{}")]
    #[case(r#"{"data":[1"#)]
    fn a_page_that_leads_away_is_refused(#[case] page: &str) {
        assert!(matches!(next(page), Err(Failure::Told { code: ExitCode::ApiError, .. })));
    }

    #[test]
    fn a_circle_ends() {
        let page = br#"{"next":"https://acme.procurify.com/p?page=2"}"#;
        let mut pages = Pages::new(BASE, "https://acme.procurify.com/p");
        assert!(pages.next(FIRST, &page[..]).unwrap().is_some());
        assert!(pages.next(FIRST, &page[..]).is_err());
    }
}
