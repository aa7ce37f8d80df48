use crate::expr::End;
use crate::filter::*;
use crate::*;
#[test]
fn bench() {
    let mut kinds: Vec<(String, ValueKind)> = [
        ("region", ValueKind::String),
        ("mode", ValueKind::Int),
        ("skill", ValueKind::Int),
        ("cell", ValueKind::Int),
        ("side", ValueKind::Int),
        ("d", ValueKind::Double),
        ("tol", ValueKind::Double),
    ]
    .map(|(n, k)| (n.to_owned(), k))
    .into();
    for k in 0..8 {
        kinds.push((format!("x{k}"), ValueKind::Double));
    }
    let schema = Schema::new(kinds).unwrap();
    let w5: Vec<String> = (0..8).map(|k| format!("(a.x{k}-b.x{k})*(a.x{k}-b.x{k})")).collect();
    let w5 = format!("{} < 0.0445", w5.join(" + "));
    let vals: Vec<Option<Value>> = schema
        .attributes()
        .iter()
        .map(|a| {
            Some(match a.kind {
                ValueKind::String => "europe-west".into(),
                ValueKind::Int => Value::Int(17),
                _ => Value::Double(0.3),
            })
        })
        .collect();
    let row = Row::new(&schema, vals).unwrap();
    for s in [
        "a.mode == b.mode && abs(a.skill - b.skill) <= 25",
        "a.region == b.region && a.mode == b.mode && abs(a.skill - b.skill) <= 25",
        "a.cell == b.cell && a.side != b.side",
        "true",
        &w5,
        "a.region == b.region && abs(a.d - b.d) <= 25 + 5 * min(a.waited, b.waited) / 1000",
        "abs(a.d - b.d) <= a.tol && abs(a.d - b.d) <= b.tol",
        "a.cell in [b.skill, b.cell, b.mode]",
    ] {
        let rule = Rule::compile(s, &schema).unwrap();
        let plan = rule.plan();
        let mut asked = Asked::default();
        let probe = Probe { side: Side { row: &row, waited_ms: 10 }, oldest_waited_ms: 1000 };
        let n = 2_000_000;
        for end in [End::A, End::B] {
            let t = std::time::Instant::now();
            for _ in 0..n {
                plan.ask(end, std::hint::black_box(&probe), &|_| 7, &mut asked);
                std::hint::black_box(&asked.bounds);
            }
            print!("ask {:.1} ns ", t.elapsed().as_nanos() as f64 / n as f64);
        }
        let t = std::time::Instant::now();
        for _ in 0..n {
            std::hint::black_box(plan.key_hash(std::hint::black_box(&row)));
        }
        println!("hash {:.1} ns  {s}  {:?}", t.elapsed().as_nanos() as f64 / n as f64, asked.bounds);
        let t = std::time::Instant::now();
        for _ in 0..1000 {
            std::hint::black_box(Rule::compile(std::hint::black_box(s), &schema).unwrap());
        }
        println!("   compile {} us", t.elapsed().as_micros() as f64 / 1000.);
    }
}
