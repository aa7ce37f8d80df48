//! The log as a slice reads it: new elements in columns, all else event by event.
//!
//! A frame has the arrivals of each pool as one set of columns, as the balancer picked them, and says in which order
//! its events and the rows of its columns come. No element is made into a row of its own, and what follows from columns
//! alone (whether they are of the pool's schema, which slice owns which row) is computed once for all slices of a
//! node.
//!
//! Invariants: columns.F1 the steps of a frame ascend and are within it, and each event and each row is in one of
//! them; columns.F2 columns have an entry for each row.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use dovetail_rule::{Cells, LIST_LEN_MAX, Row, RowError, STRING_BYTES_MAX, Schema, Value};
use thiserror::Error;

use crate::{
    Audience, ElementId, Event, EventId, EventKind, LogFrame, Place, Placement, Pool, PoolId, SliceId, Stable,
    batch::{Column, Values, columns_of},
};

/// Events of a frame that are not in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("event {x} is out of order, or not in ({after}, {through}]")]
pub struct OutOfOrder {
    /// The event.
    pub x: EventId,
    /// The event before the frame's first.
    pub after: EventId,
    /// The frame's last event.
    pub through: EventId,
}

/// A run of events that were logged together, with new elements in columns.
pub struct ColumnFrame {
    /// The frame without those.
    head: LogFrame,
    arrivals: Box<[Arrivals]>,
    order: Box<[Span]>,
}

/// Where neighbouring events of a frame are.
enum Span {
    Event(usize),
    Rows { of: usize, rows: Range<usize> },
}

/// What a frame has next.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// An event.
    Event(&'a Event),
    /// Elements of one pool that arrive one after the other, without another event between them: these rows.
    Arrivals(&'a Arrivals, Range<usize>),
}

impl Step<'_> {
    /// The pool in which elements arrive with it, and how many; none of another event.
    pub(crate) fn arrivals(&self) -> Option<(PoolId, usize)> {
        match self {
            Step::Event(Event { kind: EventKind::Arrival { pool, .. }, .. }) => Some((*pool, 1)),
            Step::Event(_) => None,
            Step::Arrivals(arrivals, rows) => Some((arrivals.pool(), rows.len())),
        }
    }
}

impl ColumnFrame {
    /// A frame of single events, and of arrivals that are in columns.
    ///
    /// # Errors
    /// When an event is not above the one before it, or not in the frame.
    pub fn new(events: LogFrame, arrivals: Vec<Arrivals>) -> Result<ColumnFrame, OutOfOrder> {
        let (after, through) = (events.after, events.through);
        let check = |xs: &mut dyn Iterator<Item = EventId>| {
            let mut last = after;
            for x in xs {
                if x <= last || x > through {
                    return Err(OutOfOrder { x, after, through });
                }
                last = x;
            }
            Ok(())
        };
        check(&mut events.events.iter().map(|event| event.x))?;
        arrivals.iter().try_for_each(|arrivals| check(&mut arrivals.xs.iter().copied()))?;
        let frame = ColumnFrame { order: order(&events, &arrivals), head: events, arrivals: arrivals.into() };
        if frame.order.len() > 1 {
            check(&mut frame.order.iter().flat_map(|span| frame.xs_of(span)))?;
        }
        Ok(frame)
    }

