//! Plans: what they say to people, which rules have a key, and what is warned of.

use std::collections::BTreeSet;

use dovetail_rule::{ConjunctRole, EvalError, Row, Rule, Schema, Side, Value, ValueKind, Verdict, Warning};

/// What a matchmaker's pool might have.
fn pool() -> Schema {
    let kinds = [
        ("region", ValueKind::String),
        ("role", ValueKind::String),
        ("wants", ValueKind::String),
        ("mode", ValueKind::Int),
        ("skill", ValueKind::Int),
        ("rating", ValueKind::Double),
        ("width", ValueKind::Double),
        ("x", ValueKind::Double),
        ("y", ValueKind::Double),
        ("tags", ValueKind::StringList),
        ("vip", ValueKind::Bool),
    ];
    Schema::new(kinds.map(|(name, kind)| (name.to_owned(), kind))).unwrap()
}

fn rule(source: &str) -> Rule {
    Rule::compile(source, &pool()).unwrap_or_else(|error| panic!("{}", error.render(source)))
}

fn element(values: &[(&str, Value)]) -> Row {
    Row::from_named(&pool(), values.iter().map(|(name, value)| (name.to_string(), value.clone()))).unwrap()
}

fn side(row: &Row) -> Side<'_> {
    Side { row, waited_ms: 0 }
}

fn prints(source: &str, plan: &str) {
    assert_eq!(rule(source).plan().to_string().trim_end(), plan.trim(), "{source}");
}

/// The key's parts; none if there is no key.
fn key(source: &str, parts: &[&str]) {
    let rule = rule(source);
    assert_eq!(rule.plan().key_parts(), parts, "{source}");
    assert_eq!(rule.plan().keyed(), !parts.is_empty(), "{source}");
}

/// The conjuncts, each with its role, in plan order.
fn roles(source: &str) -> Vec<(ConjunctRole, String)> {
    rule(source).plan().conjuncts().iter().map(|conjunct| (conjunct.role(), conjunct.text())).collect()
}

fn warns(source: &str, sentences: &[&str]) {
    let found: Vec<String> = rule(source).plan().warnings().iter().map(Warning::to_string).collect();
    assert_eq!(found, sentences, "{source}");
}

#[test]
fn a_plan_shows_key_columns_residual_split_and_cost() {
    prints(
        "a.region == b.region && a.mode == b.mode && abs(a.skill - b.skill) <= 25",
        "
key       a.region == b.region
          a.mode == b.mode
columns   abs(a.skill - b.skill) <= 25  skill: band
residual  none
split     by key (region, mode): elements of two keys never match
order     by skill, where many wait and few of them are wanted
cost      up to 16 units for each pair that columns let through
needs     region, mode, skill: an element without never matches",
    );
    prints(
        "a.wants == b.role && b.wants == a.role && a.role.startsWith(b.region) \
         && a.role != b.region && (a.vip || a.tags.intersects(b.tags))",
        "
key       a.wants == b.role  wants: the same string; role: the same string
          b.wants == a.role  role: the same string; wants: the same string
columns   a.vip || a.tags.intersects(b.tags)  vip: bit; tags: a shared entry; the prober's own
          a.role != b.region                  role: another string; region: another string
residual  a.role.startsWith(b.region)  up to 7 units
split     by key ({wants, role}): elements of two keys never match
cost      up to 7969 units for each pair that columns let through, 7 of them residual
needs     region as b, role, wants: an element without never matches
notes     not the same with a and b exchanged, so who arrives first matters: a.vip || a.tags.intersects(b.tags); a.role != b.region; a.role.startsWith(b.region)",
    );
    prints(
        "(a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y) < 0.5",
        "
key       none
columns   (a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y) < 0.5  x, y: squared distance
residual  none
split     by element: no equality of both elements' own values keeps elements apart
order     by x, y, where many wait and few of them are wanted
cost      up to 17 units for each pair that columns let through
needs     x, y: an element without never matches",
    );
    prints(
        "true",
        "
key       none
columns   none
residual  none
split     none, one slice takes them all: the first two there are match
cost      nothing to test
notes     matches every pair",
    );
}

