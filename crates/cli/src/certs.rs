//! `dovetail certs`: an authority and certificates to begin with, and what a certificate says. Needs no cluster.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::CliError;
use super::output;
use dovetail::Role;
use dovetail::address;

use dovetail_certs::{Authority, Issued, MakeError, NodeName, Proved, Validity, certificates, is_fit_for_files};
use dovetail_server::printable::printable_lines;
use dovetail_server::settings::{Settings, SettingsError, Sources};

const DAY: Duration = Duration::from_secs(86_400);
/// For how long an authority is good, in days.
const AUTHORITY_DAYS: u32 = 3_650;

const CERTS: &str = "\
Examples:
  dovetail certs init certs --config dovetail.toml --client ada
  dovetail certs init certs --balancer 10.0.0.1 --matcher 10.0.0.2 --gatherer 10.0.0.3
  dovetail certs client certs bob
  dovetail certs show certs/matcher-0/cert.pem

A node or client needs the three files of its folder and nothing else: cert.pem, key.pem, ca.pem.
Whoever has ca.key can be anybody: it stays where it was made.";

/// What to do with certificates.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = CERTS)]
pub enum CertsCommand {
    /// Make an authority, and a certificate for every node; again: new certificates of the same authority
    Init(InitArgs),
    /// Make a certificate for a client
    Client(ClientArgs),
    /// Show which node or client certificates name, where they are valid, and until when
    Show(ShowArgs),
}

/// Flags of `dovetail certs init`.
#[derive(Debug, clap::Args)]
#[command(after_help = CERTS)]
pub struct InitArgs {
    /// Where to put them: a folder for each node and client, and ca.pem and ca.key
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Settings file, in TOML: the cluster's name, and the hosts of all nodes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "balancer", "matcher", "gatherer"])]
    config: Option<PathBuf>,
    /// The cluster's name
    #[arg(long, value_name = "CLUSTER", default_value = "dovetail")]
    name: String,
    /// Where the balancer is dialled, or each in order of their index; several names or addresses with commas
    #[arg(long, value_name = "HOST,..", required_unless_present = "config")]
    balancer: Vec<String>,
    /// The same of each matcher, in order of their index
    #[arg(long, value_name = "HOST,..", required_unless_present = "config")]
    matcher: Vec<String>,
    /// The same of each gatherer, in order of their index
    #[arg(long, value_name = "HOST,..", required_unless_present = "config")]
    gatherer: Vec<String>,
    /// A client that gets a certificate too; may be repeated
    #[arg(long, value_name = "NAME")]
    client: Vec<String>,
    #[command(flatten)]
    validity: ValidityArgs,
}

/// Flags of `dovetail certs client`.
#[derive(Debug, clap::Args)]
pub struct ClientArgs {
    /// The folder that `dovetail certs init` made
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The client's name: 1 to 64 of a-z A-Z 0-9 _ . -
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    validity: ValidityArgs,
}

