//! Secrets whose rotation restarts workloads, and their versions.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// The kind of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// A secret of ScaiVault.
    ScaiVault,
    /// A native Secret.
    Secret,
    /// A `SecretProviderClass`: the files of its volumes.
    Class,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::ScaiVault, Self::Secret, Self::Class];

    /// The word in markers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ScaiVault => "scaivault",
            Self::Secret => "secret",
            Self::Class => "class",
        }
    }

    /// The `kind` in a `RotationRollout`.
    pub const fn resource_kind(self) -> &'static str {
        match self {
            Self::ScaiVault => "ScaiVault",
            Self::Secret => "Secret",
            Self::Class => "SecretProviderClass",
        }
    }
}

/// A source as a workload refers to it. Native Secrets and classes are in the workload's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceRef {
    /// Where it comes from.
    pub kind: SourceKind,
    /// The path, or the object's name.
    pub name: Arc<str>,
}

impl SourceRef {
    /// A source by its kind and name.
    pub fn new(kind: SourceKind, name: &str) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.name)
    }
}

/// The identifier of a source in [`Sources`]. It is never reused, so a stale one refers to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u64);

/// A version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// A version that was written at a time. Times of one source come from one server.
    Numbered {
        /// When it was written, Unix seconds of the server that keeps the secret.
        time: i64,
        /// Its number; 0 for a native Secret, which has none.
        number: u32,
    },
    /// A digest of the driver's status of a volume. Labels have no order.
    Label(u64),
}

impl Version {
    /// Whether it replaces `other`. An older version of the same source, from a lagging replica, does not.
    ///
    /// A higher number is newer, even with an earlier time, because the clocks of two servers may differ, and a
    /// clock may be set back. A lower number is newer if its time is later, because the secret was created
    /// again. The first version has the time of the secret's creation.
    pub fn is_newer_than(self, other: Self) -> bool {
        let (Self::Numbered { time, number }, Self::Numbered { time: known_time, number: known }) =
            (self, other)
        else {
            return self != other;
        };
        let is_recreated = |first: u32, last: u32| first <= 1 && last > 2;
        match number.cmp(&known) {
            Ordering::Equal => number <= 1 && time > known_time,
            Ordering::Greater if is_recreated(known, number) => time >= known_time,
            Ordering::Greater => time.saturating_add(CLOCK_CHANGE) >= known_time,
            Ordering::Less if is_recreated(number, known) => time > known_time,
            Ordering::Less => time > known_time.saturating_add(CLOCK_SKEW),
        }
    }

    /// Whether both are the same version. The time of a version may change, because servers may only report
    /// when the secret was last changed, including its description.
    pub fn is_same(self, other: Self) -> bool {
        self.identity() == other.identity()
    }

    /// The version without its time, if that may change.
    pub(crate) fn identity(self) -> Self {
        match self {
            Self::Numbered { number, .. } if number > 1 => Self::Numbered { time: 0, number },
            version => version,
        }
    }
}

/// The most seconds by which a clock may have been set back between two versions.
const CLOCK_CHANGE: i64 = 24 * 3600;
/// The most seconds by which the clocks of two servers may differ: a lower number with a later time within
/// that limit is an older version.
const CLOCK_SKEW: i64 = 120;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered { time, number: 0 } => write!(f, "@{time}"),
            Self::Numbered { time, number } => write!(f, "{number}@{time}"),
            Self::Label(label) => write!(f, "#{label:016x}"),
        }
    }
}

/// The text is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version; expected NUMBER@SECONDS, @SECONDS or # and 16 hexadecimal digits")]
pub struct VersionError;

impl std::str::FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if let Some(label) = text.strip_prefix('#') {
            let is_hex = label.len() == 16 && label.bytes().all(|byte| byte.is_ascii_hexdigit());
            let label = is_hex.then(|| u64::from_str_radix(label, 16).ok()).flatten();
            return label.map(Self::Label).ok_or(VersionError);
        }
        let (number, time) = text.split_once('@').ok_or(VersionError)?;
        let number = if number.is_empty() { 0 } else { number.parse().map_err(|_| VersionError)? };
        Ok(Self::Numbered { time: time.parse().map_err(|_| VersionError)?, number })
    }
}

/// The state of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// The current version; `None` while it is not known.
    pub current: Option<Version>,
    /// When this process first saw that version, Unix seconds.
    pub seen_at: i64,
    /// When the previous version stops working, Unix seconds of the server; `None` if unknown.
    pub old_ends: Option<i64>,
    /// The last `metadata.resourceVersion` of a native Secret; 0 if unknown.
    pub revision: u64,
}

/// The version of a native Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NativeVersion {
    pub(crate) version: Version,
    /// The last `metadata.resourceVersion` of the Secret: the version was not written later.
    pub(crate) revision: u64,
    /// When this process first saw it, Unix seconds.
    pub(crate) seen_at: i64,
}

