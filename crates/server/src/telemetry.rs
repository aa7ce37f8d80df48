//! Logs, to stderr.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings};

/// Sends the process's logs to stderr. Call once; a second call changes nothing.
pub fn init(settings: &LogSettings) {
    // The settings were checked; a filter that does not parse cannot come here. One that names modules only is no wish
    // to miss the errors of others; a level of its own comes later, and counts. What clients do wrong in HTTP/2 is told
    // in errors of ours; a warning for each connection would fill the disk at their will.
    let filter = EnvFilter::new(format!("error,h2=error,{}", with_crates(&settings.filter)));
    // A node goes on when its logs are no longer read: a line that cannot be written is not reported.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let set = match settings.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Only a test that runs two programs in one process comes here twice.
    drop(set);
}

/// A filter with the modules where they are. All were of the crate `dovetail` once, and filters may still say so:
/// `dovetail::rpc=debug`. `dovetail=debug` needs nothing: it means whatever begins like that.
fn with_crates(filter: &str) -> String {
    const CRATE: &str = "dovetail::";
    let (mut text, mut rest) = (String::with_capacity(filter.len()), filter);
    while let Some(at) = rest.find(CRATE) {
        let (before, path) = (&rest[..at], &rest[at + CRATE.len()..]);
        let module = path.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        text.push_str(before);
        // Without the module's name where the crate has it.
        let skipped = match module {
            "client" | "traffic" => {
                text.push_str(CRATE);
                0
            }
            "tls" | "bench" | "cli" | "convert" => {
                text.push_str(match module {
                    "tls" => "dovetail_certs",
                    "bench" => "dovetail_bench",
                    "cli" => "dovetail_cli",
                    _ => "dovetail_wire",
                });
                module.len()
            }
            _ => {
                text.push_str("dovetail_server::");
                0
            }
        };
        rest = &path[skipped..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_the_time_of_one_crate_mean_what_they_meant() {
        for (said, meant) in [
            ("info", "info"),
            ("dovetail=debug,h2=warn", "dovetail=debug,h2=warn"),
            ("dovetail::rpc", "dovetail_server::rpc"),
            (
                "warn,dovetail::rpc::link=debug,dovetail::tls=info",
                "warn,dovetail_server::rpc::link=debug,dovetail_certs=info",
            ),
            ("dovetail::client::watch=trace", "dovetail::client::watch=trace"),
            ("dovetail_server::rpc=debug", "dovetail_server::rpc=debug"),
        ] {
            assert_eq!(with_crates(said), meant);
            assert!(EnvFilter::try_new(with_crates(said)).is_ok(), "{said}");
        }
    }
}
