//! Many elements of a pool at a time: listed by page, and withdrawn.
//!
//! The engine is asked part by part, and goes on with others in between; nothing is held for a client between two
//! calls. Invariants: scans.E1 a call looks at a bounded number of elements, and answers within what clients take;
//! scans.E2 an element that is not on disk is in no answer.

use dovetail_core::{
    ElementId, PoolDefinition, PoolId,
    batch::Batch,
    ledger::{KEY_BYTES_MAX, SubmitError},
};
use dovetail_rule::{Row, Value};
use prost::Message as _;
use tokio::sync::SemaphorePermit;
use tonic::{Response, Status};

use super::{
    answers, errors,
    errors::RequestError,
    messages::{ElementScan, Request, SelectedPart, Withdrawing},
    node::Node,
    refused::RowRefused,
};
use crate::caller::Caller;
use dovetail::{columns, pb};
use dovetail_wire::ConvertError;

/// Elements of a page when the request does not say how many, and at most.
const PAGE: (u32, u32) = (1_000, 10_000);
/// Most bytes of a page.
const PAGE_BYTES: usize = 3 << 20;
/// Parts that are looked at for one page: about a million elements.
const PARTS_MAX: usize = 2048;
/// Withdrawals that are handed to the engine at a time.
const WITHDRAWALS: usize = 256;

/// Which elements are meant.
#[derive(Clone)]
struct Filter {
    pool: PoolId,
    definition: std::sync::Arc<PoolDefinition>,
    key_prefix: String,
    /// By their places in the schema, what attributes have to be.
    conditions: Vec<(usize, Value)>,
}

impl Filter {
    fn read(node: &Node, filter: Option<pb::ElementFilter>) -> Result<Filter, RequestError> {
        let missing = RequestError::Missing { what: "no pool is named", field: "filter.pool" };
        let pb::ElementFilter { pool: name, key_prefix, attributes } = filter.ok_or(missing)?;
        errors::check_pool_name(&name)?;
        if key_prefix.len() > KEY_BYTES_MAX {
            return Err(RequestError::KeyLength { field: "filter.key_prefix", found: key_prefix.len() });
        }
        let Some(pool) = node.pools.named(&name) else { return Err(RequestError::UnknownPool(name)) };
        let mut named = Vec::with_capacity(attributes.len());
        for (attribute, value) in attributes {
            let value = columns::value(value).ok_or_else(|| ConvertError::NoValue(attribute.clone()));
            let value = value.map_err(|error| RequestError::Filter(error.into()))?;
            // In a row it is a missing attribute; here it would be no condition, and more elements would fit.
            if matches!(value, Value::Double(double) if double.is_nan()) {
                return Err(RequestError::FilterNan(attribute));
            }
            named.push((attribute, value));
        }
        let refused = |source| RowRefused::from(SubmitError::Row { pool: name, key: String::new(), source });
        let count = named.len();
        let row = Row::from_named(&pool.schema, named).map_err(|error| RequestError::Filter(refused(error)))?;
        let set = row.values().iter().enumerate();
        let conditions: Vec<_> = set.filter_map(|(place, value)| Some((place, value.clone()?))).collect();
        if conditions.len() != count {
            let text = format!("{count} conditions were named, and {} are set", conditions.len());
            return Err(RequestError::Internal(text));
        }
        Ok(Filter { pool: pool.id, definition: std::sync::Arc::clone(&pool.definition), key_prefix, conditions })
    }

    fn is_of_all(&self) -> bool {
        self.key_prefix.is_empty() && self.conditions.is_empty()
    }

    /// Whether an element of a batch fits.
    fn fits(&self, batch: &Batch, row: usize) -> bool {
        let has = |place: usize| batch.attributes().get(place).and_then(|column| column.get(row));
        let fits = |(place, wanted): &(usize, Value)| has(*place).is_some_and(|has| same(wanted, &has));
        batch.clients().key(row).starts_with(self.key_prefix.as_bytes()) && self.conditions.iter().all(fits)
    }
}

/// Whether values are equal as a rule has it: 0.0 is -0.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Double(one), Value::Double(other)) => one == other,
        _ => one == other,
    }
}

/// Where a page begins, and how long it may be.
struct Page {
    after: ElementId,
    most: usize,
}

impl Page {
    fn read(page_size: u32, token: String) -> Result<Page, RequestError> {
        let (usual, most) = PAGE;
        if page_size > most {
            return Err(RequestError::Above { field: "page_size", found: page_size.into(), most: most.into() });
        }
        let after = match token.as_str() {
            "" => 0,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| RequestError::PageToken(token))?
            }
            _ => return Err(RequestError::PageToken(token)),
        };
        let most = if page_size == 0 { usual } else { page_size } as usize;
        Ok(Page { after: ElementId(after), most })
    }
}

fn token(after: Option<ElementId>) -> String {
    after.map(|after| after.0.to_string()).unwrap_or_default()
}

/// Leave to look through a pool's elements.
async fn listing(node: &Node) -> Result<SemaphorePermit<'_>, Status> {
    node.listings.acquire().await.map_err(errors::stopping)
}

/// Some elements of a pool that fit a filter and are on disk, and after which to go on. At least one is looked at.
async fn select(node: &Node, filter: &Filter, after: ElementId) -> Result<SelectedPart, Status> {
    let durable = node.frames.head();
    let (pool, filter) = (filter.pool, filter.clone());
    let wanted =
        Box::new(move |element: ElementId, batch: &Batch, row| element.arrival() <= durable && filter.fits(batch, row));
    node.look(|reply| ElementScan::Select { pool, after, wanted, reply }).await
}

