//! The program's arguments and its start.

use std::{fs, io, net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Parser;
use scaivault_devserver::{
    DevServer, Issuer, IssuerError, JwksUrl, JwksUrlError, Keys, KeysError, Seed, SeedError, Settings,
    StartError, Tls,
};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

/// A ScaiVault in one process, for development and tests. It protects nothing: no real secret belongs into it.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Args {
    /// What the server knows when it starts: secrets, policies, identities, engines; YAML or JSON
    #[arg(long, value_name = "FILE")]
    seed: PathBuf,

    /// The password for a `connection_url` of the seed that has none; everybody on the machine sees a command line, so
    /// give it in the variable
    #[arg(long, value_name = "PASSWORD", env = "PGPASSWORD", hide_env_values = true)]
    postgres_password: Option<String>,

    #[command(flatten)]
    issuer: IssuerArgs,

    /// Where to listen; plain HTTP on loopback alone
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8200")]
    listen: SocketAddr,

    /// Where to offer the switches for faults, time and tokens, on loopback alone
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,

    /// Directory with `tls.crt` and `tls.key`
    #[arg(long, value_name = "DIR", conflicts_with = "tls_name")]
    tls_dir: Option<PathBuf>,

    /// Make a certificate for this DNS name or address; repeatable
    #[arg(long, value_name = "NAME", requires = "ca_file")]
    tls_name: Vec<String>,

    /// Where to write the authority of the certificate that is made
    #[arg(long, value_name = "FILE", requires = "tls_name")]
    ca_file: Option<PathBuf>,
}

impl Args {
    /// Serves until a signal ends the process.
    pub(crate) async fn run(self) -> Result<(), RunError> {
        let Self { seed, postgres_password, issuer, listen, admin, tls_dir, tls_name, ca_file } = self;
        let (keys, issuer) = if let Some(keys) = issuer.keys().await? {
            (keys, None)
        } else {
            let issuer = Arc::new(Issuer::generate()?);
            (issuer.keys(), Some(issuer))
        };
        let tls = match tls_dir {
            Some(directory) => Tls::Directory(directory),
            None if tls_name.is_empty() => Tls::Off,
            None => Tls::Generated(tls_name),
        };
        let seed = Seed::new(&read(seed)?)?;
        let seed = match postgres_password {
            Some(password) => seed.with_postgres_password(&password),
            None => seed,
        };
        let server = DevServer::start(Settings { seed, keys, issuer, listen, admin, tls }).await?;
        if let (Some(file), Some(pem)) = (ca_file, server.ca_pem()) {
            fs::write(&file, pem).map_err(|source| RunError::File { file, source })?;
        }
        let admin = server.admin_address().map(|address| format!("http://{address}"));
        tracing::info!(url = server.url(), admin, "serving");
        // As pid 1 of a container, the process ignores SIGTERM without a handler.
        let mut terminated = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
        let ended = tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(RunError::Signal),
            _ = terminated.recv() => Ok(()),
        };
        server.stop().await;
        ended
    }
}

/// Whose tokens are taken.
#[derive(clap::Args)]
struct IssuerArgs {
    /// Keys of the cluster whose tokens are taken: a file with what `kubectl get --raw /openid/v1/jwks` prints, or the
    /// address where that is fetched, again where a token has an unknown key; https with `--jwks-ca`, or http on
    /// loopback [default: an issuer made for this run, whose tokens the admin port hands out]
    #[arg(long, value_name = "FILE|URL")]
    jwks: Option<String>,

    /// The authority of the server in `--jwks`, PEM
    #[arg(long, value_name = "FILE", requires = "jwks")]
    jwks_ca: Option<PathBuf>,

    /// A bearer token for the server in `--jwks`, read for each request
    #[arg(long, value_name = "FILE", requires = "jwks")]
    jwks_token_file: Option<PathBuf>,

    /// What `iss` in the tokens must be, as `kubectl get --raw /.well-known/openid-configuration` has it [default: not
    /// checked]
    #[arg(long, value_name = "URL", requires = "jwks")]
    issuer: Option<String>,
}

impl IssuerArgs {
    /// `None` for an issuer that is created for this run.
    async fn keys(self) -> Result<Option<Keys>, RunError> {
        let Self { jwks, jwks_ca, jwks_token_file, issuer } = self;
        let keys = match jwks {
            None => return Ok(None),
            Some(url) if url.contains("://") => {
                let ca_pem = jwks_ca.map(read).transpose()?;
                let url = JwksUrl::new(&url, ca_pem.as_deref().map(str::as_bytes), jwks_token_file)?;
                Keys::fetch(url).await?
            }
            Some(file) if jwks_ca.is_some() || jwks_token_file.is_some() => {
                return Err(RunError::NotFetched { file });
            }
            Some(file) => Keys::new(&read(file.into())?)?,
        };
        Ok(Some(if let Some(issuer) = issuer { keys.of_issuer(&issuer) } else { keys }))
    }
}

/// Why the program exits.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error("{}: {source}", .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error(transparent)]
    JwksUrl(#[from] JwksUrlError),
    #[error("{file}: --jwks-ca and --jwks-token-file need a URL in --jwks")]
    NotFetched { file: String },
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot listen for signals: {0}")]
    Signal(io::Error),
}

fn read(file: PathBuf) -> Result<String, RunError> {
    fs::read_to_string(&file).map_err(|source| RunError::File { file, source })
}
