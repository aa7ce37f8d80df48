//! What `submit` says: refusals and malformed lines as they come, progress, and the closing summary. With `--json`, on
//! stdout, what became of each line.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;
use tonic::Code;

use super::Ended;
use crate::{error::CliError, input::Malformed, match_json, output, table::thousands};
use dovetail::client::{Answer, code_name};
use dovetail_server::printable::printable;

/// What became of the lines so far.
#[derive(Debug)]
pub(super) struct Report {
    input: String,
    /// Whether stderr shows a line that moves.
    live: bool,
    /// Whether stdout is for machines.
    json: bool,
    started: Instant,
    submitted: u64,
    refused: u64,
    malformed: u64,
    /// First and last id.
    ids: Option<(u64, u64)>,
    /// The last line with an answer.
    answered: Option<u64>,
}

/// The end of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complete {
    /// For stdout.
    pub(super) summary: String,
    /// Whether every line was read and taken.
    pub(super) all_worked: bool,
}

impl Report {
    pub(super) fn new(input: String, live: bool, json: bool) -> Report {
        Report {
            input,
            live,
            json,
            started: Instant::now(),
            submitted: 0,
            refused: 0,
            malformed: 0,
            ids: None,
            answered: None,
        }
    }

    pub(super) fn malformed(&mut self, malformed: &Malformed) {
        self.malformed += 1;
        self.say(&format!("{}:{}: malformed: {}", self.input, malformed.line, malformed.reason));
        if self.json {
            self.print(&match_json::line(&json!({ "line": malformed.line, "malformed": malformed.reason })));
        }
    }

    pub(super) fn answered(&mut self, lines: &[u64], answer: &Answer) {
        self.answered = lines.last().copied().or(self.answered);
        for &id in answer.ids.iter().filter(|&&id| id != 0) {
            self.submitted += 1;
            let first = self.ids.map_or(id, |(first, _)| first);
            self.ids = Some((first, id));
        }
        for refusal in &answer.refusals {
            self.refused += 1;
            let line = lines.get(refusal.row as usize).copied().unwrap_or_default();
            let code = code_name(Code::from_i32(refusal.code));
            self.say(&format!("{}:{line}: refused: {} ({code})", self.input, refusal.message));
        }
        if self.json {
            self.print(&outcomes(lines, answer));
        }
    }

    /// Prints for machines. One that has stopped reading is not printed to any more; what is submitted is submitted.
    fn print(&mut self, text: &str) {
        self.json = output::print(text).is_ok();
    }

    /// Moves the progress line, if there is one.
    pub(super) fn progress(&self) {
        if self.live {
            let rate = rate(self.submitted, self.started.elapsed());
            let refused = match self.refused {
                0 => String::new(),
                refused => format!(", {} refused", thousands(refused)),
            };
            eprint!("\r\x1b[K{} submitted, {rate}/s{refused}", thousands(self.submitted));
            // A terminal that is gone shows no progress.
            let _ = io::stderr().flush();
        }
    }

    /// The summary; and on stderr why it ended early, and what is in doubt.
    pub(super) fn close(&self, ended: &Ended, in_doubt: Option<(u64, u64)>) -> Result<Complete, CliError> {
        if self.live {
            eprint!("\r\x1b[K");
        }
        let completed = matches!(ended, Ended::Input);
        match ended {
            Ended::Input => {}
            Ended::Malformed(malformed) => self.stopped(malformed),
            Ended::Interrupted => self.say("interrupted"),
            Ended::Failed(error) => self.say(&format!("error: {error}")),
            // Said last, with the exit code.
            Ended::Late(_) => {}
        }
        if let Some((first, last)) = in_doubt {
            let input = &self.input;
            self.say(&format!("{input}: lines {first} to {last} were sent and not answered: they may have been taken"));
        }
        let go_on_at = in_doubt.map(|(first, _)| first).or(self.answered.map(|last| last + 1));
        if let (Ended::Interrupted | Ended::Failed(_) | Ended::Late(_), Some(line)) = (ended, go_on_at) {
            self.say(&format!("--from-line {line} goes on from here"));
        }
        let all_worked = completed && in_doubt.is_none() && self.refused == 0 && self.malformed == 0;
        Ok(Complete { summary: self.summary(self.started.elapsed()), all_worked })
    }

