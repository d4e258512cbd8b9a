//! The injector's configuration file.

mod follow;

use std::path::Path;

use anyhow::{Context as _, anyhow};
use scaivault_inject::{InjectorConfig, Settings, annotations::nearest};
use serde_json::{Map, Value};

use crate::input;

pub(crate) use follow::Follower;

/// Reads and validates a configuration file (YAML or JSON); returns the defaults without one.
pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Settings> {
    let Some(path) = path else {
        return settings("", None).context("the default configuration");
    };
    let source = input::read(path)?;
    settings(&source.text, None).with_context(|| source.name)
}

/// The settings in the text of a configuration file. Pods of the namespace `own` are always
/// excluded.
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
    Settings::try_from(config).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("{}", listed(&lines))
    })
}

/// One problem per line if there are several.
fn listed(problems: &[String]) -> String {
    match problems {
        [only] => only.clone(),
        several => format!("{} problems\n  {}", several.len(), several.join("\n  ")),
    }
}

/// All problems of a file that cannot be deserialized as a configuration: each key is deserialized
/// separately, so that one mistake does not hide the next. `None` if the file is not a map.
fn all_problems(text: &str) -> Option<anyhow::Error> {
    let keys: Map<String, Value> = serde_saphyr::from_str(text).ok()?;
    let (mut problems, mut readable) = (Vec::new(), Map::new());
    for (key, value) in keys {
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        match serde_json::from_value::<InjectorConfig>(alone.into()) {
            Ok(_) => drop(readable.insert(key, value)),
            Err(error) => problems.push(problem(&key, &error.to_string(), text)),
        }
    }
    let config: InjectorConfig = serde_json::from_value(readable.into()).ok()?;
    if let Err(more) = Settings::try_from(config) {
        problems.extend(more.iter().map(ToString::to_string));
    }
    (!problems.is_empty()).then(|| anyhow!("{}", listed(&problems)))
}

/// The problem of one key, with its line and a suggestion.
fn problem(key: &str, error: &str, text: &str) -> String {
    let is_at_start = |line: &str| {
        let rest = line.trim_start_matches(['"', '\'']).strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
    };
    let line = text.lines().position(is_at_start).map_or_else(String::new, |at| format!("line {}: ", at + 1));
    // serde lists the known words in backquotes; the first quoted word is the one from the text.
    let mut words = error.split('`').skip(1).step_by(2);
    let meant = words.next().and_then(|word| {
        let lower = word.to_ascii_lowercase();
        let known: Vec<&str> = words.collect();
        known
            .iter()
            .find(|known| known.to_ascii_lowercase() == lower)
            .copied()
            .or_else(|| nearest(word, known))
    });
    let fix = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    let error = error
        .replace("expected a sequence", "expected a list")
        .replace("expected a map", "expected an object");
    let name = if error.contains(&format!("`{key}`")) { String::new() } else { format!("{key}: ") };
    format!("{line}{name}{error}{fix} [configuration]")
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
        for mistake in [
            "line 1: onProblem: unknown variant `wrn`",
            "did you mean warn? [",
            "line 2: unknown field `allowedUrl`",
            "did you mean allowedUrls? [",
            "line 3: allowHttp: ",
            "initImage: not an image",
        ] {
            assert!(error.contains(mistake), "{mistake}: {error}");
        }
        assert_eq!(error.lines().count(), 5, "one line each: {error}");
    }

    #[test]
    fn defaults_that_refuse_every_pod_are_refused() {
        for (text, key) in [
            ("defaults: {limits-memory: 8Mi}", "limits-memory"),
            ("defaults: {requests-cpu: '2', limits-cpu: '1'}", "requests-cpu"),
            ("defaults: {ca-trust: private}", "ca-trust"),
            ("excludedNamespaces: [Shop_1]", "excludedNamespaces"),
            ("initImage: x/UPPER:1", "initImage"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(key), "{text}: {error}");
        }
        assert!(parse("defaults: {limits-memory: 64Mi, mount-path: /secrets}").is_ok());
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert!(parse("").is_ok());
        assert!(parse("onProblem: warn\n").is_ok());
    }
}
