//! Who is served beside the daemon's own user and root: users, groups, units and programs, as the configuration's `[[access]]`
//! rules say, and strangers of every kind. Only root can become them, so all of it takes root.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails, in its helpers too")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use procurify_token_tests::client::{Error, blocking::Client};
use procurify_token_tests::protocol::codec;
use procurify_token_tests::protocol::frame::{FrameBuffer, MAX_ANSWER};
use procurify_token_tests::protocol::{Answer, CredentialName, RefusalCode, Request};
use procurify_token_tests::{Home, PATIENCE, name, skipped, skipped_unless_required};
use rustix::process::{Gid, Signal, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

#[test]
fn a_user_and_a_group_get_what_their_rules_say_and_learn_of_nothing_else() {
    if !is_root("users and groups") {
        return;
    }
    let home = home(
        "[[access]]\nuser = \"nobody\"\ncredentials = [\"acme\"]\n\
         [[access]]\ngroup = \"games\"\ncredentials = [\"globex\", \"acme/*\"]\nverbs = [\"get\", \"inspect\"]\n",
    );
    let _daemon = started(&home);

    // The user of the first rule.
    let (allowed, refused) = as_user(&home, NOBODY, &[], |client| {
        let token = client.token(&name("acme")).unwrap().fingerprint();
        let unseen =
            ["globex", "acme/jobs", "initech", "nosuch"].map(|other| denied(client.token(&name(other))));
        (
            token,
            unseen.into_iter().chain([denied(client.list()), denied(client.status())]).collect::<Vec<_>>(),
        )
    });
    assert_eq!(allowed, home.client().token(&name("acme")).unwrap().fingerprint());
    // Word for word the same for what is there and what is not.
    assert!(refused.windows(2).all(|pair| pair[0] == pair[1]), "{refused:?}");

    // A member of the group, by its supplementary groups.
    let listed = as_user(&home, DAEMON, &[GAMES], |client| {
        assert!(client.token(&name("globex")).is_ok());
        let _ = denied(client.token(&name("acme")));
        let removed = client.request(&Request::Remove { name: name("globex") }, PATIENCE);
        let _ = denied(removed);
        client.list().unwrap().into_iter().map(|status| status.name).collect::<Vec<CredentialName>>()
    });
    assert_eq!(listed, [name("acme/jobs"), name("globex")]);

    // The same user without the group.
    as_user(&home, DAEMON, &[], |client| {
        let _ = denied(client.token(&name("globex")));
        let _ = denied(client.list());
    });
    assert_eq!(home.client().list().unwrap().len(), 4, "nothing was removed");
}

#[test]
fn a_changed_rule_holds_for_who_is_connected_already() {
    if !is_root("changed rules") {
        return;
    }
    let rule =
        |credential: &str| format!("[[access]]\nuser = \"nobody\"\ncredentials = [\"{credential}\"]\n");
    let home = home(&rule("acme"));
    let daemon = started(&home);
    let mut client = client_of(&home, NOBODY, &[]);
    assert!(client.token(&name("acme")).is_ok());
    home.configure(&rule("globex"));
    daemon.signal(Signal::HUP);
    // It is read in its own time.
    let is_in_force = (0..LONG).any(|_| client.token(&name("globex")).is_ok());
    assert!(is_in_force, "the new rule is not in force");
    let _ = denied(client.token(&name("acme")));
    home.configure("[[access]]\nuser = \"no such user\"\ncredentials = [\"*\"]\n");
    daemon.signal(Signal::HUP);
    let is_read = (0..LONG).any(|_| home.log().contains("the configuration stays as it was"));
    assert!(is_read, "nobody has read the bad configuration");
    assert!(client.token(&name("globex")).is_ok(), "a bad configuration changes nothing");
}

#[test]
fn who_waits_and_may_no_longer_gets_nothing() {
    if !is_root("lost rights") {
        return;
    }
    let home = home("[[access]]\nuser = \"nobody\"\ncredentials = [\"acme\"]\n");
    let daemon = started(&home);
    let mut client = client_of(&home, NOBODY, &[]);
    let watch = |seen| Request::Watch { name: name("acme"), seen, deadline: PATIENCE };
    let told = client.request(&watch(None), PATIENCE);
    let Ok(Answer::Watched(told)) = told else { panic!("{told:?}") };
    let mut waiting = client_of(&home, NOBODY, &[]);
    let waiting = thread::spawn(move || waiting.request(&watch(Some(told.revision)), PATIENCE));
    // By this it has begun to wait: it was sent long before the rules are read.
    assert!((0..50).all(|_| client.token(&name("acme")).is_ok()));
    configure(&home, "");
    daemon.signal(Signal::HUP);
    let is_in_force = (0..LONG).any(|_| client.token(&name("acme")).is_err());
    assert!(is_in_force, "the rules without any are not in force");
    let _ = home.command(["refresh", "acme"]).run().succeeds();
    let _ = denied(waiting.join().unwrap());
}

#[test]
fn a_unit_of_the_systems_manager_is_told_from_one_of_the_users_own_and_only_there() {
    let test = "units";
    if !is_root(test) {
        return;
    }
    let hierarchy = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup"].map(Path::new);
    let hierarchy = hierarchy.into_iter().find(|path| path.join("cgroup.procs").exists());
    let Some(hierarchy) = hierarchy else { return skipped(test, "there are no control groups here") };
    let unique = format!("ptt-{}.slice", std::process::id());
    let groups = [format!("{unique}/ptt.service"), format!("{unique}/user@7.service/app.slice/ptt.service")];
    let groups = groups.map(|group| hierarchy.join(group));
    if let Err(error) = groups.iter().try_for_each(fs::create_dir_all) {
        return skipped(test, &format!("no control group can be made here: {error}"));
    }

    let home = home("[[access]]\nunit = \"ptt.service\"\ncredentials = [\"acme\"]\n");
    let _daemon = started(&home);
    let command = copy_of("procurify-token", &home, "command");
    let get_in = |group: Option<&Path>| {
        let enter =
            group.map_or(String::new(), |group| format!("echo $$ > {}/cgroup.procs && ", group.display()));
        let get =
            format!("exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {}", command.display());
        let script = format!("{enter}{get} --socket {} get acme", home.socket().display());
        let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let outcomes = [Some(&*groups[0]), Some(&*groups[1]), None].map(get_in);
    for group in
        [&groups[0], &groups[1], groups[1].parent().unwrap(), groups[1].parent().unwrap().parent().unwrap()]
    {
        let _ = fs::remove_dir(group);
    }
    let _ = fs::remove_dir(hierarchy.join(unique));
    assert_eq!(outcomes.each_ref().map(|(code, _)| *code), [Some(0), Some(6), Some(6)], "{outcomes:?}");
}

#[test]
fn a_program_is_what_the_caller_runs_when_it_connects_and_when_it_asks() {
    let test = "programs";
    if !is_root(test) {
        return;
    }
    let perl = Path::new("/usr/bin/perl");
    if !perl.exists() {
        return skipped_unless_required(test, "there is no perl here");
    }
    let home = home("");
    let allowed = home.path().join("allowed");
    let other = home.path().join("other");
    for program in [&allowed, &other] {
        fs::copy(perl, program).unwrap();
        fs::set_permissions(program, Permissions::from_mode(0o755)).unwrap();
    }
    configure(
        &home,
        &format!(
            "[[access]]\nuser = \"nobody\"\nprogram = \"{}\"\ncredentials = [\"acme\"]\n",
            allowed.display()
        ),
    );
    let _daemon = started(&home);
    let script = home.path().join("script");
    fs::write(&script, SCRIPT).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o644)).unwrap();
    let get = Request::Get { name: name("acme"), min_ttl: std::time::Duration::ZERO, deadline: PATIENCE };
    let frame = codec::encode_request(1, &get).unwrap();
    let frame = frame.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let heard_of = |mut command: Command, first: &Path, second: &Path| {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        let output =
            command.args([first, &script, &home.socket(), Path::new(&frame), second]).stdin(Stdio::null());
        let output = output.output().unwrap();
        let heard = String::from_utf8(output.stdout).unwrap();
        let got: Vec<bool> = heard.lines().map(is_token).collect();
        assert_eq!(got.len(), 2, "{heard} {}", String::from_utf8_lossy(&output.stderr));
        (got[0], got[1])
    };
    let heard = |first: &Path, second: &Path| heard_of(Command::new("setpriv"), first, second);
    // With one of them mounted over the other, for itself.
    let heard_where_mounted = |one: &Path, over: &Path| {
        let mut command = Command::new("unshare");
        let mount = "mount --bind \"$0\" \"$1\" && shift && exec setpriv \"$@\"";
        command.args(["--mount", "sh", "-c", mount]).args([one, over]);
        heard_of(command, over, over)
    };
    assert_eq!(heard(&allowed, &allowed), (true, true));
    assert_eq!(
        heard_where_mounted(&other, &allowed),
        (false, false),
        "to the caller alone it is that program"
    );
    assert_eq!(heard(&other, &other), (false, false));
    assert_eq!(heard(&allowed, &other), (true, false), "it became another program after connecting");
    assert_eq!(heard(&other, &allowed), (false, false), "it became the allowed program after connecting");
}

