//! Writes inputs that a target of nodes begins with: `seeds TARGET FOLDER`.

use std::{env, fs, path::PathBuf};

fn main() {
    let mut arguments = env::args().skip(1);
    let (target, folder) = (arguments.next().expect("a target"), arguments.next().expect("a folder"));
    for (name, bytes) in dovetail_fuzz_nodes::seeds(&target) {
        fs::write(PathBuf::from(&folder).join(name), bytes).expect("the folder can be written to");
    }
}
