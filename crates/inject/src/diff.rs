//! The operations that complete an injection: only `add`, and only what is missing.

use std::collections::BTreeSet;

use scaivault_contract::{
    env::MOUNT_POINTS,
    expand_env_value, is_at_or_below,
    names::{ANNOTATION_PREFIX, SECRETS_VOLUME},
};

use crate::{
    intent::Readers,
    ownership::{self, RECEIPT, STATUS},
    patch::{ANNOTATIONS, Fragment, Operation, Value, annotation_pointer},
    plan::{Plan, objects::Container},
    pod::{ContainerView, List, PodView, Presence, VariableValue},
};

/// The value of the annotation `status` of an injected pod.
pub(crate) const INJECTED: &str = "injected";

/// The operations for the missing parts of a plan. `document` is the pod that the operations apply
/// to. `readers` are indices into `original`, the pod without the injection, whose containers keep
/// their index in the document.
pub(crate) fn diff(
    plan: Plan<'_>,
    document: &PodView<'_>,
    original: &PodView<'_>,
    readers: &Readers,
) -> Vec<Operation> {
    let mut builder = PatchBuilder(Vec::with_capacity(8));
    let Plan { volumes, agents, insert_at, mount, variables, share_process_namespace, receipt } = plan;
    let missing = volumes
        .into_iter()
        .filter(|planned| !document.spec.volumes.iter().any(|actual| planned.name == &*actual.name))
        .map(|volume| Fragment::new(&volume).into());
    builder.append("/spec/volumes", &document.spec.volumes, missing.collect());

    let mount_fragment = mount.as_ref().map(Fragment::new);
    let variable_fragments: Vec<Fragment> = variables.iter().map(Fragment::new).collect();
    for (list, actual, place) in places(document, original, readers) {
        let pointer = ["/spec/", list, "/", &place.to_string()].concat();
        if let (Some(mount), Some(fragment)) = (&mount, &mount_fragment)
            && !actual.mounts(SECRETS_VOLUME)
        {
            let value = vec![fragment.clone().into()];
            let (mounts, list) = (&actual.volume_mounts, [&pointer, "/volumeMounts"].concat());
            if must_be_first(mount.mount_path, actual) {
                builder.prepend(&list, mounts, value);
            } else {
                builder.append(&list, mounts, value);
            }
        }
        if variables.is_empty() {
            continue;
        }
        let injected = actual.env.iter().filter(|variable| ownership::is_injected_variable(variable));
        let has: BTreeSet<&str> = injected.map(|variable| &*variable.name).collect();
        let missing =
            variables.iter().zip(&variable_fragments).filter(|(planned, _)| !has.contains(planned.name));
        let missing = missing.map(|(_, fragment)| fragment.clone().into()).collect();
        builder.prepend(&[&pointer, "/env"].concat(), &actual.env, missing);
    }

    for planned in &agents {
        let found = document.spec.init_containers.iter().find(|actual| planned.name == &*actual.name);
        if let Some(actual) = found {
            builder.mount_points(planned, actual);
        }
    }
    let missing: Vec<Value> = agents
        .into_iter()
        .filter(|planned| !document.spec.init_containers.iter().any(|actual| planned.name == &*actual.name))
        .map(|agent| Fragment::new(&agent).into())
        .collect();
    builder.insert("/spec/initContainers", &document.spec.init_containers, insert_at, missing);

    if share_process_namespace && document.spec.share_process_namespace != Presence::Value(true) {
        builder.add("/spec/shareProcessNamespace".to_owned(), Value::Switch(true));
    }
    builder.annotations(document, [(RECEIPT, receipt.text()), (STATUS, INJECTED.to_owned())]);
    builder.0
}

/// The readers, located in the document.
fn places<'a, 'p>(
    document: &'a PodView<'p>,
    original: &'a PodView<'p>,
    readers: &'a Readers,
) -> impl Iterator<Item = (&'static str, &'a ContainerView<'p>, usize)> {
    let find = |list: &'static str,
                places: &'a [usize],
                original: &'a List<_>,
                document: &'a List<ContainerView<'p>>| {
        places.iter().filter_map(move |place| {
            let original: &ContainerView<'p> = original.as_slice().get(*place)?;
            Some((list, document.as_slice().get(original.index)?, original.index))
        })
    };
    find("containers", &readers.containers, &original.spec.containers, &document.spec.containers).chain(find(
        "initContainers",
        &readers.init_containers,
        &original.spec.init_containers,
        &document.spec.init_containers,
    ))
}

