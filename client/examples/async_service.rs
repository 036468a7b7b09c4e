//! A service on tokio: several tasks share one client, its connection and its cache.
//!
//! ```sh
//! cargo run -p procurify-token-client --example async_service --features http -- acme
//! ```

#![expect(clippy::print_stdout, reason = "an example prints what it did")]

use http_body_util::Empty;
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use procurify_token_client::{Client, CredentialName, Options};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let name: CredentialName = std::env::args().nth(1).unwrap_or_else(|| "acme".to_owned()).parse()?;
    // In a service of yours, one that speaks TLS.
    let http = Http::builder(TokioExecutor::new()).build_http::<Empty<&[u8]>>();
    let client = Client::connect(&Options::new()).await?;

    let mut tasks = JoinSet::new();
    for page in 1..=3 {
        let (client, http, name) = (client.clone(), http.clone(), name.clone());
        tasks.spawn(async move {
            let path = format!("/api/v2/vendors/?page={page}");
            let request = http::Request::get(path).body(Empty::new())?;
            let response = client.send(&name, request, |request| http.request(request)).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(response.status())
        });
    }
    while let Some(status) = tasks.join_next().await {
        println!("{}", status??);
    }
    Ok(())
}
