//! Lists in pages: of pools.
//!
//! Invariant: list.L1 an answer fits what clients take, 4 MiB; pages end before.

use prost::Message as _;

use super::{
    errors::{self, RequestError},
    messages::PoolSummary,
};
use dovetail::pb::{self, PoolView};

/// Most bytes of a page, and of what the service adds to a pool.
const PAGE_BYTES: usize = 3 << 20;
const ADDED_BYTES: usize = 8;

/// All pools, or the page that is asked for. `all` is by name.
pub(super) fn pools(all: &[PoolSummary], request: pb::ListPoolsRequest) -> Result<pb::ListPoolsResponse, RequestError> {
    let pb::ListPoolsRequest { page_size, page_token, view } = request;
    let none = RequestError::NoSuch { field: "view", found: view, most: PoolView::Full.into() };
    let view = PoolView::try_from(view).map_err(|_| none)?;
    if page_size == 0 && page_token.is_empty() && view == PoolView::Unspecified {
        let full = page(all, usize::MAX, PoolView::Full);
        // 10,000 of these fit.
        return Ok(if full.next_page_token.is_empty() { full } else { page(all, usize::MAX, PoolView::Basic) });
    }
    let from = match page_token.as_str() {
        "" => 0,
        last => match all.binary_search_by(|pool| pool.definition.name.as_str().cmp(last)) {
            Ok(found) => found + 1,
            // It was dropped meanwhile.
            Err(place) if errors::is_pool_name(last) => place,
            Err(_) => return Err(RequestError::PageToken(page_token)),
        },
    };
    let most = if page_size == 0 { usize::MAX } else { page_size as usize };
    let view = if view == PoolView::Unspecified { PoolView::Full } else { view };
    Ok(page(&all[from..], most, view))
}

fn page(rest: &[PoolSummary], most: usize, view: PoolView) -> pb::ListPoolsResponse {
    let (mut pools, mut bytes) = (Vec::new(), 0);
    for pool in rest.iter().take(most) {
        let status = status(pool, view);
        // With its tag and its length.
        bytes += status.encoded_len() + ADDED_BYTES + 8;
        if bytes > PAGE_BYTES && !pools.is_empty() {
            break;
        }
        pools.push(status);
    }
    let last = pools.len().checked_sub(1).filter(|_| pools.len() < rest.len());
    let next_page_token = last.map(|last| rest[last].definition.name.clone()).unwrap_or_default();
    pb::ListPoolsResponse { pools, next_page_token, view: view.into() }
}

/// A pool as clients see it.
pub(super) fn status(pool: &PoolSummary, view: PoolView) -> pb::PoolStatus {
    let definition = match view {
        PoolView::Basic => pb::PoolDefinition { name: pool.definition.name.clone(), ..Default::default() },
        PoolView::Full | PoolView::Unspecified => dovetail_wire::pool_definition_pb(&pool.definition),
    };
    pb::PoolStatus {
        definition: Some(definition),
        defined_at: pool.defined_at.0,
        waiting: pool.counts.waiting,
        matches: pool.counts.matches,
        withdrawn: pool.counts.withdrawn,
        expired: pool.counts.expired,
        waiting_bytes: pool.counts.waiting_bytes,
        dropping: pool.dropping,
        dropped: pool.counts.dropped,
        // The same for all: for the service to tell.
        idempotency_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dovetail_core::{EventId, PoolDefinition, PoolId, ledger::PoolCounts};

    use super::*;
    use crate::balancer::refused::POOLS_MAX;

    /// Pools with the longest names, rules of so many bytes, and counts of every digit.
    fn summaries(count: usize, rule: usize) -> Vec<PoolSummary> {
        let most = u64::MAX;
        let summary = |number| PoolSummary {
            id: PoolId(0),
            definition: Arc::new(PoolDefinition {
                name: format!("{number:064}"),
                attributes: Vec::new(),
                rule: "r".repeat(rule),
                ttl_ms: most,
                reprobe_ms: Vec::new(),
                waiting_max: most,
                payload_bytes_max: most,
            }),
            defined_at: EventId(most),
            dropping: true,
            counts: PoolCounts {
                waiting: most,
                waiting_bytes: most,
                matches: most,
                withdrawn: most,
                expired: most,
                dropped: most,
            },
        };
        (0..count).map(summary).collect()
    }

    fn ask(all: &[PoolSummary], request: pb::ListPoolsRequest) -> pb::ListPoolsResponse {
        let answer = pools(all, request).unwrap();
        assert!(answer.encoded_len() <= PAGE_BYTES + 256, "{} bytes", answer.encoded_len());
        answer
    }

    #[test]
    fn all_pools_there_can_be_fit_one_answer_without_their_definitions() {
        let few = ask(&summaries(100, 1024), pb::ListPoolsRequest::default());
        assert_eq!((few.pools.len(), few.view()), (100, PoolView::Full));
        let all = ask(&summaries(POOLS_MAX, 1024), pb::ListPoolsRequest::default());
        assert_eq!((all.pools.len(), all.view(), all.next_page_token.as_str()), (POOLS_MAX, PoolView::Basic, ""));
        assert_eq!(all.pools[7].definition.as_ref().unwrap().rule, "");
    }

    #[test]
    fn pages_go_on_where_the_one_before_ended_until_all_were_there() {
        let all = summaries(5000, 1024);
        for (page_size, view) in [(0, PoolView::Full), (70, PoolView::Basic), (1000, PoolView::Unspecified)] {
            let (mut names, mut page_token) = (Vec::new(), String::new());
            loop {
                let request = pb::ListPoolsRequest { page_size, page_token, view: view.into() };
                let page = ask(&all, request);
                assert!(page_size == 0 || page.pools.len() <= page_size as usize);
                names.extend(page.pools.into_iter().map(|status| status.definition.unwrap().name));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(names, (0..5000).map(|number| format!("{number:064}")).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_token_of_nobody_and_a_view_of_no_kind_are_refused() {
        let token = pb::ListPoolsRequest { page_token: "no body".to_owned(), ..Default::default() };
        assert!(matches!(pools(&summaries(3, 1), token), Err(RequestError::PageToken(_))));
        let view = pb::ListPoolsRequest { view: 9, ..Default::default() };
        assert!(matches!(
            pools(&summaries(3, 1), view),
            Err(RequestError::NoSuch { field: "view", found: 9, most: 2 })
        ));
    }
}
