//! Finds the programs of a control plane.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::ControlPlaneError;

/// The variable with the directory of the programs, named as in controller-runtime's envtest.
pub const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// The directory of the programs.
#[derive(Clone, Debug)]
pub struct Assets {
    directory: PathBuf,
    /// The search path for programs that are not in the directory, in the format of `PATH`.
    path: Option<std::ffi::OsString>,
}

impl Assets {
    /// Uses the directory in [`ASSETS_VARIABLE`], with the `PATH` for programs that it does not
    /// contain.
    #[expect(clippy::disallowed_methods, reason = "tests have no command line of their own")]
    pub fn from_env() -> Result<Self, ControlPlaneError> {
        let directory = env::var_os(ASSETS_VARIABLE).filter(|directory| !directory.is_empty());
        let directory = directory.ok_or(ControlPlaneError::NoAssets)?;
        Ok(Self { directory: directory.into(), path: env::var_os("PATH") })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of a program, for example `kubectl`.
    pub fn program(&self, name: &str) -> Result<PathBuf, ControlPlaneError> {
        let elsewhere = self.path.iter().flat_map(env::split_paths);
        std::iter::once(self.directory.clone())
            .chain(elsewhere)
            .map(|directory| directory.join(name))
            .find(|program| program.is_file())
            .ok_or_else(|| ControlPlaneError::NoProgram {
                program: name.to_owned(),
                directory: self.directory.clone(),
            })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_directory_precedes_the_path() {
        let [assets, elsewhere] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for program in
            [assets.path().join("kubectl"), elsewhere.path().join("kubectl"), elsewhere.path().join("helm")]
        {
            fs::write(program, "").unwrap();
        }
        let path = Some(elsewhere.path().into());
        let found = Assets { directory: assets.path().to_owned(), path };
        assert_eq!(found.program("kubectl").unwrap(), assets.path().join("kubectl"));
        assert_eq!(found.program("helm").unwrap(), elsewhere.path().join("helm"));
        let error = found.program("kwok").unwrap_err().to_string();
        assert!(error.contains("kwok") && error.contains("cargo xtask assets"), "{error}");
    }
}
