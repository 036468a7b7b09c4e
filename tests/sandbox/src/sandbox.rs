//! A running sandbox: how it starts and stops.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::config::{Config, ConfigError};
use crate::doors;
use crate::house::{Controls, House};
use crate::ledger::Door;
use crate::tls::TlsError;

/// A sandbox on the caller's tokio runtime. Dropping it stops it, requests in flight included.
#[derive(Debug)]
pub struct Sandbox {
    controls: Controls,
    listeners: JoinSet<()>,
}

/// A sandbox on a thread and runtime of its own, for tests that are not async. Dropping it stops
/// it, requests in flight included, and waits until its ports are closed.
#[derive(Debug)]
pub struct Running {
    controls: Controls,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificates could not be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port is taken, or there is no loopback interface.
    #[error("cannot listen on port {port} of the loopback interface")]
    Bind {
        /// The port asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// No thread or runtime could be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl Sandbox {
    /// Starts on the current runtime. When this returns, it answers.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let (http, plain) = listen(config.http_port).await?;
        let (https, tls) = listen(config.https_port).await?;
        let controls = Controls::new(Arc::new(House::build(config)?), http, https);
        let mut listeners = JoinSet::new();
        for listener in plain {
            listeners.spawn(doors::serve(controls.clone(), listener, Door::Plain));
        }
        for listener in tls {
            listeners.spawn(doors::serve(controls.clone(), listener, Door::Tls));
        }
        Ok(Self { controls, listeners })
    }

    /// Starts on a thread of its own. When this returns, it answers.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn spawn(config: Config) -> Result<Running, StartError> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (report, started) = mpsc::channel();
        let serve = move || {
            runtime.block_on(async {
                match Self::start(config).await {
                    Ok(sandbox) => {
                        let _ = report.send(Ok(sandbox.controls.clone()));
                        // An error means that the other end was dropped, which is how it ends.
                        let _ = stopped.await;
                        sandbox.shutdown().await;
                    }
                    Err(error) => drop(report.send(Err(error))),
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name("procurify-sandbox".to_owned())
            .spawn(serve)
            .map_err(StartError::Thread)?;
        let controls = started.recv().map_err(|_| StartError::Thread(io::ErrorKind::BrokenPipe.into()))??;
        Ok(Running { controls, stop: Some(stop), thread: Some(thread) })
    }

    /// Stops, and returns when its ports are closed.
    pub async fn shutdown(mut self) {
        self.listeners.shutdown().await;
    }
}

impl Deref for Sandbox {
    type Target = Controls;

    fn deref(&self) -> &Controls {
        &self.controls
    }
}

impl Deref for Running {
    type Target = Controls;

    fn deref(&self) -> &Controls {
        &self.controls
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

/// Listens on 127.0.0.1, and on the same port of `::1` when it can be had: `localhost` may mean
/// either.
async fn listen(port: u16) -> Result<(SocketAddr, Vec<TcpListener>), StartError> {
    let failed = |source| StartError::Bind { port, source };
    let v4 = TcpListener::bind((IpAddr::from(Ipv4Addr::LOCALHOST), port)).await.map_err(failed)?;
    let address = v4.local_addr().map_err(failed)?;
    let v6 = TcpListener::bind((IpAddr::from(Ipv6Addr::LOCALHOST), address.port())).await;
    Ok((address, std::iter::once(v4).chain(v6).collect()))
}
