//! The log: to the journal when systemd reads it, else to standard error.
//!
//! Only this program's own events are let through. What libraries say about connections and bodies could hold a secret.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context as _;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::os;

/// Changes how much is logged.
#[derive(Debug)]
pub struct Verbosity(reload::Handle<Targets, Registry>);

impl Verbosity {
    /// From now on this much.
    pub fn set(&self, level: LevelFilter) {
        // It fails only once the log itself is gone, and then there is nothing to change.
        let _ = self.0.reload(only_ours(level));
    }
}

/// Starts the log, in this file where one is named.
///
/// # Errors
/// The file cannot be opened, the journal cannot be reached although systemd said so, or a log runs already.
pub fn start(level: LevelFilter, file: Option<&Path>) -> anyhow::Result<Verbosity> {
    let (filter, handle) = reload::Layer::new(only_ours(level));
    let sink: Box<dyn Layer<Registry> + Send + Sync> = if let Some(path) = file {
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open the log {}", path.display()))?;
        Box::new(fmt::layer().with_writer(Mutex::new(file)).with_target(false).with_ansi(false))
    } else if os::stderr_is_journal() {
        Box::new(tracing_journald::layer().context("cannot reach the journal")?)
    } else {
        Box::new(fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(false))
    };
    tracing_subscriber::registry()
        .with(sink.with_filter(filter))
        .try_init()
        .context("cannot start the log")?;
    Ok(Verbosity(handle))
}

fn only_ours(level: LevelFilter) -> Targets {
    Targets::new().with_target("procurify_tokend", level)
}
