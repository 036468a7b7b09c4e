//! Programs that do a neighbouring job, as the system's packages have them. One that is not there is said to be missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::floor::Server;
use crate::load::{Exchange, connect};

/// Redis with one value of the answer's size, on a Unix socket and without a disk.
pub(crate) fn redis(folder: &Path, value: usize) -> Option<(Server, Exchange)> {
    let socket = folder.join("redis");
    let mut command = Command::new(found("redis-server")?);
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
    let server = Server::start(command);
    let request = |words: &[&str]| {
        let parts: Vec<_> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{}\r\n{}", words.len(), parts.concat()).into_bytes()
    };
    let value = "a".repeat(value);
    let answer = format!("${}\r\n{value}\r\n", value.len()).len();
    let set = Exchange { socket, request: request(&["SET", "acme", &value]), answer: "+OK\r\n".len() };
    connect(&set.socket);
    set.one_by_one(1);
    Some((server, Exchange { request: request(&["GET", "acme"]), answer, ..set }))
}

/// git's cache with one password: what asks for it, and what to say on its stdin.
pub(crate) fn git_cache(folder: &Path, password: usize) -> Option<(Server, Command, String)> {
    let programs = Command::new(found("git")?).arg("--exec-path").output().ok()?.stdout;
    let programs = PathBuf::from(String::from_utf8(programs).ok()?.trim());
    let cache = programs.join("git-credential-cache");
    // Whose folder others may enter is refused.
    let private = folder.join("git");
    procurify_token_bench::private_folder(&private);
    let socket = private.join("socket");
    let mut daemon = Command::new(programs.join("git-credential-cache--daemon"));
    daemon.arg(&socket).env_clear().env("HOME", folder);
    if !cache.exists() {
        return None;
    }
    let server = Server::start(daemon);
    connect(&socket);
    let command = |action: &str| {
        let mut command = Command::new(&cache);
        command.env_clear().env("HOME", folder).arg("--socket").arg(&socket).arg(action);
        command
    };
    let what = "protocol=https\nhost=acme.procurify.com\nusername=a\n";
    let stored =
        crate::ours::run(&mut command("store"), &format!("{what}password={}\n\n", "a".repeat(password)));
    assert!(stored.0.is_empty(), "git's cache stores in silence");
    Some((server, command("get"), format!("{what}\n")))
}

/// ssh's agent without a key: what lists them.
pub(crate) fn ssh_agent(folder: &Path) -> Option<(Server, Command)> {
    let socket = folder.join("ssh");
    let mut agent = Command::new(found("ssh-agent")?);
    agent.arg("-D").arg("-a").arg(&socket).stderr(Stdio::null());
    let server = Server::start(agent);
    connect(&socket);
    Some((server, ssh_add(&socket)?))
}

/// What starts ssh's agent in the background, and what asks it.
pub(crate) fn ssh_cold(socket: &Path) -> Option<(Command, Command)> {
    let mut agent = Command::new(found("ssh-agent")?);
    agent.arg("-a").arg(socket);
    Some((agent, ssh_add(socket)?))
}

fn ssh_add(socket: &Path) -> Option<Command> {
    let mut list = Command::new(found("ssh-add")?);
    list.arg("-l").env_clear().env("SSH_AUTH_SOCK", socket);
    Some(list)
}

/// A program in the `PATH`.
fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists())
}
