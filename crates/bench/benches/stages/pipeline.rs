//! A cluster of three matchers and three gatherers in one thread: what each role does to a message, with the messages
//! encoded and decoded between them, and the log and the results on a disk.
//!
//! The balancer hears of decisions some frames later, as in a cluster that is busy. Invariant: every nanosecond that is
//! counted is counted for one stage.

use std::{collections::VecDeque, fs, path::PathBuf, sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use dovetail::{client::Columns, columns::MatchedColumns, pb};
use dovetail_bench::workload::{Elements, KnownAnswer, Workload};
use dovetail_core::{
    DecisionFrame, EventId, EventKind, Placement, Pool, PoolId, Ring, ShardId, SliceId, Stable,
    batch::{KeySecret, Keyed, Run},
    ledger::{Ledger, LedgerLimits, check_columns},
    planted::Planted,
    sequencer::{FrameLimits, Sequencer},
    shard::{Shard, ShardEffect},
    slice::{SliceCut, SliceEffect, Slices},
};
use dovetail_log::{EmbeddedLog, Options, RECORD_BYTES_LIMIT};
use dovetail_node::balancer::{Durability, Part, PublishedFrame, Visible, frame};
use dovetail_rule::table::Secret;
use dovetail_wire::{
    MatchWriter, OutcomeCollector, PublishedOutcomes, SubmittedColumns, candidate_frame, candidate_parts, column_frame,
    decision_frame, decision_frame_pb, log_frame_parts, log_record_pb, node_pb, pool_definition, result_record_pb,
    storage_pb,
};
use prost::Message;

use crate::common::timed;

/// As the settings have them.
const MATCHERS: u32 = 3;
const SHARDS: u32 = 3;
const SLICES: u32 = 6;
const LIST_MAX: usize = 256;
/// Elements of a message, and events of a frame: what a cluster comes to under load.
const BATCH: usize = 256;
const FRAME: usize = 2_560;
/// So many frames later the balancer hears what was decided.
const LAG: usize = 2;
/// Frames whose outcomes are stored together.
const STORED: usize = 3;
/// Bytes of an element, as the workloads have them.
const ELEMENT: usize = 100;
/// What an event counts for in a frame.
const EVENT_BYTES: usize = 48;

/// What an element goes through, in order.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    ClientEncode,
    Arrive,
    SubmitDecode,
    SubmitCheck,
    Admit,
    Answer,
    Close,
    LogRecord,
    LogAppend,
    FeedOwners,
    FeedPick,
    FeedEncode,
    MatcherDecode,
    MatcherSearch,
    MatcherEncode,
    GathererDecide,
    GathererEncode,
    DecisionsDecode,
    Retire,
    Gather,
    WatchColumns,
    WatchEncode,
    ClientRead,
    ResultsRecord,
    ResultsAppend,
    Stable,
}

impl Stage {
    /// Each with its name, in the order in which they are declared.
    pub const ALL: [(Stage, &'static str); 26] = [
        (Stage::ClientEncode, "client: columns, encode"),
        (Stage::Arrive, "all: copy what arrives"),
        (Stage::SubmitDecode, "balancer: decode"),
        (Stage::SubmitCheck, "balancer: check, compact, fingerprint"),
        (Stage::Admit, "balancer: admit"),
        (Stage::Answer, "balancer and client: answer"),
        (Stage::Close, "balancer: close a frame"),
        (Stage::LogRecord, "balancer: record of the log"),
        (Stage::LogAppend, "balancer: append to the log"),
        (Stage::FeedOwners, "balancer: owners of the feed"),
        (Stage::FeedPick, "balancer: pick for a matcher"),
        (Stage::FeedEncode, "balancer: encode the feed"),
        (Stage::MatcherDecode, "matcher: decode, rows"),
        (Stage::MatcherSearch, "matcher: search"),
        (Stage::MatcherEncode, "matcher: encode candidates"),
        (Stage::GathererDecide, "gatherer: decode, decide"),
        (Stage::GathererEncode, "gatherer: encode decisions"),
        (Stage::DecisionsDecode, "balancer: decode decisions"),
        (Stage::Retire, "balancer: retire"),
        (Stage::Gather, "balancer: gather outcomes"),
        (Stage::WatchColumns, "balancer: columns of a watch"),
        (Stage::WatchEncode, "balancer: encode the watch"),
        (Stage::ClientRead, "client: read matches"),
        (Stage::ResultsRecord, "balancer: record of the results"),
        (Stage::ResultsAppend, "balancer: append to the results"),
        (Stage::Stable, "all: forget what is stable"),
    ];
}

/// How long each stage took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times(pub [Duration; Stage::ALL.len()]);

impl Times {
    fn time<T>(&mut self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let (took, done) = timed(work);
        self.0[stage as usize] += took;
        done
    }

