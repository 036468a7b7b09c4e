use super::*;
use chrono::DateTime;
use procurify_token_protocol::AccessToken;

const LIFE: i64 = 3600;

fn acme() -> CredentialName {
    "acme".parse().unwrap()
}

fn print(number: u8) -> Fingerprint {
    Fingerprint::from_bytes([number; 8])
}

/// A token that ends at this second of the wall clock.
fn grant(number: u8, ends: i64) -> TokenGrant {
    let ends = DateTime::from_timestamp(ends, 0).unwrap();
    let token = AccessToken::new("abc".into(), print(number), ends).unwrap();
    TokenGrant { token: token.into(), base_url: "https://acme.procurify.com".parse().unwrap() }
}

fn news(token: Option<TokenGrant>) -> Watched {
    Watched { revision: 1, token, refusal: None }
}

fn at(boot: u64) -> Now {
    Now::invented(boot, i64::try_from(boot).unwrap())
}

/// With a token that is watched and lives for an hour from second 0 on.
fn watched() -> Cache {
    let mut cache = Cache::default();
    assert!(cache.admit(&acme(), at(0).boot));
    cache.told(&acme(), news(Some(grant(1, LIFE))), at(0));
    cache
}

fn found(cache: &Cache, min_ttl: u64, boot: u64) -> Option<Fingerprint> {
    cache.find(&acme(), Duration::from_secs(min_ttl), at(boot).boot).map(|token| token.fingerprint())
}

fn spare(cache: &Cache, boot: u64) -> Option<Fingerprint> {
    cache.spare(&acme(), at(boot).boot).map(|token| token.fingerprint())
}

#[test]
fn a_token_is_handed_out_while_it_lives_long_enough() {
    let mut cache = watched();
    assert_eq!(found(&cache, 0, 0), Some(print(1)));
    assert_eq!((found(&cache, 3600, 0), found(&cache, 3601, 0)), (Some(print(1)), None));
    cache.heard(&acme(), at(3599).boot);
    assert_eq!(
        (found(&cache, 0, 3599), found(&cache, 0, 3600)),
        (Some(print(1)), None),
        "never one that has ended"
    );
}

#[test]
fn silence_is_taken_for_consent_for_a_while_only() {
    let mut cache = watched();
    assert_eq!((found(&cache, 0, 329), found(&cache, 0, 330)), (Some(print(1)), None), "as after a suspend");
    let learned = cache.learned(&acme(), grant(1, LIFE), cache.news(&acme()), at(330));
    assert_eq!((learned.fingerprint(), found(&cache, 0, 331)), (print(1), Some(print(1))));
}

#[test]
fn a_wall_clock_that_is_set_makes_no_token_live_longer() {
    let mut cache = watched();
    let set_back = Now::invented(3000, 0);
    cache.told(&acme(), news(Some(grant(1, LIFE))), set_back);
    assert_eq!((found(&cache, 0, 3299), found(&cache, 600, 3001)), (Some(print(1)), None));
    cache.heard(&acme(), at(3599).boot);
    assert_eq!(found(&cache, 0, 3600), None, "its end is where it was reckoned first");
}

#[test]
fn what_a_watch_tells_takes_the_place_of_what_was_held() {
    let mut cache = watched();
    cache.told(&acme(), news(Some(grant(2, LIFE))), at(1));
    assert_eq!(found(&cache, 0, 1), Some(print(2)));
    cache.told(&acme(), news(None), at(2));
    assert_eq!((found(&cache, 0, 2), spare(&cache, 2)), (None, None));
}

#[test]
fn an_answer_that_news_have_overtaken_is_not_kept() {
    let mut cache = watched();
    let before = cache.news(&acme());
    cache.told(&acme(), news(None), at(1));
    assert_eq!(cache.learned(&acme(), grant(1, LIFE), before, at(1)).fingerprint(), print(1));
    assert_eq!(found(&cache, 0, 1), None);
    cache.learned(&acme(), grant(3, LIFE), cache.news(&acme()), at(1));
    assert_eq!(found(&cache, 0, 1), Some(print(3)));
}

#[test]
fn an_answer_is_not_kept_where_nobody_watches() {
    let mut cache = watched();
    cache.unwatch(&acme());
    cache.learned(&acme(), grant(2, LIFE), cache.news(&acme()), at(1));
    assert_eq!(found(&cache, 0, 1), None);
    let mut empty = Cache::default();
    empty.learned(&acme(), grant(2, LIFE), None, at(1));
    assert_eq!(found(&empty, 0, 1), None);
}

#[test]
fn a_refused_token_is_dropped_and_no_other() {
    let mut cache = watched();
    cache.refuse(&acme(), print(9));
    assert_eq!(found(&cache, 0, 1), Some(print(1)));
    cache.refuse(&acme(), print(1));
    assert_eq!((found(&cache, 0, 1), spare(&cache, 1)), (None, None));
    cache.told(&acme(), news(Some(grant(1, LIFE))), at(1));
    cache.learned(&acme(), grant(1, LIFE), cache.news(&acme()), at(1));
    assert_eq!(found(&cache, 0, 1), None, "the daemon keeps it, and is asked each time");
    cache.told(&acme(), news(Some(grant(2, LIFE))), at(2));
    assert_eq!(found(&cache, 0, 2), Some(print(2)));
}

#[test]
fn a_broken_connection_leaves_a_spare_for_a_while() {
    let mut cache = watched();
    cache.unwatch(&acme());
    assert_eq!((found(&cache, 0, 1), spare(&cache, 1)), (None, Some(print(1))));
    assert_eq!((spare(&cache, 599), spare(&cache, 600)), (Some(print(1)), None));
    cache.forget(&acme());
    assert_eq!(spare(&cache, 1), None);
}

#[test]
fn what_the_daemon_denies_is_no_spare_and_a_watch_keeps_its_place() {
    let mut cache = watched();
    let before = cache.news(&acme());
    cache.deny(&acme());
    assert_eq!((found(&cache, 0, 1), spare(&cache, 1), cache.is_watched(&acme())), (None, None, true));
    cache.learned(&acme(), grant(1, LIFE), before, at(1));
    assert_eq!(found(&cache, 0, 1), None, "asked for before it was denied");
    cache.learned(&acme(), grant(1, LIFE), cache.news(&acme()), at(1));
    assert_eq!(found(&cache, 0, 1), Some(print(1)));
    cache.unwatch(&acme());
    cache.deny(&acme());
    assert_eq!((spare(&cache, 1), cache.news(&acme())), (None, None));
}

#[test]
fn there_are_places_for_so_many_and_the_unwatched_make_room() {
    let mut cache = Cache::default();
    let name = |number: usize| format!("acme/{number}").parse::<CredentialName>().unwrap();
    for number in 0..MOST_WATCHED {
        assert!(cache.admit(&name(number), at(0).boot));
        cache.told(&name(number), news(None), at(0));
    }
    assert!(!cache.admit(&name(MOST_WATCHED), at(0).boot));
    assert!(cache.admit(&name(3), at(0).boot), "it is there already");
    cache.unwatch(&name(3));
    assert!(cache.admit(&name(MOST_WATCHED), at(0).boot));
    assert!(!cache.is_watched(&name(3)) && cache.is_watched(&name(4)));
}
