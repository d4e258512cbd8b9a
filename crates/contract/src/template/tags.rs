//! Checks the tokens of a template: how large its tags are, and which text between them has no
//! effect.
//!
//! The tokens come from the template library, so text and tags are separated as in the agent. Its
//! lexer does not recurse, unlike its parser.

use minijinja::machinery::{Span, Token, tokenize};

use super::{
    CheckedTemplate, TEMPLATE_MAX_BYTES, TEMPLATE_MAX_OPERATORS, TEMPLATE_MAX_TOKENS, TemplateError,
    TemplateSizeError, TemplateWarning, syntax,
};

/// Rejects templates that are not safe to parse.
pub(super) fn check(text: &str) -> Result<CheckedTemplate, TemplateError> {
    if text.len() > TEMPLATE_MAX_BYTES {
        return Err(TemplateSizeError::TooLong(text.len()).into());
    }
    let mut tokens = 0;
    let mut branches = 0;
    let mut operators = 0;
    let mut lost = Lost::new(text);
    for token in tokenize(text, false, syntax()) {
        let (token, span) = token.map_err(|error| TemplateError::syntax(&error))?;
        match token {
            Token::VariableStart | Token::BlockStart => operators = 0,
            Token::Ident("elif") => branches += 1,
            ref other if deepens(other) => operators += 1,
            _ => {}
        }
        tokens += usize::from(!matches!(token, Token::TemplateData(_)));
        let line = usize::from(span.start_line);
        if tokens > TEMPLATE_MAX_TOKENS {
            return Err(TemplateSizeError::TooManyTokens(line).into());
        }
        if operators > TEMPLATE_MAX_OPERATORS {
            return Err(TemplateSizeError::TooManyOperators(line).into());
        }
        if branches > TEMPLATE_MAX_OPERATORS {
            return Err(TemplateSizeError::TooManyBranches(line).into());
        }
        lost.token(&token, span);
    }
    lost.end();
    Ok(CheckedTemplate { warnings: lost.into_warnings(), tokens })
}

/// Whether a token can make the tree of an expression one level deeper.
fn deepens(token: &Token<'_>) -> bool {
    match token {
        Token::Ident(word) => matches!(*word, "not" | "and" | "or" | "in" | "is" | "if" | "else"),
        Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::FloorDiv
        | Token::Pow
        | Token::Mod
        | Token::Dot
        | Token::Tilde
        | Token::Pipe
        | Token::Eq
        | Token::Ne
        | Token::Gt
        | Token::Gte
        | Token::Lt
        | Token::Lte
        | Token::BracketOpen
        | Token::ParenOpen
        | Token::BraceOpen => true,
        Token::TemplateData(_)
        | Token::VariableStart
        | Token::VariableEnd
        | Token::BlockStart
        | Token::BlockEnd
        | Token::Str(_)
        | Token::String(_)
        | Token::Int(_)
        | Token::Int128(_)
        | Token::Float(_)
        | Token::Comma
        | Token::Colon
        | Token::Assign
        | Token::BracketClose
        | Token::ParenClose
        | Token::BraceClose => false,
    }
}

/// What precedes or follows a gap between tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Neighbour {
    /// The start or the end of the template.
    Edge,
    /// Output: text or a value.
    Written,
    /// A statement.
    Statement,
}

/// Finds the text outside tags that belongs to no token: comments, and white space that a `-`
/// removes.
struct Lost<'a> {
    text: &'a str,
    /// The end of the last token.
    end: usize,
    before: Neighbour,
    in_tag: bool,
    /// The end of a line whose line break the last statement removes.
    cut_before: Option<usize>,
    /// The start of the first comment.
    comment: Option<usize>,
    /// The end of the first line that is joined with the next.
    joined: Option<usize>,
}

impl<'a> Lost<'a> {
    fn new(text: &'a str) -> Self {
        let before = Neighbour::Edge;
        Self { text, end: 0, before, in_tag: false, cut_before: None, comment: None, joined: None }
    }

    fn token(&mut self, token: &Token<'_>, span: Span) {
        let (start, end) = (span.start_offset as usize, span.end_offset as usize);
        match token {
            Token::TemplateData(_) | Token::VariableStart => self.gap(start, Neighbour::Written),
            Token::BlockStart => self.gap(start, Neighbour::Statement),
            _ => {}
        }
        match token {
            Token::VariableStart | Token::BlockStart => self.in_tag = true,
            Token::VariableEnd | Token::BlockEnd => self.in_tag = false,
            _ => {}
        }
        self.end = end;
    }

    fn end(&mut self) {
        if !self.in_tag {
            self.gap(self.text.len(), Neighbour::Edge);
        }
    }

    /// Examines the text between the last token and `start`.
    fn gap(&mut self, start: usize, behind: Neighbour) {
        let gap = self.text.get(self.end..start).unwrap_or_default();
        if self.comment.is_none() {
            self.comment = gap.find("{#").map(|at| self.end + at);
        }
        let is_cut = gap.contains('\n') && gap.chars().all(char::is_whitespace);
        let cut = is_cut.then_some(self.end);
        let joined = match (self.before, behind) {
            (Neighbour::Written, Neighbour::Written) => cut,
            (Neighbour::Statement, Neighbour::Written) => self.cut_before.filter(|_| is_cut),
            _ => None,
        };
        self.joined = self.joined.or(joined);
        self.cut_before = cut.filter(|_| (self.before, behind) == (Neighbour::Written, Neighbour::Statement));
        self.before = behind;
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text[..offset].matches('\n').count()
    }

    fn into_warnings(self) -> Vec<TemplateWarning> {
        let comment = self.comment.map(|at| TemplateWarning::Comment(self.line(at)));
        let joined = self.joined.map(|at| TemplateWarning::Joined(self.line(at)));
        comment.into_iter().chain(joined).collect()
    }
}
