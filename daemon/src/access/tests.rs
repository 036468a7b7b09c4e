use std::time::Duration;

use procurify_token_protocol::RefreshMode;

use super::*;

const OWNER: u32 = 1000;
const EVE: u32 = 1001;

fn name(name: &str) -> CredentialName {
    name.parse().unwrap()
}

fn peer(uid: u32) -> Peer {
    Peer {
        user: Some(Principal::numbered(uid)),
        pid: Some(1),
        groups: vec![Principal::numbered(uid)],
        ..Peer::default()
    }
}

fn rule(who: Who, credentials: &[&str], verbs: &[Verb]) -> Rule {
    let credentials = credentials.iter().map(|text| (*text).to_owned().try_into().unwrap()).collect();
    Rule::new(who, credentials, verbs.to_vec()).unwrap()
}

fn eve() -> Who {
    Who { user: Some(("eve".to_owned(), Principal::numbered(EVE))), ..Who::default() }
}

/// A request of each verb that is about one credential, and some that are about all.
fn requests_about(credential: &str) -> Vec<(Verb, Request)> {
    let (name, deadline) = (|| name(credential), Duration::ZERO);
    let fingerprint = "0123456789abcdef".parse().unwrap();
    vec![
        (Verb::Get, Request::Get { name: name(), min_ttl: deadline, deadline }),
        (Verb::Get, Request::Watch { name: name(), seen: None, deadline }),
        (Verb::Get, Request::Invalidate { name: name(), fingerprint }),
        (Verb::Refresh, Request::Refresh { name: name(), mode: RefreshMode::Plain, deadline }),
        (Verb::Inspect, Request::Describe { name: name() }),
        (Verb::Change, Request::Remove { name: name() }),
        (Verb::Change, Request::Promote { name: name(), deadline }),
        (Verb::Change, Request::Rollback { name: name() }),
    ]
}

fn requests_about_all() -> Vec<(Verb, Request)> {
    vec![
        (Verb::Inspect, Request::Status),
        (Verb::Inspect, Request::Slots),
        (Verb::Administer, Request::Lock),
        (Verb::Administer, Request::Stop),
        (Verb::Administer, Request::Examine),
        (Verb::Administer, Request::Backup { generation: None, offset: 0 }),
        (Verb::Administer, Request::Import { length: 1 }),
    ]
}

fn allows(access: &Access, peer: &Peer, request: &Request) -> bool {
    access.judge(peer, request).is_ok()
}

#[test]
fn without_rules_the_owner_and_root_may_do_everything_and_nobody_else_anything() {
    let access = Access::new(Principal::numbered(OWNER), Vec::new());
    for (_, request) in requests_about("acme").into_iter().chain(requests_about_all()) {
        assert!(allows(&access, &peer(OWNER), &request) && allows(&access, &peer(0), &request));
        assert!(!allows(&access, &peer(EVE), &request) && !allows(&access, &Peer::default(), &request));
    }
    assert!(access.judge(&peer(EVE), &Request::List { after: None }).is_err());
}

#[test]
fn a_rule_allows_its_verbs_for_its_credentials_to_whom_it_means_and_no_more() {
    for verb in Verb::ALL.into_iter().filter(|verb| *verb != Verb::Administer) {
        let access =
            Access::new(Principal::numbered(OWNER), vec![rule(eve(), &["acme", "globex/*"], &[verb])]);
        for credential in ["acme", "globex/jobs"] {
            for (needed, request) in requests_about(credential) {
                assert_eq!(allows(&access, &peer(EVE), &request), needed == verb, "{request:?}");
                assert!(!allows(&access, &peer(1002), &request));
            }
        }
        for credential in ["acme/jobs", "globex", "acme2"] {
            assert!(requests_about(credential).iter().all(|(_, request)| !allows(
                &access,
                &peer(EVE),
                request
            )));
        }
        for (_, request) in requests_about_all() {
            assert!(!allows(&access, &peer(EVE), &request), "a part is not the whole: {request:?}");
        }
    }
}

#[test]
fn what_is_about_the_whole_takes_a_rule_about_all() {
    for verb in Verb::ALL {
        let access = Access::new(Principal::numbered(OWNER), vec![rule(eve(), &["*"], &[verb])]);
        for (needed, request) in requests_about("acme/x").into_iter().chain(requests_about_all()) {
            assert_eq!(allows(&access, &peer(EVE), &request), needed == verb, "{request:?}");
        }
    }
}

