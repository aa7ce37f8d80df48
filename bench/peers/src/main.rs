//! `dovetail-peers`: what Dovetail is measured against, one program a run, one line of JSON for it.
//!
//! `bench/run` starts servers, runs these and Dovetail in turn, and makes the table; [bench/README.md](../../README.md)
//! tells what each one does, what it promises, and what is not alike. A result with an element matched twice, or with
//! other pairs than the sequential ones where the peer promises those, is an error here and no figure.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people and scripts")]

mod answer;
mod postgres;
mod redis;
mod sequential;
mod skeleton;
mod workload;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, value_parser};
use serde::Serialize;
use thiserror::Error;

use answer::{Answer, Pair, WrongPair};
use postgres::{PostgresError, Program};
use redis::RedisError;
use sequential::Task;
use skeleton::SkeletonError;
use skeleton::node::Role;
use workload::Workload;

/// Runs what Dovetail is measured against, and prints a line of JSON.
#[derive(Debug, Parser)]
#[command(name = "dovetail-peers", version)]
struct Arguments {
    #[command(subcommand)]
    peer: Peer,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, Args)]
struct Input {
    /// The workload.
    #[arg(long)]
    workload: Workload,
    /// Elements.
    #[arg(long, value_parser = value_parser!(u32).range(2..=10_000_000))]
    elements: u32,
}

#[derive(Debug, Subcommand)]
enum Peer {
    /// One thread, in memory, with an index by key.
    Index(Input),
    /// One thread, in memory, testing everyone who waits.
    Scan(Input),
    /// gRPC alone: a cluster's messages, and nobody who matches.
    Skeleton {
        /// Elements.
        #[arg(long, value_parser = value_parser!(u32).range(1..))]
        elements: u32,
        /// Processes that match.
        #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(1..=16))]
        matchers: u8,
        /// Processes that gather.
        #[arg(long, default_value_t = 3, value_parser = value_parser!(u8).range(1..=16))]
        gatherers: u8,
        /// Elements in a batch.
        #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(1..=4096))]
        batch: u32,
        /// Batches on their way at once.
        #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(1..=1024))]
        in_flight: u16,
    },
    /// PostgreSQL, one transaction for each element, SKIP LOCKED.
    PostgresRows(Postgres),
    /// PostgreSQL, one transaction for a batch.
    PostgresSets {
        #[command(flatten)]
        postgres: Postgres,
        /// Elements in a batch.
        #[arg(long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=100_000))]
        batch: u32,
    },
    /// Redis, a Lua script for a batch.
    Redis {
        #[command(flatten)]
        input: Input,
        /// The server's port on 127.0.0.1. Everything in it is lost.
        #[arg(long)]
        port: u16,
        /// Connections.
        #[arg(long, default_value_t = 8, value_parser = value_parser!(u8).range(1..=64))]
        connections: u8,
        /// Elements in a batch.
        #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(1..=1024))]
        batch: u32,
        /// Batches of a connection on their way at once.
        #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(1..=1024))]
        in_flight: u16,
    },
    /// A node of the skeleton, started by it.
    #[command(hide = true)]
    Node {
        role: Role,
        index: u32,
        #[arg(value_parser = value_parser!(u8).range(1..))]
        followers: u8,
    },
}

#[derive(Debug, Args)]
struct Postgres {
    #[command(flatten)]
    input: Input,
    /// The server, as libpq has it: `host=127.0.0.1 port=5432 user=postgres`. Tables `waiting` and `matches` are
    /// dropped.
    #[arg(long)]
    server: String,
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u8).range(1..=64))]
    workers: u8,
}

/// A run's figure.
#[derive(Debug, Serialize)]
struct Figure {
    elements: u64,
    seconds: f64,
    elements_per_s: f64,
    /// Pairs made; `None` where nobody matches.
    matches: Option<u64>,
    /// Pairs of the sequential answer.
    matches_sequential: Option<u64>,
    /// Whether the pairs are those of the sequential answer.
    sequential: Option<bool>,
}

