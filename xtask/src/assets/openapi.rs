//! The `OpenAPI` document of each supported release of Kubernetes, for the tests of the chart.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use xshell::Shell;

use super::{
    cache::{self, Cache},
    kubernetes::{PATH, Release},
    module::download,
};

/// The path of the document in Kubernetes' source.
const SOURCE: &str = "api/openapi-spec/swagger.json";

/// The documents' names in a directory of assets.
pub(super) fn names() -> impl Iterator<Item = String> {
    Release::ALL.into_iter().map(name)
}

fn name(release: Release) -> String {
    format!("kubernetes-openapi-{release}.json")
}

/// The cache key of the documents.
pub(super) fn key() -> String {
    cache::key(&Release::ALL.map(Release::sum))
}

/// The directory of the documents; they are downloaded if they are missing.
pub(super) fn fetch(shell: &Shell, cache: &Cache) -> Result<PathBuf> {
    cache.get_or_make(shell, &cache.module("openapi", &key()), |out| {
        for release in Release::ALL {
            eprintln!("fetching what the API of Kubernetes {release} knows: 20 MB");
            let (version, work) = (release.version(), cache.fresh(shell, "openapi-source")?);
            let module = download(shell, PATH, &version, &work, Some(&work.join("modules")))?;
            let (sum, expected) = (module.sum, release.sum());
            ensure!(
                sum == expected,
                "{PATH} {version} is {sum}, and {expected} was expected: it is not what was published"
            );
            shell.copy_file(module.dir.join(SOURCE), out.join(name(release)))?;
            // Removes the remaining hundred megabytes of the source.
            shell.remove_path(work)?;
        }
        Ok(())
    })
}
