//! Files that are polled by content, and used again when it changed.

use std::{
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher as _},
};

/// What a check of the files found.
#[derive(Debug)]
pub enum Checked<T, E> {
    /// Nothing that has not been reported before.
    Unchanged,
    /// Other content is in use from now on.
    Replaced(T),
    /// The new content is rejected; the previous content stays in use.
    Kept(E),
}

/// The content that is in use, and why the content that is there now is not.
#[derive(Debug)]
pub struct ContentInUse {
    /// Tells one content from another; not for anything an adversary chooses.
    fingerprint: u64,
    /// The last error, as it was reported.
    reported: Option<String>,
}

impl ContentInUse {
    /// Content that has been read and is in use.
    pub fn new(content: &impl Hash) -> Self {
        Self { fingerprint: fingerprint(content), reported: None }
    }

    /// Takes what is there now into use with `load` if it is other content. An error is reported once, until it is another
    /// one; `load` is tried at every check, because content may become valid without a change.
    pub fn check<C: Hash, T, E: Debug>(
        &mut self,
        content: Result<C, E>,
        load: impl FnOnce(&C) -> Result<T, E>,
    ) -> Checked<T, E> {
        let error = match content {
            Ok(content) => {
                let fingerprint = fingerprint(&content);
                if fingerprint == self.fingerprint {
                    self.reported = None;
                    return Checked::Unchanged;
                }
                match load(&content) {
                    Ok(loaded) => {
                        *self = Self { fingerprint, reported: None };
                        return Checked::Replaced(loaded);
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        // The text for people leaves the cause out.
        let text = format!("{error:?}");
        if self.reported.as_ref() == Some(&text) {
            return Checked::Unchanged;
        }
        self.reported = Some(text);
        Checked::Kept(error)
    }

    /// Whether the last check found content that cannot be used.
    pub fn is_refused(&self) -> bool {
        self.reported.is_some()
    }
}

fn fingerprint(content: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_content_is_used_and_an_error_is_reported_once() {
        let mut content = ContentInUse::new(&"1");
        let mut check = |text: Result<&'static str, &'static str>| {
            let checked = content.check(text, |text| text.parse::<u8>().map_err(|_| "not a number"));
            (format!("{checked:?}"), content.is_refused())
        };
        let unchanged = "Unchanged".to_owned();
        assert_eq!(check(Ok("1")), (unchanged.clone(), false));
        assert_eq!(check(Ok("2")), ("Replaced(2)".to_owned(), false));
        assert_eq!(check(Ok("x")), ("Kept(\"not a number\")".to_owned(), true));
        assert_eq!(check(Ok("y")), (unchanged.clone(), true), "the same error");
        assert_eq!(check(Err("gone")), ("Kept(\"gone\")".to_owned(), true));
        assert_eq!(check(Ok("2")), (unchanged, false), "it is still in use");
    }
}
