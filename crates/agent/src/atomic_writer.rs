//! Writes the files in the same way as the kubelet writes its own volumes, so that a reader never
//! sees a partial change.
//!
//! ```text
//! /run/secrets/db.json                        -> ..data/db.json
//! /run/secrets/..data                         -> ..scaivault-5e1f09c2-8
//! /run/secrets/..scaivault-5e1f09c2-8/db.json    this generation
//! /run/secrets/..scaivault-5e1f09c2-7/db.json    the one before, until the next
//! /run/secrets/..notified-5e1f09c2            -> ..scaivault-5e1f09c2-8/sidecar/<the pod's UID>: what the application was notified of
//! ```
//!
//! A root is the volume that contains a file, or else the file's directory. One rename replaces all
//! files of a root. Each agent has its own chain of generations in a root, so that agents of
//! different users can share a volume without a lock. The second chain in a root uses the link
//! `..data-<id>` instead of `..data`.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    fs, mem,
    path::{Path, PathBuf},
    sync::Once,
};

use rustix::io::Errno;
use scaivault_contract::{FileMode, MountPoint, TargetFile};

mod budget;
mod chain;
mod dirfd;
mod error;
mod location;

use budget::Budget;
use chain::{Chain, Generation};
use error::At as _;
pub(crate) use error::WriteError;
use location::Place;

/// All files that the agent writes, by their roots.
#[derive(Debug)]
pub(crate) struct AtomicWriter {
    /// The name of the agent's chains. It only depends on the files' paths, so that a restart finds
    /// the same chain.
    id: String,
    owner: Owner,
    roots: Vec<Root>,
    budget: Budget,
    /// A generation that cannot be removed is logged only once.
    leftovers_logged: Once,
}

/// The writer of the files, which notifies the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Whether it is the sidecar, and not the init container.
    pub(crate) is_sidecar: bool,
    /// The pod's UID, if it is known.
    pub(crate) pod_uid: Option<String>,
}

impl Owner {
    /// Whether `other` is known to belong to another pod.
    fn is_other_pod(&self, other: &Self) -> bool {
        self.pod_uid.as_ref().zip(other.pod_uid.as_ref()).is_some_and(|(own, other)| own != other)
    }
}

/// A file to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'t> {
    pub(crate) file: &'t TargetFile,
    /// Whether the pod may start without it.
    pub(crate) is_optional: bool,
    /// Whether the application is notified of its changes.
    pub(crate) is_signalled: bool,
}

/// A root and its files.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    files: Vec<Output>,
    /// The nearest mount point at or above the root, including shared ones; the root itself if
    /// there is none.
    volume: PathBuf,
    /// Their paths below the volume, and whether each is a file.
    mount_points: Vec<(PathBuf, bool)>,
}

/// A file of a root.
#[derive(Debug)]
struct Output {
    /// Its path below the root.
    path: PathBuf,
    target: TargetFile,
    is_optional: bool,
    is_signalled: bool,
}

/// The result of a write.
#[must_use]
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) changed: Vec<TargetFile>,
    /// The first error of a root.
    pub(crate) done: Result<(), WriteError>,
}

/// Pending writes. Readers see them after [`Self::commit`]; without it they are removed.
#[must_use]
pub(crate) struct PendingWrites<'s> {
    changes: Vec<Change<'s>>,
}

/// Checks which files exist. The chain of each root is opened at most once.
pub(crate) struct Files<'s> {
    roots: Vec<(&'s Root, OnceCell<Option<Chain<'s>>>)>,
    writer: &'s AtomicWriter,
}

impl Files<'_> {
    /// Whether these files exist.
    pub(crate) fn has<'t>(&self, targets: impl IntoIterator<Item = &'t TargetFile>) -> bool {
        targets.into_iter().all(|target| {
            self.roots.iter().any(|(root, chain)| {
                let file = root.files.iter().find(|file| file.target == *target);
                let chain = || chain.get_or_init(|| self.writer.chain(root)).as_ref();
                file.is_some_and(|file| chain().is_some_and(|chain| chain.has(&file.path)))
            })
        })
    }
}

