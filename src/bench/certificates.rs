//! Certificates of a cluster that is started with TLS: made for the run, and removed with it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    client::ConnectOptions,
    settings::Role,
    tls::{Authority, Issued, MakeError, NodeName, Validity},
};

const DAY: Validity = Validity(Duration::from_secs(86_400));

/// A folder with a certificate for each node, one for a client, and the authority of all.
#[derive(Debug)]
pub(super) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them for nodes that are dialled at `host`.
    pub(super) fn make(
        folder: &Path,
        cluster: &str,
        host: &str,
        nodes: impl IntoIterator<Item = (Role, u32)>,
    ) -> io::Result<Certificates> {
        let failed = |error: MakeError| io::Error::other(error);
        let (authority, own) = Authority::new(cluster, DAY).map_err(failed)?;
        let certificates = Certificates { folder: folder.to_owned() };
        fs::create_dir_all(folder)?;
        fs::write(certificates.path("ca.pem"), own.cert)?;
        let write = |name: &str, Issued { cert, key }: Issued| {
            fs::write(certificates.path(&format!("{name}.pem")), cert)?;
            fs::write(certificates.path(&format!("{name}.key")), key)
        };
        for (role, index) in nodes {
            let name = NodeName { cluster: cluster.to_owned(), role, index };
            write(&format!("{role}-{index}"), authority.node(&name, &[host.to_owned()], DAY).map_err(failed)?)?;
        }
        write("client", authority.client(cluster, "bench", DAY).map_err(failed)?)?;
        Ok(certificates)
    }

    /// The flags of the node of that name, such as `matcher-0`.
    pub(super) fn flags(&self, node: &str) -> [(&'static str, String); 3] {
        let path = |file: &str| self.path(file).display().to_string();
        [
            ("tls-cert", path(&format!("{node}.pem"))),
            ("tls-key", path(&format!("{node}.key"))),
            ("tls-ca", path("ca.pem")),
        ]
    }

    /// How clients connect.
    pub(super) fn connect(&self) -> ConnectOptions {
        let options = ConnectOptions::default().trust(self.path("ca.pem"));
        options.show(self.path("client.pem"), self.path("client.key"))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }
}
