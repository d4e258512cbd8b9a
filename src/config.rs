//! The injector's configuration file.

mod follow;

use std::path::Path;

use anyhow::{Context as _, anyhow};
use scaivault_inject::{InjectorConfig, Settings};
use serde_json::{Map, Value};

use crate::input;

pub(crate) use follow::{Checked, Follower};

/// Reads and checks a configuration file (YAML or JSON); the defaults without one.
pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Settings> {
    let Some(path) = path else {
        return settings("", None).context("the default configuration");
    };
    let source = input::read(path)?;
    settings(&source.text, None).with_context(|| source.name)
}

/// The settings of a configuration file's text. Pods of the namespace `own` are left alone whatever it says.
fn settings(text: &str, own: Option<&str>) -> anyhow::Result<Settings> {
    let mut config: InjectorConfig = if text.trim().is_empty() {
        InjectorConfig::default()
    } else {
        serde_saphyr::from_str(text).map_err(|error| all_problems(text).unwrap_or_else(|| error.into()))?
    };
    config.excluded_namespaces.extend(own.map(str::to_owned));
    checked(config)
}

fn checked(config: InjectorConfig) -> anyhow::Result<Settings> {
    Settings::try_from(config).map_err(|problems| anyhow!("{problems}"))
}

/// Everything that is wrong with a file that cannot be read as a configuration: each key read by itself, so that one
/// mistake does not hide the next. None if the file is not even a map.
fn all_problems(text: &str) -> Option<anyhow::Error> {
    let keys: Map<String, Value> = serde_saphyr::from_str(text).ok()?;
    let (mut problems, mut readable) = (Vec::new(), Map::new());
    for (key, value) in keys {
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        match serde_json::from_value::<InjectorConfig>(alone.into()) {
            Ok(_) => drop(readable.insert(key, value)),
            Err(error) if error.to_string().contains(&key) => problems.push(error.to_string()),
            Err(error) => problems.push(format!("{key}: {error}")),
        }
    }
    let readable = serde_json::from_value(readable.into()).ok()?;
    problems.extend(checked(readable).err().map(|error| error.to_string()));
    (!problems.is_empty()).then(|| anyhow!("{}", problems.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Settings> {
        settings(text, None)
    }

    #[test]
    fn a_misspelt_key_is_named_and_hides_no_other_mistake() {
        let text = "onProblem: wrn\nallowedUrl: []\nallowHttp: maybe\ninitImage: 'a b'\n";
        let error = parse(text).unwrap_err().to_string();
        for mistake in ["wrn", "allowedUrl", "allowHttp", "initImage"] {
            assert!(error.contains(mistake), "{mistake}: {error}");
        }
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert!(parse("").is_ok());
        assert!(parse("onProblem: warn\n").is_ok());
    }
}
