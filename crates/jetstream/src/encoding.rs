//! The bytes of messages: terms, groups, reminders, beats. Pure functions over slices; all integers little-endian.
//!
//! ```text
//! every message   crc 4 | magic 4 | version 2 | kind 2 | log id 16 | body
//! writer          id 16 | length 4 | address
//! term            writer
//! reminder        term 8 | writer
//! group           term 8 | writer | after 8 | through 8 | records 4 | the records
//! record          length 4 | `through` 8 | bytes
//! beat            writer | flags 4 | term 8 | recorded 8 | stored 8 | kept 8
//! ```
//!
//! The checksum is CRC-32C of everything after it. A group names the writer of its term, so that the newest term is
//! known once its beginning is trimmed; so does a reminder, which is put when a term has to be told from a later one
//! and no message of a term is left. Nothing is allocated that the bytes do not pay for.

use bytes::Bytes;
use dovetail_log::Record;
use dovetail_log::shared::{Beat, Group, Position, Term, WriterId};

use crate::options::MESSAGE_BYTES_SPARE;

/// What streams of this format say in their metadata.
pub(crate) const VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"DTJS";
const CHECKSUM_BYTES: usize = 4;
/// Least bytes of a record: those of its header.
const RECORD_BYTES_MIN: usize = 12;

const TERM: u16 = 1;
const GROUP: u16 = 2;
const REMINDER: u16 = 3;
const BEAT: u16 = 4;

const BEAT_YIELDS: u32 = 1;
const BEAT_KNOWS_A_TERM: u32 = 2;

/// Longest address of a writer, in bytes. With it, what a message has beside its records stays below
/// [`MESSAGE_BYTES_SPARE`].
pub(crate) const ADDRESS_BYTES_MAX: usize = 2048;

const _: () = assert!(ADDRESS_BYTES_MAX + 1024 < MESSAGE_BYTES_SPARE, "headers of a message are below 1 KiB");

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A term begins, where the message is.
    Term { writer: WriterId, address: String },
    /// Records of a term.
    Group { term: Term, group: Group },
    /// This term is still the newest.
    Reminder(Term),
}

/// A term that begins.
pub(crate) fn encode_term(log_id: u128, writer: WriterId, address: &str) -> Bytes {
    let mut out = begin(log_id, TERM, 0);
    put_writer(&mut out, writer, address);
    seal(out)
}

/// Says again which term is the newest.
pub(crate) fn encode_reminder(log_id: u128, term: &Term) -> Bytes {
    let mut out = begin(log_id, REMINDER, 0);
    put_term(&mut out, term);
    seal(out)
}

/// Records of a term.
pub(crate) fn encode_group(log_id: u128, term: &Term, group: &Group) -> Bytes {
    let mut out = begin(log_id, GROUP, group.bytes());
    put_term(&mut out, term);
    out.extend_from_slice(&group.after.to_le_bytes());
    out.extend_from_slice(&group.through().to_le_bytes());
    out.extend_from_slice(&length(group.records.len()));
    for record in &group.records {
        out.extend_from_slice(&length(record.bytes.len()));
        out.extend_from_slice(&record.through.to_le_bytes());
        out.extend_from_slice(&record.bytes);
    }
    seal(out)
}

/// A writer says that it lives.
pub(crate) fn encode_beat(log_id: u128, beat: &Beat) -> Bytes {
    let mut out = begin(log_id, BEAT, 0);
    put_writer(&mut out, beat.writer, &beat.address);
    let yields = if beat.yields { BEAT_YIELDS } else { 0 };
    let knows = if beat.term.is_some() { BEAT_KNOWS_A_TERM } else { 0 };
    out.extend_from_slice(&(yields | knows).to_le_bytes());
    for number in [beat.term.unwrap_or_default().0, beat.recorded, beat.stored, beat.kept] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    seal(out)
}

fn begin(log_id: u128, kind: u16, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 256);
    out.extend_from_slice(&[0; CHECKSUM_BYTES]);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&log_id.to_le_bytes());
    out
}

fn put_writer(out: &mut Vec<u8>, writer: WriterId, address: &str) {
    out.extend_from_slice(&writer.0.to_le_bytes());
    out.extend_from_slice(&length(address.len()));
    out.extend_from_slice(address.as_bytes());
}

fn put_term(out: &mut Vec<u8>, term: &Term) {
    out.extend_from_slice(&term.at.0.to_le_bytes());
    put_writer(out, term.writer, &term.address);
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("a message is far below 4 GiB").to_le_bytes()
}