impl AtomicWriter {
    /// Determines the root of every file and of every mount point.
    pub(crate) fn new<'a>(
        targets: impl IntoIterator<Item = Target<'a>>,
        mount_points: &[MountPoint],
        owner: Owner,
    ) -> Self {
        Self { owner, ..Self::build(targets, mount_points, location::is_mount_point) }
    }

    fn build<'a>(
        targets: impl IntoIterator<Item = Target<'a>>,
        mount_points: &[MountPoint],
        is_mount_point: impl Fn(&Path) -> bool,
    ) -> Self {
        let (mut roots, mut names) = (BTreeMap::<PathBuf, Vec<Output>>::new(), BTreeSet::new());
        for Target { file, is_optional, is_signalled } in targets {
            names.insert(file.as_str());
            let Place { root, file: path } = location::locate(Path::new(file.as_str()), &is_mount_point);
            let output = Output { path, target: file.clone(), is_optional, is_signalled };
            roots.entry(root).or_default().push(output);
        }
        let root = |(path, files): (PathBuf, _)| {
            let volume = location::mounted_at(&path, &is_mount_point).unwrap_or_else(|| path.clone());
            Root { path, files, volume, mount_points: Vec::new() }
        };
        let mut roots: Vec<_> = roots.into_iter().map(root).collect();
        for point in mount_points {
            let path = location::resolve(Path::new(point.path()), &is_mount_point);
            let volume = location::mounted_at(&path, &is_mount_point);
            let is_volume = |root: &&mut Root| match &volume {
                Some(volume) => root.volume == *volume,
                None => path.starts_with(&root.volume),
            };
            let Some(root) = roots.iter_mut().find(is_volume) else {
                tracing::warn!(%point, "ignoring a mount point in a volume without files of this agent");
                continue;
            };
            let below = path.strip_prefix(&root.volume).expect("it is in the volume");
            root.mount_points.push((below.to_owned(), point.is_file()));
        }
        Self {
            id: chain::id(names),
            owner: Owner::default(),
            roots,
            budget: Budget::default(),
            leftovers_logged: Once::new(),
        }
    }

    /// Starts a change. Nothing is written before the first file that differs.
    pub(crate) fn begin(&self) -> PendingWrites<'_> {
        PendingWrites { changes: self.roots.iter().map(|root| Change::new(self, root)).collect() }
    }

    /// Removes files whose content is no longer valid, all files of a root at once. An error in one
    /// root does not affect the others.
    pub(crate) fn remove<'t>(&self, targets: impl Iterator<Item = &'t TargetFile>) -> Result<(), WriteError> {
        let targets: BTreeSet<_> = targets.collect();
        let remove = |root| Change::new(self, root).remove(|file| targets.contains(&file.target));
        self.roots.iter().map(remove).fold(Ok(()), Result::and)
    }

    /// Which files exist now.
    pub(crate) fn files(&self) -> Files<'_> {
        Files { roots: self.roots.iter().map(|root| (root, OnceCell::new())).collect(), writer: self }
    }

    /// Whether every file exists that is not optional. With `fail_open` a current generation from
    /// which no file was removed is sufficient: the agent has tried, and given up what is missing.
    /// Files of another pod do not count.
    pub(crate) fn is_ready(&self, fail_open: bool) -> bool {
        self.roots.iter().all(|root| {
            self.chain(root)
                .filter(|chain| !chain.is_of_other_pod())
                .is_some_and(|chain| fail_open && chain.is_delivered() || root.is_complete(&chain))
        })
    }

    /// Whether the application was notified of the current generation of every root. Roots without
    /// a signalled file do not count.
    pub(crate) fn is_notified(&self) -> bool {
        let signalled = self.roots.iter().filter(|root| root.files.iter().any(|file| file.is_signalled));
        signalled
            .filter_map(|root| self.chain(root))
            .all(|chain| chain.current.is_none() || chain.is_notified())
    }

    /// Whether any generation is marked as known to the application: then a previous run has let
    /// the application start.
    pub(crate) fn was_notified(&self) -> bool {
        self.chains().any(|chain| chain.notified().is_some())
    }

    /// Whether the sidecar of this pod has set a mark, so that this is not its first start.
    pub(crate) fn was_notified_by_this_sidecar(&self) -> bool {
        let is_own = |chain: Chain<'_>| chain.notified().is_some_and(|(_, owner)| owner == self.owner);
        self.owner.is_sidecar && self.owner.pod_uid.is_some() && self.chains().any(is_own)
    }

    /// Marks the current generations as known to the application.
    pub(crate) fn mark_notified(&self) -> Result<(), WriteError> {
        let set = |root| match self.chain(root) {
            Some(chain) => chain.mark_notified().at(&root.path),
            None => Ok(()),
        };
        self.roots.iter().map(set).fold(Ok(()), Result::and)
    }

    /// The version of each secret in the current generations, by its path.
    pub(crate) fn versions(&self) -> BTreeMap<String, u64> {
        let mut versions = BTreeMap::new();
        for (path, version) in self.chains().flat_map(|chain| chain.versions()) {
            let newest = versions.entry(path).or_insert(version);
            *newest = version.max(*newest);
        }
        versions
    }

    /// The agent's chain in a root; `None` if the root cannot be opened.
    fn chain(&self, root: &Root) -> Option<Chain<'_>> {
        Chain::open(&root.path, self).ok()
    }

    fn chains(&self) -> impl Iterator<Item = Chain<'_>> {
        self.roots.iter().filter_map(|root| self.chain(root))
    }
}

