//! What a seed stands for: the cluster, the workload, the network and the faults, each drawn at random.
//!
//! Every run draws its own ranges first (some runs have no faults, some no tails, some one pool that matches all), and
//! the run draws from those. That finds more than one mixture of everything would.

use std::sync::Arc;

use dovetail_core::{Place, Placement, Ring, SliceId, batch::KeySecret, ledger::LedgerLimits, sequencer::FrameLimits};

use crate::{
    pools::{PoolPlan, draw_pools, vary},
    rng::Rng,
    time::Time,
};

/// A bound on memory that no run reaches.
pub const REMEMBERS_ALL: usize = 100_000;

/// The dice that say which pools have rules of the later kinds. Chosen so that the regressions' seeds mean what they
/// meant.
const VARIED: u64 = 59;

/// The dice for streams of submissions and for clocks that are set: later than the others, whose seeds mean what they
/// meant.
const STREAM_DICE: u64 = 31;
const CLOCK_DICE: u64 = 32;
/// Bounds of what waits that are reached.
const ROOM_DICE: u64 = 33;
/// The same for how long idempotency keys are remembered.
const IDEMPOTENCY_DICE: u64 = 34;

/// The same for how many timers may be written before their pools are late.
const LATE_DICE: u64 = 35;

/// Everything a run is made of, but its dice.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Which slice owns and which shard homes an element.
    pub placement: Placement,
    /// How many matchers share the slices.
    pub matchers: usize,
    /// Longest list of a probe.
    pub list_max: usize,
    /// In pools of how many anchors slices look ahead.
    pub ahead_anchors_min: usize,
    /// Up to how many waiting elements slices have a complete view of a pool, and how often a cut tells them, in a
    /// thousand.
    pub complete_views: (usize, u64),
    /// How often, in a thousand, a frame has an audience.
    pub audience_permille: u64,
    /// Whether frames wait for the cluster to be done with earlier ones.
    pub paced: bool,
    /// How often, in a thousand frames, a reader of the log reads on later.
    pub feed_pause_permille: u64,
    /// Bounds of frames.
    pub frame: FrameLimits,
    /// Bounds of the ledger.
    pub ledger: LedgerLimits,
    /// What clients do.
    pub work: WorkPlan,
    /// How messages travel.
    pub net: NetPlan,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// How disks behave.
    pub disk: DiskPlan,
    /// What of the past is kept, and how disks fail.
    pub keep: KeepPlan,
    /// How many streams clients submit in, and how long one is held at most.
    pub streams: (u64, u64),
    /// How the balancer's wall clock is set.
    pub clock: ClockPlan,
    /// Several balancers that share a log, or one that shares it with itself; none where one has its own.
    pub shared: Option<SharedPlan>,
    /// How often, in a thousand times that time goes on, pools are late of which more than a few timers are due.
    pub late_permille: u64,
}

/// Balancers that share a log, and how the engine that keeps it behaves.
#[derive(Clone, Copy, Debug)]
pub struct SharedPlan {
    /// How many balancers.
    pub balancers: usize,
    /// How often, in a thousand, what a balancer says to the engine is lost, or a beat on its way to another.
    pub lost_permille: u64,
    /// How often an answer is.
    pub answer_lost_permille: u64,
    /// How often what is put comes late.
    pub late_permille: u64,
    /// How late at most.
    pub late_ms: Time,
    /// How often a look is answered by somebody who does not know the last entry.
    pub stale_permille: u64,
    /// When a balancer asks again.
    pub patience_ms: Time,
    /// How long the stable cut waits for a balancer that is silent.
    pub grace_ms: Time,
    /// How often the engine is down for a while, or one balancer cut off from it.
    pub faults: u64,
    /// Bytes of decisions that a balancer holds back.
    pub ahead_bytes_max: usize,
}

