//! Compiles `proto/` with protox, in Rust: a machine without protoc builds.

use std::{env, error::Error, fs, path::PathBuf};

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
