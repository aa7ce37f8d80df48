//! What the exhaustive model promises: every run of a tiny cluster decides what the sequential program decides, and a
//! line of the protocol left out shows. `cargo run --release -p dovetail-sim --bin model` goes further.

use dovetail_core::planted::Bug;
use dovetail_sim::model::{
    check::{ModelReport, Options, check, rests},
    cluster::{FaultBudget, Reconnect},
    script::{Op, Relation, Script, families, keyed},
};

const CALM: FaultBudget = FaultBudget {
    crashes: 0,
    duplicates: 0,
    growing: false,
    reconnect: Reconnect::Together,
    lazy_store: false,
    late_hellos: false,
    reduced: true,
};
const CRASH: FaultBudget = FaultBudget { crashes: 1, ..CALM };
const DUPLICATE: FaultBudget = FaultBudget { duplicates: 1, ..CALM };

/// Pairs (0,1), (0,2), (1,2) of three elements.
const ALL: u16 = 0b111;

fn run(script: &Script, faults: FaultBudget, planted: Option<Bug>) -> ModelReport {
    // Breadth first finds a shortest counterexample; with a crash it would go through nearly all states before that.
    let breadth_first = planted.is_some() && faults.crashes == 0;
    // With one thread, what the reduction leaves out is the same in every run.
    let options = Options { faults, planted, breadth_first, threads: 1, steps_max: None, audit: planted.is_none() };
    check(script, options, &|_| {})
}

/// Checks every run of a script, and that states of machines that count as one behave as one.
fn check_all(script: &Script, faults: FaultBudget) -> ModelReport {
    let report = run(script, faults, None);
    assert!(report.exhausted && report.counterexample.is_none(), "{report:#?}");
    let (audited, differ) = report.audited;
    assert!(audited > 100 && differ == 0, "{report:#?}");
    report
}

fn script(ops: &[Op], always: u16, homes: &[u8]) -> Script {
    Script::by_element(ops.to_vec(), Relation { always, late: 0 }, homes.to_vec())
}

fn arrivals(always: u16, homes: &[u8]) -> Script {
    script(&vec![Op::Arrive; homes.len()], always, homes)
}

/// Elements that arrive in a pool that is split by key.
fn with_keys(always: u16, keys: &[u8], one_frame: bool) -> Script {
    Script::by_key(vec![Op::Arrive; keys.len()], Relation { always, late: 0 }, keys.to_vec(), one_frame)
}

#[test]
fn every_run_of_two_elements_decides_what_the_oracle_decides() {
    let scripts: Vec<Script> = families(2, true, true, true).into_iter().filter(few).collect();
    assert!(scripts.len() >= 5);
    let states: usize = scripts.iter().map(|script| check_all(script, CALM).states).sum();
    assert!(states > 1_000, "{states}");
}

/// Those that are checked fast also where nothing is optimized: arrivals, withdrawals, and a reprobe that finds
/// something.
fn few(script: &Script) -> bool {
    script.relation.late == 1 || !script.ops.iter().any(|op| matches!(op, Op::Reprobe(_)))
}

#[test]
fn every_run_of_three_elements_that_all_match_decides_what_the_oracle_decides() {
    let report = check_all(&arrivals(ALL, &[0, 1, 0]), CALM);
    assert!(report.states > 10_000, "{report:#?}");
}

#[test]
fn every_run_of_two_elements_that_have_keys_decides_what_the_oracle_decides() {
    let scripts = keyed(2);
    assert_eq!(scripts.len(), 6);
    let states: usize = scripts.iter().map(|script| run(script, CALM, None)).map(checked).sum();
    assert!(states > 5_000, "{states}");
}

/// The states of a run that found nothing; few enough that not all have an audit.
fn checked(report: ModelReport) -> usize {
    assert!(report.exhausted && report.counterexample.is_none() && report.audited.1 == 0, "{report:#?}");
    report.states
}

#[test]
fn every_run_with_keys_while_the_log_grows_decides_what_the_oracle_decides() {
    let growing = FaultBudget { growing: true, lazy_store: true, ..CALM };
    let report = check_all(&with_keys(0, &[0, 1], false), growing);
    assert!(report.states > 50_000, "what is held back of the log is sent at any time later: {report:#?}");
}

#[test]
fn every_run_with_a_duplicate_decides_what_the_oracle_decides() {
    check_all(&arrivals(1, &[0, 1]), DUPLICATE);
}

#[test]
fn every_run_while_the_log_grows_decides_what_the_oracle_decides() {
    let growing = FaultBudget { growing: true, lazy_store: true, ..CALM };
    check_all(&script(&[Op::Arrive, Op::Arrive, Op::Withdraw(0)], 1, &[0, 1]), growing);
}

#[test]
fn every_run_of_two_elements_with_a_crash_and_a_duplicate_decides_what_the_oracle_decides() {
    let report = check_all(&arrivals(1, &[0, 1]), FaultBudget { duplicates: 1, ..CRASH });
    assert!(report.claims.diamonds > 1_000, "{report:#?}");
    // That a repetition makes no difference is found out; it would be 16 million otherwise.
    assert!(report.states < 100_000, "{report:#?}");
}

