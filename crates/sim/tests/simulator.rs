//! What the simulator promises: it finds nothing in the protocol, everything in a broken one, and the same thing twice.

use dovetail_core::planted::Bug;
use dovetail_sim::{
    Options,
    planted::hunt,
    regressions::REGRESSIONS,
    run,
    runner::{run_many, silence_panics},
};

/// Without optimization a run takes twenty times as long.
const SEEDS: u64 = if cfg!(debug_assertions) { 150 } else { 3_000 };
/// Every planted bug is found by then; the rarest takes ten to forty thousand.
const HUNT_MAX: u64 = 50_000;

#[test]
fn clusters_decide_what_the_sequential_program_decides() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = run_many(0..SEEDS, Options::default(), threads, 1, &|_| {});
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    let stats = summary.stats;
    assert_eq!(stats.runs, SEEDS);
    let happened = [stats.matches, stats.withdrawals, stats.reprobes, stats.duplicates, stats.breaks, stats.pauses];
    let recovered = [stats.balancer_crashes, stats.matcher_crashes, stats.gatherer_crashes, stats.slice_fetches];
    assert!(happened.iter().chain(&recovered).all(|&count| count > SEEDS / 20), "{stats:?}");
    let kept = [stats.checkpoints, stats.checkpoint_starts, stats.frames_trimmed, stats.results_trimmed, stats.retries];
    let failed = [stats.disk_errors, stats.disk_full, stats.refused_full];
    assert!(kept.iter().chain(&failed).all(|&count| count > SEEDS / 20), "{stats:?}");
    assert!(stats.refused_runs > 0 && stats.gatherers_refused > 0 && stats.matchers_refused_known > 0, "{stats:?}");
    // The rest is rare, and there to be seen only in many runs.
    let rare = [stats.checkpoints_lost, stats.retries_from_checkpoint, stats.matchers_refused_feed];
    assert!(SEEDS < 3_000 || (rare.iter().all(|&count| count > 0) && stats.matchers_refused_fetch > 0), "{stats:?}");
    assert!(stats.peer_fetches > 0 && stats.matcher_fetches > 0 && stats.restarts_behind > 0, "{stats:?}");
    assert!(stats.looked_ahead > SEEDS && stats.pools_dropped > SEEDS / 5, "{stats:?}");
    assert!(stats.refused_idempotency > SEEDS / 20, "{stats:?}");
    let shared = [stats.takeovers, stats.stepped_down, stats.engine_faults, stats.looked_for, stats.decisions_held];
    assert!(SEEDS < 3_000 || shared.iter().all(|&count| count > SEEDS / 20), "{stats:?}");
    assert!(SEEDS < 3_000 || stats.standby_fetches > 0, "{stats:?}");
    assert!(stats.late > SEEDS / 2 && stats.held_late > SEEDS / 20, "{stats:?}");
    assert!(stats.held_rows > SEEDS / 2 && stats.held_behind > SEEDS / 20 && stats.held_in_vain > 0, "{stats:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..40 {
        let [first, second] = [(); 2].map(|()| run(seed, Options::default()));
        assert_eq!((first.fingerprint, first.stats), (second.fingerprint, second.stats), "seed {seed}");
    }
    assert_ne!(run(1, Options::default()).fingerprint, run(2, Options::default()).fingerprint);
}

#[test]
fn a_message_applied_twice_changes_nothing() {
    for seed in 0..SEEDS / 15 {
        let [once, twice] = [false, true].map(|twice| run(seed, Options { twice, ..Options::default() }));
        assert!(twice.violation.is_none(), "seed {seed}: {:?}", twice.violation);
        assert_eq!((once.fingerprint, once.stats), (twice.fingerprint, twice.stats), "seed {seed}");
    }
}

#[test]
fn seeds_that_found_a_bug_stay_clean() {
    for regression in REGRESSIONS {
        let violation = run(regression.seed, Options::default()).violation;
        assert!(violation.is_none(), "seed {}: {violation:?}; it was: {}", regression.seed, regression.bug);
    }
}

macro_rules! each_is_found {
    ($($name:ident: $bug:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            silence_panics();
            let hunt = hunt(Bug::$bug, 0, HUNT_MAX);
            assert!(hunt.found.is_some(), "{:?} was not found in {} seeds", hunt.bug, hunt.seeds);
        })*

        #[test]
        fn every_planted_bug_has_a_test() {
            assert_eq!(Bug::ALL.to_vec(), vec![$(Bug::$bug),*]);
        }
    };
}

