//! What the system tells a daemon while it runs: to stop, or to read its configuration again.

/// What was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To stop.
    Stop,
    /// To read the configuration again; never on Windows.
    Reload,
}

#[cfg(unix)]
pub use unix::Signals;
#[cfg(windows)]
pub use windows::{Signals, ask_to_stop};

#[cfg(unix)]
mod unix {
    use std::io;

    use futures_util::StreamExt as _;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    use super::Told;

    /// SIGTERM, SIGINT and SIGHUP.
    pub struct Signals(signal_hook_tokio::Signals);

    impl Signals {
        /// Notices them from now on. Must be called within a tokio runtime.
        ///
        /// # Errors
        /// What the system says.
        pub fn watch() -> io::Result<Self> {
            signal_hook_tokio::Signals::new([SIGTERM, SIGINT, SIGHUP]).map(Self)
        }

        /// The next one.
        pub async fn next(&mut self) -> Told {
            match self.0.next().await {
                Some(SIGHUP) => Told::Reload,
                _ => Told::Stop,
            }
        }
    }
}

#[cfg(windows)]
mod windows {
    use std::io;

    use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown};
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_logoff, ctrl_shutdown};
    use tokio::sync::Notify;

    use super::Told;

    /// Has the daemon stop: a service is told so by a call and not by a signal.
    pub fn ask_to_stop() {
        ASKED.notify_one();
    }

    static ASKED: Notify = Notify::const_new();

    /// Ctrl-C and Ctrl-Break at the daemon's window, and the end of the window, the session and the machine; and [`ask_to_stop`].
    #[derive(Debug)]
    pub struct Signals(CtrlC, CtrlBreak, CtrlClose, CtrlLogoff, CtrlShutdown);

    impl Signals {
        /// Notices them from now on. Must be called within a tokio runtime.
        ///
        /// # Errors
        /// What the system says.
        pub fn watch() -> io::Result<Self> {
            Ok(Self(ctrl_c()?, ctrl_break()?, ctrl_close()?, ctrl_logoff()?, ctrl_shutdown()?))
        }

        /// The next one.
        pub async fn next(&mut self) -> Told {
            tokio::select! {
                _ = self.0.recv() => {}
                _ = self.1.recv() => {}
                _ = self.2.recv() => {}
                _ = self.3.recv() => {}
                _ = self.4.recv() => {}
                () = ASKED.notified() => {}
            }
            Told::Stop
        }
    }
}
