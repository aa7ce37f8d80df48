//! `dovetail context`: servers by name, and how to connect to each, so that commands need not be told each time.
//!
//! A context has the defaults of flags and variables. A command that names another server gets nothing of it, so that a
//! token never goes to a server that it is not for. The file has names of files and no secrets.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, parser::ValueSource};
use serde::{Deserialize, Serialize};

use super::{error::CliError, output::print};

/// What is done with contexts.
#[derive(Debug, clap::Subcommand)]
pub enum ContextCommand {
    /// List the contexts; a star marks the one in use
    List,
    /// Use a context from now on
    Use {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Make a context, or replace it
    Set(SetArgs),
    /// Show a context, or the one in use
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

/// A context to keep.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// The balancer to talk to; several of one cluster, with commas or repeated
    #[arg(long = "server", id = "of-server", value_name = "URL,..", value_delimiter = ',', required = true)]
    server: Vec<String>,
    /// The authority that signs the servers' certificates, in PEM
    #[arg(long = "tls-ca", id = "of-tls-ca", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The certificate to show, in PEM
    #[arg(long = "tls-cert", id = "of-tls-cert", value_name = "FILE", requires = "of-tls-key")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long = "tls-key", id = "of-tls-key", value_name = "FILE", requires = "of-tls-cert")]
    tls_key: Option<PathBuf>,
    /// The file with the token to show
    #[arg(long = "token-file", id = "of-token-file", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A server, and how to connect to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
}

/// The file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contexts {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// The command line, with the defaults of the context in use.
pub fn parse<C: CommandFactory + FromArgMatches>() -> Result<C, CliError> {
    let arguments: Vec<OsString> = env::args_os().collect();
    let plain = C::command().try_get_matches_from(&arguments).map_err(CliError::Usage)?;
    let matches = match in_use(&plain)? {
        None => plain,
        Some(context) => context.defaults(C::command()).try_get_matches_from(&arguments).map_err(CliError::Usage)?,
    };
    C::from_arg_matches(&matches).map_err(CliError::Usage)
}

/// The context of a command that asks a server and was not told which.
fn in_use(matches: &ArgMatches) -> Result<Option<Context>, CliError> {
    let mut command = matches;
    while let Some((_, below)) = command.subcommand() {
        command = below;
    }
    let is_default = matches!(command.try_contains_id("server"), Ok(true))
        && command.value_source("server") == Some(ValueSource::DefaultValue);
    if !is_default {
        return Ok(None);
    }
    let Some(path) = file() else { return Ok(None) };
    let Contexts { current, mut contexts } = Contexts::read(&path)?;
    let Some(name) = env::var("DOVETAIL_CONTEXT").ok().filter(|name| !name.is_empty()).or(current) else {
        return Ok(None);
    };
    let context = contexts.remove(&name).ok_or_else(|| unknown(&name, &path))?;
    // Flags have it from here on: what is wrong with it is said now.
    for server in context.server.split(',') {
        dovetail::address::node_url(server)
            .map_err(|error| CliError::Arguments(format!("context {name:?} in {}, server: {error}", path.display())))?;
    }
    Ok(Some(context))
}

impl Context {
    /// A command whose flags have this context's values by default.
    fn defaults(&self, command: Command) -> Command {
        let files = [
            ("tls_ca", &self.tls_ca),
            ("tls_cert", &self.tls_cert),
            ("tls_key", &self.tls_key),
            ("token_file", &self.token_file),
        ];
        let files = files.into_iter().filter_map(|(id, path)| Some((id, path.as_ref()?.clone().into_os_string())));
        // clap wants values that live as long as the process, which parses its command line once.
        let lasting = |value: OsString| -> &'static OsStr { Box::leak(value.into_boxed_os_str()) };
        let values: Vec<_> =
            files.chain([("server", self.server.clone().into())]).map(|(id, value)| (id, lasting(value))).collect();
        with_defaults(command, &values)
    }
}

fn with_defaults(command: Command, values: &[(&'static str, &'static OsStr)]) -> Command {
    let has_server = command
        .get_arguments()
        .any(|argument| argument.get_id() == "server" && !argument.get_default_values().is_empty());
    let of_command = values.iter().filter(|_| has_server);
    let command = of_command
        .fold(command, |command, (id, value)| command.mut_arg(*id, |argument| argument.default_value(*value)));
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    below.into_iter().fold(command, |command, name| command.mut_subcommand(name, |below| with_defaults(below, values)))
}

/// Where contexts are kept; nowhere, where there is no home.
fn file() -> Option<PathBuf> {
    let of = |name: &str| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    of("DOVETAIL_CONTEXTS")
        .or_else(|| of("XDG_CONFIG_HOME").map(|folder| folder.join("dovetail/config.toml")))
        .or_else(|| of("HOME").map(|folder| folder.join(".config/dovetail/config.toml")))
}

fn unknown(name: &str, path: &Path) -> CliError {
    CliError::Arguments(format!(
        "there is no context {name:?} in {}; `dovetail context list` shows those that are there",
        path.display()
    ))
}

impl Contexts {
    fn read(path: &Path) -> Result<Contexts, CliError> {
        let refused = |reason: String| CliError::Arguments(format!("contexts in {}: {reason}", path.display()));
        match fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|error| refused(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contexts::default()),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Puts the file in place of the old one, whole or not at all.
    fn write(&self, path: &Path) -> Result<(), CliError> {
        let output = |error: io::Error| CliError::Output { path: path.to_owned(), error };
        let text = toml::to_string(self).map_err(|error| output(io::Error::other(error)))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(output)?;
        }
        let new = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(output)?;
        io::Write::write_all(&mut file, text.as_bytes()).map_err(output)?;
        fs::rename(&new, path).map_err(output)
    }
}

/// Runs it.
pub fn run(command: ContextCommand) -> Result<(), CliError> {
    let path = file().ok_or_else(|| CliError::Arguments("no HOME, and no DOVETAIL_CONTEXTS".to_owned()))?;
    let mut all = Contexts::read(&path)?;
    match command {
        ContextCommand::List => {
            let line = |(name, context): (&String, &Context)| {
                let mark = if all.current.as_ref() == Some(name) { "*" } else { " " };
                format!("{mark} {name}  {}\n", context.server)
            };
            Ok(print(&all.contexts.iter().map(line).collect::<String>())?)
        }
        ContextCommand::Use { name } => {
            if !all.contexts.contains_key(&name) {
                return Err(unknown(&name, &path));
            }
            all.current = Some(name);
            all.write(&path)
        }
        ContextCommand::Set(SetArgs { name, server, tls_ca, tls_cert, tls_key, token_file }) => {
            let urls = server.iter().map(|server| dovetail::address::node_url(server));
            let server = urls.collect::<Result<Vec<_>, _>>().map_err(CliError::Address)?.join(",");
            // Commands are run in other folders, too.
            let whole = |path: Option<PathBuf>| path.map(std::path::absolute).transpose();
            let context = Context {
                server,
                tls_ca: whole(tls_ca)?,
                tls_cert: whole(tls_cert)?,
                tls_key: whole(tls_key)?,
                token_file: whole(token_file)?,
            };
            all.contexts.insert(name.clone(), context);
            all.current.get_or_insert(name);
            all.write(&path)
        }
        ContextCommand::Show { name } => {
            let name = name.or(all.current).ok_or_else(|| CliError::Arguments("no context is in use".to_owned()))?;
            let context = all.contexts.get(&name).ok_or_else(|| unknown(&name, &path))?;
            Ok(print(&toml::to_string(context).map_err(|error| CliError::Arguments(error.to_string()))?)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;

    fn context() -> Context {
        let token_file = Some("/t".into());
        Context { server: "https://a:1".to_owned(), tls_ca: Some("/ca".into()), token_file, ..Context::default() }
    }

    fn value(command: Command, line: &str, id: &str) -> Option<String> {
        let matches = command.try_get_matches_from(format!("dovetail {line}").split(' ')).unwrap();
        let mut below = &matches;
        while let Some((_, next)) = below.subcommand() {
            below = next;
        }
        let raw = below.get_raw(id)?.next()?;
        Some(raw.to_string_lossy().into_owned())
    }

    #[test]
    fn a_context_is_the_default_of_every_command_that_asks_a_server() {
        for line in ["pool list", "get 17", "watch", "status", "submit --pool p FILE"] {
            let with = |id: &str| value(context().defaults(Cli::command()), line, id);
            assert_eq!(with("server").as_deref(), Some("https://a:1"), "{line}");
            assert_eq!((with("tls_ca").as_deref(), with("token_file").as_deref()), (Some("/ca"), Some("/t")), "{line}");
            assert_eq!(with("tls_cert"), None);
        }
        let told = value(context().defaults(Cli::command()), "watch --server http://b:2", "server");
        assert_eq!(told.as_deref(), Some("http://b:2"));
        context().defaults(Cli::command()).debug_assert();
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = env::temp_dir().join(format!("dovetail-contexts-{}", std::process::id()));
        let path = folder.join("deep/config.toml");
        assert_eq!(Contexts::read(&path).unwrap(), Contexts::default());
        let contexts = BTreeMap::from([("a b".to_owned(), context())]);
        let all = Contexts { current: Some("a b".to_owned()), contexts };
        all.write(&path).unwrap();
        assert_eq!(Contexts::read(&path).unwrap(), all);
        fs::write(&path, "[contexts.x]\nserver = 7\n").unwrap();
        assert!(Contexts::read(&path).unwrap_err().to_string().contains("config.toml"));
        fs::remove_dir_all(folder).unwrap();
    }
}
