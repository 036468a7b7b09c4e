//! A client made of layers: the token is one of them.
//!
//! ```sh
//! cargo run -p procurify-token-client --example tower_client --features tower -- acme
//! ```

#![expect(clippy::print_stdout, reason = "an example prints what it did")]

use std::future::poll_fn;

use http_body_util::Empty;
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use procurify_token_client::tower::ProcurifyLayer;
use procurify_token_client::{Client, CredentialName, Options};
use tower_layer::Layer;
use tower_service::Service;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name: CredentialName = std::env::args().nth(1).unwrap_or_else(|| "acme".to_owned()).parse()?;
    // In a program of yours, one that speaks TLS.
    let http = Http::builder(TokioExecutor::new()).build_http::<Empty<&[u8]>>();
    let mut api = ProcurifyLayer::new(Client::connect(&Options::new()).await?, name).layer(http);

    for path in ["/api/v3/users/me/", "/api/v2/vendors/"] {
        poll_fn(|cx| api.poll_ready(cx)).await?;
        let response = api.call(http::Request::get(path).body(Empty::new())?).await?;
        println!("{path} {}", response.status());
    }
    Ok(())
}
