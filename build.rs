//! Compiles what clients use of `proto/`, the package `dovetail.v1`, with protox, in Rust: a machine without protoc builds.

use std::error::Error;

use prost_types::FileDescriptorSet;

const FILES: [&str; 4] = [
    "proto/dovetail/v1/types.proto",
    "proto/dovetail/v1/match.proto",
    "proto/dovetail/v1/inspect.proto",
    "proto/dovetail/v1/operate.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/dovetail/v1");
    let descriptors: FileDescriptorSet = protox::compile(FILES, ["proto"])?;
    // What is read by hand, so that nothing is unpacked before it was counted.
    let mut generator = tonic_prost_build::configure().bytes(".").codec_path("crate::pb::codec::ExactCodec");
    for message in ["Rows", "Columns"] {
        generator = generator.extern_path(format!(".dovetail.v1.{message}"), format!("crate::batch::{message}"));
    }
    generator.compile_fds(descriptors)?;
    Ok(())
}
