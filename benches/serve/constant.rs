//! A server with the same stack that reads each body and sends a constant answer.

use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Router, body::Bytes, http::header::CONTENT_TYPE, routing::post};
use scaivault_certs::{Authority, CertResolver, server_config};
use scaivault_inject::{KubeVersion, Settings};
use scaivault_webhook::{
    AdmissionContext, AllowedSources, Limits, MUTATE_PATH, Metrics, NoCluster, PodEvents, Readiness, Server,
    Shutdown,
};

use crate::Result;

/// The first argument that selects this server.
pub(crate) const MODE: &str = "constant";

/// Serves until it is killed. Arguments: address, output file for the CA, answer.
pub(crate) fn serve(args: &[String]) -> Result<()> {
    let [address, ca, answer] = args else { return Err("usage: ADDRESS CA ANSWER".into()) };
    let now = SystemTime::now();
    let day = Duration::from_hours(24);
    let authority = Authority::new("constant", now, day)?;
    let key = authority.issue(&["localhost".to_owned()], now, day)?.certified_key()?;
    fs::write(ca, authority.certificate_pem())?;
    let answer = Bytes::from(fs::read(answer)?);
    let routes = Router::new().route(
        MUTATE_PATH,
        post(move |_: Bytes| async move { ([(CONTENT_TYPE, "application/json")], answer) }),
    );
    let server = Server {
        listen: address.parse()?,
        ops_listen: "127.0.0.1:0".parse()?,
        tls: server_config(Arc::new(CertResolver::new(key)))?,
        context: Arc::new(AdmissionContext::new(
            Settings::default(),
            KubeVersion::OLDEST,
            Arc::new(NoCluster),
        )),
        metrics: Metrics::new(),
        readiness: Readiness::new(),
        limits: Limits::default(),
        sources: AllowedSources::default(),
        pod_events: PodEvents::default(),
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let bound = server.bind()?;
        bound.serve_routes(routes, Shutdown::new()).stopped().await;
        Ok(())
    })
}
