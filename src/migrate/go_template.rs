//! Translates templates of vault-k8s (Go's `text/template` with the functions of consul-template)
//! to templates of the agent, if the output stays the same.
//!
//! White space around trim markers (`{{-`) is removed during parsing, as Go does; the result has no
//! such markers.

mod expression;
mod lexer;

use std::fmt;

use self::{
    expression::{Base, Names, Pipeline, condition, value},
    lexer::{Piece, Token},
};

/// The result of a translation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translation {
    /// The template.
    pub(super) template: String,
    /// The paths of Vault that it reads, without duplicates and in order. If there are several, the
    /// template refers to each by its alias.
    pub(super) secrets: Vec<NamedPath>,
}

/// A path of Vault and its alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedPath {
    pub(super) alias: String,
    pub(super) path: String,
}

/// A construct that cannot be translated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The line of the template, from 1.
    pub(super) line: usize,
    pub(super) message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the template: {}", self.line, self.message)
    }
}

/// The mapping of field names from Vault to `ScaiVault`.
pub(super) trait Fields {
    /// The new name of a field; unchanged if the path is not known.
    fn field(&self, path: &str, name: &str) -> String;
    /// Whether any field has another name.
    fn has_renamed(&self, path: &str) -> bool;
}

/// Translates a template.
pub(super) fn translate(text: &str, fields: &dyn Fields) -> Result<Translation, Fault> {
    let pieces = lexer::pieces(text)?;
    let secrets = secrets(&pieces);
    let mut translator = Translator {
        names: Names { secrets: &secrets, fields, scopes: Vec::new() },
        blocks: Vec::new(),
        output: String::new(),
    };
    for (index, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Text(text) => {
                let is_before_tag =
                    pieces[index + 1..].iter().any(|piece| matches!(piece, Piece::Action { .. }));
                translator.text(text, is_before_tag);
            }
            Piece::Action { tokens, line } => {
                translator.action(tokens).map_err(|message| Fault { line: *line, message })?;
            }
        }
    }
    if !translator.blocks.is_empty() {
        let line = text.lines().count().max(1);
        return Err(Fault { line, message: "a block has no {{ end }}".to_owned() });
    }
    let template = translator.output;
    Ok(Translation { template, secrets })
}

/// Every path after the word `secret`, each with an alias.
fn secrets(pieces: &[Piece]) -> Vec<NamedPath> {
    let mut found: Vec<NamedPath> = Vec::new();
    for piece in pieces {
        let Piece::Action { tokens, .. } = piece else { continue };
        for pair in tokens.windows(2) {
            if let [Token::Word(word), Token::Text(path)] = pair
                && word == "secret"
                && !found.iter().any(|named| named.path == *path)
            {
                let alias = alias(path, &found);
                found.push(NamedPath { alias, path: path.clone() });
            }
        }
    }
    found
}

/// The last segment of a path as a valid name in a template.
fn alias(path: &str, taken: &[NamedPath]) -> String {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let mut name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() || expression::is_reserved(&name) {
        name.insert_str(0, "s_");
    }
    if ["engine", "role", "ttl"].contains(&name.as_str()) {
        name.insert_str(0, "s_");
    }
    name.truncate(56);
    let is_taken = |name: &str| taken.iter().any(|named| named.alias == name);
    if !is_taken(&name) {
        return name;
    }
    let numbered = (2..=taken.len() + 2).map(|number| format!("{name}_{number}"));
    numbered.into_iter().find(|name| !is_taken(name)).unwrap_or(name)
}

/// An open block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    With,
    Range,
    If { has_else: bool },
}

struct Translator<'a> {
    names: Names<'a>,
    blocks: Vec<Block>,
    output: String,
}

