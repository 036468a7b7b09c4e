//! The control endpoint: `/_sandbox/` on the plain port, JSON in and out.
//!
//! A thin translation to [`Controls`]; its verbs are listed on the crate's front page.

use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::house::{ControlError, Controls};
use crate::reply::{self, Reply};
use crate::submission::{pairs, read_bounded};
use crate::wire::Payload;

pub(crate) async fn answer(controls: &Controls, parts: &Parts, body: Incoming) -> Reply {
    match obey(controls, parts, body).await {
        Ok(reply) => reply,
        Err(Complaint(status, message)) => reply::json(status, &json!({ "error": message })),
    }
}

struct Complaint(StatusCode, String);

impl From<ControlError> for Complaint {
    fn from(error: ControlError) -> Self {
        Self(StatusCode::NOT_FOUND, error.to_string())
    }
}

async fn obey(controls: &Controls, parts: &Parts, body: Incoming) -> Result<Reply, Complaint> {
    let path = parts.uri.path();
    let steps: Vec<&str> = path.trim_start_matches(ROOT).split('/').collect();
    match (&parts.method, &steps[..]) {
        (&Method::GET, ["ledger"]) => {
            let query = pairs(parts.uri.query().unwrap_or_default().as_bytes());
            let report = controls.ledger().report(query.get("domain").map(String::as_str));
            return Ok(reply::json(StatusCode::OK, &report));
        }
        (&Method::GET, ["domains", domain, "knobs"]) => {
            return Ok(reply::json(StatusCode::OK, &controls.knobs(domain)?));
        }
        (&Method::PUT, ["domains", domain, "knobs"]) => controls.set(domain, read(body).await?)?,
        (&Method::DELETE, ["domains", domain, "knobs"]) => controls.clear(domain)?,
        (&Method::POST, ["domains", domain, "clients"]) => {
            controls.put_client(domain, read(body).await?)?;
        }
        (&Method::DELETE, ["domains", domain, "clients", id]) => {
            controls.remove_client(domain, id)?;
        }
        (&Method::POST, ["domains", domain, "revoke"]) => controls.revoke(domain)?,
        (&Method::POST, ["reset"]) => controls.reset(),
        _ => {
            let message = "no such control; `procurify-sandbox --help` lists them".to_owned();
            return Err(Complaint(StatusCode::NOT_FOUND, message));
        }
    }
    let mut done = reply::json(StatusCode::NO_CONTENT, &());
    *done.body_mut() = Payload::Empty;
    Ok(done)
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Complaint> {
    let unreadable = |message| Complaint(StatusCode::BAD_REQUEST, message);
    let body = read_bounded(body, 1024 * 1024)
        .await
        .map_err(|_| unreadable("the body is too large or incomplete".to_owned()))?;
    serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))
}

/// What all control paths begin with.
pub(crate) const ROOT: &str = "/_sandbox/";
