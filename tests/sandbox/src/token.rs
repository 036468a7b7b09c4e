//! The token endpoint: one request, from its arrival in the ledger to its answer.

use chrono::{DateTime, Utc};
use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::Value;

use crate::clock;
use crate::config::Application;
use crate::domain::{Grant, Handed, later};
use crate::doors::{Visit, pause};
use crate::faults;
use crate::jwt::{Claims, fingerprint};
use crate::knobs::{ExpiresIn, Knobs, Scope, Token, TokenType};
use crate::ledger::{OpenRequest, Outcome, Refusal, RequestHead, TokenRequest, shortened};
use crate::reply::{self, Reply};
use crate::submission::{Submission, body_encoding};
use crate::wire::Cut;

pub(crate) async fn answer(visit: &Visit<'_>, parts: Parts, body: Incoming) -> Result<Reply, Cut> {
    let head = RequestHead::of(&parts, visit.domain.name(), visit.door, &visit.path_and_query());
    let entry = visit.house.ledger.open_token_request(clock::now(), head);

    let (asked, readable) = match Submission::read(&parts, body).await {
        Ok(asked) => (asked, Ok(())),
        Err(refusal) => (Submission::default(), Err(refusal)),
    };
    record(&entry, visit, &parts, &asked);

    let knobs = visit.domain.knobs();
    pause(knobs.latency_ms).await;
    if let Some(fault) = visit.domain.token_fault(visit.house.clock.since_start().as_secs()) {
        entry.settle(Outcome::Fault(fault.name()));
        return faults::meet(&fault, &asked, visit.now(), visit.ending).await;
    }
    let judged = readable
        .and_then(|()| asked.credentials())
        .and_then(|given| visit.domain.authenticate(&given, visit.now()))
        .and_then(|application| issue(visit, &entry, &knobs, &application));
    Ok(judged.unwrap_or_else(|refusal| {
        entry.settle(Outcome::Refused(refusal));
        faults::refused(refusal, knobs.rejection, &asked, visit.now())
    }))
}

fn record(entry: &OpenRequest, visit: &Visit<'_>, parts: &Parts, asked: &Submission) {
    let matched = match (&asked.client_id, &asked.client_secret) {
        (Some(id), Some(secret)) => visit.domain.secret_matches(id, secret, visit.now()),
        _ => false,
    };
    entry.note(|request| {
        request.client_id = asked.client_id.as_deref().map(shortened);
        request.secret_matched = matched;
        request.body_encoding = body_encoding(parts);
    });
}

fn issue(
    visit: &Visit<'_>,
    entry: &OpenRequest,
    knobs: &Knobs,
    application: &Application,
) -> Result<Reply, Refusal> {
    let scope = scope_of(&knobs.scope, visit.domain.name(), &application.email);
    let name = |request: &mut TokenRequest, handed: &Handed| {
        request.jti = Some(handed.jti.clone());
        request.fingerprint = handed.text.as_deref().map(fingerprint);
    };
    let handed = if let Some(handed) = visit.domain.repeated(&application.client_id) {
        entry.note(|request| {
            request.outcome = Outcome::Repeated;
            name(request, &handed);
        });
        handed
    } else {
        visit.domain.take_from_quota()?;
        let handed = mint(visit, knobs, application, scope.as_deref().unwrap_or_default());
        entry.settle_issued(|request| name(request, &handed));
        handed
    };
    Ok(reply::json(
        StatusCode::OK,
        &Issued {
            access_token: handed.text,
            scope,
            expires_in: match &knobs.expires_in {
                ExpiresIn::Seconds(seconds) => Some((*seconds).into()),
                ExpiresIn::Float(seconds) => Some((*seconds).into()),
                ExpiresIn::Text(text) => Some(text.as_str().into()),
                ExpiresIn::Missing => None,
            },
            token_type: match &knobs.token_type {
                TokenType::Named(name) => Some(name.clone()),
                TokenType::Missing => None,
            },
        },
    ))
}

/// Makes a token and has the domain remember it.
fn mint(visit: &Visit<'_>, knobs: &Knobs, application: &Application, scope: &str) -> Handed {
    let now: DateTime<Utc> = visit.now();
    let expires = later(now, knobs.expires_in.honoured_s());
    let signer = &visit.house.signer;
    let jti = signer.unique();
    let names = (application.client_id.as_str(), knobs.audience.as_str(), scope);
    let jwt = signer.sign(&Claims::new(names, (now, expires), jti.clone()));
    let handed = Handed {
        text: match knobs.token {
            Token::Signed => Some(jwt),
            Token::ControlCharacters => Some(format!("{jwt}\r\nX-Injected: 1")),
            Token::Empty => Some(String::new()),
            Token::Missing => None,
        },
        jti,
    };
    let grant = Grant {
        client_id: application.client_id.clone(),
        email: application.email.clone(),
        superuser: application.superuser,
        expires,
    };
    visit.domain.remember(handed.clone(), grant, knobs.token == Token::Signed, now);
    handed
}

fn scope_of(scope: &Scope, domain: &str, email: &str) -> Option<String> {
    let documented =
        |domain: &str| format!("urn:procurify-api:domain:{domain} urn:procurify-api:email:{email}");
    match scope {
        Scope::Own => Some(documented(domain)),
        Scope::OtherDomain(other) => Some(documented(other)),
        Scope::Text(text) => Some(text.clone()),
        Scope::Missing => None,
    }
}

#[derive(Serialize)]
struct Issued {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<String>,
}
