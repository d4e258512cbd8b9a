//! The exact inverse of an injection. Reserved names identify the injected parts, and the receipt
//! says which lists were empty, null or absent before.

use scaivault_contract::names::ANNOTATION_PREFIX;

use crate::{
    ownership::{self, MatchBy, RECEIPT, STATUS},
    patch::{ANNOTATIONS, Operation, Value, annotation_pointer},
    pod::{ContainerView, List, MetadataView, PodView, Presence},
    receipt::{self, Leftover, Receipt},
};

/// The pod without the injection. Containers keep their index in the document.
pub(crate) fn without_injection<'a>(pod: &PodView<'a>, receipt: &Receipt, match_by: MatchBy) -> PodView<'a> {
    let mut before = pod.clone();
    let spec = &mut before.spec;
    for list in [&mut spec.init_containers, &mut spec.containers] {
        for container in list.iter_mut() {
            let mounts = receipt.leftover(&receipt::mounts_of(container));
            let variables = receipt.leftover(&receipt::variables_of(container));
            keep(&mut container.volume_mounts, |mount| !ownership::is_reserved_volume(&mount.name), mounts);
            keep(&mut container.env, |variable| !ownership::is_injected_variable(variable), variables);
        }
    }
    let (init, volumes) = (receipt.leftover(receipt::INIT_CONTAINERS), receipt.leftover(receipt::VOLUMES));
    keep(&mut spec.init_containers, |container| !is_matched(container, match_by), init);
    if match_by == MatchBy::Name {
        keep(&mut spec.containers, |container| !ownership::is_reserved(container), Leftover::Empty);
    }
    keep(&mut spec.volumes, |volume| !ownership::is_reserved_volume(&volume.name), volumes);
    if let Some(presence) = former_process_namespace(pod, receipt) {
        spec.share_process_namespace = presence;
    }
    before.metadata.annotations.injector.retain(|(key, _)| !is_written(key));
    former_metadata(&mut before.metadata, &pod.metadata, receipt);
    before
}

/// Restores the metadata if no annotations are left.
fn former_metadata(metadata: &mut MetadataView<'_>, injected: &MetadataView<'_>, receipt: &Receipt) {
    if injected.annotations.is_empty() || !metadata.annotations.is_empty() {
        return;
    }
    metadata.annotations.presence = match receipt.leftover(receipt::ANNOTATIONS) {
        Leftover::Absent => Presence::Absent,
        Leftover::Null => Presence::Null,
        Leftover::Empty => Presence::Value(()),
    };
    if receipt.added(receipt::METADATA) && metadata.others == 0 {
        metadata.presence = match receipt.leftover(receipt::METADATA) {
            Leftover::Null => Presence::Null,
            Leftover::Absent | Leftover::Empty => Presence::Absent,
        };
    }
}

/// The operations that turn the pod into the result of [`without_injection`].
pub(crate) fn removals(pod: &PodView<'_>, receipt: &Receipt, match_by: MatchBy) -> Vec<Operation> {
    let mut removals = Removals::default();
    for (list, containers) in
        [("initContainers", &pod.spec.init_containers), ("containers", &pod.spec.containers)]
    {
        for container in containers.iter().filter(|container| !is_matched(container, match_by)) {
            removals.in_container(list, container, receipt);
        }
    }
    let (init, volumes) = (receipt.leftover(receipt::INIT_CONTAINERS), receipt.leftover(receipt::VOLUMES));
    removals.in_list("/spec/initContainers", &pod.spec.init_containers, |c| is_matched(c, match_by), init);
    if match_by == MatchBy::Name {
        removals.in_list("/spec/containers", &pod.spec.containers, ownership::is_reserved, Leftover::Empty);
    }
    removals.in_list("/spec/volumes", &pod.spec.volumes, |v| ownership::is_reserved_volume(&v.name), volumes);
    match former_process_namespace(pod, receipt) {
        Some(Presence::Null) => removals.put("/spec/shareProcessNamespace".into(), Value::Null),
        Some(_) => removals.remove("/spec/shareProcessNamespace".into()),
        None => {}
    }
    removals.annotations(pod, receipt);
    removals.0
}