/// How a wall clock is set while it runs.
#[derive(Clone, Copy, Debug)]
pub struct ClockPlan {
    /// How often, in a thousand times that it is read.
    pub set_permille: u64,
    /// By at most so many milliseconds, back or ahead.
    pub set_ms: u64,
    /// How far it may jump ahead and be followed.
    pub jump_ms_max: u64,
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct WorkPlan {
    /// Client actions in all.
    pub actions: u64,
    /// The pools; the first is there from the start, the others come in mid-stream.
    pub pools: Vec<PoolPlan>,
    /// Longest pause between two actions.
    pub gap_ms: Time,
    /// How often, in a thousand, an action follows the one before at once.
    pub burst_permille: u64,
    /// How often an action withdraws.
    pub withdraw_permille: u64,
    /// How many different keys clients use.
    pub keys: u64,
    /// How often a submission is one that was made before.
    pub retry_permille: u64,
    /// How often a submission has an idempotency key.
    pub keyed_permille: u64,
    /// How often a submission brings its own time to live.
    pub ttl_permille: u64,
    /// How often a pool is dropped before an action.
    pub drop_permille: u64,
}

/// How messages travel.
#[derive(Clone, Copy, Debug)]
pub struct NetPlan {
    /// The usual delay is from 1 to this.
    pub delay_ms: Time,
    /// How often, in a thousand, it is not the usual one.
    pub tail_permille: u64,
    /// Longest delay.
    pub tail_ms: Time,
    /// How often a stream is many times slower than others.
    pub slow_permille: u64,
    /// How often a message is delivered again, later.
    pub repeat_permille: u64,
    /// How often a subscription begins with what the reader has.
    pub overlap_permille: u64,
    /// How often what a shard says in one step goes out in several frames.
    pub split_permille: u64,
    /// How often what a shard says in one step waits for the next step.
    pub batch_permille: u64,
    /// When callers give up on a call.
    pub timeout_ms: Time,
}

/// What goes wrong. Faults stop when the budgets are used up; then everything has to be decided.
#[derive(Clone, Copy, Debug)]
pub struct FaultPlan {
    /// How often, in a hundred thousand steps, something goes wrong.
    pub rate: u64,
    /// How many times likelier it is for a while after a fault.
    pub hot: u64,
    /// Most crashes.
    pub crashes: u64,
    /// Most streams broken.
    pub breaks: u64,
    /// Most pauses.
    pub pauses: u64,
    /// Whether the balancer crashes too.
    pub balancer: bool,
    /// Longest time a node stays down.
    pub down_ms: Time,
    /// Longest pause.
    pub pause_ms: Time,
    /// How often, when all was done, the idle cluster loses nodes and has to come back.
    pub rounds: u64,
    /// How often a fetch, or a cut that leaves something out, provokes a fault.
    pub fetch_permille: u64,
    /// How far a balancer's clock is off after a restart, at most.
    pub skew_ms: u64,
    /// How often all nodes stop and the results are lost.
    pub results_lost: u64,
}

/// How disks behave.
#[derive(Clone, Copy, Debug)]
pub struct DiskPlan {
    /// Longest sync of the log.
    pub log_ms: Time,
    /// Longest sync of the results.
    pub results_ms: Time,
    /// How often the open frame is taken when the disk is idle, in a thousand.
    pub eager_permille: u64,
}

/// What of the past is kept, and how disks fail. By default everything is, and they do not.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepPlan {
    /// How often, in a thousand, a checkpoint is begun when results have become durable.
    pub checkpoint_permille: u64,
    /// Longest time it takes.
    pub checkpoint_ms: Time,
    /// How often a feed breaks when a matcher has its cut but nothing after it: gatherers have its frames already, and
    /// go on.
    pub cut_break_permille: u64,
    /// Longest time it then handles nothing.
    pub cut_break_ms: Time,
    /// How often a fault is one that leaves a matcher without decisions that only the store still has.
    pub strand_permille: u64,
    /// Most times that the disk fails, or begins to be full.
    pub disk_faults: u64,
    /// How often, in a thousand syncs.
    pub disk_fault_permille: u64,
    /// Longest time the disk stays full, and that a balancer waits before it tries again.
    pub full_ms: Time,
    /// Whether a balancer stops when the disk is full.
    pub full_stops: bool,
}

/// Chosen so that the seeds of [`crate::regressions`] keep everything, as all did when these were found.
const KEEP_DICE: u64 = 536;

