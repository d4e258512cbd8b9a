//! The arguments of `migrate` and `verify`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use scaivault_contract::Duration;

use crate::args::{FileArgs, LayerArgs};

/// What a migration is made from: the same for the manifests and for the Jobs that verify it.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) layers: LayerArgs,

    /// The map (YAML): which ScaiVault path each native Secret and each Vault path becomes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) map: Option<PathBuf>,

    /// The ScaiVault path of a Secret without an entry in the map, with ${environment}, ${namespace} and ${secret}
    ///
    /// For example 'environments/${environment}/${namespace}/${secret}'. Each key becomes the field of the same name.
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) path: Option<String>,

    /// The ScaiVault path of a Vault path without an entry in the map, with ${environment}, ${namespace} and ${path}
    ///
    /// ${path} is the Vault path without its mount and without the `data/` of the KV engine, version 2.
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) vault_path: Option<String>,

    /// The value of ${environment}
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,

    /// The namespace of manifests without one
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// Refresh interval of files that are refreshed today, or `none` to fetch them only once, at the
    /// start
    ///
    /// The kubelet refreshes mounted Secrets, and the sidecar of vault-k8s its files. To do the same, the pods get the
    /// sidecar; with `none` they get the init container.
    #[arg(long, value_name = "DURATION|none", default_value_t = Refresh::default())]
    pub(crate) refresh: Refresh,

    /// Accept a change that is otherwise refused. May be given more than once
    #[arg(long, value_enum, value_name = "CHANGE")]
    pub(crate) accept: Vec<AcceptedChange>,
}

/// `migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// A directory for the result: manifests, originals, Jobs that verify, and the plan
    ///
    /// It must be empty or not exist yet. Without it, the manifests go to standard output.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) output_dir: Option<PathBuf>,

    /// Maximum number of workloads in a batch of the plan
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch_size: u16,

    /// A namespace whose workloads come first in the plan. May be given more than once, in order
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) first: Vec<String>,

    /// Show in the report what changes
    #[arg(long)]
    pub(crate) diff: bool,
}

/// `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// A change in what the application sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcceptedChange {
    /// The files are mounted at a directory that is not a mount today: files of the image there are
    /// hidden
    CommonDirectory,
    /// Containers that use different secrets today all get all of them
    WiderAccess,
}

/// How often files are refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// At this interval.
    Every(Duration),
    /// Only at the start.
    None,
}

impl Default for Refresh {
    fn default() -> Self {
        Self::Every(Duration::from_secs(300))
    }
}

impl std::str::FromStr for Refresh {
    type Err = scaivault_contract::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self::None) } else { text.parse().map(Self::Every) }
    }
}

impl std::fmt::Display for Refresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Every(duration) => duration.fmt(f),
            Self::None => f.write_str("none"),
        }
    }
}
