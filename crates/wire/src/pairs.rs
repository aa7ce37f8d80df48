//! What events found, granted and decided of pairs of elements, as columns of numbers.
//!
//! An event is sent as its distance from the lowest, an element as its distance from its event: most fit 4 bytes, and
//! those of a column that are all 0 are not sent. What comes in is checked: sizes, and that each number is an id at or
//! below its event. What goes out cannot fail: a number that no reader takes stands for an id that is none.

use bytes::Bytes;
use dovetail_core::{Claim, ElementId, EventId, Grant, Retirement, WithdrawalNotice};

use super::error::{ConvertError, PairsError};
use crate::node_pb;

/// Most bytes of a pair.
pub(super) const PAIR_BYTES: usize = 24;
/// Most bytes that columns of pairs take beside the pairs.
pub(super) const PAIRS_HEAD_BYTES: usize = 64;

/// An event with the element it is about, and an anchor if there is one.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    x: EventId,
    element: ElementId,
    anchor: Option<ElementId>,
}

impl Pair {
    /// How far each element is from its event. An anchor arrived before its event, so that 0 stands for none.
    fn distances(self) -> [u64; 2] {
        let Pair { x, element, anchor } = self;
        let element = x.0.checked_sub(element.0).unwrap_or(u64::MAX);
        let anchor = anchor.map_or(0, |anchor| x.0.checked_sub(anchor.0).filter(|&back| back > 0).unwrap_or(u64::MAX));
        [element, anchor]
    }
}

/// What is sent as a pair.
pub(super) trait OfPair: Copy + Sized {
    /// Whether each has an anchor.
    const ANCHORED: bool;

    /// As one.
    fn pair(self) -> Pair;

    /// From one, which has an anchor if each has.
    fn of(pair: Pair) -> Self;
}

impl OfPair for Retirement {
    const ANCHORED: bool = false;

    fn pair(self) -> Pair {
        Pair { x: self.x, element: self.element, anchor: self.anchor }
    }

    fn of(Pair { x, element, anchor }: Pair) -> Retirement {
        Retirement { x, element, anchor }
    }
}

impl OfPair for Claim {
    const ANCHORED: bool = true;

    fn pair(self) -> Pair {
        Pair { x: self.x, element: self.prober, anchor: Some(self.anchor) }
    }

    fn of(Pair { x, element, anchor }: Pair) -> Claim {
        Claim { x, prober: element, anchor: anchor.expect("each has one") }
    }
}

impl OfPair for Grant {
    const ANCHORED: bool = true;

    fn pair(self) -> Pair {
        Pair { x: self.x, element: self.prober, anchor: Some(self.anchor) }
    }

    fn of(Pair { x, element, anchor }: Pair) -> Grant {
        Grant { x, prober: element, anchor: anchor.expect("each has one") }
    }
}

impl OfPair for WithdrawalNotice {
    const ANCHORED: bool = false;

    fn pair(self) -> Pair {
        Pair { x: self.x, element: self.element, anchor: None }
    }

    fn of(Pair { x, element, .. }: Pair) -> WithdrawalNotice {
        WithdrawalNotice { x, element }
    }
}

/// Pairs as sent; absent when there are none.
pub(super) fn pairs_pb<T: OfPair>(of: &[T]) -> Option<node_pb::PairColumns> {
    let lowest = of.iter().map(|&one| one.pair().x.0).min()?;
    // The bits of all: what is above the highest of them is needed by none.
    let [mut events, mut elements, mut anchors] = [0; 3];
    for &one in of {
        let pair = one.pair();
        let [element, anchor] = pair.distances();
        events |= pair.x.0 - lowest;
        elements |= element;
        anchors |= anchor;
    }
    Some(node_pb::PairColumns {
        count: u32::try_from(of.len()).expect("a message has fewer"),
        lowest,
        events: column(of, events.max(1), |pair| pair.x.0 - lowest),
        elements: column(of, elements, |pair| pair.distances()[0]),
        anchors: column(of, anchors, |pair| pair.distances()[1]),
    })
}

/// A column of numbers that have no other bits than these.
fn column<T: OfPair>(of: &[T], bits: u64, number: impl Fn(Pair) -> u64) -> Bytes {
    let numbers = of.iter().map(|&one| number(one.pair()));
    match u32::try_from(bits) {
        Ok(0) => Bytes::new(),
        Ok(_) => packed(numbers.map(|number| (number as u32).to_le_bytes())),
        Err(_) => packed(numbers.map(u64::to_le_bytes)),
    }
}