#[test]
fn explain_says_which_rule_decides() {
    if !is_root("explain") {
        return;
    }
    let home = home(
        "[[access]]\nuser = \"nobody\"\ncredentials = [\"acme\"]\n\
         [[access]]\ngroup = \"games\"\nunit = \"nightly.service\"\ncredentials = [\"*\"]\nverbs = [\"inspect\"]\n",
    );
    let _daemon = started(&home);
    let explain = |words: &[&str]| home.command(["access", "explain"].iter().chain(words)).run();
    let told = explain(&["nobody", "acme"]).succeeds().stdout;
    assert!(told.starts_with("nobody (uid 65534) and acme:\n"), "{told}");
    assert!(told.contains("  get         allowed  rule 1: user nobody, credentials acme\n"), "{told}");
    assert!(told.contains("  change      denied   no rule says so\n"), "{told}");
    let told = explain(&["games", "nosuch"]).succeeds().stdout;
    let depends = "  inspect     depends  rule 2: group games, unit nightly.service, credentials *\n";
    assert!(told.contains(depends) && told.contains("get         denied"), "{told}");
    let told = explain(&["0", "acme", "--json"]).succeeds().stdout;
    assert!(told.contains("\"outcome\":\"allowed\"") && told.contains("root may do everything"), "{told}");
    let _ = explain(&["no such user", "acme"]).fails_with(2).saying(&["no user", "getent passwd"]);
}

