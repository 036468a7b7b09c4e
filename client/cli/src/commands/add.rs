//! `add`: enrol a credential. What Procurify shows only once is on the disk before anything else is tried with it.

use std::time::Duration;

use http::Method;
use procurify_token_client::blocking::Client;
use procurify_token_client::{TokenGrant, TokenOptions};
use procurify_token_protocol::{
    BaseUrl, BodyEncoding, ClientId, CredentialName, DaemonStatus, Description, NewCredential, RefusalCode,
    Request, TokenUrl, VaultState, is_plain_http,
};
use serde_json::Value;

use super::{PATIENCE, done_by, init, refused, storing, token_json};
use crate::args::AddArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::http::Api;
use crate::pair::{self, Questions};
use crate::{clock, interrupt, report, say, terminal, text, when};

pub(super) fn run(daemon: &Daemon, args: AddArgs) -> Result<(), Failure> {
    pair::must_not_be_asked_for(args.client_id.as_ref(), &args.secret)?;
    let (name, mut questions) = named(&args)?;
    let addresses = addresses(&args, &name)?;
    let mut client = daemon.connect()?;
    let status = client.status()?;
    ready_for(&mut client, &status, &name)?;

    // All is asked before anything is made: whoever breaks it off has nothing to clear away.
    let no_vault = if status.vault == VaultState::Missing { ", and no vault was made" } else { "" };
    let again = format!("procurify-token add {name} begins anew");
    interrupt::so_far(format!("nothing was stored{no_vault}"), &again);
    let (no_try, is_json, was_typed) = (args.no_try, args.json, asks(&args));
    let credential = credential(&mut questions, args, name.clone(), addresses)?;
    let (base_url, client_id) = (credential.base_url.clone(), credential.client_id.clone());
    drop(questions);

    let (mut is_first, mut made) = (false, Value::Null);
    let request = Request::Add(Box::new(credential));
    let look = format!("procurify-token status {name}");
    storing::stored(name.as_str(), &look, was_typed, |is_again| {
        // Whoever has typed for some minutes may have outlived the daemon, and its vault.
        let now = client.ask(PATIENCE, |client, _| client.status())?;
        match now.vault {
            VaultState::Missing if status.vault != VaultState::Missing => return Err(gone(&now.vault_path)),
            VaultState::Missing => {
                interrupt::so_far("a vault was just being made; nothing is in it", &again);
                made = init::make_first(&mut client, is_json)?;
                is_first = true;
            }
            _ if is_again && is_enrolled(&mut client, &name, &client_id) => return Ok(()),
            _ => {}
        }
        interrupt::so_far(format!("{name} was just being stored"), format!("{look} says whether it is"));
        done_by(&mut client, &request)
    })?;
    interrupt::so_far(format!("{name} is stored durably, and is tried in the background"), &look);
    if is_json {
        let grant = if no_try { None } else { Some(tried(&mut client, &name)?) };
        return print_json(&name, grant.as_ref(), &status, made);
    }
    say::line(format!("{name} is stored durably in the vault."))?;
    if no_try {
        say::sentence(format!("It is tried in the background; what came of it: {look}"))?;
    } else {
        let outcome = works(&mut client, &status, &name);
        if outcome.is_err() && is_first {
            say::sentence(init::NO_CODE_YET)?;
        }
        outcome?;
    }
    if is_first {
        init::offer_recovery_code(&mut client, &format!("{name} is stored durably"))?;
    }
    what_next(&name, &base_url)
}

/// The name that was given or is asked for, and the questions, where there are any.
fn named(args: &AddArgs) -> Result<(CredentialName, Option<Questions>), Failure> {
    match &args.name {
        Some(name) if asks(args) => Ok((name.clone(), Some(Questions::about(name.domain())))),
        Some(name) => Ok((name.clone(), None)),
        None if terminal::is_interactive() => {
            let mut questions = Questions::about_anything();
            let name = questions.name()?;
            questions.pause();
            Ok((name, Some(questions)))
        }
        None => Err(Failure::new(
            ExitCode::Usage,
            "stdin is not a terminal, so nobody can be asked for the domain",
        )
        .hint("procurify-token add DOMAIN")),
    }
}

fn asks(args: &AddArgs) -> bool {
    pair::is_asked_for(args.client_id.as_ref(), &args.secret)
}

