//! The connection to the Kubernetes API.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// The user agent in the API server's audit log.
const USER_AGENT: &str = concat!("scaivault-injector/", env!("CARGO_PKG_VERSION"));

/// A client for the cluster of `KUBECONFIG`, else for the one in which this pod runs. Sends no
/// request. Needs a tokio runtime.
pub(crate) async fn client() -> anyhow::Result<Client> {
    let config = Config::infer()
        .await
        .context("no Kubernetes API found: run in a pod with a service account's token, or set KUBECONFIG")?;
    from_config(config)
}

/// A cluster selected by the command line, as in kubectl.
pub(crate) struct SelectedCluster {
    pub(crate) client: Client,
    /// The API server's address.
    pub(crate) server: String,
    /// The kubeconfig's context; `None` inside a pod.
    pub(crate) context: Option<String>,
}

/// A client for the cluster of a kubeconfig's context. The default file is that of `KUBECONFIG` or
/// of the home directory, the default context the current one, and without a kubeconfig the cluster
/// in which this pod runs is used. `other_fix` completes the error if there is neither: what else
/// the user of this command can do.
pub(crate) async fn named(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
    other_fix: &str,
) -> anyhow::Result<SelectedCluster> {
    let found = match kubeconfig {
        Some(path) => Ok(Kubeconfig::read_from(path)
            .with_context(|| format!("--kubeconfig {}: not readable as a kubeconfig", path.display()))?),
        None => Kubeconfig::read(),
    };
    let (config, context) = match found {
        Ok(file) => from_kubeconfig(file, context).await?,
        Err(error) if context.is_some() => {
            bail!("--context needs a kubeconfig: {error}; set --kubeconfig or KUBECONFIG")
        }
        // This may be a pod.
        Err(error) => {
            let config = Config::incluster().map_err(|pod| {
                anyhow!(
                    "no Kubernetes API found: {error}, and this process does not run in a pod \
                     ({pod}); set --kubeconfig or KUBECONFIG{other_fix}"
                )
            })?;
            (config, None)
        }
    };
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    Ok(SelectedCluster { client: from_config(config)?, server, context })
}

async fn from_kubeconfig(
    file: Kubeconfig,
    context: Option<&str>,
) -> anyhow::Result<(Config, Option<String>)> {
    let known: Vec<_> = file.contexts.iter().map(|context| context.name.as_str()).collect();
    if let Some(context) = context.filter(|context| !known.contains(context)) {
        bail!("--context {context}: not in the kubeconfig; known contexts: {}", known.join(", "));
    }
    let context = context.map(str::to_owned).or_else(|| file.current_context.clone());
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(file, &options).await;
    Ok((config.context("the kubeconfig cannot be used")?, context))
}

fn from_config(config: Config) -> anyhow::Result<Client> {
    scaivault_cluster::from_config(config, USER_AGENT)
        .context("cannot set up the client of the Kubernetes API")
}