/// All sources of the cluster. Workloads refer to them by identifiers of eight bytes.
#[derive(Clone, Debug)]
pub struct Sources {
    ids: BTreeMap<(Arc<str>, SourceRef), SourceId>,
    entries: BTreeMap<SourceId, (Arc<str>, SourceRef, SourceState)>,
    /// Sources for which ScaiVault returns no version.
    failing: BTreeSet<SourceId>,
    /// The next identifier.
    next: u64,
    /// The name of removed sources.
    forgotten: SourceRef,
}

impl Default for Sources {
    fn default() -> Self {
        let forgotten = SourceRef::new(SourceKind::ScaiVault, "");
        Self { ids: BTreeMap::new(), entries: BTreeMap::new(), failing: BTreeSet::new(), next: 0, forgotten }
    }
}

impl Sources {
    /// The identifier of a source of a workload in `namespace`. A new source is added.
    pub fn intern(&mut self, namespace: &str, source: &SourceRef) -> SourceId {
        let scope: Arc<str> = scope(namespace, source.kind).into();
        let (entries, next) = (&mut self.entries, &mut self.next);
        *self.ids.entry((Arc::clone(&scope), source.clone())).or_insert_with(|| {
            let id = SourceId(*next);
            *next += 1;
            entries.insert(id, (scope, source.clone(), SourceState::default()));
            id
        })
    }

    /// The identifier of a known source.
    pub fn find(&self, namespace: &str, source: &SourceRef) -> Option<SourceId> {
        self.ids.get(&(scope(namespace, source.kind).into(), source.clone())).copied()
    }

    /// Whether a source was not removed.
    pub fn is_known(&self, id: SourceId) -> bool {
        self.entries.contains_key(&id)
    }

    /// The source with this identifier. The name of a removed one is empty.
    pub fn name(&self, id: SourceId) -> &SourceRef {
        self.entries.get(&id).map_or(&self.forgotten, |(_, source, _)| source)
    }

    /// The state of a source.
    pub fn observed(&self, id: SourceId) -> SourceState {
        self.entries.get(&id).map(|(_, _, observed)| *observed).unwrap_or_default()
    }

    /// Records a version that was read at `now`. Older versions are ignored. Returns whether something
    /// changed.
    pub fn observe(&mut self, id: SourceId, version: Version, old_ends: Option<i64>, now: i64) -> bool {
        let Some((_, _, observed)) = self.entries.get_mut(&id) else { return false };
        self.failing.remove(&id);
        match observed.current {
            Some(current) if !version.is_newer_than(current) => {
                let is_changed =
                    current.is_same(version) && old_ends.is_some() && observed.old_ends != old_ends;
                if is_changed {
                    observed.old_ends = old_ends;
                }
                is_changed
            }
            _ => {
                *observed = SourceState { current: Some(version), seen_at: now, old_ends, revision: 0 };
                true
            }
        }
    }

    /// Records the version of a native Secret. Returns whether it has changed.
    pub(crate) fn observe_native(&mut self, id: SourceId, native: NativeVersion) -> bool {
        let NativeVersion { version, revision, seen_at } = native;
        let is_changed = self.observe(id, version, None, seen_at);
        if let Some((_, _, observed)) = self.entries.get_mut(&id)
            && observed.current == Some(version)
        {
            observed.revision = revision;
        }
        is_changed
    }

    /// Records that a source has no readable version. Returns whether that is new. A known version is kept.
    pub fn fail(&mut self, id: SourceId) -> bool {
        self.observed(id).current.is_none() && self.is_known(id) && self.failing.insert(id)
    }

    /// Whether no version of a source can be read: the native Secret does not exist, or ScaiVault returns no
    /// version.
    pub(crate) fn is_without_version(&self, id: SourceId) -> bool {
        let is_native = self.name(id).kind == SourceKind::Secret;
        self.observed(id).current.is_none() && (is_native || self.failing.contains(&id))
    }

    /// The number of sources.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no sources.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes all sources except these.
    pub fn retain(&mut self, used: &BTreeSet<SourceId>) {
        self.entries.retain(|id, _| used.contains(id));
        self.ids.retain(|_, id| used.contains(id));
        self.failing.retain(|id| used.contains(id));
    }
}

/// The namespace in which a source's name is unique; empty for the whole cluster.
fn scope(namespace: &str, kind: SourceKind) -> &str {
    match kind {
        SourceKind::ScaiVault => "",
        SourceKind::Secret | SourceKind::Class => namespace,
    }
}

