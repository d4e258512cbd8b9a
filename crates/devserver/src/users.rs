//! The database users of leases: created and dropped with their lease.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    error::ApiError,
    postgres::DatabaseError,
    seed::Placeholders,
    shared::Shared,
    vault::leases::{Draft, User},
};

/// The retry interval if a user could not be dropped.
const RETRY: Duration = Duration::from_secs(10);

/// The maximum time between two checks of the leases, because the machine's clock may be set.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// Creates the user of a lease, if its engine has a database, and then the lease; returns the
/// answer.
pub(crate) async fn generate(shared: Arc<Shared>, draft: Draft) -> Result<Value, ApiError> {
    // Spawned, so that it completes even if the client disconnects: a user without a lease would
    // never be dropped.
    let generated = tokio::spawn(async move { create(&shared, draft).await }).await;
    generated.unwrap_or_else(|_| Err(ApiError::new("internal_error", "the credentials could not be made")))
}

async fn create(shared: &Shared, draft: Draft) -> Result<Value, ApiError> {
    let user = draft.user();
    if let Some(database) = shared.databases().get(&user.engine) {
        let expiration = draft.expires().to_string();
        let filling = Placeholders { name: &user.name, password: draft.password(), expiration: &expiration };
        if let Err(error) = database.create_user(&user.role, filling).await {
            if matches!(error, DatabaseError::Unavailable(_)) {
                // The user may exist nevertheless.
                shared.vault().leases.insert_ended(draft);
                shared.leases_changed().notify_one();
            }
            return Err(of_database(&user, "creation", &error));
        }
    }
    let now = shared.now();
    let answer = shared.vault().leases.insert(draft, now);
    shared.leases_changed().notify_one();
    Ok(answer)
}

/// Extends a user until `expires`, if it is one of a database.
pub(crate) async fn renew(shared: &Shared, user: &User, expires: Timestamp) -> Result<(), ApiError> {
    let Some(database) = shared.databases().get(&user.engine) else { return Ok(()) };
    let renewed = database.renew_user(&user.role, &user.name, &expires.to_string()).await;
    renewed.map_err(|error| {
        if error.is_undefined() {
            return ApiError::new("lease_not_found", format!("the user of lease '{}' is gone", user.lease));
        }
        of_database(user, "renewal", &error)
    })
}

/// Drops a user whose lease has ended, if it is one of a database. After a failure it is retried
/// later.
pub(crate) async fn drop_user(shared: &Shared, user: &User) -> Result<(), ApiError> {
    let Some(database) = shared.databases().get(&user.engine) else { return Ok(()) };
    if let Err(error) = database.drop_user(&user.role, &user.name).await {
        let User { engine, role, name, lease: _ } = user;
        tracing::warn!(%engine, %role, user = name, %error, "cannot drop a user; it is tried again");
        return Err(of_database(user, "revocation", &error));
    }
    shared.vault().leases.forget_user(&user.lease);
    Ok(())
}

/// Drops users as their leases end, for ever.
pub(crate) async fn drop_as_they_end(shared: Arc<Shared>) {
    loop {
        let has_failed = drop_ended(&shared).await;
        let next = shared.vault().leases.next_end();
        let until_next =
            next.map(|end| Duration::try_from(end.duration_since(shared.now())).unwrap_or_default());
        let longest = if has_failed { RETRY } else { LONGEST_WAIT };
        let wait = until_next.map_or(longest, |until| until.min(longest));
        // A timeout and a notification both require a check.
        let _ = timeout(wait, shared.leases_changed().notified()).await;
    }
}

/// Ends all leases and drops their users.
pub(crate) async fn drop_all(shared: &Shared) {
    shared.vault().leases.revoke_all();
    drop_ended(shared).await;
}

/// Returns whether one of them could not be dropped.
async fn drop_ended(shared: &Shared) -> bool {
    let ended = shared.vault().leases.users_to_drop(shared.now());
    let mut has_failed = false;
    for user in ended {
        has_failed |= drop_user(shared, &user).await.is_err();
    }
    has_failed
}

fn of_database(user: &User, what: &str, error: &DatabaseError) -> ApiError {
    let User { engine, role, .. } = user;
    match error {
        DatabaseError::Unavailable(why) => {
            ApiError::new("service_unavailable", format!("the database of {engine} does not answer: {why}"))
        }
        refused @ DatabaseError::Refused { .. } => ApiError::new(
            "invalid_config",
            format!("the database refuses the {what} statements of {engine}/{role}: {refused}"),
        ),
    }
}
