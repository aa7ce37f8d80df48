//! Certificates and keys in files: read, and understood.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::TlsError;

/// Largest file that is read, in bytes. A larger one is refused: a chain of certificates has some thousands.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// HTTP/2, which is all that gRPC speaks.
pub const ALPN: &[u8] = b"h2";

/// Where certificates and keys are, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Our certificate with what signed it but for the authority, and its key.
    pub own: Option<OwnFiles>,
    /// Who signs the others' certificates: one authority, or several.
    pub ca: Option<PathBuf>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFiles {
    /// The certificate.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// The bytes of all files, read once.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    own: Option<(Vec<u8>, Vec<u8>)>,
    ca: Option<Vec<u8>>,
}

impl Contents {
    /// Reads them.
    ///
    /// # Errors
    /// When one cannot be read, or is too large.
    pub fn read(files: &Files) -> Result<Contents, TlsError> {
        let own = |own: &OwnFiles| Ok((read("certificate", &own.cert)?, read("key", &own.key)?));
        Ok(Contents {
            own: files.own.as_ref().map(own).transpose()?,
            ca: files.ca.as_deref().map(|path| read("authority", path)).transpose()?,
        })
    }
}

/// What was read, understood.
#[derive(Debug)]
pub struct Material {
    /// Our certificate.
    pub own: Option<Own>,
    /// The authorities that we trust.
    pub roots: Option<Arc<RootCertStore>>,
}

/// A certificate with what signed it, and its key.
#[derive(Debug)]
pub struct Own {
    /// Ours first; there is at least that.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// Where they are.
    pub files: OwnFiles,
}

impl Own {
    /// An error of what is made with them.
    #[must_use]
    pub fn refused(&self, error: &rustls::Error) -> TlsError {
        TlsError::Pair {
            cert: self.files.cert.clone(),
            key: self.files.key.clone(),
            reason: match error {
                rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
                error => error.to_string(),
            },
        }
    }
}

impl Material {
    /// Understands what was read of these files.
    ///
    /// # Errors
    /// When one has not what it should have.
    pub fn of(contents: &Contents, files: &Files) -> Result<Material, TlsError> {
        let roots = match (&contents.ca, &files.ca) {
            (Some(pem), Some(path)) => Some(Arc::new(roots(pem, path)?)),
            _ => None,
        };
        let own = match (&contents.own, &files.own) {
            (Some((cert, key)), Some(files)) => {
                Some(Own { chain: chain(cert, &files.cert)?, key: key_of(key, &files.key)?, files: files.clone() })
            }
            _ => None,
        };
        Ok(Material { own, roots })
    }

    /// How connections are set up with it; none when no authority is trusted.
    ///
    /// # Errors
    /// When certificate and key do not fit each other.
    pub fn client(&self) -> Result<Option<Arc<ClientConfig>>, TlsError> {
        let Some(roots) = &self.roots else { return Ok(None) };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config =
            config.map_err(|error| TlsError::Setup(error.to_string()))?.with_root_certificates(Arc::clone(roots));
        let mut config = match &self.own {
            None => config.with_no_client_auth(),
            Some(own) => config
                .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
                .map_err(|error| own.refused(&error))?,
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // The node that is dialled proves itself anew each time.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Some(Arc::new(config)))
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let refused = |reason: String| TlsError::File { what, path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| refused(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refused(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn roots(pem: &[u8], path: &Path) -> Result<RootCertStore, TlsError> {
    let refused = |reason: String| TlsError::File { what: "authority", path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() { Err(refused("it has no certificate in PEM".to_owned())) } else { Ok(roots) }
}

/// The certificates of a file in their order.
///
/// # Errors
/// When it cannot be read, or has none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    chain(&read("certificate", path)?, path)
}

/// The certificates of a file in their order. There is at least one.
fn chain(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |reason: String| TlsError::File { what: "certificate", path: path.to_owned(), reason };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| refused(error.to_string()))?;
    if chain.is_empty() { Err(refused("it has no certificate in PEM".to_owned())) } else { Ok(chain) }
}

fn key_of(pem: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    // Nothing of a key is repeated.
    let reason = "it has no private key in PEM".to_owned();
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::File { what: "key", path: path.to_owned(), reason })
}
