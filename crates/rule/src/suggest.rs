//! "Did you mean": the known name nearest to a misspelt one.

use strsim::osa_distance;

/// Most edits apart that two names may be for one to be suggested for the other.
const DISTANCE_MAX: usize = 2;

/// The nearest of `known` to `name`, the first of several equally near; none if none is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    // Names of very different lengths are not compared: what a client sends may be long.
    let near = known.filter(|candidate| candidate.len().abs_diff(name.len()) <= DISTANCE_MAX);
    let best = near.map(|candidate| (osa_distance(name, candidate), candidate)).min_by_key(|(edits, _)| *edits);
    // Of a name of two letters, two edits leave nothing.
    let limit = DISTANCE_MAX.min(name.len().saturating_sub(1));
    best.filter(|(edits, _)| *edits <= limit).map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["skill", "region", "role", "waited"];
        let check = |name: &str, suggestion: Option<&str>| {
            assert_eq!(nearest(name, known.into_iter()).as_deref(), suggestion, "{name}");
        };
        check("skil", Some("skill"));
        check("Skill", Some("skill"));
        check("regoin", Some("region"));
        check("wated", Some("waited"));
        check("x", None);
        check("latency", None);
    }
}
