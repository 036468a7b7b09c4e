//! A job without a runtime, as cron starts one: counts the vendors of a domain.
//!
//! ```sh
//! cargo run -p procurify-token-client --example sync_job --features blocking,http -- acme
//! ```

#![expect(clippy::print_stdout, reason = "a job prints what it found")]

use procurify_token_client::{CredentialName, Options, blocking::Client};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name: CredentialName = std::env::args().nth(1).unwrap_or_else(|| "acme".to_owned()).parse()?;
    let http: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();

    let mut client = Client::connect(&Options::new())?;
    let request = http::Request::get("/api/v2/vendors/").body(())?;
    let mut response = client.send(&name, request, |request| http.run(request))?;

    println!("{}", response.status());
    println!("{}", response.body_mut().read_to_string()?);
    Ok(())
}
