//! Which events are new, and which secrets they are about. Pure.

use std::collections::BTreeMap;

use scaivault_client::{Event, EventId};
use scaivault_contract::SecretPath;

/// So many events are acknowledged together: an acknowledgement is one of the 20 subscription operations a minute that
/// all pods of one identity share, and the event before which nothing is new is named at each poll anyhow.
const ACKNOWLEDGED_TOGETHER: usize = 100;

/// How far a subscription's events were heard.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    since: Option<EventId>,
    unacknowledged: Vec<EventId>,
}

/// What events tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// Any secret may have changed.
    Any,
    /// These have, each to a version where the event says it.
    Of(BTreeMap<SecretPath, Option<u64>>),
}

impl Cursor {
    /// The last event that was heard.
    pub(super) fn since(&self) -> Option<&EventId> {
        self.since.as_ref()
    }

    /// What these events tell of; none where nothing is new: an event comes again until it is acknowledged.
    pub(super) fn hear(&mut self, events: Vec<Event>) -> Option<Changes> {
        let is_new = |event: &Event| !self.unacknowledged.contains(&event.id);
        let new: Vec<_> = events.into_iter().filter(is_new).collect();
        self.since = Some(new.last()?.id.clone());
        self.unacknowledged.extend(new.iter().map(|event| event.id.clone()));
        Some(changes(new))
    }

    /// The events that it is time to acknowledge; `came_again` says that the server tells them again.
    pub(super) fn to_acknowledge(&self, came_again: bool) -> Option<&[EventId]> {
        let is_time = came_again || self.unacknowledged.len() >= ACKNOWLEDGED_TOGETHER;
        (is_time && !self.unacknowledged.is_empty()).then_some(&self.unacknowledged)
    }

    /// They were acknowledged, or could not be; then they come again, which does no harm.
    pub(super) fn acknowledged(&mut self) {
        self.unacknowledged.clear();
    }
}

fn changes(events: Vec<Event>) -> Changes {
    let mut of = BTreeMap::new();
    for Event { id: _, path, new_version } in events {
        let Some(path) = path else { return Changes::Any };
        of.insert(path, new_version);
    }
    Changes::Of(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: usize, path: Option<&str>, new_version: Option<u64>) -> Event {
        let id = format!("evt_{id}").parse().unwrap();
        Event { id, path: path.map(|path| path.parse().unwrap()), new_version }
    }

    #[test]
    fn what_comes_again_is_not_new_and_is_acknowledged() {
        let mut cursor = Cursor::default();
        let first = vec![event(1, Some("a/b"), Some(4)), event(2, Some("a/b"), Some(5))];
        let changes = Changes::Of([("a/b".parse().unwrap(), Some(5))].into());
        assert_eq!(cursor.hear(first.clone()), Some(changes));
        assert_eq!(cursor.since().unwrap().as_str(), "evt_2");
        assert_eq!(cursor.to_acknowledge(false), None);
        assert_eq!(cursor.hear(first), None);
        assert_eq!(cursor.to_acknowledge(true).unwrap().len(), 2);
        cursor.acknowledged();
        assert_eq!(cursor.to_acknowledge(true), None);
        assert_eq!(cursor.hear(vec![event(3, None, None)]), Some(Changes::Any));
    }

    #[test]
    fn many_are_acknowledged_together() {
        let mut cursor = Cursor::default();
        for number in 1..ACKNOWLEDGED_TOGETHER {
            cursor.hear(vec![event(number, Some("a/b"), None)]);
            assert_eq!(cursor.to_acknowledge(false), None);
        }
        cursor.hear(vec![event(0, Some("a/b"), None)]);
        assert_eq!(cursor.to_acknowledge(false).unwrap().len(), ACKNOWLEDGED_TOGETHER);
    }
}
