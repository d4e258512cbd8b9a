//! The annotation of a pod template with the versions of its last restart.

use std::fmt::Write as _;

use crate::source::{SourceId, SourceRef, Sources, Version, digest};

/// The annotation's key. On an Argo Rollout it is in the object's own metadata.
pub const MARKER: &str = "scaivault.scailabs.ai/restarted-for";

/// The maximum number of followed secrets of a workload. Its marker names all of them.
pub(crate) const SECRETS_MAX: usize = 256;
/// The maximum length of a marker in bytes; that of 256 secrets is shorter.
const MAX_BYTES: usize = 160 * 1024;

/// A parsed marker, with the sources that the workload delivers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marker {
    /// The digest of its text, which identifies pods that were created from this template.
    pub digest: u64,
    /// The versions, sorted by source.
    pub versions: Box<[(SourceId, Version)]>,
}

/// A marker of a workload whose sources are not known yet. Tenants can write markers, so no text is kept:
/// sources are kept as digests, and malformed entries are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkedVersions {
    digest: u64,
    /// Sorted by the digest of the source.
    versions: Box<[(u64, Version)]>,
}

impl MarkedVersions {
    /// Reads a marker.
    pub fn parse(text: &str) -> Self {
        let entries = text.split(';').filter(|_| text.len() <= MAX_BYTES).filter_map(|entry| {
            let (source, version) = entry.rsplit_once('=')?;
            Some((digest(&[source]), version.parse().ok()?))
        });
        let mut versions: Vec<_> = entries.take(SECRETS_MAX).collect();
        versions.sort_unstable();
        versions.dedup_by_key(|(source, _)| *source);
        Self { digest: digest(&[text]), versions: versions.into() }
    }

    /// The versions of these sources.
    pub fn delivered(&self, delivered: impl IntoIterator<Item = SourceId>, sources: &Sources) -> Marker {
        let version = |id: SourceId| {
            let name = digest(&[&sources.name(id).to_string()]);
            let index = self.versions.binary_search_by_key(&name, |(source, _)| *source).ok()?;
            Some((id, self.versions[index].1))
        };
        let mut versions: Vec<_> = delivered.into_iter().filter_map(version).collect();
        versions.sort_unstable();
        Marker { digest: self.digest, versions: versions.into() }
    }
}

impl Marker {
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
        let marker = MarkedVersions::parse(&text).delivered(ids, &sources);
        assert_eq!(marker.versions.to_vec(), [(ids[0], versions[0]), (ids[1], versions[1])]);
        assert_eq!(marker.digest, digest(&[&text]));
    }

    #[test]
    fn forged_entries_are_ignored() {
        let mut sources = Sources::default();
        let id = sources.intern("a", &SourceRef::new(SourceKind::Secret, "db"));
        let text = "secret:other=@5;secret:db=never;;=;secret:db=@7;secret:db=@9";
        let marker = MarkedVersions::parse(text).delivered([id], &sources);
        assert_eq!(marker.versions.len(), 1);
        let long = format!("secret:db=@7;{}", "x".repeat(MAX_BYTES));
        assert!(MarkedVersions::parse(&long).versions.is_empty());
    }

    #[test]
    fn no_text_of_a_marker_is_kept() {
        let entries = |count: usize| (0..count).map(|index| format!("secret:{index}=@5")).collect::<Vec<_>>();
        assert_eq!(MarkedVersions::parse(&entries(SECRETS_MAX).join(";")).versions.len(), SECRETS_MAX);
        assert_eq!(MarkedVersions::parse(&entries(5000).join(";")).versions.len(), SECRETS_MAX);
        assert!(MarkedVersions::parse(&"x".repeat(100_000)).versions.is_empty());
    }
}