impl Translator<'_> {
    /// Text that the agent's template language could read as a tag is escaped.
    fn text(&mut self, text: &str, is_before_tag: bool) {
        let is_odd =
            ["{{", "{%", "{#"].iter().any(|tag| text.contains(tag)) || is_before_tag && text.ends_with('{');
        if is_odd {
            self.output.extend(["{% raw %}", text, "{% endraw %}"]);
        } else {
            self.output.push_str(text);
        }
    }

    fn action(&mut self, tokens: &[Token]) -> Result<(), String> {
        let Some((first, rest)) = tokens.split_first() else { return Ok(()) };
        match first {
            Token::Word(word) => match word.as_str() {
                "with" => return self.with(rest),
                "range" => return self.range(rest),
                "if" => return self.begin_if(rest),
                "else" => return self.otherwise(rest),
                "end" => return self.end(rest),
                "define" | "template" | "block" | "break" | "continue" | "scratch" => {
                    return Err(format!("`{word}` has no equivalent"));
                }
                _ => {}
            },
            Token::Variable(_) if rest.first() == Some(&Token::Assign) => {
                return Err(
                    "variables (`:=`) are not translated; write the value where it is used".to_owned()
                );
            }
            _ => {}
        }
        let expression = value(&Pipeline::parse(tokens)?, &self.names)?;
        self.output.extend(["{{ ", &expression, " }}"]);
        Ok(())
    }

    /// Supports only `with secret "path"`, which changes the meaning of the dot.
    fn with(&mut self, tokens: &[Token]) -> Result<(), String> {
        let path = match tokens {
            [Token::Word(word), Token::Text(path)] if word == "secret" => path,
            [Token::Word(word), Token::Text(_), ..] if word == "secret" => {
                return Err("`secret` with parameters writes to Vault; use dynamic credentials (`dynamic` in the map)".to_owned());
            }
            _ => {
                return Err(
                    "expected {{ with secret \"path\" }}; another `with` is not translated".to_owned()
                );
            }
        };
        if path.is_empty() {
            return Err("the path is empty".to_owned());
        }
        self.names.scopes.push(Base::Secret(path.clone()));
        self.blocks.push(Block::With);
        Ok(())
    }

    fn range(&mut self, tokens: &[Token]) -> Result<(), String> {
        const EXPECTED: &str = "expected {{ range $key, $value := .Data.data }} over all fields of a secret";
        let [Token::Variable(key), Token::Comma, Token::Variable(item), Token::Assign, rest @ ..] = tokens
        else {
            return Err(EXPECTED.to_owned());
        };
        let data = self.names.all_fields(rest).ok_or(EXPECTED)??;
        let (key, item) = (expression::variable(key), expression::variable(item));
        self.names.scopes.push(Base::Item { key: key.clone(), item: item.clone() });
        self.output.extend(["{% for ", &key, ", ", &item, " in ", &data, "|items %}"]);
        self.blocks.push(Block::Range);
        Ok(())
    }

    fn begin_if(&mut self, tokens: &[Token]) -> Result<(), String> {
        let condition = condition(&Pipeline::parse(tokens)?, &self.names)?;
        self.output.extend(["{% if ", &condition, " %}"]);
        self.blocks.push(Block::If { has_else: false });
        Ok(())
    }

    fn otherwise(&mut self, tokens: &[Token]) -> Result<(), String> {
        match self.blocks.last_mut() {
            Some(Block::If { has_else }) if !*has_else => match tokens.split_first() {
                None => {
                    *has_else = true;
                    self.output.push_str("{% else %}");
                    Ok(())
                }
                Some((Token::Word(word), rest)) if word == "if" => {
                    let condition = condition(&Pipeline::parse(rest)?, &self.names)?;
                    self.output.extend(["{% elif ", &condition, " %}"]);
                    Ok(())
                }
                Some(_) => Err("expected {{ else }} or {{ else if … }}".to_owned()),
            },
            _ => Err("`else` is only translated after `if`".to_owned()),
        }
    }

    fn end(&mut self, tokens: &[Token]) -> Result<(), String> {
        if !tokens.is_empty() {
            return Err("expected {{ end }}".to_owned());
        }
        match self.blocks.pop().ok_or("{{ end }} without a block")? {
            Block::With => {
                self.names.scopes.pop();
            }
            Block::Range => {
                self.names.scopes.pop();
                self.output.push_str("{% endfor %}");
            }
            Block::If { .. } => self.output.push_str("{% endif %}"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
