//! The least that a server and a client can do: two programs in C, linked statically, and a server on tokio.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

/// Compiles both programs in C into a folder.
pub(crate) fn compile(folder: &Path) -> CPrograms {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("floor");
    let compiled = |name: &str| {
        let linked = folder.join(name).with_extension("linked");
        let source = sources.join(name).with_extension("c");
        let status = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&linked).arg(source).status();
        assert!(status.is_ok_and(|status| status.success()), "cc and the C library's static half are needed");
        // Copied, as ours is.
        let program = folder.join(name);
        std::fs::copy(linked, &program).expect("there is room for it");
        program
    };
    CPrograms { client: compiled("client"), echo: compiled("echo") }
}

/// The programs in C.
pub(crate) struct CPrograms {
    pub(crate) client: PathBuf,
    echo: PathBuf,
}

impl CPrograms {
    /// The server in C, which serves on `socket` until this is dropped.
    pub(crate) fn serve(&self, socket: &Path, request: usize, answer: usize) -> Server {
        let mut command = Command::new(&self.echo);
        command.arg(socket).args([request.to_string(), answer.to_string()]);
        Server::start(command)
    }
}

/// The server on tokio.
pub(crate) fn on_tokio(socket: &Path, request: usize, answer: usize) -> Server {
    let mut command = Command::new(std::env::current_exe().expect("a program knows its own path"));
    command.arg("--echo").arg(socket).args([request.to_string(), answer.to_string()]);
    Server::start(command)
}

/// What the server on tokio does: nothing but read and write, a task for each connection, one thread.
pub(crate) fn echo(socket: &str, request: usize, answer: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = UnixListener::bind(socket).expect("the socket is free");
        loop {
            let (mut peer, _) = listener.accept().await.expect("it accepts");
            tokio::spawn(async move {
                let (mut request, answer) = (vec![0; request], vec![b'a'; answer]);
                while peer.read_exact(&mut request).await.is_ok() {
                    if peer.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// A process that serves until this is dropped.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