fn addresses(args: &AddArgs, name: &CredentialName) -> Result<(BaseUrl, TokenUrl), Failure> {
    let base_url = args.base_url.clone().unwrap_or_else(|| BaseUrl::of_domain(&name.domain()));
    let token_url = args.token_url.clone().unwrap_or_else(|| TokenUrl::below(&base_url));
    let is_plain = is_plain_http(base_url.as_str()) || is_plain_http(token_url.as_str());
    if is_plain && !args.plain_http {
        return Err(Failure::new(
            ExitCode::Usage,
            "an http:// address shows the secret to whoever listens on this machine",
        )
        .hint("use https, or allow it with --plain-http"));
    }
    Ok((base_url, token_url))
}

/// Everything that can be known before somebody types a secret.
fn ready_for(client: &mut Client, status: &DaemonStatus, name: &CredentialName) -> Result<(), Failure> {
    if status.vault == VaultState::Missing {
        return Ok(());
    }
    match client.describe(name) {
        Ok(_) => Err(Failure::new(ExitCode::Conflict, format!("{name} is enrolled already")).hint(format!(
            "procurify-token rotate {name} for a new secret, or choose a label: {}/LABEL",
            name.domain()
        ))),
        Err(error) if refused(&error) == Some(RefusalCode::UNKNOWN_CREDENTIAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Another one in its place would hide the credentials that are in it.
fn gone(path: &str) -> Failure {
    let path = text::one_line(path);
    Failure::new(ExitCode::Locked, format!("the vault at {path}, which was there just now, is gone"))
        .hint("bring its disk or folder back; procurify-token doctor says more")
}

/// Whether what an attempt was for has come about, though nobody was left to say so.
fn is_enrolled(client: &mut Client, name: &CredentialName, client_id: &ClientId) -> bool {
    client.describe(name).is_ok_and(|status| status.client_id == *client_id)
}

fn credential(
    questions: &mut Option<Questions>,
    args: AddArgs,
    name: CredentialName,
    (base_url, token_url): (BaseUrl, TokenUrl),
) -> Result<NewCredential, Failure> {
    let mut questions = questions.as_mut().filter(|_| asks(&args));
    if let Some(questions) = &mut questions {
        questions.note(&format!("From {}: {WHERE_IT_IS}", base_url.as_str()))?;
    }
    let description = match (args.description, &args.client_id, &mut questions) {
        (Some(description), _, _) => description,
        (None, None, Some(questions)) => questions.description()?,
        (None, _, _) => Description::default(),
    };
    let (client_id, client_secret) = pair::given_or_asked(questions, args.client_id, &args.secret)?;
    let body_encoding = if args.form { BodyEncoding::Form } else { BodyEncoding::Json };
    Ok(NewCredential {
        name,
        description,
        client_id,
        client_secret,
        base_url,
        token_url,
        audience: args.audience,
        body_encoding,
    })
}

/// Tries it, and says what came of that.
fn works(client: &mut Client, status: &DaemonStatus, name: &CredentialName) -> Result<(), Failure> {
    let grant = tried(client, name)?;
    say::sentence(format!(
        "Procurify accepts it: token {}, until {}",
        grant.token.fingerprint(),
        when::stamp_and_distance(grant.token.expires_at(), clock::now())
    ))?;
    introduce(&grant, status, name)
}

/// What was stored, and what came of the trial.
fn print_json(
    name: &CredentialName,
    grant: Option<&TokenGrant>,
    status: &DaemonStatus,
    made: Value,
) -> Result<(), Failure> {
    // The token works already, so nothing here makes the enrolment fail.
    let user = grant.and_then(|grant| users_me(grant, status.extra_ca.as_deref()).ok());
    report::print_json(&[
        ("credential", name.as_str().into()),
        ("token", grant.map(token_json).into()),
        ("acts_as", user.and_then(|user| user.email).into()),
        ("made", made),
    ])
}

/// What a person wants to type next.
fn what_next(name: &CredentialName, base_url: &BaseUrl) -> Result<(), Failure> {
    let lines = [
        ("In a script", format!("TOKEN=$(procurify-token get {name})")),
        (
            "With curl",
            format!("procurify-token get {name} --header | curl -sS -H @- {base_url}/api/v3/vendors/"),
        ),
        ("As a service", "procurify-token service install".to_owned()),
    ];
    say::line("")?;
    // Never folded: each is to be copied.
    let widest = lines.iter().map(|(_, line)| line.len() + BESIDE).max().unwrap_or(0);
    let is_narrow = terminal::width().is_some_and(|width| width < widest);
    lines.into_iter().try_for_each(|(what, line)| {
        let what = format!("{what}:");
        say::line(if is_narrow { format!("{what}\n  {line}") } else { format!("{what:BESIDE$}{line}") })
    })
}

fn tried(client: &mut Client, name: &CredentialName) -> Result<TokenGrant, Failure> {
    // The daemon asks for the first token by itself; a refresh could make it ask for a second one.
    match client.token_with(name, &TokenOptions { min_ttl: Duration::ZERO, deadline: Some(TRIAL) }) {
        Ok(token) => Ok(token.grant().clone()),
        Err(error) => {
            let hint = match refused(&error) {
                Some(RefusalCode::REJECTED | RefusalCode::MISCONFIGURED) => format!(
                    "procurify-token rotate {name} enters another id and secret, procurify-token remove {name} forgets it"
                ),
                _ => {
                    format!("it is tried again by itself; to try now: procurify-token refresh {name} --retry")
                }
            };
            Err(Failure::from(error).while_doing(&format!("{name} stays stored")).hint(hint))
        }
    }
}

/// Says whom the credential acts as. The token works already, so nothing here makes the enrolment fail.
fn introduce(grant: &TokenGrant, status: &DaemonStatus, name: &CredentialName) -> Result<(), Failure> {
    let user = match users_me(grant, status.extra_ca.as_deref()) {
        Ok(user) => user,
        Err(Failure::Told { message, .. }) => {
            say::warning(&format!("whom {name} acts as could not be seen: {message}"));
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    match &user.email {
        Some(email) => say::line(format!("It acts as {}.", text::one_line(email)))?,
        None => say::warning("the API does not say whom it acts as"),
    }
    if user.is_superuser {
        say::warning(&format!(
            "this user is a superuser: whoever gets a token of {name} may do everything. Where less is enough, create \
             the application as a user with fewer permissions"
        ));
    }
    if user.is_inactive {
        say::warning("this user is not active: Procurify stops issuing tokens to its applications");
    }
    Ok(())
}

fn users_me(grant: &TokenGrant, extra_ca: Option<&str>) -> Result<User, Failure> {
    let api = Api::new(&grant.base_url, extra_ca)?;
    let url = format!("{}{USERS_ME}", grant.base_url);
    let mut response = api.send(&Method::GET, &url, grant, None)?;
    if !response.status().is_success() {
        return Err(Failure::new(ExitCode::ApiError, format!("{USERS_ME} answers {}", response.status())));
    }
    let body = response.body_mut().with_config().limit(LARGEST_USER).read_to_vec();
    let user =
        body.ok().and_then(|body| serde_json::from_slice(&body).ok()).map(|body: Value| User::of(&body));
    user.ok_or_else(|| Failure::new(ExitCode::ApiError, format!("{USERS_ME} does not answer in JSON")))
}

/// What `/api/v3/users/me/` says, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct User {
    email: Option<String>,
    is_superuser: bool,
    is_inactive: bool,
}

impl User {
    fn of(body: &Value) -> Self {
        let user = body.get("data").unwrap_or(body);
        let is_superuser = match user.pointer("/systemaccess_cache/flattened") {
            Some(Value::Array(accesses)) => accesses.iter().any(|access| access == SUPERUSER),
            Some(Value::Object(accesses)) => {
                accesses.get(SUPERUSER).is_some_and(|held| held != &Value::Bool(false))
            }
            _ => false,
        };
        Self {
            email: user.get("email").and_then(Value::as_str).map(str::to_owned),
            is_superuser,
            is_inactive: user.get("is_active") == Some(&Value::Bool(false)),
        }
    }
}

const WHERE_IT_IS: &str = "Settings > Integrations > API > Create Application.\nPaste the whole dialog at any question, or answer \
     one after the other. Ctrl-C leaves everything as it is.";
/// How wide the names of the next steps are.
const BESIDE: usize = 14;
const USERS_ME: &str = "/api/v3/users/me/";
const SUPERUSER: &str = "superuser";
const LARGEST_USER: u64 = 1024 * 1024;
const TRIAL: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_user_is_read_from_what_procurify_answers() {
        let superuser = json!({ "data": {
            "email": "a@b.example", "is_active": false,
            "systemaccess_cache": { "flattened": ["approver", "superuser"] },
        }});
        let expected = User { email: Some("a@b.example".into()), is_superuser: true, is_inactive: true };
        assert_eq!(User::of(&superuser), expected);
        let plain = json!({ "data": { "email": "a@b.example", "systemaccess_cache": { "flattened": ["requester"] } } });
        assert_eq!(User::of(&plain), User { is_superuser: false, is_inactive: false, ..expected });
        let odd = json!({ "systemaccess_cache": { "flattened": { "superuser": true } } });
        assert_eq!(User::of(&odd), User { email: None, is_superuser: true, is_inactive: false });
    }
}
