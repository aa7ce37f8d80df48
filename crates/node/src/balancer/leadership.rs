//! Which of several balancers writes: when one that stands by takes over, and when one that writes is over.
//!
//! ```text
//! STANDBY --- nobody that writes was heard of for so long ---> ASKING for a term
//! ASKING  --- the term has begun, and all before it is read --> ACTIVE   |  --- another was first --> STANDBY
//! ACTIVE  --- another term has begun ------------------------> OVER: it gives up what it knows, and begins anew
//! ```
//!
//! The engine that keeps the log lets one write at a time, whoever believes what: a balancer that takes over for no
//! reason costs some milliseconds of service and nothing else. So nobody needs a lease, and no clock decides anything
//! but when to ask. Invariants: leadership.E1 a balancer writes in a term of its own, once it has read all that is
//! before that; leadership.E2 one whose term is over never writes again; leadership.E3 while a balancer that stands by
//! is heard of, the stable cut waits for what that one has stored: so whoever goes on knows what nodes have forgotten.

use std::collections::BTreeMap;

use dovetail_core::{
    EventId, Stable,
    planted::{Bug, Planted},
};

use crate::ids::{BalancerId, Term, Writer};

/// What a balancer is told of itself and the others. All times are in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct LeadershipSettings {
    /// Its index.
    pub me: BalancerId,
    /// This process.
    pub writer: Writer,
    /// After how long a silence of the one that writes another takes over.
    pub takeover_after_ms: u64,
    /// How much longer each waits than the one that should rather do it.
    pub stagger_ms: u64,
    /// How long the stable cut waits for a balancer that is heard of no more.
    pub grace_ms: u64,
}

/// A balancer says that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalancerBeat {
    /// Its index.
    pub balancer: BalancerId,
    /// Its process.
    pub writer: Writer,
    /// The newest term that it knows of.
    pub term: Option<Term>,
    /// The last event that it has of the log.
    pub recorded: EventId,
    /// The last event that it has stored as decided.
    pub stored: EventId,
    /// It writes, and would rather another did.
    pub yields: bool,
}

/// Who writes in a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    /// The term.
    pub term: Term,
    /// The balancer.
    pub balancer: BalancerId,
    /// Its process.
    pub writer: Writer,
}

/// What a balancer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It follows the log.
    Standby,
    /// It has asked for a term.
    Asking,
    /// Its term has begun, and it has not read all that is before it.
    Won(Term),
    /// It writes.
    Active(Term),
    /// It wrote, and another does. It has to begin anew: what it wrote and the log did not take never was.
    Over,
}

/// What came of asking for a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It has begun.
    Won(Term),
    /// Another came first: this is the newest term.
    Lost(Reign),
}

/// A balancer's view of who writes.
#[derive(Clone, Debug)]
pub struct Leadership {
    settings: LeadershipSettings,
    standing: Standing,
    /// Who writes, by the newest term that was read or heard of.
    newest: Option<Reign>,
    /// When whoever writes was last heard of.
    heard_ms: u64,
    /// It would rather not.
    yields: bool,
    others: BTreeMap<BalancerId, Other>,
    planted: Planted,
}

#[derive(Clone, Copy, Debug)]
struct Other {
    at_ms: u64,
    stored: EventId,
}

impl Leadership {
    /// Of a balancer that begins to follow the log.
    #[must_use]
    pub fn new(settings: LeadershipSettings, now_ms: u64, planted: Planted) -> Leadership {
        let (standing, others) = (Standing::Standby, BTreeMap::new());
        Leadership { settings, standing, newest: None, heard_ms: now_ms, yields: false, others, planted }
    }