#[test]
fn the_plan_in_rules_md_is_the_one_that_is_made() {
    let plan = rule("a.region == b.region && a.role != b.role && abs(a.skill - b.skill) <= 25").plan().to_string();
    assert!(include_str!("../../RULES.md").contains(&plan), "{plan}");
}

#[test]
fn an_equality_of_the_same_expression_on_both_ends_is_key() {
    key("a.region == b.region", &["region"]);
    key("b.region == a.region && a.tags == b.tags && a.vip == b.vip", &["region", "tags", "vip"]);
    key("a.skill / 100 == b.skill / 100", &["a.skill / 100"]);
    key("(a.vip ? a.role : a.region) == (b.vip ? b.role : b.region)", &["a.vip ? a.role : a.region"]);
    key("!(a.region != b.region || a.skill < b.skill)", &["region"]);
    key("a.mode == b.mode && a.mode == b.mode && b.mode == a.mode", &["mode", "mode"]);
}

#[test]
fn an_equality_and_its_mirror_image_are_one_part_of_the_key() {
    key("a.wants == b.role && b.wants == a.role", &["{wants, role}"]);
    key("a.skill == b.rating && a.rating == b.skill", &["{skill, rating}"]);
    let rule = rule("a.wants == b.role && b.wants == a.role");
    let [x, y] = [("tank", "healer"), ("healer", "tank")]
        .map(|(role, wants)| element(&[("role", role.into()), ("wants", wants.into())]));
    assert_eq!(rule.plan().key_hash(&x), rule.plan().key_hash(&y));
}

#[test]
fn an_equality_that_does_not_keep_elements_apart_is_columns() {
    for source in ["a.wants == b.role", "a.region == 'eu'", "a.skill + b.skill == 0", "a.region == b.region || a.vip"] {
        key(source, &[]);
        assert_eq!(roles(source)[0].0, ConjunctRole::Columns, "{source}");
    }
}

#[test]
fn what_may_be_an_error_or_changes_with_time_is_no_key() {
    key("a.skill + 1 == b.skill + 1", &[]);
    key("100 / a.skill == 100 / b.skill", &[]);
    key("a.waited == b.waited", &[]);
    key("a.waited / 1000 + a.skill == b.waited / 1000 + b.skill", &[]);
}

#[test]
fn an_element_without_a_part_of_the_key_has_none() {
    let rule = rule("a.region == b.region && a.mode == b.mode");
    assert_eq!(rule.plan().key_hash(&element(&[("region", "eu".into())])), None);
    assert_eq!(rule.plan().key_hash(&element(&[("mode", 3.into())])), None);
    assert!(rule.plan().key_hash(&element(&[("region", "eu".into()), ("mode", 3.into())])).is_some());
}

#[test]
fn key_hashes_are_the_same_for_ever() {
    let hash = |source: &str, values: &[(&str, Value)]| rule(source).plan().key_hash(&element(values)).unwrap();
    let hashes = [
        hash("true", &[]),
        hash("a.mode == b.mode", &[("mode", 0.into())]),
        hash("a.mode == b.mode", &[("mode", (-7).into())]),
        hash("a.x == b.x", &[("x", 0.5.into())]),
        hash("a.region == b.region", &[("region", "".into())]),
        hash("a.region == b.region", &[("region", "eu-west-1".into())]),
        hash("a.region == b.region && a.mode == b.mode", &[("region", "eu".into()), ("mode", 3.into())]),
        hash("a.vip == b.vip", &[("vip", true.into())]),
        hash("a.tags == b.tags", &[("tags", ["x", "y"].into())]),
        hash("a.wants == b.role && a.role == b.wants", &[("wants", "x".into()), ("role", "y".into())]),
    ];
    assert_eq!(hashes, GOLDEN, "elements would be found on other nodes than before: {hashes:#x?}");
}

const GOLDEN: [u64; 10] = [
    0x9e37_79b9_7f4a_7c15,
    0x6e78_9e6a_a1b9_65f4,
    0x5692_161d_100b_05e5,
    0x355b_2e99_3344_8da6,
    0xfff8_198e_5107_82a4,
    0xaeb8_16e6_02c5_4d6b,
    0x4f39_b681_492e_8d33,
    0xe99f_f867_dbf6_82c9,
    0x3ec3_567c_d8da_a904,
    0x2bac_a32c_b5e2_c6e4,
];

