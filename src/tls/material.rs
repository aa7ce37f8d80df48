//! What the files say: read, understood, and made into what handshakes use.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use super::{Certificate, ClientAuth, TlsError};

/// Largest file that is read, in bytes. A larger one is refused: a chain of certificates has some thousands.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// HTTP/2, which is all that gRPC speaks.
const ALPN: &[u8] = b"h2";

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

/// The bytes of all files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    own: Option<(Vec<u8>, Vec<u8>)>,
    ca: Option<Vec<u8>>,
}

impl Contents {
    pub(super) fn read(files: &Files) -> Result<Contents, TlsError> {
        let own = |own: &OwnFiles| Ok((read("certificate", &own.cert)?, read("key", &own.key)?));
        Ok(Contents {
            own: files.own.as_ref().map(own).transpose()?,
            ca: files.ca.as_deref().map(|path| read("authority", path)).transpose()?,
        })
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

/// What handshakes use.
pub(super) struct Loaded {
    pub(super) contents: Contents,
    /// None without a certificate of our own.
    pub(super) server: Option<Arc<ServerConfig>>,
    /// None when nobody is trusted.
    pub(super) client: Option<Arc<ClientConfig>>,
    pub(super) own: Option<Certificate>,
}

impl Loaded {
    pub(super) fn of(contents: Contents, files: &Files, clients: ClientAuth) -> Result<Loaded, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = match (&contents.ca, &files.ca) {
            (Some(pem), Some(path)) => Some(Arc::new(roots(pem, path)?)),
            _ => None,
        };
        let own = match (&contents.own, &files.own) {
            (Some((cert, key)), Some(files)) => Some((chain(cert, &files.cert)?, key_of(key, &files.key)?, files)),
            _ => None,
        };
        let certificate = match &own {
            Some((chain, _, files)) => Some(Certificate::read(&chain[0]).map_err(|error| at(error, &files.cert))?),
            None => None,
        };
        let pair = |files: &OwnFiles, error: rustls::Error| TlsError::Pair {
            cert: files.cert.clone(),
            key: files.key.clone(),
            reason: match error {
                rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
                error => error.to_string(),
            },
        };
        let server = match &own {
            None => None,
            Some((chain, key, files)) => {
                let config = server(&provider, roots.as_ref(), clients)?;
                let config = config.with_single_cert(chain.clone(), key.clone_key());
                Some(Arc::new(served(config.map_err(|error| pair(files, error))?)))
            }
        };
        let client = match roots {
            None => None,
            Some(roots) => {
                let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
                let config = config.map_err(setup)?.with_root_certificates(roots);
                let mut config = match own {
                    None => config.with_no_client_auth(),
                    Some((chain, key, files)) => {
                        config.with_client_auth_cert(chain, key).map_err(|error| pair(files, error))?
                    }
                };
                config.alpn_protocols = vec![ALPN.to_vec()];
                // Whoever is dialled proves itself anew each time.
                config.resumption = rustls::client::Resumption::disabled();
                Some(Arc::new(config))
            }
        };
        Ok(Loaded { contents, server, client, own: certificate })
    }
}

type Builder = rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>;

fn server(
    provider: &Arc<CryptoProvider>,
    roots: Option<&Arc<RootCertStore>>,
    clients: ClientAuth,
) -> Result<Builder, TlsError> {
    let config = ServerConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions();
    let config = config.map_err(setup)?;
    let Some(roots) = roots else { return Ok(config.with_no_client_auth()) };
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    // Other nodes come by the same port: whoever has a certificate is asked for it.
    let verifier = match clients {
        ClientAuth::None | ClientAuth::Optional => verifier.allow_unauthenticated(),
        ClientAuth::Required => verifier,
    };
    let verifier = verifier.build().map_err(|error| TlsError::Setup(error.to_string()))?;
    Ok(config.with_client_cert_verifier(verifier))
}

fn served(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A session that goes on would bring the certificate it began with, though that may have expired, or its authority be gone.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

fn setup(error: rustls::Error) -> TlsError {
    TlsError::Setup(error.to_string())
}

/// An error with the file it is about.
fn at(error: TlsError, path: &Path) -> TlsError {
    match error {
        TlsError::Certificate { reason } => TlsError::File { what: "certificate", path: path.to_owned(), reason },
        other => other,
    }
}

fn roots(pem: &[u8], path: &Path) -> Result<RootCertStore, TlsError> {
    let refused = |reason: String| TlsError::File { what: "authority", path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(refused("it has no certificate in PEM".to_owned())),
        false => Ok(roots),
    }
}

/// The certificates of a file in their order. There is at least one.
pub(super) fn chain(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |reason: String| TlsError::File { what: "certificate", path: path.to_owned(), reason };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| refused(error.to_string()))?;
    match chain.is_empty() {
        true => Err(refused("it has no certificate in PEM".to_owned())),
        false => Ok(chain),
    }
}

fn key_of(pem: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    // Nothing of a key is repeated.
    let reason = "it has no private key in PEM".to_owned();
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::File { what: "key", path: path.to_owned(), reason })
}

/// The certificates of a file, for people.
///
/// # Errors
/// When it cannot be read, or has none.
pub fn certificates(path: &Path) -> Result<Vec<Certificate>, TlsError> {
    let chain = chain(&read("certificate", path)?, path)?;
    chain.iter().map(|der| Certificate::read(der).map_err(|error| at(error, path))).collect()
}
