//! What a search does with a rule: the key that keeps elements apart, the columns that turn anchors away, and what is
//! left to the rule itself.
//!
//! A plan decides nothing. Invariants: plan.P1 a pair that the rule is true or an error on has equal key hashes and
//! passes the filter of either role, see [`filter`](crate::filter); plan.P2 a plan is a function of the rule and its
//! schema.
//!
//! The rule is brought into [`normal`] form and split into conjuncts. Equalities that partition are the [`key`]; what
//! the columns can tell is [`lower`]ed into a filter, once for anchors that are `a` and once for those that are `b`;
//! the rest is residual. For a probe, [`ask`] sets the filter's bounds.

mod ask;
mod comparison;
mod conjunct;
mod distance;
mod draft;
mod exact;
mod key;
mod lower;
mod needed;
mod normal;
mod number;
mod numeric;
mod ordered;
mod probing;
mod shape;
mod show;
mod symmetry;
#[cfg(test)]
mod tests;
mod tolerance;
mod warning;

pub use conjunct::{Conjunct, ConjunctRole, Verdict};
pub use needed::Needed;
pub use warning::Warning;

use std::fmt::{self, Write};

use crate::cells::Cells;
use crate::cost::cost;
use crate::expr::{End, Expr};
use crate::filter::{Asked, Column, Node, Probe, Sum};
use crate::row::Row;
use crate::secret::Secret;
use draft::{Draft, Filter};
use key::{Key, Share};
use lower::Kept;
use probing::Probing;

/// How a rule is searched. [`Rule::plan`](crate::Rule::plan) has it; `Display` prints it for people.
#[derive(Debug)]
pub struct Plan {
    conjuncts: Box<[Conjunct]>,
    needed: Box<[Needed]>,
    warnings: Box<[Warning]>,
    key: Key,
    columns: Box<[Column]>,
    sums: Box<[Sum]>,
    /// By the anchors' end.
    filters: [Filter; 2],
    /// The attributes of the key, if what passes the filter need not be tested.
    exact: Option<Box<[usize]>>,
    /// The columns by which a large bucket may be ordered.
    ordered: Box<[usize]>,
}

/// How the search among a pool's elements is shared out. Prints as `key`, `one` and `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Elements of one key are searched by one slice.
    Key,
    /// Every pair matches: one slice takes all elements, since the first two there are match.
    One,
    /// Every slice has a share of the elements, and is asked about each.
    Index,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Split::Key => "key",
            Split::One => "one",
            Split::Index => "index",
        })
    }
}

impl Plan {
    /// The plan of a checked rule.
    pub(crate) fn new(rule: &Expr) -> Plan {
        let exprs = normal::conjuncts(rule);
        let (key, shares) = Key::of(&exprs);
        let mut kept = Kept::default();
        let [of_a, of_b] = [End::A, End::B].map(|anchor| Draft::new(anchor, &exprs, &shares, &mut kept));
        let ranks: Vec<f64> = of_a.ranks.iter().zip(&of_b.ranks).map(|(a, b)| a.min(*b)).collect();
        let mut conjuncts: Vec<(f64, Conjunct)> = Vec::with_capacity(exprs.len());
        for (index, expr) in exprs.into_iter().enumerate() {
            let how = joined(&of_a.how[index], &of_b.how[index]);
            let role = match shares[index] {
                Share::Whole | Share::Half => ConjunctRole::Key,
                Share::None if ranks[index].is_finite() => ConjunctRole::Columns,
                Share::None => ConjunctRole::Residual,
            };
            let cost = cost(&expr);
            let rank = match role {
                ConjunctRole::Key => 0.0,
                ConjunctRole::Columns => ranks[index],
                ConjunctRole::Residual => cost as f64,
            };
            conjuncts.push((rank, Conjunct { expr, role, how, cost }));
        }
        // Stable: what is alike stays in the order written.
        conjuncts.sort_by(|(left, one), (right, other)| one.role.cmp(&other.role).then(left.total_cmp(right)));
        let conjuncts: Box<[Conjunct]> = conjuncts.into_iter().map(|(_, conjunct)| conjunct).collect();
        let needed: Box<[Needed]> = needed::needed(&conjuncts).into();
        let warnings = warning::warnings(&conjuncts, &needed).into();
        let filters = [of_a.filter, of_b.filter];
        let Kept { columns, sums } = kept;
        let exact = exact::exact(&conjuncts, &key, &filters);
        let ordered = ordered::ordered(&filters, &columns, &sums);
        Plan { conjuncts, needed, warnings, key, columns: columns.into(), sums: sums.into(), filters, exact, ordered }
    }

    /// The parts that must all hold, in the order they are looked at: key, columns (cheapest and most selective first),
    /// residual (cheapest first).
    pub fn conjuncts(&self) -> &[Conjunct] {
        &self.conjuncts
    }

    /// What to know about the rule, most important first.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The attributes that an element never matches without, in the order of the schema.
    pub fn needed(&self) -> &[Needed] {
        &self.needed
    }

    /// The comparisons with `waited` that never hold while `a.waited` and `b.waited` are at most so many milliseconds,
    /// though they could with more.
    pub fn unreached(&self, waited_max: [i64; 2]) -> Vec<String> {
        warning::unreached(&self.conjuncts, waited_max)
    }

    /// Whether the rule has a key, and so the pool is split by it.
    #[inline]
    pub fn keyed(&self) -> bool {
        !self.key.parts.is_empty()
    }

