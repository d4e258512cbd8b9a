use std::net::Ipv4Addr;

use super::*;

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const C: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));

fn registry(connections: usize, connections_per_source: usize) -> Arc<Registry> {
    let limits = Limits { connections, connections_per_source, ..Limits::default() };
    let metrics = Metrics::new();
    Registry::new(&limits, Arc::clone(&metrics), metrics.connections("https"))
}

fn is_evicted(ticket: &Ticket) -> bool {
    ticket.connection.evicted.is_cancelled()
}

#[test]
fn the_longest_idle_connection_is_closed() {
    let registry = registry(3, 3);
    let mut tickets = Vec::new();
    for _ in 0..3 {
        let ticket = registry.admit(A).unwrap();
        drop(ticket.connection.begin());
        tickets.push(ticket);
    }
    // The first was opened first but used last; the second has a request in flight.
    drop(tickets[0].connection.begin());
    let busy = tickets[1].connection.begin();
    assert_eq!(registry.busy(), 1);
    tickets.push(registry.admit(B).unwrap());
    assert_eq!(tickets.iter().map(is_evicted).collect::<Vec<_>>(), [false, false, true, false]);
    drop(busy);
}

#[test]
fn unused_connections_are_closed_first() {
    let registry = registry(2, 2);
    let used = registry.admit(A).unwrap();
    drop(used.connection.begin());
    let silent = registry.admit(B).unwrap();
    let _new = registry.admit(C).unwrap();
    assert_eq!([&used, &silent].map(is_evicted), [false, true]);
}

#[test]
fn the_source_with_most_connections_is_evicted() {
    let registry = registry(8, 8);
    let served = |source| {
        let ticket = registry.admit(source).unwrap();
        drop(ticket.connection.begin());
        ticket
    };
    let few = [served(A), served(C)];
    let many = [(); 6].map(|()| served(B));
    let young = registry.admit(A).unwrap();
    assert_eq!(many.each_ref().map(is_evicted), [true, false, false, false, false, false]);
    // New connections of the same source do not evict one that was just opened either.
    let _more = [(); 9].map(|()| registry.admit(B).unwrap());
    assert_eq!([&few[0], &few[1], &young].map(is_evicted), [false; 3]);
}

#[test]
fn a_source_closes_its_own_connections_first() {
    let registry = registry(10, 2);
    let other = registry.admit(B).unwrap();
    let first = registry.admit(A).unwrap();
    let second = registry.admit(A).unwrap();
    let _third = registry.admit(A).unwrap();
    assert_eq!([&other, &first, &second].map(is_evicted), [false, true, false]);
}

#[test]
fn busy_connections_are_not_evicted() {
    let registry = registry(2, 1);
    let a = registry.admit(A).unwrap();
    let busy_a = a.connection.begin();
    assert_eq!(registry.admit(A).err(), Some(ShedReason::ConnectionsPerSource));
    let b = registry.admit(B).unwrap();
    let _busy_b = b.connection.begin();
    assert_eq!(registry.admit(C).err(), Some(ShedReason::Connections));
    drop(busy_a);
    assert!(registry.admit(C).is_ok());
    assert_eq!([&a, &b].map(is_evicted), [true, false]);
}

#[test]
fn a_busy_source_does_not_block_others() {
    let registry = registry(4, 8);
    let greedy = [(); 4].map(|()| registry.admit(B).unwrap());
    let _requests = greedy.each_ref().map(|ticket| ticket.connection.begin());
    let api_server = registry.admit(A).unwrap();
    assert_eq!(greedy.each_ref().map(is_evicted), [true, false, false, false]);
    assert_eq!(registry.admit(B).err(), Some(ShedReason::Connections), "it does not get the place back");
    assert!(!is_evicted(&api_server));
}

#[test]
fn a_dropped_connection_frees_its_place() {
    let registry = registry(1, 1);
    let first = registry.admit(A).unwrap();
    drop(first);
    assert_eq!(registry.count.get(), 0);
    let second = registry.admit(A).unwrap();
    assert!(!is_evicted(&second));
}