/// Chosen so that the seeds of [`crate::regressions`] have no complete view, as none had when these were found.
const COMPLETE_VIEW_DICE: u64 = 201;

/// Chosen so that the seeds of [`crate::regressions`], and those that find the rarest planted bugs, have no audience,
/// as no frame had when these were found.
const REACH_DICE: u64 = 2648;

/// Chosen so that the seeds of [`crate::regressions`] drop no pool, as none did when these were found.
const DROP_DICE: u64 = 61;

/// Chosen so that of the seeds of [`crate::regressions`] those lose results that were found by it, and no others, and
/// so that those do not that alone find a planted bug.
const LOST_DICE: u64 = 988;

/// Chosen so that the seeds of [`crate::regressions`], and those that find the rarest planted bugs, have one balancer
/// that has its own log.
const SHARED_DICE: u64 = 110;

impl Scenario {
    /// What `seed` stands for.
    #[must_use]
    pub fn draw(seed: u64) -> Scenario {
        let dice = Rng::new(seed);
        let mut rng = dice.fork(1);
        let slices = rng.range(1, 8);
        let matchers = rng.range(1, slices);
        let shards = rng.range(1, 5);
        let ring = Arc::new(Ring::new(small(shards), small(rng.range(1, 12))));
        let mut placement = Placement::new(small(slices), rng.pick(&[1, 1, 8, 64]), ring);
        // Half of the lone slices do as if they were not, because one that lists everything finds what several do not.
        if dice.fork(6).chance(500) {
            placement = placement.as_among_others();
        }
        let frame = FrameLimits {
            events_max: rng.pick(&[1, 2, 5, 20, 100]),
            bytes_max: 10_000,
            age_ms_max: rng.pick(&[0, 1, 10, 100]),
        };
        let mut audience = dice.fork(REACH_DICE);
        let mut scenario = Scenario {
            placement,
            matchers: usize::try_from(matchers).expect("small"),
            list_max: rng.pick(&[2, 2, 3, 4, 8, 16, 256]),
            ahead_anchors_min: dice.fork(7).pick(&[0, 1, 4, 16, 64, 1024]),
            complete_views: draw_complete_views(&mut dice.fork(COMPLETE_VIEW_DICE)),
            audience_permille: audience.pick(&[0, 500, 1000, 1000]),
            paced: false,
            feed_pause_permille: 0,
            frame,
            ledger: LedgerLimits {
                waiting_max: rng.pick(&[10, 100_000, 100_000, 100_000, 100_000]),
                waiting_total_max: u64::MAX,
                waiting_bytes_max: u64::MAX,
                waiting_bytes_total_max: u64::MAX,
                element_bytes_max: 4_096,
                payload_bytes_max: 100,
                ended_max: rng.pick(&[3, REMEMBERS_ALL]),
                idempotency_ms: 0,
                idempotency_max: rng.pick(&[2, REMEMBERS_ALL]),
                idempotency_total_max: REMEMBERS_ALL,
                search_cost_max: u64::MAX,
                slices: 1,
                key_secret: KeySecret::default(),
            },
            work: draw_work(&dice),
            net: draw_net(&mut dice.fork(3)),
            faults: draw_faults(&mut dice.fork(4)),
            disk: draw_disk(&mut dice.fork(5)),
            keep: KeepPlan::default(),
            streams: draw_streams(&mut dice.fork(STREAM_DICE)),
            clock: draw_clock(&mut dice.fork(CLOCK_DICE)),
            late_permille: dice.fork(LATE_DICE).pick(&[0, 0, 0, 100, 1000]),
            shared: None,
        };
        if scenario.audience_permille > 0 {
            scenario.paced = audience.chance(300);
            scenario.feed_pause_permille = audience.pick(&[0, 0, 50, 300]);
        }
        scenario.faults.results_lost = dice.fork(LOST_DICE).pick(&[0, 0, 0, 0, 0, 0, 1, 2]);
        draw_room(&mut dice.fork(ROOM_DICE), &mut scenario.ledger);
        let mut rng = dice.fork(KEEP_DICE);
        if rng.chance(750) {
            scenario.keep = draw_keep(&mut rng);
            // It takes more than one fault, close together, to leave a node behind the trimmed log.
            let (keep, faults) = (&scenario.keep, &mut scenario.faults);
            if faults.rate > 0 && (keep.cut_break_permille > 0 || keep.strand_permille > 0) {
                faults.rate = faults.rate.max(400);
                faults.crashes += 4;
                faults.pauses += 4;
            }
            scenario.work.retry_permille = rng.pick(&[0, 50, 200]);
            scenario.work.keyed_permille = rng.pick(&[100, 600]);
            scenario.ledger.idempotency_max = rng.pick(&[2, 10, REMEMBERS_ALL]);
        }
        let mut rng = dice.fork(IDEMPOTENCY_DICE);
        scenario.ledger.idempotency_ms = rng.pick(&[100, 1_000, 5_000, 1 << 40]);
        scenario.ledger.idempotency_total_max = rng.pick(&[4, REMEMBERS_ALL, REMEMBERS_ALL]);
        draw_shared(&mut dice.fork(SHARED_DICE), &mut scenario);
        scenario
    }

