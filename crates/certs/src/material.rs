//! What the files say, made into what handshakes use.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use super::{Certificate, ClientAuth};
use dovetail::tls::{self, ALPN, Contents, Files, Material, TlsError};

/// What handshakes use.
pub(super) struct Loaded {
    pub(super) contents: Contents,
    /// None without a certificate of our own.
    pub(super) server: Option<Arc<ServerConfig>>,
    /// None when no authority is trusted.
    pub(super) client: Option<Arc<ClientConfig>>,
    pub(super) own: Option<Certificate>,
}

impl Loaded {
    pub(super) fn of(contents: Contents, files: &Files, clients: ClientAuth) -> Result<Loaded, TlsError> {
        let material = Material::of(&contents, files)?;
        let (server, own) = match &material.own {
            None => (None, None),
            Some(own) => {
                let certificate = Certificate::read(&own.chain[0]).map_err(|error| at(error, &own.files.cert))?;
                let config = server(material.roots.as_ref(), clients)?;
                let config = config.with_single_cert(own.chain.clone(), own.key.clone_key());
                (Some(Arc::new(served(config.map_err(|error| own.refused(&error))?))), Some(certificate))
            }
        };
        Ok(Loaded { contents, server, client: material.client()?, own })
    }
}

type Builder = rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>;

fn server(roots: Option<&Arc<RootCertStore>>, clients: ClientAuth) -> Result<Builder, TlsError> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(setup)?;
    let Some(roots) = roots else { return Ok(config.with_no_client_auth()) };
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider);
    // Other nodes come by the same port: every caller is asked for a certificate.
    let verifier = match clients {
        ClientAuth::None | ClientAuth::Optional => verifier.allow_unauthenticated(),
        ClientAuth::Required => verifier,
    };
    let verifier = verifier.build().map_err(|error| TlsError::Setup(error.to_string()))?;
    Ok(config.with_client_cert_verifier(verifier))
}

fn served(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A session that goes on would bring the certificate it began with, though that may have expired, or its authority
    // be gone.
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

/// The certificates of a file, for people.
///
/// # Errors
/// When it cannot be read, or has none.
pub fn certificates(path: &Path) -> Result<Vec<Certificate>, TlsError> {
    let chain = tls::certificates(path)?;
    chain.iter().map(|der| Certificate::read(der).map_err(|error| at(error, path))).collect()
}
