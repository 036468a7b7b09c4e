//! `exec`: become a command that has a token in its environment, and nowhere else.

use std::process::Command;

use super::obtain;
use crate::args::ExecArgs;
use crate::connect::Daemon;
use crate::exit::{ExitCode, Failure};
use crate::{bearer, system};

pub(super) fn run(daemon: &Daemon, args: &ExecArgs) -> Result<(), Failure> {
    let grant = obtain::token(&mut daemon.connect()?, &args.name, &args.token)?;
    let (program, arguments) = args.command.split_first().expect("clap requires CMD");
    let mut command = Command::new(program);
    command.args(arguments);
    for (variable, value) in bearer::variables(&args.name, &grant) {
        command.env(variable, value.as_str());
    }
    let error = system::become_command(&mut command);
    let code = ExitCode::of_unrunnable(&error);
    let hint = match code {
        ExitCode::CommandNotFound => {
            "give its path, or a program in a folder of PATH; sh -c '...' runs a line of shell"
        }
        _ => {
            "it has to be a program that you may execute (chmod +x), with a first line such as #!/bin/sh if it is a script"
        }
    };
    Err(Failure::new(code, format!("{}: {error}", program.display())).hint(hint))
}