#[test]
fn different_keys_seldom_have_the_same_hash() {
    let (texts, numbers) = (rule("a.region == b.region"), rule("a.mode == b.mode && a.x == b.x"));
    let mut hashes = BTreeSet::new();
    for n in 0..20_000_i64 {
        hashes.insert(texts.plan().key_hash(&element(&[("region", Value::from(&*format!("player-{n}")))])).unwrap());
        let (mode, x) = (n % 100, n as f64 / 100.0);
        hashes.insert(numbers.plan().key_hash(&element(&[("mode", mode.into()), ("x", x.into())])).unwrap());
    }
    assert_eq!(hashes.len(), 40_000);
    // The low bits alone spread keys over nodes.
    let low: BTreeSet<u64> = hashes.iter().map(|hash| hash % 65_536).collect();
    assert!(low.len() > 27_000, "{} of 65,536 are taken, where chance takes 30,000", low.len());
}

#[test]
fn equal_numbers_of_either_kind_have_equal_keys() {
    let rule = rule("a.skill == b.rating && a.rating == b.skill");
    let hash = |skill: i64, rating: f64| {
        rule.plan().key_hash(&element(&[("skill", skill.into()), ("rating", rating.into())])).unwrap()
    };
    assert_eq!(hash(3, 4.0), hash(4, 3.0));
    assert_eq!(hash(0, -0.0), hash(0, 0.0));
    assert_eq!(hash(i64::MIN, 1.0), hash(1, -9_223_372_036_854_775_808.0));
    assert_ne!(hash(i64::MAX, 1.0), hash(1, 9_223_372_036_854_775_808.0));
    assert_ne!(hash(3, 4.0), hash(3, 4.5));
}

