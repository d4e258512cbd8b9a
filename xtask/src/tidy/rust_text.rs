//! Rust source, taken apart into what the compiler reads and what people read.

/// A source file twice, both with the lines of the original: once its code alone, once its comments alone. What is
/// left out is replaced by spaces; the contents of string and character literals are left out of both.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RustText {
    /// Code, the quotes of literals included.
    pub(super) code: String,
    /// Comments, their slashes included.
    pub(super) comments: String,
}

impl RustText {
    /// Takes a file apart. Knows line and nested block comments, strings with escapes, raw strings, and characters as
    /// against lifetimes; a file that does not compile comes apart somehow.
    pub(super) fn of(source: &str) -> Self {
        let mut scanner = Scanner {
            chars: source.chars().collect(),
            at: 0,
            text: Self {
                code: String::with_capacity(source.len()),
                comments: String::with_capacity(source.len()),
            },
        };
        while scanner.at < scanner.chars.len() {
            scanner.item();
        }
        scanner.text
    }
}

#[derive(Clone, Copy)]
enum Part {
    Code,
    Comment,
    Literal,
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    text: RustText,
}

impl Scanner {
    fn item(&mut self) {
        match (self.peek(0), self.peek(1)) {
            (Some('/'), Some('/')) => {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.take(Part::Comment);
                }
            }
            (Some('/'), Some('*')) => self.block_comment(),
            (Some('"'), _) => self.string(),
            (Some('r'), Some('"' | '#')) if !self.follows_a_word() => self.raw_string(),
            (Some('\''), _) => self.character_or_lifetime(),
            _ => self.take(Part::Code),
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                (None, _) => return,
                _ => {
                    self.take(Part::Comment);
                    continue;
                }
            }
            self.take(Part::Comment);
            self.take(Part::Comment);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.take(Part::Code);
        loop {
            match self.peek(0) {
                Some('\\') => {
                    self.take(Part::Literal);
                    self.take(Part::Literal);
                }
                Some('"') | None => break,
                Some(_) => self.take(Part::Literal),
            }
        }
        self.take(Part::Code);
    }

    /// `r"…"`, `r#"…"#`; `br` and `cr` come here with their second letter. `r#name` is a raw identifier.
    fn raw_string(&mut self) {
        let hashes = self.chars[self.at + 1..].iter().take_while(|c| **c == '#').count();
        self.take_many(Part::Code, 1 + hashes);
        if self.peek(0) != Some('"') {
            return;
        }
        self.take(Part::Code);
        let closes = |scanner: &Self| {
            scanner.peek(0) == Some('"') && (1..=hashes).all(|ahead| scanner.peek(ahead) == Some('#'))
        };
        while self.peek(0).is_some() && !closes(self) {
            self.take(Part::Literal);
        }
        self.take_many(Part::Code, 1 + hashes);
    }

    fn character_or_lifetime(&mut self) {
        let escaped = self.peek(1) == Some('\\');
        if !escaped && self.peek(2) != Some('\'') {
            self.take(Part::Code);
            return;
        }
        self.take(Part::Code);
        // An escape's second character may be the quote itself.
        self.take_many(Part::Literal, if escaped { 2 } else { 1 });
        while self.peek(0).is_some_and(|c| c != '\'') {
            self.take(Part::Literal);
        }
        self.take(Part::Code);
    }

    /// Whether the character before belongs to the same word: `for"` does not start a raw string, `br"` does.
    fn follows_a_word(&self) -> bool {
        let before = |back: usize| self.at.checked_sub(back).map(|at| self.chars[at]);
        let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        match before(1) {
            Some('b' | 'c') => in_word(before(2)),
            other => in_word(other),
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take_many(&mut self, part: Part, count: usize) {
        for _ in 0..count {
            self.take(part);
        }
    }

    fn take(&mut self, part: Part) {
        let Some(c) = self.peek(0) else { return };
        self.at += 1;
        let blank = if c == '\n' { '\n' } else { ' ' };
        let (code, comment) = match part {
            Part::Code => (c, blank),
            Part::Comment => (blank, c),
            Part::Literal => (blank, blank),
        };
        self.text.code.push(code);
        self.text.comments.push(comment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, code: &str, comments: &str) {
        let text = RustText::of(source);
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            (squeeze(&text.code).as_str(), squeeze(&text.comments).as_str()),
            (code, comments),
            "{source}"
        );
        let width = |text: &str| text.lines().map(|line| line.chars().count()).collect::<Vec<_>>();
        assert_eq!(width(&text.code), width(source), "the code keeps its lines and columns: {source}");
        assert_eq!(width(&text.comments), width(source), "the comments keep theirs: {source}");
    }

    #[test]
    fn comments_end_where_rust_says() {
        check("a // b\nc", "a c", "// b");
        check("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */");
        check("a /* never closed", "a", "/* never closed");
        check("/// doc \"quote\nfn f() {}", "fn f() {}", "/// doc \"quote");
    }

    #[test]
    fn literals_hide_what_is_in_them() {
        check(r#"f("a // b \" c"); // d"#, r#"f(" ");"#, "// d");
        check(r##"f(r#"a " // b"#); g"##, r##"f(r#" "#); g"##, "");
        check(r#"f(br"\"); g // h"#, r#"f(br" "); g"#, "// h");
        check(r#"if for"x""#, r#"if for" ""#, "");
        check("r#type // a", "r#type", "// a");
    }

    #[test]
    fn characters_are_not_lifetimes() {
        check(r#"f('"'); g // h"#, "f(' '); g", "// h");
        check(r"f('\''); g // h", "f(' '); g", "// h");
        check(r"f('\u{1F600}', 'é'); g", "f(' ', ' '); g", "");
        check("fn f<'a>(x: &'a str) // b", "fn f<'a>(x: &'a str)", "// b");
    }
}
