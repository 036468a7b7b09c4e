//! `exec`: become a command that has a token in its environment, and nowhere else.

use std::io;
use std::process::Command;

use super::get;
use crate::args::ExecArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{bearer, unix};

pub(super) fn run(daemon: &Daemon, args: &ExecArgs) -> Result<(), Failure> {
    let grant = get::token(&mut daemon.connect()?, &args.name, &args.token)?;
    let (program, arguments) = args.command.split_first().expect("clap requires CMD");
    let mut command = Command::new(program);
    command.args(arguments);
    for (variable, value) in bearer::variables(&args.name, &grant) {
        command.env(variable, value.as_str());
    }
    let error = unix::become_command(&mut command);
    let code = match error.kind() {
        io::ErrorKind::NotFound => ExitCode::CommandNotFound,
        _ => ExitCode::CannotRun,
    };
    Err(Failure::new(code, format!("{}: {error}", program.display())))
}
