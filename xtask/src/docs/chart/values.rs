//! Parses `values.yaml` with the comment above each value. Defaults are on one line, so the file is
//! parsed line by line.

use anyhow::{Context, Result, bail, ensure};

/// The values below a heading, which is a separate comment line.
pub(super) struct Chapter {
    pub(super) title: String,
    pub(super) items: Vec<Item>,
}

/// A key with its documentation.
pub(super) struct Item {
    /// The keys from the root to it, including itself.
    path: Vec<String>,
    /// The default as written; `None` for a map whose keys follow.
    pub(super) default: Option<String>,
    /// The comment above it, as one paragraph.
    pub(super) doc: String,
}

impl Item {
    /// The name for `--set`.
    pub(super) fn name(&self) -> String {
        self.path.join(".")
    }

    /// The pointer in the schema.
    pub(super) fn pointer(&self) -> String {
        self.path.iter().flat_map(|key| ["/properties/", key]).collect()
    }
}

/// Parses the file; a value without a comment, or outside a section, is an error.
pub(super) fn read(text: &str) -> Result<Vec<Chapter>> {
    let mut chapters: Vec<Chapter> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut path: Vec<String> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = || format!("values.yaml, line {}", index + 1);
        let content = line.trim_start();
        if content.is_empty() {
            // A longer comment without a value is the head of the file.
            if let [title] = comment[..] {
                chapters.push(Chapter { title: title.to_owned(), items: Vec::new() });
            }
            comment.clear();
        } else if let Some(words) = content.strip_prefix('#') {
            comment.push(words.trim());
        } else {
            let depth = (line.len() - content.len()) / 2;
            let (key, default) = content.split_once(':').with_context(|| format!("{}: no key", place()))?;
            ensure!(depth <= path.len(), "{}: a key below no map", place());
            path.truncate(depth);
            path.push(key.to_owned());
            let default = Some(default.trim()).filter(|default| !default.is_empty()).map(str::to_owned);
            let item = Item { path: path.clone(), default, doc: comment.join(" ") };
            if item.default.is_some() && item.doc.is_empty() {
                bail!("{}: {} has no comment", place(), item.name());
            }
            comment.clear();
            let chapter = chapters.last_mut().with_context(|| format!("{}: no heading", place()))?;
            chapter.items.push(item);
        }
    }
    Ok(chapters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_without_a_comment_is_an_error() {
        let error = read("# First\n\na:\n  b: 1\n").err().expect("b has no comment").to_string();
        assert_eq!(error, "values.yaml, line 4: a.b has no comment");
    }
}
