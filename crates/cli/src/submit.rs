//! `dovetail submit`: elements from a file or a pipe, in batches, with ids in the order of the lines.

mod report;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::report::Report;
use super::arguments::ServerArgs;
use super::error::CliError;
use super::input::{Element, Elements, InputArgs, Malformed};
use super::schema::PoolSchema;
use super::{notices, output, pool};
use dovetail::client::{Answer, Client, ClientError, SubmitOptions, SubmitStream};
use dovetail_server::shutdown::Shutdown;

/// Elements read ahead of the batch being filled.
const READ_AHEAD: usize = 4096;

/// How long an element waits for its batch to fill: a pipe that pauses is not kept waiting.
const LINGER: Duration = Duration::from_millis(5);

/// How often the progress line moves.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
A line of NDJSON; payload (also as {\"base64\":\"..\"}), ttl_ms and idempotency_key may be there:
  {\"key\":\"p1\",\"attributes\":{\"region\":\"eu\",\"skill\":1500},\"payload\":\"..\",\"ttl_ms\":60000}

CSV; an empty cell is a missing attribute, lists are separated by |:
  key,region,skill,maps,ttl_ms
  p1,eu,1500,dust|mirage,60000

Examples:
  dovetail submit --pool duel examples/players.ndjson
  dovetail submit --pool duel --delimiter ';' --key-column Player \\
      --rename 'Skill Level=skill' --null NA ranks.csv
  producer | dovetail submit --pool duel -

docs/files.md says how every value is read.";

/// Flags of `dovetail submit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SubmitArgs {
    #[command(flatten)]
    input: InputArgs,
    /// The pool to submit to
    #[arg(long, value_name = "POOL")]
    pool: String,
    /// Count malformed lines and pass over them, instead of stopping at the first
    #[arg(long)]
    keep_going: bool,
    /// Most elements in a message
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// Most messages without an answer
    #[arg(long, value_name = "N", default_value_t = SubmitOptions::IN_FLIGHT, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Print a JSON object for each line, with its id or why it was not taken, and one for all of them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Submits, and prints the closing summary.
pub async fn run(arguments: SubmitArgs) -> Result<(), CliError> {
    let late = arguments.server.deadline();
    let (client, mut submission) = arguments.server.run(async |client: Client| begin(client, &arguments).await).await?;
    let ended = tokio::select! {
        biased;
        ended = notices::during(&client, submission.run()) => ended,
        error = late => Ended::Late(error),
    };
    let in_doubt = submission.in_doubt();
    let complete = submission.report.close(&ended, in_doubt)?;
    output::print(&complete.summary)?;
    match (ended, complete.all_worked) {
        (Ended::Late(error), _) => Err(error),
        (Ended::Input, true) => arguments.input.reached(),
        (_, true) => Ok(()),
        (_, false) => Err(CliError::Reported),
    }
}

/// All that there is to do before the first element.
async fn begin(client: Client, arguments: &SubmitArgs) -> Result<(Client, Submission), CliError> {
    let schema = PoolSchema::of(&pool::definition(&client, &arguments.pool).await?);
    let elements = read_ahead(arguments.input.open(schema)?);
    let options = SubmitOptions { in_flight: arguments.in_flight.into() };
    let stream = client.submit(arguments.pool.as_str(), options).await?;
    let submission = Submission {
        stream,
        elements,
        batch_max: arguments.batch.into(),
        keep_going: arguments.keep_going,
        shutdown: Shutdown::on_signals().map_err(CliError::Runtime)?,
        filling: Vec::new(),
        unanswered: VecDeque::new(),
        report: Report::new(arguments.input.name(), io::stderr().is_terminal(), arguments.json),
    };
    Ok((client, submission))
}

/// Reads on a thread of its own, which ends with the file, or when the receiver is gone.
fn read_ahead(elements: Elements) -> mpsc::Receiver<Result<Element, Malformed>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    // Not tokio's: the process may end while this one still waits for a pipe.
    thread::spawn(move || {
        for element in elements {
            if sender.blocking_send(element).is_err() {
                break;
            }
        }
    });
    receiver
}

/// How the run came to its end.
#[derive(Debug)]
enum Ended {
    /// Every line was read.
    Input,
    /// A malformed line, and no `--keep-going`, or no way to go on.
    Malformed(Malformed),
    /// SIGINT or SIGTERM.
    Interrupted,
    /// The connection broke, or the server ended the stream.
    Failed(ClientError),
    /// The time for it ran out.
    Late(CliError),
}

struct Submission {
    stream: SubmitStream,
    elements: mpsc::Receiver<Result<Element, Malformed>>,
    batch_max: usize,
    keep_going: bool,
    shutdown: Shutdown,
    filling: Vec<Element>,
    /// Lines of the batches without an answer, oldest first.
    unanswered: VecDeque<Vec<u64>>,
    report: Report,
}

impl Submission {
    async fn run(&mut self) -> Ended {
        match self.read_and_send().await {
            Ok(ended) => match self.finish().await {
                Ok(()) => ended,
                Err(error) => Ended::Failed(error),
            },
            Err(error) => Ended::Failed(error),
        }
    }

    async fn read_and_send(&mut self) -> Result<Ended, ClientError> {
        let mut arrived = Vec::with_capacity(self.batch_max);
        let mut progress = interval(PROGRESS_EVERY);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut full_by = Instant::now();
        loop {
            let (waits, room) = (self.stream.unanswered() > 0, self.stream.has_room());
            let space = self.batch_max - self.filling.len();
            tokio::select! {
                answer = self.stream.answer(), if waits => {
                    if let Some(answer) = answer? {
                        self.answered(&answer);
                    }
                }
                count = self.elements.recv_many(&mut arrived, space), if room => {
                    if count == 0 {
                        return Ok(Ended::Input);
                    }
                    if self.filling.is_empty() {
                        full_by = Instant::now() + LINGER;
                    }
                    if let Some(malformed) = self.take(arrived.drain(..)) {
                        return Ok(Ended::Malformed(malformed));
                    }
                    if self.filling.len() == self.batch_max {
                        self.send().await?;
                    }
                }
                () = sleep_until(full_by), if room && !self.filling.is_empty() => self.send().await?,
                _ = progress.tick() => self.report.progress(),
                () = self.shutdown.given() => return Ok(Ended::Interrupted),
            }
        }
    }

    /// What to stop at. Nothing after it is taken.
    fn take(&mut self, arrived: impl Iterator<Item = Result<Element, Malformed>>) -> Option<Malformed> {
        for element in arrived {
            match element {
                Ok(element) => self.filling.push(element),
                Err(malformed) => {
                    self.report.malformed(&malformed);
                    if !self.keep_going || malformed.fatal {
                        return Some(malformed);
                    }
                }
            }
        }
        None
    }

    async fn send(&mut self) -> Result<(), ClientError> {
        let (lines, rows) = self.filling.drain(..).map(|element| (element.line, element.submission)).unzip();
        // Before it is sent: a caller that stops waiting must know of it.
        self.unanswered.push_back(lines);
        if let Some(answer) = self.stream.send(rows).await? {
            self.answered(&answer);
        }
        Ok(())
    }

    /// Sends what is left, and waits for the answers.
    async fn finish(&mut self) -> Result<(), ClientError> {
        if !self.filling.is_empty() {
            self.send().await?;
        }
        self.stream.close();
        while let Some(answer) = self.stream.answer().await? {
            self.answered(&answer);
        }
        Ok(())
    }

    fn answered(&mut self, answer: &Answer) {
        let lines = self.unanswered.pop_front().unwrap_or_default();
        self.report.answered(&lines, answer);
    }

    /// First and last line that was sent and not answered.
    fn in_doubt(&self) -> Option<(u64, u64)> {
        let mut lines = self.unanswered.iter().flatten();
        let first = *lines.next()?;
        Some((first, lines.next_back().copied().unwrap_or(first)))
    }
}