    /// How many events it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.events.len() + self.arrivals.iter().map(Arrivals::len).sum::<usize>()
    }

    /// Whether it has none: it says how far the log is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The last event before this frame.
    #[must_use]
    pub fn after(&self) -> EventId {
        self.head.after
    }

    /// The last event of this frame.
    #[must_use]
    pub fn through(&self) -> EventId {
        self.head.through
    }

    /// The time of each of its events, in milliseconds since 1970.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.head.time_ms
    }

    /// The stable cut when the frame was opened.
    #[must_use]
    pub fn stable(&self) -> Stable {
        self.head.stable
    }

    /// The slices and shards that its events concern.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.head.audience
    }

    /// Its events that are not in columns, ascending.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.head.events
    }

    /// Its arrivals that are in columns.
    #[must_use]
    pub fn arrivals(&self) -> &[Arrivals] {
        &self.arrivals
    }

    /// What it has above an event, ascending.
    pub fn steps_above(&self, x: EventId) -> impl Iterator<Item = Step<'_>> {
        let first = self.order.partition_point(|span| self.xs_of(span).next_back().is_some_and(|last| last <= x));
        self.order[first..].iter().map(move |span| match span {
            Span::Event(at) => Step::Event(&self.head.events[*at]),
            Span::Rows { of, rows } => {
                let arrivals = &self.arrivals[*of];
                let above = rows.start + arrivals.xs[rows.clone()].partition_point(|&of| of <= x);
                Step::Arrivals(arrivals, above..rows.end)
            }
        })
    }

    /// A frame with the arrivals of each pool in columns.
    ///
    /// # Errors
    /// When an event is not above the one before it, or not in the frame.
    ///
    /// # Panics
    /// When the rows of a pool are of several schemas.
    pub fn in_columns(mut events: LogFrame) -> Result<ColumnFrame, OutOfOrder> {
        let mut arrived: BTreeMap<PoolId, (Vec<EventId>, Vec<Arc<Row>>)> = BTreeMap::new();
        events.events.retain(|event| {
            let EventKind::Arrival { pool, row } = &event.kind else { return true };
            let (xs, rows) = arrived.entry(*pool).or_default();
            xs.push(event.x);
            rows.push(Arc::clone(row));
            false
        });
        let arrivals = arrived
            .into_iter()
            .map(|(pool, (xs, rows))| Arrivals::new(pool, xs, columns_of(rows.iter().map(|row| &**row))));
        ColumnFrame::new(events, arrivals.collect())
    }

    /// The same, event by event, with a row for each arrival.
    #[must_use]
    pub fn to_events(&self) -> LogFrame {
        let events = self.steps_above(EventId::ZERO).flat_map(|step| match step {
            Step::Event(event) => vec![event.clone()],
            Step::Arrivals(arrivals, rows) => rows.map(|row| arrivals.event(row)).collect(),
        });
        LogFrame { events: events.collect(), ..self.head.clone() }
    }

    fn xs_of(&self, span: &Span) -> impl DoubleEndedIterator<Item = EventId> {
        let (event, rows) = match span {
            Span::Event(at) => (Some(self.head.events[*at].x), &[][..]),
            Span::Rows { of, rows } => (None, &self.arrivals[*of].xs[rows.clone()]),
        };
        event.into_iter().chain(rows.iter().copied())
    }
}

impl fmt::Debug for ColumnFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_events().fmt(f)
    }
}

/// By the ids of events. Where two are the same, the caller sees it.
fn order(events: &LogFrame, arrivals: &[Arrivals]) -> Box<[Span]> {
    if let ([only], true) = (arrivals, events.events.is_empty()) {
        let all = Span::Rows { of: 0, rows: 0..only.len() };
        return if only.is_empty() { Box::default() } else { [all].into() };
    }
    let single = events.events.iter().enumerate().map(|(at, event)| (event.x, None, at));
    let rows = |(of, arrivals): (usize, &Arrivals)| {
        arrivals.xs.iter().enumerate().map(move |(row, &x)| (x, Some(of), row)).collect::<Vec<_>>()
    };
    let mut all: Vec<(EventId, Option<usize>, usize)> =
        single.chain(arrivals.iter().enumerate().flat_map(rows)).collect();
    all.sort_by_key(|&(x, ..)| x);
    let neighbours = all.chunk_by(|one, next| one.1.is_some() && next.1 == one.1 && next.2 == one.2 + 1);
    let span = |run: &[(EventId, Option<usize>, usize)]| match run[0] {
        (_, None, at) => Span::Event(at),
        (_, Some(of), row) => Span::Rows { of, rows: row..row + run.len() },
    };
    neighbours.map(span).collect()
}

/// New elements of one pool, by row.
#[derive(Debug)]
pub struct Arrivals {
    pool: PoolId,
    /// Each is the element's id, too.
    xs: Box<[EventId]>,
    /// In the order of the schema.
    columns: Box<[Column]>,
    placed: OnceLock<Result<Placed, (EventId, RowError)>>,
}

