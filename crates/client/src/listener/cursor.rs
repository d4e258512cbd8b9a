//! Determines which events are new, and which secrets they concern. Pure.

use std::collections::BTreeMap;

use scaivault_contract::SecretPath;

use crate::{Event, EventId, EventKind};

/// The number of events acknowledged together: an acknowledgement is one of the 20 subscription
/// operations a minute that all pods of one identity share, and each poll names the last received
/// event anyway.
const ACKNOWLEDGED_TOGETHER: usize = 100;

/// The maximum number of stored identifiers to recognize repeated events: the size of a
/// subscription's buffer.
const KEPT: usize = super::BUFFER_SIZE as usize;

/// The position in a subscription's events.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    since: Option<EventId>,
    unacknowledged: Vec<EventId>,
}

/// The secrets that events concern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Any secret may have changed.
    Any,
    /// These secrets have changed.
    Of(BTreeMap<SecretPath, AnnouncedChange>),
}

/// The information about one secret in the events of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnnouncedChange {
    /// The newest version; `None` if the events do not contain it, or if the secret was deleted.
    pub version: Option<u64>,
    /// Whether the secret was deleted or created: its versions may start again with 1.
    pub is_new_history: bool,
}

impl Cursor {
    /// The last received event.
    pub(super) fn since(&self) -> Option<&EventId> {
        self.since.as_ref()
    }

    /// The changes in these events; `None` if no event is new, because events are delivered again
    /// until they are acknowledged.
    pub(super) fn hear(&mut self, events: Vec<Event>) -> Option<Changes> {
        let is_new = |event: &Event| !self.unacknowledged.contains(&event.id);
        let new: Vec<_> = events.into_iter().filter(is_new).collect();
        self.since = Some(new.last()?.id.clone());
        self.unacknowledged.extend(new.iter().map(|event| event.id.clone()));
        self.unacknowledged.drain(..self.unacknowledged.len().saturating_sub(KEPT));
        Some(changes(new))
    }

    /// The events to acknowledge now; `came_again` means that the server has delivered some of them
    /// again.
    pub(super) fn to_acknowledge(&self, came_again: bool) -> Option<&[EventId]> {
        let is_time = came_again || self.unacknowledged.len() >= ACKNOWLEDGED_TOGETHER;
        (is_time && !self.unacknowledged.is_empty()).then_some(&self.unacknowledged)
    }

    /// Records that they were acknowledged and are not delivered again.
    pub(super) fn acknowledged(&mut self) {
        self.unacknowledged.clear();
    }
}

fn changes(events: Vec<Event>) -> Changes {
    let mut of = BTreeMap::<_, AnnouncedChange>::new();
    for Event { id: _, kind, path, new_version } in events {
        let Some(path) = path else { return Changes::Any };
        let announced = of.entry(path).or_default();
        announced.is_new_history |= matches!(kind, Some(EventKind::Created | EventKind::Deleted));
        announced.version = match kind {
            Some(EventKind::Deleted) => None,
            Some(EventKind::Created) => new_version,
            // A change may be announced twice, and not always with its version.
            _ => announced.version.max(new_version),
        };
    }
    Changes::Of(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: usize, path: Option<&str>, new_version: Option<u64>) -> Event {
        let id = format!("evt_{id}").parse().unwrap();
        let kind = Some(EventKind::Updated);
        Event { id, kind, path: path.map(|path| path.parse().unwrap()), new_version }
    }

    #[test]
    fn repeated_events_are_acknowledged_and_not_new() {
        let mut cursor = Cursor::default();
        let first = vec![event(1, Some("a/b"), Some(4)), event(2, Some("a/b"), Some(5))];
        let announced = AnnouncedChange { version: Some(5), is_new_history: false };
        let changes = Changes::Of([("a/b".parse().unwrap(), announced)].into());
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
    fn deleted_and_created_secrets_start_new_versions() {
        let of = |kind: EventKind, version| Event { kind: Some(kind), ..event(1, Some("a/b"), version) };
        let check = |events: &[Event], version, is_new_history| {
            let announced = AnnouncedChange { version, is_new_history };
            let expected = Changes::Of([("a/b".parse().unwrap(), announced)].into());
            assert_eq!(changes(events.to_vec()), expected);
        };
        let deleted = of(EventKind::Deleted, None);
        check(&[of(EventKind::Updated, Some(7)), deleted.clone()], None, true);
        check(&[deleted, of(EventKind::Created, Some(1)), of(EventKind::Updated, Some(2))], Some(2), true);
        check(&[of(EventKind::Updated, Some(7)), of(EventKind::Created, Some(1))], Some(1), true);
    }

    #[test]
    fn a_second_event_of_a_change_keeps_its_version() {
        for versions in [[Some(5), None], [None, Some(5)], [Some(5), Some(4)]] {
            let announced = AnnouncedChange { version: Some(5), is_new_history: false };
            let expected = Changes::Of([("a/b".parse().unwrap(), announced)].into());
            let events = versions.map(|version| event(1, Some("a/b"), version));
            assert_eq!(changes(events.to_vec()), expected, "{versions:?}");
        }
    }

    #[test]
    fn the_last_events_are_recognized_until_they_are_acknowledged() {
        let mut cursor = Cursor::default();
        let events: Vec<_> = (0..KEPT + 10).map(|number| event(number, Some("a/b"), None)).collect();
        assert!(cursor.hear(events.clone()).is_some());
        assert_eq!(cursor.hear(events[10..].to_vec()), None);
        assert_eq!(cursor.to_acknowledge(true).unwrap().len(), KEPT);
        cursor.acknowledged();
        assert_eq!(cursor.to_acknowledge(true), None);
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
