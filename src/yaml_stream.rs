//! Splits a YAML or JSON stream into documents based on its text, so that an unchanged document can
//! be written back byte for byte.
//!
//! The text is sufficient: YAML forbids `---` and `...` at column 0, followed by white space,
//! anywhere inside a document, including block scalars and quoted strings.

mod join;

pub(crate) use join::join;

use std::{iter, ops::Range};

use serde::de::IgnoredAny;

/// One document with the surrounding comments, directives and markers. The concatenated texts of
/// all documents are the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document<'a> {
    pub(crate) text: &'a str,
    /// The line in the stream at which the text starts, from 1.
    pub(crate) line: usize,
    /// The content; `None` if there are only comments, directives and markers.
    pub(crate) content: Option<Content>,
}

/// The part of a document that holds its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) format: Format,
    /// The line in the stream at which it starts, from 1.
    pub(crate) line: usize,
    /// Byte range in the document's text. Comment lines before and after it are excluded.
    range: Range<usize>,
}

/// The format of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// YAML.
    Yaml,
    /// JSON, which is written back as JSON.
    Json,
}

/// Splits a stream into its documents. Never fails: invalid YAML becomes part of a document and
/// fails when that is parsed.
pub(crate) fn split(stream: &str) -> Vec<Document<'_>> {
    chunks(stream).into_iter().flat_map(Chunk::documents).collect()
}

impl<'a> Document<'a> {
    /// The input for a parser: the content and, for YAML, the directives before it. Empty without
    /// content. It starts at the document's first line for YAML, at the content's for JSON.
    pub(crate) fn source(&self) -> &'a str {
        match &self.content {
            None => "",
            Some(Content { format: Format::Json, range, .. }) => &self.text[range.clone()],
            Some(Content { range, .. }) => without_bom(&self.text[..range.end]),
        }
    }

    /// The document with its [`source`](Self::source) replaced.
    pub(crate) fn with_source(&self, source: &str) -> String {
        let Some(Content { range, .. }) = &self.content else {
            return self.text.to_owned();
        };
        let begin = range.end - self.source().len();
        [&self.text[..begin], source, &self.text[range.end..]].concat()
    }

    /// The document with its content replaced. Keeps the surrounding comments, directives and
    /// markers, and the kind of line break.
    pub(crate) fn with_content(&self, content: &str) -> String {
        let Some(Content { format, range, .. }) = &self.content else {
            return self.text.to_owned();
        };
        let line_break = if self.has_crlf() { "\r\n" } else { "\n" };
        let (head, tail) = (&self.text[..range.start], &self.text[range.end..]);

        let mut text = head.to_owned();
        if *format == Format::Yaml && head.trim_end_matches([' ', '\t']).ends_with("---") {
            // In `--- {inline: content}`, a block mapping may not start on the marker's line.
            text.truncate(head.trim_end_matches([' ', '\t']).len());
            text.push_str(line_break);
        }
        if line_break == "\n" {
            text.push_str(content);
        } else {
            text.push_str(&content.replace('\n', line_break));
        }
        text.push_str(tail);
        text
    }

    /// Whether its lines end in CRLF.
    pub(crate) fn has_crlf(&self) -> bool {
        lines(self.text).next().is_some_and(|line| line.ends_with("\r\n"))
    }
}

/// A document's text and the position of the first character in it that is not part of a comment,
/// directive or marker.
struct Chunk<'a> {
    text: &'a str,
    line: usize,
    content: Option<(usize, usize)>,
}

impl<'a> Chunk<'a> {
    /// The chunk as one document, or as one for each JSON value if it consists of JSON values.
    fn documents(self) -> Vec<Document<'a>> {
        let Self { text, line, content } = self;
        let Some((start, content_line)) = content else {
            return vec![Document { text, line, content: None }];
        };
        if let Some(ranges) = json_values(text, start) {
            return json_documents(text, line, &ranges);
        }
        vec![Document {
            text,
            line,
            content: Some(Content {
                format: Format::Yaml,
                line: content_line,
                range: start..yaml_end(text, start),
            }),
        }]
    }
}

