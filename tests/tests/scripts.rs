//! Several tokens at once, as scripts ask for them: in order, all of them or none, and with the reason for each that is missing.

use procurify_token_tests::{Daemon, Home};
use serde_json::Value;

#[test]
fn several_tokens_come_in_the_order_of_their_names() {
    let (home, _daemon) = enrolled();
    let alone = |name: &str| home.command(["get", name]).run().succeeds().stdout;
    let (acme, globex, initech) = (alone("acme"), alone("globex"), alone("initech"));
    let all = home.command(["get", "initech", "acme", "globex", "acme"]).run().succeeds();
    assert_eq!(
        (all.stdout, all.stderr),
        ([initech, acme.clone(), globex, acme.clone()].concat(), String::new())
    );

    let lines = home.command(["get", "globex", "acme", "--json"]).run().succeeds().stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[0]["name"], &lines[1]["name"]), (2, &"globex".into(), &"acme".into()));
    assert_eq!(lines[1]["access_token"], acme.trim_end());
}

#[test]
fn env_gives_each_of_several_its_own_variables() {
    let (home, _daemon) = enrolled();
    home.enrol("acme/night-2");
    let script = r#"
        set -eu
        variables=$(procurify-token get acme acme/night-2 --env)
        eval "$variables"
        echo "${PROCURIFY_TOKEN-none} $PROCURIFY_DOMAIN_ACME_NIGHT_2 $PROCURIFY_BASE_URL_ACME"
        echo "$PROCURIFY_TOKEN_ACME"
    "#;
    let acme = home.command(["get", "acme"]).run().succeeds().stdout;
    let printed = home.shell(script).run().succeeds().stdout;
    assert_eq!(printed, format!("none acme https://acme.procurify.com\n{acme}"));
    home.command(["get", "acme-night", "acme/night", "--env"])
        .run()
        .fails_with(2)
        .saying(&["PROCURIFY_TOKEN_ACME_NIGHT"]);
    home.command(["get", "acme", "acme", "--env"]).run().fails_with(2);
}

#[test]
fn one_that_is_missing_is_named_and_none_is_printed() {
    let (home, _daemon) = enrolled();
    for form in [&[][..], &["--json"], &["--env"]] {
        let words = [&["get", "acme", "hooli", "globex", "umbrella"], form].concat();
        home.command(words).run().fails_with(5).saying(&[
            "hooli: no credential is named hooli",
            "umbrella: no credential is named umbrella",
            "no token is printed, for 2 of 4 cannot be had: hooli, umbrella",
        ]);
    }
    home.command(["lock"]).run().succeeds();
    let locked = home.command(["get", "globex", "acme"]).run().fails_with(4).saying(&["globex, acme: "]);
    assert_eq!(locked.stderr.matches("hint: ").count(), 1, "what is amiss with all of them is said once");
    home.command(["unlock"]).run().succeeds();
    let script = "set -e\ntokens=$(procurify-token get acme hooli)\necho never";
    let ended = home.shell(script).run().ends_with(5);
    assert_eq!(ended.stdout, "");
    for form in ["--header", "--curl-config"] {
        home.command(["get", "acme", "globex", form]).run().fails_with(2).saying(&[form, "--json"]);
    }
}

#[test]
fn tokens_that_are_not_there_yet_are_waited_for_together() {
    let names = ["acme", "globex", "initech"];
    let home = Home::new(&names);
    let gate = procurify_token_tests::Gate::before(home.sandbox().http_addr());
    let home = home.behind(gate.proxy_url());
    let _daemon = home.start();
    for name in names {
        home.enrol(name);
    }
    let asking = home.command(["get", "acme", "globex", "initech"]).spawn();
    gate.open();
    let asked = asking.wait_with_output().expect("it ends");
    assert!(asked.status.success());
    for name in names {
        assert_eq!(home.sandbox().ledger().issued(name), 1);
    }
}

#[test]
fn a_daemon_that_leaves_meanwhile_is_replaced_by_one_that_has_them_all() {
    let (home, daemon) = enrolled();
    daemon.kill9();
    let names = ["get", "acme", "globex", "initech"];
    home.command(names).run().fails_with(3);
    let all = home.command(names).env_remove("PROCURIFY_TOKEN_AUTOSTART").run().succeeds();
    assert_eq!(all.stdout.lines().count(), 3);
    assert_eq!(home.sandbox().ledger().issued("globex"), 1, "from what was kept");
}

fn enrolled() -> (Home, Daemon) {
    let names = ["acme", "globex", "initech"];
    let home = Home::new(&names);
    let daemon = home.start();
    for name in names {
        home.enrol(name);
        home.await_issued(name, 1);
    }
    (home, daemon)
}
