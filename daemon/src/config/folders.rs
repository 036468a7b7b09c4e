//! Where a daemon lives on the disk.

use std::path::PathBuf;

use etcetera::BaseStrategy;

use super::{AbsolutePath, AuditConfig, CacheConfig, ConfigError, VaultConfig};
use crate::vault::VaultPaths;

/// The folders that a daemon lives in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Configuration and key file.
    pub config: PathBuf,
    /// The vault.
    pub data: PathBuf,
    /// What may be lost.
    pub state: PathBuf,
}

impl Folders {
    /// Those of this user, by the XDG base directory specification; on Windows `%APPDATA%` and `%LOCALAPPDATA%`.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`].
    pub fn of_user() -> Result<Self, ConfigError> {
        #[cfg(unix)]
        let base = etcetera::base_strategy::Xdg::new().map_err(|_| ConfigError::NoHome)?;
        #[cfg(windows)]
        let base = etcetera::base_strategy::Windows::new().map_err(|_| ConfigError::NoHome)?;
        // What goes along with a user from one machine to another has no vault in it.
        let data = if cfg!(windows) { base.cache_dir() } else { base.data_dir() };
        let state = base.state_dir().unwrap_or_else(|| data.clone());
        Ok(Self { config: base.config_dir().join(NAME), data: data.join(NAME), state: state.join(NAME) })
    }

    /// Those of the whole system: `/etc/procurify-token` and `/var/lib/procurify-token`, on Windows in `%ProgramData%`.
    pub fn of_system() -> Self {
        #[cfg(windows)]
        {
            let shared =
                std::env::var_os("ProgramData").map_or_else(|| r"C:\ProgramData".into(), PathBuf::from);
            let ours = shared.join(NAME);
            return Self { config: ours.join("config"), data: ours.join("data"), state: ours.join("data") };
        }
        #[cfg(unix)]
        Self::of_unix_system()
    }

    #[cfg(unix)]
    fn of_unix_system() -> Self {
        let data = PathBuf::from("/var/lib").join(NAME);
        Self { config: PathBuf::from("/etc").join(NAME), state: data.clone(), data }
    }

    /// Where the configuration file is.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Where the vault and its key file are: apart, so that a copied data folder opens nothing.
    pub fn vault(&self, config: &VaultConfig) -> VaultPaths {
        let chosen =
            |path: &Option<AbsolutePath>, default: PathBuf| path.clone().map_or(default, PathBuf::from);
        VaultPaths {
            credential: credentials_folder().map(|folder| folder.join(CREDENTIAL)),
            command: config.command.clone().map(|command| command.timed(config.command_timeout)),
            generations: config.generations.into(),
            ..VaultPaths::new(
                chosen(&config.path, self.data.join("vault")),
                chosen(&config.key_file, self.config.join("vault.key")),
            )
        }
    }

    /// Where the log is kept of a daemon whose standard error nobody reads.
    pub fn log(&self) -> PathBuf {
        self.state.join("tokend.log")
    }

    /// Where audit records are kept.
    pub fn audit(&self, config: &AuditConfig) -> PathBuf {
        config.path.clone().map_or_else(|| self.state.join("audit"), PathBuf::from)
    }

    /// Where sealed tokens are kept.
    pub fn cache(&self, config: &CacheConfig) -> PathBuf {
        config.path.clone().map_or_else(|| self.state.join("tokens.redb"), PathBuf::from)
    }
}

/// Where systemd puts the credentials of a service (systemd.exec(5)).
fn credentials_folder() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The name of the credential that holds a key file's line.
const CREDENTIAL: &str = "procurify-token.vault-key";
const NAME: &str = "procurify-token";
