//! One change of a root: from the first file that differs to the swap.

use std::{collections::BTreeMap, fs, mem, path::Path};

use rustix::io::Errno;
use scaivault_contract::{FileMode, TargetFile};

use super::{
    Outcome, Output, Root, Sink, SinkError,
    chain::{Chain, Generation},
};

/// What is being written to a root.
pub(super) struct Change<'s> {
    sink: &'s Sink,
    root: &'s Root,
    /// Opened at the first use.
    chain: Option<Chain<'s>>,
    /// Made at the first file that differs.
    next: Option<Generation>,
    written: Vec<&'s Output>,
    /// The error of a file that was put.
    done: Result<(), SinkError>,
}

impl<'s> Change<'s> {
    pub(super) fn new(sink: &'s Sink, root: &'s Root) -> Self {
        Self { sink, root, chain: None, next: None, written: Vec::new(), done: Ok(()) }
    }

    /// Writes a file of this root if it differs.
    pub(super) fn put(&mut self, target: &TargetFile, mode: FileMode, bytes: &[u8]) {
        let Some(file) = self.root.files.iter().find(|file| file.target == *target) else { return };
        if self.done.is_ok()
            && let Err(error) = self.write(file, mode, bytes)
        {
            // Frees what was written: the volume may be full.
            self.discard();
            self.done = Err(error);
        }
    }

    fn write(&mut self, file: &'s Output, mode: FileMode, bytes: &[u8]) -> Result<(), SinkError> {
        let chain = self.open()?;
        let is_there = chain.current.as_ref().is_some_and(|current| current.holds(&file.path, mode, bytes));
        let was_written = self.written.iter().any(|written| written.path == file.path);
        if is_there && !was_written {
            return Ok(());
        }
        let budget = &self.sink.budget;
        let path = self.root.path.join(&file.path);
        let next = self.start()?;
        budget.check(&next.dir, &path, bytes.len().try_into().unwrap_or(u64::MAX))?;
        next.make(&file.path, mode, bytes).map_err(|errno| SinkError::new(&path, errno))?;
        if !was_written {
            self.written.push(file);
        }
        Ok(())
    }

    /// Makes what was put the current generation, together with all other files of before.
    pub(super) fn commit(&mut self, gives_up: bool, versions: &BTreeMap<String, u64>) -> Outcome {
        let done = mem::replace(&mut self.done, Ok(())).and_then(|()| self.finish(gives_up, versions));
        // What is still pending has not become current.
        self.discard();
        let changed = mem::take(&mut self.written).into_iter().map(|file| file.target.clone()).collect();
        Outcome { changed, done }
    }

    fn finish(&mut self, gives_up: bool, versions: &BTreeMap<String, u64>) -> Result<(), SinkError> {
        let root = self.root;
        let is_enough = gives_up || root.files.iter().all(|file| file.is_optional);
        if self.chain.is_none() && !is_enough && !root.path.exists() {
            return Ok(());
        }
        let chain = self.open()?;
        let is_delivered = chain.is_delivered() || !is_enough && !root.is_complete(chain);
        if self.next.is_none() && is_delivered {
            let chain = self.open()?;
            let Some(current) = &chain.current else { return Ok(()) };
            current.note(current, versions);
            // Somebody may have taken a link away.
            return chain.link_all(&root.path, current, root.paths(), true);
        }
        let is_silent = !self.written.iter().any(|file| file.is_signalled);
        let was_told = self.open()?.is_told();
        self.complete(|_| false, versions)?;
        let published = self.publish();
        if let Some(chain) = self.chain.as_ref().filter(|_| was_told && is_silent && self.next.is_none()) {
            // Otherwise the next start signals once too often, which does no harm.
            let _ = chain.set_told();
        }
        published
    }

    /// Makes a new generation without some files, where the current one has any of them. Their links lead nowhere then.
    pub(super) fn remove(&mut self, is_removed: impl Fn(&Output) -> bool) -> Result<(), SinkError> {
        let root = self.root;
        let chain = match Chain::open(&root.path, &self.sink.id) {
            Ok(chain) => chain,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(SinkError::new(&root.path, errno)),
        };
        if !root.files.iter().any(|file| is_removed(file) && chain.has(&file.path)) {
            return Ok(());
        }
        self.chain = Some(chain);
        let next = self.start()?;
        next.set_removed().map_err(|errno| SinkError::new(&root.path, errno))?;
        let published = self.complete(is_removed, &BTreeMap::new()).and_then(|()| self.publish());
        self.discard();
        published?;
        // The application is told by their absence: what was there must not be found in the generation before either.
        self.remove_others();
        Ok(())
    }

    /// Opens the root, and makes it where it is not there.
    fn open(&mut self) -> Result<&Chain<'s>, SinkError> {
        let (path, id) = (&self.root.path, &self.sink.id);
        if self.chain.is_none() {
            fs::create_dir_all(path).map_err(|error| SinkError::from_io(path, error))?;
            let chain = Chain::open(path, id).map_err(|errno| SinkError::new(path, errno))?;
            chain.make_service_account_dirs(path).map_err(|errno| SinkError::new(path, errno))?;
            self.chain = Some(chain);
        }
        Ok(self.chain.as_ref().expect("it was opened above"))
    }

    /// Makes the next generation, once.
    fn start(&mut self) -> Result<&Generation, SinkError> {
        if self.next.is_none() {
            self.open()?;
            // What a crash left, and the generation before the current one.
            self.remove_others();
            let next = self.open()?.start();
            self.next = Some(next.map_err(|errno| SinkError::new(&self.root.path, errno))?);
        }
        Ok(self.next.as_ref().expect("it was made above"))
    }

    /// Brings all other files of before into the next generation.
    fn complete(
        &mut self,
        is_left_out: impl Fn(&Output) -> bool,
        versions: &BTreeMap<String, u64>,
    ) -> Result<(), SinkError> {
        self.start()?;
        let (Some(chain), Some(next)) = (&self.chain, &self.next) else { return Ok(()) };
        if let Some(current) = &chain.current {
            for file in &self.root.files {
                if is_left_out(file) || self.written.iter().any(|written| written.path == file.path) {
                    continue;
                }
                let path = self.root.path.join(&file.path);
                next.take_over(current, &file.path, &path, &self.sink.budget)?;
            }
            next.note(current, versions);
        } else {
            next.note(next, versions);
        }
        next.sync().map_err(|errno| SinkError::new(&self.root.path, errno))
    }

    /// Swaps the next generation in. `next` is none from the swap on.
    fn publish(&mut self) -> Result<(), SinkError> {
        let root = self.root;
        let (Some(chain), Some(next)) = (&mut self.chain, &self.next) else { return Ok(()) };
        chain.claim().map_err(|errno| SinkError::new(&root.path, errno))?;
        // Where nothing stands yet the links come first, so that all files appear with the swap.
        chain.link_all(&root.path, next, root.paths(), false)?;
        chain.swap(next).map_err(|errno| SinkError::new(&root.path.join(&chain.link), errno))?;
        chain.current = self.next.take();
        let current = chain.current.as_ref().expect("it was just put there");
        chain.link_all(&root.path, current, root.paths(), true)
    }

    /// Removes every generation but the current one. Best effort: one of another user stays.
    fn remove_others(&self) {
        let Some(chain) = &self.chain else { return };
        if let Err(error) = chain.remove_others() {
            let root = self.root.path.display();
            self.sink
                .has_leftovers
                .call_once(|| tracing::debug!(%root, %error, "an older generation cannot be removed"));
        }
    }

    /// Removes what has not become current.
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
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }
}