    fn stopped(&self, malformed: &Malformed) {
        let line = malformed.from_line;
        let pass_over =
            if malformed.fatal { "nothing after it can be read" } else { "--keep-going passes over such lines" };
        self.say(&format!(
            "stopped at the malformed line; what stands before it was submitted. Once it is mended, --from-line {line} goes on; \
             {pass_over}"
        ));
    }

    fn summary(&self, elapsed: Duration) -> String {
        if self.json {
            return match_json::line(&json!({
                "submitted": self.submitted,
                "refused": self.refused,
                "malformed": self.malformed,
                "first_id": self.ids.map(|(first, _)| first),
                "last_id": self.ids.map(|(_, last)| last),
                "elapsed_ms": elapsed.as_millis() as u64,
            }));
        }
        let ids = self.ids.map_or(String::new(), |(first, last)| format!(", ids {first}..{last}"));
        let malformed = match self.malformed {
            0 => String::new(),
            malformed => format!(", {malformed} malformed"),
        };
        format!(
            "submitted {} elements in {:.1} s ({}/s){ids}, {} refused{malformed}\n",
            self.submitted,
            elapsed.as_secs_f64(),
            rate(self.submitted, elapsed),
            self.refused,
        )
    }

    fn say(&self, line: &str) {
        let clear = if self.live { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{}", printable(line));
    }
}

/// What became of each line of a batch.
fn outcomes(lines: &[u64], answer: &Answer) -> String {
    let mut refusals = answer.refusals.iter().peekable();
    let mut text = String::new();
    for (row, (line, id)) in (0..).zip(lines.iter().zip(&answer.ids)) {
        let outcome = match refusals.next_if(|refusal| refusal.row == row) {
            None => json!({ "line": line, "id": id }),
            Some(refusal) => {
                let code = code_name(Code::from_i32(refusal.code));
                json!({ "line": line, "refused": { "code": code, "message": refusal.message } })
            }
        };
        text.push_str(&match_json::line(&outcome));
    }
    text
}

fn rate(count: u64, elapsed: Duration) -> String {
    thousands((count as f64 / elapsed.as_secs_f64().max(1e-9)).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dovetail::pb::Refusal;

    fn report() -> Report {
        Report::new("f".to_owned(), false, false)
    }

    #[test]
    fn the_summary_tells_count_rate_ids_and_refusals() {
        let mut report = report();
        for first in (2..100_002).step_by(1000) {
            report.answered(&[], &Answer { ids: (first..first + 1000).collect(), refusals: Vec::new() });
        }
        let expected = "submitted 100000 elements in 1.8 s (55,556/s), ids 2..100001, 0 refused\n";
        assert_eq!(report.summary(Duration::from_millis(1800)), expected);
    }

    #[test]
    fn nothing_submitted_has_no_ids() {
        assert_eq!(report().summary(Duration::from_secs(1)), "submitted 0 elements in 1.0 s (0/s), 0 refused\n");
    }

    #[test]
    fn it_worked_only_when_every_line_was_read_answered_and_taken() {
        let worked = |report: &Report, ended, in_doubt| report.close(&ended, in_doubt).unwrap().all_worked;
        assert!(worked(&report(), Ended::Input, None));
        assert!(!worked(&report(), Ended::Input, Some((1, 2))));
        assert!(!worked(&report(), Ended::Interrupted, None));
        let mut refused = report();
        let refusal = Refusal { row: 0, code: 6, message: "key \"p1\" is waiting".to_owned(), ..Default::default() };
        refused.answered(&[7], &Answer { ids: vec![0], refusals: vec![refusal] });
        assert!(!worked(&refused, Ended::Input, None));
    }
}
