//! `procurify-sandbox`: the sandbox as a program. Flags in, lines to paste out, then it serves.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use procurify_sandbox::{Config, Controls, DomainFlag, ExpiresIn, Sandbox};
use tempfile::TempPath;
use tokio::sync::oneshot;

/// A faithful local Procurify to develop against offline
///
/// It prints lines to paste into a shell, then `ready`, and serves until it gets SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(version, after_help = CONTROLS)]
struct Flags {
    /// Port for plain HTTP and the CONNECT proxy; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    http_port: u16,

    /// Port for TLS; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    https_port: u16,

    /// Write the CA's certificate (PEM) here; without it, to a temporary file
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,

    /// A domain, or one application of it; may be repeated [default: acme and globex, with client
    /// id sandbox-NAME, secret sandbox-NAME-secret]
    #[arg(long = "domain", value_name = "NAME[:ID:SECRET:EMAIL]")]
    domains: Vec<DomainFlag>,

    /// Also serve N domains load-00001, load-00002, …
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=99_999))]
    many: u32,

    /// Life of the tokens in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    expires_in: i64,

    /// Print nothing but `export` lines before `ready`
    #[arg(long)]
    print_env: bool,

    /// Stop when standard input is closed, as it is when the parent dies
    #[arg(long)]
    stop_with_stdin: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    // Before anything is announced: who reads `ready` may already send a signal.
    let stop = stop_signal(flags.stop_with_stdin)?;
    let mut config = Config::from_flags(flags.domains, flags.many);
    config.http_port = flags.http_port;
    config.https_port = flags.https_port;
    for domain in &mut config.domains {
        domain.knobs.expires_in = ExpiresIn::Seconds(flags.expires_in);
    }
    let names: Vec<String> = config.domains.iter().map(|domain| domain.name.clone()).collect();
    let sandbox = Sandbox::start(config).await?;
    let ca = CaFile::write(sandbox.ca_pem(), flags.ca_file)?;
    announce(&sandbox, &names, ca.path(), flags.print_env)?;
    stop.await;
    sandbox.shutdown().await;
    Ok(())
}

/// Where the CA's certificate lies: the user's place, or a temporary one that goes with us.
enum CaFile {
    Given(PathBuf),
    Temporary(TempPath),
}

impl CaFile {
    /// Readers see the old file or the new one, never half of one.
    fn write(pem: &str, path: Option<PathBuf>) -> anyhow::Result<Self> {
        let folder = match path.as_deref().map(Path::parent) {
            Some(Some(folder)) if folder == Path::new("") => PathBuf::from("."),
            Some(Some(folder)) => folder.to_owned(),
            _ => std::env::temp_dir(),
        };
        let mut file = tempfile::Builder::new()
            .prefix("procurify-sandbox-ca-")
            .suffix(".pem")
            .tempfile_in(&folder)
            .with_context(|| format!("cannot create a file in {}", folder.display()))?;
        file.write_all(pem.as_bytes()).context("cannot write the CA's certificate")?;
        readable_by_all(file.as_file()).context("cannot set the CA file's mode")?;
        let written = file.into_temp_path();
        let Some(path) = path else {
            return Ok(Self::Temporary(written));
        };
        written.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self::Given(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(path) => path,
        }
    }
}

fn announce(controls: &Controls, names: &[String], ca: &Path, bare: bool) -> anyhow::Result<()> {
    let ca = std::path::absolute(ca)?;
    let exports = [("HTTPS_PROXY", controls.proxy_url()), ("SSL_CERT_FILE", ca.display().to_string())];
    let mut lines = String::new();
    if !bare {
        lines.push_str("# Paste into a shell; then the real URLs lead here:\n");
    }
    for (name, value) in exports {
        writeln!(lines, "export {name}='{}'", value.replace('\'', r"'\''"))?;
    }
    if !bare {
        for name in names.iter().take(SHOWN) {
            for client in controls.clients(name)? {
                writeln!(lines, "# https://{name}.procurify.com  client id {}", client.client_id)?;
            }
            writeln!(lines, "#   without proxy: {}", controls.base_url(name))?;
        }
        if let Some(more) = names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            writeln!(lines, "# … and {more} more domains")?;
        }
        writeln!(lines, "# The secret of client id sandbox-NAME is sandbox-NAME-secret.")?;
        writeln!(lines, "# Control: {}/_sandbox/ledger", controls.proxy_url())?;
    }
    lines.push_str("ready\n");
    let mut stdout = io::stdout().lock();
    stdout.write_all(lines.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Resolves when it is time to stop.
fn stop_signal(with_stdin: bool) -> io::Result<impl Future<Output = ()>> {
    let signal = terminated()?;
    let (closed, stdin) = oneshot::channel();
    if with_stdin {
        std::thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            let mut ignored = [0; 256];
            while matches!(stdin.read(&mut ignored), Ok(1..)) {}
            let _ = closed.send(());
        });
    }
    Ok(async {
        // Without the thread the sender is gone, the second pattern fails and only signals count.
        tokio::select! {
            () = signal => {}
            Ok(()) = stdin => {}
        }
    })
}

#[cfg(unix)]
fn terminated() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn terminated() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

#[cfg(unix)]
fn readable_by_all(file: &std::fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_: &std::fs::File) -> io::Result<()> {
    Ok(())
}

const SHOWN: usize = 10;

const CONTROLS: &str = "\
Control endpoint, on the plain port, JSON in and out:
  GET    /_sandbox/ledger[?domain=NAME]          what was asked, and how it ended
  GET    /_sandbox/domains/NAME/knobs            how the domain behaves
  PUT    /_sandbox/domains/NAME/knobs            make it behave oddly: {\"latency-ms\": 500},
                                                 {\"fault\": \"hang\"}, {\"expires-in\": \"missing\"},
                                                 {\"burst\": {\"count\": 3, \"fault\": \"wrapper-401\"}}
  DELETE /_sandbox/domains/NAME/knobs            as at the start
  POST   /_sandbox/domains/NAME/clients          {\"client-id\", \"client-secret\", \"email\"}: add or rotate
  DELETE /_sandbox/domains/NAME/clients/ID       delete
  POST   /_sandbox/domains/NAME/revoke           the API refuses the tokens issued so far
  POST   /_sandbox/reset                         everything as at the start

Doors: the CONNECT proxy (https://NAME.procurify.com), https://localhost:PORT/d/NAME and
http://127.0.0.1:PORT/d/NAME.";
