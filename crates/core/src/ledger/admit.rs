//! What a balancer lets in.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use dovetail_rule::{LIST_LEN_MAX, Row, RowError, STRING_BYTES_MAX, Value, ValueKind};

use super::{
    Ledger,
    entry::PoolEntry,
    idempotency::Full,
    limits::{KEY_BYTES_MAX, LedgerLimits, bound},
    refused::SubmitError,
    room::{GROUP_SHARE, Room},
};
use crate::{
    ElementId, EventId, Pool, PoolId,
    batch::{
        ATTRIBUTE_BYTES, Batch, ClientColumns, ClientPart, Column, Keyed, Run, TEXT_BYTES, attribute_bytes,
        column::numbers,
    },
    planted::Bug,
    pool::{DELAY_MS_MAX, PAYLOAD_BYTES_CAP},
};

/// An element as a client submits it.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// The client's own name for it.
    pub key: String,
    /// By name.
    pub attributes: Vec<(String, Value)>,
    /// Opaque.
    pub payload: Bytes,
    /// Time to live in milliseconds; none for the pool's.
    pub ttl_ms: Option<u64>,
    /// Empty for none.
    pub idempotency_key: String,
}

/// What a submission comes to.
#[derive(Clone, Debug)]
pub enum Admission {
    /// A new element: give it an id and record its arrival.
    New {
        /// Its pool.
        pool: PoolId,
        /// Its attributes.
        row: Arc<Row>,
        /// What only the balancer needs.
        client: ClientPart,
    },
    /// A retry of the submission that made this element.
    Retry(ElementId),
    /// Whether it is let in depends on what is not decided yet: hold it, and ask again once everything up to this event
    /// is.
    Undecided(EventId),
    /// Timers of its pool are due that are not written: hold it, and ask again once they are
    /// ([`Ledger::take_caught_up`]).
    Late(PoolId),
}

impl Submission {
    /// Checks what does not depend on other elements.
    ///
    /// # Errors
    /// When it cannot be let in, with the value and the bound.
    pub fn check(self, pool: &Pool, limits: &LedgerLimits) -> Result<Checked, SubmitError> {
        let Submission { key, attributes, payload, ttl_ms, idempotency_key } = self;
        let client = ClientFields { key: key.into(), payload, ttl_ms, idempotency_key: idempotency_key.into() };
        client.check(pool, limits, || Row::from_named(&pool.schema, attributes))
    }
}

/// A submission without its attributes.
#[derive(Clone, Debug)]
pub struct ClientFields {
    /// The client's own name for it.
    pub key: Arc<str>,
    /// Opaque.
    pub payload: Bytes,
    /// Time to live in milliseconds; none for the pool's.
    pub ttl_ms: Option<u64>,
    /// Empty for none.
    pub idempotency_key: Box<str>,
}

impl ClientFields {
    /// Checks what does not depend on other elements. `row` makes the attributes.
    ///
    /// # Errors
    /// When it cannot be let in, with the value and the bound.
    pub fn check(
        self,
        pool: &Pool,
        limits: &LedgerLimits,
        row: impl FnOnce() -> Result<Row, RowError>,
    ) -> Result<Checked, SubmitError> {
        let definition = &pool.definition;
        let ClientFields { key, payload, ttl_ms, idempotency_key } = self;
        let ttl_ms = ttl_ms.unwrap_or(definition.ttl_ms);
        check_client(pool, limits, key.as_bytes(), payload.len(), ttl_ms, idempotency_key.len())?;
        let name = || definition.name.clone();
        let row = row().map_err(|source| SubmitError::Row { pool: name(), key: (*key).into(), source })?;
        let bytes = attribute_bytes(&row) + key.len() + idempotency_key.len();
        if bytes as u64 > limits.element_bytes_max {
            let bound = limits.element_bytes_max;
            return Err(SubmitError::ElementBytes { key: (*key).into(), found: bytes, bound });
        }
        // A batch has one submitter; its rows have none of their own.
        let client = ClientPart { key, payload, ttl_ms, idempotency_key, owner: "".into() };
        Ok(Checked { pool: pool.id, row: Arc::new(row), client })
    }
}