    /// What was sent, as the transport gives it to its reader: in one piece, copied from those that came.
    fn arrive(&mut self, sent: BytesMut) -> Bytes {
        self.time(Stage::Arrive, || {
            let mut arrived = BytesMut::with_capacity(sent.len());
            sent.chunks(16 << 10).for_each(|piece| arrived.put_slice(piece));
            arrived.freeze()
        })
    }
}

fn encode(message: &impl Message) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(message.encoded_len());
    message.encode(&mut bytes).expect("there is room");
    bytes
}

/// All of a workload; what comes of it is checked.
pub fn run(workload: Workload, n: usize) -> Times {
    let mut cluster = Cluster::new(workload, n);
    let mut done = 0;
    while done < n {
        while done < n && cluster.sequencer.events_left() > 0 {
            let count = BATCH.min(n - done).min(cluster.sequencer.events_left());
            cluster.submit(done, count);
            done += count;
        }
        let decided = cluster.frame();
        cluster.under_way.push_back(decided);
        if cluster.under_way.len() > LAG {
            cluster.hear();
        }
    }
    while !cluster.under_way.is_empty() {
        cluster.hear();
    }
    cluster.store();
    cluster.finish(workload)
}

/// What shards tell the balancer of a frame, encoded.
type Decided = Vec<(ShardId, BytesMut)>;

struct Cluster {
    n: usize,
    elements: Elements,
    payload: Bytes,
    pool: Pool,
    limits: LedgerLimits,
    placement: Placement,
    ledger: Ledger,
    sequencer: Sequencer<Part>,
    durability: Durability,
    log: EmbeddedLog,
    results: EmbeddedLog,
    /// By matcher.
    slices: Vec<Slices>,
    shards: Vec<Shard>,
    under_way: VecDeque<Decided>,
    outcomes: OutcomeCollector,
    /// Frames whose outcomes are not stored, and these.
    published: (usize, Vec<Arc<PublishedOutcomes>>),
    matched: Vec<(u64, u64)>,
    folder: PathBuf,
    times: Times,
}

impl Cluster {
    fn new(workload: Workload, n: usize) -> Cluster {
        let folder = std::env::temp_dir().join(format!("dovetail-stages-{}", std::process::id()));
        // What a run that was ended has left.
        _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the run");
        let open = |name: &str| {
            let options = Options { record_bytes_max: RECORD_BYTES_LIMIT, ..Options::new("stages") };
            EmbeddedLog::open(folder.join(name), options).expect("a new log").0
        };
        let placement = Placement::new(SLICES, 64, Arc::new(Ring::new(SHARDS, 160)));
        let slices = |matcher| {
            let ids: Vec<SliceId> = placement.each_slice().filter(|slice| slice.0 % MATCHERS == matcher).collect();
            Slices::new(&placement, &ids, LIST_MAX, Secret([1, 2]), SliceCut::default()).expect("an empty cut")
        };
        let limits = limits();
        let ledger = Ledger::new(limits, SHARDS);
        let definition = Arc::new(pool_definition(workload.pool("bench", n)).expect("the workload's pool"));
        let frames = FrameLimits { events_max: FRAME, bytes_max: 8 << 20, age_ms_max: 2 };
        let mut cluster = Cluster {
            n,
            elements: workload.elements(n),
            payload: vec![b'.'; ELEMENT - n.to_string().len() - 8 * workload.columns().len()].into(),
            pool: Pool::compile(PoolId(0), Arc::clone(&definition)).expect("the workload's rule"),
            limits,
            durability: Durability::new(&ledger, Planted::default()),
            ledger,
            sequencer: Sequencer::new(frames, EventId::ZERO, 0),
            log: open("log"),
            results: open("results"),
            slices: (0..MATCHERS).map(slices).collect(),
            shards: placement.each_shard().map(|id| Shard::new(placement.clone(), id, EventId::ZERO)).collect(),
            placement,
            under_way: VecDeque::new(),
            outcomes: OutcomeCollector::new(4 << 20),
            published: (0, Vec::new()),
            matched: Vec::new(),
            folder,
            times: Times::default(),
        };
        let kind = EventKind::PoolDefined { pool: PoolId(0), definition };
        let (x, time_ms) = cluster
            .sequencer
            .push_run(Stable::ZERO, 1, EVENT_BYTES, |x| Part::Event(dovetail_core::Event { x, kind: kind.clone() }));
        cluster.ledger.record(x, time_ms, &kind, None).expect("the first pool");
        cluster
    }

