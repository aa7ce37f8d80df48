//! That a tree is what its invariants say.

use super::{Kind, NOBODY, Tree};
use crate::table::block::{LANES, lanes_of};
use crate::table::layout::Layout;
use crate::table::slab::Slab;

impl Tree {
    /// Looks at everything: the invariants, and that each element of `slab` that is here is where its place says.
    /// Returns the elements, and the levels.
    pub(in crate::table) fn check(&self, layout: &Layout, slab: &Slab) -> (u32, usize) {
        let (mut leaves, mut deepest) = (0, 0);
        let mut stack = vec![(0u32, 1)];
        while let Some((node, level)) = stack.pop() {
            deepest = deepest.max(level);
            let of = &self.nodes[node as usize];
            match of.kind {
                Kind::Inner { dim, at, children } => {
                    let both = [children, children + 1].map(|child| self.nodes[child as usize]);
                    assert_eq!(of.live, both[0].live + both[1].live);
                    assert_eq!(of.first_id, both[0].first_id.min(both[1].first_id));
                    assert!(both.iter().all(|child| child.parent == node && child.last_id <= of.last_id));
                    let dim = usize::from(dim);
                    let (left, right) = (self.bounds(children), self.bounds(children + 1));
                    assert!(left.0[dim] < at || both[0].live == 0, "keys below are on the left");
                    assert!(right.1[dim] >= at || both[1].live == 0, "others are on the right");
                    stack.extend([(children, level + 1), (children + 1, level + 1)]);
                }
                Kind::Leaf { run, .. } => {
                    leaves += 1;
                    let run = &self.runs[run as usize];
                    assert_eq!(of.live, run.live);
                    let first = run.first().map_or(NOBODY, |slot| slab.ids[slot as usize]);
                    assert_eq!(of.first_id, first);
                    let ids: Vec<u64> = run.slots().map(|slot| slab.ids[slot as usize]).collect();
                    assert!(ids.is_sorted() && ids.len() == of.live as usize && !ids.contains(&u64::MAX));
                    assert!(ids.last().is_none_or(|&last| last <= of.last_id));
                    let (low, high) = self.bounds(node);
                    for (number, block) in run.blocks.iter().enumerate() {
                        for lane in lanes_of(block.live) {
                            assert_eq!(block.wild >> lane & 1, 0, "wild ones are elsewhere");
                            assert_eq!(slab.places[block.slot(lane) as usize] as usize, number * LANES + lane);
                            let keys = layout.keys_of(|strip| block.word(strip, lane));
                            assert!((0..self.dims).all(|dim| (low[dim]..=high[dim]).contains(&keys[dim])));
                        }
                    }
                }
            }
        }
        assert_eq!(leaves, self.leaves);
        (self.nodes[0].live + self.wild.live, deepest)
    }
}
