//! Deliberate protocol bugs, for the simulator to find.
//!
//! Each is a line of the protocol left out. This package has no such switch: [`Planted::is`] is a constant `false`, and
//! the compiler removes the branch. Only the simulator's package, `dovetail-core-planted`, has it: the same sources,
//! compiled with the feature `planted`. So no program that is shipped contains a bug to plant, and a build of the whole
//! workspace does not turn them on for all of it.

/// A line of the protocol that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A shard acts on an own probe before every slice has searched it.
    ProbeNotComplete,
    /// A shard grants a claim while an own probe of the anchor below it may still find a partner.
    ClaimBeforeOwnProbe,
    /// A list may be cut off at `n` instead of `2n + 2` entries.
    ListFactorOne,
    /// A slice does not wait for the decided watermark when a list would be too long.
    NoWaitForDecided,
    /// The decided watermark ignores undecided events.
    WatermarkIgnoresUndecided,
    /// A shard accepts without the anchor's grant.
    AcceptWithoutGrant,
    /// A withdrawal is final while candidates below it are alive.
    CloseBeforeCandidates,
    /// A slice forgets to close a withdrawn element.
    CloseIgnored,
    /// A retirement does not kill the candidates that name the anchor.
    AnchorStaysAlive,
    /// Candidate frames that were applied before are applied again.
    DuplicateFrameApplied,
    /// R1: a slice leaves out what `x` itself retired.
    R1LeftOutAtX,
    /// R2: after a cut a slice searches reprobes and withdrawals of elements that did not wait at it.
    R2FeedUnfiltered,
    /// R3: a shard does not fetch the retirements above the lowest `decided_seen`.
    R3NoFetch,
    /// R4: a gatherer sends a watermark before the retirements that it covers, and that it has held back.
    R4WatermarkFirst,
    /// R5: a shard keeps to itself the retirements homed at it that it learned from others.
    R5NotAnnounced,
    /// R6: peers do not tell a shard that comes back about retirements homed at it, nor repeat grants.
    R6PeersSilent,
    /// R7: a shard does not state its watermark on subscription.
    R7WatermarkUnstated,
    /// A shard forgets retirements that slices may still name.
    ForgetsTooEarly,
    /// A slice that settles matches itself leaves the anchor waiting.
    SettledAnchorStays,
    /// The owner of an element that has a key is chosen by its id.
    KeyIgnored,
    /// A shard does not repeat what slices settled to a balancer that comes back.
    SettledNotRepeated,
    /// A search is given what was found out ahead for the search before it.
    HintOfAnother,
    /// A checkpoint keeps an element that its last event retired.
    CheckpointKeepsRetired,
    /// A checkpoint forgets when elements search again.
    CheckpointForgetsReprobes,
    /// A checkpoint forgets idempotency keys.
    CheckpointForgetsKeys,
    /// Log and results are trimmed before the checkpoint that stands for them is durable.
    TrimsBeforeDurable,
    /// Results are trimmed above the checkpoint.
    ResultsTrimmedAboveCut,
    /// A node that is refused retirements goes on without them; and a gatherer takes frames whose `decided_seen` is
    /// below what is stored.
    RefusedGoesOn,
    /// A matcher goes on serving frames whose `decided_seen` is below what the store can fill in.
    StaleCandidatesServed,
    /// A slice takes its view of a pool for complete before everything below is decided.
    CompleteViewTooEarly,
    /// A slice takes its view of a pool for complete while others' anchors wait that it has not kept.
    CompleteViewWithoutOlder,
    /// A shard passes slices that it should hear from.
    AudienceIgnored,
    /// A slice that stalls in the middle of a frame does not send the frame's audience.
    AudienceUntold,
    /// The balancer passes shards that it should hear from.
    ShardsPassed,
    /// Time passes timers that are due and not written.
    TimersPassed,
    /// Elements search before others expire whose time is over.
    SearchesBeforeExpiries,
    /// A submission is refused for a key whose element is not decided.
    UndecidedRefused,
    /// A submission is let in though the element that has its key is not decided.
    UndecidedAdmitted,
    /// What follows a held submission in its stream overtakes it.
    HeldOvertaken,
    /// The bytes of an element that ends are counted as waiting for ever.
    BytesKept,
    /// A pool is dropped while elements of it wait.
    DroppedTooEarly,
    /// Elements are let into a pool that is being dropped.
    ClosedAdmits,
    /// Some elements of a pool that is being dropped are not withdrawn.
    DropLeavesElements,
    /// A checkpoint forgets which pools are being dropped.
    CheckpointForgetsClosed,
    /// After a checkpoint a new pool gets the number of one that was dropped.
    PoolNumberReused,
    /// A slice forgets a pool once it is closed.
    SliceForgetsClosed,
    /// Idempotency keys are forgotten when there are too many, instead of refusing more.
    IdempotencyForgottenByCount,
    /// Idempotency keys are forgotten before their time.
    IdempotencyForgottenEarly,
    /// A cut that is read in parts lacks the elements that ended before they were looked at.
    CutForgetsEnded,
    /// The balancer gives only the first part of a frame its audience.
    AudienceOfFirstPart,
    /// All elements of a run are taken to be where the first of them is.
    RunPlacedByFirst,
    /// A frame that is sent says nothing of the audience of those that were held back before it.
    FeedForgetsAudience,
    /// A frame that is sent does not stand for those that were held back before it.
    FeedForgetsHeld,
    /// A frame of the log is held back from a reader that it concerns.
    FeedHoldsConcerned,
    /// What is held back from a reader of the log is not sent after a while.
    FeedLingerForgotten,
    /// A reader of the log is served though what comes next for it was dropped.
    FeedBelowFloor,
    /// The balancer reads every shard from where the furthest of them is.
    DecisionsFromHighest,
    /// The balancer takes a shard's watermark before the retirements of the same message (R4).
    WatermarkReadFirst,
    /// The balancer sends a frame to readers before the log has it on disk.
    BroadcastBeforeDurable,
    /// The balancer acknowledges an event before the log has it on disk.
    AcknowledgedBeforeDurable,
    /// The balancer tells a stable cut before the results have it on disk.
    StableBeforeStored,
    /// Of a run that a checkpoint's cut is in, the first rows are read back instead of the last.
    ReplayTakesFirstRows,
    /// A ledger that starts does not remember what was decided below its checkpoint, in a record that reaches over it.
    ReplayForgetsOverCut,
    /// A balancer that reads its log back does not know which stable cuts its frames told.
    ToldForgotten,
    /// A gatherer does not fetch what a slice's hello asks for (R3).
    FetchIgnored,
    /// Of what several slices of a matcher ask for, a gatherer fetches the shorter (R3).
    ShorterFetched,
    /// A gatherer reads frames before what has to be fetched for them has come (R3).
    ReadsBeforeFetched,
    /// A gatherer does not fetch what a peer no longer keeps.
    PeerFloorIgnored,
    /// A gatherer goes on with a slice that no longer keeps what comes next.
    CursorTooOldTaken,
    /// A gatherer goes on with a stream whose cursor is gone, since it was passed meanwhile.
    NotAskedAgain,
    /// What is held back for readers is not sent after a while.
    LingerForgotten,
    /// Of several grants that a gatherer holds for a peer, the last is sent.
    MergedGrantsLost,
    /// A gatherer does not tell the balancer what slices settled.
    SettledUntold,
    /// Elements are let into a pool of which timers are due and not written.
    LateAdmits,
    /// A matcher serves frames whose `decided_seen` is below what their reader can fill in, whatever it asks for (R8).
    DecidedSeenMinIgnored,
    /// A matcher refuses a reader for ever, because of frames that no node can fill in any more (R8).
    NeverStartsAnew,
    /// A matcher's hello says what its slices know by now, instead of what the frames that follow know (R3).
    HelloOverstates,
    /// A matcher does not say that what was asked for is gone.
    GoneUntold,
    /// Of several slices of a matcher, a new reader gets the backlog of the first.
    BacklogOfOneSlice,
    /// A frame that stands for those held back before it has the audience of the last of them alone.
    MergedAudienceLost,
    /// A frame is merged with one that was held back before something was found.
    MergedPastFound,
    /// What a reader waits for is sent before what was held back for it.
    FoundOvertakesHeld,
    /// A matcher does not fetch what a shard no longer keeps.
    ShardFloorIgnored,
    /// A matcher reads a shard's decisions before what has to be fetched for them has come.
    DecisionsBeforeFetched,
    /// Of several slices of a matcher, the first gets what was fetched.
    FetchedForOneSlice,
    /// Of a cut that comes in parts, a matcher takes the elements of the last.
    CutPartForgotten,
    /// A fetch is answered with what is left of it, instead of being refused.
    FetchedInPart,
    /// Of what a gatherer decided in several batches and has held back, the retirements of the last are sent.
    MergedRetirementsLost,
    /// What is picked for a matcher has a column out of step: elements have the attribute of the next.
    PickedOutOfStep,
    /// A slice takes rows of columns to be owned as those from the columns' first row on are.
    OwnersFromFirst,
    /// A slice lists the anchors of another slice of its matcher.
    SiblingListed,
    /// What others' anchors of a matcher were found counts for the limit of a slice's list.
    LimitOfSiblings,
    /// A slice removes the anchors of other slices of its matcher, wherever they are.
    SiblingRemoved,
    /// A search finds anchors that arrive after it.
    UnarrivedListed,
    /// Frames are taken though the cluster is busy with two earlier ones.
    PaceIgnored,
    /// Frames wait for a cluster that does not decide.
    PaceWaitsForStill,
    /// Nodes hear of a stable cut of a shared log before the log tells it.
    HeardBeforeLogged,
    /// A balancer writes before it has read what comes before its term.
    ActiveBeforePrefix,
    /// The stable cut does not wait for balancers that stand by.
    StableByOwnDisk,
    /// A balancer that stands by takes decisions of events that it has not read yet.
    FutureIsFatal,
    /// A balancer takes decisions of events that it has given ids to, and the shared log does not have.
    TakesAboveDurable,
    /// What a shared log did not answer for is taken for there.
    UnknownIsThere,
    /// A balancer sends the next group before the one before it is answered for.
    TwoInFlight,
    /// A balancer whose term is over goes on with what it knew.
    KeepsLedgerOnStepDown,
    /// A balancer that stands by reads on though a shard has forgotten what comes next.
    StandbyFloorIgnored,
    /// A shard does not say that it has forgotten what slices settled.
    SettledFloorUntold,
}

