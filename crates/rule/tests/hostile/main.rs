//! The hostile rules of `corpus/`, and the fuzz targets run without a fuzzer.

// Clippy allows `unwrap` in test functions, but not in their helpers.
#![allow(clippy::unwrap_used)]

mod corpus;
mod targets;

#[path = "../../../../fuzz/src/lib.rs"]
mod fuzz;

/// The rules of the corpus, with a name each: the file's, or for those of `lines.txt`, one to a line, the rule itself.
fn rules() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/corpus");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of_file = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        match name.strip_suffix(".cel") {
            Some(name) => vec![(name.to_owned(), std::fs::read(&path).unwrap())],
            None => {
                std::fs::read_to_string(&path).unwrap().lines().map(|rule| (rule.to_owned(), rule.into())).collect()
            }
        }
    };
    let mut rules: Vec<_> = paths.flat_map(of_file).collect();
    rules.sort();
    rules
}

/// Runs on a stack half of what a test's thread has, and an eighth of what `main` has.
fn on_a_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap()
}
