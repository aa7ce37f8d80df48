//! Where a node is, as people write it: one parser for flags, settings and the client library.
//!
//! What would be ignored is refused, with what to write instead: a scheme that promises TLS, credentials, a path.

use std::net::Ipv6Addr;

use thiserror::Error;

/// Longest part of an address that an error repeats, in bytes.
const SHOWN_MAX: usize = 128;

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// TLS is asked for.
    #[error(
        "{found:?} asks for TLS, which nodes do not speak yet; write {instead} for a connection that is not encrypted"
    )]
    Tls {
        /// What was given.
        found: String,
        /// What to write.
        instead: String,
    },
    /// Another scheme.
    #[error("{found:?} begins with {scheme}://, which is not gRPC; write {instead}")]
    Scheme {
        /// What was given.
        found: String,
        /// Its scheme.
        scheme: String,
        /// What to write.
        instead: String,
    },
    /// A user, and perhaps a password. They are not repeated.
    #[error("an address has a user before its host, but nodes know no users; write {instead}")]
    User {
        /// What to write.
        instead: String,
    },
    /// Something after the port.
    #[error("{found:?} has {rest:?} after host and port; write {instead}")]
    Rest {
        /// What was given.
        found: String,
        /// A path, a query or a fragment.
        rest: String,
        /// What to write.
        instead: String,
    },
    /// No port.
    #[error("{found:?} has no port; write {instead}, if the node listens where balancers do by default")]
    NoPort {
        /// What was given.
        found: String,
        /// What to write.
        instead: String,
    },
    /// A port that is none.
    #[error("{found:?} has the port {port:?}, which is not 1 to 65535")]
    Port {
        /// What was given.
        found: String,
        /// The port.
        port: String,
    },
    /// An IPv6 address without brackets.
    #[error("{found:?} is an IPv6 address without brackets; write [ADDRESS]:PORT, such as [::1]:7400")]
    Brackets {
        /// What was given.
        found: String,
    },
    /// No host, or none that can be.
    #[error("{found:?} is not HOST:PORT, such as 127.0.0.1:7400 or http://balancer:7400")]
    Host {
        /// What was given.
        found: String,
    },
}

/// The URL of a node from `http://HOST:PORT` or `HOST:PORT`: always `http://HOST:PORT`, without a slash at its end.
///
/// # Errors
/// When it is neither, with what to write.
pub fn node_url(text: &str) -> Result<String, AddressError> {
    let text = text.trim();
    let (scheme, after) = text.split_once("://").unwrap_or(("http", text));
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let (user, host_port) = match authority.rsplit_once('@') {
        Some((_, host_port)) => (true, host_port),
        None => (false, authority),
    };
    // Never with what may be a password.
    let found = || {
        crate::rpc::cut(
            format!("{scheme_part}{host_port}{rest}", scheme_part = &text[..text.len() - after.len()]),
            SHOWN_MAX,
        )
    };
    let (host, port) = split(host_port, found)?;
    let instead = format!("http://{host}:{}", port.unwrap_or(7400));
    if user {
        return Err(AddressError::User { instead });
    }
    match scheme {
        "http" => {}
        "https" => return Err(AddressError::Tls { found: found(), instead }),
        scheme => {
            let scheme = crate::rpc::cut(scheme.to_owned(), SHOWN_MAX);
            return Err(AddressError::Scheme { found: found(), scheme, instead });
        }
    }
    if !matches!(rest, "" | "/") {
        return Err(AddressError::Rest { found: found(), rest: crate::rpc::cut(rest.to_owned(), SHOWN_MAX), instead });
    }
    match port {
        Some(_) => Ok(instead),
        None => Err(AddressError::NoPort { found: found(), instead }),
    }
}

/// Host and port.
fn split(text: &str, found: impl Fn() -> String) -> Result<(&str, Option<u16>), AddressError> {
    let (host, port) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((inner, after)) => {
            let valid = inner.parse::<Ipv6Addr>().is_ok() && (after.is_empty() || after.starts_with(':'));
            if !valid {
                return Err(AddressError::Host { found: found() });
            }
            (&text[..inner.len() + 2], after.strip_prefix(':'))
        }
        None if text.matches(':').count() > 1 => return Err(AddressError::Brackets { found: found() }),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || (!host.starts_with('[') && !host.bytes().all(named)) {
        return Err(AddressError::Host { found: found() });
    }
    let number = |port: &str| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse().ok().filter(|&number: &u16| digits && number > 0);
        number.ok_or_else(|| AddressError::Port { found: found(), port: crate::rpc::cut(port.to_owned(), SHOWN_MAX) })
    };
    Ok((host, port.map(number).transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_or_host_and_port() {
        for (text, url) in [
            ("http://127.0.0.1:7400", "http://127.0.0.1:7400"),
            ("http://127.0.0.1:7400/", "http://127.0.0.1:7400"),
            ("127.0.0.1:7400", "http://127.0.0.1:7400"),
            ("balancer:7400", "http://balancer:7400"),
            ("dovetail-0.svc_a.cluster.local:1", "http://dovetail-0.svc_a.cluster.local:1"),
            ("[::1]:7400", "http://[::1]:7400"),
            ("http://[2001:db8::1]:65535", "http://[2001:db8::1]:65535"),
            (" localhost:7400 ", "http://localhost:7400"),
        ] {
            assert_eq!(node_url(text).as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused_with_what_to_write() {
        for (text, says) in [
            ("https://host:7400", &["TLS", "write http://host:7400"][..]),
            ("https://host", &["TLS", "write http://host:7400"]),
            ("ftp://host:21", &["ftp://", "write http://host:21"]),
            ("HTTP://host:21", &["HTTP://", "write http://host:21"]),
            ("dns:///host:7400", &["is not HOST:PORT"]),
            ("http://host:7400/path", &["\"/path\"", "write http://host:7400"]),
            ("host:7400?x=1", &["\"?x=1\"", "write http://host:7400"]),
            ("host:7400#a", &["\"#a\"", "write http://host:7400"]),
            ("http://host", &["no port", "write http://host:7400"]),
            ("[::1]", &["no port", "write http://[::1]:7400"]),
            ("host:", &["port \"\"", "1 to 65535"]),
            ("host:0", &["port \"0\""]),
            ("host:65536", &["port \"65536\""]),
            ("host:+1", &["port \"+1\""]),
            ("::1:7400", &["brackets", "[::1]:7400"]),
            ("[host]:7400", &["is not HOST:PORT"]),
            ("[::1]7400", &["is not HOST:PORT"]),
            (":7400", &["is not HOST:PORT"]),
            ("", &["is not HOST:PORT"]),
            ("not a url:7400", &["is not HOST:PORT"]),
        ] {
            let error = node_url(text).unwrap_err().to_string();
            assert!(says.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        for text in [
            "http://ada:s3cret@host:7400",
            "ada:s3cret@host:7400",
            "https://ada:s3cret@host:7400/x",
            "ada:s3cret@host:x",
        ] {
            let error = node_url(text).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
        let error = node_url("http://ada:s3cret@host:7400").unwrap_err().to_string();
        assert!(error.contains("user") && error.contains("write http://host:7400"), "{error}");
    }
}
