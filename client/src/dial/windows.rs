//! Named pipes. They are opened by our own crate for Windows: interprocess would let whoever listens act as us, and has no time
//! limits for programs without a runtime.

use std::io;
use std::path::Path;

use procurify_token_windows::connect;

/// Whether as many as there is room for are connected already.
pub(crate) fn is_crowded(error: &io::Error) -> bool {
    const ERROR_PIPE_BUSY: i32 = 231;
    error.raw_os_error() == Some(ERROR_PIPE_BUSY)
}

#[cfg(feature = "async")]
pub(crate) use on_tokio::{AsyncStream, dial};

#[cfg(feature = "async")]
mod on_tokio {
    use super::{Path, connect, io};

    /// A connection for programs on tokio.
    pub(crate) type AsyncStream = interprocess::os::windows::named_pipe::local_socket::tokio::Stream;

    /// Connects, which takes no time: a pipe is there or not.
    #[expect(clippy::unused_async, reason = "elsewhere one waits for it")]
    pub(crate) async fn dial(pipe: &Path) -> io::Result<AsyncStream> {
        let stream = AsyncStream::try_from(connect(pipe)?);
        stream.map_err(|error| error.cause.unwrap_or_else(|| io::ErrorKind::Other.into()))
    }
}

#[cfg(feature = "blocking")]
pub(crate) use without_runtime::{BlockingStream, dial_blocking, read_arrived, read_within, write_within};

#[cfg(feature = "blocking")]
mod without_runtime {
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    use super::{Path, connect, io};

    /// A connection for programs without a runtime.
    pub(crate) type BlockingStream = procurify_token_windows::Stream;

    /// Connects, which takes no time: a pipe is there or not.
    pub(crate) fn dial_blocking(pipe: &Path, _: Duration) -> io::Result<BlockingStream> {
        BlockingStream::new(connect(pipe)?)
    }

    /// Reads what has arrived already; [`io::ErrorKind::WouldBlock`] where that is nothing.
    pub(crate) fn read_arrived(stream: &mut BlockingStream, buffer: &mut [u8]) -> io::Result<usize> {
        stream.set_limit(Some(Duration::ZERO));
        stream.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => io::ErrorKind::WouldBlock.into(),
            _ => error,
        })
    }

    /// Reads once, within a time.
    pub(crate) fn read_within(
        stream: &mut BlockingStream,
        left: Duration,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        stream.set_limit(Some(left));
        stream.read(buffer)
    }

    /// Writes once, within a time.
    pub(crate) fn write_within(
        stream: &mut BlockingStream,
        left: Duration,
        bytes: &[u8],
    ) -> io::Result<usize> {
        stream.set_limit(Some(left));
        stream.write(bytes)
    }
}
