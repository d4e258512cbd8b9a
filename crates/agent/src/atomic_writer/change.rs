//! One change of a root, from the first file that differs to its publication.

use std::{collections::BTreeMap, fs, mem, path::Path};

use rustix::io::Errno;
use scaivault_contract::{FileMode, TargetFile};

use super::{
    AtomicWriter, Outcome, Output, Root, WriteError,
    chain::{Chain, Generation},
    error::At as _,
};

/// A pending change of a root.
pub(super) struct Change<'s> {
    sink: &'s AtomicWriter,
    pub(super) root: &'s Root,
    /// Opened at the first use.
    chain: Option<Chain<'s>>,
    /// The pending generation, created when the first file differs.
    next: Option<Generation>,
    written: Vec<&'s Output>,
    /// The versions of the secrets in the root's files.
    pub(super) versions: BTreeMap<String, u64>,
    /// The error of a file that was put.
    pub(super) done: Result<(), WriteError>,
}

impl<'s> Change<'s> {
    pub(super) fn new(sink: &'s AtomicWriter, root: &'s Root) -> Self {
        let (written, versions) = (Vec::new(), BTreeMap::new());
        Self { sink, root, chain: None, next: None, written, versions, done: Ok(()) }
    }

    /// Writes a file of this root if it differs.
    pub(super) fn put(&mut self, target: &TargetFile, mode: FileMode, bytes: &[u8]) {
        let Some(file) = self.root.files.iter().find(|file| file.target == *target) else { return };
        if self.done.is_ok()
            && let Err(error) = self.write(file, mode, bytes)
        {
            // Frees the space of what was written, because the volume may be full.
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
        let (budget, path) = (&self.sink.budget, self.root.path.join(&file.path));
        let next = self.start()?;
        budget.check(&next.dir, &path, bytes.len().try_into().unwrap_or(u64::MAX))?;
        next.make(&file.path, mode, bytes).at(&path)?;
        if !was_written {
            self.written.push(file);
        }
        Ok(())
    }

    /// Publishes what was put, together with all other files of the previous generation.
    pub(super) fn commit(&mut self, mark_incomplete: bool) -> Outcome {
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
    pub(super) fn remove(&mut self, is_removed: impl Fn(&Output) -> bool) -> Result<(), WriteError> {
        let root = self.root;
        let chain = match Chain::open(&root.path, self.sink) {
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
            let chain = Chain::open(path, self.sink).at(path)?;
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
                next.take_over(current, &file.path, &self.root.path.join(&file.path), &self.sink.budget)?;
            }
        }
        next.note(chain.current.as_ref().unwrap_or(next), &self.versions);
        next.sync().at(&self.root.path)
    }

    /// Publishes the pending generation; then `next` is `None`. With `keeps_told`, the application
    /// need not be notified of it if it knew the previous one.
    fn publish(&mut self, keeps_told: bool) -> Result<(), WriteError> {
        let root = self.root;
        let (Some(chain), Some(next)) = (&mut self.chain, &self.next) else { return Ok(()) };
        chain.check_unchanged(next).at(&root.path)?;
        let stays_told = keeps_told && chain.is_told();
        chain.claim().at(&root.path)?;
        // New links are created before the swap, so that all files appear with it.
        chain.link_all(root, next, false)?;
        chain.swap(next).at(&root.path.join(&chain.link))?;
        chain.current = self.next.take();
        if stays_told {
            // Best effort: if it fails, the next run sends a superfluous signal.
            let _ = chain.set_told();
        }
        let current = chain.current.as_ref().expect("it was just put there");
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
            self.sink.leftovers_logged.call_once(log);
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
    pub(super) fn is_complete(&self, chain: &Chain<'_>) -> bool {
        chain.current.is_some() && self.files.iter().all(|file| file.is_optional || chain.has(&file.path))
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }
}
