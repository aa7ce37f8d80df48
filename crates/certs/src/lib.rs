//! Certificates of nodes and clients: what they name, handshakes of both sides, files that are read again when they
//! change, and an authority of one's own.
//!
//! TLS 1.3 and 1.2, HTTP/2 only, no session goes on in another connection. Names of hosts are checked as browsers do;
//! which node or client a certificate names beside that is in [`Proved`]. What a caller may do with a name is not
//! decided here. Invariants: certs.H1 a handshake uses certificate, key and authorities of one reading of the files;
//! certs.H2 files that are invalid change nothing: what was read before stays; certs.H3 open connections stay when
//! files change.

mod folder;
mod make;
mod material;
mod name;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, client, server};

pub use folder::CertificateFolder;
pub use make::{Authority, Issued, MakeError, Validity, is_fit_for_files};
pub use material::certificates;
pub use name::{Certificate, NodeName, Proved, client_uri};

use dovetail::tls::{self, Contents, Files, TlsError, TlsHandshake};
use material::Loaded;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// So long before our certificate expires the log says so, once a day.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);

/// What clients have to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing: a client's certificate gives it no name. Nodes have to show theirs all the same.
    None,
    /// A client that shows a certificate is known by its name.
    #[default]
    Optional,
    /// Who shows none is not let in.
    Required,
}

/// The settings of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Where certificates are.
    pub files: Files,
    /// What clients have to show.
    pub clients: ClientAuth,
}

/// What may be wrong with the files of a node that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileTrouble {
    /// They have changed, and are not taken.
    Refused,
    /// Our certificate expires soon, or has expired.
    Expires,
}

/// Why there is no handshake.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct HandshakeError {
    /// Why.
    pub error: io::Error,
    /// The connection, where the other was told why: it may have sent its first call meanwhile.
    pub stream: Option<TcpStream>,
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        HandshakeError { error, stream: None }
    }
}

/// Certificates in use. Clones are of the same.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    settings: TlsSettings,
    /// Who this is, where that is checked.
    own: Option<NodeName>,
    loaded: ArcSwap<Loaded>,
    /// Whether a task looks at the files.
    watched: AtomicBool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.0.settings).finish()
    }
}

impl Tls {
    /// Reads the files. A node whose certificate is to name it says who it is.
    ///
    /// # Errors
    /// When a file cannot be read or used, or our certificate names another node.
    pub fn load(settings: TlsSettings, own: Option<NodeName>) -> Result<Tls, TlsError> {
        let contents = Contents::read(&settings.files)?;
        let loaded = load(contents, &settings, own.as_ref())?;
        Ok(Tls(Arc::new(Shared {
            settings,
            own,
            loaded: ArcSwap::from_pointee(loaded),
            watched: AtomicBool::new(false),
        })))
    }

    /// Whether nodes can prove who they are: there is an authority that signs for them.
    #[must_use]
    pub fn proves_nodes(&self) -> bool {
        self.0.settings.files.ca.is_some()
    }

    /// Our certificate.
    #[must_use]
    pub fn own(&self) -> Option<Certificate> {
        self.0.loaded.load().own.clone()
    }

    /// Reads the files again, and uses them from the next handshake on. Whether they had changed.
    #[cfg(test)]
    fn reload(&self) -> Result<bool, TlsError> {
        let contents = Contents::read(&self.0.settings.files)?;
        if contents == self.0.loaded.load().contents {
            return Ok(false);
        }
        self.0.loaded.store(Arc::new(load(contents, &self.0.settings, self.0.own.as_ref())?));
        Ok(true)
    }

    /// Reads the files again whenever they have changed and stay as they are for a second: they are not replaced all at
    /// once. Tells the log what it did, and when our certificate is about to expire, and `tell` what is wrong, or no
    /// longer. Until `stop`. One does it for all clones.
    pub async fn watch(self, tell: impl Fn(FileTrouble, Option<String>), stop: impl Future<Output = ()>) {
        if self.0.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut stop = std::pin::pin!(stop);
        let (mut seen, mut refused, mut warned) = (None, None, None);
        loop {
            tell(FileTrouble::Expires, self.warn_of_expiry(&mut warned));
            let trouble = refused.as_ref().map(|error| format!("what was read before stays in use: {error}"));
            tell(FileTrouble::Refused, trouble);
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let shared = Arc::clone(&self.0);
            let read = tokio::task::spawn_blocking(move || Contents::read(&shared.settings.files));
            let found = match read.await {
                Ok(Ok(contents)) => contents,
                Ok(Err(error)) => {
                    self.refused(&error, &mut refused);
                    continue;
                }
                // The runtime ends.
                Err(_) => return,
            };
            let settled = seen.as_ref() == Some(&found);
            if found == self.0.loaded.load().contents {
                // As before, or as before again.
                (seen, refused) = (None, None);
            } else if settled {
                match load(found, &self.0.settings, self.0.own.as_ref()) {
                    Ok(loaded) => {
                        let expires = loaded.own.as_ref().map(|own| time(own.not_after)).unwrap_or_default();
                        self.0.loaded.store(Arc::new(loaded));
                        tracing::info!(expires, "certificates are read again; new connections use them");
                        (seen, refused, warned) = (None, None, None);
                    }
                    Err(error) => self.refused(&error, &mut refused),
                }
            } else {
                seen = Some(found);
            }
        }
    }

