//! TLS as who connects has it: files of certificates, and handshakes with hosts that they trust.
//!
//! TLS 1.3 and 1.2, HTTP/2 only, no session goes on in another connection. Names of hosts are checked as browsers do.

mod error;
mod files;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use error::TlsError;
pub use files::{ALPN, Contents, Files, Material, Own, OwnFiles, certificates};

/// Makes connections to hosts encrypted ones.
pub trait TlsHandshake: Send + Sync + 'static {
    /// The client's side of a handshake.
    ///
    /// # Errors
    /// When there is none, or the server that answers is not trusted.
    fn connect<S>(&self, host: &str, stream: S) -> impl Future<Output = io::Result<TlsStream<S>>> + Send
    where
        S: AsyncRead + AsyncWrite + Send + Unpin;
}

/// Which servers a client believes: hosts whose certificates the authority in its files signs. By default none.
///
/// The files are looked at before each connection; bad new ones change nothing.
#[derive(Clone, Default)]
pub struct Trust(Option<Arc<Read>>);

struct Read {
    files: Files,
    last: Mutex<(Contents, Option<Arc<ClientConfig>>)>,
}

impl Trust {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read or used.
    pub fn load(files: Files) -> Result<Trust, TlsError> {
        let contents = Contents::read(&files)?;
        let config = Material::of(&contents, &files)?.client()?;
        Ok(Trust(Some(Arc::new(Read { files, last: Mutex::new((contents, config)) }))))
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Trust").field(&self.0.as_ref().map(|read| &read.files)).finish()
    }
}

impl Read {
    /// What the files say, or said when they were last valid.
    fn config(&self) -> Option<Arc<ClientConfig>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.reread(&mut last) {
            tracing::warn!(%error, "the files of TLS have changed, but are not taken");
        }
        last.1.clone()
    }

    fn reread(&self, last: &mut (Contents, Option<Arc<ClientConfig>>)) -> Result<(), TlsError> {
        let contents = Contents::read(&self.files)?;
        if contents != last.0 {
            let config = Material::of(&contents, &self.files)?.client()?;
            *last = (contents, config);
        }
        Ok(())
    }
}

impl TlsHandshake for Trust {
    async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        connect(self.0.as_ref().ok_or_else(nobody)?.config(), host, stream).await
    }
}

/// The error of who is to make an encrypted connection, and has no certificates.
#[must_use]
pub fn nobody() -> io::Error {
    io::Error::other("https:// needs to know whom to trust, and no authority is named")
}

/// The client's side of a handshake with a host.
///
/// # Errors
/// When there is no handshake, or no authority is trusted.
pub async fn connect<S>(config: Option<Arc<ClientConfig>>, host: &str, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = config.ok_or_else(|| io::Error::other("no authority is named that signs the server's certificate"))?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, stream).await.map_err(not_tls)
}

/// Says what is the matter with a server that answers with something else than TLS.
fn not_tls(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let plain = matches!(inner, Some(rustls::Error::InvalidMessage(_)));
    if plain || error.kind() == io::ErrorKind::UnexpectedEof {
        io::Error::new(
            error.kind(),
            format!("it does not answer with TLS ({error}); if it does not speak TLS, write http://"),
        )
    } else {
        error
    }
}
