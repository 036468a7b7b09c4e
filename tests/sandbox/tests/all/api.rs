//! The API behind the tokens.

use procurify_sandbox::{Application, Config, Knobs, Sandbox};
use serde_json::json;

use crate::support::{acme, ask, call, plain};

const ME: &str = "/api/v3/users/me/";
const VENDORS: &str = "/api/v3/vendors/";

#[test]
fn users_me_says_whom_the_token_acts_as() {
    let mut config = Config::of(&["acme"]);
    config.domains[0].applications[0].superuser = true;
    let sandbox = Sandbox::spawn(config).unwrap();
    let token = ask(&sandbox).unwrap().token();
    let me = &call(&sandbox, "GET", ME, &token, "").json()["data"];
    assert_eq!(me["email"], "integration@acme.example");
    assert_eq!(me["is_active"], true);
    assert_eq!(me["domains"]["procurify_domains"], json!([{ "subdomain": "acme" }]));
    let flattened = me["systemaccess_cache"]["flattened"].as_array().unwrap();
    assert!(flattened.contains(&json!("superuser")));
}

#[test]
fn an_ordinary_user_is_no_superuser() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    let body = call(&sandbox, "GET", ME, &token, "");
    assert!(!body.text().contains("superuser"));
}

#[test]
fn both_headers_are_needed_and_the_token_must_be_this_domains() {
    let sandbox = Sandbox::spawn(Config::default()).unwrap();
    let token = ask(&sandbox).unwrap().token();
    let bearer = format!("Bearer {token}");
    let status = |path: &str, headers: &[(&str, &str)]| {
        let answer = plain(sandbox.http_addr(), "GET", path, headers, "").unwrap();
        if answer.status == 401 {
            let shape = json!({ "errors": { "detail": { "message": "Unauthorized" } } });
            assert_eq!(answer.json(), shape);
            assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
        }
        answer.status
    };
    let (auth, client) = (("authorization", bearer.as_str()), ("x-procurify-client", "api"));
    assert_eq!(status("/d/acme/api/v3/users/me/", &[auth, client]), 200);
    assert_eq!(status("/d/acme/api/v3/users/me/", &[auth]), 401);
    assert_eq!(status("/d/acme/api/v3/users/me/", &[client]), 401);
    assert_eq!(status("/d/globex/api/v3/users/me/", &[auth, client]), 401);
    let unknown = ("authorization", "Bearer no");
    assert_eq!(status("/d/acme/api/v3/users/me/", &[unknown, client]), 401);
}

#[test]
fn following_next_visits_every_vendor_once() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    let base = sandbox.plain_base_url("acme").replace("127.0.0.1", "localhost");
    let origin = base.split("/d/").next().unwrap().to_owned();
    let mut next = Some(format!("{VENDORS}?page_size=20"));
    let mut ids = Vec::new();
    while let Some(path) = next {
        let answer = call(&sandbox, "GET", &path, &token, "").json();
        ids.extend(answer["data"].as_array().unwrap().iter().map(|v| v["id"].as_u64().unwrap()));
        let page = &answer["metadata"]["pagination"];
        assert_eq!((&page["count"], &page["num_pages"]), (&json!(45), &json!(3)));
        assert_eq!(page["page_size"], 20);
        assert_eq!(page["previous"].is_null(), page["current_page"] == 1);
        // The client said `Host: localhost`, so that is how the absolute URL begins.
        let prefix = format!("{}/d/acme", origin.rsplit_once(':').unwrap().0);
        next = page["next"].as_str().map(|url| url.strip_prefix(&prefix).unwrap().to_owned());
    }
    assert_eq!(ids, (1..=45).collect::<Vec<u64>>());
}

#[test]
fn version_two_pages_in_the_other_shape() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    let page = call(&sandbox, "GET", "/api/v2/vendors/?page=5", &token, "").json();
    assert_eq!(page["count"], 45);
    assert_eq!(page["next"], json!(null));
    assert!(page["previous"].as_str().unwrap().ends_with("/api/v2/vendors/?page=4&page_size=10"));
    assert_eq!(page["results"].as_array().unwrap().len(), 5);
    assert_eq!(call(&sandbox, "POST", "/api/v2/vendors/", &token, "{}").status, 405);
}

#[test]
fn pages_that_do_not_exist_are_not_found() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    for page in ["0", "6", "-1", "x", "", "99999999999999999999", "18446744073709551615"] {
        let path = format!("{VENDORS}?page={page}");
        assert_eq!(call(&sandbox, "GET", &path, &token, "").status, 404, "{page}");
    }
    let path = format!("{VENDORS}?page_size=18446744073709551615");
    assert_eq!(call(&sandbox, "GET", &path, &token, "").json()["data"].as_array().unwrap().len(), 10);
}

#[test]
fn a_posted_vendor_is_there_afterwards() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    let created = call(&sandbox, "POST", VENDORS, &token, r#"{"name":"New","city":"X"}"#);
    assert_eq!(created.status, 201);
    let vendor = json!({ "id": 46, "name": "New", "city": "X", "active": true });
    assert_eq!(created.json()["data"], vendor);
    let last = call(&sandbox, "GET", &format!("{VENDORS}?page=5"), &token, "").json();
    assert_eq!(last["data"].as_array().unwrap().last(), Some(&vendor));
    assert_eq!(call(&sandbox, "POST", VENDORS, &token, "[]").status, 400);
    assert_eq!(call(&sandbox, "DELETE", VENDORS, &token, "").status, 405);
}

#[test]
fn a_path_without_its_last_slash_is_redirected_as_django_does() {
    let sandbox = acme(Knobs::default());
    let answer = call(&sandbox, "GET", "/api/v3/vendors?page=2", "any", "");
    assert_eq!(answer.status, 301);
    let to = answer.header("location").unwrap();
    assert_eq!(to, "http://localhost/d/acme/api/v3/vendors/?page=2");
    assert_eq!(call(&sandbox, "GET", "/api/v3/nothing", "any", "").status, 404);
}

#[test]
fn a_revoked_token_and_an_inactive_user_get_401() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    let inactive = |active| Application { active, ..Application::of("acme") };
    sandbox.put_client("acme", inactive(false)).unwrap();
    assert_eq!(call(&sandbox, "GET", ME, &token, "").status, 401);
    assert_eq!(ask(&sandbox).unwrap().status, 401);
    sandbox.put_client("acme", inactive(true)).unwrap();
    assert_eq!(call(&sandbox, "GET", ME, &token, "").status, 200);
    sandbox.revoke("acme").unwrap();
    assert_eq!(call(&sandbox, "GET", ME, &token, "").status, 401);
}

#[test]
fn a_deleted_application_gets_no_token_but_its_tokens_live_on() {
    let sandbox = acme(Knobs::default());
    let token = ask(&sandbox).unwrap().token();
    sandbox.remove_client("acme", "sandbox-acme").unwrap();
    assert!(sandbox.remove_client("acme", "sandbox-acme").is_err());
    assert_eq!(ask(&sandbox).unwrap().status, 401);
    assert_eq!(call(&sandbox, "GET", ME, &token, "").status, 200);
}