impl Bug {
    /// All of them; `--planted N` counts from 1.
    pub const ALL: [Bug; 106] = [
        Bug::ProbeNotComplete,
        Bug::ClaimBeforeOwnProbe,
        Bug::ListFactorOne,
        Bug::NoWaitForDecided,
        Bug::WatermarkIgnoresUndecided,
        Bug::AcceptWithoutGrant,
        Bug::CloseBeforeCandidates,
        Bug::CloseIgnored,
        Bug::AnchorStaysAlive,
        Bug::DuplicateFrameApplied,
        Bug::R1LeftOutAtX,
        Bug::R2FeedUnfiltered,
        Bug::R3NoFetch,
        Bug::R4WatermarkFirst,
        Bug::R5NotAnnounced,
        Bug::R6PeersSilent,
        Bug::R7WatermarkUnstated,
        Bug::ForgetsTooEarly,
        Bug::SettledAnchorStays,
        Bug::KeyIgnored,
        Bug::SettledNotRepeated,
        Bug::HintOfAnother,
        Bug::CheckpointKeepsRetired,
        Bug::CheckpointForgetsReprobes,
        Bug::CheckpointForgetsKeys,
        Bug::TrimsBeforeDurable,
        Bug::ResultsTrimmedAboveCut,
        Bug::RefusedGoesOn,
        Bug::StaleCandidatesServed,
        Bug::CompleteViewTooEarly,
        Bug::CompleteViewWithoutOlder,
        Bug::AudienceIgnored,
        Bug::AudienceUntold,
        Bug::ShardsPassed,
        Bug::TimersPassed,
        Bug::SearchesBeforeExpiries,
        Bug::UndecidedRefused,
        Bug::UndecidedAdmitted,
        Bug::HeldOvertaken,
        Bug::BytesKept,
        Bug::DroppedTooEarly,
        Bug::ClosedAdmits,
        Bug::DropLeavesElements,
        Bug::CheckpointForgetsClosed,
        Bug::PoolNumberReused,
        Bug::SliceForgetsClosed,
        Bug::IdempotencyForgottenByCount,
        Bug::IdempotencyForgottenEarly,
        Bug::CutForgetsEnded,
        Bug::AudienceOfFirstPart,
        Bug::RunPlacedByFirst,
        Bug::FeedForgetsAudience,
        Bug::FeedForgetsHeld,
        Bug::FeedHoldsConcerned,
        Bug::FeedLingerForgotten,
        Bug::FeedBelowFloor,
        Bug::DecisionsFromHighest,
        Bug::WatermarkReadFirst,
        Bug::BroadcastBeforeDurable,
        Bug::AcknowledgedBeforeDurable,
        Bug::StableBeforeStored,
        Bug::ReplayTakesFirstRows,
        Bug::ReplayForgetsOverCut,
        Bug::ToldForgotten,
        Bug::FetchIgnored,
        Bug::ShorterFetched,
        Bug::ReadsBeforeFetched,
        Bug::PeerFloorIgnored,
        Bug::CursorTooOldTaken,
        Bug::NotAskedAgain,
        Bug::LingerForgotten,
        Bug::MergedGrantsLost,
        Bug::SettledUntold,
        Bug::LateAdmits,
        Bug::DecidedSeenMinIgnored,
        Bug::NeverStartsAnew,
        Bug::HelloOverstates,
        Bug::GoneUntold,
        Bug::BacklogOfOneSlice,
        Bug::MergedAudienceLost,
        Bug::MergedPastFound,
        Bug::FoundOvertakesHeld,
        Bug::ShardFloorIgnored,
        Bug::DecisionsBeforeFetched,
        Bug::FetchedForOneSlice,
        Bug::CutPartForgotten,
        Bug::FetchedInPart,
        Bug::MergedRetirementsLost,
        Bug::PickedOutOfStep,
        Bug::OwnersFromFirst,
        Bug::SiblingListed,
        Bug::LimitOfSiblings,
        Bug::SiblingRemoved,
        Bug::UnarrivedListed,
        Bug::PaceIgnored,
        Bug::PaceWaitsForStill,
        Bug::HeardBeforeLogged,
        Bug::ActiveBeforePrefix,
        Bug::StableByOwnDisk,
        Bug::FutureIsFatal,
        Bug::TakesAboveDurable,
        Bug::UnknownIsThere,
        Bug::TwoInFlight,
        Bug::KeepsLedgerOnStepDown,
        Bug::StandbyFloorIgnored,
        Bug::SettledFloorUntold,
    ];
}

/// Which bug is planted, if any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planted(#[cfg(feature = "planted")] Option<Bug>);

impl Planted {
    /// Plants a bug.
    #[cfg(feature = "planted")]
    #[must_use]
    pub const fn bug(bug: Bug) -> Planted {
        Planted(Some(bug))
    }

    /// Whether `bug` is planted.
    #[inline]
    #[must_use]
    pub fn is(self, bug: Bug) -> bool {
        #[cfg(feature = "planted")]
        return self.0 == Some(bug);
        #[cfg(not(feature = "planted"))]
        {
            let _ = bug;
            false
        }
    }
}
