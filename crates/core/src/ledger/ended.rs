//! Bounded memory of what has been: elements that no longer wait, and idempotency keys.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use dovetail_rule::{Row, Value};

use super::ClientPart;
use crate::{ElementId, EventId, PoolId};

type PoolKey = (PoolId, Arc<str>);

/// Elements that were matched or withdrawn, the latest ones.
#[derive(Debug)]
pub(super) struct Ended {
    most: usize,
    by_element: HashMap<ElementId, EventId>,
    by_key: HashMap<PoolKey, ElementId>,
    order: VecDeque<(ElementId, PoolKey)>,
}

impl Ended {
    pub(super) fn new(most: usize) -> Ended {
        Ended { most, by_element: HashMap::new(), by_key: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, element: ElementId, x: EventId, key: PoolKey) {
        self.by_element.insert(element, x);
        self.by_key.insert(key.clone(), element);
        self.order.push_back((element, key));
        while self.order.len() > self.most
            && let Some((oldest, key)) = self.order.pop_front()
        {
            self.by_element.remove(&oldest);
            if self.by_key.get(&key) == Some(&oldest) {
                self.by_key.remove(&key);
            }
        }
    }

    pub(super) fn get(&self, element: ElementId) -> Option<EventId> {
        self.by_element.get(&element).copied()
    }

    pub(super) fn find(&self, key: &PoolKey) -> Option<ElementId> {
        self.by_key.get(key).copied()
    }
}

/// Idempotency keys, the latest ones, with the element each made and a digest of what was submitted.
#[derive(Debug)]
pub(super) struct Idempotency {
    most: usize,
    by_key: HashMap<(PoolId, Box<str>), (ElementId, u64)>,
    order: VecDeque<(PoolId, Box<str>)>,
}

impl Idempotency {
    pub(super) fn new(most: usize) -> Idempotency {
        Idempotency { most, by_key: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, pool: PoolId, client: &ClientPart, row: &Row, element: ElementId) {
        if client.idempotency_key.is_empty() || self.most == 0 {
            return;
        }
        let key = (pool, client.idempotency_key.clone());
        self.by_key.insert(key.clone(), (element, digest(client, row)));
        self.order.push_back(key);
        while self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }

    /// The element that a key made, and whether the same body made it.
    pub(super) fn find(&self, pool: PoolId, client: &ClientPart, row: &Row) -> Option<(ElementId, bool)> {
        if client.idempotency_key.is_empty() {
            return None;
        }
        let (element, made_by) = *self.by_key.get(&(pool, client.idempotency_key.clone()))?;
        Some((element, made_by == digest(client, row)))
    }
}

/// Compared only within one process: it is computed again when the log is read.
fn digest(client: &ClientPart, row: &Row) -> u64 {
    let mut hasher = DefaultHasher::new();
    client.key.hash(&mut hasher);
    client.payload.hash(&mut hasher);
    client.ttl_ms.hash(&mut hasher);
    for value in row.values() {
        match value {
            None => 0u8.hash(&mut hasher),
            Some(Value::Int(int)) => (1u8, int).hash(&mut hasher),
            Some(Value::Double(double)) => (2u8, double.to_bits()).hash(&mut hasher),
            Some(Value::String(string)) => (3u8, string).hash(&mut hasher),
            Some(Value::Bool(bool)) => (4u8, bool).hash(&mut hasher),
            Some(Value::StringList(list)) => (5u8, list).hash(&mut hasher),
        }
    }
    hasher.finish()
}
