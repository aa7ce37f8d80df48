//! The grammar: CEL without messages, maps, indexing and macros.
//!
//! ```text
//! expr     = or [ "?" or ":" expr ]
//! or       = and { "||" and }
//! and      = relation { "&&" relation }
//! relation = sum { ( "<" | "<=" | ">=" | ">" | "==" | "!=" | "in" ) sum }
//! sum      = product { ( "+" | "-" ) product }
//! product  = unary { ( "*" | "/" | "%" ) unary }
//! unary    = { "!" | "-" } member
//! member   = primary { "." name [ "(" [ expr { "," expr } ] ")" ] }
//! primary  = literal | name [ "(" [ expr { "," expr } ] ")" ] | "(" expr ")" | "[" [ expr { "," expr } [ "," ] ] "]"
//! ```
//!
//! Recursion is bounded: neither the nesting of brackets and unary operators nor the tree is deeper than [`DEPTH_MAX`].

use crate::ast::{Syntax, SyntaxNode};
use crate::error::{Reason, Refusal};
use crate::excerpt::excerpt;
use crate::help;
use crate::schema::RESERVED;
use crate::source::{DEPTH_MAX, SOURCE_BYTES_MAX, Span};
use crate::token::{Spanned, Token, tokens};
use crate::value::ValueKind;

type Parsed = Result<SyntaxNode, Refusal>;

/// Parses a whole rule.
pub(crate) fn parse(source: &str) -> Parsed {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(Refusal::new(Span::default(), Reason::SourceTooLong { bytes: source.len() }));
    }
    let mut parser = Parser { source, tokens: tokens(source)?, at: 0, nesting: 0 };
    let node = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(node),
        _ => Err(parser.expected("an operator or the end of the rule")),
    }
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Spanned>,
    at: usize,
    nesting: usize,
}