/// Checks the bounds of what comes with the attributes.
fn check_client(
    pool: &Pool,
    limits: &LedgerLimits,
    key: &[u8],
    payload_bytes: usize,
    ttl_ms: u64,
    idempotency_key_bytes: usize,
) -> Result<(), SubmitError> {
    let definition = &pool.definition;
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(SubmitError::KeyLength { found: key.len() });
    }
    if idempotency_key_bytes > KEY_BYTES_MAX {
        return Err(SubmitError::IdempotencyKeyLength { found: idempotency_key_bytes });
    }
    let bound = bound(definition.payload_bytes_max, limits.payload_bytes_max).min(PAYLOAD_BYTES_CAP);
    if payload_bytes as u64 > bound {
        let pool = definition.name.clone();
        return Err(SubmitError::Payload { pool, key: text(key), found: payload_bytes, bound });
    }
    if ttl_ms > DELAY_MS_MAX {
        return Err(SubmitError::Ttl { key: text(key), found: ttl_ms });
    }
    Ok(())
}

/// A submission that fits its pool. Whether it is let in depends on what else waits.
#[derive(Clone, Debug)]
pub struct Checked {
    pool: PoolId,
    row: Arc<Row>,
    client: ClientPart,
}

impl Checked {
    /// A batch of them, of one pool; none when there are none.
    #[must_use]
    pub fn batch(checked: &[Checked]) -> Option<Batch> {
        let elements: Vec<_> = checked.iter().map(|checked| (&*checked.row, &checked.client)).collect();
        Some(Batch::of(checked.first()?.pool, &elements))
    }
}

/// Checks columns as [`ClientFields::check`] does the rows they stand for. Each attribute of the schema has a column of its
/// kind. None when any element is to be refused: then they are checked one by one, for the reasons.
#[must_use]
pub fn check_columns(
    pool: &Pool,
    limits: &LedgerLimits,
    attributes: Vec<Column>,
    mut clients: ClientColumns,
) -> Option<Batch> {
    let count = clients.keys.len();
    let ttl_ms = pool.definition.ttl_ms;
    if clients.ttls_ms.is_none() && ttl_ms > 0 {
        clients.ttls_ms = Some(numbers((0..count).map(|_| ttl_ms.to_le_bytes())));
    }
    let fits = |row: usize| {
        let (key, payload_bytes) = (clients.key(row), clients.payload(row).len());
        let idempotency_key_bytes = clients.idempotency_key(row).len();
        check_client(pool, limits, key, payload_bytes, clients.ttl_ms(row), idempotency_key_bytes).is_ok()
    };
    // What each element takes, as `Batch::element_bytes` counts it.
    let own = |row| clients.key(row).len() + clients.idempotency_key(row).len() + ATTRIBUTE_BYTES * attributes.len();
    let mut bytes: Vec<usize> = (0..count).map(own).collect();
    let mut texts = |column: &Column| {
        let mut fits = |row: usize| {
            let mut texts = column.texts(row);
            // Nothing is kept that no value stands for.
            let known = column.has(row) || column.stored_bytes(row) == 0;
            known
                && texts.len() <= LIST_LEN_MAX
                && texts.all(|text| {
                    bytes[row] += TEXT_BYTES + text;
                    text <= STRING_BYTES_MAX
                })
        };
        !matches!(column.kind(), Some(ValueKind::String | ValueKind::StringList)) || (0..count).all(&mut fits)
    };
    let fit = (0..count).all(fits) && attributes.iter().all(&mut texts);
    let small = |&bytes: &usize| bytes as u64 <= limits.element_bytes_max;
    (fit && bytes.iter().all(small)).then(|| Batch::new(pool.id, attributes, clients))
}

/// How far a run of elements was let in.
#[derive(Debug)]
pub struct Admitted {
    /// So many of the first ones, with ids one after the other.
    pub count: usize,
    /// What became of the next one, if there is a next one.
    pub stopped: Option<Stopped>,
}

/// Why an element is not let in, or not yet.
#[derive(Debug)]
pub enum Stopped {
    /// It is a retry of the submission that made this element.
    Retry(ElementId),
    /// It is refused.
    Refused(SubmitError),
    /// That depends on what is not decided yet: hold it, and ask again once everything up to this event is.
    Undecided(EventId),
    /// Timers of its pool are due that are not written: hold it, and ask again once they are
    /// ([`Ledger::take_caught_up`]).
    Late,
}