/// A page of the elements that wait.
pub(super) async fn list(
    node: &Node,
    caller: Option<Caller>,
    request: pb::ListElementsRequest,
) -> Result<Response<pb::ListElementsResponse>, Status> {
    let filter = Filter::read(node, request.filter)?;
    let Page { after, most } = Page::read(request.page_size, request.page_token)?;
    let _listing = listing(node).await?;
    let room = node.answer_room(caller.as_ref()).await?;
    let (mut elements, mut bytes, mut next) = (Vec::new(), 0, Some(after));
    for _ in 0..PARTS_MAX {
        let Some(after) = next else { break };
        let part = select(node, &filter, after).await?;
        let mut last = after;
        for (element, entry) in part.elements {
            let shown = answers::waiting(element, &filter.definition, &entry);
            // With its tag and its length.
            bytes += shown.encoded_len() + 8;
            if elements.len() == most || (bytes > PAGE_BYTES && !elements.is_empty()) {
                return Ok(room.of(pb::ListElementsResponse { elements, next_page_token: token(Some(last)) }));
            }
            elements.push(shown);
            last = element;
        }
        next = part.next;
    }
    Ok(room.of(pb::ListElementsResponse { elements, next_page_token: token(next) }))
}

/// Withdraws a page of the elements that wait, and says what became of them.
pub(super) async fn withdraw(
    node: &Node,
    request: pb::WithdrawElementsRequest,
) -> Result<pb::WithdrawElementsResponse, Status> {
    let filter = Filter::read(node, request.filter)?;
    if filter.is_of_all() && !request.all {
        let field = "filter.key_prefix or filter.attributes; or all, for every element of the pool";
        return Err(RequestError::Missing { what: "nothing says which elements to withdraw", field }.into());
    }
    let Page { after, most } = Page::read(request.page_size, request.page_token)?;
    let (mut written, mut next, mut permit) = (Vec::new(), Some(after), None);
    'parts: for _ in 0..PARTS_MAX {
        let Some(after) = next else { break };
        if permit.is_none() {
            permit = Some(listing(node).await?);
        }
        let part = select(node, &filter, after).await?;
        if !part.elements.is_empty() {
            // What follows may wait for room in the cluster, and looks at no elements meanwhile.
            permit = None;
        }
        let elements: Vec<ElementId> = part.elements.into_iter().map(|(element, _)| element).collect();
        for some in elements.chunks(WITHDRAWALS) {
            let room = most - written.len();
            let some = &some[..some.len().min(room)];
            if let Some(&last) = some.last() {
                next = Some(last);
                let elements = some.to_vec();
                let withdrawing = node.requests.ask(|reply| Request::WithdrawAll { elements, reply }).await;
                written.extend(withdrawing.map_err(errors::stopping)??);
            }
            if written.len() == most {
                break 'parts;
            }
        }
        next = part.next;
    }
    drop(permit);
    let mut response = pb::WithdrawElementsResponse { next_page_token: token(next), ..Default::default() };
    for withdrawing in written {
        count(node, &mut response, withdrawing).await?;
    }
    Ok(response)
}

/// Counts what became of one element, once that is decided.
async fn count(
    node: &Node,
    response: &mut pb::WithdrawElementsResponse,
    withdrawing: Withdrawing,
) -> Result<(), Status> {
    match withdrawing {
        Withdrawing::Written { at, own, ended } => {
            let outcome = ended.await.map_err(errors::stopping)?;
            response.position = response.position.max(at.0);
            match (&outcome.anchor, own && outcome.x == at) {
                (Some(_), _) => response.matched += 1,
                (None, true) => response.withdrawn += 1,
                (None, false) => response.ended += 1,
            }
        }
        // Between being listed and being withdrawn.
        Withdrawing::Ended(x) => match node.outcome(x).await?.and_then(|outcome| outcome.anchor) {
            Some(_) => response.matched += 1,
            None => response.ended += 1,
        },
        Withdrawing::Unknown => response.ended += 1,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_the_same_when_they_are_equal_as_numbers() {
        assert!(same(&Value::Double(0.0), &Value::Double(-0.0)) && same(&Value::Int(1), &Value::Int(1)));
        assert!(!same(&Value::Double(1.0), &Value::Double(2.0)) && !same(&Value::Int(1), &Value::Double(1.0)));
    }

    #[test]
    fn a_token_is_where_the_page_before_ended() {
        let page = |size, token: &str| Page::read(size, token.to_owned());
        assert_eq!(page(0, "").map(|page| (page.after, page.most)).unwrap(), (ElementId(0), 1_000));
        assert_eq!(
            page(7, &token(Some(ElementId(42)))).map(|page| (page.after, page.most)).unwrap(),
            (ElementId(42), 7)
        );
        assert_eq!(token(None), "");
        for bad in ["x", "-1", "+1", "1 ", "18446744073709551616"] {
            assert!(matches!(page(0, bad), Err(RequestError::PageToken(found)) if found == bad), "{bad}");
        }
        assert!(matches!(page(10_001, ""), Err(RequestError::Above { found: 10_001, most: 10_000, .. })));
    }
}