    /// How many balancers there are.
    #[must_use]
    pub fn balancers(&self) -> usize {
        self.shared.map_or(1, |plan| plan.balancers)
    }

    /// The matcher that runs a slice.
    #[must_use]
    pub fn matcher_of(&self, slice: SliceId) -> usize {
        slice.0 as usize % self.matchers
    }

    /// The slices a matcher runs.
    pub fn slices_of(&self, matcher: usize) -> impl Iterator<Item = SliceId> + use<'_> {
        self.placement.each_slice().filter(move |&slice| self.matcher_of(slice) == matcher)
    }

    /// Whether the elements of a place are owned by one of a matcher's slices.
    #[must_use]
    pub fn owns(&self, matcher: usize, place: Place) -> bool {
        self.matcher_of(self.placement.owner(place)) == matcher
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).expect("a small number")
}

fn draw_complete_views(rng: &mut Rng) -> (usize, u64) {
    (rng.pick(&[0, 0, 0, 1, 4, 8, 16, 64, 1024]), rng.pick(&[0, 500, 1000]))
}

fn draw_streams(rng: &mut Rng) -> (u64, u64) {
    (rng.pick(&[1, 3, 1_000_000]), rng.pick(&[5, 500, 60_000, 60_000]))
}

/// Few scenarios are about what there is no room for: an element that is not let in finds nothing.
fn draw_room(rng: &mut Rng, ledger: &mut LedgerLimits) {
    if rng.chance(120) {
        ledger.waiting_total_max = rng.pick(&[12, 30, u64::MAX]);
        ledger.waiting_bytes_max = rng.pick(&[700, u64::MAX]);
        ledger.waiting_bytes_total_max = rng.pick(&[1_000, 3_000, u64::MAX]);
    }
}

/// Takeovers take faults: these scenarios have more of them.
fn draw_shared(rng: &mut Rng, scenario: &mut Scenario) {
    if !rng.chance(250) {
        return;
    }
    scenario.shared = Some(SharedPlan {
        balancers: rng.pick(&[1, 2, 2, 3, 3]),
        lost_permille: rng.pick(&[0, 20, 150]),
        answer_lost_permille: rng.pick(&[0, 20, 150]),
        late_permille: rng.pick(&[0, 50, 300]),
        late_ms: rng.pick(&[300, 3_000]),
        stale_permille: rng.pick(&[0, 100, 500]),
        patience_ms: rng.pick(&[50, 500]),
        grace_ms: rng.pick(&[500, 10_000]),
        faults: rng.pick(&[0, 1, 3]),
        ahead_bytes_max: rng.pick(&[1, 500, 100_000]),
    });
    let faults = &mut scenario.faults;
    if faults.rate > 0 {
        (faults.balancer, faults.rate) = (true, faults.rate.max(rng.pick(&[100, 400])));
        faults.crashes += rng.pick(&[1, 4]);
        faults.pauses += rng.pick(&[1, 4]);
    }
    // Whose results are gone has to be brought where the others are: no machine does that yet.
    faults.results_lost = 0;
}

