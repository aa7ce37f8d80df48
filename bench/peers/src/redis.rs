//! Redis: a Lua script takes a batch of elements, pairs each with who has waited longest, and writes the pairs to a
//! list.
//!
//! Redis runs one script at a time, and a key's elements are sent over one connection in the order of ids: it promises
//! the sequential answer, and is checked against it. Which connection has which key is settled before the run.
//!
//! For its best figure, commands are encoded before the clock starts, and each connection has several on their way.
//! There is more than one connection because with `appendfsync always` there is one fsync for each turn of the server's
//! loop, and a turn reads 16 KiB of each. Whether a reply means that the pairs are on disk is up to the server's
//! settings, not to this program.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::answer::Pair;
use crate::workload::{Keyed, Workload, by_key, keyed};

/// Where the server is, and how it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Its port on the loopback address.
    pub port: u16,
    /// Connections.
    pub connections: usize,
    /// Elements in one call of the script.
    pub batch: usize,
    /// Calls of a connection on their way at once.
    pub in_flight: usize,
}

/// Why there is no result.
#[derive(Debug, Error)]
pub enum RedisError {
    /// The connection failed.
    #[error("the connection to 127.0.0.1:{port}: {source}")]
    Connection {
        /// The server's port.
        port: u16,
        /// What happened.
        source: io::Error,
    },
    /// W5 has no key, and a script would test everyone who waits.
    #[error("{0:?} has no program for redis: its rule has no key")]
    NoKey(Workload),
}

/// The pairs of the first `n` elements, and how long it took from the first element's leaving to the last reply.
pub fn run(workload: Workload, n: usize, options: &Options) -> Result<(Vec<Pair>, Duration), RedisError> {
    let elements = keyed(workload, n).ok_or(RedisError::NoKey(workload))?;
    let port = options.port;
    talk(workload, &elements, options).map_err(|source| RedisError::Connection { port, source })
}

fn talk(workload: Workload, elements: &[Keyed], options: &Options) -> io::Result<(Vec<Pair>, Duration)> {
    let mut setup = Connection::open(options.port)?;
    setup.ask(&command(["FLUSHALL"]))?;
    let script = setup.ask(&command(["SCRIPT", "LOAD", script(workload)]))?.concat();
    let mut ready = Vec::new();
    for part in by_key(elements, options.connections) {
        let calls: Vec<_> = part.chunks(options.batch).map(|batch| call(&script, workload, batch)).collect();
        ready.push((Connection::open(options.port)?, calls));
    }

    let in_flight = options.in_flight;
    let began = Instant::now();
    let conversations: Vec<_> = ready
        .into_iter()
        .map(|(connection, calls)| thread::spawn(move || connection.pipeline(calls, in_flight)))
        .collect();
    let mut pairs = Vec::with_capacity(elements.len() / 2);
    for conversation in conversations {
        pairs.extend(conversation.join().map_err(|_| io::Error::other("a connection's thread panicked"))??);
    }
    Ok((pairs, began.elapsed()))
}

/// Both directions of a connection.
struct Connection {
    to: TcpStream,
    from: Replies,
}

impl Connection {
    fn open(port: u16) -> io::Result<Connection> {
        let to = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        to.set_nodelay(true)?;
        let from = Replies(BufReader::with_capacity(1 << 16, to.try_clone()?));
        Ok(Connection { to, from })
    }

    fn ask(&mut self, command: &[u8]) -> io::Result<Vec<String>> {
        self.to.write_all(command)?;
        self.from.next()
    }

    /// Sends all calls, at most `in_flight` of them ahead of their replies, and collects the pairs.
    fn pipeline(self, calls: Vec<Vec<u8>>, in_flight: usize) -> io::Result<Vec<Pair>> {
        let Connection { mut to, mut from } = self;
        let (replies, mut pairs) = (calls.len(), Vec::new());
        // A place in this queue is a call on its way.
        let (enter, leave) = mpsc::sync_channel(in_flight);
        let writer = thread::spawn(move || {
            calls.iter().try_for_each(|call| {
                // The reader ends early only when it failed, and then says why.
                enter.send(()).map_err(io::Error::other)?;
                to.write_all(call)
            })
        });
        for _ in 0..replies {
            let found = from.next()?;
            pairs.extend(found.chunks_exact(2).map(|pair| (number(&pair[0]), number(&pair[1]))));
            leave.recv().map_err(io::Error::other)?;
        }
        writer.join().map_err(|_| io::Error::other("the writer panicked"))??;
        Ok(pairs)
    }
}

/// A call of the script for a batch.
fn call(script: &str, workload: Workload, batch: &[(u64, Keyed)]) -> Vec<u8> {
    let arguments: Vec<_> = batch.iter().flat_map(|(id, element)| arguments(workload, *id, element)).collect();
    command(["EVALSHA", script, "0"].into_iter().chain(arguments.iter().map(String::as_str)))
}

fn script(workload: Workload) -> &'static str {
    match workload {
        Workload::W1 => include_str!("redis/near.lua"),
        Workload::W4 => include_str!("redis/slots.lua"),
        _ => include_str!("redis/queues.lua"),
    }
}

/// What the script is told of an element.
fn arguments(workload: Workload, id: u64, element: &Keyed) -> [String; 3] {
    let Keyed { key, side, skill } = element;
    match workload {
        Workload::W1 => [format!("k{key}"), skill.to_string(), id.to_string()],
        Workload::W3 => ["all".to_owned(), "all".to_owned(), id.to_string()],
        _ => [format!("k{key}:{}", 1 - side), format!("k{key}:{side}"), id.to_string()],
    }
}

/// A command as it goes over the wire: an array of strings with their lengths.
fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let words: Vec<&str> = words.into_iter().collect();
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    text.into_bytes()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

/// What the server answers.
struct Replies(BufReader<TcpStream>);

impl Replies {
    /// The next reply: an array's strings, or the one string that it is.
    fn next(&mut self) -> io::Result<Vec<String>> {
        let (kind, rest) = self.line()?;
        match kind {
            b'*' => (0..number(&rest)).map(|_| self.string()).collect(),
            b'$' => Ok(vec![self.body(&rest)?]),
            b'-' => Err(io::Error::other(rest)),
            _ => Ok(vec![rest]),
        }
    }

    fn string(&mut self) -> io::Result<String> {
        match self.line()? {
            (b'$', length) => self.body(&length),
            (_, rest) => Err(io::Error::other(format!("{rest:?} where a string should be"))),
        }
    }

    fn body(&mut self, length: &str) -> io::Result<String> {
        let mut body = vec![0; number(length) as usize + 2];
        self.0.read_exact(&mut body)?;
        body.truncate(body.len() - 2);
        String::from_utf8(body).map_err(io::Error::other)
    }

    /// The next line: its first byte, and the rest without the end.
    fn line(&mut self) -> io::Result<(u8, String)> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let kind = *line.as_bytes().first().ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((kind, line.get(1..).unwrap_or_default().trim_end().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_strings_with_their_lengths() {
        assert_eq!(command(["LPOP", "k-7:1"]), b"*2\r\n$4\r\nLPOP\r\n$5\r\nk-7:1\r\n");
    }
}