/// FNV-1a, 64 bits, the same in every process. Not for texts where a collision would help an attacker.
pub fn digest(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn numbered(time: i64, number: u32) -> Version {
        Version::Numbered { time, number }
    }

    #[test]
    fn versions_are_read_as_they_are_written() {
        for version in [numbered(1_790_000_000, 7), numbered(5, 0), Version::Label(0xab)] {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for text in ["", "7", "x@1", "7@", "#ab", "#000000000000000g", "-1@5", "#+00000000000000a"] {
            assert_eq!(text.parse::<Version>(), Err(VersionError), "{text}");
        }
    }

    #[test]
    fn the_newer_of_two_versions_is_found() {
        assert!(numbered(20, 1).is_newer_than(numbered(10, 9)), "the secret was created again");
        assert!(!numbered(10, 8).is_newer_than(numbered(20, 9)), "a lagging replica");
        assert!(numbered(10, 8).is_newer_than(numbered(10, 7)), "two versions in one second");
        assert!(!numbered(30, 8).is_newer_than(numbered(20, 8)), "another description");
        assert!(numbered(30, 1).is_newer_than(numbered(20, 1)), "created again with one version");
        assert!(numbered(30, 0).is_newer_than(numbered(20, 0)), "a native Secret");
        assert!(numbered(10, 8).is_newer_than(numbered(20, 7)), "a server with another clock");
        assert!(!numbered(20, 7).is_newer_than(numbered(10, 8)), "the same, lagging");
        assert!(numbered(10, 2).is_newer_than(numbered(20, 1)), "rotated soon after its creation");
        assert!(numbered(10, 8).is_newer_than(numbered(80_000, 7)), "a clock that was set back");
        assert!(
            !numbered(10, 9).is_newer_than(numbered(20, 1)),
            "a lagging replica after it was created again"
        );
        assert!(!numbered(10, 9).is_newer_than(numbered(90_000, 3)), "the same, and rotated since");
        assert!(numbered(200, 3).is_newer_than(numbered(10, 9)), "created again and rotated since");
        assert!(Version::Label(1).is_newer_than(Version::Label(2)));
        assert!(!Version::Label(1).is_newer_than(Version::Label(1)));
    }

    #[test]
    fn a_version_with_another_time_is_the_same() {
        assert!(numbered(30, 8).is_same(numbered(20, 8)) && !numbered(30, 8).is_same(numbered(30, 9)));
        assert!(!numbered(30, 1).is_same(numbered(20, 1)), "created again");
        assert!(!numbered(30, 0).is_same(numbered(20, 0)), "a native Secret");
        assert!(
            Version::Label(1).is_same(Version::Label(1)) && !Version::Label(1).is_same(Version::Label(2))
        );
    }

    #[test]
    fn an_older_version_does_not_replace_a_newer_one() {
        let mut sources = Sources::default();
        let id = sources.intern("a", &SourceRef::new(SourceKind::ScaiVault, "x/y"));
        assert!(sources.observe(id, numbered(20, 2), None, 100));
        assert!(!sources.observe(id, numbered(10, 1), None, 101));
        assert!(!sources.observe(id, numbered(20, 2), None, 102));
        assert_eq!(sources.observed(id).seen_at, 100);
        assert!(sources.observe(id, numbered(20, 2), Some(500), 103));
        assert_eq!(
            sources.observed(id),
            SourceState { current: Some(numbered(20, 2)), seen_at: 100, old_ends: Some(500), revision: 0 }
        );
        // A change of the metadata changes the time of the same version.
        assert!(sources.observe(id, numbered(25, 2), Some(400), 104));
        let observed = sources.observed(id);
        assert_eq!((observed.current, observed.old_ends), (Some(numbered(20, 2)), Some(400)));
    }

    #[test]
    fn the_number_of_a_forgotten_source_names_no_other() {
        let mut sources = Sources::default();
        let [kept, gone] = ["kept", "gone"].map(|name| SourceRef::new(SourceKind::ScaiVault, name));
        let (kept, old) = (sources.intern("", &kept), sources.intern("", &gone));
        sources.observe(old, numbered(20, 2), None, 100);
        sources.retain(&[kept].into());
        assert_eq!((sources.len(), sources.find("", &gone), sources.is_known(old)), (1, None, false));
        let new = sources.intern("", &gone);
        assert!(new != old && new != kept);
        assert!(!sources.observe(old, numbered(30, 3), None, 100));
        assert_eq!((sources.observed(new), sources.observed(old)), Default::default());
    }

    #[test]
    fn native_secrets_belong_to_a_namespace() {
        let mut sources = Sources::default();
        let [vault, native] =
            [SourceKind::ScaiVault, SourceKind::Secret].map(|kind| SourceRef::new(kind, "db"));
        assert_eq!(sources.intern("a", &vault), sources.intern("b", &vault));
        assert_ne!(sources.intern("a", &native), sources.intern("b", &native));
        assert_eq!(sources.find("c", &native), None);
    }
}