/// Whether the container mounts something below `mount_path` under a path with no more segments,
/// such as `/run/secrets/x` below `/var/run/secrets`. Container runtimes mount by the number of
/// segments, and in the order of the list if the numbers are equal.
fn must_be_first(mount_path: &str, container: &ContainerView<'_>) -> bool {
    let segments = |path: &str| path.split('/').filter(|segment| !matches!(*segment, "" | ".")).count();
    container.volume_mounts.iter().any(|actual| {
        is_at_or_below(&actual.mount_path, mount_path) && segments(&actual.mount_path) <= segments(mount_path)
    })
}

struct PatchBuilder(Vec<Operation>);

impl PatchBuilder {
    /// Adds the mount points that the agent in the document does not create yet: a cloud provider's
    /// webhook may have added a token below the mount path after the first call of this one.
    fn mount_points(&mut self, planned: &Container<'_>, actual: &ContainerView<'_>) {
        let Some(planned) = planned.env.iter().find(|variable| variable.name == MOUNT_POINTS) else {
            return;
        };
        let list = format!("/spec/initContainers/{}/env", actual.index);
        let place = actual.env.iter().rposition(|variable| &*variable.name == MOUNT_POINTS);
        let value = Fragment::new(planned).into();
        match (place, actual.variable(MOUNT_POINTS)) {
            (Some(place), Some(VariableValue::Literal(found))) => {
                let (found, planned) =
                    (expand_env_value(found), expand_env_value(planned.value.as_deref().unwrap_or_default()));
                let found: BTreeSet<&str> = found.lines().collect();
                if !planned.lines().all(|line| found.contains(line)) {
                    self.0.push(Operation::Remove { path: format!("{list}/{place}") });
                    self.add(format!("{list}/{place}"), value);
                }
            }
            _ => self.append(&list, &actual.env, vec![value]),
        }
    }

    /// Adds annotations, and their parents if the pod has no metadata or annotations.
    fn annotations(&mut self, document: &PodView<'_>, annotations: [(&str, String); 2]) {
        let metadata = &document.metadata;
        if metadata.annotations.presence == Presence::Value(()) {
            for (key, value) in annotations {
                if document.annotation(key) != Some(&value) {
                    self.add(annotation_pointer(key), Value::Text(value));
                }
            }
            return;
        }
        let members =
            annotations.map(|(key, value)| (format!("{ANNOTATION_PREFIX}{key}"), Value::Text(value)));
        let annotations = Value::Object(members.into());
        if metadata.presence == Presence::Value(()) {
            self.add(ANNOTATIONS.to_owned(), annotations);
        } else {
            let members = [("annotations".to_owned(), annotations)];
            self.add("/metadata".to_owned(), Value::Object(members.into()));
        }
    }

    /// Appends to a list.
    fn append<T>(&mut self, pointer: &str, list: &List<T>, values: Vec<Value>) {
        match list {
            List::Items(_) => {
                for value in values {
                    self.add([pointer, "/-"].concat(), value);
                }
            }
            List::Absent | List::Null => self.list(pointer, values),
        }
    }

    /// Inserts at the start of a list, in the given order.
    fn prepend<T>(&mut self, pointer: &str, list: &List<T>, values: Vec<Value>) {
        self.insert(pointer, list, 0, values);
    }

    /// Inserts at an index, in the given order.
    fn insert<T>(&mut self, pointer: &str, list: &List<T>, at: usize, values: Vec<Value>) {
        match list {
            List::Items(items) => {
                let at = at.min(items.len());
                for (offset, value) in values.into_iter().enumerate() {
                    self.add([pointer, "/", &(at + offset).to_string()].concat(), value);
                }
            }
            List::Absent | List::Null => self.list(pointer, values),
        }
    }

    /// Adds the list itself. An `add` to a field that is null replaces it.
    fn list(&mut self, pointer: &str, values: Vec<Value>) {
        if !values.is_empty() {
            self.add(pointer.to_owned(), Value::List(values));
        }
    }

    fn add(&mut self, path: String, value: Value) {
        self.0.push(Operation::Add { path, value });
    }
}

/// The annotation of a pod that is admitted without an injection although it has problems.
pub(crate) fn skipped(pod: &PodView<'_>, reason: &str) -> Option<Operation> {
    let value = format!("skipped/{reason}");
    (pod.metadata.annotations.presence == Presence::Value(()) && pod.annotation(STATUS) != Some(&value))
        .then(|| Operation::Add { path: annotation_pointer(STATUS), value: Value::Text(value) })
}
