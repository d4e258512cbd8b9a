//! Splits a template into text and actions, and an action into tokens.

use super::Fault;

/// A part of a template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Literal text.
    Text(String),
    /// The content between the braces; empty for a comment.
    Action { tokens: Vec<Token>, line: usize },
}

/// A token of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword or function, `true`, a number.
    Word(String),
    /// `.Data.data.x`: the names after the dots; empty for the dot alone. `is_joined` if it
    /// directly follows a parenthesis.
    Path {
        names: Vec<String>,
        is_joined: bool,
    },
    /// `$name`, without the dollar.
    Variable(String),
    /// The value of a string.
    Text(String),
    Pipe,
    Comma,
    Assign,
    Open,
    Close,
}

/// Splits a template, and trims the text next to `{{-` and `-}}`.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let (mut rest, mut line) = (text, 1);
    let mut is_trimmed = false;
    loop {
        let begin = rest.find("{{");
        let literal = &rest[..begin.unwrap_or(rest.len())];
        let mut shown = if is_trimmed { literal.trim_start() } else { literal };
        line += literal.matches('\n').count();
        let Some(begin) = begin else {
            push_text(&mut pieces, shown);
            return Ok(pieces);
        };
        let inner = &rest[begin + 2..];
        let inner = match inner.strip_prefix('-').filter(|after| after.starts_with([' ', '\t', '\n', '\r'])) {
            Some(after) => {
                shown = shown.trim_end();
                after
            }
            None => inner,
        };
        push_text(&mut pieces, shown);
        let end = action_end(inner).ok_or_else(|| fault(line, "{{ without }}"))?;
        let mut body = &inner[..end];
        is_trimmed = match body.strip_suffix('-').filter(|before| before.ends_with([' ', '\t', '\n', '\r'])) {
            Some(before) => {
                body = before;
                true
            }
            None => false,
        };
        let is_comment = body.trim().starts_with("/*");
        let tokens =
            if is_comment { Vec::new() } else { tokens(body).map_err(|message| fault(line, &message))? };
        pieces.push(Piece::Action { tokens, line });
        line += inner[..end].matches('\n').count();
        rest = &inner[end + 2..];
    }
}

fn fault(line: usize, message: &str) -> Fault {
    Fault { line, message: message.to_owned() }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The position of the `}}` that ends an action, outside strings and comments.
fn action_end(inner: &str) -> Option<usize> {
    let trimmed = inner.trim_start();
    if trimmed.starts_with("/*") {
        let comment = inner.len() - trimmed.len();
        let end = comment + inner[comment..].find("*/")? + 2;
        return Some(end + inner[end..].find("}}")?);
    }
    let bytes = inner.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(inner, at)?,
            b'`' => at += 1 + inner[at + 1..].find('`')?,
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The position of the quote that ends the string that starts at `start`.
fn string_end(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

fn tokens(body: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = body[at..].chars().next() {
        let rest = &body[at..];
        let (token, length) = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ':' if rest.starts_with(":=") => (Token::Assign, 2),
            '"' => {
                let end = string_end(rest, 0).ok_or("a string is not closed")?;
                // The escapes of JSON; those that only Go has (`\x41`) are rejected.
                let text = serde_json::from_str(&rest[..=end])
                    .map_err(|_| "a string has an escape that is not translated".to_owned())?;
                (Token::Text(text), end + 1)
            }
            '`' => {
                let end = rest[1..].find('`').ok_or("a string is not closed")?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            '$' => {
                let name = name(&rest[1..]);
                (Token::Variable(name.to_owned()), 1 + name.len())
            }
            '.' => {
                let is_joined = at > 0 && body.as_bytes()[at - 1] == b')';
                let (names, length) = path(rest);
                (Token::Path { names, is_joined }, length)
            }
            c if c.is_alphanumeric() || c == '_' => {
                let name = name(rest);
                (Token::Word(name.to_owned()), name.len())
            }
            other => return Err(format!("the character {other:?} is not translated")),
        };
        if let (Token::Path { names, .. }, Some(Token::Variable(variable))) = (&token, tokens.last())
            && !names.is_empty()
            && !body[..at].ends_with(char::is_whitespace)
        {
            return Err(format!("fields of the variable ${variable} are not translated"));
        }
        tokens.push(token);
        at += length;
    }
    Ok(tokens)
}

fn name(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// Parses `.a.b` into names; also returns its length.
fn path(text: &str) -> (Vec<String>, usize) {
    let (mut names, mut at) = (Vec::new(), 0);
    while text[at..].starts_with('.') {
        let name = name(&text[at + 1..]);
        at += 1 + name.len();
        if name.is_empty() {
            break;
        }
        names.push(name.to_owned());
    }
    (names, at)
}