fn packed<const N: usize>(numbers: impl ExactSizeIterator<Item = [u8; N]>) -> Bytes {
    let mut bytes = vec![0; N * numbers.len()];
    bytes.as_chunks_mut().0.iter_mut().zip(numbers).for_each(|(place, number)| *place = number);
    bytes.into()
}

/// Pairs from the wire.
///
/// # Errors
/// When the columns do not fit each other, or an id is none, or above its event.
pub(super) fn pairs<T: OfPair>(
    field: &'static str,
    sent: Option<&node_pb::PairColumns>,
) -> Result<Vec<T>, ConvertError> {
    sent.map_or_else(|| Ok(Vec::new()), read).map_err(|source| ConvertError::Pairs { field, source })
}

fn read<T: OfPair>(sent: &node_pb::PairColumns) -> Result<Vec<T>, PairsError> {
    let &node_pb::PairColumns { count, lowest, .. } = sent;
    let count = count as usize;
    let events = Numbers::read("events", count, &sent.events)?;
    let elements = Numbers::read("elements", count, &sent.elements)?;
    let anchors = Numbers::read("anchors", count, &sent.anchors)?;
    if count > 0 && matches!(events, Numbers::Zeros) {
        // Each takes bytes, so that a reader takes no more than what it is sent lets it expect.
        return Err(PairsError::Empty { column: "events", count });
    }
    let pair = |index| {
        let distance = events.get(index);
        let bounds = |column, found, least, most| PairsError::Number { column, index, found, least, most };
        let x = lowest.checked_add(distance).filter(|&x| x > 0);
        let x = x.ok_or_else(|| bounds("events", distance, u64::from(lowest == 0), u64::MAX - lowest))?;
        let id = |column, back: u64, least| match x.checked_sub(back) {
            Some(id @ 1..) => Ok(ElementId(id)),
            _ => Err(bounds(column, back, least, x - 1)),
        };
        let element = id("elements", elements.get(index), 0)?;
        let anchor = match anchors.get(index) {
            0 if T::ANCHORED => return Err(bounds("anchors", 0, 1, x - 1)),
            0 => None,
            back => Some(id("anchors", back, u64::from(T::ANCHORED))?),
        };
        Ok(T::of(Pair { x: EventId(x), element, anchor }))
    };
    let mut read = Vec::with_capacity(count);
    for index in 0..count {
        read.push(pair(index)?);
    }
    Ok(read)
}

