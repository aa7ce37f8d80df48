//! Who has anything to do with a run of events.

use dovetail_core::{Audience, EventId, ShardId, SliceId, audience::AudiencePair};

use crate::storage_pb;

/// From the wire. What is absent, or makes no sense, concerns all: that is always safe.
#[must_use]
pub fn audience(audience: Option<storage_pb::Audience>) -> Audience {
    let Some(storage_pb::Audience { slices, shards, events }) = audience else { return Audience::All };
    if slices.len() != events.len() || shards.len() != events.len() {
        return Audience::All;
    }
    let pairs = slices.into_iter().zip(shards).zip(events);
    let pairs = pairs.map(|((slice, shard), last)| AudiencePair {
        slice: SliceId(slice),
        shard: ShardId(shard),
        last: EventId(last),
    });
    Audience::Pairs(pairs.collect())
}

/// As sent.
#[must_use]
pub fn audience_pb(audience: &Audience) -> Option<storage_pb::Audience> {
    let Audience::Pairs(pairs) = audience else { return None };
    Some(storage_pb::Audience {
        slices: pairs.iter().map(|pair| pair.slice.0).collect(),
        shards: pairs.iter().map(|pair| pair.shard.0).collect(),
        events: pairs.iter().map(|pair| pair.last.0).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_went_and_what_makes_no_sense_concerns_all() {
        let pair =
            |slice, shard, last| AudiencePair { slice: SliceId(slice), shard: ShardId(shard), last: EventId(last) };
        for told in [Audience::All, Audience::nobody(), Audience::Pairs(vec![pair(0, 2, 7), pair(5, 1, u64::MAX)])] {
            assert_eq!(audience(audience_pb(&told)), told);
        }
        assert_eq!(
            audience(Some(storage_pb::Audience { slices: vec![1], shards: vec![1], events: vec![] })),
            Audience::All
        );
    }
}