fn seal(mut out: Vec<u8>) -> Bytes {
    let checksum = crc32c::crc32c(&out[CHECKSUM_BYTES..]);
    out[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    out.into()
}

/// What a message of the stream says.
///
/// # Errors
/// When it is not what this log's writers wrote.
pub(crate) fn decode(log_id: u128, message: &Bytes) -> Result<Said, &'static str> {
    let (kind, mut rest) = open(log_id, message)?;
    let said = match kind {
        TERM => {
            let (writer, address) = rest.writer()?;
            Said::Term { writer, address }
        }
        REMINDER => Said::Reminder(rest.term()?),
        GROUP => Said::Group { term: rest.term()?, group: rest.group()? },
        _ => return Err("a message is of a kind that this version does not know"),
    };
    rest.end()?;
    Ok(said)
}

/// What a beat says. None when it is not one of this log.
pub(crate) fn decode_beat(log_id: u128, message: &Bytes) -> Option<Beat> {
    let (kind, mut rest) = open(log_id, message).ok()?;
    if kind != BEAT {
        return None;
    }
    let (writer, address) = rest.writer().ok()?;
    let flags = u32::from_le_bytes(rest.array().ok()?);
    let term = Position(rest.u64().ok()?);
    let (recorded, stored, kept) = (rest.u64().ok()?, rest.u64().ok()?, rest.u64().ok()?);
    rest.end().ok()?;
    Some(Beat {
        writer,
        term: (flags & BEAT_KNOWS_A_TERM != 0).then_some(term),
        recorded,
        stored,
        kept,
        address,
        yields: flags & BEAT_YIELDS != 0,
    })
}

/// The kind of a message, and its body.
fn open(log_id: u128, message: &Bytes) -> Result<(u16, Rest), &'static str> {
    let mut rest = Rest(message.clone());
    let checksum = u32::from_le_bytes(rest.array()?);
    if checksum != crc32c::crc32c(&rest.0) {
        return Err("the checksum of a message does not match");
    }
    if rest.array()? != MAGIC {
        return Err("a message is not of a log: the magic bytes are missing");
    }
    if u16::from_le_bytes(rest.array()?) != VERSION {
        return Err("a message has a format that this version does not read");
    }
    let kind = u16::from_le_bytes(rest.array()?);
    if u128::from_le_bytes(rest.array()?) != log_id {
        return Err("a message is of another log");
    }
    Ok((kind, rest))
}

/// What is left of a message.
struct Rest(Bytes);

impl Rest {
    fn take(&mut self, length: usize) -> Result<Bytes, &'static str> {
        if length > self.0.len() {
            return Err("a message ends too early");
        }
        Ok(self.0.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        Ok(self.take(N)?.as_ref().try_into().expect("as many bytes were taken"))
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<usize, &'static str> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn writer(&mut self) -> Result<(WriterId, String), &'static str> {
        let writer = WriterId(u128::from_le_bytes(self.array()?));
        let length = self.length()?;
        let address = self.take(length)?;
        let address = std::str::from_utf8(&address).map_err(|_| "the address of a writer is no text")?;
        Ok((writer, address.to_owned()))
    }

    fn term(&mut self) -> Result<Term, &'static str> {
        let at = Position(self.u64()?);
        let (writer, address) = self.writer()?;
        Ok(Term { at, writer, address })
    }

