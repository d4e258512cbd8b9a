//! Lists one page object by object. A tenant may put 256 KiB of annotations on each of its objects,
//! so a whole page must not be in memory at once.

use futures_util::AsyncBufReadExt as _;
use kube::{
    Client,
    api::ListParams,
    core::{ListMeta, Request},
};
use serde::Deserialize;

use crate::watched::Watched;

/// How a page ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// More objects follow; request them with this continue token.
    Continues(String),
    /// This was the last page. A watch continues from this version.
    Last {
        /// The resource version of the list.
        resource_version: String,
    },
}

/// Requests a page and passes each object to the callback. After an error, some objects may have
/// been passed already.
pub(crate) async fn page<K: Watched>(
    client: &Client,
    params: &ListParams,
    mut each: impl FnMut(K::Item),
) -> kube::Result<Page> {
    let content = if K::IS_METADATA { Content::Metadata } else { Content::Whole };
    let path = K::url_path();
    let list = page_of_items(client, &path, content, params, |item| {
        each(serde_json::from_slice(item)?);
        Ok(())
    });
    Ok(list.await?.page)
}

/// The metadata of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEnd {
    /// Whether more pages follow.
    pub page: Page,
    /// The number of objects on later pages, if the API server reports it.
    pub remaining: Option<i64>,
}

/// What a list requests of each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Only `metadata`.
    Metadata,
    /// The whole object.
    Whole,
}

/// Requests a page of the list at this path and passes the JSON of each object to the callback.
/// After an error, some objects may have been passed already.
pub async fn page_of_items(
    client: &Client,
    path: &str,
    content: Content,
    params: &ListParams,
    mut each: impl FnMut(&[u8]) -> serde_json::Result<()>,
) -> kube::Result<ListEnd> {
    let request = Request::new(path);
    let request = match content {
        Content::Metadata => request.list_metadata(params),
        Content::Whole => request.list(params),
    };
    let request = request.map_err(kube::Error::BuildRequest)?;
    let mut body = std::pin::pin!(client.request_stream(request).await?);
    let mut splitter = Splitter::default();
    loop {
        let bytes = body.fill_buf().await.map_err(kube::Error::ReadEvents)?;
        if bytes.is_empty() {
            break;
        }
        for &byte in bytes {
            if let Some(item) = splitter.push(byte) {
                each(item).map_err(kube::Error::SerdeError)?;
            }
        }
        let read = bytes.len();
        body.consume_unpin(read);
    }
    splitter.end().map_err(kube::Error::SerdeError)
}

/// Splits the JSON of a list, which arrives in chunks, into its items and the rest.
#[derive(Debug, Default)]
struct Splitter {
    /// The list without its items.
    list: Vec<u8>,
    /// The item that is being received.
    item: Vec<u8>,
    is_complete: bool,
    /// Nesting depth of brackets.
    depth: usize,
    is_in_items: bool,
    string: StringState,
}

/// Whether a byte is inside a string, where brackets are text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StringState {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

impl Splitter {
    /// Takes one byte; returns the item that it completes, if any.
    fn push(&mut self, byte: u8) -> Option<&[u8]> {
        /// The depth inside the array `items`: one for the list, one for the array.
        const IN_ITEMS: usize = 2;

        if std::mem::take(&mut self.is_complete) {
            self.item.clear();
        }
        let is_bracket = self.string == StringState::Outside && matches!(byte, b'{' | b'[' | b'}' | b']');
        let is_opening = is_bracket && matches!(byte, b'{' | b'[');
        if is_opening {
            self.is_in_items |= self.depth == 1 && self.is_behind_items_key();
            self.depth += 1;
        }
        let is_item = self.is_in_items && self.depth > IN_ITEMS;
        if is_item {
            self.item.push(byte);
        } else if !self.is_in_items || is_bracket {
            self.list.push(byte);
        }
        if is_bracket && !is_opening {
            self.depth = self.depth.saturating_sub(1);
            self.is_complete = is_item && self.depth == IN_ITEMS;
            self.is_in_items &= self.depth >= IN_ITEMS;
        }
        self.string = match (self.string, byte) {
            (StringState::Inside, b'"') => StringState::Outside,
            (StringState::Outside, b'"') | (StringState::Escaped, _) => StringState::Inside,
            (StringState::Inside, b'\\') => StringState::Escaped,
            (state, _) => state,
        };
        self.is_complete.then_some(&self.item)
    }

