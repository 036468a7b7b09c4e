//! The first five minutes: nothing is there, and somebody has a secret that is shown only once. Typed at a terminal, with a real
//! daemon that the command starts.

use std::fs;

use procurify_token_tests::{Gate, Home, Screen, Terminal, credential};
use rustix::process::Signal;

#[test]
fn one_command_makes_everything_and_says_what_is_next() {
    let home = Home::new(&["acme"]);
    let mut terminal = add(&home, &["https://Acme.procurify.com/#/settings/integrations"]);
    terminal.shows("Create Application").shows("Description (may be empty): ").types(&pasted(PAGE));
    terminal.shows("Client id: sandbox-acme (pasted)").shows("Client secret: ******** (pasted)");
    terminal.shows("There is no vault yet").shows("Back up both").shows("acme is stored durably");
    terminal.shows("Procurify accepts it").shows("It acts as integration@acme.example");
    terminal.shows("Make one now? [Y/n] ").types("\r").shows("Write it on paper");
    let code = recovery_code(&mut terminal);
    terminal.types("wrong\r").shows("Once more:").shows("Type it back").types(&format!("{code}\r"));
    terminal.shows("The recovery code is right.");
    terminal.shows("TOKEN=$(procurify-token get acme)");
    terminal.shows(
        "procurify-token get acme --header | curl -sS -H @- https://acme.procurify.com/api/v3/vendors/",
    );
    terminal.shows("procurify-token service install");
    let screen = ended(&mut terminal, 0);
    assert!(!screen.text.contains(SECRET), "the secret is on the screen: {}", screen.text);

    home.command(["get", "acme"]).run().succeeds();
    assert_eq!(slots(&home), ["key file", "recovery code"]);
    assert_eq!(home.sandbox().ledger().issued("acme"), 1);
}

#[test]
fn who_answers_one_after_the_other_is_asked_for_the_domain_too() {
    let home = Home::new(&["acme"]);
    let mut terminal = add(&home, &[]);
    terminal
        .shows("Domain, or the address of any of its pages: ")
        .types("not a domain\r")
        .shows("Once more:");
    terminal.shows("pages: ").types("acme.procurify.com\r");
    terminal.shows("Description (may be empty): ").types("nightly\r");
    terminal.shows("Client id: ").types("sandbox-acmf\x7fe\r");
    terminal.shows("Client secret: ").types(&format!("{SECRET}\r")).shows("*******************");
    terminal.shows("acme is stored durably").shows("[Y/n] ").types("n\r").shows("Whenever you like");
    let screen = ended(&mut terminal, 0);
    assert!(!screen.text.contains(SECRET) && screen.text.contains("service install"), "{}", screen.text);
    home.command(["list"]).run().succeeds().showing(&["acme", "nightly"]);
}

#[test]
fn a_page_from_a_terminal_that_marks_no_paste_is_understood_and_hidden_too() {
    for page in [
        "Client ID\rsandbox-acme\rCopy\rClient Secret\rsandbox-acme-secret\rCopy\r",
        "Client Secret\rsandbox-acme-secret\rClient ID\rsandbox-acme\r",
        "Client ID sandbox-acme Client Secret sandbox-acme-secret\r",
    ] {
        let home = Home::new(&["acme"]);
        let mut terminal = add(&home, &["acme"]);
        // Its first line has to have a label: any other would be the description.
        terminal.shows("Description (may be empty): ").types(page);
        terminal.shows("acme is stored durably").shows("[Y/n] ").types("n\r");
        let screen = ended(&mut terminal, 0);
        assert!(!screen.text.contains(SECRET), "the secret of {page:?} is on the screen: {}", screen.text);
        home.command(["get", "acme"]).run().succeeds();
    }
}