#[test]
fn a_rule_that_cannot_hold_keeps_the_daemon_from_starting_and_is_named() {
    let home = Home::new(&[]);
    let rule = "[[access]]\nuser = \"root\"\ncredentials = [\"*\"]\n";
    for (second, said) in [
        (
            "user = \"no such user\"\ncredentials = [\"*\"]",
            "[[access]] rule 2 names the user \"no such user\"",
        ),
        ("group = \"no such group\"\ncredentials = [\"*\"]", "rule 2 names the group"),
        ("program = \"/bin/true\"\ncredentials = [\"*\"]", "rule 2 says not who"),
        ("user = \"root\"\ncredentials = []", "rule 2 names no credentials"),
        ("user = \"root\"\ncredentials = [\"acme\"]\nverbs = [\"administer\"]", "the vault is one"),
        ("user = \"root\"\ncredentials = [\"Acme\"]", "write the name of a credential"),
        ("user = \"root\"\ncredentials = [\"*\"]\nverbs = [\"own\"]", "unknown variant"),
        ("unit = \"nightly\"\ncredentials = [\"*\"]", "nightly.service"),
    ] {
        home.configure(&format!("{rule}[[access]]\n{second}\n"));
        let stderr = home.try_start().unwrap_err().stderr;
        assert!(stderr.contains(said) && stderr.contains("config.toml"), "{second}: {stderr}");
        let output = home.daemon_command().arg("--check-config").output().unwrap();
        assert!(!output.status.success(), "check-config finds {second} good");
    }
}

