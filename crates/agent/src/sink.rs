//! Where the files go: written as the kubelet writes its own volumes, so that a reader never sees half of a change.
//!
//! ```text
//! /run/secrets/db.json                      -> ..data/db.json
//! /run/secrets/..data                       -> ..scaivault-8
//! /run/secrets/..scaivault-8/db.json        this generation
//! /run/secrets/..scaivault-7/db.json        the one before, until the next
//! ```
//!
//! A root is the volume a file lies in, or else the file's directory. One rename swaps all files of a root.

use std::{collections::BTreeMap, fs, path::Path};

use scaivault_contract::{FileMode, TargetFile};

mod at;
mod error;
mod mounts;
mod place;
mod root;

pub(crate) use error::SinkError;
pub(crate) use mounts::Mounts;
use place::Place;
use root::Root;

/// A generation that lacks files on purpose has this one: the agent was told to start without them.
const INCOMPLETE: &str = "..incomplete";

/// The roots of all files that the agent writes.
#[derive(Debug)]
pub(crate) struct Sink {
    places: BTreeMap<TargetFile, Place>,
}

/// A file to write.
#[derive(Clone, Copy)]
pub(crate) struct NewFile<'t, 'b> {
    /// Where.
    pub(crate) target: &'t TargetFile,
    /// Its permission bits, whatever the umask.
    pub(crate) mode: FileMode,
    /// What stands in it.
    pub(crate) bytes: &'b [u8],
}

/// What came of writing.
#[must_use]
#[derive(Debug)]
pub(crate) struct Outcome<'t> {
    /// The files that were written.
    pub(crate) changed: Vec<&'t TargetFile>,
    /// The first error of a root.
    pub(crate) done: Result<(), SinkError>,
}

impl Sink {
    /// Finds the root of every file.
    pub(crate) fn new<'a>(targets: impl IntoIterator<Item = &'a TargetFile>, mounts: &Mounts) -> Self {
        let locate =
            |target: &TargetFile| (target.clone(), place::locate(Path::new(target.as_str()), mounts));
        Self { places: targets.into_iter().map(locate).collect() }
    }

    /// Writes the files that differ from what is there, all files of a root at once, and returns these. Files of
    /// before that are not named stay as they are. A root that cannot be written keeps no other from being written.
    ///
    /// With `gives_up`, files that are still missing are missing on purpose: [`Self::is_ready`] says so from then on.
    pub(crate) fn write<'t>(&self, files: &[NewFile<'t, '_>], gives_up: bool) -> Outcome<'t> {
        let mut outcome = Outcome { changed: Vec::new(), done: Ok(()) };
        for (dir, wanted) in self.roots() {
            let mut here = Vec::new();
            for file in files {
                if let Some(place) = self.places.get(file.target).filter(|place| place.root == dir) {
                    here.push((place.file.as_path(), *file));
                }
            }
            match Root::open(dir).and_then(|root| root.write(&here, &wanted, gives_up)) {
                Ok(changed) => outcome.changed.extend(changed),
                Err(error) => outcome.done = outcome.done.and(Err(error)),
            }
        }
        outcome
    }

    /// Takes files away, all files of a root at once: what stands in them is not valid any more. A root that cannot be written
    /// keeps no other from it.
    pub(crate) fn remove<'t>(&self, targets: impl Iterator<Item = &'t TargetFile>) -> Result<(), SinkError> {
        let places = targets.filter_map(|target| self.places.get(target));
        let mut roots = BTreeMap::<&Path, Vec<&Path>>::new();
        for Place { root, file } in places {
            roots.entry(root).or_default().push(file);
        }
        let mut done = Ok(());
        for (dir, files) in roots.into_iter().filter(|(dir, _)| dir.exists()) {
            done = done.and(Root::open(dir).and_then(|root| root.remove(&files)));
        }
        done
    }

    /// Whether these files are there.
    pub(crate) fn has<'t>(&self, targets: impl IntoIterator<Item = &'t TargetFile>) -> bool {
        targets
            .into_iter()
            .all(|target| self.places.get(target).is_some_and(|place| is_there(&place.root, &place.file)))
    }

    /// Whether every file is there. With `fail_open` also whether those that are not are missing on purpose.
    pub(crate) fn is_ready(&self, fail_open: bool) -> bool {
        self.roots().into_iter().all(|(dir, files)| {
            files.iter().all(|file| is_there(dir, file))
                || fail_open && dir.join(root::DATA).join(INCOMPLETE).exists()
        })
    }

    pub(crate) fn is_told(&self) -> bool {
        true
    }

    pub(crate) fn set_told(&self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Every root with its files.
    fn roots(&self) -> BTreeMap<&Path, Vec<&Path>> {
        let mut roots = BTreeMap::<&Path, Vec<&Path>>::new();
        for Place { root, file } in self.places.values() {
            roots.entry(root).or_default().push(file);
        }
        roots
    }
}

/// Whether a root's current generation has a file.
fn is_there(root: &Path, file: &Path) -> bool {
    fs::metadata(root.join(root::DATA).join(file)).is_ok_and(|file| file.is_file())
}

#[cfg(test)]
mod tests;
