//! An authority of one's own and the certificates it signs, to begin with, for operators who have no authority yet.
//!
//! Keys are ECDSA P-256, made here and never seen again but in the files they are written to.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};

use super::{NodeName, client_uri};

/// Clocks of other hosts may be behind ours by so much.
const BEFORE: Duration = Duration::from_secs(3600);
/// Names under which a node is reached from its own host.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Longest name of a client that a folder is made for.
const NAME_BYTES_MAX: usize = 64;

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Neither a host's name nor an address.
    #[error("{0:?} is neither the name of a host nor an IP address")]
    Host(String),
    /// An authority that cannot be used.
    #[error("the authority cannot be used: {0}")]
    Authority(rcgen::Error),
    /// What it would sign would not be believed.
    #[error("the key is not that of the certificate")]
    OtherKey,
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Sign(#[from] rcgen::Error),
}

/// For how long a certificate is good, from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity(pub Duration);

impl Validity {
    fn limit(self, params: &mut CertificateParams) {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        params.not_before = epoch + now.saturating_sub(BEFORE);
        params.not_after = epoch + now + self.0;
    }
}

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one for a cluster, with what to keep of it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(cluster: &str, validity: Validity) -> Result<(Authority, Issued), MakeError> {
        let mut params = CertificateParams::default();
        // As SPIFFE has it: the authority's own name is that of what it speaks for.
        params.subject_alt_names = vec![uri(&format!("spiffe://{cluster}"))?];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        validity.limit(&mut params);
        let key = KeyPair::generate()?;
        // Another authority of the cluster has another name: who meets the wrong one is told so, and not of a bad
        // signature.
        let which: String = key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name = named(&format!("Dovetail authority of {cluster} ({which})"));
        let issued = Issued { cert: params.self_signed(&key)?.pem(), key: key.serialize_pem() };
        Ok((Authority { issuer: Issuer::new(params, key) }, issued))
    }

    /// One that was kept.
    ///
    /// # Errors
    /// When these are not a certificate and its key.
    pub fn open(kept: &Issued) -> Result<Authority, MakeError> {
        let key = KeyPair::from_pem(&kept.key).map_err(MakeError::Authority)?;
        let cert = CertificateDer::from_pem_slice(kept.cert.as_bytes()).ok();
        let is_its_key = cert.as_ref().and_then(|cert| x509_parser::parse_x509_certificate(cert).ok());
        if is_its_key.is_some_and(|(_, cert)| *cert.public_key().subject_public_key.data != *key.public_key_raw()) {
            return Err(MakeError::OtherKey);
        }
        Ok(Authority { issuer: Issuer::from_ca_cert_pem(&kept.cert, key).map_err(MakeError::Authority)? })
    }

    /// A node's certificate, good at these hosts and on its own.
    ///
    /// # Errors
    /// When a host is none.
    pub fn node(&self, name: &NodeName, hosts: &[String], validity: Validity) -> Result<Issued, MakeError> {
        let mut names = vec![uri(&name.uri())?];
        // A cluster's name may be none that DNS allows; the URI names the node all the same.
        if ServerName::try_from(name.dns()).is_ok() {
            names.extend(host(&name.dns()));
        }
        let loopback = LOOPBACK.iter().filter(|name| hosts.iter().all(|host| host != *name));
        for name in hosts.iter().map(String::as_str).chain(loopback.copied()) {
            names.push(host(name).ok_or_else(|| MakeError::Host(name.to_owned()))?);
        }
        let usages = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&name.to_string(), names, &usages, validity)
    }

    /// A client's certificate.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn client(&self, cluster: &str, name: &str, validity: Validity) -> Result<Issued, MakeError> {
        let names = vec![uri(&client_uri(cluster, name))?];
        self.sign(name, names, &[ExtendedKeyUsagePurpose::ClientAuth], validity)
    }

    fn sign(
        &self,
        subject: &str,
        names: Vec<SanType>,
        usages: &[ExtendedKeyUsagePurpose],
        validity: Validity,
    ) -> Result<Issued, MakeError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(subject);
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        validity.limit(&mut params);
        let key = KeyPair::generate()?;
        Ok(Issued { cert: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }
}

fn named(subject: &str) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, subject);
    name
}

fn uri(uri: &str) -> Result<SanType, MakeError> {
    Ok(SanType::URI(uri.try_into()?))
}

/// A host's name or address; none when it is neither.
fn host(name: &str) -> Option<SanType> {
    match ServerName::try_from(name.to_owned()).ok()? {
        ServerName::IpAddress(address) => Some(SanType::IpAddress(std::net::IpAddr::from(address))),
        ServerName::DnsName(_) => Some(SanType::DnsName(name.try_into().ok()?)),
        _ => None,
    }
}

/// Whether a client of this name can have a folder of this name: 1 to 64 of `a-z A-Z 0-9 _ . -`, not beginning with a
/// dot.
#[must_use]
pub fn is_fit_for_files(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}