/// What is left out leaves out no way to end.
fn check_rests(script: &Script, faults: FaultBudget) {
    let [all, reduced, both] = rests(script, faults);
    assert!(
        all > 0 && all == reduced && all == both,
        "{script}: {all} without reduction, {reduced} with it, {both} both"
    );
}

#[test]
fn a_reduced_cluster_comes_to_rest_in_every_way_that_it_can() {
    let one = arrivals(0, &[0]);
    check_rests(&one, CALM);
    check_rests(&one, DUPLICATE);
    check_rests(&one, CRASH);
    check_rests(&arrivals(1, &[0, 1]), CALM);
}

/// A planted bug shows, in words that contain `told`.
fn check_found(bug: Bug, script: &Script, faults: FaultBudget, told: &str) {
    let report = run(script, faults, Some(bug));
    let found = report.counterexample.expect("a planted bug is found");
    assert!(found.what.contains(told), "{found:#?}");
}

#[test]
fn acting_before_every_slice_has_searched_is_found() {
    check_found(Bug::ProbeNotComplete, &arrivals(0b110, &[0, 1, 0]), CALM, "announced [x");
}

#[test]
fn granting_before_an_own_earlier_probe_is_found() {
    check_found(Bug::ClaimBeforeOwnProbe, &arrivals(0b101, &[0, 1, 0]), CALM, "announced [x");
}

#[test]
fn accepting_without_a_grant_is_found() {
    check_found(Bug::AcceptWithoutGrant, &arrivals(ALL, &[0, 1, 0]), CALM, "announced [x");
}

#[test]
fn an_anchor_that_stays_alive_is_found() {
    check_found(Bug::AnchorStaysAlive, &arrivals(ALL, &[0, 1, 0]), CALM, "announced [x");
}

#[test]
fn a_watermark_above_undecided_events_is_found() {
    check_found(Bug::WatermarkIgnoresUndecided, &arrivals(1, &[0, 1]), CALM, "did not announce");
}

#[test]
fn ignoring_a_close_is_found() {
    let ops = [Op::Arrive, Op::Withdraw(0), Op::Arrive];
    check_found(Bug::CloseIgnored, &script(&ops, 1, &[0, 1]), CALM, "did not announce");
}

#[test]
fn withdrawing_before_candidates_are_dead_is_found() {
    let ops = [Op::Arrive, Op::Arrive, Op::Withdraw(0)];
    check_found(Bug::CloseBeforeCandidates, &script(&ops, 1, &[0, 1]), CALM, "withdrawn");
}

#[test]
fn applying_a_frame_twice_is_found() {
    check_found(Bug::DuplicateFrameApplied, &arrivals(1, &[0, 1]), DUPLICATE, "kept");
}

#[test]
fn breaking_r4_is_found() {
    check_found(Bug::R4WatermarkFirst, &arrivals(1, &[0, 1]), CALM, "published in");
}

#[test]
fn breaking_r7_is_found() {
    check_found(Bug::R7WatermarkUnstated, &arrivals(0, &[0]), CRASH, "stuck");
}

#[test]
fn forgetting_too_early_is_found() {
    check_found(Bug::ForgetsTooEarly, &arrivals(ALL, &[0, 1, 0]), CALM, "stuck");
}

#[test]
fn showing_what_is_not_on_disk_is_found() {
    let one = arrivals(0, &[0]);
    check_found(Bug::BroadcastBeforeDurable, &one, CALM, "is broadcast, and only");
    check_found(Bug::AcknowledgedBeforeDurable, &one, CALM, "is acknowledged, and only");
    let lazy = FaultBudget { lazy_store: true, ..CALM };
    check_found(Bug::StableBeforeStored, &arrivals(0, &[0, 1]), lazy, "is told to be stable, and only");
}

#[test]
fn taking_a_watermark_before_what_it_covers_is_found() {
    check_found(Bug::WatermarkReadFirst, &arrivals(1, &[0, 1]), CALM, "published in");
}

#[test]
fn a_cut_that_forgets_who_ended_meanwhile_is_found() {
    let lazy = FaultBudget { lazy_store: true, ..CRASH };
    check_found(Bug::CutForgetsEnded, &arrivals(1, &[0, 1]), lazy, "who leaves has waited");
}

#[test]
fn bugs_in_what_is_held_back_of_the_log_are_found() {
    let (apart, together) = (with_keys(0, &[0, 1], false), with_keys(1, &[0, 0], false));
    check_found(Bug::FeedForgetsHeld, &together, CALM, "log frame begins after");
    check_found(Bug::FeedLingerForgotten, &apart, CALM, "stuck");
    check_found(Bug::FeedHoldsConcerned, &together, CALM, "did not announce");
    check_found(Bug::FeedForgetsAudience, &with_keys(1, &[0, 0, 1], false), CALM, "did not announce");
}

#[test]
fn bugs_in_who_is_concerned_are_found() {
    let together = with_keys(1, &[0, 0], false);
    check_found(Bug::ShardsPassed, &together, CALM, "published in");
    check_found(Bug::AudienceIgnored, &together, CALM, "did not announce");
    check_found(Bug::SettledUntold, &together, CALM, "published in");
    check_found(Bug::KeyIgnored, &with_keys(1, &[0, 0, 0], false), CALM, "did not announce");
    check_found(Bug::RunPlacedByFirst, &with_keys(0b100, &[0, 1, 1], true), CALM, "");
}