    fn is_behind_items_key(&self) -> bool {
        let before = self.list.trim_ascii_end().strip_suffix(b":").unwrap_or_default();
        before.trim_ascii_end().ends_with(b"\"items\"")
    }

    /// The list's metadata, once all bytes were taken.
    fn end(&self) -> serde_json::Result<ListEnd> {
        #[derive(Deserialize)]
        struct List {
            metadata: ListMeta,
        }
        let List { metadata } = serde_json::from_slice(&self.list)?;
        let token = metadata.continue_.filter(|token| !token.is_empty());
        let page = match token {
            Some(token) => Page::Continues(token),
            None => Page::Last { resource_version: metadata.resource_version.unwrap_or_default() },
        };
        Ok(ListEnd { page, remaining: metadata.remaining_item_count })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn split(text: &str) -> (Vec<Value>, serde_json::Result<Page>) {
        let mut splitter = Splitter::default();
        let mut items = Vec::new();
        for byte in text.bytes() {
            if let Some(item) = splitter.push(byte) {
                items.push(serde_json::from_slice(item).unwrap());
            }
        }
        (items, splitter.end().map(|end| end.page))
    }

    #[test]
    fn items_are_found_anywhere_in_the_list() {
        let items = [
            json!({"metadata": {"name": "a", "annotations": {"b": "]}\"\\", "items": "{["}}, "items": [{"c": []}]}),
            json!({}),
        ];
        let metadata = json!({"resourceVersion": "7", "items": [1], "note": "\"items\":["});
        for text in [
            json!({"kind": "List", "metadata": metadata, "items": items}).to_string(),
            json!({"items": items, "metadata": metadata}).to_string(),
            serde_json::to_string_pretty(&json!({"metadata": metadata, "items": items, "x": [{"y": 1}]}))
                .unwrap(),
        ] {
            let (found, page) = split(&text);
            assert_eq!(found, items, "{text}");
            assert_eq!(page.unwrap(), Page::Last { resource_version: "7".to_owned() });
        }
    }

    #[test]
    fn an_empty_token_ends_the_list() {
        for (token, expected) in
            [("t", Page::Continues("t".to_owned())), ("", Page::Last { resource_version: "7".to_owned() })]
        {
            let metadata = json!({"resourceVersion": "7", "continue": token});
            for list in
                [json!({"metadata": metadata, "items": []}), json!({"metadata": metadata, "items": null})]
            {
                let (items, page) = split(&list.to_string());
                assert_eq!((items.len(), page.unwrap()), (0, expected.clone()));
            }
        }
    }

    #[test]
    fn a_page_of_large_items_is_not_in_memory_at_once() {
        let items: Vec<_> =
            (0..500).map(|number| json!({"a": "x".repeat(1_000), "number": number})).collect();
        let text = json!({"metadata": {"resourceVersion": "7"}, "items": items}).to_string();
        let mut splitter = Splitter::default();
        let found = text.bytes().filter(|byte| splitter.push(*byte).is_some()).count();
        assert_eq!(found, 500);
        assert!(splitter.list.capacity() + splitter.item.capacity() < 4_096);
    }

    #[test]
    fn a_list_that_breaks_off_is_an_error() {
        let text = json!({"metadata": {"resourceVersion": "7"}, "items": [{"a": 1}, {"b": 2}]}).to_string();
        for end in 0..text.len() {
            assert!(split(&text[..end]).1.is_err(), "{}", &text[..end]);
        }
    }
}
