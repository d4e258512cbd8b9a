//! The injector's configuration file.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use scaivault_inject::{InjectorConfig, Settings};

use crate::input;

/// Reads and checks a configuration file (YAML or JSON); the defaults without one.
pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Settings> {
    let Some(path) = path else {
        return checked(InjectorConfig::default()).context("the default configuration");
    };
    let source = input::read(path)?;
    parse(&source.text).with_context(|| source.name)
}

fn parse(text: &str) -> anyhow::Result<Settings> {
    let config =
        if text.trim().is_empty() { InjectorConfig::default() } else { serde_saphyr::from_str(text)? };
    checked(config)
}

fn checked(config: InjectorConfig) -> anyhow::Result<Settings> {
    Settings::try_from(config).map_err(|problems| anyhow!("{problems}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_named() {
        let error = parse("onProblem: warn\nallowedUrl: []\n").unwrap_err().to_string();
        assert!(error.contains("allowedUrl"), "{error}");
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert!(parse("").is_ok());
        assert!(parse("onProblem: warn\n").is_ok());
    }
}
