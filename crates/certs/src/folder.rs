//! Certificates of a cluster that lives for one run: made before it, and removed with its folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Authority, Issued, MakeError, NodeName, Validity};
use dovetail::tls::{Files, OwnFiles};

const DAY: Validity = Validity(Duration::from_secs(86_400));

/// A folder with a certificate for each node, one for a client, and the authority of all.
#[derive(Clone, Debug)]
pub struct CertificateFolder(PathBuf);

impl CertificateFolder {
    /// The one that was made here.
    #[must_use]
    pub fn at(folder: &Path) -> CertificateFolder {
        CertificateFolder(folder.to_owned())
    }

    /// Makes certificates for nodes that are dialled at `host`, each under a name of a file, and for a client.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub fn make(
        folder: &Path,
        cluster: &str,
        host: &str,
        nodes: impl IntoIterator<Item = (String, NodeName)>,
        client: &str,
    ) -> io::Result<CertificateFolder> {
        let failed = |error: MakeError| io::Error::other(error);
        let made = CertificateFolder::at(folder);
        let (authority, own) = Authority::new(cluster, DAY).map_err(failed)?;
        fs::create_dir_all(folder)?;
        fs::write(made.ca(), own.cert)?;
        let write = |name: &str, issued: Issued| {
            let OwnFiles { cert, key } = made.own(name);
            fs::write(cert, issued.cert)?;
            fs::write(key, issued.key)
        };
        for (file, name) in nodes {
            write(&file, authority.node(&name, &[host.to_owned()], DAY).map_err(failed)?)?;
        }
        write(client, authority.client(cluster, client, DAY).map_err(failed)?)?;
        Ok(made)
    }

    /// What a client has that shows the certificate of this name, or none.
    #[must_use]
    pub fn files(&self, name: Option<&str>) -> Files {
        Files { own: name.map(|name| self.own(name)), ca: Some(self.ca()) }
    }

    /// The flags of the node of this name.
    #[must_use]
    pub fn flags(&self, node: &str) -> [(&'static str, String); 3] {
        let OwnFiles { cert, key } = self.own(node);
        [("tls-cert", cert), ("tls-key", key), ("tls-ca", self.ca())]
            .map(|(flag, path)| (flag, path.display().to_string()))
    }

    fn own(&self, name: &str) -> OwnFiles {
        OwnFiles { cert: self.0.join(format!("{name}.pem")), key: self.0.join(format!("{name}.key")) }
    }

    fn ca(&self) -> PathBuf {
        self.0.join("ca.pem")
    }
}
