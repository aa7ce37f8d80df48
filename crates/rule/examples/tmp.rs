use dovetail_rule::*;
fn main() {
    let kinds = [
        ("region", ValueKind::String),
        ("mode", ValueKind::Int),
        ("role", ValueKind::String),
        ("skill", ValueKind::Int),
        ("mmr", ValueKind::Double),
        ("tol", ValueKind::Double),
        ("tags", ValueKind::StringList),
        ("wants", ValueKind::String),
        ("vip", ValueKind::Bool),
        ("x0", ValueKind::Double),
        ("x1", ValueKind::Double),
        ("x2", ValueKind::Double),
        ("from", ValueKind::String),
        ("to", ValueKind::String),
    ];
    let schema = Schema::new(kinds.map(|(n, k)| (n.to_owned(), k))).unwrap();
    for s in [
        "a.region == b.region && a.mode == b.mode && abs(a.skill - b.skill) <= 25",
        "a.region == b.region && a.role != b.role && abs(a.skill - b.skill) <= 25 + 5 * min(a.waited, b.waited) / 1000",
        "a.region == b.region && a.role != b.role && abs(a.mmr - b.mmr) <= 25 + 5 * min(a.waited, b.waited) / 1000",
        "(a.x0-b.x0)*(a.x0-b.x0) + (a.x1-b.x1)*(a.x1-b.x1) + (a.x2-b.x2)*(a.x2-b.x2) < 0.0445",
        "true",
        "a.skill == b.skill && a.skill != b.skill",
        "a.from == b.to && b.from == a.to",
        "a.tags.intersects(b.tags) && a.wants == b.role && b.wants == a.role && (a.vip || b.vip || abs(a.skill-b.skill) < 10)",
        "abs(a.mmr - b.mmr) <= a.tol && abs(a.mmr - b.mmr) <= b.tol",
        "abs(a.mmr - b.mmr) <= min(a.tol, b.tol)",
        "a.role in ['tank', 'healer'] && b.role == 'dps' && a.region < b.region",
        "a.skill > b.skill",
        "abs(a.skill) < 0",
        "a.region.contains(b.region) || a.vip",
        "a.role in b.tags && !(a.region == b.region || a.mode % 3 == b.mode % 3)",
        "a.skill / 100 == b.skill / 100 && a.mode < 3 && b.mode < 3 && a.mode > 5",
        "size(a.tags) + 1 > b.mode && a.region.startsWith(b.region) && a.tags.intersects(b.tags) == b.vip",
        "-5 <= a.skill - b.skill && a.skill - b.skill <= 5",
    ] {
        println!("{s}\n{}", Rule::compile(s, &schema).unwrap().plan());
    }
}