/// What the elements of a run that is to be let in have in common.
struct RunOf {
    /// The first one's id.
    first: ElementId,
    /// When they arrive.
    time_ms: u64,
    /// There is room for all of them.
    roomy: bool,
    takes: Takes,
    /// What their searches cost is counted.
    counted: bool,
}

/// Whether a pool takes elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Any,
    /// It is dropped.
    Unknown,
    /// It is being dropped.
    Dropping,
    /// Timers of it are due.
    Late,
}

impl Ledger {
    /// Why a row is refused that was held in vain.
    #[must_use]
    pub fn held_in_vain(&self, batch: &Batch, row: usize, held_ms: u64) -> SubmitError {
        let pool = self.pool_name(batch.pool()).as_ref().to_owned();
        SubmitError::Undecided { pool, key: text(batch.clients().key(row)), held_ms }
    }

    /// Why a row is refused that was held in vain for searches of its pool.
    #[must_use]
    pub fn busy_in_vain(&self, batch: &Batch, row: usize, held_ms: u64) -> SubmitError {
        let pool = self.pool_name(batch.pool()).as_ref().to_owned();
        SubmitError::SearchBusy { pool, key: text(batch.clients().key(row)), held_ms }
    }

    /// Why a row is refused that was held in vain for timers of its pool.
    #[must_use]
    pub fn late_in_vain(&self, batch: &Batch, row: usize, held_ms: u64) -> SubmitError {
        let pool = self.pool_name(batch.pool()).as_ref().to_owned();
        SubmitError::TimersLate { pool, key: text(batch.clients().key(row)), held_ms }
    }

    /// What one search of a pool costs at worst by now, in units, in a slice. `row` is the prober's. 0 where a search
    /// is never expensive.
    pub fn search_cost(&self, pool: PoolId, row: impl FnOnce() -> Row) -> u64 {
        let Some(PoolEntry { pool, counts, searched, .. }) = self.find_pool(pool) else { return 0 };
        searched.cost(pool, counts.waiting, self.limits.slices, row)
    }

    /// What the rule of a pool costs on one pair of waiting elements, and how many elements may wait because of that
    /// (with one key, if the rule has a key); none where the cost bounds nothing.
    #[must_use]
    pub fn search_bound(&self, pool: PoolId) -> Option<(u64, u64)> {
        self.pool(pool).searched.bound(&self.limits)
    }

    /// Lets in some elements of a batch one after the other, with ids from `first` on, up to the first one that is none
    /// to be let in. They are recorded then as arrivals of that time.
    ///
    /// An element is refused for another only if that one is known to wait at some point between the question and the
    /// answer: after event `asked`, which is the last one when the elements are asked for first, and after the elements
    /// before it. What is not decided up to there cannot be known yet: then it is [undecided](Stopped::Undecided), and
    /// is asked for again, with the same `asked`. So the answer is that of the sequential program.
    ///
    /// # Panics
    /// When `first` is not after all that was recorded.
    pub fn admit_run(
        &mut self,
        first: EventId,
        time_ms: u64,
        keyed: &Keyed,
        rows: Range<usize>,
        asked: EventId,
    ) -> Admitted {
        assert!(first > self.recorded, "{first} is recorded after {}", self.recorded);
        self.idempotency.pass(time_ms);
        let (mut count, mut stopped) = (0, None);
        self.keys.touch(keyed.kept()[rows.clone()].iter().map(|kept| kept.hash));
        let roomy = self.has_room(keyed.batch(), rows.clone());
        let run = self.run_of(keyed.batch().pool(), first, time_ms, roomy);
        for row in rows.clone() {
            let element = ElementId(first.0 + count as u64);
            let asked = if count > 0 { element.arrival().prev() } else { asked };
            if let Err(why) = self.admit_row(keyed, row, element, &run, asked) {
                stopped = Some(why);
                break;
            }
            count += 1;
        }
        if count > 0 {
            let rows = rows.start..rows.start + count;
            let run = Run { batch: Arc::clone(keyed.batch()), rows };
            self.arrive(first, time_ms, &run, Arc::clone(keyed.kept()));
        }
        Admitted { count, stopped }
    }

