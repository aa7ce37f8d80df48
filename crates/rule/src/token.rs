//! CEL's tokens, with their places.
//!
//! Bytes literals, unsigned numbers and characters outside CEL are refused here; words are told apart by the parser.

use crate::error::{Reason, Refusal};
use crate::literal;
use crate::source::Span;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Int(u64),
    Double(f64),
    Text(Box<str>),
    /// An identifier, keyword or reserved word.
    Word(Box<str>),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) span: Span,
}

/// Longer signs before their prefixes.
const SIGNS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// Operators of other languages.
const MISTAKEN: [(&str, &str); 15] = [
    ("=", "=="),
    ("&", "&&"),
    ("|", "||"),
    ("≤", "<="),
    ("≥", ">="),
    ("≠", "!="),
    ("−", "-"),
    ("×", "*"),
    ("÷", "/"),
    ("“", "\""),
    ("”", "\""),
    ("‘", "'"),
    ("’", "'"),
    ("`", "'"),
    ("#", "//"),
];

/// The same, of what would begin with a sign that there is.
const MISTAKEN_FIRST: [(&str, &str); 6] =
    [("===", "=="), ("!==", "!="), ("<>", "!="), ("=<", "<="), ("=>", ">="), ("**", "*")];

/// Every token of `source`, the last being `End`.
pub(crate) fn tokens(source: &str) -> Result<Vec<Spanned>, Refusal> {
    let mut lexer = Lexer { source, at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        let token = lexer.next()?;
        let done = token == Token::End;
        out.push(Spanned { token, span: Span { start, end: lexer.at } });
        if done {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn skip_blank(&mut self) {
        loop {
            let trimmed = self.rest().trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
            let comment = match trimmed.starts_with("//") {
                true => trimmed.find('\n').unwrap_or(trimmed.len()),
                false => 0,
            };
            let at = self.source.len() - trimmed.len() + comment;
            self.at = at;
            if comment == 0 {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Token, Refusal> {
        let Some(first) = self.rest().chars().next() else { return Ok(Token::End) };
        let second = self.rest().as_bytes().get(1);
        if first.is_ascii_digit() || first == '.' && second.is_some_and(|byte| byte.is_ascii_digit()) {
            let (token, len) = literal::number(self.rest(), self.at)?;
            self.at += len;
            return Ok(token);
        }
        let prefix = self.rest().bytes().take_while(|byte| matches!(byte, b'r' | b'R' | b'b' | b'B')).count();
        if prefix <= 2 && self.rest()[prefix..].starts_with(['"', '\'']) {
            let (text, len) = literal::string(self.rest(), prefix, self.at)?;
            self.at += len;
            return Ok(Token::Text(text));
        }
        if first == '_' || first.is_ascii_alphabetic() {
            let len = self.rest().bytes().take_while(|byte| *byte == b'_' || byte.is_ascii_alphanumeric()).count();
            let word = self.rest()[..len].into();
            self.at += len;
            return Ok(Token::Word(word));
        }
        self.sign(first)
    }

    fn sign(&mut self, first: char) -> Result<Token, Refusal> {
        let here = |len: usize| Span { start: self.at, end: self.at + len };
        let mistaken = |(found, meant): (&'static str, &'static str)| {
            Refusal::new(here(found.len()), Reason::NotAnOperator { found, meant })
        };
        let begins = |(found, _): &(&str, &str)| self.rest().starts_with(found);
        if let Some(other) = MISTAKEN_FIRST.into_iter().find(begins) {
            return Err(mistaken(other));
        }
        if let Some(sign) = SIGNS.into_iter().find(|sign| self.rest().starts_with(sign)) {
            self.at += sign.len();
            return Ok(Token::Sign(sign));
        }
        if let Some(other) = MISTAKEN.into_iter().find(begins) {
            return Err(mistaken(other));
        }
        Err(Refusal::new(here(first.len_utf8()), Reason::Character { found: first }))
    }
}