each_is_found! {
    acting_before_every_slice_has_searched_is_found: ProbeNotComplete,
    granting_before_an_own_earlier_probe_is_found: ClaimBeforeOwnProbe,
    lists_of_half_the_length_are_found: ListFactorOne,
    not_waiting_for_the_decided_watermark_is_found: NoWaitForDecided,
    a_watermark_above_undecided_events_is_found: WatermarkIgnoresUndecided,
    accepting_without_a_grant_is_found: AcceptWithoutGrant,
    withdrawing_before_candidates_are_dead_is_found: CloseBeforeCandidates,
    ignoring_a_close_is_found: CloseIgnored,
    an_anchor_that_stays_alive_is_found: AnchorStaysAlive,
    applying_a_frame_twice_is_found: DuplicateFrameApplied,
    breaking_r1_is_found: R1LeftOutAtX,
    breaking_r2_is_found: R2FeedUnfiltered,
    breaking_r3_is_found: R3NoFetch,
    breaking_r4_is_found: R4WatermarkFirst,
    breaking_r5_is_found: R5NotAnnounced,
    breaking_r6_is_found: R6PeersSilent,
    breaking_r7_is_found: R7WatermarkUnstated,
    forgetting_too_early_is_found: ForgetsTooEarly,
    an_anchor_that_was_settled_and_stays_is_found: SettledAnchorStays,
    placing_an_element_by_its_id_in_spite_of_its_key_is_found: KeyIgnored,
    not_repeating_what_slices_settled_is_found: SettledNotRepeated,
    looking_ahead_for_another_search_is_found: HintOfAnother,
    a_checkpoint_that_keeps_a_retired_element_is_found: CheckpointKeepsRetired,
    a_checkpoint_that_forgets_reprobes_is_found: CheckpointForgetsReprobes,
    a_checkpoint_that_forgets_idempotency_keys_is_found: CheckpointForgetsKeys,
    trimming_before_the_checkpoint_is_durable_is_found: TrimsBeforeDurable,
    trimming_results_above_the_cut_is_found: ResultsTrimmedAboveCut,
    going_on_without_refused_retirements_is_found: RefusedGoesOn,
    serving_frames_that_know_too_little_is_found: StaleCandidatesServed,
    a_complete_view_before_events_in_flight_are_decided_is_found: CompleteViewTooEarly,
    a_complete_view_without_those_who_waited_before_is_found: CompleteViewWithoutOlder,
    passing_slices_that_may_have_found_something_is_found: AudienceIgnored,
    not_saying_who_is_concerned_by_half_a_frame_is_found: AudienceUntold,
    passing_shards_that_may_have_something_to_say_is_found: ShardsPassed,
    time_that_passes_timers_is_found: TimersPassed,
    searching_before_others_expire_is_found: SearchesBeforeExpiries,
    refusing_for_a_key_that_is_not_decided_is_found: UndecidedRefused,
    letting_in_a_key_that_is_not_decided_is_found: UndecidedAdmitted,
    overtaking_what_is_held_is_found: HeldOvertaken,
    counting_the_bytes_of_what_ended_is_found: BytesKept,
    dropping_a_pool_in_which_elements_wait_is_found: DroppedTooEarly,
    letting_elements_into_a_pool_that_is_dropped_is_found: ClosedAdmits,
    leaving_elements_of_a_dropped_pool_waiting_is_found: DropLeavesElements,
    a_checkpoint_that_forgets_which_pools_are_dropped_is_found: CheckpointForgetsClosed,
    a_pool_that_gets_the_number_of_another_is_found: PoolNumberReused,
    a_slice_that_forgets_a_pool_too_early_is_found: SliceForgetsClosed,
    forgetting_idempotency_keys_by_count_is_found: IdempotencyForgottenByCount,
    forgetting_idempotency_keys_before_their_time_is_found: IdempotencyForgottenEarly,
    a_cut_that_forgets_who_ended_meanwhile_is_found: CutForgetsEnded,
    telling_the_audience_of_half_a_frame_is_found: AudienceOfFirstPart,
    placing_a_run_by_its_first_element_is_found: RunPlacedByFirst,
    forgetting_the_audience_of_frames_that_are_held_back_is_found: FeedForgetsAudience,
    forgetting_frames_that_are_held_back_is_found: FeedForgetsHeld,
    holding_back_what_concerns_the_reader_is_found: FeedHoldsConcerned,
    holding_back_the_log_for_ever_is_found: FeedLingerForgotten,
    serving_the_log_from_below_its_floor_is_found: FeedBelowFloor,
    reading_all_shards_from_where_the_furthest_is_is_found: DecisionsFromHighest,
    taking_a_watermark_before_what_it_covers_is_found: WatermarkReadFirst,
    broadcasting_what_is_not_on_disk_is_found: BroadcastBeforeDurable,
    acknowledging_what_is_not_on_disk_is_found: AcknowledgedBeforeDurable,
    telling_a_stable_cut_that_is_not_stored_is_found: StableBeforeStored,
    reading_back_the_wrong_rows_of_a_run_is_found: ReplayTakesFirstRows,
    forgetting_what_was_decided_below_a_checkpoint_is_found: ReplayForgetsOverCut,
    forgetting_what_frames_told_was_stable_is_found: ToldForgotten,
    not_fetching_what_a_hello_asks_for_is_found: FetchIgnored,
    fetching_the_shorter_of_two_ranges_is_found: ShorterFetched,
    reading_before_what_was_fetched_has_come_is_found: ReadsBeforeFetched,
    not_fetching_below_a_peers_floor_is_found: PeerFloorIgnored,
    going_on_with_a_slice_that_has_not_what_comes_next_is_found: CursorTooOldTaken,
    going_on_with_a_cursor_that_was_passed_is_found: NotAskedAgain,
    holding_back_for_ever_is_found: LingerForgotten,
    losing_grants_that_are_held_back_is_found: MergedGrantsLost,
    keeping_what_slices_settled_from_the_balancer_is_found: SettledUntold,
    letting_elements_into_a_pool_whose_timers_are_due_is_found: LateAdmits,
    serving_frames_that_know_less_than_was_asked_for_is_found: DecidedSeenMinIgnored,
    refusing_a_reader_for_ever_is_found: NeverStartsAnew,
    a_hello_that_says_more_than_frames_know_is_found: HelloOverstates,
    not_saying_that_frames_are_gone_is_found: GoneUntold,
    a_backlog_of_one_slice_of_several_is_found: BacklogOfOneSlice,
    forgetting_whom_merged_frames_concern_is_found: MergedAudienceLost,
    merging_frames_past_what_was_found_is_found: MergedPastFound,
    overtaking_frames_that_are_held_back_is_found: FoundOvertakesHeld,
    not_fetching_below_a_shards_floor_is_found: ShardFloorIgnored,
    reading_decisions_before_what_was_fetched_is_found: DecisionsBeforeFetched,
    giving_what_was_fetched_to_one_slice_of_several_is_found: FetchedForOneSlice,
    taking_one_part_of_a_cut_is_found: CutPartForgotten,
    answering_a_fetch_in_part_is_found: FetchedInPart,
    losing_retirements_that_are_held_back_is_found: MergedRetirementsLost,
    picking_a_column_out_of_step_is_found: PickedOutOfStep,
    taking_rows_to_be_owned_as_the_first_ones_is_found: OwnersFromFirst,
    listing_the_anchors_of_another_slice_is_found: SiblingListed,
    counting_others_anchors_for_a_list_is_found: LimitOfSiblings,
    removing_the_anchors_of_another_slice_is_found: SiblingRemoved,
    finding_anchors_that_arrive_later_is_found: UnarrivedListed,
    taking_frames_whatever_is_under_way_is_found: PaceIgnored,
    waiting_for_a_cluster_that_does_not_decide_is_found: PaceWaitsForStill,
    telling_a_stable_cut_before_the_shared_log_does_is_found: HeardBeforeLogged,
    writing_before_all_that_is_before_the_term_is_read_is_found: ActiveBeforePrefix,
    a_stable_cut_that_does_not_wait_for_who_stands_by_is_found: StableByOwnDisk,
    taking_decisions_of_events_that_were_not_read_is_found: FutureIsFatal,
    taking_decisions_of_events_that_the_log_does_not_have_is_found: TakesAboveDurable,
    taking_what_is_not_answered_for_as_there_is_found: UnknownIsThere,
    two_groups_in_flight_are_found: TwoInFlight,
    going_on_with_what_was_known_before_stepping_down_is_found: KeepsLedgerOnStepDown,
    reading_on_below_a_shards_floor_is_found: StandbyFloorIgnored,
    not_saying_that_settled_matches_are_forgotten_is_found: SettledFloorUntold,
}