#[test]
fn a_list_shows_what_may_be_inspected() {
    let get_all = rule(eve(), &["*"], &[Verb::Get]);
    let access =
        Access::new(Principal::numbered(OWNER), vec![get_all, rule(eve(), &["acme*"], &[Verb::Inspect])]);
    let scope = access.judge(&peer(EVE), &Request::List { after: None }).unwrap();
    assert!(
        scope.admits(&name("acme")) && scope.admits(&name("acme/jobs")) && !scope.admits(&name("globex"))
    );
}

#[test]
fn every_condition_of_a_rule_has_to_hold() {
    let who = Who {
        group: Some(("jobs".to_owned(), Principal::numbered(50))),
        unit: Some("nightly.service".to_owned()),
        program: Some("/usr/bin/report".into()),
        ..Who::default()
    };
    let access = Access::new(Principal::numbered(OWNER), vec![rule(who, &["acme"], &[Verb::Get])]);
    let (_, get) = requests_about("acme").remove(0);
    let whole = Peer {
        groups: [EVE, 50].map(Principal::numbered).into(),
        unit: Some("nightly.service".to_owned()),
        program: Some("/usr/bin/report".into()),
        ..peer(EVE)
    };
    assert!(allows(&access, &whole, &get));
    assert!(!allows(&access, &Peer { groups: vec![Principal::numbered(EVE)], ..whole.clone() }, &get));
    assert!(!allows(&access, &Peer { unit: Some("other.service".to_owned()), ..whole.clone() }, &get));
    assert!(!allows(&access, &Peer { unit: None, ..whole.clone() }, &get));
    assert!(!allows(
        &access,
        &Peer { program: Some("/usr/bin/report (deleted)".into()), ..whole.clone() },
        &get
    ));
    assert!(!allows(&access, &Peer { program: None, ..whole.clone() }, &get));
    assert!(!allows(&access, &Peer { user: None, ..whole }, &get), "no identity means no");
}

#[test]
fn only_what_could_decide_is_looked_at() {
    let who = Who { unit: Some("x.service".to_owned()), ..eve() };
    let access = Access::new(Principal::numbered(OWNER), vec![rule(who, &["*"], &[Verb::Get])]);
    assert_eq!(access.looks_at(&peer(EVE)), LookAt { unit: true, program: false });
    assert_eq!(access.looks_at(&peer(OWNER)), LookAt::default());
    assert_eq!(access.looks_at(&peer(1002)), LookAt::default());
    assert!(access.may_know(&peer(EVE)) && access.may_know(&peer(OWNER)) && !access.may_know(&peer(1002)));
}

#[test]
fn what_means_nobody_or_nothing_is_no_rule() {
    let all = || vec!["*".to_owned().try_into().unwrap()];
    let program = Who { program: Some("/usr/bin/report".into()), ..Who::default() };
    assert_eq!(Rule::new(Who::default(), all(), vec![Verb::Get]), Err(RuleError::Nobody));
    assert_eq!(Rule::new(program, all(), vec![Verb::Get]), Err(RuleError::Nobody));
    assert_eq!(Rule::new(eve(), Vec::new(), vec![Verb::Get]), Err(RuleError::NoCredentials));
    assert_eq!(Rule::new(eve(), all(), Vec::new()), Err(RuleError::NoVerbs));
    let part = vec!["acme".to_owned().try_into().unwrap()];
    assert_eq!(Rule::new(eve(), part, vec![Verb::Administer]), Err(RuleError::PartOfWhole));
    for text in ["", "Acme", "acme.procurify.com", "a[bc]", "**", "acme\n"] {
        assert_eq!(CredentialPattern::try_from(text.to_owned()), Err(PatternError), "{text}");
    }
}

#[test]
fn the_grounds_name_the_rules_that_decide() {
    let conditional = Who { unit: Some("x.service".to_owned()), ..eve() };
    let rules = vec![rule(conditional, &["acme"], &[Verb::Get]), rule(eve(), &["acme"], &[Verb::Inspect])];
    let access = Access::new(Principal::numbered(OWNER), rules);
    let told = |verb| match access.grounds(&peer(EVE), verb, &name("acme"))[..] {
        [Ground::Rule(number, rule)] => Some((number, rule.is_conditional(), rule.to_string())),
        _ => None,
    };
    assert_eq!(told(Verb::Get), Some((1, true, "user eve, unit x.service, credentials acme".to_owned())));
    assert_eq!(told(Verb::Inspect), Some((2, false, "user eve, credentials acme".to_owned())));
    assert_eq!(told(Verb::Change), None);
    assert!(matches!(access.grounds(&peer(OWNER), Verb::Administer, &name("acme"))[..], [Ground::Owner]));
}
