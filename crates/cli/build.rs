//! Says what `dovetail` is built from, for `--version`.

fn main() {
    dovetail_build_id::print(&["Cargo.toml", "Cargo.lock", "build.rs", "proto", "src", "crates"]);
}
