//! `demo`: the whole product at work, told step by step with the commands that a person would type.
//!
//! The commands are this very program, run as children; Procurify is the sandbox beside it. All of it lives in one
//! temporary folder, and every step is checked: a demo that only printed what should happen would prove nothing.

mod house;
mod person;
mod sandbox;

use serde_json::Value;

use self::house::House;
use self::person::Typed;
use crate::exit::{ExitCode, Failure};
use crate::say;

/// Plays the demo, and clears everything away however it ends.
pub(crate) fn run() -> Result<(), Failure> {
    say::line("This is a sandbox: nothing here reaches Procurify, and nothing of yours is touched.")?;
    let house = House::build()?;
    say::line(format!(
        "Everything below happens in {}, which is removed at the end.",
        house.folder().display()
    ))?;
    let outcome = play(&house);
    match (outcome, house.clear_away()) {
        (Err(failure), Err(left_over)) => {
            failure.tell();
            return Err(left_over);
        }
        (outcome, cleared) => outcome.and(cleared)?,
    }
    say::line("\nDone. Every step did what it says; the daemon, the sandbox and the folder are gone.\n")?;
    say::line(NEXT)
}

fn play(house: &House) -> Result<(), Failure> {
    step(1, "Make the vault. No daemon runs yet, so the command starts one.")?;
    let typed = house.types(&["init"], None)?;
    expect(typed.stdout.contains("Back up"), "init says what to back up", &typed)?;

    step(2, "Enrol two domains. Each secret is stored on the disk before it is tried.")?;
    for domain in DOMAINS {
        let client_id = format!("sandbox-{domain}");
        let add = ["add", domain, "--client-id", &client_id, "--secret-stdin"];
        let typed = house.types(&add, Some(&format!("sandbox-{domain}-secret")))?;
        let email = format!("integration@{domain}.example");
        expect(typed.stdout.contains(&email), "add shows whom the credential acts as", &typed)?;
    }

    step(3, "Get a token. It is in the daemon's memory, so this takes about a millisecond.")?;
    let before = both_tokens(house)?;
    for typed in &before {
        expect(typed.stdout.trim().len() > 20, "get prints a token", typed)?;
    }

    step(4, "Use one. Both headers are set by the command.")?;
    let typed = house.types(&["api", "acme", "/api/v3/vendors/"], None)?;
    let vendors: Value = serde_json::from_str(&typed.stdout).unwrap_or_default();
    expect(
        vendors["data"].as_array().is_some_and(|page| !page.is_empty()),
        "the API answers with vendors",
        &typed,
    )?;

    step(5, "Look at it.")?;
    let typed = house.types(&["status"], None)?;
    expect(DOMAINS.iter().all(|domain| typed.stdout.contains(domain)), "status shows both", &typed)?;

    step(
        6,
        "Kill the daemon, as a crash would. The next command starts another, which has the sealed tokens.",
    )?;
    let issued_before = house.issued(DOMAINS)?;
    house.kill_daemon()?;
    let after = both_tokens(house)?;
    let issued_after = house.issued(DOMAINS)?;
    let is_same = before.iter().zip(&after).all(|(before, after)| before.stdout == after.stdout);
    say::line(format!(
        "   The sandbox's ledger: {} tokens issued before the crash, {} after it{}.",
        issued_before.iter().sum::<u64>(),
        issued_after.iter().sum::<u64>(),
        if is_same { "; the tokens are the same" } else { "" }
    ))?;
    if issued_before != [1, 1] || issued_after != issued_before || !is_same {
        return Err(Failure::new(
            ExitCode::Other,
            "the restart should not have cost a token request, and it did",
        ));
    }
    Ok(())
}

fn step(number: u8, what: &str) -> Result<(), Failure> {
    say::line(format!("\n{number}. {what}"))
}

fn expect(holds: bool, what: &str, typed: &Typed) -> Result<(), Failure> {
    if holds && typed.succeeded {
        return Ok(());
    }
    Err(Failure::new(
        ExitCode::Other,
        format!("this step failed; expected: {what}\n{}", typed.stderr.trim_end()),
    ))
}

fn both_tokens(house: &House) -> Result<Vec<Typed>, Failure> {
    DOMAINS.iter().map(|domain| house.types(&["get", domain], None)).collect()
}

const DOMAINS: [&str; 2] = ["acme", "globex"];

const NEXT: &str = "\
For real:
  procurify-token add YOURDOMAIN    client id and secret come from Settings > Integrations > API
  procurify-token get YOURDOMAIN    in every script, from then on
  procurify-token --help            all commands, and the exit codes";