    /// A client submits some elements, and gets their ids.
    fn submit(&mut self, from: usize, count: usize) {
        let Cluster { times, elements, payload, pool, limits, ledger, sequencer, .. } = self;
        let sent = times.time(Stage::ClientEncode, || {
            let positions = from..from + count;
            let keys = positions.clone().map(|position| (position + 1).to_string());
            let columns = Columns::new(keys).payloads(positions.clone().map(|_| &*payload));
            let columns = elements.columns(columns, &positions).into();
            let batch = Some(pb::submit_request::Batch::Columns(columns));
            encode(&pb::SubmitRequest { pool: "bench".into(), batch, first_id_only: true })
        });
        let sent = times.arrive(sent);
        let request = times.time(Stage::SubmitDecode, || pb::SubmitRequest::decode(sent).expect("it was encoded"));
        let Some(pb::submit_request::Batch::Columns(columns)) = request.batch else { unreachable!("it was sent") };
        let keyed = times.time(Stage::SubmitCheck, || {
            let columns = SubmittedColumns::read(columns).expect("columns of equal length");
            let attributes = (0..pool.schema.len()).map(|column| columns.column(column).compact()).collect();
            let batch = check_columns(pool, limits, attributes, columns.clients().compact());
            Keyed::new(batch.expect("elements of the workload"), limits.key_secret)
        });
        let first = times.time(Stage::Admit, || {
            let (first, time_ms) = (sequencer.assigned().next(), sequencer.time_ms());
            let admitted = ledger.admit_run(first, time_ms, &keyed, 0..count, first.prev());
            assert_eq!(admitted.count, count, "{:?}", admitted.stopped);
            let run = Run { batch: Arc::clone(keyed.batch()), rows: 0..count };
            let bytes = EVENT_BYTES * count + keyed.batch().bytes();
            sequencer.push_run(ledger.stable(), count, bytes, |first| Part::Arrivals(first, run));
            first
        });
        let answer = times.time(Stage::Answer, || {
            let ids: Vec<u64> = (first.0..).take(count).collect();
            let follow = ids.iter().zip(first.0..).all(|(&id, next)| id == next);
            assert!(follow, "each has the id after the one before");
            encode(&pb::SubmitResponse { first_id: first.0, ..pb::SubmitResponse::default() })
        });
        let answer = times.arrive(answer);
        let ids: Vec<u64> = times.time(Stage::Answer, || {
            let first = pb::SubmitResponse::decode(answer).expect("it was encoded").first_id;
            (first..).take(count).collect()
        });
        assert_eq!(ids.len(), count, "each has an id");
        times.time(Stage::Admit, || drop(keyed));
    }

    /// The open frame goes to the log, and to the matchers; what comes of it.
    fn frame(&mut self) -> Decided {
        let Cluster { times, ledger, sequencer, durability, placement, log, .. } = self;
        let mut visible = Vec::new();
        times.time(Stage::Close, || {
            let frame = sequencer.take().expect("elements were let in");
            let audience = |frame: &_, ledger: &_| frame::audience(frame, ledger, placement, Planted::default());
            durability.on_frame(frame, ledger, audience, &mut visible);
        });
        let Some(Visible::Append(frame)) = visible.pop() else { unreachable!("a frame is appended first") };
        let record = times.time(Stage::LogRecord, || log_record_pb(&frame));
        times.time(Stage::LogAppend, || log.append_content(&[record]).expect("the disk takes it"));
        times.time(Stage::LogAppend, || durability.on_written(1, frame.through, &mut visible));
        let published = PublishedFrame::new(frame);
        let mut done: Vec<Vec<ShardEffect>> = (0..SHARDS).map(|_| Vec::new()).collect();
        for matcher in 0..MATCHERS {
            let found = self.search(&published, matcher);
            self.decide(found, &mut done);
        }
        self.announce(done)
    }

