//! How a target writes its seeds. It does so itself: a program beside it would be instrumented too, and have no fuzzer
//! to link.

/// Writes them to the folder that `DOVETAIL_SEEDS` names, if it names one, and ends the process.
///
/// # Panics
/// When the folder cannot be written to.
pub fn write_seeds(target: &str) {
    let Some(folder) = std::env::var_os("DOVETAIL_SEEDS").map(std::path::PathBuf::from) else { return };
    for (name, bytes) in dovetail_fuzz_nodes::seeds(target) {
        std::fs::write(folder.join(name), bytes).expect("the folder can be written to");
    }
    std::process::exit(0);
}
