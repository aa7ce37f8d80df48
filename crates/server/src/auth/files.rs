//! Files that are read again when they change: a bad new one is refused in words, and what was read before stays.
//!
//! A file that is being written is none yet: the first half of a grant may be one that grants more. So a new one is
//! read once it has looked the same twice, a look apart. The files of TLS are followed by what is in them
//! (`src/tls.rs`), since several have to fit together.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// How a file looks from outside. It is read again when that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// A file, and how it looked when it was read last.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    bytes_max: usize,
    read: Option<Look>,
    /// How it looked the last time, if it was there.
    seen: Option<Look>,
    /// The last thing that went wrong: said once.
    said: String,
}

impl Watched {
    pub(super) fn new(path: impl Into<PathBuf>, bytes_max: usize) -> Watched {
        Watched { path: path.into(), bytes_max, read: None, seen: None, said: String::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The text: at first as it is, later if it has changed since it was read last, and has stayed as it is since the
    /// last look.
    ///
    /// # Errors
    /// When it cannot be read. It is tried again the next time.
    pub(super) fn changed(&mut self) -> io::Result<Option<String>> {
        let seen = self.seen.take();
        let looks = look(&fs::metadata(&self.path)?);
        if looks.bytes > self.bytes_max as u64 {
            return Err(io::Error::other(format!("it has {} bytes, at most {}", looks.bytes, self.bytes_max)));
        }
        self.seen = Some(looks);
        if self.read == Some(looks) || (self.read.is_some() && seen != Some(looks)) {
            return Ok(None);
        }
        let mut file = File::open(&self.path)?;
        let mut text = String::new();
        // It may grow meanwhile: one byte above the bound is enough for its parser to refuse it.
        io::Read::by_ref(&mut file).take(self.bytes_max as u64 + 1).read_to_string(&mut text)?;
        // As it is open: it may be another one by now, or have more.
        let read = look(&file.metadata()?);
        if self.read.is_some() && read != looks {
            return Ok(None);
        }
        self.read = Some(read);
        Ok(Some(text))
    }

    /// Whether this is news.
    pub(super) fn is_news(&mut self, said: &str) -> bool {
        let news = self.said != said;
        if news {
            said.clone_into(&mut self.said);
        }
        news
    }
}

fn look(metadata: &fs::Metadata) -> Look {
    Look {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read at the second look, and not at the first.
    fn settled(watched: &mut Watched) -> Option<String> {
        assert_eq!(watched.changed().unwrap(), None);
        watched.changed().unwrap()
    }

    #[test]
    fn a_file_that_is_being_written_is_read_when_it_is_whole() {
        let path = std::env::temp_dir().join(format!("dovetail-written-{}", std::process::id()));
        let grant = "[[grant]]\nwho = [\"ada\"]\nroles = [\"operator\"]\n";
        fs::write(&path, "").unwrap();
        let mut watched = Watched::new(&path, 1000);
        assert_eq!(watched.changed().unwrap().as_deref(), Some(""));
        // Without its last line it grants more.
        fs::write(&path, grant).unwrap();
        assert_eq!(watched.changed().unwrap(), None);
        let whole = format!("{grant}pools = [\"ada-*\"]\n");
        fs::write(&path, &whole).unwrap();
        assert_eq!(settled(&mut watched), Some(whole));
        assert_eq!(watched.changed().unwrap(), None);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_is_read_once_until_it_changes_and_no_further_than_it_may_be() {
        let path = std::env::temp_dir().join(format!("dovetail-watched-{}", std::process::id()));
        fs::write(&path, "one").unwrap();
        let mut watched = Watched::new(&path, 8);
        assert_eq!(watched.changed().unwrap().as_deref(), Some("one"));
        assert_eq!(watched.changed().unwrap(), None);
        fs::write(&path, "x".repeat(1000)).unwrap();
        assert_eq!(watched.changed().unwrap_err().to_string(), "it has 1000 bytes, at most 8");
        fs::write(&path, "two").unwrap();
        assert_eq!(settled(&mut watched).as_deref(), Some("two"));
        // Replaced by another file, as editors and Kubernetes do.
        let new = path.with_extension("new");
        fs::write(&new, "two").unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(settled(&mut watched).is_some());
        fs::remove_file(&path).unwrap();
        assert!(watched.changed().is_err() && watched.is_news("gone") && !watched.is_news("gone"));
    }
}