#[test]
fn conjuncts_come_cheapest_and_most_selective_first() {
    let source = "a.tags.intersects(b.tags) && a.region.contains(b.region) && a.region < b.region \
                  && a.role != b.role && a.wants == b.role && a.mode == b.mode && abs(a.skill - b.skill) < 5";
    let texts: Vec<String> = roles(source).into_iter().map(|(_, text)| text).collect();
    let expected = [
        "a.mode == b.mode",
        "a.wants == b.role",
        "abs(a.skill - b.skill) < 5",
        "a.tags.intersects(b.tags)",
        "a.role != b.role",
        "a.region < b.region",
        "a.region.contains(b.region)",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn negations_are_moved_into_comparisons_and_constants_are_folded() {
    let expected = |text: &str| vec![(ConjunctRole::Columns, text.to_owned())];
    assert_eq!(roles("!(a.skill < b.skill)"), expected("a.skill >= b.skill"));
    assert_eq!(roles("!!(a.skill < 2 + 3 * b.skill)"), expected("a.skill < 2 + 3 * b.skill"));
    assert_eq!(roles("a.skill < 10 * 10 && 1 < 2"), expected("a.skill < 100"));
    assert_eq!(roles("(1 == 2 ? a.vip : b.vip)"), expected("b.vip"));
    assert_eq!(roles("a.vip && (true || b.vip)"), expected("a.vip"));
    assert_eq!(roles("!(a.vip || !b.vip)").len(), 2);
    assert_eq!(rule("!(a.skill < 1 + 1)").expr().to_string(), "!(a.skill < 1 + 1)");
}

#[test]
fn whatever_columns_cannot_tell_is_residual() {
    for source in ["a.region < b.region", "a.region.contains(b.region)", "a.skill % b.mode == 0", "a.tags != b.tags"] {
        assert_eq!(roles(source)[0].0, ConjunctRole::Residual, "{source}");
    }
}

#[test]
fn a_rule_that_never_matches_is_told_so() {
    let never = |source: &str, because: &str| {
        let warnings = rule(source).plan().warnings().to_vec();
        assert_eq!(warnings.first(), Some(&Warning::NeverMatches { because: because.to_owned() }), "{source}");
    };
    never("a.vip && false", "false is never true");
    never("abs(a.skill) < 0", "abs(a.skill) < 0 is never true");
    never("a.skill != a.skill", "a.skill != a.skill is never true");
    never("a.waited < 0", "a.waited < 0 is never true");
    never("1 / (1 - 1) == a.skill && 1 / (1 - 1) == 1", "1 / 0 == 1 is never true");
    never("a.x == b.x && b.x != a.x", "a.x == b.x and b.x != a.x contradict each other");
    never("a.x < b.x && b.x < a.x", "a.x < b.x and b.x < a.x contradict each other");
    never("a.skill > 5 && a.skill < 6", "a.skill > 5 and a.skill < 6 contradict each other");
    never("a.role == 'x' && 'y' == a.role", "a.role == \"x\" and \"y\" == a.role contradict each other");
    for source in ["a.skill > 5 && a.skill < 7", "a.x <= b.x && b.x <= a.x", "a.role == 'x' && b.role == 'y'"] {
        let warnings = rule(source).plan().warnings().to_vec();
        assert!(!warnings.iter().any(|warning| matches!(warning, Warning::NeverMatches { .. })), "{source}");
    }
}

#[test]
fn a_rule_that_depends_on_who_came_first_is_told_so() {
    warns(
        "a.skill > b.skill && abs(a.x - b.x) < 1",
        &["not the same with a and b exchanged, so who arrives first matters: a.skill > b.skill"],
    );
    warns(
        "a.vip || b.role == 'x'",
        &["not the same with a and b exchanged, so who arrives first matters: a.vip || b.role == \"x\""],
    );
}

#[test]
fn a_rule_that_reads_the_same_both_ways_is_symmetric() {
    for source in [
        "abs(a.x - b.x) <= 1 && a.role != b.role",
        "(a.x - b.x) * (a.x - b.x) + (b.y - a.y) * (a.y - b.y) > -3",
        "a.x - b.x <= 2 && b.x - a.x <= 2",
        "-2 <= a.x - b.x && a.x - b.x <= 2",
        "a.x + a.y < 5 && b.x + b.y < 5",
        "max(a.x, b.x) - min(b.x, a.x) < 3",
        "a.vip || b.vip",
        "abs(a.x - b.x) <= a.width && abs(a.x - b.x) <= b.width",
        "a.tags.intersects(b.tags) && !(a.skill == b.skill)",
        "a.skill * b.skill >= 4",
    ] {
        warns(source, &[]);
    }
}

#[test]
fn other_things_worth_knowing_are_told() {
    warns("true", &["matches every pair"]);
    warns("1 < 2 || a.vip", &["matches every pair"]);
    warns("has(a.skill) == has(b.skill)", &[]);
    warns("a.mode == b.mode", &[]);
    warns(
        "a.region < b.region || b.region < a.region",
        &["no key and no column helps: every pair is tested one by one"],
    );
    warns(
        "a.mode == b.mode && a.tags.intersects(b.tags) != (a.region < b.region || b.region < a.region)",
        &["costs up to 7955 units on every pair that gets this far: \
             a.tags.intersects(b.tags) != (a.region < b.region || b.region < a.region)"],
    );
}

#[test]
fn a_conjunct_tells_what_it_says_of_a_pair() {
    let rule = rule("abs(a.skill - b.skill) <= 50 && a.role != b.role && 10 / a.mode > 1");
    let (a, b) = (
        element(&[("skill", 1_500.into()), ("role", "tank".into()), ("mode", 0.into())]),
        element(&[("skill", 1_611.into())]),
    );
    let conjunct = |text: &str| rule.plan().conjuncts().iter().find(|conjunct| conjunct.text() == text).unwrap();
    let band = conjunct("abs(a.skill - b.skill) <= 50");
    assert_eq!(band.verdict(side(&a), side(&b)), Verdict::Fails);
    assert_eq!(band.verdict(side(&a), side(&a)), Verdict::Holds);
    let (left, op, right) = band.sides(side(&a), side(&b)).unwrap();
    assert_eq!((left, op.to_string(), right), (Value::Int(111), "<=".to_owned(), Value::Int(50)));
    let other = conjunct("a.role != b.role");
    assert_eq!(other.verdict(side(&a), side(&b)), Verdict::Missing);
    assert_eq!(other.sides(side(&a), side(&b)), None);
    assert_eq!(conjunct("10 / a.mode > 1").verdict(side(&a), side(&b)), Verdict::Error(EvalError::DivisionByZero));
}

#[test]
fn bug_nested_rules_took_exponential_time_and_memory_to_plan() {
    // Looking for symmetry wrote the needle of an `in` once for each item, and either side of a comparison twice.
    let nested = |open: &str, middle: &str, close: &str, times: usize| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    let sources = [
        nested("(", "a.vip", " in [b.vip, a.vip])", 30),
        nested("(", "a.vip", " == b.vip)", 60),
        nested("((", "a.vip", ") ? b.vip : a.vip)", 30),
        nested("!(a.vip && ", "b.vip", ")", 30),
        nested("min(a.x, ", "b.x", ")", 30) + " < 3",
        nested("(", "a.x", " < b.x ? a.y : b.x)", 30) + " < 3",
        nested("abs(a.x - ", "b.x", ")", 30) + " < 3",
        format!("a.skill{} < 5", " * b.skill".repeat(60)),
        format!("a.vip{}", " || a.vip == b.vip".repeat(50)),
    ];
    for source in sources {
        let rule = rule(&source);
        assert!(!rule.plan().to_string().is_empty());
    }
}

/// `0.0` and `-0.0` were one literal to the planner: both sides of a comparison, two conjuncts, or two factors, were
/// taken for the same expression although dividing by them gives infinities of opposite sign.
#[test]
fn bug_zero_and_minus_zero_were_one_literal_to_the_planner() {
    let [one, minus] = [1.0, -1.0].map(|x| element(&[("x", x.into())]));
    for (source, a, b) in [
        ("a.x / 0.0 == b.x / -0.0", &one, &minus),
        ("a.x / 0.0 < 0.0 || a.x / -0.0 < 0.0", &one, &minus),
        ("a.x / 0.0 < a.x / -0.0", &minus, &one),
        ("(a.x / 0.0) * (a.x / -0.0) < 0.0", &one, &one),
    ] {
        let rule = rule(source);
        assert_eq!(rule.test(side(a), side(b)), Ok(true), "{source}");
        let plan = rule.plan();
        assert!(plan.conjuncts().iter().all(|one| one.verdict(side(a), side(b)) == Verdict::Holds), "{plan}");
        assert!(!plan.warnings().iter().any(|warning| matches!(warning, Warning::NeverMatches { .. })), "{plan}");
        assert_eq!(plan.key_hash(a), plan.key_hash(b), "{plan}");
    }
    key("a.x / -0.0 == b.x / -0.0", &["a.x / -0.0"]);
}

/// What an element never matches without.
fn needs(source: &str, needed: &[&str]) {
    let found: Vec<String> = rule(source).plan().needed().iter().map(ToString::to_string).collect();
    assert_eq!(found, needed, "{source}");
}

#[test]
fn an_attribute_without_which_an_element_never_matches_is_told() {
    needs("a.region == b.region && abs(a.skill - b.skill) <= 50", &["region", "skill"]);
    needs("a.role != b.role && a.tags.intersects(b.tags)", &["role", "tags"]);
    needs("!has(a.region) || !has(b.region) || a.region == b.region", &[]);
    needs("has(a.region) && has(b.region)", &["region"]);
    needs("a.region == b.region || a.region == 'any' && b.role == 'x'", &["region as a"]);
    needs("a.role == 'driver' ? a.rating >= 4.0 : b.rating >= 4.0", &["role as a"]);
    needs("a.role == 'driver' ? a.rating >= 4.0 : a.rating >= 3.0", &["role as a", "rating as a"]);
    needs("!(a.role in b.tags)", &["role as a", "tags as b"]);
    needs("!(a.role in b.tags) && !(b.role in a.tags)", &["role", "tags"]);
    needs("a.mode in [a.skill, 1] && !(b.mode in [b.skill, 1])", &["mode", "skill as b"]);
    needs("(a.vip && a.mode == 1) == (b.vip || b.mode == 1)", &[]);
    needs("max(a.x, b.x) - min(a.y, 0.0) < a.width", &["width as a", "x", "y as a"]);
    needs("true", &[]);
    needs("a.mode == 1 && false", &[]);
}

#[test]
fn a_negation_that_needs_what_may_be_missing_is_told() {
    let without = |names: &str, guard: &str| {
        format!(
            "an element without {names} never matches, since the ! of what is missing is missing; to let it match, \
             write !has({guard}) || ..."
        )
    };
    let both = "!(a.role in b.tags) && !(b.role in a.tags) && a.role != b.role";
    warns(both, &[&without("tags", "b.tags")]);
    warns("!a.vip && !b.vip", &[&without("vip", "b.vip")]);
    let disjoint = rule("!a.tags.intersects(b.tags)").plan().warnings().to_vec();
    assert_eq!(disjoint.last().unwrap().to_string(), without("tags", "b.tags"));
    warns("!(a.role in ['bot']) && !(b.role in ['bot'])", &[&without("role", "b.role")]);
    let one_sided = rule("!(a.role in b.tags) && a.role == b.role").plan().warnings().to_vec();
    assert!(one_sided.iter().any(|warning| warning.to_string() == without("tags as b", "b.tags")), "{one_sided:?}");
    // Nothing is said where it is guarded, or needed anyway.
    warns("(!has(b.tags) || !(a.role in b.tags)) && (!has(a.tags) || !(b.role in a.tags)) && a.role != b.role", &[]);
    warns("(has(b.tags) ? !(a.role in b.tags) : true) && (has(a.tags) ? !(b.role in a.tags) : true)", &[]);
    warns("!(a.role in ['bot']) && !(b.role in ['bot']) && a.role == b.role", &[]);
}

#[test]
fn comparisons_that_are_not_reached_within_a_time_waited_are_told() {
    let unreached = |source: &str, waited_max: [i64; 2], texts: &[&str]| {
        assert_eq!(rule(source).plan().unreached(waited_max), texts, "{source}");
    };
    let (never, late) = ([i64::MAX, 10_001], [60_000, 10_001]);
    unreached("min(a.waited, b.waited) > 10000", never, &[]);
    unreached("min(a.waited, b.waited) > 10001", never, &["min(a.waited, b.waited) > 10001"]);
    unreached("max(a.waited, b.waited) > 70000", never, &[]);
    unreached("max(a.waited, b.waited) > 70000", late, &["max(a.waited, b.waited) > 70000"]);
    unreached("a.waited > 20000 && b.waited > 20000", late, &["b.waited > 20000"]);
    unreached("a.vip == b.vip || b.waited + 5 > 20000", late, &["b.waited + 5 > 20000"]);
    unreached("!(b.waited < 20000)", late, &["b.waited >= 20000"]);
    unreached("b.waited < 20000 ? a.vip : b.vip", late, &["b.waited >= 20000"]);
    unreached("abs(a.skill - b.skill) <= 25 + min(a.waited, b.waited) / 1000", late, &[]);
    unreached("b.waited < 20000", late, &[]);
    // That never holds anyway.
    unreached("b.waited < 0", late, &[]);
    // Each part is looked at once: twice at every level would never end.
    let nested = (0..60).fold("b.waited > 20000".to_owned(), |inner, _| format!("({inner}?a.vip:b.vip)"));
    unreached(&nested, late, &["b.waited > 20000"]);
}

/// Every attribute of the key was said to be needed, those of a branch not taken and of an undecided `||` too.
#[test]
fn bug_what_a_key_can_do_without_was_said_to_be_needed() {
    needs("(a.vip ? a.mode : a.skill) == (b.vip ? b.mode : b.skill)", &["vip"]);
    needs("(a.vip || a.mode == 1) == (b.vip || b.mode == 1)", &[]);
    needs("(a.mode in [a.skill, 1]) == (b.mode in [b.skill, 1])", &["mode"]);
    let vip = element(&[("vip", true.into())]);
    assert_eq!(rule("(a.vip || a.mode == 1) == (b.vip || b.mode == 1)").test(side(&vip), side(&vip)), Ok(true));
}

#[test]
fn a_key_is_told_with_an_elements_values() {
    let text = |source: &str, values: &[(&str, Value)]| rule(source).plan().key_text(&element(values));
    let both = "a.region == b.region && a.mode == b.mode";
    assert_eq!(text(both, &[("region", "eu".into()), ("mode", 2.into())]).unwrap(), "region = \"eu\", mode = 2");
    assert_eq!(text(both, &[("region", "eu".into())]), None);
    let mirrored = "a.wants == b.role && b.wants == a.role";
    let values = [("wants", "tank".into()), ("role", "healer".into())];
    assert_eq!(text(mirrored, &values).unwrap(), "{wants, role} = {\"tank\", \"healer\"}");
}