    /// Takes the keys of an element that may be let in; those of its run before it are, and do not count as waiting
    /// yet.
    fn admit_row(
        &mut self,
        keyed: &Keyed,
        row: usize,
        element: ElementId,
        run: &RunOf,
        asked: EventId,
    ) -> Result<(), Stopped> {
        let (batch, key) = (keyed.batch(), keyed.fingerprint(row));
        let found = self.keys.seek(key);
        self.check_row(batch, row, found.last, run, element.0 - run.first.0, asked)?;
        self.keys.put(found, key, element);
        self.remember_idempotency(batch, row, element, run.time_ms);
        if run.counted {
            self.pool_mut(batch.pool()).arrived(batch, row);
        }
        Ok(())
    }

    fn run_of(&self, pool: PoolId, first: EventId, time_ms: u64, roomy: bool) -> RunOf {
        // It may have been dropped since the elements were checked.
        let entry = self.find_pool(pool).filter(|entry| entry.dropped_at.is_none());
        let takes = match entry {
            None => Takes::Unknown,
            Some(entry) if entry.closed_at.is_some() && !self.planted.is(Bug::ClosedAdmits) => Takes::Dropping,
            Some(_) if self.is_late(pool) && !self.planted.is(Bug::LateAdmits) => Takes::Late,
            Some(_) => Takes::Any,
        };
        let counted = entry.is_some_and(|entry| entry.searched.counts());
        RunOf { first: first.into(), time_ms, roomy, takes, counted }
    }

    /// Checks what depends on other elements; `before` of its run do not count as waiting yet. `holder` has the
    /// element's key, or had it last.
    fn check_row(
        &self,
        batch: &Batch,
        row: usize,
        holder: Option<ElementId>,
        run: &RunOf,
        before: u64,
        asked: EventId,
    ) -> Result<(), Stopped> {
        self.check_idempotency(batch, row, run.time_ms)?;
        let name = || self.pool_name(batch.pool()).as_ref().to_owned();
        match run.takes {
            Takes::Any => {}
            Takes::Unknown => return Err(Stopped::Refused(SubmitError::UnknownPool(name()))),
            Takes::Dropping => return Err(Stopped::Refused(SubmitError::PoolDropping(name()))),
            Takes::Late => return Err(Stopped::Late),
        }
        // One that waits no longer is only remembered by its key.
        let waits = |holder: ElementId| holder >= run.first || self.elements.waits(holder).is_some();
        if let Some(element) = holder.filter(|&holder| waits(holder)) {
            let key = text(batch.clients().key(row));
            // It may have come since.
            let at = asked.max(element.arrival());
            return self.refuse_at(at, || SubmitError::KeyWaiting { pool: name(), key, element });
        }
        if !run.roomy {
            let (elements, bytes) = self.rooms(self.pool(batch.pool()), batch, row, before);
            if let Some(full) = elements.full() {
                return self.refuse_at(asked, || elements.refused(full, name()));
            }
            if let Some(full) = bytes.full() {
                return self.refuse_at(asked, || bytes.refused_bytes(full, name()));
            }
        }
        if run.counted {
            let PoolEntry { pool, counts, searched, .. } = self.pool(batch.pool());
            let within = searched.check(pool, &self.limits, counts.waiting + before, batch, row);
            within.or_else(|why| self.refuse_at(asked, || why))?;
        }
        Ok(())
    }

    /// Whether there is room for all of these elements: for the last one once those before it are in, and so for
    /// [each](Room::full).
    fn has_room(&self, batch: &Batch, rows: Range<usize>) -> bool {
        let Some((last, entry)) = rows.clone().next_back().zip(self.find_pool(batch.pool())) else { return false };
        let (elements, bytes) = self.rooms(entry, batch, last, rows.len() as u64 - 1);
        elements.full().is_none() && bytes.full().is_none()
    }