    /// Tells why files are not taken, once for each reason.
    fn refused(&self, error: &TlsError, told: &mut Option<String>) {
        let error = error.to_string();
        if told.as_ref() != Some(&error) {
            tracing::error!(error, "the files of TLS have changed, but are not taken; those read before stay in use");
            *told = Some(error);
        }
    }

    /// Says when our certificate expires, if that is soon.
    fn warn_of_expiry(&self, warned: &mut Option<SystemTime>) -> Option<String> {
        let own = self.own()?;
        let now = SystemTime::now();
        let soon = seconds(now + EXPIRES_SOON) > own.not_after;
        let text = || format!("the certificate is good until {}", time(own.not_after));
        let again = warned.is_none_or(|at| now.duration_since(at).is_ok_and(|since| since > DAY));
        if again && soon {
            tracing::warn!(expires = time(own.not_after), "the certificate expires soon, or has expired");
            *warned = Some(now);
        }
        soon.then(text)
    }

    /// The server's side of a handshake. Returns what the other's certificate names, if it showed one.
    ///
    /// # Errors
    /// When there is no handshake: with what both sides have, where they do not agree.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(server::TlsStream<TcpStream>, Option<Proved>), HandshakeError> {
        let config = self.0.loaded.load().server.clone();
        let config = config.ok_or_else(|| io::Error::other("there is no certificate to show"))?;
        let stream = match TlsAcceptor::from(config).accept(stream).into_fallible().await {
            Ok(stream) => stream,
            Err((error, stream)) => return Err(HandshakeError { error, stream: Some(stream) }),
        };
        let proved = named(stream.get_ref().1.peer_certificates())?;
        let proved = match (&proved, self.0.settings.clients) {
            (Some(Proved::Client(_)), ClientAuth::None) => None,
            _ => proved,
        };
        Ok((stream, proved))
    }

    /// The client's side of a handshake with a host. Returns what the other's certificate names.
    ///
    /// # Errors
    /// When there is no handshake, or no authority is trusted.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<(client::TlsStream<S>, Option<Proved>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.0.loaded.load().client.clone();
        let stream = tls::connect(config, host, stream).await?;
        let proved = named(stream.get_ref().1.peer_certificates())?;
        Ok((stream, proved))
    }
}

/// Which certificates a node believes.
#[derive(Clone, Debug, Default)]
pub struct NodeTrust {
    /// Certificates; none for connections in plain text.
    pub tls: Option<Tls>,
    /// The node that is dialled, when it must be that one.
    pub wanted: Option<NodeName>,
}

impl TlsHandshake for NodeTrust {
    async fn connect<S>(&self, host: &str, stream: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let (stream, proved) = self.tls.as_ref().ok_or_else(tls::nobody)?.connect(host, stream).await?;
        match &self.wanted {
            Some(wanted) if proved.as_ref().and_then(Proved::node) != Some(wanted) => {
                let found = proved.map_or_else(|| "no node".to_owned(), |proved| proved.to_string());
                Err(io::Error::other(format!(
                    "{wanted} was dialled, but the certificate of the node that answers is of {found}"
                )))
            }
            _ => Ok(stream),
        }
    }
}

fn load(contents: Contents, settings: &TlsSettings, own: Option<&NodeName>) -> Result<Loaded, TlsError> {
    let loaded = Loaded::of(contents, &settings.files, settings.clients)?;
    if let (Some(wanted), Some(found), Some(files)) = (own, &loaded.own, &settings.files.own)
        && found.names.node() != Some(wanted)
    {
        let (path, found) = (files.cert.clone(), found.names.to_string());
        return Err(TlsError::OtherNode { path, found, wanted: wanted.to_string() });
    }
    Ok(loaded)
}

/// What the first of these names. It was checked that the others sign it.
fn named(chain: Option<&[CertificateDer<'_>]>) -> io::Result<Option<Proved>> {
    let Some(first) = chain.and_then(<[_]>::first) else { return Ok(None) };
    Certificate::read(first).map(|certificate| Some(certificate.names)).map_err(io::Error::other)
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A time in seconds since 1970, as people read it.
#[must_use]
pub fn time(seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(253_402_300_799));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests;
