//! Why an element is waiting: reads the pool's waiting elements from the engine part by part, and tests them beside it.

use dovetail_core::{
    ElementId, Pool,
    explain::{Explainer, Explanation, Failed, NEAREST_MAX, NearMiss},
};
use tonic::Status;

use super::{
    Node, clients, errors,
    messages::{ElementName, Event, Explaining, Found},
};
use crate::pb;

/// Near misses shown when the request does not say how many.
const NEAREST: u32 = 5;

/// Explains why an element waits; of one that does not, says what became of it.
pub(super) async fn explain(node: &Node, name: ElementName, nearest: u32) -> Result<pb::ExplainResponse, Status> {
    if nearest as usize > NEAREST_MAX {
        return Err(Status::invalid_argument(format!("nearest is {nearest}, at most {NEAREST_MAX}")));
    }
    let nearest = if nearest == 0 { NEAREST } else { nearest } as usize;
    let _permit = node.explanations.acquire().await.map_err(errors::stopping)?;
    let asked = name.clone();
    match node.ask(|reply| Event::Explain { element: asked, reply }).await? {
        Explaining::Waiting { pool, element, entry, time_ms } => {
            let explainer = Explainer::new(pool.clone(), entry.waiting(element), time_ms, nearest);
            let searches_at_ms = explainer.searches_at_ms();
            let explanation = look_at_all(node, &pool, explainer).await?;
            let mut response = explanation_pb(&pool, explanation);
            response.element = Some(clients::waiting(element, &pool.definition, &entry));
            response.time_ms = time_ms;
            response.searches_at_ms = searches_at_ms.unwrap_or_default();
            Ok(response)
        }
        Explaining::Not(Found::Ended(element, x)) => {
            let outcome = node.outcome(x).await?.ok_or_else(|| clients::unknown(&name))?;
            let element = Some(clients::ended(node, element, &outcome).await?);
            Ok(pb::ExplainResponse { element, ..Default::default() })
        }
        Explaining::Not(Found::Unknown | Found::Waiting { .. }) => Err(clients::unknown(&name)),
    }
}

async fn look_at_all(node: &Node, pool: &Pool, mut explainer: Explainer) -> Result<Explanation, Status> {
    let pool = pool.id;
    let mut next = Some(ElementId(0));
    while let Some(after) = next {
        let part = node.ask(|reply| Event::Waiting { pool, after, reply }).await?;
        next = part.next;
        // A costly rule takes tens of microseconds a pair.
        let looked = tokio::task::spawn_blocking(move || {
            part.elements.iter().for_each(|(waiting, key)| explainer.look_at(waiting, key));
            explainer
        });
        explainer = looked.await.map_err(|error| Status::internal(error.to_string()))?;
    }
    Ok(explainer.finish())
}

fn explanation_pb(pool: &Pool, explanation: Explanation) -> pb::ExplainResponse {
    let conjuncts = pool.rule.plan().conjuncts().iter().zip(&explanation.conjuncts);
    let conjuncts = conjuncts.map(|(conjunct, counted)| pb::ExplainedConjunct {
        text: conjunct.text(),
        role: conjunct.role().to_string(),
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
        nearest: explanation.nearest.into_iter().map(near_miss_pb).collect(),
        prospect,
        ..Default::default()
    }
}

fn near_miss_pb(miss: NearMiss) -> pb::NearMiss {
    let failed = |failed: Failed| pb::FailedConjunct {
        conjunct: failed.conjunct as u32,
        reason: failed.reason,
        off_by: failed.off_by,
    };
    pb::NearMiss {
        id: miss.element.0,
        key: miss.key.as_ref().to_owned(),
        failed: miss.failed.into_iter().map(failed).collect(),
        acceptable_at_ms: miss.acceptable_at_ms.unwrap_or_default(),
    }
}
