//! Reloads a configuration file that changes while the server runs.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use scaivault_certs::{CheckResult, ContentInUse};
use scaivault_inject::Settings;
use tokio::time::{MissedTickBehavior, interval};

use super::settings;
use crate::input;

/// The polling interval. The kubelet takes up to two minutes to update a mounted `ConfigMap`.
const INTERVAL: Duration = Duration::from_secs(10);

/// Checks the configuration file and reloads it when its content changes. The content is compared,
/// because a mounted `ConfigMap` changes by replacing the link `..data` in its path.
pub(crate) struct Follower {
    /// `None` if there is no file to follow: with the built-in defaults, or standard input.
    path: Option<PathBuf>,
    /// The namespace whose pods are always excluded.
    own_namespace: Option<String>,
    content: ContentInUse,
}

impl Follower {
    /// Calls `check` in every interval, for ever. The file is small and on tmpfs, so that a blocking read is acceptable.
    pub(crate) async fn each_interval(mut self, mut check: impl FnMut(&mut Self)) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            check(&mut self);
        }
    }

    /// Reads the settings and remembers the text for later checks.
    pub(crate) fn new(
        path: Option<PathBuf>,
        own_namespace: Option<String>,
    ) -> anyhow::Result<(Self, Settings)> {
        let text = match &path {
            Some(path) => input::read(path)?.text,
            None => String::new(),
        };
        let settings = settings(&text, own_namespace.as_deref()).with_context(|| match &path {
            Some(path) => path.display().to_string(),
            None => "the default configuration".to_owned(),
        })?;
        let path = path.filter(|path| path.as_os_str() != "-");
        Ok((Self { path, own_namespace, content: ContentInUse::new(&text) }, settings))
    }

    /// Checks the file once. The same error is reported only once.
    pub(crate) fn check(&mut self) -> CheckResult<Settings, String> {
        let Self { path, own_namespace, content } = self;
        let Some(path) = path else { return CheckResult::Unchanged };
        let text = input::read(path).map(|source| source.text);
        content.check(text.map_err(|error| format!("{:#}", anyhow::Error::new(error))), |text| {
            let settings = settings(text, own_namespace.as_deref());
            settings.map_err(|error| format!("{}: {error:#}", path.display()))
        })
    }

    /// Whether the last check found invalid content.
    pub(crate) fn is_refused(&self) -> bool {
        self.content.is_refused()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    /// Changes a mounted `ConfigMap` as the kubelet does.
    fn mount(volume: &Path, generation: &str, text: &str) {
        let directory = volume.join(generation);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("injector.yaml"), text).unwrap();
        symlink(generation, volume.join("..new")).unwrap();
        fs::rename(volume.join("..new"), volume.join("..data")).unwrap();
    }

    #[test]
    fn an_invalid_change_keeps_the_previous_settings() {
        let volume = tempfile::tempdir().unwrap();
        mount(volume.path(), "..1", "onProblem: deny\n");
        symlink("..data/injector.yaml", volume.path().join("injector.yaml")).unwrap();
        let path = volume.path().join("injector.yaml");
        let (mut follower, _) = Follower::new(Some(path.clone()), Some("vault".to_owned())).unwrap();
        assert!(matches!(follower.check(), CheckResult::Unchanged));

        mount(volume.path(), "..2", "onProblem: warn\n");
        assert!(matches!(follower.check(), CheckResult::Replaced(_)));
        assert!(matches!(follower.check(), CheckResult::Unchanged));

        mount(volume.path(), "..3", "onProblm: warn\n");
        let CheckResult::Kept(error) = follower.check() else { panic!("a bad file is kept out") };
        assert!(error.contains("onProblm") && error.contains("injector.yaml"), "{error}");
        assert!(matches!(follower.check(), CheckResult::Unchanged), "reported once");

        mount(volume.path(), "..4", "onProblem: warn\n");
        assert!(matches!(follower.check(), CheckResult::Unchanged), "as it is in force");
        fs::remove_file(&path).unwrap();
        assert!(matches!(follower.check(), CheckResult::Kept(_)));
    }

    #[test]
    fn the_own_namespace_is_always_excluded() {
        let pod = scaivault_inject::PodView::parse(
            r#"{"metadata":{"annotations":{"scaivault.scailabs.ai/inject-secret-a":"apps/a"}},"spec":{}}"#,
        )
        .unwrap();
        let (_, settings) = Follower::new(None, Some("vault".to_owned())).unwrap();
        let namespace = scaivault_inject::Namespace { name: "vault".to_owned(), ..Default::default() };
        let decision = scaivault_inject::decide(
            &pod,
            &scaivault_inject::Context::new(&settings, &namespace, scaivault_inject::KubeVersion::OLDEST),
        );
        assert_eq!(decision.reason(), "excluded-namespace");
    }
}
