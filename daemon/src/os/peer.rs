//! Who is at the other end of a socket: what the kernel says, and nothing that the peer says of itself.
//!
//! User, groups and process are those of the moment of connecting. Which unit and which program the process belongs to is
//! asked anew each time, by way of `/proc`, and believed only where the process that connected is still alive afterwards: its
//! number cannot have become another's meanwhile. On systems that do not tell such a process from a later one with its number
//! (Linux before 6.5, and all others), there is no unit and no program.
//!
//! What a program is worth as an identity is not judged here: whoever may run it can also have it do what it likes.

use crate::principal::Principal;

/// Who connected.
#[derive(Debug, Default)]
pub struct Identity {
    /// The effective user.
    pub user: Option<Principal>,
    /// The process.
    pub pid: Option<i32>,
    /// The effective group, and where they matter the supplementary ones.
    pub groups: Vec<Principal>,
}

/// What a process is.
#[derive(Debug, Default)]
pub struct Seen {
    /// The program that it runs.
    pub program: Option<std::path::PathBuf>,
    /// The unit of the system's service manager that it belongs to.
    pub unit: Option<String>,
}

#[cfg(target_os = "linux")]
pub use linux::{Onlooker, Process, identify};
#[cfg(all(unix, not(target_os = "linux")))]
pub use other::identify;
#[cfg(not(target_os = "linux"))]
pub use other::{Onlooker, Process};

