//! Honest clients, who must not notice the others; and what clears away what those leave behind.

use std::{collections::BTreeSet, time::Duration};

use dovetail::{
    client::{Client, ClientError, Token, by_id},
    pb::{ElementState, PoolDefinition, Submission},
};
use tokio::time::timeout;

use super::who::Keys;
use crate::{cluster::ClusterPlaces, secure, shape::ClusterNode, workload::ChaosPool};

/// Their pool. No other name that is drawn is near it.
const POOL: &str = "honest";
/// Pairs that are made in each look.
const PAIRS: u64 = 5;
/// Longest time that a pair may take. The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest time that clearing away may take.
const CLEARING: Duration = Duration::from_secs(120);

/// A client that may do everything, and does nothing wrong.
#[derive(Debug)]
pub struct Honest(Client);

impl Honest {
    pub async fn new(place: &ClusterPlaces, keys: Option<&Keys>) -> Result<Honest, ClientError> {
        let options = secure::options();
        let options = match keys {
            Some(keys) => options.bear(Token::Text(keys.ops.clone())),
            None => options,
        };
        let client = Client::connect_with(place.url(ClusterNode::Balancer), &options).await?;
        let definition = ChaosPool::Keyed.definition();
        client.define_pool(PoolDefinition { name: POOL.to_owned(), ..definition }).await?;
        Ok(Honest(client))
    }

    /// Defines pools that the messages are about, of each kind.
    pub async fn prepare(&self) -> Result<(), ClientError> {
        for (number, pool) in ChaosPool::ALL.into_iter().cycle().take(9).enumerate() {
            let definition = PoolDefinition { name: format!("p{number}"), ..pool.definition() };
            self.0.define_pool(definition).await?;
        }
        Ok(())
    }

    /// Has pairs matched, then drops all other pools. Tells the last id.
    pub async fn look(&self, seed: u64, round: u64) -> Result<u64, String> {
        let mut last = 0;
        for pair in 0..PAIRS {
            let key = format!("{seed}-{round}-{pair}");
            match timeout(PATIENCE, self.pair(&key)).await {
                Ok(Ok(Some(id))) => last = id,
                Ok(Ok(None)) => return Err(format!("the pair {key} was not matched")),
                Ok(Err(error)) => return Err(format!("the pair {key}: {error}")),
                Err(_) => return Err(format!("the pair {key} was not matched within {PATIENCE:?}")),
            }
        }
        match timeout(CLEARING, self.clear()).await {
            Ok(Ok(())) => Ok(last),
            Ok(Err(error)) => Err(format!("the pools of others cannot be dropped: {error}")),
            Err(_) => Err(format!("the pools of others were not dropped within {CLEARING:?}")),
        }
    }

    /// The id of the second of a pair that is matched.
    async fn pair(&self, key: &str) -> Result<Option<u64>, ClientError> {
        use dovetail::client::value;
        let element = |role: i64| Submission {
            key: format!("{key}-{role}"),
            attributes: [("region".to_owned(), value::string(key)), ("role".to_owned(), value::int(role))].into(),
            ..Submission::default()
        };
        let first = self.0.submit_one(POOL, element(0)).await?;
        let second = self.0.submit_one(POOL, element(1)).await?;
        let (found, _) = self.0.get_at(by_id(first), PATIENCE, second).await?;
        let ends: BTreeSet<u64> =
            found.r#match.iter().flat_map(|found| [&found.a, &found.b]).flatten().map(|end| end.id).collect();
        Ok((found.state() == ElementState::Matched && ends == [first, second].into()).then_some(second))
    }

    async fn clear(&self) -> Result<(), ClientError> {
        for pool in self.0.list_pools().await? {
            let definition = pool.definition.unwrap_or_default();
            if definition.name == POOL {
                continue;
            }
            while !self.0.drop_pool(&definition.name, Some(pool.defined_at), PATIENCE).await?.dropped {}
        }
        Ok(())
    }
}