/// Flags of `dovetail certs show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Files of certificates, in PEM
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ValidityArgs {
    /// For how many days certificates are good
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

impl ValidityArgs {
    fn validity(&self) -> Validity {
        Validity(DAY * self.days)
    }
}

/// Runs it.
pub fn run(command: CertsCommand) -> Result<(), CliError> {
    match command {
        CertsCommand::Init(arguments) => init(&arguments),
        CertsCommand::Client(arguments) => client(&arguments),
        CertsCommand::Show(arguments) => show(&arguments),
    }
}

/// A node, and the hosts at which it is dialled.
type Dialled = (NodeName, Vec<String>);

/// The settings of a file. Where its nodes listen does not matter here, nor where they will have the certificates that
/// are to be made.
fn settings(file: &Path) -> Result<Settings, SettingsError> {
    let load = |flags: &[(&'static str, &str)]| {
        let flags = flags.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        Sources { file: Some(file.to_owned()), flags, ..Sources::default() }.load(Role::Balancer)
    };
    let insecure = ("node.insecure", "true");
    load(&[insecure]).or_else(|error| match error {
        SettingsError::Tls { .. } => {
            load(&[insecure, ("tls.cert", "cert.pem"), ("tls.key", "key.pem"), ("tls.ca", "ca.pem")])
        }
        other => Err(other),
    })
}

/// The cluster's name, and every node.
fn nodes(arguments: &InitArgs) -> Result<(String, Vec<Dialled>), CliError> {
    let (cluster, hosts) = match &arguments.config {
        Some(file) => {
            let settings = settings(file)?;
            let of = |(role, index, url): (Role, u32, &str)| (role, index, vec![address::host(url).to_owned()]);
            (settings.cluster.name, settings.node.addresses.all().map(of).collect::<Vec<_>>())
        }
        None => {
            let of = |role, all: &[String]| -> Vec<_> {
                let hosts = |text: &String| text.split(',').map(|host| host.trim().to_owned()).collect();
                (0..).zip(all).map(|(index, text)| (role, index, hosts(text))).collect()
            };
            let balancer = of(Role::Balancer, &arguments.balancer);
            let others = [of(Role::Matcher, &arguments.matcher), of(Role::Gatherer, &arguments.gatherer)];
            (arguments.name.clone(), balancer.into_iter().chain(others.into_iter().flatten()).collect())
        }
    };
    if !is_fit_for_files(&cluster) {
        return Err(CliError::Arguments(format!("{cluster:?} is no name of a cluster: 1 to 64 of a-z A-Z 0-9 _ . -")));
    }
    let named = |(role, index, hosts)| (NodeName { cluster: cluster.clone(), role, index }, hosts);
    Ok((cluster.clone(), hosts.into_iter().map(named).collect()))
}

fn init(arguments: &InitArgs) -> Result<(), CliError> {
    let (cluster, nodes) = nodes(arguments)?;
    arguments.client.iter().try_for_each(|name| check_client(name))?;
    let dir = &arguments.dir;
    let validity = arguments.validity.validity();
    // All of it is made before any of it is written.
    let kept = kept(dir)?;
    let (authority, pem, new) = match kept {
        Some((found, _, _)) if found != cluster => {
            let text = format!("{} has the authority of cluster {found:?}, not of {cluster:?}", dir.display());
            return Err(CliError::Arguments(text));
        }
        Some((_, authority, pem)) => (authority, pem, None),
        None => {
            let (authority, issued) = Authority::new(&cluster, Validity(DAY * AUTHORITY_DAYS)).map_err(cannot)?;
            (authority, issued.cert.clone(), Some(issued))
        }
    };
    let mut made = Vec::new();
    for (name, hosts) in &nodes {
        let issued = authority.node(name, hosts, validity).map_err(cannot)?;
        made.push((format!("{}-{}", name.role, name.index), hosts.join(", "), issued));
    }
    for name in &arguments.client {
        made.push((
            format!("client-{name}"),
            String::new(),
            authority.client(&cluster, name, validity).map_err(cannot)?,
        ));
    }
    let state = if new.is_some() { "new" } else { "as it was" };
    if let Some(issued) = new {
        write(&dir.join("ca.key"), &issued.key, true)?;
        write(&dir.join("ca.pem"), &issued.cert, false)?;
    }
    let mut text = format!("authority of cluster {cluster:?} in {}, {state}\n", dir.display());
    for (folder, hosts, issued) in &made {
        write_folder(&dir.join(folder), issued, &pem)?;
        let _ = writeln!(text, "  {:<24}  {hosts}", dir.join(folder).display());
    }
    let _ = writeln!(text, "good for {} days; each folder goes to its host, ca.key to none", arguments.validity.days);
    Ok(output::print(&text)?)
}

fn client(arguments: &ClientArgs) -> Result<(), CliError> {
    check_client(&arguments.name)?;
    let dir = &arguments.dir;
    let Some((cluster, authority, pem)) = kept(dir)? else {
        return Err(CliError::Arguments(format!("{} has no authority; dovetail certs init makes one", dir.display())));
    };
    let issued = authority.client(&cluster, &arguments.name, arguments.validity.validity()).map_err(cannot)?;
    let folder = dir.join(format!("client-{}", arguments.name));
    write_folder(&folder, &issued, &pem)?;
    Ok(output::print(&format!("{}, good for {} days\n", folder.display(), arguments.validity.days))?)
}

fn show(arguments: &ShowArgs) -> Result<(), CliError> {
    let mut text = String::new();
    for file in &arguments.files {
        let all = certificates(file).map_err(|error| CliError::Arguments(error.to_string()))?;
        for certificate in all {
            let whom = match (&certificate.names, certificate.is_authority) {
                (Proved::Node(name), _) => name.to_string(),
                (Proved::Client(name), true) => format!("authority {name}"),
                (Proved::Client(name), false) => format!("client {name}"),
            };
            let _ = writeln!(text, "{}: {whom}", file.display());
            if !certificate.hosts.is_empty() {
                let _ = writeln!(text, "  at     {}", certificate.hosts.join(", "));
            }
            let (from, until) =
                (dovetail_certs::time(certificate.not_before), dovetail_certs::time(certificate.not_after));
            let _ = writeln!(text, "  signer {}\n  from   {from}\n  until  {until}", certificate.issuer);
        }
    }
    Ok(output::print(&printable_lines(&text))?)
}

fn check_client(name: &str) -> Result<(), CliError> {
    if is_fit_for_files(name) {
        Ok(())
    } else {
        Err(CliError::Arguments(format!("{name:?} is no name of a client: 1 to 64 of a-z A-Z 0-9 _ . -")))
    }
}

/// The authority that a folder has: its cluster, itself, and its certificate.
fn kept(dir: &Path) -> Result<Option<(String, Authority, String)>, CliError> {
    let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    match (cert.exists(), key.exists()) {
        (false, false) => return Ok(None),
        (true, true) => {}
        (is_there, _) => {
            let [here, missing] = if is_there { ["ca.pem", "ca.key"] } else { ["ca.key", "ca.pem"] };
            let text = format!(
                "{} has {here} and no {missing}: an authority is both; another folder gets a new one",
                dir.display()
            );
            return Err(CliError::Arguments(text));
        }
    }
    let read = |path: &Path| {
        fs::read_to_string(path)
            .map_err(|error| CliError::Input { name: path.display().to_string(), reason: error.to_string() })
    };
    let issued = Issued { cert: read(&cert)?, key: read(&key)? };
    let names = certificates(&cert).map_err(|error| CliError::Arguments(error.to_string()))?.swap_remove(0).names;
    let uri = names.name();
    let Some(cluster) = uri.strip_prefix("spiffe://") else {
        let text = format!("{} is of {names}, and not of an authority that dovetail certs init made", cert.display());
        return Err(CliError::Arguments(text));
    };
    let authority = Authority::open(&issued).map_err(|error| {
        CliError::Arguments(format!("the authority of {} and {}: {error}", cert.display(), key.display()))
    })?;
    Ok(Some((cluster.to_owned(), authority, issued.cert)))
}

fn cannot(error: MakeError) -> CliError {
    CliError::Arguments(error.to_string())
}

fn write_folder(folder: &Path, issued: &Issued, ca: &str) -> Result<(), CliError> {
    write(&folder.join("key.pem"), &issued.key, true)?;
    write(&folder.join("cert.pem"), &issued.cert, false)?;
    write(&folder.join("ca.pem"), ca, false)
}

/// Puts a file in its place all at once; a secret one is for its owner only.
fn write(path: &Path, text: &str, secret: bool) -> Result<(), CliError> {
    let refused = |error| CliError::Output { path: path.to_owned(), error };
    let written = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = path.with_extension("new");
        // What a run left behind that was cut off may have other rights.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mode = if secret { 0o600 } else { 0o644 };
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_says_https_before_there_are_certificates_says_which_nodes_there_are() {
        let file = std::env::temp_dir().join(format!("dovetail-certs-{}.toml", std::process::id()));
        let addresses = |scheme: &str| {
            format!(
                "[cluster]\nname = \"trial\"\nbalancer = \"{scheme}://10.0.0.1:7400\"\n\
                 matchers = [\"{scheme}://[fd00::2]:7401\"]\ngatherers = [\"{scheme}://three:7402\"]\n"
            )
        };
        for text in [addresses("http"), addresses("https"), addresses("https") + "[tls]\nkey = \"key.pem\"\n"] {
            fs::write(&file, &text).unwrap();
            let settings = settings(&file).unwrap_or_else(|error| panic!("{error} in {text}"));
            let hosts: Vec<_> =
                settings.node.addresses.all().map(|(_, _, url)| address::host(url).to_owned()).collect();
            assert_eq!(
                (settings.cluster.name.as_str(), hosts),
                ("trial", vec!["10.0.0.1".to_owned(), "fd00::2".to_owned(), "three".to_owned()])
            );
        }
        fs::write(&file, addresses("https").replace("7400", "0")).unwrap();
        assert!(settings(&file).unwrap_err().to_string().contains("10.0.0.1:0"));
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_folder_with_half_an_authority_or_one_of_two_is_refused_with_its_files() {
        let folder = std::env::temp_dir().join(format!("dovetail-authority-{}", std::process::id()));
        let made = |name: &str| {
            let (_, issued) = Authority::new(name, Validity(DAY)).unwrap();
            issued
        };
        let (one, other) = (made("one"), made("one"));
        let kept_of = |cert: Option<&str>, key: Option<&str>| {
            _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in [("ca.pem", cert), ("ca.key", key)] {
                text.into_iter().for_each(|text| fs::write(folder.join(name), text).unwrap());
            }
            kept(&folder).map(|kept| kept.map(|(cluster, ..)| cluster)).map_err(|error| error.to_string())
        };
        assert_eq!(kept_of(None, None), Ok(None));
        assert_eq!(kept_of(Some(&one.cert), Some(&one.key)), Ok(Some("one".to_owned())));
        for (cert, key, said) in [
            (Some(&one.cert), None, "has ca.pem and no ca.key"),
            (None, Some(&one.key), "has ca.key and no ca.pem"),
            (Some(&one.cert), Some(&other.key), "ca.key: the key is not that of the certificate"),
            (Some(&one.cert), Some(&"rubbish".to_owned()), "ca.key: the authority cannot be used"),
        ] {
            let error = kept_of(cert.map(String::as_str), key.map(String::as_str)).unwrap_err();
            assert!(error.contains(said) && error.contains(folder.to_str().unwrap()), "{error}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