    /// What it is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it writes.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.standing, Standing::Active(_))
    }

    /// Who writes, as far as it knows.
    #[must_use]
    pub fn newest(&self) -> Option<Reign> {
        self.newest
    }

    /// Who it is, and which process.
    #[must_use]
    pub fn me(&self) -> (BalancerId, Writer) {
        (self.settings.me, self.settings.writer)
    }

    /// What it tells the others.
    #[must_use]
    pub fn beat(&self, recorded: EventId, stored: EventId, yields: bool) -> BalancerBeat {
        let (me, writer) = self.me();
        let term = self.newest.map(|newest| newest.term);
        BalancerBeat { balancer: me, writer, term, recorded, stored, yields }
    }

    /// The beginning of a term was read; all of the log before it has been.
    pub fn on_term(&mut self, reign: Reign, now_ms: u64) {
        if self.newest.is_some_and(|newest| reign.term <= newest.term) {
            // It was heard of already, from the engine's answer.
            if reign.writer == self.settings.writer && self.standing == Standing::Won(reign.term) {
                self.standing = Standing::Active(reign.term);
            }
            return;
        }
        (self.newest, self.heard_ms, self.yields) = (Some(reign), now_ms, false);
        self.standing = match self.standing {
            Standing::Asking | Standing::Won(_) if reign.writer == self.settings.writer => Standing::Active(reign.term),
            // A term that was asked for behind the one before this does not begin any more.
            Standing::Standby | Standing::Asking => Standing::Standby,
            Standing::Won(_) | Standing::Active(_) | Standing::Over => Standing::Over,
        };
    }

    /// Records were read: whoever writes lives.
    pub fn on_group(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// Another says that it lives.
    pub fn on_beat(&mut self, beat: &BalancerBeat, now_ms: u64) {
        if beat.balancer == self.settings.me {
            return;
        }
        self.others.insert(beat.balancer, Other { at_ms: now_ms, stored: beat.stored });
        if self.newest.is_some_and(|newest| newest.writer == beat.writer) {
            (self.heard_ms, self.yields) = (now_ms, beat.yields);
        }
        self.on_heard_of(beat.term);
    }

    /// Somebody has heard of a term.
    pub fn on_heard_of(&mut self, term: Option<Term>) {
        let later = term > self.newest.map(|newest| newest.term);
        if later && matches!(self.standing, Standing::Won(_) | Standing::Active(_)) {
            self.standing = Standing::Over;
        }
    }

    /// What this process appends is not taken any more.
    pub fn on_fenced(&mut self) {
        self.standing = Standing::Over;
    }

    /// Whether to ask for a term now: behind the newest that is known, which is returned. Of one that has stored so
    /// much, where nodes may have forgotten what is at or below `told`.
    pub fn ask(&mut self, stored: EventId, told: Stable, now_ms: u64) -> Option<Option<Term>> {
        let due = self.standing == Standing::Standby && now_ms >= self.asks_at_ms(stored, told, now_ms);
        due.then(|| {
            self.standing = Standing::Asking;
            self.newest.map(|newest| newest.term)
        })
    }

    /// When it asks for a term, if nothing is heard until then.
    #[must_use]
    pub fn asks_at_ms(&self, stored: EventId, told: Stable, now_ms: u64) -> u64 {
        let LeadershipSettings { me, takeover_after_ms, stagger_ms, .. } = self.settings;
        let rather = |(&other, &Other { at_ms, stored: others }): (&BalancerId, &Other)| {
            let lives = at_ms + takeover_after_ms > now_ms && self.newest.is_none_or(|newest| newest.balancer != other);
            lives && (others > stored || (others == stored && other < me))
        };
        let rank = self.others.iter().filter(|&other| rather(other)).count() as u64;
        // Under one that has stored less, nodes have to begin anew: it goes last.
        let last = told.event() > stored;
        // Nobody has ever written, or whoever does waits for another to do it.
        let at_once = self.newest.is_none() || (self.yields && !last);
        let silence = if at_once { 0 } else { takeover_after_ms } + if last { takeover_after_ms } else { 0 };
        self.heard_ms + silence + rank * stagger_ms
    }

    /// What came of asking.
    pub fn on_asked(&mut self, asked: Asked, now_ms: u64) {
        match (asked, self.standing) {
            (Asked::Won(term), Standing::Asking) => {
                let (me, writer) = self.me();
                let first = self.planted.is(Bug::ActiveBeforePrefix);
                self.standing = if first { Standing::Active(term) } else { Standing::Won(term) };
                (self.newest, self.heard_ms) = (Some(Reign { term, balancer: me, writer }), now_ms);
            }
            // Whoever was first is read of soon; or was long ago, where a copy goes on.
            (Asked::Lost(newest), Standing::Asking) => {
                let known = self.newest.filter(|known| known.term >= newest.term);
                (self.standing, self.newest) = (Standing::Standby, Some(known.unwrap_or(newest)));
                (self.heard_ms, self.yields) = (now_ms, false);
            }
            // It was read before the answer came.
            (Asked::Won(_) | Asked::Lost(_), _) => {}
        }
    }

    /// How far the stable cut may go for the others: those that were heard of lately.
    #[must_use]
    pub fn bound(&self, now_ms: u64) -> EventId {
        let lately = self.others.values().filter(|other| other.at_ms + self.settings.grace_ms >= now_ms);
        let bound = lately.map(|other| other.stored).min().unwrap_or(EventId(u64::MAX));
        if self.planted.is(Bug::StableByOwnDisk) { EventId(u64::MAX) } else { bound }
    }

    /// What each of so many balancers has stored, as far as is known.
    #[must_use]
    pub fn stored_by_all(&self, balancers: u32) -> EventId {
        let others = (0..balancers).map(BalancerId).filter(|&other| other != self.settings.me);
        let stored = others.map(|other| self.others.get(&other).map_or(EventId::ZERO, |other| other.stored));
        stored.min().unwrap_or(EventId(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: LeadershipSettings = LeadershipSettings {
        me: BalancerId(1),
        writer: Writer(11),
        takeover_after_ms: 1_000,
        stagger_ms: 250,
        grace_ms: 10_000,
    };

    fn leadership() -> Leadership {
        Leadership::new(SETTINGS, 0, Planted::default())
    }

    fn reign(term: u64, balancer: u32) -> Reign {
        Reign { term: Term(term), balancer: BalancerId(balancer), writer: Writer(u128::from(balancer) + 10) }
    }

    fn beat(balancer: u32, term: Option<u64>, stored: u64) -> BalancerBeat {
        BalancerBeat {
            balancer: BalancerId(balancer),
            writer: Writer(u128::from(balancer) + 10),
            term: term.map(Term),
            recorded: EventId(stored),
            stored: EventId(stored),
            yields: false,
        }
    }

    const STORED: EventId = EventId(7);
    const TOLD: Stable = Stable(EventId(7));

    #[test]
    fn a_term_is_asked_for_when_whoever_writes_is_silent() {
        let mut one = leadership();
        one.on_term(reign(3, 0), 100);
        one.on_beat(&beat(0, Some(3), 5), 400);
        assert_eq!(one.ask(STORED, TOLD, 1_399), None);
        one.on_group(1_399);
        assert_eq!(one.ask(STORED, TOLD, 2_398), None);
        // Beats of one that stands by are no sign of it.
        one.on_beat(&beat(2, Some(3), 5), 2_398);
        assert_eq!(one.ask(STORED, TOLD, 2_399), Some(Some(Term(3))));
        assert_eq!((one.standing(), one.ask(STORED, TOLD, 9_999)), (Standing::Asking, None), "it is asked for once");
    }

    #[test]
    fn the_one_that_has_stored_more_takes_over_first() {
        let mut one = leadership();
        one.on_term(reign(3, 0), 0);
        one.on_beat(&beat(0, Some(3), 99), 0);
        one.on_beat(&beat(2, Some(3), 8), 900);
        assert_eq!(one.asks_at_ms(STORED, TOLD, 1_000), 1_250, "the other has stored more");
        assert_eq!(one.asks_at_ms(EventId(8), TOLD, 1_000), 1_000, "the lower index goes first");
        assert_eq!(one.asks_at_ms(STORED, TOLD, 1_900), 1_000, "the other is silent, too");
        // Nobody has written yet, or who does would rather not.
        assert_eq!(leadership().ask(STORED, TOLD, 0), Some(None));
        one.on_beat(&BalancerBeat { yields: true, ..beat(0, Some(3), 99) }, 950);
        assert_eq!(one.asks_at_ms(EventId(8), TOLD, 960), 950);
        let behind = one.asks_at_ms(EventId(6), TOLD, 960);
        assert_eq!(behind, 950 + 2_000 + 250, "nodes would have to begin anew");
        one.on_term(reign(5, 2), 970);
        assert_eq!(one.asks_at_ms(EventId(99), TOLD, 980), 2_220, "the one that would rather not has stored as much");
        assert_eq!(one.asks_at_ms(EventId(100), TOLD, 980), 1_970);
    }

    #[test]
    fn it_writes_once_it_has_read_the_beginning_of_its_term() {
        for told_first in [false, true] {
            let mut one = leadership();
            one.on_term(reign(3, 0), 0);
            one.ask(STORED, TOLD, 1_000).unwrap();
            if told_first {
                one.on_asked(Asked::Won(Term(6)), 1_001);
                assert_eq!((one.standing(), one.is_active()), (Standing::Won(Term(6)), false));
                // What the one before wrote until then.
                one.on_group(1_002);
            }
            one.on_term(reign(6, 1), 1_003);
            one.on_asked(Asked::Won(Term(6)), 1_004);
            assert_eq!((one.standing(), one.newest()), (Standing::Active(Term(6)), Some(reign(6, 1))));
            one.on_term(reign(8, 2), 1_005);
            assert_eq!((one.standing(), one.newest()), (Standing::Over, Some(reign(8, 2))));
            one.on_term(reign(9, 1), 1_006);
            assert_eq!(one.standing(), Standing::Over, "nothing that it asked for counts any more");
        }
    }

    #[test]
    fn whoever_is_first_is_first() {
        let mut one = leadership();
        one.on_term(reign(3, 0), 0);
        one.ask(STORED, TOLD, 1_000).unwrap();
        one.on_asked(Asked::Lost(reign(6, 2)), 1_010);
        assert_eq!((one.standing(), one.ask(STORED, TOLD, 2_009)), (Standing::Standby, None));
        one.on_term(reign(6, 2), 1_020);
        assert_eq!(one.ask(STORED, TOLD, 2_010), Some(Some(Term(6))), "behind the one that was first");
        one.on_term(reign(8, 0), 2_030);
        assert_eq!(one.standing(), Standing::Standby);
        one.on_asked(Asked::Lost(reign(8, 0)), 2_040);
        assert_eq!(one.standing(), Standing::Standby);
        // Its own, of a process before this one.
        one.on_term(Reign { writer: Writer(99), ..reign(9, 1) }, 2_050);
        assert_eq!(one.standing(), Standing::Standby);
    }

    #[test]
    fn it_is_over_when_it_is_fenced_or_hears_of_a_later_term() {
        for heard in [false, true] {
            let mut one = leadership();
            one.ask(STORED, TOLD, 0).unwrap();
            one.on_term(reign(3, 1), 0);
            one.on_beat(&beat(2, None, 0), 1);
            one.on_beat(&beat(2, Some(3), 0), 1);
            assert!(one.is_active());
            if heard {
                one.on_beat(&beat(2, Some(4), 0), 2);
            } else {
                one.on_fenced();
            }
            assert_eq!((one.standing(), one.ask(STORED, TOLD, 99_999)), (Standing::Over, None));
        }
    }

    #[test]
    fn the_stable_cut_waits_for_those_that_were_heard_of_lately() {
        let mut one = leadership();
        assert_eq!(one.bound(0), EventId(u64::MAX));
        one.on_beat(&beat(0, None, 4), 100);
        one.on_beat(&beat(2, None, 9), 5_000);
        one.on_beat(&beat(1, None, 1), 5_000);
        assert_eq!([10_100, 10_101, 15_001].map(|now_ms| one.bound(now_ms).0), [4, 9, u64::MAX]);
        assert_eq!([2, 3, 4].map(|balancers| one.stored_by_all(balancers).0), [4, 4, 0]);
    }
}
