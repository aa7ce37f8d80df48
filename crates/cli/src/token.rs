//! `dovetail token`: API keys, made here and known nowhere else.

use super::{error::CliError, output::print};
use dovetail_server::auth::api_keys;

/// What is done with API keys.
#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Make an API key: print it, once, and the line for the file that auth.api_keys names
    New(NewArgs),
}

/// Whose key it is.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// Who is to have it; the policy grants roles to this name
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Print an object
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<String, String> {
    if dovetail_server::auth::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 256 bytes, without control characters".to_owned())
    }
}

/// Runs it.
pub fn run(command: &TokenCommand) -> Result<(), CliError> {
    let TokenCommand::New(NewArgs { name, json }) = command;
    let (key, hash) = api_keys::generate()
        .map_err(|_| CliError::Runtime(std::io::Error::other("the system has no random numbers")))?;
    let line = format!("{} = {:?}", toml_key(name), hash);
    if *json {
        return Ok(print(&format!("{}\n", serde_json::json!({"name": name, "key": key, "line": line})))?);
    }
    print(&format!("{key}\n{line}\n"))?;
    eprintln!(
        "The first line is the key: it is shown once. The second is for the file of --api-keys; it has the key's hash alone."
    );
    Ok(())
}

/// A name as a key of TOML.
fn toml_key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.bytes().all(is_bare) { name.to_owned() } else { toml::Value::from(name).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_characters_is_a_key_of_the_file() {
        for name in ["ada", "game 1", "a\"b", "ä.b", "x=y # z"] {
            let (key, hash) = api_keys::generate().unwrap();
            let keys = api_keys::parse(&format!("{} = {hash:?}\n", toml_key(name))).unwrap();
            assert_eq!(keys.find(&api_keys::hash(&key)).unwrap().name(), name);
        }
    }
}