    fn group(&mut self) -> Result<Group, &'static str> {
        let (after, through) = (self.u64()?, self.u64()?);
        let count = self.length()?;
        if count > self.0.len() / RECORD_BYTES_MIN {
            return Err("a group has not as many records as it says");
        }
        let mut group = Group { after, records: Vec::with_capacity(count) };
        for _ in 0..count {
            let length = self.length()?;
            let through = self.u64()?;
            group.records.push(Record::new(through, self.take(length)?));
        }
        if group.records.is_empty() || group.through() != through {
            return Err("a group does not end where it says");
        }
        Ok(group)
    }

    fn end(&self) -> Result<(), &'static str> {
        if self.0.is_empty() { Ok(()) } else { Err("a message goes on behind its end") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

    fn term() -> Term {
        Term { at: Position(7), writer: WriterId(u128::MAX - 1), address: "http://[::1]:7700".to_owned() }
    }

    fn group(records: &[(u64, &str)]) -> Group {
        let records = records.iter().map(|&(through, bytes)| Record::new(through, bytes.to_owned())).collect();
        Group { after: 3, records }
    }

    /// A message of each kind, with what it says.
    fn samples() -> Vec<(Bytes, Said)> {
        let Term { writer, address, .. } = term();
        let two = group(&[(4, "four"), (9, "")]);
        vec![
            (encode_term(LOG, writer, &address), Said::Term { writer, address }),
            (encode_reminder(LOG, &term()), Said::Reminder(term())),
            (encode_group(LOG, &term(), &two), Said::Group { term: term(), group: two }),
        ]
    }

    fn beats() -> [Beat; 2] {
        let beat = Beat {
            writer: WriterId(5),
            term: Some(Position(0)),
            recorded: 1,
            stored: u64::MAX,
            kept: 7,
            address: "x".to_owned(),
            yields: true,
        };
        [beat.clone(), Beat { term: None, yields: false, ..beat }]
    }

    #[test]
    fn what_is_written_is_read() {
        for (message, said) in samples() {
            assert_eq!(decode(LOG, &message), Ok(said));
        }
        for beat in beats() {
            assert_eq!(decode_beat(LOG, &encode_beat(LOG, &beat)), Some(beat));
        }
    }

    #[test]
    fn the_bytes_of_a_group_stay_what_they_are() {
        let term = Term { at: Position(2), writer: WriterId(1), address: "a".to_owned() };
        let bytes = encode_group(LOG, &term, &group(&[(4, "z")]));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = "718d7e0b44544a5301000200efcdab8967452301efcdab8967452301020000000000000001000000000000000000000000000000\
                        0100000061030000000000000004000000000000000100000001000000040000000000000\
                        07a";
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_message_with_any_bit_flipped_is_refused() {
        for (message, _) in samples() {
            for bit in 0..8 * message.len() {
                let mut flipped = message.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(LOG, &flipped.into()).is_err(), "bit {bit}");
            }
        }
    }

    /// As an attacker would, or a bug: the checksum is right.
    fn sealed(message: &[u8]) -> Bytes {
        seal(message.to_vec())
    }

    #[test]
    fn a_message_that_ends_too_early_or_goes_on_is_refused_though_its_checksum_is_right() {
        for (message, _) in samples() {
            for length in CHECKSUM_BYTES..message.len() {
                assert!(decode(LOG, &sealed(&message[..length])).is_err(), "{length} bytes");
                assert!(decode(LOG, &message.slice(..length)).is_err(), "{length} bytes");
            }
            let longer = [&message[..], b"!"].concat();
            assert_eq!(decode(LOG, &sealed(&longer)), Err("a message goes on behind its end"));
        }
        assert!(decode(LOG, &Bytes::new()).is_err());
    }

    #[test]
    fn lengths_and_counts_are_believed_no_further_than_the_bytes_go() {
        let message = encode_group(LOG, &term(), &group(&[(4, "four")]));
        for at in 28..message.len() - 3 {
            let mut large = message.to_vec();
            large[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            let read = decode(LOG, &sealed(&large));
            let harmless = matches!(&read, Ok(Said::Group { group, .. }) if group.records.len() == 1);
            assert!(read.is_err() || harmless, "at {at}: {read:?}");
        }
        let mut many = encode_group(LOG, &term(), &group(&[(4, "four")])).to_vec();
        let count = many.len() - "four".len() - RECORD_BYTES_MIN - 4;
        many[count..count + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(LOG, &sealed(&many)), Err("a group has not as many records as it says"));
    }

    #[test]
    fn what_is_not_of_this_log_is_told_from_damage() {
        let message = encode_term(LOG, WriterId(1), "a");
        assert_eq!(decode(LOG + 1, &message), Err("a message is of another log"));
        let mut newer = message.to_vec();
        newer[8] = 2;
        assert_eq!(decode(LOG, &sealed(&newer)), Err("a message has a format that this version does not read"));
        let mut stranger = message.to_vec();
        stranger[4] = b'X';
        assert_eq!(decode(LOG, &sealed(&stranger)), Err("a message is not of a log: the magic bytes are missing"));
        let [beat, _] = beats();
        let unknown = Err("a message is of a kind that this version does not know");
        assert_eq!(decode(LOG, &encode_beat(LOG, &beat)), unknown);
        assert_eq!(decode_beat(LOG, &message), None);
        assert_eq!(decode_beat(LOG + 1, &encode_beat(LOG, &beat)), None);
        let empty = encode_group(LOG, &term(), &group(&[]));
        assert_eq!(decode(LOG, &empty), Err("a group does not end where it says"));
    }
}
