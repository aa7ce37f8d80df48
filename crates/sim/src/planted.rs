//! The search for a planted bug: a simulator worth having finds each of them.

use std::str::FromStr;

use dovetail_core::planted::Bug;
use thiserror::Error;

use crate::{runner::run_caught, sim::Options, violation::Violation};

/// A planted bug was found, or was not.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub bug: Bug,
    /// Seeds run.
    pub seeds: u64,
    /// The seed that found it, and how it showed.
    pub found: Option<(u64, Violation)>,
}

/// Runs seeds from `first` until the bug shows, at most `seeds_max`.
#[must_use]
pub fn hunt(bug: Bug, first: u64, seeds_max: u64) -> Hunt {
    let options = Options { bug: Some(bug), ..Options::default() };
    for seed in first..first + seeds_max {
        // Memory that is not freed is worth a look, but not what these bugs are about.
        let violation =
            run_caught(seed, options).violation.filter(|violation| !matches!(violation, Violation::Bound { .. }));
        if let Some(violation) = violation {
            return Hunt { bug, seeds: seed - first + 1, found: Some((seed, violation)) };
        }
    }
    Hunt { bug, seeds: seeds_max, found: None }
}

/// The bugs that a command line names: a number from 1, a name, or `all`.
#[derive(Clone, Debug)]
pub struct Bugs(pub Vec<Bug>);

/// No bug is called so.
#[derive(Clone, Debug, Error)]
#[error("no planted bug is called {given:?}; there are 1 to {} and {}, and all", Bug::ALL.len(), names())]
pub struct UnknownBug {
    given: String,
}

impl FromStr for Bugs {
    type Err = UnknownBug;

    fn from_str(given: &str) -> Result<Bugs, UnknownBug> {
        if given == "all" {
            return Ok(Bugs(Bug::ALL.to_vec()));
        }
        let number = given.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let by_number = number.and_then(|index| Bug::ALL.get(index));
        let by_name = || Bug::ALL.iter().find(|bug| format!("{bug:?}").eq_ignore_ascii_case(given));
        let bug = by_number.or_else(by_name).ok_or_else(|| UnknownBug { given: given.to_owned() })?;
        Ok(Bugs(vec![*bug]))
    }
}

fn names() -> String {
    Bug::ALL.map(|bug| format!("{bug:?}")).join(", ")
}