#[test]
fn ctrl_c_at_any_question_leaves_nothing() {
    for (at, before) in [
        ("Domain, or", &[][..]),
        ("Description (may be empty): ", &[("pages: ", "acme\r")][..]),
        ("Client id: ", &[("pages: ", "acme\r"), ("empty): ", "\r")]),
        ("Client secret: ", &[("pages: ", "acme\r"), ("empty): ", "\r"), ("Client id: ", "sandbox-acme\r")]),
    ] {
        let home = Home::new(&["acme"]);
        let mut terminal = add(&home, &[]);
        for (question, answer) in before {
            terminal.shows(question).types(answer);
        }
        terminal.shows(at).types("half\x03");
        let screen = ended(&mut terminal, 130);
        let said = if before.is_empty() {
            "nothing was changed"
        } else {
            "nothing was stored, and no vault was made"
        };
        assert!(screen.text.contains(said), "at {at:?}: {}", screen.text);
        assert!(
            !home.data_folder().join("vault").exists() && !home.config_folder().join("vault.key").exists()
        );
    }
}

#[test]
fn ctrl_c_at_the_recovery_code_leaves_everything_but_the_code() {
    let home = Home::new(&["acme", "globex"]);
    let mut terminal = stored(&home, "acme");
    terminal.types("\x03");
    let screen = ended(&mut terminal, 130);
    assert!(
        screen.text.contains("acme is stored durably; the vault has no recovery code"),
        "{}",
        screen.text
    );
    home.command(["get", "acme"]).run().succeeds();

    let home = Home::new(&["acme"]);
    let mut terminal = stored(&home, "acme");
    terminal.types("\r").shows("Type it back").types("AAAA\x03");
    let screen = ended(&mut terminal, 130);
    assert!(screen.text.contains("it is worthless now"), "{}", screen.text);
    assert!(
        screen.text.contains("acme is stored durably; the vault has no recovery code"),
        "{}",
        screen.text
    );
    home.command(["get", "acme"]).run().succeeds();
    assert_eq!(slots(&home), ["key file"], "a code that nobody confirmed opens nothing");

    let home = Home::new(&["acme"]);
    let mut terminal = stored(&home, "acme");
    terminal.types("y\r").shows("Type it back").types("\r").shows("worthless now").shows("service install");
    ended(&mut terminal, 0);
    assert_eq!(slots(&home), ["key file"]);
}

#[test]
fn ctrl_c_while_it_is_tried_says_that_it_is_stored() {
    let home = Home::new(&["acme"]);
    let gate = Gate::before(home.sandbox().http_addr());
    let home = home.behind(gate.proxy_url());
    let mut terminal = add(&home, &["acme"]);
    terminal.shows("empty): ").types(&pasted(PAGE)).shows("acme is stored durably in the vault.");
    gate.await_knocks(1);
    terminal.types_at_once("\x03").shows("acme is stored durably, and is tried in the background");
    terminal.shows("procurify-token status acme");
    let screen = terminal.ends();
    assert_eq!((screen.signal, screen.echoes), (Some(Signal::INT.as_raw()), true), "{}", screen.text);
    gate.open();
    home.command(["get", "acme"]).run().succeeds();
}

#[test]
fn a_signal_at_a_question_gives_the_terminal_back() {
    let home = Home::new(&["acme"]);
    let mut terminal = add(&home, &["acme"]);
    terminal.shows("empty): ").types("\r").shows("Client id: ").types("a\r").shows("Client secret: ");
    terminal.signal(Signal::TERM).shows("nothing was stored, and no vault was made");
    let screen = terminal.ends();
    assert_eq!((screen.signal, screen.echoes), (Some(Signal::TERM.as_raw()), true), "{}", screen.text);
    let marks = ["\x1b[?2004h", "\x1b[?2004l"].map(|mark| screen.text.rfind(mark));
    assert!(marks[1].is_some() && marks[0] < marks[1], "pastes are marked still: {:?}", screen.text);
}

#[test]
fn where_it_could_not_be_stored_the_dialog_should_stay_open() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.init();
    let mut terminal = add(&home, &["acme"]);
    terminal.shows("empty): ").types("\r").shows("Client id: ").types("a\r").shows("Client secret: ");
    // Somebody else was faster.
    home.add(credential("acme"));
    terminal
        .types("s3cret\r")
        .shows("do not close the dialog in Procurify yet, acme is not known to be stored");
    ended(&mut terminal, 12);
}

