//! The arguments of those who call the API: `api`, and `curl`, whose words are curl's own.

use std::ffi::OsString;

use clap::Args;
use procurify_token_protocol::CredentialName;

use super::TokenArgs;

#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    #[arg(value_parser = CredentialName::from_pasted)]
    pub(crate) name: CredentialName,
    /// The path below the base URL, with its query
    pub(crate) path: String,
    /// The method [default: GET, or POST with a body]
    #[arg(short = 'X', long, value_name = "METHOD", value_parser = method)]
    pub(crate) method: Option<http::Method>,
    /// The JSON to send; @FILE reads a file, @- stdin
    #[arg(short, long, value_name = "DATA")]
    pub(crate) data: Option<OsString>,
    #[command(flatten)]
    pub(crate) fields: FieldArgs,
    /// Go on to the further pages, and print each page on a line of its own
    #[arg(long, conflicts_with_all = ["data", "include"])]
    pub(crate) paginate: bool,
    /// Print status and headers before the body
    #[arg(short, long)]
    pub(crate) include: bool,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

/// Methods are told apart by case (RFC 9110, section 9.1), and those of Procurify are all in capitals.
fn method(text: &str) -> Result<http::Method, http::method::InvalidMethod> {
    text.to_ascii_uppercase().parse()
}

/// The members of a JSON object, one by one.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FieldArgs {
    /// A member of the JSON object to send, as a string
    #[arg(short = 'f', long = "raw-field", value_name = "KEY=VALUE", conflicts_with = "data")]
    pub(crate) raw: Vec<String>,
    /// The same; JSON such as 5, true, null or a list is taken as that, @FILE is the text of a file
    #[arg(short = 'F', long = "field", value_name = "KEY=VALUE", conflicts_with = "data")]
    pub(crate) typed: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CurlArgs {
    #[command(flatten)]
    pub(crate) token: TokenArgs,
    #[arg(value_parser = CredentialName::from_pasted)]
    pub(crate) name: CredentialName,
    /// The path below the base URL, and options of curl
    #[arg(value_name = "PATH|OPTION", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<OsString>,
}
