//! Why an element is waiting: reads the pool's waiting elements from the engine part by part, and tests them beside it.

use dovetail_core::{
    ElementId, Pool,
    explain::{Explainer, Explanation, Failed, NEAREST_MAX, NearMiss},
};
use prost::Message as _;
use tonic::{Response, Status};

use super::{
    answers,
    errors::{self, RequestError},
    messages::{ElementScan, Event, Explaining, Found},
    node::Node,
    refused::ElementName,
};
use crate::{
    auth::{Access, Scope, Verb},
    caller::Caller,
};
use dovetail::{pb, text};

/// Near misses shown when the request does not say how many.
const NEAREST: u32 = 5;
/// Most bytes of all near misses of an answer.
const NEAREST_BYTES: usize = 1 << 20;
/// Most bytes of one reason. It shows values, and a list can be 16 KiB.
const REASON_BYTES: usize = 2048;

/// Explains why an element waits; of one that does not, says what became of it.
pub(super) async fn explain(
    node: &Node,
    (caller, access): (Option<Caller>, &Access),
    name: ElementName,
    nearest: u32,
) -> Result<Response<pb::ExplainResponse>, Status> {
    if nearest as usize > NEAREST_MAX {
        let (found, most) = (nearest.into(), NEAREST_MAX as u64);
        return Err(RequestError::Above { field: "nearest", found, most }.into());
    }
    let nearest = if nearest == 0 { NEAREST } else { nearest } as usize;
    let _permit = node.explanations.acquire().await.map_err(errors::stopping)?;
    let room = node.answer_room(caller.as_ref()).await?;
    let asked = name.clone();
    match node.ask(|reply| Event::Explain { element: asked, reply }).await? {
        Explaining::Waiting { pool, element, entry, time_ms, search_cost } => {
            let scope = access.may_of(Verb::Read, &pool.definition.name, &entry.owner)?;
            let explainer = Explainer::new(pool.clone(), entry.waiting(element), time_ms, nearest);
            let searches_at_ms = explainer.searches_at_ms();
            let explanation = look_at_all(node, &pool, explainer).await?;
            let mut response = explanation_pb(&pool, explanation);
            if scope == Scope::Own {
                // Who else waits, and for what, is not its to know.
                (response.nearest, response.prospect) = (Vec::new(), None);
            }
            response.element = Some(answers::waiting(element, &pool.definition, &entry));
            response.time_ms = time_ms;
            response.search_cost = search_cost;
            response.searches_at_ms = searches_at_ms.unwrap_or_default();
            Ok(room.of(response))
        }
        Explaining::Not(Found::Ended(element, x)) => {
            let outcome = node.outcome(x).await?.ok_or_else(|| answers::unknown(&name))?;
            answers::may_read(node, access, element, &outcome)?;
            let element = Some(answers::ended(node, element, &outcome));
            Ok(room.of(pb::ExplainResponse { element, ..Default::default() }))
        }
        Explaining::Not(Found::Unknown | Found::Waiting { .. }) => Err(answers::unknown(&name)),
    }
}

async fn look_at_all(node: &Node, pool: &Pool, mut explainer: Explainer) -> Result<Explanation, Status> {
    let pool = pool.id;
    let mut next = Some(ElementId(0));
    while let Some(after) = next {
        let part = node.look(|reply| ElementScan::Waiting { pool, after, reply }).await?;
        next = part.next;
        // A costly rule takes tens of microseconds a pair.
        let looked = tokio::task::spawn_blocking(move || {
            part.elements.iter().for_each(|(waiting, key)| explainer.look_at(waiting, key));
            explainer
        });
        explainer = looked.await.map_err(|error| RequestError::Internal(error.to_string()))?;
    }
    Ok(explainer.finish())
}

fn explanation_pb(pool: &Pool, explanation: Explanation) -> pb::ExplainResponse {
    let conjuncts = pool.rule.plan().conjuncts().iter().zip(&explanation.conjuncts);
    let conjuncts = conjuncts.map(|(conjunct, counted)| pb::ExplainedConjunct {
        text: conjunct.text(),
        role: pb::ConjunctRole::from(conjunct.role()).into(),
        turned_away: counted.elements,
        missing: counted.missing,
    });
    let prospect = explanation.prospect.map(|prospect| pb::Prospect {
        id: prospect.element.0,
        key: prospect.key.as_ref().to_owned(),
        at_ms: prospect.at_ms,
    });
    pb::ExplainResponse {
        anchors: explanation.anchors,
        conjuncts: conjuncts.collect(),
        rule_errors: explanation.rule_errors,
        acceptable: explanation.acceptable,
        nearest: nearest_that_fit(explanation.nearest),
        prospect,
        ordered_by: pool.rule.plan().order(),
        ..Default::default()
    }
}

/// The nearest, as many as an answer has room for: reasons show the values, and lists may be long.
fn nearest_that_fit(nearest: Vec<NearMiss>) -> Vec<pb::NearMiss> {
    let mut left = NEAREST_BYTES;
    let all = nearest.into_iter().map(near_miss_pb);
    all.take_while(|miss| {
        let bytes = miss.encoded_len();
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    })
    .collect()
}

fn near_miss_pb(miss: NearMiss) -> pb::NearMiss {
    let failed = |failed: Failed| pb::FailedConjunct {
        conjunct: failed.conjunct as u32,
        reason: text::cut(failed.reason, REASON_BYTES),
        off_by: failed.off_by,
    };
    pb::NearMiss {
        id: miss.element.0,
        key: miss.key.as_ref().to_owned(),
        failed: miss.failed.into_iter().map(failed).collect(),
        acceptable_at_ms: miss.acceptable_at_ms.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_with_the_longest_values_fit_an_answer() {
        let failed = || Failed { conjunct: 0, reason: "x".repeat(32 << 10), off_by: None };
        let miss = |number| NearMiss {
            element: ElementId(number),
            key: "k".repeat(256).into(),
            failed: (0..64).map(|_| failed()).collect(),
            acceptable_at_ms: None,
        };
        let fit = nearest_that_fit((1..=NEAREST_MAX as u64).map(miss).collect());
        let bytes: usize = fit.iter().map(|miss| miss.encoded_len()).sum();
        assert!(!fit.is_empty() && bytes <= NEAREST_BYTES, "{} near misses of {bytes} bytes", fit.len());
        assert_eq!(fit[0].id, 1, "the nearest stay");
        assert!(fit[0].failed[0].reason.contains("bytes ...]"));
    }
}
