//! Logs, to stderr.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings};

/// Sends the process's logs to stderr. Call once; a second call changes nothing.
pub fn init(settings: &LogSettings) {
    // The settings were checked; a filter that does not parse cannot come here. One that names modules only is no wish
    // to miss the errors of others; a level of its own comes later, and counts. What clients do wrong in HTTP/2 is told
    // in errors of ours; a warning for each connection would fill the disk at their will.
    let filter = EnvFilter::new(format!("error,h2=error,{}", settings.filter));
    // A node goes on when its logs are no longer read: a line that cannot be written is not reported.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let set = match settings.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Only a test that runs two programs in one process comes here twice.
    drop(set);
}
