//! What may be a mistake in a pool that can be defined: in its rule, and in how that goes together with its times.

use std::fmt;

use dovetail_rule::{Warning, format_duration};

use super::Pool;

/// What a note is about. Prints as a name that stays the same, such as `waited_without_reprobe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteCode {
    /// No pair satisfies the rule.
    NeverMatches,
    /// Every pair does.
    MatchesEveryPair,
    /// The rule may say another thing of a pair with the roles exchanged.
    Asymmetric,
    /// An element without some attribute never matches, where that may surprise.
    MissingNeverMatches,
    /// Nothing but the rule itself turns elements away.
    EveryPairTested,
    /// A part of the rule that costs much.
    CostlyResidual,
    /// The rule names `waited`, but no element searches again.
    WaitedWithoutReprobe,
    /// A search that comes after the element has expired.
    ReprobeNeverHappens,
    /// Elements search again, and can find nothing that they did not find before.
    ReprobeWithoutWaited,
    /// A comparison with `waited` that holds in no search.
    WaitedNotReached,
}

impl NoteCode {
    /// The name that programs can rely on.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            NoteCode::NeverMatches => "never_matches",
            NoteCode::MatchesEveryPair => "matches_every_pair",
            NoteCode::Asymmetric => "asymmetric",
            NoteCode::MissingNeverMatches => "missing_never_matches",
            NoteCode::EveryPairTested => "every_pair_tested",
            NoteCode::CostlyResidual => "costly_residual",
            NoteCode::WaitedWithoutReprobe => "waited_without_reprobe",
            NoteCode::ReprobeNeverHappens => "reprobe_never_happens",
            NoteCode::ReprobeWithoutWaited => "reprobe_without_waited",
            NoteCode::WaitedNotReached => "waited_not_reached",
        }
    }
}

impl fmt::Display for NoteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something to know about a pool. The pool works; it may not do what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub code: NoteCode,
    /// A sentence.
    pub text: String,
}

impl Pool {
    /// What may be a mistake, most important first.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        let mut notes: Vec<Note> = self.rule.plan().warnings().iter().filter_map(of_rule).collect();
        notes.extend(self.of_times());
        notes
    }

    /// How the rule goes together with the schedule and the time to live.
    fn of_times(&self) -> Vec<Note> {
        let note = |code, text| Note { code, text };
        let (ttl_ms, schedule) = (self.definition.ttl_ms, &*self.definition.reprobe_ms);
        let (ttl, waited) = (shown(ttl_ms), self.rule.uses_time());
        // A search is due a millisecond after its delay; an element that expires then expires first.
        let happens = |delay_ms: u64| ttl_ms == 0 || delay_ms + 1 < ttl_ms;
        let mut notes: Vec<Note> = schedule
            .iter()
            .filter(|delay_ms| !happens(**delay_ms))
            .map(|&delay_ms| {
                let delay = shown(delay_ms);
                let text = format!("the reprobe at {delay} never happens: an element expires after {ttl} (ttl)");
                note(NoteCode::ReprobeNeverHappens, text)
            })
            .collect();
        let last_ms = schedule.iter().copied().filter(|delay_ms| happens(*delay_ms)).max();
        match (waited, last_ms) {
            (true, None) => notes.push(note(
                NoteCode::WaitedWithoutReprobe,
                "the rule speaks of waited, but no element searches again after its arrival: two that both wait never meet; \
                 set a reprobe schedule"
                    .to_owned(),
            )),
            (true, Some(last_ms)) => notes.extend(self.not_reached(last_ms)),
            (false, Some(_)) => notes.push(note(
                NoteCode::ReprobeWithoutWaited,
                "the rule does not speak of waited, so an element that searches again finds nothing new: leave the reprobe \
                 schedule out"
                    .to_owned(),
            )),
            (false, None) => {}
        }
        notes
    }

    /// Comparisons that no search fulfils. The older of two may have waited for as long as it lives; the younger has
    /// waited no longer than the one that searches, and that one no longer than the last search comes after an arrival.
    fn not_reached(&self, last_ms: u64) -> Vec<Note> {
        let ttl_ms = self.definition.ttl_ms;
        let older_ms = if ttl_ms == 0 { u64::MAX } else { ttl_ms - 1 };
        let waited_max = [older_ms, last_ms + 1].map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        let lives = if ttl_ms == 0 { String::new() } else { format!(", and expires after {} (ttl)", shown(ttl_ms)) };
        let not_reached = |text: String| Note {
            code: NoteCode::WaitedNotReached,
            text: format!(
                "{text} holds in no search: an element searches last {} after its arrival{lives}",
                shown(last_ms)
            ),
        };
        self.rule.plan().unreached(waited_max).into_iter().map(not_reached).collect()
    }
}

