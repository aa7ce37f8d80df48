//! Compiles what nodes say to each other and what they store, with protox: a machine without protoc builds.
//!
//! These packages are compiled here and not beside `dovetail.v1`, so that an application does not see them.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;
use prost_types::FileDescriptorSet;

const PROTO: &str = "../../proto";
/// What nodes serve. `log.proto` and the other records of the disk are not among it: no reflection shows them.
const SERVED: [&str; 8] = [
    "dovetail/v1/types.proto",
    "dovetail/v1/match.proto",
    "dovetail/v1/inspect.proto",
    "dovetail/v1/operate.proto",
    "dovetail/node/v1/node.proto",
    "dovetail/node/v1/feed.proto",
    "dovetail/node/v1/candidates.proto",
    "dovetail/node/v1/decisions.proto",
];
const STORED: [&str; 3] =
    ["dovetail/storage/v1/log.proto", "dovetail/storage/v1/results.proto", "dovetail/storage/v1/checkpoint.proto"];
/// What the package `dovetail` compiles.
const CLIENTS: &str = "dovetail.v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let served: FileDescriptorSet = protox::compile(SERVED, [PROTO])?;
    // Server reflection hands these bytes out.
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("served.bin"), served.encode_to_vec())?;
    let mut descriptors = protox::compile(SERVED.into_iter().chain(STORED), [PROTO])?;
    // Its messages are found there, and no code is made of them here; of services it would be.
    descriptors.file.iter_mut().filter(|file| file.package() == CLIENTS).for_each(|file| file.service.clear());
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("::dovetail::pb::codec::ExactCodec")
        .extern_path(format!(".{CLIENTS}"), "::dovetail::pb")
        .compile_fds(descriptors)?;
    Ok(())
}