/// Connects, asks, says in hex what it was told, becomes the other program, and does it again on the same connection.
const SCRIPT: &str = r#"
use Socket;
$^F = 255;
my ($path, $frame, $next, $fd) = @ARGV;
if (defined $fd) { open(S, "+<&=", $fd) or die; }
else { socket(S, AF_UNIX, SOCK_STREAM, 0) or die; connect(S, pack_sockaddr_un($path)) or die; }
syswrite(S, pack("H*", $frame)) or die;
sysread(S, my $head, 4) == 4 or die;
my ($told, $length) = ($head, unpack("V", $head));
while ($length > 0) { my $got = sysread(S, my $piece, $length) or die; $told .= $piece; $length -= $got; }
$| = 1;
print unpack("H*", $told), "\n";
exec($next, $0, $path, $frame, $next, fileno(S)) unless defined $fd;
"#;

fn is_token(hex: &str) -> bool {
    let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
    let bytes: Vec<u8> = bytes.collect();
    let mut buffer = FrameBuffer::new(MAX_ANSWER);
    buffer.space()[..bytes.len()].copy_from_slice(&bytes);
    buffer.filled(bytes.len());
    match codec::decode_reply(buffer.next_frame().unwrap().unwrap()).unwrap() {
        Ok(Answer::Token(_)) => true,
        Err(refusal) if refusal.code == RefusalCode::DENIED => false,
        other => panic!("{other:?}"),
    }
}

/// A home into which others may go, with these rules.
fn home(rules: &str) -> Home {
    let home = Home::new(&["acme", "globex", "initech"]);
    configure(&home, rules);
    home
}

fn configure(home: &Home, rules: &str) {
    // Its table comes first, and the rules are tables of their own.
    home.configure(rules);
}

fn started(home: &Home) -> procurify_token_tests::Daemon {
    let daemon = home.start();
    for folder in home.socket().ancestors().skip(1).take_while(|folder| *folder != Path::new("/tmp")) {
        fs::set_permissions(folder, Permissions::from_mode(0o711)).expect("it is our folder");
    }
    for credential in ["acme", "acme/jobs", "globex", "initech"] {
        home.enrol(credential);
        home.client().token(&name(credential)).unwrap();
    }
    daemon
}

/// A copy of one of our programs where anybody can run it.
fn copy_of(program: &str, home: &Home, copy: &str) -> PathBuf {
    let path = home.path().join(copy);
    fs::copy(procurify_token_tests::program(program), &path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// Does this with another user's client.
fn as_user<T>(home: &Home, user: u32, groups: &[u32], what: impl FnOnce(&mut Client) -> T) -> T {
    what(&mut client_of(home, user, groups))
}

/// A client that another user has connected. The kernel has noted who that was, whoever asks from then on.
fn client_of(home: &Home, user: u32, groups: &[u32]) -> Client {
    let options = home.options();
    thread::scope(|scope| {
        let work = move || {
            let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
            let groups: Vec<_> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
            set_thread_groups(&groups).expect("root may have any groups");
            set_thread_res_gid(gid, gid, gid).expect("root may become any group");
            set_thread_res_uid(uid, uid, uid).expect("root may become anybody");
            Client::connect(&options).expect("root's daemon is believed")
        };
        scope.spawn(work).join().expect("others can connect")
    })
}

fn denied<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Refused(refusal)) if refusal.code == RefusalCode::DENIED => format!("{refusal:?}"),
        other => panic!("it was not denied: {other:?}"),
    }
}

fn is_root(test: &str) -> bool {
    if !geteuid().is_root() {
        skipped(test, "only root can become another user");
    }
    geteuid().is_root()
}

/// So often is looked for what comes in its own time.
const LONG: usize = 200_000;
const NOBODY: u32 = 65534;
const DAEMON: u32 = 1;
const GAMES: u32 = 60;