fn draw_clock(rng: &mut Rng) -> ClockPlan {
    let set_permille = if rng.chance(700) { 0 } else { rng.pick(&[10, 100]) };
    ClockPlan { set_permille, set_ms: rng.pick(&[50, 1_000]), jump_ms_max: rng.pick(&[300, u64::MAX]) }
}

fn draw_work(dice: &Rng) -> WorkPlan {
    let rng = &mut dice.fork(2);
    let actions = if rng.chance(50) { rng.range(100, 400) } else { rng.range(20, 120) };
    WorkPlan {
        actions,
        pools: vary(draw_pools(rng), &mut dice.fork(VARIED)),
        gap_ms: rng.pick(&[1, 5, 20, 100]),
        burst_permille: rng.pick(&[0, 300, 800, 950]),
        withdraw_permille: rng.pick(&[0, 50, 150, 300]),
        keys: rng.pick(&[5, 30, 100_000, 100_000, 100_000]),
        retry_permille: rng.pick(&[0, 50]),
        keyed_permille: 100,
        ttl_permille: rng.pick(&[0, 0, 200, 600]),
        drop_permille: draw_drops(&mut dice.fork(DROP_DICE)),
    }
}

fn draw_drops(rng: &mut Rng) -> u64 {
    rng.pick(&[0, 0, 0, 0, 20, 60])
}

fn draw_net(rng: &mut Rng) -> NetPlan {
    NetPlan {
        delay_ms: rng.pick(&[1, 5, 50]),
        tail_permille: rng.pick(&[0, 20, 50, 200]),
        tail_ms: rng.pick(&[100, 1000, 4000]),
        slow_permille: rng.pick(&[0, 100, 300]),
        repeat_permille: rng.pick(&[0, 0, 30, 200]),
        overlap_permille: rng.pick(&[0, 200, 800]),
        split_permille: rng.pick(&[0, 300, 1000]),
        batch_permille: rng.pick(&[0, 0, 500, 1000]),
        timeout_ms: rng.pick(&[500, 5000]),
    }
}

fn draw_faults(rng: &mut Rng) -> FaultPlan {
    let calm = rng.chance(150);
    FaultPlan {
        rate: if calm { 0 } else { rng.pick(&[50, 200, 600, 2000]) },
        hot: rng.pick(&[1, 5, 30]),
        crashes: rng.pick(&[0, 1, 3, 6, 12]),
        breaks: rng.pick(&[0, 5, 20]),
        pauses: rng.pick(&[0, 0, 3, 8]),
        balancer: rng.chance(500),
        down_ms: rng.pick(&[10, 100, 1500]),
        pause_ms: rng.pick(&[50, 500, 5000]),
        rounds: if calm { 0 } else { rng.pick(&[0, 0, 1, 2]) },
        fetch_permille: rng.pick(&[0, 100, 500]),
        skew_ms: rng.pick(&[0, 0, 200]),
        results_lost: 0,
    }
}

fn draw_disk(rng: &mut Rng) -> DiskPlan {
    DiskPlan {
        log_ms: rng.pick(&[1, 10, 100, 1000]),
        results_ms: rng.pick(&[1, 30, 300, 1500]),
        eager_permille: rng.pick(&[0, 300, 1000]),
    }
}

fn draw_keep(rng: &mut Rng) -> KeepPlan {
    KeepPlan {
        checkpoint_permille: rng.pick(&[50, 300, 1000, 1000]),
        checkpoint_ms: rng.pick(&[1, 30, 500]),
        cut_break_permille: rng.pick(&[0, 0, 500]),
        cut_break_ms: rng.pick(&[10, 300, 2000]),
        strand_permille: rng.pick(&[0, 0, 300]),
        disk_faults: rng.pick(&[0, 0, 1, 4]),
        disk_fault_permille: rng.pick(&[10, 50, 200]),
        full_ms: rng.pick(&[20, 200, 2000]),
        full_stops: rng.chance(300),
    }
}
