//! The leases that are held. Pure: time is a parameter.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use scaivault_client::LeaseId;
use scaivault_contract::DynamicRef;

use crate::lease::HeldLease;

/// The leases that are held, each for one `engine=E role=R [ttl=D]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    held: BTreeMap<DynamicRef, HeldLease>,
    /// Leases that others have taken the place of: the application may still use them until they end.
    replaced: Vec<HeldLease>,
}

impl Leases {
    /// The lease for `dynamic`.
    pub(crate) fn get(&self, dynamic: &DynamicRef) -> Option<&HeldLease> {
        self.held.get(dynamic)
    }

    /// The same, to be renewed.
    pub(crate) fn get_mut(&mut self, dynamic: &DynamicRef) -> Option<&mut HeldLease> {
        self.held.get_mut(dynamic)
    }

    /// Every lease that is not replaced.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&DynamicRef, &HeldLease)> {
        self.held.iter()
    }

    /// Whether there is none to give back.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.replaced.is_empty()
    }

    /// Holds a lease from `now` on, in place of another.
    pub(crate) fn insert(&mut self, dynamic: DynamicRef, lease: HeldLease, now: SystemTime) {
        self.replaced.extend(self.held.insert(dynamic, lease));
        self.replaced.retain(|lease| !lease.has_ended(now));
    }

    /// Which of `wanted` have no lease that can be used at `now`. One that cannot is replaced from now on, but may live:
    /// the clock may have been set back.
    pub(crate) fn missing(
        &mut self,
        mut wanted: BTreeSet<DynamicRef>,
        now: SystemTime,
    ) -> BTreeSet<DynamicRef> {
        self.replaced
            .extend(self.held.extract_if(.., |_, lease| !lease.is_usable(now)).map(|(_, lease)| lease));
        wanted.retain(|dynamic| !self.held.contains_key(dynamic));
        wanted
    }

    /// Lets go of all, the replaced ones too.
    pub(crate) fn take(&mut self) -> Vec<LeaseId> {
        let Self { held, replaced } = std::mem::take(self);
        held.into_values().chain(replaced).map(|lease| lease.id).collect()
    }
}

impl FromIterator<(DynamicRef, HeldLease)> for Leases {
    fn from_iter<I: IntoIterator<Item = (DynamicRef, HeldLease)>>(leases: I) -> Self {
        Self { held: leases.into_iter().collect(), replaced: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scaivault_client::{Lease, LeaseTerm, SecretData};

    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;
    const HOUR: Duration = Duration::from_hours(1);

    fn dynamic(role: &str) -> DynamicRef {
        format!("engine=e role={role}").parse().unwrap()
    }

    fn lease(id: &str, now: SystemTime) -> HeldLease {
        let term = LeaseTerm { ttl: HOUR, is_renewable: true, max_ttl: None };
        let credentials = SecretData::new("{}").unwrap();
        HeldLease::generated(Lease { id: id.parse().unwrap(), credentials, term }, now)
    }

    fn ids(leases: &mut Leases) -> Vec<String> {
        leases.take().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_cannot_be_used_is_missing_and_is_given_back_all_the_same() {
        let wanted = || BTreeSet::from([dynamic("a"), dynamic("b"), dynamic("c")]);
        let mut leases: Leases =
            [(dynamic("a"), lease("lease_a", START)), (dynamic("b"), lease("lease_b", START + HOUR))]
                .into_iter()
                .collect();
        assert_eq!(leases.missing(wanted(), START + HOUR), [dynamic("a"), dynamic("c")].into());
        // The clock was set back.
        assert_eq!(leases.missing(wanted(), START + HOUR / 2), wanted());
        assert!(leases.get(&dynamic("b")).is_none() && !leases.is_empty());
        assert_eq!(ids(&mut leases), ["lease_a", "lease_b"]);
        assert!(leases.is_empty());
    }

    #[test]
    fn what_is_replaced_is_given_back_until_it_ends() {
        let mut leases = Leases::default();
        leases.insert(dynamic("a"), lease("lease_1", START), START);
        leases.insert(dynamic("a"), lease("lease_2", START + HOUR / 2), START + HOUR / 2);
        assert_eq!(ids(&mut leases.clone()), ["lease_2", "lease_1"]);
        leases.insert(dynamic("a"), lease("lease_3", START + HOUR), START + HOUR);
        assert_eq!(ids(&mut leases), ["lease_3", "lease_2"]);
    }
}
