//! Named pipes.
//!
//! A pipe is this user's, with an access list that lets its owner, SYSTEM and the administrators in, and, where there are
//! access rules, everybody who has signed in on this machine; but nobody else may listen at it. Other machines are turned away,
//! and the first instance must be ours: whoever was there before would otherwise share our callers.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::windows::io::AsHandle;
use std::path::{Path, PathBuf};

use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions};
use interprocess::os::windows::local_socket::ListenerOptionsExt as _;
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use procurify_token_windows::{PIPE_ACCESS, pipe_is_closed, private};
use widestring::U16CString;

use super::{BindError, Door};
use crate::os;
use crate::principal::Principal;

/// No service manager hands a pipe over.
#[derive(Debug)]
pub struct Inherited(Infallible);

impl Inherited {
    /// There are none.
    ///
    /// # Errors
    /// Never.
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
    pub fn from_environment() -> io::Result<Vec<Self>> {
        Ok(Vec::new())
    }

    /// Never asked.
    pub fn path(&self) -> PathBuf {
        match self.0 {}
    }

    pub(in crate::ipc) fn open(self) -> io::Result<LocalSocketListener> {
        match self.0 {}
    }
}

/// Makes the pipe. Its name is its lock: nobody else can have it meanwhile.
pub(in crate::ipc) fn bind(
    pipe: &Path,
    door: Door,
) -> Result<(LocalSocketListener, Option<File>), BindError> {
    let is_pipe = pipe.to_str().and_then(|name| name.get(..PIPES.len()));
    if !is_pipe.is_some_and(|begin| begin.eq_ignore_ascii_case(PIPES))
        || pipe.as_os_str().len() == PIPES.len()
    {
        return Err(BindError::NotAPipe(pipe.to_owned()));
    }
    let io = |error: io::Error| match error.kind() {
        // So Windows says that it would not be the first.
        io::ErrorKind::PermissionDenied => BindError::InUse(pipe.to_owned()),
        _ => BindError::Io { socket: pipe.to_owned(), error },
    };
    let name = pipe.to_fs_name::<GenericFilePath>().map_err(io)?;
    let text = U16CString::from_str(access_list(door)).map_err(|error| io(io::Error::other(error)))?;
    let descriptor = SecurityDescriptor::deserialize(&text);
    let options = ListenerOptions::new().name(name).security_descriptor(descriptor.map_err(io)?);
    Ok((options.create_tokio().map_err(io)?, None))
}

/// In Windows's own notation.
fn access_list(door: Door) -> String {
    let everybody_here = match door {
        Door::Private => String::new(),
        Door::Open => format!("(A;;{PIPE_ACCESS:#x};;;AU)"),
    };
    private(os::effective_user().as_sid(), false, &everybody_here)
}

/// It cannot be: a pipe is there for as long as somebody listens.
pub(in crate::ipc) fn is_gone(_: &Path) -> bool {
    false
}

/// Asks the kernel who connected, by being that client for a moment. The process is for the log alone.
pub(in crate::ipc) fn identify(
    stream: &LocalSocketStream,
    _: impl Fn(&Principal) -> bool,
) -> io::Result<os::Identity> {
    let LocalSocketStream::NamedPipe(pipe) = stream;
    let pid = pipe.inner().peer_process_id().ok().and_then(|pid| i32::try_from(pid).ok());
    os::identify(pipe.as_handle(), pid)
}

/// No process is held on to here.
pub(in crate::ipc) fn process_of(stream: &LocalSocketStream, pid: Option<i32>) -> Option<os::Process> {
    os::Process::of_peer(stream, pid)
}

/// Whether the client has closed its end. To write nothing would be read as the end of everything.
pub(in crate::ipc) fn has_hung_up(stream: &LocalSocketStream) -> Option<bool> {
    let LocalSocketStream::NamedPipe(pipe) = stream;
    Some(pipe_is_closed(pipe.as_handle()))
}

const PIPES: &str = r"\\.\pipe\";

#[cfg(test)]
mod tests {
    use super::*;
    use procurify_token_windows::{Security, connect, identity_of_client, own_identity};

    fn pipe(name: &str) -> PathBuf {
        format!(r"\\.\pipe\procurify-token-test-{name}-{}", std::process::id()).into()
    }

    #[tokio::test]
    async fn a_pipe_is_its_owners_and_the_administrators() {
        let pipe = pipe("list");
        let own = own_identity().unwrap();
        let (_listener, _) = bind(&pipe, Door::Private).unwrap();
        let security = Security::of(connect(&pipe).unwrap()).unwrap();
        let sid = &own.user;
        assert_eq!(security.text, format!("O:{sid}D:P(A;;FA;;;{sid})(A;;FA;;;SY)(A;;FA;;;BA)"));
    }

    #[tokio::test]
    async fn where_there_are_rules_whoever_is_signed_in_may_connect_and_not_listen() {
        let pipe = pipe("open");
        let (_listener, _) = bind(&pipe, Door::Open).unwrap();
        let security = Security::of(connect(&pipe).unwrap()).unwrap();
        // Everything but FILE_APPEND_DATA, which is to make an instance.
        assert!(security.text.ends_with("(A;;0x12019b;;;AU)"), "{}", security.text);
    }

    #[tokio::test]
    async fn a_caller_is_whom_the_kernel_says() {
        let pipe = pipe("who");
        let (listener, _) = bind(&pipe, Door::Private).unwrap();
        let client = connect(&pipe).unwrap();
        let stream = listener.accept().await.unwrap();
        let identity = identify(&stream, |_| true).unwrap();
        let own = own_identity().unwrap();
        assert_eq!(identity.user, Some(own.user.clone().into()));
        assert_eq!(identity.pid, i32::try_from(std::process::id()).ok());
        assert_eq!(identity.groups, own.groups.into_iter().map(Into::into).collect::<Vec<_>>());
        assert_eq!(own_identity().unwrap().user, own.user, "nobody else since");
        assert_eq!(has_hung_up(&stream), Some(false));
        drop(client);
        assert_eq!(has_hung_up(&stream), Some(true));
        assert!(identity_of_client(io::stdout().as_handle()).is_err(), "this is no pipe of ours");
    }

    #[tokio::test]
    async fn a_name_that_is_no_pipes_is_refused() {
        for name in [r"C:\a", r"\\server\pipe\a", r"\\.\pipe\", "a"] {
            assert!(matches!(bind(Path::new(name), Door::Private), Err(BindError::NotAPipe(_))), "{name}");
        }
    }
}
