//! Runs every command that README.md, docs/tutorial.md and docs/cookbook.md show, and compares what it prints with what
//! they say.
//!
//! The `console` blocks of a page are run in order, in a temporary folder with the project's examples, as a reader
//! would type them: `$ ` begins a command, the lines after it are its output, `^C` ends what still runs. Each page has
//! loopback addresses of its own instead of 127.0.0.1. What differs from run to run is compared as [`compare`] says.
//!
//! Not run: what builds, tests and installs the project itself ([`page::SKIPPED`]).
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a page that is not as it says is a failed test")]

mod compare;
mod page;
#[path = "../programs.rs"]
mod programs;
mod shell;

use std::fs;

use page::Page;
use shell::Shell;

/// Runs a page; `number` tells its addresses from those of other pages.
fn check(path: &str, number: u8) {
    let text = fs::read_to_string(programs::root().join(path)).unwrap();
    let page = Page::parse(path, &text);
    let mut shell = Shell::new(path, number);
    for (name, text) in &page.files {
        shell.file(name, text);
    }
    let mut ran = 0;
    for block in &page.blocks {
        for step in &block.steps {
            shell.step(step);
            ran += 1;
        }
        shell.end_watches();
    }
    assert!(ran >= 10, "{path}: only {ran} commands were found");
}

#[test]
fn every_command_of_the_readme_prints_what_the_page_shows() {
    check("README.md", 0);
}

#[test]
fn every_command_of_the_tutorial_prints_what_the_page_shows() {
    check("docs/tutorial.md", 1);
}

#[test]
fn every_command_of_the_cookbook_prints_what_the_page_shows() {
    check("docs/cookbook.md", 2);
}