    /// The room there is for an element of a pool, and for its bytes, once `before` others are in, which are before it
    /// in its batch.
    fn rooms<'a>(&'a self, entry: &'a PoolEntry, batch: &Batch, row: usize, before: u64) -> (Room<'a>, Room<'a>) {
        let PoolEntry { pool, group, counts, .. } = entry;
        let elements = Room {
            taken: &self.waiting,
            group,
            own: counts.waiting,
            before,
            more: 1,
            own_max: bound(pool.definition.waiting_max, self.limits.waiting_max),
            all_max: self.limits.waiting_total_max,
            group_share: GROUP_SHARE,
        };
        let bytes = Room {
            taken: &self.waiting_bytes,
            own: counts.waiting_bytes,
            before: batch.waiting_bytes(row - before as usize..row),
            more: batch.waiting_bytes(row..row + 1),
            own_max: self.limits.waiting_bytes_max,
            all_max: self.limits.waiting_bytes_total_max,
            ..elements
        };
        (elements, bytes)
    }

    /// Whether the idempotency key of an element made one already, or is one too many. That is known at once: it does
    /// not depend on what is decided.
    fn check_idempotency(&self, batch: &Batch, row: usize, time_ms: u64) -> Result<(), Stopped> {
        let (clients, pool) = (batch.clients(), batch.pool());
        let key = clients.idempotency_key(row);
        if key.is_empty() {
            return Ok(());
        }
        if let Some((element, same)) = self.idempotency.find(pool, key, || (clients.get(row), batch.row(row))) {
            let mismatch = || SubmitError::IdempotencyMismatch { key: text(key), element };
            return Err(if same { Stopped::Retry(element) } else { Stopped::Refused(mismatch()) });
        }
        let group = self.find_pool(pool).map_or("", |entry| &*entry.group);
        let Some(Full { bound, total, room_ms }) = self.idempotency.full(pool, group, time_ms) else {
            return Ok(());
        };
        let pool = self.pool_name(pool).as_ref().to_owned();
        Err(Stopped::Refused(SubmitError::IdempotencyFull { pool, bound, total, room_ms }))
    }

    /// Refuses an element for others that wait, if they are known to have waited after event `at`.
    fn refuse_at(&self, at: EventId, why: impl FnOnce() -> SubmitError) -> Result<(), Stopped> {
        let undecided = !self.decided.covers(at);
        if undecided && self.planted.is(Bug::UndecidedAdmitted) {
            return Ok(());
        }
        if undecided && !self.planted.is(Bug::UndecidedRefused) {
            return Err(Stopped::Undecided(at));
        }
        Err(Stopped::Refused(why()))
    }

    /// Whether an element that waits as far as has been decided may have ended by an event that has an id: then, up to
    /// where that has to be decided.
    #[must_use]
    pub fn undecided(&self, element: ElementId) -> Option<EventId> {
        (!self.decided.covers(self.recorded) && self.elements.waits(element).is_some()).then_some(self.recorded)
    }

    /// Checks a submission, for an event of that time. What is admitted has to be given an id and recorded before the
    /// next one is checked. `asked` as for [`admit_run`](Ledger::admit_run).
    ///
    /// # Errors
    /// When it cannot be let in, with the value and the bound.
    pub fn admit(
        &mut self,
        time_ms: u64,
        pool: &str,
        submission: Submission,
        asked: EventId,
    ) -> Result<Admission, SubmitError> {
        self.idempotency.pass(time_ms);
        let entry = self.pool_named(pool).ok_or_else(|| SubmitError::UnknownPool(pool.to_owned()))?;
        let Checked { pool, row, client } = submission.check(&entry.pool, &self.limits)?;
        let batch = Batch::of(pool, &[(&row, &client)]);
        let holder = batch.fingerprints(self.limits.key_secret).next().and_then(|key| self.keys.get(key));
        let run = self.run_of(pool, self.recorded.next(), time_ms, false);
        match self.check_row(&batch, 0, holder, &run, 0, asked) {
            Ok(()) => Ok(Admission::New { pool, row, client }),
            Err(Stopped::Retry(element)) => Ok(Admission::Retry(element)),
            Err(Stopped::Undecided(asked)) => Ok(Admission::Undecided(asked)),
            Err(Stopped::Late) => Ok(Admission::Late(pool)),
            Err(Stopped::Refused(error)) => Err(error),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