/// Where the rows of a pool's arrivals belong.
#[derive(Debug)]
pub(crate) struct Placed {
    places: Box<[Place]>,
    owners: Box<[SliceId]>,
}

impl Placed {
    /// What a row's owner and home follow from.
    #[inline]
    pub(crate) fn place(&self, row: usize) -> Place {
        self.places[row]
    }

    /// The slice that has a row among its anchors.
    #[inline]
    pub(crate) fn owner(&self, row: usize) -> SliceId {
        self.owners[row]
    }
}

impl Arrivals {
    /// Arrivals with these ids. Columns were checked, and have an entry for each.
    #[must_use]
    pub fn new(pool: PoolId, xs: Vec<EventId>, columns: Vec<Column>) -> Arrivals {
        Arrivals { pool, xs: xs.into(), columns: columns.into(), placed: OnceLock::new() }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> PoolId {
        self.pool
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.xs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.xs.is_empty()
    }

    /// Their ids, ascending.
    #[must_use]
    pub fn xs(&self) -> &[EventId] {
        &self.xs
    }

    /// Their attributes, in the order of the schema.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The values of a row, in the order of the schema.
    #[inline]
    pub fn values(&self, row: usize) -> impl Iterator<Item = Option<Value>> + '_ {
        self.columns.iter().map(move |column| column.get(row))
    }

    /// A row's event.
    #[must_use]
    pub fn event(&self, row: usize) -> Event {
        let kind = EventKind::Arrival { pool: self.pool, row: Arc::new(Row::from_values(self.values(row))) };
        Event { x: self.xs[row], kind }
    }

    /// The columns, to look at many rows of them.
    pub(crate) fn cells(&self) -> Vec<Cells<'_>> {
        self.columns.iter().map(Column::cells).collect()
    }

    /// Where each row belongs: computed for the first slice that asks. The pool is that of the arrivals.
    ///
    /// # Errors
    /// With the first event whose values are not of the pool's schema.
    pub(crate) fn placed(&self, pool: &Pool, placement: &Placement) -> Result<&Placed, (EventId, RowError)> {
        let placed = self.placed.get_or_init(|| {
            if !self.columns_fit(&pool.schema) {
                self.rows_fit(&pool.schema)?;
            }
            let rows = self.xs.iter().map(|&x| ElementId::from(x)).enumerate();
            let places = pool.places(&self.columns, rows);
            let owners = places.iter().map(|&place| placement.owner(place)).collect();
            Ok(Placed { places: places.into(), owners })
        });
        placed.as_ref().map_err(Clone::clone)
    }

    /// Whether all rows are of a schema, as far as can be told of whole columns.
    fn columns_fit(&self, schema: &Schema) -> bool {
        let short = |column: &Column| match &column.values {
            Values::None | Values::Ints(_) | Values::Doubles(_) | Values::Bools(_) => true,
            Values::Strings(texts) => (0..texts.len()).all(|row| texts.get(row).len() <= STRING_BYTES_MAX),
            Values::StringLists { entries, .. } => {
                (0..entries.len()).all(|entry| entries.get(entry).len() <= STRING_BYTES_MAX)
                    && (0..self.len()).all(|row| column.texts(row).len() <= LIST_LEN_MAX)
            }
        };
        let fits = |(column, kind): (&Column, _)| column.kind().is_none_or(|found| found == kind) && short(column);
        let kinds = schema.attributes().iter().map(|attribute| attribute.kind);
        self.columns.len() == schema.len() && self.columns.iter().zip(kinds).all(fits)
    }

    /// The same row by row: what is stored for an element that does not have the attribute may be anything.
    #[cold]
    fn rows_fit(&self, schema: &Schema) -> Result<(), (EventId, RowError)> {
        let mut rows = (0..self.len()).map(|row| (self.xs[row], Row::from_values(self.values(row))));
        rows.try_for_each(|(x, row)| row.check(schema).map_err(|error| (x, error)))
    }
}
