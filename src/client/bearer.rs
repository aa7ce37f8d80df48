//! The token that a client shows with each call.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tonic::{Request, Status, metadata::MetadataValue, service::Interceptor};

/// Longest token, in bytes. A client refuses to show a longer one, and a node refuses to read it.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// How often it is looked at whether a token's file changed.
const LOOK: Duration = Duration::from_secs(1);

/// A token, or the file that has it. It is not shown when it is printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// The token itself.
    Text(String),
    /// A file with nothing else in it. It is read again when it changes, so tokens that expire can be replaced beside a
    /// running client.
    File(PathBuf),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Text(_) => f.write_str("Token::Text"),
            Token::File(path) => write!(f, "Token::File({path:?})"),
        }
    }
}

/// Puts a token beside each call; or nothing. Clones share what was read.
#[derive(Clone, Debug, Default)]
pub struct Bearer(Option<Arc<Source>>);

struct Source {
    token: Token,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    header: Option<MetadataValue<tonic::metadata::Ascii>>,
    looked: Option<Instant>,
    modified: Option<(SystemTime, u64)>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.token.fmt(f)
    }
}

impl Bearer {
    /// Of a token, which is read once already.
    ///
    /// # Errors
    /// When its file cannot be read, or it can be no header.
    pub(super) fn new(token: Option<&Token>) -> io::Result<Bearer> {
        let Some(token) = token else { return Ok(Bearer::default()) };
        let source = Source { token: token.clone(), read: Mutex::default() };
        source.header()?;
        Ok(Bearer(Some(Arc::new(source))))
    }
}

impl Source {
    /// Errors name the file.
    fn header(&self) -> io::Result<MetadataValue<tonic::metadata::Ascii>> {
        self.read_header().map_err(|error| match &self.token {
            Token::Text(_) => error,
            Token::File(path) => io::Error::new(error.kind(), format!("{}: {error}", path.display())),
        })
    }

    fn read_header(&self) -> io::Result<MetadataValue<tonic::metadata::Ascii>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(header) = &read.header
            && (matches!(self.token, Token::Text(_)) || read.looked.is_some_and(|looked| looked.elapsed() < LOOK))
        {
            return Ok(header.clone());
        }
        let text = match &self.token {
            Token::Text(text) => text.clone(),
            Token::File(path) => {
                let metadata = fs::metadata(path)?;
                check_length(metadata.len())?;
                let modified = Some((metadata.modified()?, metadata.len()));
                read.looked = Some(Instant::now());
                if let (Some(header), true) = (&read.header, read.modified == modified) {
                    return Ok(header.clone());
                }
                read.modified = modified;
                fs::read_to_string(path)?
            }
        };
        // Never the text itself: errors are printed.
        let none =
            || io::Error::new(io::ErrorKind::InvalidData, "what it has is no token: a line of printable characters");
        let text = Some(text.trim())
            .filter(|text| !text.is_empty() && !text.contains(char::is_whitespace))
            .ok_or_else(none)?;
        check_length(text.len() as u64)?;
        let mut header: MetadataValue<_> = format!("Bearer {text}").parse().map_err(|_| none())?;
        header.set_sensitive(true);
        read.header = Some(header.clone());
        Ok(header)
    }
}

/// No node reads a longer one.
fn check_length(bytes: u64) -> io::Result<()> {
    if bytes > TOKEN_BYTES_MAX as u64 {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a token has at most {TOKEN_BYTES_MAX} bytes, and this has {bytes}"),
        ))
    } else {
        Ok(())
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(source) = &self.0 {
            let header = source.header().map_err(|error| Status::unauthenticated(format!("the token: {error}")))?;
            request.metadata_mut().insert("authorization", header);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bearer: &mut Bearer) -> Option<String> {
        let request = bearer.call(Request::new(())).unwrap();
        request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_token_goes_with_each_call_and_is_not_printed() {
        let token = Token::Text("secret".to_owned());
        let mut bearer = Bearer::new(Some(&token)).unwrap();
        assert_eq!(shown(&mut bearer).as_deref(), Some("Bearer secret"));
        assert!(!format!("{token:?} {bearer:?}").contains("secret"));
        assert_eq!(shown(&mut Bearer::default()), None);
        for none in ["", " ", "two words", "line\nbreak", "ä\u{0}"] {
            let error = Bearer::new(Some(&Token::Text(none.to_owned()))).unwrap_err();
            assert!(error.to_string().contains("no token"), "{none:?}: {error}");
        }
        let long = Bearer::new(Some(&Token::Text("x".repeat(10_000)))).unwrap_err();
        assert_eq!(long.to_string(), "a token has at most 8192 bytes, and this has 10000");
    }

    #[test]
    fn a_file_s_token_is_read_again_when_it_changes() {
        let path = std::env::temp_dir().join(format!("dovetail-token-{}", std::process::id()));
        fs::write(&path, "one\n").unwrap();
        let mut bearer = Bearer::new(Some(&Token::File(path.clone()))).unwrap();
        assert_eq!(shown(&mut bearer).as_deref(), Some("Bearer one"));
        fs::write(&path, "another\n").unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while shown(&mut bearer).as_deref() != Some("Bearer another") {
            assert!(Instant::now() < until, "the new token is not read");
            std::thread::yield_now();
        }
        fs::remove_file(&path).unwrap();
        let error = Bearer::new(Some(&Token::File(path.clone()))).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: No such file", path.display())), "{error}");
    }
}
