//! What a program is built from, for build scripts: `0.1.0 (1a2b3c4d5e6f, release)`.
//!
//! The version is the package's. Packagers set DOVETAIL_BUILD_ID; else what follows is the commit, with `-dirty` if
//! tracked files that the program is built from differ from it. Unknown outside git, and left out of debug builds,
//! which would be compiled again after every commit.
#![allow(clippy::print_stdout, reason = "build scripts speak to cargo by printing")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Sets DOVETAIL_VERSION for the package whose build script this is, two folders below the top of the repository.
/// `sources` are the files and folders of the repository that the program is built from.
pub fn print(sources: &[&str]) {
    println!("cargo:rerun-if-env-changed=DOVETAIL_BUILD_ID");
    let profile = env::var("PROFILE").unwrap_or_default();
    let given = env::var("DOVETAIL_BUILD_ID").ok().filter(|id| !id.is_empty());
    let id = given.or_else(|| if profile == "release" { commit(sources) } else { None });
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let build = id.map_or_else(|| profile.clone(), |id| format!("{id}, {profile}"));
    println!("cargo:rustc-env=DOVETAIL_VERSION={version} ({build})");
}

/// The commit of the repository, and whether the sources differ from it.
fn commit(sources: &[&str]) -> Option<String> {
    let top = PathBuf::from(env::var("CARGO_MANIFEST_DIR").ok()?).ancestors().nth(2)?.to_owned();
    // Unpacked within the repository of something else, its commit is not ours.
    if fs::canonicalize(git(&top, &["rev-parse", "--show-toplevel"])?).ok()? != fs::canonicalize(&top).ok()? {
        return None;
    }
    let branch = git(&top, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD"].into_iter().chain(branch.as_deref()) {
        let path = top.join(git(&top, &["rev-parse", "--git-path", name])?);
        // A file that is not there would run this every time.
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    for source in sources {
        println!("cargo:rerun-if-changed={}", top.join(source).display());
    }
    let commit = git(&top, &["rev-parse", "--short=12", "HEAD"])?;
    let status = [&["status", "--porcelain", "--untracked-files=no", "--"], sources].concat();
    let dirty = if git(&top, &status)?.is_empty() { "" } else { "-dirty" };
    Some(format!("{commit}{dirty}"))
}

/// What git says; none where there is no git, or it fails.
fn git(top: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(top).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