fn of_rule(warning: &Warning) -> Option<Note> {
    let code = match warning {
        Warning::NeverMatches { .. } => NoteCode::NeverMatches,
        Warning::AlwaysMatches => NoteCode::MatchesEveryPair,
        Warning::Asymmetric { .. } => NoteCode::Asymmetric,
        Warning::MissingNeverMatches { .. } => NoteCode::MissingNeverMatches,
        Warning::EveryPairTested => NoteCode::EveryPairTested,
        Warning::CostlyResidual { .. } => NoteCode::CostlyResidual,
        // Another version of the crate may know more.
        _ => return None,
    };
    Some(Note { code, text: warning.to_string() })
}

fn shown(ms: u64) -> String {
    format_duration(i64::try_from(ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dovetail_rule::AttributeType;

    use super::*;
    use crate::{PoolDefinition, PoolId};

    fn check(rule: &str, ttl_ms: u64, reprobe_ms: &[u64], expected: &[(NoteCode, &str)]) {
        let attribute = |name: &str, declared| (name.to_owned(), declared);
        let definition = PoolDefinition {
            name: "duel".to_owned(),
            attributes: vec![attribute("skill", AttributeType::Int), attribute("blocked", AttributeType::StringList)],
            rule: rule.to_owned(),
            ttl_ms,
            reprobe_ms: reprobe_ms.to_vec(),
            waiting_max: 0,
            payload_bytes_max: 0,
        };
        let pool = Pool::compile(PoolId(0), Arc::new(definition)).unwrap_or_else(|error| panic!("{error}"));
        let notes = pool.notes();
        let found: Vec<(NoteCode, &str)> = notes.iter().map(|note| (note.code, note.text.as_str())).collect();
        let agrees = |(found, expected): (&(NoteCode, &str), &(NoteCode, &str))| {
            found.0 == expected.0 && found.1.contains(expected.1)
        };
        let all = found.len() == expected.len() && found.iter().zip(expected).all(agrees);
        assert!(all, "{rule}, ttl {ttl_ms}, reprobe {reprobe_ms:?}: {found:#?}");
    }

    const WIDENS: &str = "abs(a.skill - b.skill) <= 25 + min(a.waited, b.waited) / 1000";
    const STRICT: &str = "abs(a.skill - b.skill) <= 25";

    #[test]
    fn a_rule_that_widens_needs_a_reprobe_schedule() {
        check(WIDENS, 0, &[], &[(NoteCode::WaitedWithoutReprobe, "set a reprobe schedule")]);
        check(WIDENS, 0, &[5_000], &[]);
        check(STRICT, 0, &[], &[]);
        check(STRICT, 0, &[5_000], &[(NoteCode::ReprobeWithoutWaited, "nothing new")]);
    }

    #[test]
    fn a_reprobe_at_or_beyond_the_time_to_live_never_happens() {
        let never = |delay: &'static str| (NoteCode::ReprobeNeverHappens, delay);
        check(WIDENS, 10_000, &[5_000, 9_998], &[]);
        check(WIDENS, 10_000, &[5_000, 9_999], &[never("the reprobe at 9s999ms never happens")]);
        check(WIDENS, 10_000, &[5_000, 10_000, 60_000], &[never("at 10s never"), never("at 1m never")]);
        check(WIDENS, 10_000, &[10_000], &[never("after 10s (ttl)"), (NoteCode::WaitedWithoutReprobe, "waited")]);
    }

    #[test]
    fn a_wait_that_no_search_comes_after_is_told() {
        let both = |ms: u64| format!("{STRICT} || min(a.waited, b.waited) > {ms}");
        let unreached = (NoteCode::WaitedNotReached, "an element searches last 10s after its arrival");
        // A search is due a millisecond after its delay.
        check(&both(10_000), 0, &[5_000, 10_000], &[]);
        check(&both(10_001), 0, &[5_000, 10_000], &[unreached]);
        check("a.skill == b.skill && max(a.waited, b.waited) > 60000", 0, &[10_000], &[]);
        check("a.skill == b.skill && max(a.waited, b.waited) > 60000", 60_000, &[10_000], &[unreached]);
        check("a.skill == b.skill && max(a.waited, b.waited) >= 59999", 60_000, &[10_000], &[]);
        check(
            &both(10_000),
            10_001,
            &[5_000, 10_000],
            &[
                (NoteCode::ReprobeNeverHappens, "at 10s never"),
                (NoteCode::WaitedNotReached, "searches last 5s after its arrival, and expires after 10s1ms (ttl)"),
            ],
        );
    }

    #[test]
    fn what_the_plan_knows_of_a_rule_is_told() {
        check("true", 0, &[], &[(NoteCode::MatchesEveryPair, "every pair")]);
        check(
            "a.skill > 5 && a.skill < 6 && b.skill == a.skill",
            0,
            &[],
            &[(NoteCode::NeverMatches, "contradict"), (NoteCode::Asymmetric, "exchanged")],
        );
        let blocked = "a.skill == b.skill && !('x' in a.blocked) && !('x' in b.blocked)";
        check(blocked, 0, &[], &[(NoteCode::MissingNeverMatches, "an element without blocked never matches")]);
    }
}
