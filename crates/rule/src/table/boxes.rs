//! The leaves of a tree side by side, so that one look tells which of 64 leaves a probe wants: where a distance is
//! searched, a probe wants so many that to go down to each of them costs more than the leaves themselves.
//!
//! Boxes are `f32`, rounded outwards, and so is what a probe asks of them (`region.rs`): a leaf that is left out has
//! nothing that the probe wants (region.R1).

use crate::table::region::{Group, LEAVES};
use crate::table::tree::{At, Tree};

/// Of more leaves than this a tree has to be gone down.
const LEAVES_MAX: usize = 1024;

/// The leaves of a tree that have elements. A buffer that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Boxes {
    groups: Vec<Group>,
    /// Those of the groups that are in use, by leaf.
    nodes: Vec<u32>,
    stack: Vec<u32>,
}

impl Boxes {
    /// Takes the leaves of a tree as they are now. False if there are too many.
    pub(super) fn set(&mut self, tree: &Tree) -> bool {
        let Boxes { groups, nodes, stack } = self;
        nodes.clear();
        stack.clear();
        stack.push(0);
        while let Some(node) = stack.pop() {
            if tree.first_id(node).is_none() {
                continue;
            }
            match tree.at(node) {
                At::Inner(children) => stack.extend(children),
                At::Leaf(_) if nodes.len() == LEAVES_MAX => return false,
                At::Leaf(_) => {
                    let (group, leaf) = (nodes.len() / LEAVES, nodes.len() % LEAVES);
                    if group == groups.len() {
                        groups.push(Group::default());
                    }
                    let Group { low, high } = &mut groups[group];
                    let (lowest, highest) = tree.bounds(node);
                    low.resize(lowest.len(), [0.0; LEAVES]);
                    high.resize(highest.len(), [0.0; LEAVES]);
                    for (dim, (&lowest, &highest)) in lowest.iter().zip(highest).enumerate() {
                        low[dim][leaf] = (lowest as f32).next_down();
                        high[dim][leaf] = (highest as f32).next_up();
                    }
                    nodes.push(node);
                }
            }
        }
        true
    }

    /// The leaves, by groups: their nodes.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Group, &[u32])> {
        self.groups.iter().zip(self.nodes.chunks(LEAVES))
    }

    pub(super) fn bytes(&self) -> usize {
        let lines = self.groups.iter().map(|group| group.low.capacity() + group.high.capacity()).sum::<usize>();
        let groups = self.groups.capacity() * size_of::<Group>();
        lines * size_of::<[f32; LEAVES]>() + groups + (self.nodes.capacity() + self.stack.capacity()) * 4
    }
}