/// Binary operators, loosest first.
const LEVELS: [&[&str]; 5] =
    [&["||"], &["&&"], &["<", "<=", ">=", ">", "==", "!=", "in"], &["+", "-"], &["*", "/", "%"]];

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].token
    }

    fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    /// Takes the next token. The last, `End`, stays.
    fn advance(&mut self) -> Span {
        let span = self.span();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        span
    }

    fn take(&mut self, sign: &str) -> Option<Span> {
        matches!(self.peek(), Token::Sign(found) if *found == sign).then(|| self.advance())
    }

    fn expected(&self, expected: &'static str) -> Refusal {
        let span = self.span();
        let found = match self.peek() {
            Token::End => "the end of the rule".to_owned(),
            _ => format!("\"{}\"", excerpt(&self.source[span.start..span.end])),
        };
        if let Token::Word(word) = self.peek()
            && let Some((found, meant)) = help::operator(word)
        {
            let next = self.tokens.get(self.at + 1).map(|next| &next.token);
            let not_in = meant == "!" && matches!(next, Some(Token::Word(word)) if &**word == "in");
            let help = not_in.then_some("what is not in a list is !(x in a.list)");
            return Refusal::new(span, Reason::NotAnOperator { found, meant }).help(help);
        }
        Refusal::new(span, Reason::Expected { expected, found })
    }

    fn unsupported<T>(span: Span, what: &str, instead: Option<&str>) -> Result<T, Refusal> {
        Err(Refusal::new(span, Reason::Unsupported { what: what.to_owned() }).help(instead))
    }

    fn node(span: Span, syntax: Syntax) -> Parsed {
        let depth = syntax.depth();
        if depth > DEPTH_MAX {
            return Err(Refusal::new(span, Reason::TooDeep));
        }
        Ok(SyntaxNode { span, syntax, depth })
    }

    /// Runs `parse` one level deeper.
    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.nesting == DEPTH_MAX {
            return Err(Refusal::new(self.span(), Reason::TooDeep));
        }
        self.nesting += 1;
        let node = parse(self)?;
        self.nesting -= 1;
        Ok(node)
    }

    fn expr(&mut self) -> Parsed {
        self.nested(|parser| {
            let condition = parser.binary(0)?;
            if parser.take("?").is_none() {
                return Ok(condition);
            }
            let then = parser.binary(0)?;
            if parser.take(":").is_none() {
                return Err(parser.expected("\":\""));
            }
            let otherwise = parser.expr()?;
            let span = condition.span.to(otherwise.span);
            let [condition, then, otherwise] = [condition, then, otherwise].map(Box::new);
            Self::node(span, Syntax::Choice { condition, then, otherwise })
        })
    }

    /// A chain of operators of `level` or tighter ones.
    fn binary(&mut self, level: usize) -> Parsed {
        let mut left = self.unary()?;
        while let Some((level, operator)) = self.operator().filter(|(found, _)| *found >= level) {
            let operator_span = self.advance();
            let right = self.binary(level + 1)?;
            left = Self::join(operator, operator_span, left, right)?;
        }
        Ok(left)
    }

    /// The operator that comes next, and its level.
    fn operator(&self) -> Option<(usize, &'static str)> {
        let found: &str = match self.peek() {
            Token::Sign(sign) => sign,
            Token::Word(word) => word,
            _ => return None,
        };
        let among = |(level, operators): (usize, &[&'static str])| {
            operators.iter().find(|operator| **operator == found).map(|operator| (level, *operator))
        };
        LEVELS.into_iter().enumerate().find_map(among)
    }

    fn join(operator: &'static str, operator_span: Span, left: SyntaxNode, right: SyntaxNode) -> Parsed {
        let span = left.span.to(right.span);
        let all = operator == "&&";
        if !all && operator != "||" {
            let [left, right] = [left, right].map(Box::new);
            return Self::node(span, Syntax::Binary { operator, operator_span, left, right });
        }
        // A chain grows in place, so that it is one level deep however long it is.
        let operands = match left {
            SyntaxNode { syntax: Syntax::Logic { all: same, mut operands }, .. } if same == all => {
                operands.push(right);
                operands
            }
            left => vec![left, right],
        };
        Self::node(span, Syntax::Logic { all, operands })
    }

    fn unary(&mut self) -> Parsed {
        let start = self.span();
        if self.take("!").is_some() {
            let of = self.nested(Self::unary)?;
            return Self::node(start.to(of.span), Syntax::Not(Box::new(of)));
        }
        if self.take("-").is_none() {
            return self.member();
        }
        // A minus right before digits belongs to the literal: the lowest int has no positive counterpart.
        let value = match self.peek() {
            Token::Int(value) => Syntax::Int(0_i64.wrapping_sub_unsigned(*value)),
            Token::Double(value) => Syntax::Double(-value),
            _ => {
                let of = self.nested(Self::unary)?;
                return Self::node(start.to(of.span), Syntax::Negate(Box::new(of)));
            }
        };
        let end = self.advance();
        let literal = Self::node(start.to(end), value)?;
        self.members(literal)
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.members(primary)
    }

    fn members(&mut self, mut of: SyntaxNode) -> Parsed {
        loop {
            match self.peek() {
                Token::Sign("[") => {
                    return Self::unsupported(
                        self.span(),
                        "indexing",
                        Some(match self.tokens[self.at + 1].token {
                            Token::Text(_) => "an attribute is named after a dot, as in a.name",
                            _ => "write \"x\" in a.list, or submit the entry as an attribute",
                        }),
                    );
                }
                Token::Sign("{") => return Self::unsupported(self.span(), "message construction", None),
                Token::Sign(".") => {}
                _ => return Ok(of),
            }
            self.advance();
            if matches!(self.peek(), Token::Sign("?")) {
                let instead = Some("any attribute may be missing, which has(a.x) tells");
                return Self::unsupported(self.span(), "optional selection", instead);
            }
            let Token::Word(name) = self.peek() else { return Err(self.expected("a name")) };
            let name = name.clone();
            self.refuse_reserved(&name)?;
            let name_span = self.advance();
            let start = of.span;
            let syntax = match self.take("(") {
                Some(_) => Syntax::Call { arguments: self.list(")")?, receiver: Some(Box::new(of)), name, name_span },
                None => Syntax::Select { of: Box::new(of), name, name_span },
            };
            of = self.finished(start, syntax)?;
        }
    }

    fn primary(&mut self) -> Parsed {
        let span = self.span();
        let syntax = match self.peek().clone() {
            Token::Int(value) => match i64::try_from(value) {
                Ok(value) => Syntax::Int(value),
                Err(_) => {
                    let text = self.source[span.start..span.end].to_owned();
                    return Err(Refusal::new(span, Reason::NumberRange { text, kind: ValueKind::Int }));
                }
            },
            Token::Double(value) => Syntax::Double(value),
            Token::Text(text) => Syntax::Text(text),
            Token::Word(word) => return self.word(word),
            Token::Sign("(") => return self.parenthesised(),
            Token::Sign("[") => {
                self.advance();
                let entries = self.list("]")?;
                return self.finished(span, Syntax::List(entries));
            }
            Token::Sign("{") => return Self::unsupported(span, "map literal", None),
            Token::Sign(".") => return Self::unsupported(span, "leading \".\"", None),
            Token::Sign(_) | Token::End => return Err(self.expected("an expression")),
        };
        self.advance();
        Self::node(span, syntax)
    }

    fn parenthesised(&mut self) -> Parsed {
        let open = self.advance();
        let inner = self.expr()?;
        let Some(close) = self.take(")") else {
            let list = matches!(self.peek(), Token::Sign(",")).then_some("a list is written with [ ], as in [1, 2]");
            return Err(self.expected("an operator or \")\"").help(list));
        };
        // The brackets become part of the place, not of the tree.
        Ok(SyntaxNode { span: open.to(close), ..inner })
    }

    fn word(&mut self, word: Box<str>) -> Parsed {
        let span = self.span();
        match &*word {
            "true" | "false" => {
                self.advance();
                return Self::node(span, Syntax::Bool(&*word == "true"));
            }
            "null" => return Self::unsupported(span, "null", help::reserved("null")),
            // `not x`, and not an element called so.
            "not" | "NOT" if matches!(self.tokens[self.at + 1].token, Token::Word(_)) => {
                return Err(self.expected("an expression"));
            }
            "in" => return Err(self.expected("an expression")),
            _ => self.refuse_reserved(&word).map_err(|refusal| refusal.help(help::reserved(&word)))?,
        }
        self.advance();
        match self.take("(") {
            Some(_) => {
                let arguments = self.list(")")?;
                self.finished(span, Syntax::Call { receiver: None, name: word, name_span: span, arguments })
            }
            None => Self::node(span, Syntax::Name(word)),
        }
    }

    fn refuse_reserved(&self, word: &str) -> Result<(), Refusal> {
        match RESERVED.contains(&word) {
            true => Err(Refusal::new(self.span(), Reason::Reserved { word: word.to_owned() })),
            false => Ok(()),
        }
    }

    /// Comma-separated expressions up to and including `close`. A list, unlike a call, may end with a comma.
    fn list(&mut self, close: &str) -> Result<Vec<SyntaxNode>, Refusal> {
        let mut entries = Vec::new();
        while self.take(close).is_none() {
            if close == "]" && matches!(self.peek(), Token::Sign("?")) {
                return Self::unsupported(self.span(), "optional entry", None);
            }
            entries.push(self.expr()?);
            match self.take(",") {
                Some(_) if close == ")" && matches!(self.peek(), Token::Sign(")")) => {
                    return Err(self.expected("an expression"));
                }
                Some(_) => {}
                None if self.take(close).is_some() => return Ok(entries),
                None if close == ")" => return Err(self.expected("\",\" or \")\"")),
                None => return Err(self.expected("\",\" or \"]\"")),
            }
        }
        Ok(entries)
    }

    /// A node from `start` to the token just taken.
    fn finished(&self, start: Span, syntax: Syntax) -> Parsed {
        Self::node(start.to(self.tokens[self.at - 1].span), syntax)
    }
}
