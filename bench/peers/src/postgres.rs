//! PostgreSQL: four connections put elements into a table of those who wait, and pairs into another, committed to disk.
//!
//! Two programs. **Rows**: one transaction for each element, as one finds it on the web, with `FOR UPDATE SKIP LOCKED`.
//! Any worker takes the next element, so two that are under way at once do not see each other: nothing is matched
//! twice, but the pairs are not those of the sequential program, and a few that could be are not made. **Sets**: one
//! transaction for a batch of elements, each worker with keys of its own, settled before the run; in one statement
//! where the rule allows it. That gives the sequential answer, and is checked against it.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::task::{JoinError, JoinSet};
use tokio_postgres::{Client, NoTls};

use crate::answer::Pair;
use crate::workload::{Keyed, Numbered, Workload, by_key, keyed};

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// One transaction for each element.
    Rows,
    /// One for so many.
    Sets {
        /// Elements in a transaction.
        batch: usize,
    },
}

/// Where the server is, and by how many it is asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// As libpq has it: `host=127.0.0.1 port=5432 user=postgres`.
    pub server: String,
    /// Connections.
    pub workers: usize,
    /// Which program.
    pub program: Program,
}

/// Why there is no result.
#[derive(Debug, Error)]
pub enum PostgresError {
    /// The server, or the way to it.
    #[error("postgres: {0}: {cause}", cause = cause(.0))]
    Server(#[from] tokio_postgres::Error),
    /// W5 has no key, and every element would be tested with all who wait.
    #[error("{0:?} has no program for postgres: its rule has no key")]
    NoKey(Workload),
    /// A bug of ours.
    #[error(transparent)]
    Worker(#[from] JoinError),
}

/// The pairs of the first `n` elements, and how long it took from the first element to the last commit.
pub async fn run(workload: Workload, n: usize, options: &Options) -> Result<(Vec<Pair>, Duration), PostgresError> {
    let elements = keyed(workload, n).ok_or(PostgresError::NoKey(workload))?;
    let client = connect(&options.server).await?;
    client.batch_execute(&definitions(workload, options.program)).await?;
    let parts = parts(&elements, options);
    let next = Arc::new(AtomicUsize::new(0));
    let mut connected = Vec::new();
    for part in parts {
        connected.push((connect(&options.server).await?, part));
    }

    let began = Instant::now();
    let mut workers = JoinSet::new();
    for (client, part) in connected {
        match options.program {
            Program::Rows => workers.spawn(one_by_one(client, part, Arc::clone(&next))),
            Program::Sets { batch } => workers.spawn(in_batches(client, part, batch)),
        };
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let took = began.elapsed();

    let rows = client.query("SELECT low, high FROM matches", &[]).await?;
    let id = |row: &tokio_postgres::Row, column| row.try_get::<_, i64>(column).map(|id| id as u64);
    let pairs = rows.iter().map(|row| Ok((id(row, 0)?, id(row, 1)?))).collect::<Result<_, tokio_postgres::Error>>()?;
    Ok((pairs, took))
}

/// What the server said; the client's own text is only "db error".
fn cause(error: &tokio_postgres::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

async fn connect(server: &str) -> Result<Client, PostgresError> {
    let (client, connection) = tokio_postgres::connect(server, NoTls).await?;
    // Its errors come to the client as well.
    tokio::spawn(async move { connection.await.ok() });
    Ok(client)
}

/// Tables, the index that the search needs, and the function that takes elements.
fn definitions(workload: Workload, program: Program) -> String {
    let index = match workload {
        Workload::W1 => "CREATE INDEX ON waiting (key, skill);",
        Workload::W3 => "",
        _ => "CREATE INDEX ON waiting (key, side, id);",
    };
    let rule = match workload {
        Workload::W1 => "key = e_key AND skill BETWEEN e_skill - 25 AND e_skill + 25",
        Workload::W3 => "true",
        _ => "key = e_key AND side = 1 - e_side",
    };
    let function = match (program, workload) {
        (Program::Rows, _) => include_str!("postgres/row.sql").replace("{rule}", rule),
        (_, Workload::W1) => include_str!("postgres/loop.sql").to_owned(),
        (_, Workload::W3) => include_str!("postgres/anyone.sql").to_owned(),
        _ => include_str!("postgres/sides.sql").to_owned(),
    };
    let tables = include_str!("postgres/tables.sql");
    format!("SET client_min_messages = error; {tables} {index} {function} CHECKPOINT;")
}

/// Shared by the workers, or one's own.
type Part = Arc<Numbered>;

/// What each worker has: all of them everything, or each the elements of its keys.
fn parts(elements: &[Keyed], options: &Options) -> Vec<Part> {
    match options.program {
        Program::Rows => {
            let all: Part = Arc::new((1..).zip(elements.iter().copied()).collect());
            (0..options.workers).map(|_| Arc::clone(&all)).collect()
        }
        Program::Sets { .. } => by_key(elements, options.workers).into_iter().map(Arc::new).collect(),
    }
}

async fn one_by_one(client: Client, elements: Part, next: Arc<AtomicUsize>) -> Result<(), tokio_postgres::Error> {
    let arrive = client.prepare("SELECT arrive($1, $2, $3, $4)").await?;
    while let Some((id, element)) = elements.get(next.fetch_add(1, Ordering::Relaxed)) {
        client.query(&arrive, &[&(*id as i64), &element.key, &element.side, &element.skill]).await?;
    }
    Ok(())
}

async fn in_batches(client: Client, elements: Part, batch: usize) -> Result<(), tokio_postgres::Error> {
    let arrive = client.prepare("SELECT arrive_all($1, $2, $3, $4)").await?;
    for batch in elements.chunks(batch) {
        let ids: Vec<i64> = batch.iter().map(|(id, _)| *id as i64).collect();
        let keys: Vec<i64> = batch.iter().map(|(_, element)| element.key).collect();
        let sides: Vec<i16> = batch.iter().map(|(_, element)| element.side).collect();
        let skills: Vec<i32> = batch.iter().map(|(_, element)| element.skill).collect();
        client.query(&arrive, &[&ids, &keys, &sides, &skills]).await?;
    }
    Ok(())
}
