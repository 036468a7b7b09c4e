//! The options of the commands that take secrets in: where from, and never as a value.

use std::path::PathBuf;

use clap::Args;
use procurify_token_protocol::{Audience, BaseUrl, ClientId, CredentialName, Description, TokenUrl};

use super::JsonArgs;

/// Where a client secret comes from; typed when none of them is given.
#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    /// Read the client secret from stdin
    #[arg(long)]
    pub(crate) secret_stdin: bool,
    /// Read the client secret from a file
    #[arg(long, value_name = "PATH", conflicts_with = "secret_stdin")]
    pub(crate) secret_file: Option<PathBuf>,
}

impl SecretArgs {
    /// Whether it comes from somewhere else than the person at the terminal.
    pub(crate) fn is_given(&self) -> bool {
        self.secret_stdin || self.secret_file.is_some()
    }
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(crate) struct AddArgs {
    /// The first part of DOMAIN.procurify.com, or the address of any of its pages, and a label where a domain has several
    /// applications; asked for where it is missing
    #[arg(value_name = "DOMAIN[/LABEL]", value_parser = CredentialName::from_pasted)]
    pub(crate) name: Option<CredentialName>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<Description>,
    /// The client id
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<ClientId>,
    #[command(flatten)]
    pub(crate) secret: SecretArgs,
    #[arg(long, value_name = "URL", help = "Where the API lives [default: https://DOMAIN.procurify.com]")]
    pub(crate) base_url: Option<BaseUrl>,
    /// Where tokens are requested [default: BASE/oauth/token]
    #[arg(long, value_name = "URL")]
    pub(crate) token_url: Option<TokenUrl>,
    /// The audience of the token request
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(crate) audience: Audience,
    /// Write the token request as a form (RFC 6749) instead of JSON
    #[arg(long)]
    pub(crate) form: bool,
    /// Allow http:// addresses, which lead to this machine only
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Only store it, and do not wait for a token
    #[arg(long)]
    pub(crate) no_try: bool,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Which credential
    #[arg(value_parser = CredentialName::from_pasted)]
    pub(crate) name: CredentialName,
    /// The new client id
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<ClientId>,
    #[command(flatten)]
    pub(crate) secret: SecretArgs,
    #[command(flatten)]
    pub(crate) step: RotateStep,
    #[command(flatten)]
    pub(crate) form: JsonArgs,
}

/// Another step than the first one.
#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
pub(crate) struct RotateStep {
    /// Go back to the previous pair
    #[arg(long, conflicts_with_all = ["client_id", "secret_stdin", "secret_file"])]
    pub(crate) rollback: bool,
    /// Try the stored new pair again
    #[arg(long, conflicts_with_all = ["client_id", "secret_stdin", "secret_file"])]
    pub(crate) retry: bool,
    /// Enter another new pair in place of the stored one
    #[arg(long)]
    pub(crate) replace: bool,
}