/// A column of little-endian numbers.
enum Numbers<'a> {
    Zeros,
    Narrow(&'a [[u8; 4]]),
    Wide(&'a [[u8; 8]]),
}

impl Numbers<'_> {
    fn read<'a>(column: &'static str, count: usize, bytes: &'a Bytes) -> Result<Numbers<'a>, PairsError> {
        let found = bytes.len();
        match found {
            0 => Ok(Numbers::Zeros),
            _ if found == count.saturating_mul(4) => Ok(Numbers::Narrow(bytes.as_chunks().0)),
            _ if found == count.saturating_mul(8) => Ok(Numbers::Wide(bytes.as_chunks().0)),
            _ => Err(PairsError::Width { column, found, count }),
        }
    }

    #[inline]
    fn get(&self, index: usize) -> u64 {
        match self {
            Numbers::Zeros => 0,
            Numbers::Narrow(numbers) => u32::from_le_bytes(numbers[index]).into(),
            Numbers::Wide(numbers) => u64::from_le_bytes(numbers[index]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    const FAR: u64 = 1 << 40;

    fn retirement(x: u64, element: u64, anchor: u64) -> Retirement {
        Retirement { x: EventId(x), element: ElementId(element), anchor: (anchor > 0).then_some(ElementId(anchor)) }
    }

    fn check<T: OfPair + Debug + PartialEq>(of: &[T], bytes: [usize; 3]) {
        let sent = pairs_pb(of);
        let sizes = sent.as_ref().map_or([0; 3], |sent| [&sent.events, &sent.elements, &sent.anchors].map(Bytes::len));
        assert_eq!((pairs("settled", sent.as_ref()).unwrap(), sizes), (of.to_vec(), bytes));
    }

    #[test]
    fn pairs_come_back_as_they_went_in_few_bytes() {
        check::<Retirement>(&[], [0; 3]);
        check(&[retirement(1, 1, 0)], [4, 0, 0]);
        check(&[retirement(9, 9, 4), retirement(7, 7, 1), retirement(9, 8, 0)], [12, 12, 12]);
        check(&[retirement(FAR, FAR, FAR - 1), retirement(FAR + 1, FAR + 1, FAR)], [8, 0, 8]);
        check(&[retirement(FAR, FAR, FAR - 1), retirement(FAR + 1, 3, 2)], [8, 16, 16]);
        check(&[retirement(1, 1, 0), retirement(FAR, FAR, FAR - 1)], [16, 0, 8]);
        check(&[retirement(u64::MAX, u64::MAX, 1), retirement(u64::MAX, 1, 0)], [8, 16, 16]);
        check(&[Claim { x: EventId(5), prober: ElementId(2), anchor: ElementId(3) }], [4, 4, 4]);
        check(&[Grant { x: EventId(5), prober: ElementId(5), anchor: ElementId(3) }], [4, 0, 4]);
        check(&[WithdrawalNotice { x: EventId(5), element: ElementId(1) }], [4, 4, 0]);
    }

    // What a node makes of nonsense that another sent is refused where it goes, and ends nothing here.
    #[test]
    fn an_id_above_its_event_is_sent_as_one_that_no_reader_takes() {
        for of in [retirement(5, 6, 0), retirement(5, 5, 6), retirement(5, 5, 5)] {
            assert!(pairs::<Retirement>("settled", pairs_pb(&[of]).as_ref()).is_err(), "{of:?}");
        }
    }

    /// Two pairs: of event 10 with element 8 and anchor 7, of event 13 with element 13 and none.
    fn sent() -> node_pb::PairColumns {
        let column = |numbers: [u32; 2]| Bytes::copy_from_slice(numbers.map(u32::to_le_bytes).as_flattened());
        node_pb::PairColumns {
            count: 2,
            lowest: 10,
            events: column([0, 3]),
            elements: column([2, 0]),
            anchors: column([3, 0]),
        }
    }

    #[test]
    fn columns_that_are_none_are_refused_with_the_field_the_value_and_the_bound() {
        let refused = |change: &dyn Fn(&mut node_pb::PairColumns), says: &str| {
            let mut sent = sent();
            change(&mut sent);
            assert_eq!(pairs::<Retirement>("settled", Some(&sent)).unwrap_err().to_string(), says);
        };
        assert_eq!(pairs("settled", Some(&sent())), Ok(vec![retirement(10, 8, 7), retirement(13, 13, 0)]));
        let of = |numbers: &'static [u8]| Bytes::from_static(numbers);
        refused(&|sent| sent.count = 3, "settled: events has 8 bytes; 3 numbers take 4 each, or 8");
        refused(&|sent| sent.count = u32::MAX, "settled: events has 8 bytes; 4294967295 numbers take 4 each, or 8");
        refused(&|sent| sent.count = 0, "settled: events has 8 bytes; 0 numbers take 4 each, or 8");
        refused(&|sent| sent.events = of(&[]), "settled: events has 0 bytes; 2 numbers take 4 each, or 8");
        refused(&|sent| sent.elements = of(&[0; 7]), "settled: elements has 7 bytes; 2 numbers take 4 each, or 8");
        refused(&|sent| sent.anchors = of(&[0; 24]), "settled: anchors has 24 bytes; 2 numbers take 4 each, or 8");
        refused(
            &|sent| sent.elements = of(&[2, 0, 0, 0, 13, 0, 0, 0]),
            "settled: number 1 of elements is 13, not from 0 to 12",
        );
        refused(
            &|sent| sent.anchors = of(&[10, 0, 0, 0, 0, 0, 0, 0]),
            "settled: number 0 of anchors is 10, not from 0 to 9",
        );
        refused(&|sent| sent.lowest = u64::MAX - 2, "settled: number 1 of events is 3, not from 0 to 2");
        refused(
            &|sent| (sent.lowest, sent.elements) = (0, of(&[])),
            "settled: number 0 of events is 0, not from 1 to 18446744073709551615",
        );
        let claims = pairs::<Claim>("claims", Some(&sent())).unwrap_err().to_string();
        assert_eq!(claims, "claims: number 1 of anchors is 0, not from 1 to 12");
    }
}
