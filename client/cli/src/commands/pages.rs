//! Where a page of an answer says that the next one is. Knows Procurify's two shapes; fetches nothing.

use std::collections::HashSet;

use serde_json::Value;

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

    /// The address behind this page, if there is one.
    pub(super) fn next(&mut self, page: &[u8]) -> Result<Option<String>, Failure> {
        let page: Value = serde_json::from_slice(page).map_err(|_| {
            Failure::new(ExitCode::ApiError, "a page is not JSON, so it does not say where the next one is")
        })?;
        let next = page.pointer("/metadata/pagination/next").or_else(|| page.get("next"));
        let Some(next) = next.and_then(Value::as_str) else { return Ok(None) };
        if !is_same_origin(&self.base, next) {
            let message = format!(
                "the next page is said to be at {next}, which is not {}: it is not followed",
                self.base
            );
            return Err(Failure::new(ExitCode::ApiError, message));
        }
        if !self.seen.insert(next.to_owned()) {
            return Err(Failure::new(
                ExitCode::ApiError,
                format!("the pages lead in a circle, back to {next}"),
            ));
        }
        Ok(Some(next.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const BASE: &str = "https://acme.procurify.com";

    fn next(page: &str) -> Result<Option<String>, Failure> {
        Pages::new(BASE, "https://acme.procurify.com/api/v3/vendors/").next(page.as_bytes())
    }

    #[rstest]
    #[case(r#"{"metadata":{"pagination":{"next":"https://acme.procurify.com/p?page=2"}}}"#)]
    #[case(r#"{"count":3,"next":"https://acme.procurify.com/p?page=2","results":[]}"#)]
    fn both_shapes_are_understood(#[case] page: &str) {
        assert_eq!(next(page).unwrap().as_deref(), Some("https://acme.procurify.com/p?page=2"));
    }

    #[rstest]
    #[case(r#"{"metadata":{"pagination":{"next":null}}}"#)]
    #[case(r#"{"data":[]}"#)]
    #[case("[1, 2]")]
    fn the_last_page_has_no_next(#[case] page: &str) {
        assert_eq!(next(page).unwrap(), None);
    }

    #[rstest]
    #[case(r#"{"next":"https://evil.example/p?page=2"}"#)]
    #[case(r#"{"next":"http://acme.procurify.com/p?page=2"}"#)]
    #[case(r#"{"next":"/p?page=2"}"#)]
    #[case("<html>")]
    fn a_page_that_leads_away_is_refused(#[case] page: &str) {
        assert!(matches!(next(page), Err(Failure::Told { code: ExitCode::ApiError, .. })));
    }

    #[test]
    fn a_circle_ends() {
        let page = br#"{"next":"https://acme.procurify.com/p?page=2"}"#;
        let mut pages = Pages::new(BASE, "https://acme.procurify.com/p");
        assert!(pages.next(page).unwrap().is_some());
        assert!(pages.next(page).is_err());
    }
}
