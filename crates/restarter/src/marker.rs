//! The annotation of a pod template with the versions of its last restart.

use std::fmt::Write as _;

use crate::source::{SourceId, SourceRef, Sources, Version, digest};

/// The annotation's key. On an Argo Rollout it is in the object's own metadata.
pub const MARKER: &str = "scaivault.scailabs.ai/restarted-for";

/// The longest marker that is read. What the controller writes for 256 secrets is shorter.
const MAX_BYTES: usize = 160 * 1024;

/// A parsed marker, with the sources that the workload delivers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marker {
    /// The digest of its text, which identifies pods that were created from this template.
    pub digest: u64,
    /// The versions, sorted by source.
    pub versions: Box<[(SourceId, Version)]>,
}

impl Marker {
    /// Parses a marker. Any user who may write the workload may write it, so entries of sources that are not
    /// `delivered` and malformed entries are ignored.
    pub fn parse(text: &str, delivered: &[SourceId], sources: &Sources) -> Self {
        if text.len() > MAX_BYTES {
            return Self { digest: digest(&[text]), versions: Box::default() };
        }
        let names: std::collections::BTreeMap<String, SourceId> =
            delivered.iter().map(|id| (sources.name(*id).to_string(), *id)).collect();
        let mut versions: Vec<_> = text
            .split(';')
            .filter_map(|entry| {
                let (source, version) = entry.rsplit_once('=')?;
                Some((*names.get(source)?, version.parse().ok()?))
            })
            .collect();
        versions.sort_unstable();
        versions.dedup_by_key(|(id, _)| *id);
        Self { digest: digest(&[text]), versions: versions.into() }
    }

    /// The version of a source.
    pub fn version(&self, source: SourceId) -> Option<Version> {
        self.versions.iter().find(|(id, _)| *id == source).map(|(_, version)| *version)
    }
}

/// The text of a marker. It only depends on the versions, so that two controllers write the same and the
/// second write is a no-op.
pub(crate) fn write(versions: &[(&SourceRef, Version)]) -> String {
    let mut sorted = versions.to_vec();
    sorted.sort_unstable();
    let mut text = String::new();
    for (source, version) in sorted {
        let separator = if text.is_empty() { "" } else { ";" };
        write!(text, "{separator}{source}={version}").expect("a String takes every text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceKind;

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        let mut sources = Sources::default();
        let vault = SourceRef::new(SourceKind::ScaiVault, "environments/production/db");
        let native = SourceRef::new(SourceKind::Secret, "db");
        let ids = [sources.intern("a", &vault), sources.intern("a", &native)];
        let versions = [Version::Numbered { time: 9, number: 3 }, Version::Numbered { time: 5, number: 0 }];
        let text = write(&[(&native, versions[1]), (&vault, versions[0])]);
        assert_eq!(text, "scaivault:environments/production/db=3@9;secret:db=@5");
        let marker = Marker::parse(&text, &ids, &sources);
        assert_eq!(marker.versions.to_vec(), [(ids[0], versions[0]), (ids[1], versions[1])]);
        assert_eq!(marker.digest, digest(&[&text]));
    }

    #[test]
    fn forged_entries_are_left_out() {
        let mut sources = Sources::default();
        let id = sources.intern("a", &SourceRef::new(SourceKind::Secret, "db"));
        let text = "secret:other=@5;secret:db=never;;=;secret:db=@7;secret:db=@9";
        let marker = Marker::parse(text, &[id], &sources);
        assert_eq!(marker.versions.len(), 1);
        let long = format!("secret:db=@7;{}", "x".repeat(MAX_BYTES));
        assert!(Marker::parse(&long, &[id], &sources).versions.is_empty());
    }
}
