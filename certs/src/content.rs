//! Polls files by content, and reports each change and each error once.

use std::{
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher as _},
};

/// The result of a check of the files.
#[derive(Debug)]
pub enum CheckResult<T, E> {
    /// No change, or an error that was already reported.
    Unchanged,
    /// Other content is now in use.
    Replaced(T),
    /// The new content is rejected, and the previous content stays in use.
    Kept(E),
}

/// The content in use, and the last reported error of newer content.
#[derive(Debug)]
pub struct ContentInUse {
    /// A hash to detect changes; not collision resistant against an attacker.
    fingerprint: u64,
    /// The last reported error, if the current content is rejected.
    reported: Option<String>,
}

impl ContentInUse {
    /// Starts with content that has been read and is in use.
    pub fn new(content: &impl Hash) -> Self {
        Self { fingerprint: fingerprint(content), reported: None }
    }

    /// Loads the content with `load` and uses it if it has changed. The same error is reported only
    /// once; `load` is called in each check, because content may become valid without a change.
    pub fn check<C: Hash, T, E: Debug>(
        &mut self,
        content: Result<C, E>,
        load: impl FnOnce(&C) -> Result<T, E>,
    ) -> CheckResult<T, E> {
        let error = match content {
            Ok(content) => {
                let fingerprint = fingerprint(&content);
                if fingerprint == self.fingerprint {
                    self.reported = None;
                    return CheckResult::Unchanged;
                }
                match load(&content) {
                    Ok(loaded) => {
                        *self = Self { fingerprint, reported: None };
                        return CheckResult::Replaced(loaded);
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        // `Display` omits the cause, so `Debug` is compared.
        let text = format!("{error:?}");
        if self.reported.as_ref() == Some(&text) {
            return CheckResult::Unchanged;
        }
        self.reported = Some(text);
        CheckResult::Kept(error)
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
