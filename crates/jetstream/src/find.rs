//! Where a copy goes on: the group that ends with its last event.
//!
//! A search between the floor and the last group, which asks the leader. What the leader lacks is asked of other
//! replicas before a copy is refused.

use dovetail_log::shared::{Position, SharedReadError};

use crate::encoding::Said;
use crate::stream::{GroupAt, LogStream, MISSING, damaged};

impl LogStream {
    /// Where a copy goes on that ends with an event.
    pub async fn find(&self, through: u64) -> Result<Position, SharedReadError> {
        loop {
            let state = self.state().await?;
            let floor = state.floor();
            match self.find_above(floor, state.last, through).await {
                // It may have been forgotten while it was looked for.
                Err(SharedReadError::AnotherLog { .. } | SharedReadError::Trimmed { .. })
                    if self.state().await?.floor() != floor => {}
                found => return found,
            }
        }
    }

    async fn find_above(&self, floor: u64, end: u64, through: u64) -> Result<Position, SharedReadError> {
        let first = self.first_group(floor, end).await?;
        let begins_after = first.as_ref().map_or(self.identity.begins_after, |first| first.group.after);
        if through == begins_after {
            return Ok(Position(floor));
        }
        if through < begins_after {
            return Err(SharedReadError::Trimmed { after: Position::ZERO, floor: Position(floor) });
        }
        let last = self.last_group().await?;
        let ends_with = last.as_ref().map_or(begins_after, |last| last.group.through());
        let another = SharedReadError::AnotherLog { through, last: ends_with };
        let (Some(first), Some(last)) = (first, last) else { return Err(another) };
        if through > ends_with {
            return Err(another);
        }
        // The first group that ends there or later is at `from` or behind it; `found` is the first from `until` on.
        let (mut from, mut until, mut found) = (first.at, last.at, last);
        while from < until {
            let middle = from + (until - from) / 2;
            let Some(group) = self.group_from(middle).await? else { return Err(damaged(middle, MISSING)) };
            if group.group.through() < through {
                from = group.at + 1;
            } else {
                (until, found) = (middle, group);
            }
        }
        if found.group.through() == through {
            return Ok(Position(found.at));
        }
        if found.group.after < through {
            return Err(another);
        }
        // Groups are before it that the leader lacks.
        for at in (first.at..found.at).rev() {
            match self.said_at(at).await? {
                Said::Group { group, .. } if group.through() == through => return Ok(Position(at)),
                Said::Group { group, .. } if group.through() < through => break,
                Said::Group { .. } | Said::Term { .. } | Said::Reminder(_) => {}
            }
        }
        Err(another)
    }

    /// The first group above the floor, also if the leader lacks it.
    async fn first_group(&self, floor: u64, end: u64) -> Result<Option<GroupAt>, SharedReadError> {
        for at in floor + 1..=end {
            if let Said::Group { term, group } = self.said_at(at).await? {
                return Ok(Some(GroupAt { at, term, group }));
            }
        }
        Ok(None)
    }
}