    /// How the search is shared out.
    #[inline]
    pub fn split(&self) -> Split {
        if self.keyed() {
            Split::Key
        } else if self.conjuncts.is_empty() {
            Split::One
        } else {
            Split::Index
        }
    }

    /// The hash of an element's key. Elements that can match have equal hashes; those without one (`None`: a part of
    /// the key is missing) never match. The same on every node and in every version. Without a key all hashes are
    /// equal.
    pub fn key_hash(&self, row: &Row) -> Option<u64> {
        self.key.hash(row)
    }

    /// The hash of an element's key as a [`Table`](crate::table::Table) with this secret tells keys apart. `None` where
    /// [`key_hash`](Plan::key_hash) is. Unlike that one, it takes the secret to make two collide.
    pub fn bucket_hash(&self, row: &Row, secret: Secret) -> Option<u64> {
        self.key.bucket_hash(row, secret)
    }

    /// What [`key_hash`](Plan::key_hash) is of some rows of columns, in their order. The columns are those of the
    /// schema, of the kinds that it declares. `None` where the key is more than plain attributes: then rows have to be
    /// made.
    pub fn key_hashes(
        &self,
        columns: &[Cells<'_>],
        rows: impl Iterator<Item = usize> + Clone,
    ) -> Option<Vec<Option<u64>>> {
        self.key.hashes(columns, rows)
    }

    /// The same of [`bucket_hash`](Plan::bucket_hash).
    pub fn bucket_hashes(
        &self,
        columns: &[Cells<'_>],
        rows: impl Iterator<Item = usize> + Clone,
        secret: Secret,
    ) -> Option<Vec<Option<u64>>> {
        self.key.bucket_hashes(columns, rows, secret)
    }

    /// The parts of the key as CEL: `region`, `double(a.n) / 10.0`, or `{from, to}` for two that are exchanged.
    pub fn key_parts(&self) -> Vec<String> {
        self.key.texts().collect()
    }

    /// The parts of the key with an element's values: `region = "eu", mode = 2`. `None` if a part is missing.
    pub fn key_text(&self, row: &Row) -> Option<String> {
        self.key.text(row)
    }

    /// Which split the pool gets, and why.
    pub fn split_reason(&self) -> String {
        match self.split() {
            Split::Key => format!("by key ({}): elements of two keys never match", self.key_parts().join(", ")),
            Split::One => "none, one slice takes them all: the first two there are match".to_owned(),
            Split::Index => "by element: no equality of both elements' own values keeps elements apart".to_owned(),
        }
    }

    /// What it costs at worst to test one pair that gets through, in units of [`Rule::cost`](crate::Rule::cost).
    pub fn cost(&self) -> u64 {
        self.conjuncts.iter().map(Conjunct::cost).sum()
    }

    fn cost_text(&self) -> String {
        let residual: u64 =
            self.conjuncts.iter().filter(|one| one.role == ConjunctRole::Residual).map(Conjunct::cost).sum();
        if self.conjuncts.is_empty() {
            return "nothing to test".to_owned();
        }
        let mut text = format!("up to {} units for each pair that columns let through", self.cost());
        if residual > 0 {
            let _ = write!(text, ", {residual} of them residual");
        }
        text
    }

    /// What is kept of every waiting element.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The distances leaves look at.
    pub(crate) fn sums(&self) -> &[Sum] {
        &self.sums
    }

    /// Whether pairs are found without testing the rule on them, but for few.
    pub fn is_exact(&self) -> bool {
        self.exact.is_some()
    }

    /// The attributes the key is made of, if the plan is exact: then the rule is true of a pair that agrees in them,
    /// when the filter lets it through on cells that are values and none of its bounds is `Always`.
    pub(crate) fn exact(&self) -> Option<&[usize]> {
        self.exact.as_deref()
    }

    /// The columns by which a large bucket may be ordered, most selective first.
    pub(crate) fn ordered(&self) -> &[usize] {
        &self.ordered
    }

    /// The attributes by which large buckets may be ordered: `skill` of a band, `x` and `y` of a distance. None if they
    /// are always scanned.
    pub fn order(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.ordered.iter().for_each(|&column| ordered::attributes(&self.columns[column].expr, &mut names));
        names
    }

    /// The filter's shape for anchors at this end.
    pub(crate) fn root(&self, anchor: End) -> &Node {
        &self.filters[anchor as usize].root
    }

    /// Sets the bounds of one probe. `symbol` is what a string is called in the columns, [`SYMBOL_UNKNOWN`] if no
    /// element that waits has it, alone or in a list. Allocates nothing once `asked` has grown to what the plan needs.
    ///
    /// [`SYMBOL_UNKNOWN`]: crate::filter::SYMBOL_UNKNOWN
    pub(crate) fn ask(&self, anchor: End, probe: &Probe<'_>, symbol: &dyn Fn(&str) -> u32, asked: &mut Asked) {
        let filter = &self.filters[anchor as usize];
        // The leaves of an exact plan are all asked for.
        if self.exact.is_none() || asked.bounds.len() != filter.bounds.len() {
            asked.bounds.clear();
            asked.bounds.extend_from_slice(&filter.bounds);
        }
        asked.points.clear();
        asked.weights.clear();
        let probing = Probing::new(probe);
        for ask in &filter.asks {
            ask.ask(&probing, symbol, asked);
        }
    }
}

/// What is said of the leaves of both roles, each thing once.
fn joined(left: &[String], right: &[String]) -> String {
    let mut said: Vec<&str> = vec![];
    for text in left.iter().chain(right) {
        if !said.contains(&&**text) {
            said.push(text);
        }
    }
    said.join("; ")
}