    /// A matcher gets its part of a frame, and searches.
    fn search(&mut self, published: &PublishedFrame, matcher: u32) -> Vec<SliceEffect> {
        let Cluster { times, pool, placement, slices, .. } = self;
        let owners = times.time(Stage::FeedOwners, || {
            published.owners(|frame| frame::owners(frame, |_| Some(&*pool), placement, Planted::default()))
        });
        let mine = |slice: SliceId| slice.0 % MATCHERS == matcher;
        let parts = times.time(Stage::FeedPick, || {
            let frame = published.frame();
            log_frame_parts(frame, (frame.after, &frame.audience), |place, at| owners[place].of(at).is_none_or(mine))
        });
        let mut found = Vec::new();
        for part in parts {
            let message = Some(node_pb::feed_response::Message::Frame(part));
            let sent = times.time(Stage::FeedEncode, || encode(&node_pb::FeedResponse { message }));
            let sent = times.arrive(sent);
            let frame = times.time(Stage::MatcherDecode, || {
                let message = node_pb::FeedResponse::decode(sent).expect("it was encoded").message;
                let Some(node_pb::feed_response::Message::Frame(frame)) = message else { unreachable!("it was sent") };
                let frame: storage_pb::LogFrame = frame;
                Arc::new(column_frame(frame).expect("a frame of the log"))
            });
            times.time(Stage::MatcherSearch, || {
                slices[matcher as usize].on_frame(&frame, &mut found).expect("the next frame");
            });
            times.time(Stage::MatcherDecode, || drop(frame));
        }
        found
    }

    /// What a matcher found goes to the shards.
    fn decide(&mut self, found: Vec<SliceEffect>, done: &mut [Vec<ShardEffect>]) {
        let Cluster { times, shards, .. } = self;
        let mut to: Vec<Vec<_>> = shards.iter().map(|_| Vec::new()).collect();
        for SliceEffect::Frame { slice, to: shard, frame } in found {
            to[shard.0 as usize].push((slice, frame));
        }
        for ((shard, frames), done) in shards.iter_mut().zip(to).zip(done) {
            let sent: Vec<BytesMut> =
                times.time(Stage::MatcherEncode, || candidate_parts(&frames).iter().map(encode).collect());
            for sent in sent {
                let sent = times.arrive(sent);
                times.time(Stage::GathererDecide, || {
                    let frames = node_pb::CandidateFrames::decode(sent).expect("it was encoded").frames;
                    for frame in frames {
                        let (slice, frame) = candidate_frame(frame).expect("it was encoded");
                        shard.on_candidates(slice, &frame, done).expect("the slice's next frame");
                    }
                });
            }
        }
    }

    /// Shards tell what they decided: one another and the slices what concerns them, until none has news; and the
    /// balancer all of it.
    fn announce(&mut self, mut done: Vec<Vec<ShardEffect>>) -> Decided {
        let mut told: Vec<DecisionFrame> = done.iter().map(|_| DecisionFrame::default()).collect();
        while done.iter().any(|done| !done.is_empty()) {
            let mut next: Vec<Vec<ShardEffect>> = done.iter().map(|_| Vec::new()).collect();
            for (from, effects) in (0..).map(ShardId).zip(std::mem::take(&mut done)) {
                self.pass_on(from, effects, &mut told[from.0 as usize], &mut next);
            }
            done = next;
        }
        let times = &mut self.times;
        let sent = told.iter().map(|told| times.time(Stage::GathererEncode, || encode(&decision_frame_pb(told))));
        (0..).map(ShardId).zip(sent.collect::<Vec<_>>()).collect()
    }

    fn pass_on(
        &mut self,
        from: ShardId,
        done: Vec<ShardEffect>,
        told: &mut DecisionFrame,
        next: &mut [Vec<ShardEffect>],
    ) {
        let mut news = DecisionFrame::default();
        let mut granted: Vec<DecisionFrame> = self.shards.iter().map(|_| DecisionFrame::default()).collect();
        for effect in done {
            match effect {
                ShardEffect::Settled(retirement) => told.retirements.push(retirement),
                ShardEffect::Retire(retirement) => {
                    told.retirements.push(retirement);
                    news.retirements.push(retirement);
                }
                ShardEffect::Grant { to, grant } => granted[to.0 as usize].grants.push(grant),
                ShardEffect::Decided { through } => (told.decided, news.decided) = (Some(through), Some(through)),
            }
        }
        let Cluster { times, slices, shards, .. } = self;
        times.time(Stage::GathererDecide, || {
            for (shard, grants) in shards.iter_mut().zip(granted).filter(|(shard, _)| shard.id() != from) {
                let frame = DecisionFrame { grants: grants.grants, ..news.clone() };
                shard.on_decisions(from, &frame, &mut next[shard.id().0 as usize]).expect("what a peer decided");
            }
        });
        let mut found = Vec::new();
        times.time(Stage::MatcherSearch, || {
            for slices in slices {
                slices.on_decisions(from, &news, &mut found).expect("what a shard decided");
            }
        });
        self.decide(found, next);
    }

