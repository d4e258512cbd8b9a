//! What the API of each supported release of Kubernetes knows: its `OpenAPI` document, by which the tests of the chart go.

#![allow(clippy::print_stderr, reason = "see the module above")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{
    build,
    cache::{self, Cache},
    kubernetes::{PATH, Release},
};

/// Where the document is in Kubernetes' source.
const SOURCE: &str = "api/openapi-spec/swagger.json";

/// The documents' names in a directory of assets.
pub(super) fn names() -> impl Iterator<Item = String> {
    Release::ALL.into_iter().map(name)
}

/// What decides which documents they are.
pub(super) fn key() -> String {
    cache::key(&Release::ALL.map(Release::sum))
}

/// Whether all of them are in a directory.
pub(super) fn are_in(directory: &Path) -> bool {
    names().all(|name| directory.join(name).is_file())
}

/// The directory with all of them; they are fetched if they are not there.
pub(super) fn fetch(cache: &Cache) -> Result<PathBuf> {
    let directory = cache.module("openapi", &key());
    if are_in(&directory) {
        return Ok(directory);
    }
    let out = cache.fresh("openapi")?;
    for release in Release::ALL {
        eprintln!("fetching what the API of Kubernetes {release} knows: 20 MB");
        copy(release, cache, &out.join(name(release)))?;
    }
    cache.put(&out, &directory)?;
    Ok(directory)
}

/// A release is fetched for this one file: the hundred megabytes around it do not stay.
fn copy(release: Release, cache: &Cache, to: &Path) -> Result<()> {
    let work = cache.fresh("openapi-source")?;
    let module = build::download(PATH, &release.version(), &work, Some(&work.join("modules")))?;
    ensure!(
        module.sum == release.sum(),
        "{PATH} {} is {}, and {} was expected: it is not what was published",
        release.version(),
        module.sum,
        release.sum()
    );
    let from = module.dir.join(SOURCE);
    fs::copy(&from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
}

fn name(release: Release) -> String {
    format!("kubernetes-openapi-{release}.json")
}
