//! Where a node is, as people write it: one parser for flags, settings and the client library.
//!
//! What would be ignored is refused, with what to write instead: another scheme, credentials, a path.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// Longest part of an address that an error repeats, in bytes.
const SHOWN_MAX: usize = 128;

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
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
    #[error("{found:?} is not HOST:PORT, such as 127.0.0.1:7400 or https://balancer:7400")]
    Host {
        /// What was given.
        found: String,
    },
}

/// The URL of a node from `http://HOST:PORT`, `https://HOST:PORT` or `HOST:PORT`, which is the first of them: without a
/// slash at its end.
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
        crate::text::cut(
            format!("{scheme_part}{host_port}{rest}", scheme_part = &text[..text.len() - after.len()]),
            SHOWN_MAX,
        )
    };
    let (host, port) = split(host_port, found)?;
    let secure = if scheme == "https" { "https" } else { "http" };
    let instead = format!("{secure}://{host}:{}", port.unwrap_or(7400));
    if user {
        return Err(AddressError::User { instead });
    }
    match scheme {
        "http" | "https" => {}
        scheme => {
            let scheme = crate::text::cut(scheme.to_owned(), SHOWN_MAX);
            return Err(AddressError::Scheme { found: found(), scheme, instead });
        }
    }
    if !matches!(rest, "" | "/") {
        return Err(AddressError::Rest { found: found(), rest: crate::text::cut(rest.to_owned(), SHOWN_MAX), instead });
    }
    match port {
        Some(_) => Ok(instead),
        None => Err(AddressError::NoPort { found: found(), instead }),
    }
}

/// The host of a node's URL, without brackets.
#[must_use]
pub fn host(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    after.rsplit_once(':').map_or(after, |(host, _)| host).trim_start_matches('[').trim_end_matches(']')
}

/// The loopback address that a node's URL names, if it names one.
#[must_use]
pub fn loopback(url: &str) -> Option<IpAddr> {
    let host = host(url);
    if host.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let address: IpAddr = host.parse().ok()?;
    address.to_canonical().is_loopback().then_some(address)
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
        number.ok_or_else(|| AddressError::Port { found: found(), port: crate::text::cut(port.to_owned(), SHOWN_MAX) })
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
            ("https://balancer:7400/", "https://balancer:7400"),
        ] {
            assert_eq!(node_url(text).as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused_with_what_to_write() {
        for (text, says) in [
            ("https://host", &["no port", "write https://host:7400"][..]),
            ("https://host:7400/path", &["\"/path\"", "write https://host:7400"]),
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
    fn loopback_is_what_others_do_not_reach() {
        for url in ["http://127.0.0.2:1", "http://[::1]:1", "https://localhost:7400", "http://[::ffff:127.0.0.1]:1"] {
            assert!(loopback(url).is_some(), "{url}");
        }
        for url in [
            "http://10.0.0.1:1",
            "http://balancer:1",
            "http://localhost.example:1",
            "http://[::]:1",
            "http://0.0.0.0:1",
            "",
        ] {
            assert_eq!(loopback(url), None, "{url}");
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
