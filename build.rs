//! Compiles `proto/` with protox, in Rust: a machine without protoc builds. And says what is built, for `--version`.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use prost::Message as _;
use prost_types::FileDescriptorSet;

const FILES: [&str; 4] = [
    "proto/dovetail/v1/types.proto",
    "proto/dovetail/v1/match.proto",
    "proto/dovetail/v1/cluster.proto",
    "proto/dovetail/v1/inspect.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rustc-env=DOVETAIL_VERSION={}", version());
    let descriptors: FileDescriptorSet = protox::compile(FILES, ["proto"])?;
    // Server reflection hands these bytes out.
    let encoded = descriptors.encode_to_vec();
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("dovetail.bin"), encoded)?;
    // What is read by hand, so that nothing is unpacked before it was counted.
    let mut generator = tonic_prost_build::configure().bytes(".").codec_path("crate::pb::codec::ExactCodec");
    for message in ["Rows", "Columns"] {
        generator = generator.extern_path(format!(".dovetail.v1.{message}"), format!("crate::batch::{message}"));
    }
    generator.compile_fds(descriptors)?;
    Ok(())
}

/// `0.1.0 (1a2b3c4d5e6f, release)`: the version, what it is built from, and how. Packagers set DOVETAIL_BUILD_ID; else
/// it is the commit, with `-dirty` if tracked files differ from it. Unknown outside git, and left out of debug builds,
/// which would be compiled again after every commit.
fn version() -> String {
    println!("cargo:rerun-if-env-changed=DOVETAIL_BUILD_ID");
    let profile = env::var("PROFILE").unwrap_or_default();
    let given = env::var("DOVETAIL_BUILD_ID").ok().filter(|id| !id.is_empty());
    let id = given.or_else(|| if profile == "release" { commit() } else { None });
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    match id {
        Some(id) => format!("{version} ({id}, {profile})"),
        None => format!("{version} ({profile})"),
    }
}

/// The commit of the repository that this package is the top of.
fn commit() -> Option<String> {
    let here = env::var("CARGO_MANIFEST_DIR").ok()?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&here).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // Unpacked within the repository of something else, its commit is not ours.
    let top = fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    if top != fs::canonicalize(&here).ok()? {
        return None;
    }
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD"].into_iter().chain(branch.as_deref()) {
        let path = PathBuf::from(git(&["rev-parse", "--git-path", name])?);
        let path = if path.is_absolute() { path } else { Path::new(&here).join(path) };
        // A file that is not there would run this every time.
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    for sources in ["src", "crates", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={sources}");
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}
