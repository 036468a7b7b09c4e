//! Unix sockets, by way of interprocess.

use std::io;
use std::path::Path;

use interprocess::local_socket::{ConnectOptions, GenericFilePath, ToFsName};

/// Whether as many as there is room for are connected already: one learns of it only afterwards (see `trust`).
pub(crate) fn is_crowded(_: &io::Error) -> bool {
    false
}

#[cfg(feature = "async")]
pub(crate) use on_tokio::{AsyncStream, dial};

#[cfg(feature = "async")]
mod on_tokio {
    use super::{ConnectOptions, GenericFilePath, Path, ToFsName, io};

    /// A connection for programs on tokio.
    pub(crate) type AsyncStream = interprocess::local_socket::tokio::Stream;

    /// Connects.
    pub(crate) async fn dial(socket: &Path) -> io::Result<AsyncStream> {
        ConnectOptions::new().name(socket.to_fs_name::<GenericFilePath>()?).connect_tokio().await
    }
}

#[cfg(feature = "blocking")]
pub(crate) use without_runtime::{BlockingStream, dial_blocking, read_arrived, read_within, write_within};

#[cfg(feature = "blocking")]
mod without_runtime {
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    use interprocess::ConnectWaitMode;
    use interprocess::local_socket::traits::Stream as _;

    use super::{ConnectOptions, GenericFilePath, Path, ToFsName, io};

    /// A connection for programs without a runtime.
    pub(crate) type BlockingStream = interprocess::local_socket::Stream;

    /// Connects within a time.
    pub(crate) fn dial_blocking(socket: &Path, left: Duration) -> io::Result<BlockingStream> {
        let name = socket.to_fs_name::<GenericFilePath>()?;
        ConnectOptions::new().name(name).wait_mode(ConnectWaitMode::Timeout(left)).connect_sync()
    }

    /// Reads what has arrived already; [`io::ErrorKind::WouldBlock`] where that is nothing.
    pub(crate) fn read_arrived(stream: &mut BlockingStream, buffer: &mut [u8]) -> io::Result<usize> {
        stream.set_nonblocking(true)?;
        let outcome = stream.read(buffer);
        stream.set_nonblocking(false)?;
        outcome
    }

    /// Reads once, within a time.
    pub(crate) fn read_within(
        stream: &mut BlockingStream,
        left: Duration,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        stream.set_recv_timeout(Some(left))?;
        stream.read(buffer)
    }

    /// Writes once, within a time.
    pub(crate) fn write_within(
        stream: &mut BlockingStream,
        left: Duration,
        bytes: &[u8],
    ) -> io::Result<usize> {
        stream.set_send_timeout(Some(left))?;
        stream.write(bytes)
    }
}