#[test]
fn a_daemon_that_goes_meanwhile_costs_nothing_that_was_typed() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.init();
    let mut terminal = at_the_secret(&home);
    daemon.kill9();
    terminal.types(&format!("{SECRET}\r")).shows("acme is stored durably");
    ended(&mut terminal, 0);
    home.command(["get", "acme"]).run().succeeds();
}

#[test]
fn what_was_typed_is_kept_until_it_can_be_stored() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.init();
    let mut terminal = at_the_secret(&home);
    home.command(["lock"]).run().succeeds();
    terminal
        .types(&format!("{SECRET}\r"))
        .shows("acme is not known to be stored: ")
        .shows("procurify-token unlock");
    terminal.shows("Enter tries again, Ctrl-C gives up. ").types("\r").shows("gives up. ");
    home.command(["unlock"]).run().succeeds();
    terminal.types("\r").shows("acme is stored durably");
    ended(&mut terminal, 0);
    home.command(["get", "acme"]).run().succeeds();

    let mut terminal = Terminal::open(&home, &["rotate", "acme"], (80, 24), &[]);
    terminal.shows("Client id: ");
    home.command(["lock"]).run().succeeds();
    terminal.types(&pasted(PAGE)).shows("gives up. ").types("\x03");
    let screen = ended(&mut terminal, 130);
    let said = "the new pair of acme is not known to be stored, so do not close the dialog";
    assert!(screen.text.contains(said), "{}", screen.text);

    // Who ends the input is told the same; and what is typed there is not shown.
    let mut terminal = Terminal::open(&home, &["add", "acme/second"], (80, 24), &[]);
    terminal.shows("the vault is locked");
    ended(&mut terminal, 4);
    home.command(["unlock"]).run().succeeds();
    let mut terminal = Terminal::open(&home, &["add", "acme/second"], (80, 24), &[]);
    terminal.shows("empty): ");
    home.command(["lock"]).run().succeeds();
    terminal
        .types(&pasted(PAGE))
        .shows("gives up. ")
        .types(&format!("{SECRET}\r"))
        .shows("gives up. ")
        .types("\x04");
    let screen = ended(&mut terminal, 4);
    assert!(screen.text.contains("so do not close the dialog"), "{}", screen.text);
    assert!(!screen.text.contains("nothing was changed") && !screen.text.contains(SECRET), "{}", screen.text);
}

#[test]
fn no_second_vault_is_made_where_the_first_one_has_gone_meanwhile() {
    let home = Home::new(&["acme"]);
    let daemon = home.start();
    home.init();
    let mut terminal = at_the_secret(&home);
    assert!(daemon.stop().success());
    let (vault, elsewhere) = (home.data_folder().join("vault"), home.path().join("vault"));
    fs::rename(&vault, &elsewhere).unwrap();
    terminal.types(&format!("{SECRET}\r")).shows("which was there just now, is gone").shows("gives up. ");
    assert!(!vault.exists());
    fs::rename(&elsewhere, &vault).unwrap();
    home.command(["stop"]).run().succeeds();
    terminal.types("\r").shows("acme is stored durably");
    ended(&mut terminal, 0);
}

#[test]
fn what_an_attempt_has_stored_without_an_answer_is_known_for_stored() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.init();
    let mut terminal = at_the_secret(&home);
    home.command(["lock"]).run().succeeds();
    terminal.types(&format!("{SECRET}\r")).shows("gives up. ");
    home.command(["unlock"]).run().succeeds();
    // As where the first attempt had come to its end, and its answer had not.
    home.add(credential("acme"));
    terminal.types("\r").shows("acme is stored durably");
    ended(&mut terminal, 0);
}

#[test]
fn where_nobody_can_be_asked_it_is_said_what_is_missing() {
    let home = Home::new(&["acme"]);
    let started = |words: &[&str], stdin: &str| {
        home.command(words).env_remove("PROCURIFY_TOKEN_AUTOSTART").stdin(stdin).run()
    };
    started(&["add"], "")
        .fails_with(2)
        .saying(&["nobody can be asked for the client id and the client secret"]);
    started(&["add", "--secret-stdin", "--client-id", "x"], "y")
        .fails_with(2)
        .saying(&["for the domain", "add DOMAIN"]);
    started(&["add", "acme"], "")
        .fails_with(2)
        .saying(&["the client id and the client secret", "--secret-stdin"]);
    started(&["add", "acme", "--client-id", "x"], "")
        .fails_with(2)
        .saying(&["for the client secret", "--secret-file"]);
    assert!(home.processes().is_empty(), "no daemon was started for that");
    started(&["add", "acme", "--secret-stdin"], "s3cret").fails_with(2).saying(&["the client id is missing"]);
    assert!(!home.data_folder().join("vault").exists());

    let typed = started(&["add", "acme", "--secret-stdin"], PAGE).succeeds();
    typed.showing(&["acme is stored durably", "Procurify accepts it", "no recovery code", "service install"]);
}

