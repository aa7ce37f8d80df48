//! Files that are read again when they change: a bad new one is refused in words, and what was read before stays.

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
    /// The last thing that went wrong: said once.
    said: String,
}

impl Watched {
    pub(super) fn new(path: impl Into<PathBuf>, bytes_max: usize) -> Watched {
        Watched { path: path.into(), bytes_max, read: None, said: String::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The text, if it may have changed since it was read last.
    ///
    /// # Errors
    /// When it cannot be read. It is tried again the next time.
    pub(super) fn changed(&mut self) -> io::Result<Option<String>> {
        let looks = look(&fs::metadata(&self.path)?);
        if self.read == Some(looks) {
            return Ok(None);
        }
        let mut file = File::open(&self.path)?;
        // As it is open: it may be another one by now.
        let looks = look(&file.metadata()?);
        let mut text = String::new();
        // One byte more than there may be is enough for whoever reads it to refuse it.
        io::Read::by_ref(&mut file).take(self.bytes_max as u64 + 1).read_to_string(&mut text)?;
        self.read = Some(looks);
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

    #[test]
    fn a_file_is_read_once_until_it_changes_and_no_further_than_it_may_be() {
        let path = std::env::temp_dir().join(format!("dovetail-watched-{}", std::process::id()));
        fs::write(&path, "one").unwrap();
        let mut watched = Watched::new(&path, 8);
        assert_eq!(watched.changed().unwrap().as_deref(), Some("one"));
        assert_eq!(watched.changed().unwrap(), None);
        fs::write(&path, "x".repeat(1000)).unwrap();
        assert_eq!(watched.changed().unwrap().map(|text| text.len()), Some(9));
        // Replaced by another file, as editors and Kubernetes do.
        let new = path.with_extension("new");
        fs::write(&new, "x".repeat(1000)).unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(watched.changed().unwrap().is_some());
        fs::remove_file(&path).unwrap();
        assert!(watched.changed().is_err() && watched.is_news("gone") && !watched.is_news("gone"));
    }
}
