//! Where the daemon and its clients meet.
//!
//! Both sides follow the same rule, so nothing has to be told to either. The rule is a pure function of the
//! [`Surroundings`]; whether a socket is there, and whose it is, is for whoever connects.

use std::path::{Path, PathBuf};

/// The environment variable that names a socket and overrides the rule.
pub const SOCKET_VARIABLE: &str = "PROCURIFY_TOKEN_SOCKET";

/// Which rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Linux and the BSDs.
    Unix,
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

impl Platform {
    /// The one that this program was built for.
    pub const HERE: Self = if cfg!(windows) {
        Self::Windows
    } else if cfg!(target_os = "macos") {
        Self::MacOs
    } else {
        Self::Unix
    };
}

/// What the rule looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `$PROCURIFY_TOKEN_SOCKET`.
    pub socket_variable: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `%USERNAME%`.
    pub user_name: Option<String>,
}

impl Surroundings {
    /// Those of this process. Empty variables count as unset, relative folders too.
    pub fn of_process() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = |name| path(name).filter(|path| path.is_absolute());
        Self {
            socket_variable: path(SOCKET_VARIABLE),
            runtime_dir: folder("XDG_RUNTIME_DIR"),
            home: folder("HOME"),
            user_name: std::env::var("USERNAME").ok().filter(|name| !name.is_empty()),
        }
    }
}

/// A place to meet: the path of a Unix socket, or the name of a Windows pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The path or pipe name.
    pub path: PathBuf,
    /// How it came about.
    pub origin: Origin,
}

/// How an [`Endpoint`] came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--socket`, the configuration, or [`SOCKET_VARIABLE`].
    Named,
    /// The rule, for one user.
    PerUser,
    /// The rule, for the whole system.
    SystemWide,
}

/// Where a client looks, in this order: what was named and nothing else, or the user's own and then the system's.
pub fn candidates(platform: Platform, named: Option<PathBuf>, around: &Surroundings) -> Vec<Endpoint> {
    if let Some(path) = named.or_else(|| around.socket_variable.clone()) {
        return vec![Endpoint { path, origin: Origin::Named }];
    }
    per_user(platform, around).into_iter().chain([system_wide(platform)]).collect()
}

/// The user's own: `$XDG_RUNTIME_DIR/procurify-token/tokend.sock` where there is such a folder, and
/// `~/.procurify-token/tokend.sock` (in a folder that only the user may enter). Empty without either.
///
/// The daemon listens on all of them. A job of cron has no `XDG_RUNTIME_DIR`, and the folder goes when its user logs
/// out; the home is there for both.
///
/// On macOS `~/Library/Application Support/procurify-token/tokend.sock`, on Windows
/// `\\.\pipe\procurify-token-USERNAME`.
pub fn per_user(platform: Platform, around: &Surroundings) -> Vec<Endpoint> {
    let socket_in = |folder: &Path, name: &str| folder.join(name).join(SOCKET_NAME);
    let (runtime_dir, home) = (around.runtime_dir.as_deref(), around.home.as_deref());
    let paths: Vec<PathBuf> = match platform {
        Platform::Unix => {
            let of_session = runtime_dir.map(|folder| socket_in(folder, "procurify-token"));
            let of_home = home.map(|folder| socket_in(folder, ".procurify-token"));
            of_session.into_iter().chain(of_home).collect()
        }
        Platform::MacOs => home
            .map(|folder| socket_in(folder, "Library/Application Support/procurify-token"))
            .into_iter()
            .collect(),
        Platform::Windows => {
            let user = around.user_name.as_ref().map(|name| name.to_lowercase());
            user.map(|user| PathBuf::from(format!(r"\\.\pipe\procurify-token-{user}"))).into_iter().collect()
        }
    };
    paths.into_iter().map(|path| Endpoint { path, origin: Origin::PerUser }).collect()
}

/// The system's: `/run/procurify-token/tokend.sock`, on macOS `/var/run/…`, on Windows `\\.\pipe\procurify-token`.
pub fn system_wide(platform: Platform) -> Endpoint {
    let path = match platform {
        Platform::Unix => "/run/procurify-token/tokend.sock",
        Platform::MacOs => "/var/run/procurify-token/tokend.sock",
        Platform::Windows => r"\\.\pipe\procurify-token",
    };
    Endpoint { path: path.into(), origin: Origin::SystemWide }
}

const SOCKET_NAME: &str = "tokend.sock";

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(endpoints: &[Endpoint]) -> Vec<&str> {
        endpoints.iter().filter_map(|endpoint| endpoint.path.to_str()).collect()
    }

    fn around() -> Surroundings {
        Surroundings {
            socket_variable: None,
            runtime_dir: Some("/run/user/7".into()),
            home: Some("/home/eve".into()),
            user_name: Some("Eve".into()),
        }
    }

    // Folders are joined as the system does that which the test runs on.
    #[cfg(unix)]
    #[test]
    fn the_runtime_folder_comes_before_the_home_and_the_user_before_the_system() {
        let system = "/run/procurify-token/tokend.sock";
        let with_runtime = candidates(Platform::Unix, None, &around());
        let home = "/home/eve/.procurify-token/tokend.sock";
        assert_eq!(paths(&with_runtime), ["/run/user/7/procurify-token/tokend.sock", home, system]);
        let without = Surroundings { runtime_dir: None, ..around() };
        assert_eq!(paths(&candidates(Platform::Unix, None, &without)), [home, system]);
        assert_eq!(paths(&candidates(Platform::Unix, None, &Surroundings::default())), [system]);
    }

    #[test]
    fn a_named_socket_is_the_only_candidate_and_the_option_beats_the_variable() {
        let around = Surroundings { socket_variable: Some("/a".into()), ..around() };
        assert_eq!(paths(&candidates(Platform::Unix, None, &around)), ["/a"]);
        assert_eq!(paths(&candidates(Platform::Unix, Some("/b".into()), &around)), ["/b"]);
    }

    #[test]
    fn macos_and_windows_have_their_own() {
        #[cfg(unix)]
        assert_eq!(
            paths(&candidates(Platform::MacOs, None, &around())),
            [
                "/home/eve/Library/Application Support/procurify-token/tokend.sock",
                "/var/run/procurify-token/tokend.sock"
            ]
        );
        assert_eq!(
            paths(&candidates(Platform::Windows, None, &around())),
            [r"\\.\pipe\procurify-token-eve", r"\\.\pipe\procurify-token"]
        );
    }
}