/// The unit that a cgroup belongs to: the first part of its path that is no slice, as in systemd's `cg_path_get_unit`. A unit of
/// a user's own service manager has a name that this user has chosen; here it is a part of `user@UID.service`.
#[cfg(any(target_os = "linux", test))]
fn unit_of_cgroup(told: &str) -> Option<String> {
    // Number, controllers, and a path in which its owner may have written anything.
    let fields = told.lines().filter_map(|line| {
        let (number, rest) = line.split_once(':')?;
        rest.split_once(':').map(|(controllers, path)| (number, controllers, path))
    });
    // The second hierarchy of a mixed machine, or the only one.
    let mixed = fields.clone().find(|(_, controllers, _)| *controllers == "name=systemd");
    let (.., path) = mixed.or_else(|| fields.clone().find(|(number, ..)| *number == "0"))?;
    let mut parts = path.strip_prefix('/')?.split('/');
    let kind = |part: &str| part.rsplit_once('.').map_or("", |(_, kind)| kind).to_owned();
    let unit = parts.find(|part| kind(part) != "slice")?;
    let unit = unit.strip_prefix('_').unwrap_or(unit);
    let is_unit = ["service", "scope", "socket", "mount", "swap"].contains(&&*kind(unit));
    (is_unit && !unit.starts_with('.')).then(|| unit.to_owned())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io;
    use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
    use std::os::unix::fs::MetadataExt as _;
    use std::path::PathBuf;
    use std::sync::{Arc, mpsc};
    use std::thread;

    use nix::sys::socket::{getsockopt, sockopt};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::{Identity, Seen, unit_of_cgroup};
    use crate::principal::Principal;

    /// A process, and no other that should get its number later.
    #[derive(Debug)]
    pub struct Process {
        pid: i32,
        descriptor: OwnedFd,
    }

    /// Asks the kernel who connected, and of a user whose groups matter also for these.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn identify(socket: impl AsFd, groups_matter: impl Fn(&Principal) -> bool) -> io::Result<Identity> {
        let socket = socket.as_fd();
        let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
        // 0 for a process that this one may not see; -1 where the other end was made by nobody.
        let pid = (credentials.pid() > 0).then(|| credentials.pid());
        let user = Principal::from(credentials.uid());
        let mut groups = vec![Principal::from(credentials.gid())];
        if groups_matter(&user) {
            let supplementary = crate::os::groups::supplementary(socket.as_raw_fd())?;
            groups.extend(supplementary.into_iter().map(Principal::from));
        }
        Ok(Identity { user: Some(user), pid, groups })
    }

    impl Process {
        /// The one that connected; it takes a descriptor for as long as it is held on to.
        pub fn of_peer(socket: impl AsFd, pid: Option<i32>) -> Option<Self> {
            let descriptor = getsockopt(&socket.as_fd(), sockopt::PeerPidfd).ok()?;
            Some(Self { pid: pid?, descriptor })
        }

        /// Its number.
        pub fn pid(&self) -> i32 {
            self.pid
        }

        /// A number that no other process has in the time of this boot (Linux 6.9 or later; before, all have the same).
        pub fn id(&self) -> u64 {
            rustix::fs::fstat(&self.descriptor).map_or(0, |stat| stat.st_ino)
        }

        /// The unit of the system's service manager that it belongs to.
        pub fn unit(&self) -> Option<String> {
            let told = fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).ok()?;
            self.is_alive().then(|| unit_of_cgroup(&told))?
        }

        /// The program that it runs, where the file of that name is it for this process too. It takes the right to look into that process: root, or `CAP_SYS_PTRACE`, or the same user.
        fn program(&self) -> Option<PathBuf> {
            let link = format!("/proc/{}/exe", self.pid);
            let program = fs::read_link(&link).ok()?;
            // The path is as that process sees it, and whoever may mount something for himself decides what is there.
            let (runs, named) = (fs::metadata(link).ok()?, fs::metadata(&program).ok()?);
            let is_the_same = (runs.dev(), runs.ino()) == (named.dev(), named.ino());
            (is_the_same && self.is_alive()).then_some(program)
        }

        /// Whether it has not ended. A process's descriptor can be read from once it has.
        pub fn is_alive(&self) -> bool {
            let mut ended = [PollFd::new(&self.descriptor, PollFlags::IN)];
            matches!(poll(&mut ended, Some(&Timespec::default())), Ok(0))
        }
    }

    /// Looks at the programs of processes, from outside the sandbox: landlock keeps whoever is in it from looking into any
    /// process that is not.
    #[derive(Clone, Debug)]
    pub struct Onlooker {
        questions: mpsc::SyncSender<(Arc<Process>, What, mpsc::SyncSender<Seen>)>,
    }

    /// What is looked at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum What {
        Program,
        Everything,
    }

    impl Onlooker {
        /// Starts the thread that looks: before the sandbox is closed, and doing nothing else.
        ///
        /// # Errors
        /// What the kernel says to another thread.
        pub fn start() -> io::Result<Self> {
            let (questions, inbox) = mpsc::sync_channel::<(Arc<Process>, _, mpsc::SyncSender<_>)>(64);
            thread::Builder::new().name("onlooker".to_owned()).spawn(move || {
                for (process, what, answer) in inbox {
                    let unit = if what == What::Everything { process.unit() } else { None };
                    let _ = answer.send(Seen { program: process.program(), unit });
                }
            })?;
            Ok(Self { questions })
        }

        /// The program that a process runs now. A look into `/proc` is waited for: it takes no longer than a token's way out.
        pub fn program_of(&self, process: &Arc<Process>) -> Option<PathBuf> {
            self.ask(process, What::Program).program
        }

        /// What a process is now, its unit included.
        pub fn look(&self, process: &Arc<Process>) -> Seen {
            self.ask(process, What::Everything)
        }

        fn ask(&self, process: &Arc<Process>, what: What) -> Seen {
            let (answer, answered) = mpsc::sync_channel(1);
            let asked = self.questions.send((Arc::clone(process), what, answer));
            asked.ok().and_then(|()| answered.recv().ok()).unwrap_or_default()
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::io;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::Seen;

    /// There are none here: no number of a process can be relied on.
    #[derive(Debug)]
    pub enum Process {}

    /// Asks the kernel who connected.
    ///
    /// # Errors
    /// What the kernel says.
    #[cfg(unix)]
    pub fn identify(
        socket: impl std::os::fd::AsFd,
        _: impl Fn(&crate::principal::Principal) -> bool,
    ) -> io::Result<super::Identity> {
        let (user, group) = nix::unistd::getpeereid(socket.as_fd())?;
        #[cfg(target_vendor = "apple")]
        let pid = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::LocalPeerPid).ok();
        #[cfg(not(target_vendor = "apple"))]
        let pid = None;
        Ok(super::Identity { user: Some(user.as_raw().into()), pid, groups: vec![group.as_raw().into()] })
    }

    impl Process {
        /// There is none.
        pub fn of_peer<T>(_: T, _: Option<i32>) -> Option<Self> {
            None
        }

        /// Never asked.
        pub fn pid(&self) -> i32 {
            match *self {}
        }

        /// Never asked.
        pub fn id(&self) -> u64 {
            match *self {}
        }

        /// Never asked.
        pub fn is_alive(&self) -> bool {
            match *self {}
        }

        /// Never asked.
        pub fn unit(&self) -> Option<String> {
            match *self {}
        }
    }

    /// Never asked.
    #[derive(Clone, Debug)]
    pub struct Onlooker;

    impl Onlooker {
        /// Nothing to start.
        ///
        /// # Errors
        /// Never.
        pub fn start() -> io::Result<Self> {
            Ok(Self)
        }

        /// Never asked.
        pub fn look(&self, process: &Arc<Process>) -> Seen {
            match **process {}
        }

        /// Never asked.
        pub fn program_of(&self, process: &Arc<Process>) -> Option<PathBuf> {
            match **process {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_what_systemd_would_say() {
        let of = |path: &str| unit_of_cgroup(&format!("0::{path}\n"));
        assert_eq!(of("/system.slice/nightly.service").as_deref(), Some("nightly.service"));
        assert_eq!(
            of("/system.slice/system-job.slice/job@7.service/inner").as_deref(),
            Some("job@7.service")
        );
        assert_eq!(of("/a.slice/_machine.service").as_deref(), Some("machine.service"));
        assert_eq!(of("/user.slice/user-7.slice/session-1.scope").as_deref(), Some("session-1.scope"));
        for (path, told) in [
            // What a user calls a unit of his own proves nothing.
            ("/user.slice/user-7.slice/user@7.service/app.slice/nightly.service", Some("user@7.service")),
            (
                "/user.slice/user-7.slice/user@7.service/x:name=systemd:/system.slice/a.service",
                Some("user@7.service"),
            ),
            ("/x:name=systemd:/system.slice/nightly.service", None),
            ("/", None),
            ("/../../system.slice/nightly.service", None),
            ("/docker/0123", None),
            ("/system.slice", None),
            ("nightly.service", None),
        ] {
            assert_eq!(of(path).as_deref(), told, "{path}");
        }
        let mixed = "9:pids:/x.service\n1:name=systemd:/system.slice/a.service\n0::/other.service\n";
        assert_eq!(unit_of_cgroup(mixed).as_deref(), Some("a.service"));
        assert_eq!(unit_of_cgroup(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_peer_has_its_user_its_groups_and_its_program() {
        use std::os::unix::net::UnixStream;
        use std::sync::Arc;
        let (one, _other) = UnixStream::pair().unwrap();
        let identity = identify(&one, |_| true).unwrap();
        assert_eq!(identity.user, Some(rustix::process::geteuid().as_raw().into()));
        assert_eq!(identity.pid, i32::try_from(std::process::id()).ok());
        let mut own: Vec<_> = rustix::process::getgroups()
            .unwrap()
            .iter()
            .map(|group| Principal::from(group.as_raw()))
            .collect();
        own.insert(0, rustix::process::getegid().as_raw().into());
        assert_eq!(identity.groups, own);
        let process = Process::of_peer(&one, identity.pid).expect("this kernel holds on to processes");
        let process = Arc::new(process);
        assert_eq!(Onlooker::start().unwrap().program_of(&process), std::env::current_exe().ok());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn of_a_process_that_has_ended_nothing_is_believed() {
        use std::os::unix::net::{UnixListener, UnixStream};
        use std::process::{Command, Stdio};
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        // The kernel notes who connects: a program that leaves its end to another one and ends.
        let script = format!(
            "import socket,time\ns=socket.socket(socket.AF_UNIX)\ns.connect({:?})\n",
            folder.path().join("s")
        );
        let Ok(mut child) = Command::new("python3").args(["-c", &script]).stdin(Stdio::null()).spawn() else {
            return;
        };
        let (accepted, _): (UnixStream, _) = listener.accept().unwrap();
        child.wait().unwrap();
        let pid = identify(&accepted, |_| true).unwrap().pid;
        let Some(process) = Process::of_peer(&accepted, pid) else { return };
        let process = std::sync::Arc::new(process);
        assert_eq!((process.unit(), Onlooker::start().unwrap().program_of(&process)), (None, None));
    }
}
