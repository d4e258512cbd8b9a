//! The routes over HTTP.

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{MethodRouter, delete, get, patch, post, put},
};

use crate::{route::Route, shared::Shared};

mod auth;
mod body;
mod dynamic;
mod gate;
mod secrets;
mod subscriptions;
mod system;

/// All routes of the API.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let gated = |route: Route, method: MethodRouter<Arc<Shared>>| {
        method.route_layer(from_fn_with_state((Arc::clone(&shared), route), gate::gate))
    };
    Router::new()
        .route("/v1/health", gated(Route::Health, get(system::health)))
        .route("/v1/health/ready", gated(Route::Ready, get(system::ready)))
        .route("/v1/version", gated(Route::Version, get(system::version)))
        .route("/v1/auth/exchange", gated(Route::Exchange, post(auth::exchange)))
        .route("/oauth/token", gated(Route::ClientCredentials, post(auth::client_credentials)))
        .route("/v1/auth/whoami", gated(Route::Whoami, get(auth::whoami)))
        .route("/v1/secrets", gated(Route::List, get(secrets::list)))
        .route("/v1/secrets/batch", gated(Route::ReadBatch, post(secrets::read_batch)))
        .route("/v1/secrets/batch/metadata", gated(Route::ReadVersions, post(secrets::read_versions)))
        .route(
            "/v1/secrets/{*path}",
            gated(Route::Read, get(secrets::read))
                .merge(gated(Route::Write, put(secrets::write)))
                .merge(gated(Route::Delete, delete(secrets::delete))),
        )
        .route("/v1/dynamic/engines/{engine}/creds/{role}", gated(Route::Generate, post(dynamic::generate)))
        .route("/v1/dynamic/leases/{id}/renew", gated(Route::Renew, post(dynamic::renew)))
        .route("/v1/dynamic/leases/{id}/revoke", gated(Route::Revoke, post(dynamic::revoke)))
        .route(
            "/v1/subscriptions",
            gated(Route::Subscribe, post(subscriptions::subscribe))
                .merge(gated(Route::ListSubscriptions, get(subscriptions::list))),
        )
        .route(
            "/v1/subscriptions/{id}",
            gated(Route::Unsubscribe, delete(subscriptions::unsubscribe))
                .merge(gated(Route::ChangeSubscription, patch(subscriptions::change))),
        )
        .route("/v1/subscriptions/{id}/poll", gated(Route::Poll, get(subscriptions::poll)))
        .route("/v1/subscriptions/{id}/ack", gated(Route::Acknowledge, post(subscriptions::acknowledge)))
        .with_state(shared)
}
