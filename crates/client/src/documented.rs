//! Routes, bodies and answers of the published API.

use std::{collections::BTreeSet, fmt::Display, num::NonZeroU32, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use scaivault_contract::SecretPath;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    AnswerFault, ErrorKind, Event, EventId, EventKind, NewSubscription, POLL_WAIT_LIMIT, Poll, Secret,
    SecretData, SubscriptionId,
    envelope::json,
    transport::{Answer, Content},
};

/// The characters outside RFC 3986's unreserved set.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The route of the token exchange. Its bodies are in `guessed`.
pub(crate) const EXCHANGE_ROUTE: &str = "/v1/auth/exchange";

/// The route of subscriptions.
pub(crate) const SUBSCRIPTIONS_ROUTE: &str = "/v1/subscriptions";

/// The body of a login with client credentials, without a scope: `ScaiKey` then grants all scopes
/// of the application.
pub(crate) fn client_credentials(id: &SecretString, secret: &SecretString) -> Content {
    let [id, secret] = [id, secret].map(|text| percent_encoded(text.expose_secret()));
    Content::form(format!("grant_type=client_credentials&client_id={id}&client_secret={secret}"))
}

/// Percent-encodes a text for a form or a query: everything except RFC 3986's unreserved
/// characters.
pub(crate) fn percent_encoded(text: &str) -> impl Display {
    utf8_percent_encode(text, RESERVED)
}

/// The route of one secret. A path's slashes are not encoded.
pub(crate) fn read_route(path: &SecretPath, version: Option<NonZeroU32>) -> String {
    match version {
        None => format!("/v1/secrets/{path}"),
        Some(version) => format!("/v1/secrets/{path}?version={version}"),
    }
}

#[derive(Deserialize)]
struct SecretAnswer<'a> {
    version: u64,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The secret in an answer.
pub(crate) fn secret(answer: &Answer) -> Result<Secret, ErrorKind> {
    let SecretAnswer { version, data } = json(&answer.body)?;
    Ok(Secret { version, data: SecretData::new(data.get())? })
}

/// The body that creates a subscription for polling.
pub(crate) fn subscribe(subscription: &NewSubscription) -> Content {
    #[derive(Serialize)]
    struct Request<'a> {
        name: &'a str,
        paths: &'a BTreeSet<SecretPath>,
        events: &'a [EventKind],
        delivery: Delivery,
    }
    #[derive(Serialize)]
    struct Delivery {
        r#type: &'static str,
        buffer_size: u32,
    }
    let NewSubscription { name, paths, events, buffer_size } = subscription;
    Content::json(&Request {
        name,
        paths,
        events,
        delivery: Delivery { r#type: "polling", buffer_size: *buffer_size },
    })
}

/// The created subscription.
pub(crate) fn subscription(answer: &Answer) -> Result<SubscriptionId, ErrorKind> {
    #[derive(Deserialize)]
    struct Made {
        id: String,
    }
    let Made { id } = json(&answer.body)?;
    Ok(id.parse().map_err(AnswerFault::from)?)
}

/// The route of one subscription.
pub(crate) fn subscription_route(subscription: &SubscriptionId) -> String {
    format!("{SUBSCRIPTIONS_ROUTE}/{subscription}")
}

/// The body that changes the secrets of a subscription. The names of these members are published.
pub(crate) fn change_subscription(paths: &BTreeSet<SecretPath>) -> Content {
    #[derive(Serialize)]
    struct Request<'a> {
        paths: &'a BTreeSet<SecretPath>,
    }
    Content::json(&Request { paths })
}

/// The wait requested from the server: whole seconds, up to its limit.
pub(crate) fn poll_wait(poll: &Poll) -> Duration {
    Duration::from_secs(poll.wait.min(POLL_WAIT_LIMIT).as_secs())
}

/// The route for polling events.
pub(crate) fn poll_route(subscription: &SubscriptionId, poll: &Poll) -> String {
    let Poll { wait: _, since, max_events } = poll;
    let route = subscription_route(subscription);
    let since = since.as_ref().map(|event| format!("&since_event_id={event}")).unwrap_or_default();
    format!("{route}/poll?timeout={}&max_events={max_events}{since}", poll_wait(poll).as_secs())
}

/// The events in an answer.
pub(crate) fn events(answer: &Answer) -> Result<Vec<Event>, ErrorKind> {
    #[derive(Deserialize)]
    struct EventListAnswer<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct EventAnswer<'a> {
        event_id: String,
        #[serde(borrow)]
        event_type: Option<&'a RawValue>,
        // An invalid path is treated as missing.
        path: Option<String>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct EventData {
        new_version: Option<u64>,
        /// In `secret.created`.
        version: Option<u64>,
    }
    let event = |event: &RawValue| -> Result<Event, AnswerFault> {
        let EventAnswer { event_id, event_type, path, data } = json(event.get().as_bytes())?;
        let data = data.and_then(|data| json::<EventData>(data.get().as_bytes()).ok());
        Ok(Event {
            id: event_id.parse()?,
            kind: event_type.and_then(|kind| json(kind.get().as_bytes()).ok()),
            path: path.and_then(|path| path.parse().ok()),
            new_version: data.and_then(|data| data.new_version.or(data.version)),
        })
    };
    let EventListAnswer { events } = json(&answer.body)?;
    let (mut read, mut unreadable) = (Vec::new(), None);
    for event in events.into_iter().map(event) {
        match event {
            Ok(event) => read.push(event),
            Err(fault) => unreadable = Some(fault),
        }
    }
    match (unreadable, read.last_mut()) {
        (None, _) => Ok(read),
        // An event that is not understood must not hide the others. It may concern any secret.
        (Some(_), Some(last)) => {
            last.path = None;
            Ok(read)
        }
        (Some(fault), None) => Err(fault.into()),
    }
}

/// The route that acknowledges events.
pub(crate) fn ack_route(subscription: &SubscriptionId) -> String {
    format!("{}/ack", subscription_route(subscription))
}

/// The body that acknowledges events.
pub(crate) fn ack(events: &[EventId]) -> Content {
    #[derive(Serialize)]
    struct Request<'a> {
        event_ids: &'a [EventId],
    }
    Content::json(&Request { event_ids: events })
}

#[cfg(test)]
mod tests;
