//! The programs that tests run, and where the repository is.
//!
//! Cargo builds `dovetail` before these tests, which are of its package. The programs of the roles are of another:
//! `cargo test` of the whole repository builds them as well; where only some tests were asked for, they are built here
//! if they are not there, or are older than their sources.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
    time::SystemTime,
};

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The program `dovetail`.
pub const DOVETAIL: &str = env!("CARGO_BIN_EXE_dovetail");

/// The folder with all programs: those of the roles are there, too.
pub fn folder() -> &'static Path {
    static BUILT: Once = Once::new();
    let folder = Path::new(DOVETAIL).parent().unwrap();
    BUILT.call_once(|| {
        let all = ["dovetail-balancer", "dovetail-matcher", "dovetail-gatherer"].map(|name| folder.join(name));
        if !all.iter().all(|program| is_of_its_sources(program)) {
            build(folder.file_name().unwrap().to_str().unwrap());
        }
        all.iter().for_each(|program| assert!(program.exists(), "{} is not built", program.display()));
    });
    folder
}

/// Whether a program is there, and as new as the sources that it was built from: cargo lists them beside it.
fn is_of_its_sources(program: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Some(built) = changed(program) else { return false };
    let Ok(list) = fs::read_to_string(program.with_extension("d")) else { return false };
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources).replace("\\ ", "\0");
    let mut sources = sources.split_whitespace().map(|source| PathBuf::from(source.replace('\0', " ")));
    // A folder changes with the files in it; the files are listed.
    sources.all(|source| source.is_dir() || changed(&source).is_some_and(|at: SystemTime| at <= built))
}

/// Builds what `cargo build` does, as these tests were built.
fn build(profile: &str) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--locked", "--bins"]).current_dir(root());
    match profile {
        "debug" => {}
        profile => _ = cargo.args(["--profile", profile]),
    }
    assert!(cargo.status().unwrap().success(), "the programs of the roles are not there, and cannot be built");
}
