//! The connection to the Kubernetes API.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// The name under which the API server's audit log knows the injector.
const USER_AGENT: &str = concat!("scaivault-injector/", env!("CARGO_PKG_VERSION"));

/// A client of the cluster that `KUBECONFIG` names, else of the one around this pod. Nothing is sent yet. Needs a
/// tokio runtime.
pub(crate) async fn client() -> anyhow::Result<Client> {
    let config = Config::infer()
        .await
        .context("no Kubernetes API found: run in a pod with a service account's token, or set KUBECONFIG")?;
    from_config(config)
}

/// A cluster that the command line names, as for kubectl.
pub(crate) struct Named {
    pub(crate) client: Client,
    /// The API server's address.
    pub(crate) server: String,
    /// The kubeconfig's context; none inside of a pod.
    pub(crate) context: Option<String>,
}

/// A client of the cluster that a context of a kubeconfig names. Without a file it is that of `KUBECONFIG` or of the home
/// directory, without a context the current one, and without a kubeconfig the cluster around this pod.
pub(crate) async fn named(kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<Named> {
    let found = match kubeconfig {
        Some(path) => Kubeconfig::read_from(path)
            .with_context(|| format!("--kubeconfig {}: not readable as a kubeconfig", path.display())),
        None => Kubeconfig::read().context("no kubeconfig is found"),
    };
    // Perhaps this is a pod, unless the command line says otherwise.
    let found = if kubeconfig.is_some() || context.is_some() { Ok(found?) } else { found };
    let (config, context) = match found {
        Ok(file) => from_kubeconfig(file, context).await?,
        Err(error) => {
            let config = Config::incluster().map_err(|pod| {
                anyhow!(
                    "no Kubernetes API found: {error:#}, and this is no pod ({pod}); name a kubeconfig with --kubeconfig or \
                     KUBECONFIG, or audit manifests with -f"
                )
            })?;
            (config, None)
        }
    };
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    Ok(Named { client: from_config(config)?, server, context })
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
        .context("cannot set the client of the Kubernetes API up")
}