impl PendingWrites<'_> {
    /// Writes a file if its content or mode differs from the current one. [`Self::commit`] returns
    /// the first error of each root.
    pub(crate) fn put(&mut self, target: &TargetFile, mode: FileMode, bytes: &[u8]) {
        for change in &mut self.changes {
            change.put(target, mode, bytes);
        }
    }

    /// Whether a file could not be written: [`Self::commit`] will fail.
    pub(crate) fn has_failed(&self) -> bool {
        self.changes.iter().any(|change| change.done.is_err())
    }

    /// Records the lowest accepted version of a secret in each root that contains one of its files.
    /// A volume does not record the secrets of another one.
    pub(crate) fn note_version<'t>(
        &mut self,
        targets: impl IntoIterator<Item = &'t TargetFile>,
        path: &str,
        version: u64,
    ) {
        let targets: BTreeSet<_> = targets.into_iter().collect();
        for change in &mut self.changes {
            if change.root.files.iter().any(|file| targets.contains(&file.target)) {
                change.versions.insert(path.to_owned(), version);
            }
        }
    }

    /// Publishes the written files, all files of a root at once. Other files keep their content. An error in
    /// one root does not affect the others.
    ///
    /// With `mark_incomplete` the pod may start without the missing files: a root gets a generation even
    /// if it is empty.
    pub(crate) fn commit(mut self, mark_incomplete: bool) -> Outcome {
        let mut outcome = Outcome { changed: Vec::new(), done: Ok(()) };
        for change in &mut self.changes {
            let Outcome { changed, done } = change.commit(mark_incomplete);
            outcome.changed.extend(changed);
            outcome.done = outcome.done.and(done);
        }
        outcome
    }
}

/// A pending change of a root.
struct Change<'s> {
    writer: &'s AtomicWriter,
    root: &'s Root,
    /// Opened at the first use.
    chain: Option<Chain<'s>>,
    /// The pending generation, created when the first file differs.
    next: Option<Generation>,
    written: Vec<&'s Output>,
    /// The versions of the secrets in the root's files.
    versions: BTreeMap<String, u64>,
    /// The error of a file that was put.
    done: Result<(), WriteError>,
}

impl<'s> Change<'s> {
    fn new(writer: &'s AtomicWriter, root: &'s Root) -> Self {
        let (written, versions) = (Vec::new(), BTreeMap::new());
        Self { writer, root, chain: None, next: None, written, versions, done: Ok(()) }
    }

    /// Writes a file of this root if it differs.
    fn put(&mut self, target: &TargetFile, mode: FileMode, bytes: &[u8]) {
        let Some(file) = self.root.files.iter().find(|file| file.target == *target) else { return };
        if self.done.is_ok()
            && let Err(error) = self.write(file, mode, bytes)
        {
            // Frees the space of the written files, because the volume may be full.
            self.discard();
            self.done = Err(error);
        }
    }

    fn write(&mut self, file: &'s Output, mode: FileMode, bytes: &[u8]) -> Result<(), WriteError> {
        let chain = self.open()?;
        let is_current = chain.current.as_ref().is_some_and(|current| current.holds(&file.path, mode, bytes));
        let was_written = self.is_written(file);
        if is_current && !was_written {
            return Ok(());
        }
        let (budget, path) = (&self.writer.budget, self.root.path.join(&file.path));
        let next = self.start()?;
        budget.check(&next.dir, &path, bytes.len().try_into().unwrap_or(u64::MAX))?;
        next.make(&file.path, mode, bytes).at(&path)?;
        if !was_written {
            self.written.push(file);
        }
        Ok(())
    }

    /// Publishes the written files, together with all other files of the previous generation.
    fn commit(&mut self, mark_incomplete: bool) -> Outcome {
        let done = mem::replace(&mut self.done, Ok(())).and_then(|()| self.finish(mark_incomplete));
        // After an error before the publication, the generation is still pending, and nothing has
        // changed.
        self.discard();
        let changed = mem::take(&mut self.written).into_iter().map(|file| file.target.clone()).collect();
        Outcome { changed, done }
    }

    fn finish(&mut self, mark_incomplete: bool) -> Result<(), WriteError> {
        let root = self.root;
        let is_enough = mark_incomplete || root.files.iter().all(|file| file.is_optional);
        if self.chain.is_none() && !is_enough && !root.path.exists() {
            return Ok(());
        }
        let has_pending = self.next.is_some();
        self.open()?;
        let Self { chain: Some(chain), versions, .. } = &*self else { return Ok(()) };
        if !has_pending && (chain.is_delivered() || !is_enough && !root.is_complete(chain)) {
            let Some(current) = &chain.current else { return Ok(()) };
            current.note(current, versions);
            // Replaces links that another process deleted or changed.
            return chain.link_all(root, current, true);
        }
        self.complete(|_| false)?;
        self.publish(!self.written.iter().any(|file| file.is_signalled))
    }

