//! The API behind the tokens: `users/me` and vendors, in both pagination shapes.
//!
//! Just enough to prove that a token opens something; it is no model of Procurify's data.

use http::header::{AUTHORIZATION, HeaderName, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::clock;
use crate::domain::Grant;
use crate::doors::{Visit, pause};
use crate::faults;
use crate::jwt::fingerprint;
use crate::knobs::Pages;
use crate::ledger::RequestHead;
use crate::reply::{self, Reply};
use crate::submission::{Submission, Unreadable, pairs, read_bounded};
use crate::wire::Cut;

pub(crate) async fn answer(visit: &Visit<'_>, parts: Parts, body: Incoming) -> Result<Reply, Cut> {
    let house = visit.house;
    let head = RequestHead::of(&parts, visit.domain.name(), visit.door, &visit.path_and_query());
    let sequence = house.ledger.open_api_call(clock::now(), head);
    let token = bearer(&parts.headers);
    let holder = token.and_then(|token| visit.domain.holder(token, visit.now()));
    house.ledger.note_api_call(sequence, |call| {
        call.fingerprint = token.map(fingerprint);
        call.client_id = holder.as_ref().map(|holder| holder.client_id.clone());
    });

    pause(visit.domain.knobs().latency_ms).await;
    let fault = visit.domain.api_fault(house.clock.since_start().as_secs());
    let reply = match fault {
        Some(fault) => faults::meet(&fault, &Submission::default(), visit.now(), visit.ending).await?,
        None => serve(visit, &parts, holder, body).await,
    };
    house.ledger.note_api_call(sequence, |call| call.status = Some(reply.status().as_u16()));
    Ok(reply)
}

async fn serve(visit: &Visit<'_>, parts: &Parts, holder: Option<Grant>, body: Incoming) -> Reply {
    let path = visit.path.as_str();
    if !path.ends_with('/') && PATHS.contains(&format!("{path}/").as_str()) {
        let query = visit.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        let to = format!("{}{path}/{query}", visit.base);
        return reply::redirect(StatusCode::MOVED_PERMANENTLY, &to);
    }
    if !PATHS.contains(&path) {
        return faults::not_found();
    }
    // Inferred: without the client header the bearer token is not looked at.
    let client = parts.headers.get(CLIENT).is_some_and(|value| value == "api");
    let Some(holder) = holder.filter(|_| client) else {
        let reply = reply::api_error(StatusCode::UNAUTHORIZED, "Unauthorized");
        return reply::with_header(reply, WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#);
    };
    match (path, &parts.method) {
        (USERS_ME, &Method::GET) => me(visit, &holder),
        (USERS_ME, _) => faults::method_not_allowed("GET"),
        _ if visit.domain.knobs().api_forbidden => {
            reply::api_error(StatusCode::FORBIDDEN, "You do not have permission to perform this action.")
        }
        (_, &Method::GET) => vendors(visit),
        (VENDORS_V3, &Method::POST) => create_vendor(visit, body).await,
        (VENDORS_V3, _) => faults::method_not_allowed("GET, POST"),
        _ => faults::method_not_allowed("GET"),
    }
}

fn me(visit: &Visit<'_>, holder: &Grant) -> Reply {
    let access: &[&str] =
        if holder.superuser { &["superuser", "requester", "approver"] } else { &["requester"] };
    reply::json(
        StatusCode::OK,
        &json!({ "data": {
            "id": 1,
            "email": holder.email,
            "is_active": true,
            "systemaccess_cache": { "flattened": access },
            "domains": { "procurify_domains": [{ "subdomain": visit.domain.name() }] },
        }}),
    )
}

fn vendors(visit: &Visit<'_>) -> Reply {
    let Some(page) = Page::asked(visit) else {
        return reply::api_error(StatusCode::NOT_FOUND, "Invalid page.");
    };
    let first = page.number.saturating_sub(1).saturating_mul(page.size);
    let found = visit.domain.vendors(first, page.size);
    let next = (page.number < page.pages).then(|| page.url(visit, page.number + 1));
    let previous = (page.number > 1).then(|| page.url(visit, page.number - 1));
    let mut links = json!({ "count": page.count, "next": next, "previous": previous });
    match (visit.domain.knobs().pages, next) {
        (Pages::Numbered, _) => links = json!({ "count": page.count }),
        (Pages::At(origin), Some(next)) => links["next"] = json!(next.replacen(&visit.base, &origin, 1)),
        _ => {}
    }
    let numbers = [("page_size", page.size), ("num_pages", page.pages), ("current_page", page.number)];
    if visit.path == VENDORS_V3 || links.get("next").is_none() {
        for (name, number) in numbers {
            links[name] = json!(number);
        }
    }
    let body = if visit.path == VENDORS_V3 {
        json!({ "data": found, "metadata": { "pagination": links } })
    } else {
        links["results"] = json!(found);
        links
    };
    reply::json(StatusCode::OK, &body)
}

async fn create_vendor(visit: &Visit<'_>, body: Incoming) -> Reply {
    let body = match read_bounded(body, 1024 * 1024).await {
        Ok(body) => body,
        Err(Unreadable::TooLarge) => {
            return reply::api_error(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large");
        }
        Err(Unreadable::Broken) => {
            return reply::api_error(StatusCode::BAD_REQUEST, "Request body incomplete");
        }
    };
    match serde_json::from_slice(&body) {
        Ok(Value::Object(vendor)) => {
            let created = visit.domain.create_vendor(vendor);
            reply::json(StatusCode::CREATED, &json!({ "data": created }))
        }
        _ => reply::api_error(StatusCode::BAD_REQUEST, "JSON parse error"),
    }
}

struct Page {
    count: usize,
    number: usize,
    pages: usize,
    size: usize,
}

impl Page {
    /// The page asked for, if there is one: a number from 1 to the number of pages. A page size
    /// that is no number from 1 to 500 is the default one, 10.
    fn asked(visit: &Visit<'_>) -> Option<Self> {
        let query = pairs(visit.query.as_deref().unwrap_or_default().as_bytes());
        let size = query.get("page_size").and_then(|size| size.parse().ok());
        let size = size.filter(|size| (1..=500).contains(size)).unwrap_or(10);
        let count = visit.domain.vendor_count();
        let pages = count.div_ceil(size).max(1);
        let number = query.get("page").map_or(Ok(1), |page| page.parse()).ok()?;
        (1..=pages).contains(&number).then_some(Self { count, number, pages, size })
    }

    fn url(&self, visit: &Visit<'_>, number: usize) -> String {
        format!("{}{}?page={number}&page_size={}", visit.base, visit.path, self.size)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

const CLIENT: HeaderName = HeaderName::from_static("x-procurify-client");
const USERS_ME: &str = "/api/v3/users/me/";
const VENDORS_V3: &str = "/api/v3/vendors/";
const VENDORS_V2: &str = "/api/v2/vendors/";
const PATHS: [&str; 3] = [USERS_ME, VENDORS_V3, VENDORS_V2];