#[test]
fn a_page_of_somebody_else_or_with_a_hidden_secret_is_not_taken() {
    let home = Home::new(&["acme"]);
    let mut terminal = add(&home, &["acme"]);
    let theirs = format!("https://globex.procurify.com/#/settings\n{PAGE}");
    terminal.shows("empty): ").types(&pasted(&theirs)).shows("is of globex, and this is about acme");
    terminal
        .shows("empty): ")
        .types(&pasted(&PAGE.replace(SECRET, "••••••••")))
        .shows("hidden in what was pasted");
    terminal
        .shows("empty): ")
        .types(&pasted(PAGE))
        .shows("acme is stored durably")
        .shows("[Y/n] ")
        .types("n\r");
    ended(&mut terminal, 0);
    home.command(["get", "acme"]).run().succeeds();
}

#[test]
fn the_next_pair_may_be_pasted_too() {
    let home = Home::new(&["acme"]);
    let _daemon = home.start();
    home.enrol("acme");
    home.await_issued("acme", 1);
    let mut terminal = Terminal::open(&home, &["rotate", "acme"], (80, 24), &[]);
    terminal.shows("Client id: ").types(&pasted(PAGE)).shows("acme now uses the new pair");
    let screen = ended(&mut terminal, 0);
    assert!(!screen.text.contains(SECRET), "{}", screen.text);
}

/// `add` with these words where a daemon is started.
fn add(home: &Home, words: &[&str]) -> Terminal {
    let words = [&["add"], words].concat();
    Terminal::open(home, &words, (100, 40), &[("PROCURIFY_TOKEN_AUTOSTART", "auto")])
}

/// The same up to the question for the secret.
fn at_the_secret(home: &Home) -> Terminal {
    let mut terminal = add(home, &["acme"]);
    terminal
        .shows("empty): ")
        .types("\r")
        .shows("Client id: ")
        .types("sandbox-acme\r")
        .shows("Client secret: ");
    terminal
}

/// The same up to the question for a recovery code.
fn stored(home: &Home, name: &str) -> Terminal {
    let mut terminal = add(home, &[name]);
    terminal.shows("empty): ").types(&pasted(PAGE)).shows("Make one now? [Y/n] ");
    terminal
}

/// As a terminal hands over what was pasted.
fn pasted(page: &str) -> String {
    format!("\x1b[200~{}\x1b[201~", page.replace('\n', "\r"))
}

fn recovery_code(terminal: &mut Terminal) -> String {
    terminal.shows("Type it back");
    let text = terminal.text();
    let code = text.lines().map(str::trim).find(|line| line.len() == 47 && line.matches('-').count() == 7);
    code.expect("a recovery code stands there").to_owned()
}

fn slots(home: &Home) -> Vec<String> {
    let listed = home.command(["slot", "list", "--json"]).run().succeeds().json();
    let slots = listed["slots"].as_array().expect("a list");
    slots.iter().map(|slot| slot["kind"].as_str().expect("a text").to_owned()).collect()
}

#[track_caller]
fn ended(terminal: &mut Terminal, code: i32) -> Screen {
    let screen = terminal.ends();
    assert_eq!((screen.code, screen.echoes), (Some(code), true), "{}", screen.text);
    screen
}

const SECRET: &str = "sandbox-acme-secret";
const PAGE: &str = "Application created\nMake sure to copy your Client Secret now. You won't be able to see it again!\nClient ID\n\
                    sandbox-acme\nCopy\nClient Secret\nsandbox-acme-secret\nCopy\nClose";