    /// The balancer hears what was decided of a frame; watchers hear of the matches.
    fn hear(&mut self) {
        let Cluster { times, ledger, outcomes, under_way, matched, published, .. } = self;
        for (shard, sent) in under_way.pop_front().expect("a frame is under way") {
            let sent = times.arrive(sent);
            let frame = times.time(Stage::DecisionsDecode, || {
                decision_frame(&node_pb::DecisionFrame::decode(sent).expect("it was encoded")).expect("it was encoded")
            });
            times.time(Stage::Retire, || {
                ledger.on_retirements(&frame.retirements).expect("one decision of each");
                if let Some(decided) = frame.decided {
                    ledger.on_decided(shard, decided, outcomes).expect("what shards decided");
                }
            });
        }
        let chunks = times.time(Stage::Retire, || outcomes.take());
        for outcomes in &chunks {
            let chunk = times.time(Stage::Gather, || outcomes.chunk());
            let columns = times.time(Stage::WatchColumns, || {
                chunk.match_columns(0, "bench", false).or_else(|| {
                    let mut writer = MatchWriter::without_arrivals();
                    (0..chunk.len()).for_each(|index| writer.push(chunk, index, "bench"));
                    writer.finish()
                })
            });
            let response = pb::WatchMatchesResponse { columns, ..pb::WatchMatchesResponse::default() };
            let sent = times.time(Stage::WatchEncode, || encode(&response));
            let sent = times.arrive(sent);
            times.time(Stage::ClientRead, || {
                let response = pb::WatchMatchesResponse::decode(sent).expect("it was encoded");
                let columns = MatchedColumns::read(&response.columns.expect("matches")).expect("columns of matches");
                matched.extend((0..columns.len()).map(|index| {
                    let [a, b] = columns.ends(index);
                    (a.id, b.id)
                }));
            });
        }
        published.0 += 1;
        published.1.extend(chunks);
        if published.0 == STORED {
            self.store();
        }
    }

    /// What was published is stored, and stable then.
    fn store(&mut self) {
        let Cluster { times, ledger, slices, results, published, .. } = self;
        let (_, chunks) = std::mem::take(published);
        let through = ledger.decided().event();
        let records: Vec<_> = times.time(Stage::ResultsRecord, || {
            let last = chunks.len().saturating_sub(1);
            let record = |(at, outcomes): (usize, &Arc<PublishedOutcomes>)| {
                result_record_pb(if at == last { through } else { outcomes.last() }, Some(outcomes.chunk()))
            };
            chunks.iter().enumerate().map(record).collect()
        });
        if records.is_empty() {
            return;
        }
        times.time(Stage::ResultsAppend, || results.append_content(&records).expect("the disk takes it"));
        times.time(Stage::Stable, || {
            ledger.on_stored(through);
            let mut found = Vec::new();
            slices.iter_mut().for_each(|slice| slice.on_stable(ledger.stable(), &mut found));
        });
    }

    fn finish(self, workload: Workload) -> Times {
        let Cluster { n, matched, log, results, folder, times, .. } = self;
        // The pool is the first event.
        let found = KnownAnswer::of(n, matched.iter().map(|&(a, b)| (a - 1, b - 1))).expect("each in one pair");
        assert_eq!(Some(found), workload.answer(n), "the known answer");
        log.close().expect("the log closes");
        results.close().expect("the results close");
        fs::remove_dir_all(&folder).expect("the run's folder");
        times
    }
}

fn limits() -> LedgerLimits {
    LedgerLimits {
        waiting_max: 10_000_000,
        waiting_total_max: 50_000_000,
        waiting_bytes_max: 16 << 30,
        waiting_bytes_total_max: 16 << 30,
        element_bytes_max: 65_536,
        payload_bytes_max: 4_096,
        ended_max: 4_000_000,
        idempotency_ms: 86_400_000,
        idempotency_max: 1_000_000,
        idempotency_total_max: 1_000_000,
        search_cost_max: u64::MAX,
        slices: SLICES,
        key_secret: KeySecret([1, 2]),
    }
}
