//! Subscriptions and their events.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use scaivault_contract::SecretPath;
use serde_json::{Value, json};

use super::{Writer, secrets::WrittenVersion};
use crate::{error::ApiError, glob, random::Random, seed::Identity};

#[derive(Default)]
pub(crate) struct Subscriptions(BTreeMap<String, Subscription>);

struct Subscription {
    owner: String,
    name: String,
    paths: Vec<String>,
    events: Vec<String>,
    buffer_size: usize,
    /// Unacknowledged events, oldest first.
    waiting: VecDeque<QueuedEvent>,
}

struct QueuedEvent {
    id: String,
    event: Value,
}

/// An event about a secret.
pub(super) struct NewEvent<'a> {
    pub(super) kind: &'static str,
    pub(super) path: &'a SecretPath,
    pub(super) data: Value,
    /// The identity that caused it.
    pub(super) identity: &'static str,
}

/// The settings of a subscription.
pub(crate) struct NewSubscription {
    pub(crate) name: String,
    pub(crate) paths: Vec<String>,
    pub(crate) events: Vec<String>,
    pub(crate) buffer_size: usize,
}

impl Subscriptions {
    /// Creates a subscription and returns its identifier.
    pub(crate) fn create(&mut self, owner: &Identity, new: NewSubscription, random: &mut Random) -> String {
        let NewSubscription { name, paths, events, buffer_size } = new;
        let id = format!("sub_{}", random.word());
        let owner = owner.id.clone();
        let subscription = Subscription { owner, name, paths, events, buffer_size, waiting: VecDeque::new() };
        self.0.insert(id.clone(), subscription);
        id
    }

    pub(crate) fn delete(&mut self, caller: &Identity, id: &str) -> Result<(), ApiError> {
        self.owned(caller, id)?;
        self.0.remove(id);
        Ok(())
    }

    /// Replaces the paths for later events.
    pub(crate) fn change(&mut self, caller: &Identity, id: &str, paths: Vec<String>) -> Result<(), ApiError> {
        self.owned(caller, id)?.paths = paths;
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The caller's subscriptions with their names.
    pub(crate) fn named(&self, caller: &Identity) -> Vec<(String, String)> {
        let own = self.0.iter().filter(|(_, subscription)| subscription.owner == caller.id);
        own.map(|(id, subscription)| (id.clone(), subscription.name.clone())).collect()
    }

    /// The pending events, and whether there are more. An event that was delivered but not
    /// acknowledged is delivered again, unless `since` marks it as received.
    pub(crate) fn waiting(
        &mut self,
        caller: &Identity,
        id: &str,
        since: Option<&str>,
        max_events: usize,
    ) -> Result<(Vec<Value>, bool), ApiError> {
        let waiting = &self.owned(caller, id)?.waiting;
        let seen = since.and_then(|since| waiting.iter().position(|event| event.id == since));
        let start = seen.map_or(0, |position| position + 1);
        let events = waiting.iter().skip(start).take(max_events).map(|waiting| waiting.event.clone());
        Ok((events.collect(), waiting.len().saturating_sub(start) > max_events))
    }

    /// Acknowledges events; returns how many of them were pending.
    pub(crate) fn acknowledge(
        &mut self,
        caller: &Identity,
        id: &str,
        events: &[String],
    ) -> Result<usize, ApiError> {
        let waiting = &mut self.owned(caller, id)?.waiting;
        let before = waiting.len();
        waiting.retain(|waiting| !events.contains(&waiting.id));
        Ok(before - waiting.len())
    }

    /// Adds an event to all matching subscriptions. A full buffer drops its oldest event.
    pub(super) fn publish(&mut self, event: NewEvent<'_>, tenant: &str, now: Timestamp, random: &mut Random) {
        let NewEvent { kind, path, data, identity } = event;
        let id = format!("evt_{}", random.word());
        let event = json!({
            "event_id": id, "event_type": kind, "timestamp": format!("{now:.6}"), "tenant_id": tenant,
            "identity_id": identity, "path": path.as_str(), "data": data,
            "request_id": format!("req_{}", random.word()),
        });
        for subscription in self.0.values_mut() {
            let wants_path = subscription.paths.iter().any(|pattern| glob::matches(pattern, path.as_str()));
            if !wants_path || !subscription.events.iter().any(|wanted| wanted == kind) {
                continue;
            }
            subscription.waiting.push_back(QueuedEvent { id: id.clone(), event: event.clone() });
            while subscription.waiting.len() > subscription.buffer_size {
                subscription.waiting.pop_front();
            }
        }
    }

    fn owned(&mut self, caller: &Identity, id: &str) -> Result<&mut Subscription, ApiError> {
        let found = self.0.get_mut(id);
        let subscription = found.ok_or_else(|| {
            ApiError::new("subscription_not_found", format!("Subscription '{id}' not found"))
        })?;
        if subscription.owner != caller.id {
            return Err(ApiError::new("access_denied", "the subscription is another identity's"));
        }
        Ok(subscription)
    }
}

/// The events for a written version, with their data.
pub(super) fn of_write(written: &WrittenVersion, by: Writer) -> Vec<(&'static str, Value)> {
    let WrittenVersion { old_version, new_version, secret_type } = written;
    let Some(old_version) = old_version else {
        let data = json!({
            "version": new_version, "secret_type": secret_type, "created_by": by.identity(), "tags": [], "expires_at": null,
        });
        return vec![("secret.created", data)];
    };
    let is_rotation = by == Writer::Rotation;
    let mut events = vec![(
        "secret.updated",
        json!({
            "old_version": old_version, "new_version": new_version, "updated_by": by.identity(), "is_rotation": is_rotation,
        }),
    )];
    if is_rotation {
        let data = json!({
            "old_version": old_version, "new_version": new_version, "rotation_policy_id": "rot_dev",
            "rotation_policy_name": "dev", "auto_generated": true,
        });
        events.push(("secret.rotated", data));
    }
    events
}
