//! The users of leases in databases: made with their lease, and gone with it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    error::ApiError,
    postgres::DatabaseError,
    seed::Filling,
    shared::Shared,
    vault::leases::{Draft, User},
};

/// When a user that could not be dropped is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The longest time between two looks at the leases: the machine's clock may be set.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// Makes the user of a lease, if its engine has a database, and then the lease; its answer.
pub(crate) async fn generate(shared: Arc<Shared>, draft: Draft) -> Result<Value, ApiError> {
    // To its end, also if the client goes away meanwhile: a user without a lease would never be dropped.
    let generated = tokio::spawn(async move { create(&shared, draft).await }).await;
    generated.unwrap_or_else(|_| Err(ApiError::new("internal_error", "the credentials could not be made")))
}

async fn create(shared: &Shared, draft: Draft) -> Result<Value, ApiError> {
    let user = draft.user();
    if let Some(database) = shared.databases().get(&user.engine) {
        let expiration = draft.expires().to_string();
        let filling = Filling { name: &user.name, password: draft.password(), expiration: &expiration };
        if let Err(error) = database.create_user(&user.role, filling).await {
            if matches!(error, DatabaseError::Unavailable(_)) {
                // It may be there after all.
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

/// Gives a user time until `expires`, if it is one of a database.
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

/// Drops a user whose lease has ended, if it is one of a database. It is tried again later where that fails.
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
        // Elapsed or notified, it is time to look.
        let _ = timeout(wait, shared.leases_changed().notified()).await;
    }
}

/// Ends all leases and drops their users.
pub(crate) async fn drop_all(shared: &Shared) {
    shared.vault().leases.revoke_all();
    drop_ended(shared).await;
}

/// Whether one of them could not be dropped.
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