fn chunks(stream: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let mut content = None;
    let mut has_marker = false;
    let mut offset = 0;
    let mut line_number = 0;

    for line in lines(stream) {
        line_number += 1;
        let bare = if offset == 0 { without_bom(line) } else { line };
        let begin = offset + line.len() - bare.len();
        offset += line.len();

        if let Some(rest) = after_marker(bare, "---") {
            if has_marker || content.is_some() {
                chunks.push(Chunk { text: &stream[start..begin], line: start_line, content: content.take() });
                (start, start_line) = (begin, line_number);
            }
            has_marker = true;
            if !is_blank_or_comment(rest) {
                let indent = rest.len() - rest.trim_start_matches([' ', '\t']).len();
                content = Some((begin + "---".len() + indent - start, line_number));
            }
        } else if after_marker(bare, "...").is_some() {
            chunks.push(Chunk { text: &stream[start..offset], line: start_line, content: content.take() });
            (start, start_line) = (offset, line_number + 1);
            has_marker = false;
        } else if content.is_none() && !is_blank_or_comment(bare) && (has_marker || !bare.starts_with('%')) {
            content = Some((begin - start, line_number));
        }
    }
    if start < stream.len() {
        chunks.push(Chunk { text: &stream[start..], line: start_line, content });
    }
    chunks
}

/// Where YAML content ends: before the comment lines at column 0 and the end marker that follow it.
/// Blank lines directly after it are included, because they may belong to a block scalar (`|+`).
fn yaml_end(text: &str, start: usize) -> usize {
    let mut end = start;
    let mut offset = start;
    for (index, line) in lines(&text[start..]).enumerate() {
        let outside = index > 0 && (line.starts_with('#') || after_marker(line, "...").is_some());
        let blank = line.trim_matches([' ', '\t', '\n', '\r']).is_empty();
        if !(outside || blank && end < offset) {
            end = offset + line.len();
        }
        offset += line.len();
    }
    end
}

/// The ranges of the JSON objects if the rest of `text` consists of them only.
fn json_values(text: &str, start: usize) -> Option<Vec<Range<usize>>> {
    let start = text.len() - text[start..].trim_start().len();
    if !text[start..].starts_with('{') {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<IgnoredAny>();
    let mut ranges = Vec::new();
    let mut end = start;
    while let Some(value) = values.next() {
        value.ok()?;
        let begin = text.len() - text[end..].trim_start().len();
        end = start + values.byte_offset();
        ranges.push(begin..end);
    }
    Some(ranges)
}

fn json_documents<'a>(text: &'a str, line: usize, ranges: &[Range<usize>]) -> Vec<Document<'a>> {
    let mut begin = 0;
    let mut begin_line = line;
    let mut documents = Vec::with_capacity(ranges.len());
    for (index, range) in ranges.iter().enumerate() {
        let end = if index + 1 == ranges.len() { text.len() } else { range.end };
        let content_line = begin_line + line_breaks(&text[begin..range.start]);
        documents.push(Document {
            text: &text[begin..end],
            line: begin_line,
            content: Some(Content {
                format: Format::Json,
                line: content_line,
                range: range.start - begin..range.end - begin,
            }),
        });
        begin_line += line_breaks(&text[begin..end]);
        begin = end;
    }
    documents
}

/// The text after a marker at the start of a line, up to the line break; `None` if there is no
/// marker.
fn after_marker<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(marker)?;
    (rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r'])).then_some(rest)
}

fn is_blank_or_comment(line: &str) -> bool {
    let line = line.trim_matches([' ', '\t', '\n', '\r']);
    line.is_empty() || line.starts_with('#')
}

fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{FEFF}').unwrap_or(text)
}

/// The lines of a text, each with its break: `\n`, `\r\n` or, as YAML allows, a lone `\r`.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    iter::from_fn(move || {
        let end = match rest.find(['\n', '\r']) {
            _ if rest.is_empty() => return None,
            None => rest.len(),
            Some(at) if rest[at..].starts_with("\r\n") => at + 2,
            Some(at) => at + 1,
        };
        let (line, after) = rest.split_at(end);
        rest = after;
        Some(line)
    })
}

fn line_breaks(text: &str) -> usize {
    lines(text).filter(|line| line.ends_with(['\n', '\r'])).count()
}

#[cfg(test)]
mod tests;
