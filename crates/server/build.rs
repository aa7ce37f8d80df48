//! Says what the nodes are built from, for `--version`.

fn main() {
    // A change elsewhere, such as in the command line, does not build the nodes again.
    dovetail_build_id::print(&[
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "proto",
        "src",
        "crates/build-id",
        "crates/certs",
        "crates/core",
        "crates/log",
        "crates/node",
        "crates/rule",
        "crates/server",
        "crates/wire",
    ]);
}