    /// Publishes a new generation without some files if the current one contains any of them. Their
    /// links are left dangling.
    fn remove(&mut self, is_removed: impl Fn(&Output) -> bool) -> Result<(), WriteError> {
        let root = self.root;
        let chain = match Chain::open(&root.path, self.writer) {
            Err(Errno::NOENT) => return Ok(()),
            opened => opened.at(&root.path)?,
        };
        if !root.files.iter().any(|file| is_removed(file) && chain.has(&file.path)) {
            return Ok(());
        }
        self.chain = Some(chain);
        self.start()?.set_removed().at(&root.path)?;
        self.complete(is_removed)?;
        // The application is notified when there are new files.
        self.publish(true)?;
        // The files must not be readable in the previous generation either.
        self.remove_others();
        Ok(())
    }

    /// Opens the root, and creates it if it does not exist.
    fn open(&mut self) -> Result<&Chain<'s>, WriteError> {
        if self.chain.is_none() {
            let path = &self.root.path;
            fs::create_dir_all(path).map_err(|error| WriteError::from_io(path, error))?;
            let chain = Chain::open(path, self.writer).at(path)?;
            chain.make_mount_points(self.root)?;
            self.chain = Some(chain);
        }
        Ok(self.chain.as_ref().expect("it was opened above"))
    }

    /// Creates the pending generation if there is none yet.
    fn start(&mut self) -> Result<&Generation, WriteError> {
        if self.next.is_none() {
            self.open()?;
            // Removes the generation before the current one, and leftovers of a crash.
            self.remove_others();
            let path = &self.root.path;
            self.next = Some(self.open()?.start().at(path)?);
        }
        Ok(self.next.as_ref().expect("it was made above"))
    }

    /// Adds all other files of the current generation to the pending one.
    fn complete(&mut self, is_left_out: impl Fn(&Output) -> bool) -> Result<(), WriteError> {
        self.start()?;
        let (Some(chain), Some(next)) = (&self.chain, &self.next) else { return Ok(()) };
        if let Some(current) = &chain.current {
            for file in self.root.files.iter().filter(|file| !is_left_out(file) && !self.is_written(file)) {
                next.take_over(current, &file.path, &self.root.path.join(&file.path), &self.writer.budget)?;
            }
        }
        next.note(chain.current.as_ref().unwrap_or(next), &self.versions);
        next.sync().at(&self.root.path)
    }

    /// Publishes the pending generation; then `next` is `None`. With `keeps_mark`, the application
    /// need not be notified of it if it knew the previous one.
    fn publish(&mut self, keeps_mark: bool) -> Result<(), WriteError> {
        let root = self.root;
        let (Some(chain), Some(next)) = (&mut self.chain, &self.next) else { return Ok(()) };
        chain.check_unchanged(next).at(&root.path)?;
        let stays_notified = keeps_mark && chain.is_notified();
        chain.claim().at(&root.path)?;
        // New links are created before the swap, so that all files appear with it.
        chain.link_all(root, next, false)?;
        chain.swap(next).at(&root.path.join(&chain.link))?;
        chain.current = self.next.take();
        if stays_notified {
            // Best effort: if it fails, the next run sends a superfluous signal.
            let _ = chain.mark_notified();
        }
        let current = chain.current.as_ref().expect("it was just published");
        chain.link_all(root, current, true)
    }

    fn is_written(&self, file: &Output) -> bool {
        self.written.iter().any(|written| written.path == file.path)
    }

    /// Removes every generation except the current one. Best effort: those of another user remain.
    fn remove_others(&self) {
        if let Some(Err(error)) = self.chain.as_ref().map(Chain::remove_others) {
            let root = self.root.path.display();
            let log = || tracing::debug!(%root, %error, "an older generation cannot be removed");
            self.writer.leftovers_logged.call_once(log);
        }
    }

    /// Removes the pending generation.
    fn discard(&mut self) {
        if let (Some(chain), Some(next)) = (&self.chain, self.next.take()) {
            chain.discard(&next);
            self.written.clear();
        }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.discard();
    }
}

impl Root {
    /// Whether a chain contains every file that is not optional.
    fn is_complete(&self, chain: &Chain<'_>) -> bool {
        chain.current.is_some() && self.files.iter().all(|file| file.is_optional || chain.has(&file.path))
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }
}

#[cfg(test)]
mod tests;