#[derive(Debug, Error)]
enum PeerError {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    #[error("skeleton: {0}")]
    Skeleton(#[from] SkeletonError),
    #[error(transparent)]
    Wrong(#[from] WrongPair),
    #[error("the pairs come to {found:x?}, but those of the sequential program to {expected:x?}")]
    NotSequential { found: Answer, expected: Answer },
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

fn main() -> ExitCode {
    match run(Arguments::parse().peer) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(figure)) => {
            println!("{}", serde_json::json!(figure));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("dovetail-peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(peer: Peer) -> Result<Option<Figure>, PeerError> {
    // One thread: the clients of servers that have the other processor to themselves, and nodes that are many.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figure = match peer {
        Peer::Index(input) => timed(input, Task::index),
        Peer::Scan(input) => timed(input, Task::scan),
        Peer::Skeleton { elements, matchers, gatherers, batch, in_flight } => {
            let (matchers, gatherers) = (matchers.into(), gatherers.into());
            let options =
                skeleton::run::Options { matchers, gatherers, batch: batch as usize, in_flight: in_flight.into() };
            let (elements, took) = runtime.block_on(skeleton::run::run(elements as usize, &options))?;
            Ok(Figure::new(elements, took))
        }
        Peer::PostgresRows(postgres) => {
            let made = runtime.block_on(postgres.run(Program::Rows))?;
            Figure::checked(postgres.input, made, false)
        }
        Peer::PostgresSets { postgres, batch } => {
            let made = runtime.block_on(postgres.run(Program::Sets { batch: batch as usize }))?;
            Figure::checked(postgres.input, made, true)
        }
        Peer::Redis { input, port, connections, batch, in_flight } => {
            let (connections, in_flight) = (connections.into(), in_flight.into());
            let options = redis::Options { port, connections, batch: batch as usize, in_flight };
            Figure::checked(input, redis::run(input.workload, input.elements as usize, &options)?, true)
        }
        Peer::Node { role, index, followers } => {
            runtime.block_on(skeleton::node::run(role, index, followers.into()))?;
            return Ok(None);
        }
    };
    figure.map(Some)
}

impl Postgres {
    async fn run(&self, program: Program) -> Result<(Vec<Pair>, Duration), PostgresError> {
        let options = postgres::Options { server: self.server.clone(), workers: self.workers.into(), program };
        postgres::run(self.input.workload, self.input.elements as usize, &options).await
    }
}

/// Runs a sequential program twice: the first time warms the memory it takes.
fn timed(input: Input, program: fn(&Task) -> Vec<Pair>) -> Result<Figure, PeerError> {
    let task = Task::new(input.workload, input.elements as usize);
    program(&task);
    let began = Instant::now();
    let pairs = program(&task);
    let took = began.elapsed();
    Figure::checked(input, (pairs, took), true)
}

impl Figure {
    fn new(elements: u64, took: Duration) -> Figure {
        let seconds = took.as_secs_f64();
        let elements_per_s = elements as f64 / seconds;
        Figure { elements, seconds, elements_per_s, matches: None, matches_sequential: None, sequential: None }
    }

    /// Holds the pairs against the sequential answer, which is an error to miss for a peer that promises it.
    fn checked(input: Input, made: (Vec<Pair>, Duration), promised: bool) -> Result<Figure, PeerError> {
        let elements = input.elements as usize;
        let (pairs, took) = made;
        let found = Answer::of(elements, &pairs)?;
        let expected = Answer::of(elements, &Task::new(input.workload, elements).index())?;
        if promised && found != expected {
            return Err(PeerError::NotSequential { found, expected });
        }
        Ok(Figure {
            matches: Some(found.matches),
            matches_sequential: Some(expected.matches),
            sequential: Some(found == expected),
            ..Figure::new(elements as u64, took)
        })
    }
}