/// Whether the injector writes this annotation, given by its full key, when it injects.
fn is_written(key: &str) -> bool {
    matches!(key.strip_prefix(ANNOTATION_PREFIX), Some(RECEIPT | STATUS))
}

fn is_matched(container: &ContainerView<'_>, match_by: MatchBy) -> bool {
    match match_by {
        MatchBy::Receipt => ownership::is_injected(container),
        MatchBy::Name => ownership::is_reserved(container),
    }
}

/// The former `shareProcessNamespace`; `None` if the injector did not set it or if it was unset
/// again since.
fn former_process_namespace(pod: &PodView<'_>, receipt: &Receipt) -> Option<Presence<bool>> {
    let switch = receipt::SHARE_PROCESS_NAMESPACE;
    if !receipt.added(switch) || pod.spec.share_process_namespace != Presence::Value(true) {
        return None;
    }
    Some(if receipt.leftover(switch) == Leftover::Null { Presence::Null } else { Presence::Absent })
}

fn keep<T>(list: &mut List<T>, mut kept: impl FnMut(&T) -> bool, leftover: Leftover) {
    let List::Items(items) = list else { return };
    let before = items.len();
    items.retain(&mut kept);
    if items.is_empty() && before > 0 {
        *list = match leftover {
            Leftover::Absent => List::Absent,
            Leftover::Null => List::Null,
            Leftover::Empty => List::Items(Vec::new()),
        };
    }
}

#[derive(Default)]
struct Removals(Vec<Operation>);

impl Removals {
    fn in_container(&mut self, list: &str, container: &ContainerView<'_>, receipt: &Receipt) {
        let pointer = format!("/spec/{list}/{}", container.index);
        self.in_list(
            &format!("{pointer}/volumeMounts"),
            &container.volume_mounts,
            |mount| ownership::is_reserved_volume(&mount.name),
            receipt.leftover(&receipt::mounts_of(container)),
        );
        self.in_list(
            &format!("{pointer}/env"),
            &container.env,
            ownership::is_injected_variable,
            receipt.leftover(&receipt::variables_of(container)),
        );
    }

    fn annotations(&mut self, pod: &PodView<'_>, receipt: &Receipt) {
        let written: Vec<&str> =
            pod.annotations().map(|(key, _)| key).filter(|key| matches!(*key, RECEIPT | STATUS)).collect();
        let (now, mut then) = (&pod.metadata, pod.metadata.clone());
        then.annotations.injector.retain(|(key, _)| !is_written(key));
        former_metadata(&mut then, now, receipt);
        if now.presence != then.presence {
            match then.presence {
                Presence::Null => self.put("/metadata".into(), Value::Null),
                _ => self.remove("/metadata".into()),
            }
        } else if now.annotations.presence != then.annotations.presence {
            match then.annotations.presence {
                Presence::Null => self.put(ANNOTATIONS.into(), Value::Null),
                _ => self.remove(ANNOTATIONS.into()),
            }
        } else {
            for key in written {
                self.remove(annotation_pointer(key));
            }
        }
    }

    fn in_list<T>(
        &mut self,
        pointer: &str,
        list: &List<T>,
        is_injected: impl Fn(&T) -> bool,
        leftover: Leftover,
    ) {
        let items = list.as_slice();
        let injected: Vec<usize> = (0..items.len()).filter(|index| is_injected(&items[*index])).collect();
        if injected.is_empty() {
            return;
        }
        match leftover {
            Leftover::Absent if injected.len() == items.len() => self.remove(pointer.to_owned()),
            Leftover::Null if injected.len() == items.len() => self.put(pointer.to_owned(), Value::Null),
            _ => {
                // From the last to the first, so that the remaining indices stay valid.
                for index in injected.into_iter().rev() {
                    self.remove(format!("{pointer}/{index}"));
                }
            }
        }
    }

    fn remove(&mut self, path: String) {
        self.0.push(Operation::Remove { path });
    }

    fn put(&mut self, path: String, value: Value) {
        self.0.push(Operation::Add { path, value });
    }
}
