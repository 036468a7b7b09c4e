//! The programs in `client/other-languages.md`, as they stand there, against the real daemon and the sandbox.

use std::fs;
use std::path::Path;

use procurify_token_tests::{Daemon, Home, Typed, skipped, skipped_unless_required};

#[test]
fn the_programs_for_bash_do_what_the_page_says() {
    let programs = programs("bash");
    let printed = programs.iter().map(|program| {
        let (home, _daemon) = enrolled();
        let typed = run(&home, "bash", program).succeeds();
        typed
            .stdout
            .replace(&home.sandbox().plain_base_url("acme"), "ACME")
            .replace(&home.sandbox().plain_base_url("globex"), "GLOBEX")
    });
    let printed: Vec<_> = printed.collect();
    assert_eq!(printed.len(), 4);
    assert_eq!(printed[0], "3\n", "45 vendors");
    assert_eq!(printed[1], "vendors.json is there\n");
    assert!(printed[2].starts_with("ACME ") && printed[2].contains(", GLOBEX "), "{}", printed[2]);
    assert_eq!(printed[3], "integration@acme.example\n");
}

#[test]
fn the_programs_for_bash_end_where_there_is_no_token() {
    for program in programs("bash") {
        let home = Home::new(&["acme", "globex"]);
        let _daemon = home.start();
        home.init();
        let typed = run(&home, "bash", &program).ends_with(5);
        assert_eq!(typed.stdout, "");
        typed.saying(&["no credential is named acme"]);
    }
}

#[test]
fn the_program_for_python_reads_vendors_and_takes_a_refused_token_back() {
    reads_vendors("python", "python3");
}

#[test]
fn the_program_for_node_reads_vendors_and_takes_a_refused_token_back() {
    reads_vendors("javascript", "node");
}

#[test]
fn the_program_for_powershell_reads_vendors_and_takes_a_refused_token_back() {
    reads_vendors("powershell", "pwsh");
}

fn reads_vendors(language: &str, interpreter: &str) {
    let (home, _daemon) = enrolled();
    if home.shell(&format!("command -v {interpreter}")).run().code != Some(0) {
        let (test, why) =
            (format!("other-languages.md: {language}"), format!("there is no {interpreter} here"));
        // It cannot be installed from the registries that `.ci/run` uses, which counts it as the one exception.
        let skip = if interpreter == "pwsh" { skipped } else { skipped_unless_required };
        skip(&test, &why);
        return;
    }
    let [program] = &programs(language)[..] else { panic!("one program for {language}") };
    let typed = run(&home, interpreter, program).succeeds();
    assert_eq!(typed.stdout, "20 vendors\n");
    home.sandbox().revoke("acme").expect("there is such a domain");
    let typed = run(&home, interpreter, program).succeeds();
    assert_eq!(typed.stdout, "20 vendors\n");
    let calls = home.sandbox().ledger().api_calls("acme");
    let statuses: Vec<_> = calls.iter().map(|call| call.status.unwrap_or_default()).collect();
    assert_eq!(statuses, [200, 401, 200]);
    assert!(calls.iter().all(|call| call.head.x_procurify_client.as_deref() == Some("api")));

    home.command(["remove", "acme", "--yes"]).run().succeeds();
    let typed = run(&home, interpreter, program);
    assert!(typed.code != Some(0) && typed.stdout.is_empty(), "{typed:#?}");
    typed.saying(&["no credential is named acme"]);
}

/// What stands between the fences of a language.
fn programs(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/other-languages.md");
    let page = fs::read_to_string(path).expect("the page is there");
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .map(|rest| rest.split("\n```\n").next().unwrap_or_default().to_owned())
        .collect()
}

fn run(home: &Home, interpreter: &str, program: &str) -> Typed {
    fs::write(home.path().join("program"), program).expect("it can be written");
    // The sandbox's plain address needs no proxy and no certificate.
    home.shell(&format!("exec {interpreter} ./program")).env_remove("HTTPS_PROXY").run()
}

fn enrolled() -> (Home, Daemon) {
    let home = Home::new(&["acme", "globex"]);
    let daemon = home.start();
    for name in ["acme", "globex"] {
        home.enrol_plainly(name);
        home.await_issued(name, 1);
    }
    (home, daemon)
}
