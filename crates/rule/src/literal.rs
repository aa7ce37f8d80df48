//! CEL's number and string literals.

use crate::error::{Reason, Refusal};
use crate::excerpt::excerpt;
use crate::source::Span;
use crate::token::Token;
use crate::value::{STRING_BYTES_MAX, ValueKind};

/// Reads the number `text` begins with: the token and its length. `at` is where `text` begins in the source.
pub(crate) fn number(text: &str, at: usize) -> Result<(Token, usize), Refusal> {
    let refuse = |len: usize, reason: Reason| Err(Refusal::new(Span { start: at, end: at + len }, reason));
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let word = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();

    let hex = text.starts_with("0x") || text.starts_with("0X");
    let mut len =
        if hex { 2 + bytes[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count() } else { digits(0) };
    let mut double = false;
    if !hex && bytes.get(len) == Some(&b'.') && digits(len + 1) > 0 {
        double = true;
        len += 1 + digits(len + 1);
    }
    if !hex && matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            double = true;
            len += 1 + sign + exponent;
        }
    }
    let suffix = word(len);
    let (body, whole) = (&text[..len], &text[..len + suffix]);
    if !double && matches!(&text[len..len + suffix], "u" | "U") {
        let what = format!("unsigned number {}", excerpt(whole));
        return refuse(len + suffix, Reason::Unsupported { what });
    }
    if suffix > 0 || hex && len == 2 {
        return refuse(len + suffix, Reason::NumberForm { text: excerpt(whole) });
    }
    if double {
        return match body.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok((Token::Double(value), len)),
            _ => refuse(len, Reason::NumberRange { text: excerpt(body), kind: ValueKind::Double }),
        };
    }
    let value = if hex { u64::from_str_radix(&body[2..], 16) } else { body.parse() };
    match value {
        // 2^63 is an int only after a minus, which the parser sees.
        Ok(value) if value <= i64::MIN.unsigned_abs() => Ok((Token::Int(value), len)),
        _ => refuse(len, Reason::NumberRange { text: excerpt(body), kind: ValueKind::Int }),
    }
}

/// Reads the string `text` begins with, after `prefix` bytes of `r` and `b`: its content and its length.
pub(crate) fn string(text: &str, prefix: usize, at: usize) -> Result<(Box<str>, usize), Refusal> {
    let refuse =
        |from: usize, to: usize, reason: Reason| Err(Refusal::new(Span { start: at + from, end: at + to }, reason));
    if text[..prefix].contains(['b', 'B']) {
        return refuse(0, prefix, Reason::Unsupported { what: "bytes literal".to_owned() });
    }
    if prefix > 1 {
        return refuse(0, prefix, Reason::Expected { expected: "one \"r\"", found: format!("{:?}", &text[..prefix]) });
    }
    let raw = prefix == 1;
    let quotes = ["\"\"\"", "'''", "\"", "'"];
    let quote =
        quotes.into_iter().find(|quote| text[prefix..].starts_with(quote)).expect("a string begins with a quote");
    let mut content = String::new();
    let mut pos = prefix + quote.len();
    loop {
        let rest = &text[pos..];
        if rest.starts_with(quote) {
            pos += quote.len();
            break;
        }
        match rest.chars().next() {
            Some('\n' | '\r') if quote.len() == 1 => return refuse(0, pos, Reason::UnterminatedString { quote }),
            None => return refuse(0, pos, Reason::UnterminatedString { quote }),
            Some('\\') if !raw => match escape(rest) {
                Ok((c, len)) => {
                    content.push(c);
                    pos += len;
                }
                Err(len) => return refuse(pos, pos + len, Reason::Escape { escape: rest[..len].to_owned() }),
            },
            Some(c) => {
                content.push(c);
                pos += c.len_utf8();
            }
        }
    }
    if content.len() > STRING_BYTES_MAX {
        return refuse(0, pos, Reason::StringTooLong { bytes: content.len() });
    }
    Ok((content.into(), pos))
}

/// The character an escape sequence names, and the sequence's length; or the length of what is none.
fn escape(text: &str) -> Result<(char, usize), usize> {
    let Some(kind) = text.chars().nth(1) else { return Err(1) };
    let simple = |c: char| Ok((c, 2));
    let coded = |from: usize, digits: usize, radix: u32| {
        let code = text.get(from..from + digits).filter(|code| code.chars().all(|c| c.is_digit(radix)));
        let c = code.and_then(|code| u32::from_str_radix(code, radix).ok()).and_then(char::from_u32);
        c.map(|c| (c, from + digits)).ok_or(1 + kind.len_utf8())
    };
    match kind {
        'a' => simple('\x07'),
        'b' => simple('\x08'),
        'f' => simple('\x0c'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'v' => simple('\x0b'),
        '\\' | '?' | '"' | '\'' | '`' => simple(kind),
        'x' | 'X' => coded(2, 2, 16),
        'u' => coded(2, 4, 16),
        'U' => coded(2, 8, 16),
        '0'..='3' => coded(1, 3, 8),
        other => Err(1 + other.len_utf8()),
    }
}
