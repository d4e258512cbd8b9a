//! Who gets the mount and the variables.

use std::collections::BTreeSet;

use super::Findings;
use crate::{
    annotations::{Draft, ExactKey, Selection, nearest},
    pod::{ContainerView, PodView},
    problem::{Code, Excerpt},
};

/// Containers by their place in the pod that is seen without anything of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readers {
    pub(crate) init_containers: Vec<usize>,
    pub(crate) containers: Vec<usize>,
}

impl Readers {
    /// The containers themselves, init containers first.
    pub(crate) fn of<'a, 'p>(&'a self, pod: &'a PodView<'p>) -> impl Iterator<Item = &'a ContainerView<'p>> {
        let pick = |places: &'a [usize], containers: &'a [ContainerView<'p>]| {
            places.iter().filter_map(move |place| containers.get(*place))
        };
        pick(&self.init_containers, pod.spec.init_containers.as_slice())
            .chain(pick(&self.containers, pod.spec.containers.as_slice()))
    }

    /// Their names, which are unique among all containers of a pod.
    pub(crate) fn names<'a>(&'a self, pod: &'a PodView<'_>) -> BTreeSet<&'a str> {
        self.of(pod).map(|reader| &*reader.name).collect()
    }

    /// Whether every reader is known to run as this uid; not where there is none.
    pub(super) fn all_run_as(&self, pod: &PodView<'_>, uid: i64) -> bool {
        let mut readers = self.of(pod).peekable();
        readers.peek().is_some() && readers.all(|container| pod.uid_of(container) == Some(uid))
    }
}

pub(super) fn resolve(
    draft: &Draft,
    pod: &PodView<'_>,
    insert_at: usize,
    findings: &mut Findings<'_>,
) -> Readers {
    let init_containers = pod.spec.init_containers.as_slice();
    let readers = Readers {
        containers: select(
            ExactKey::Containers,
            &draft.containers,
            pod.spec.containers.as_slice(),
            |_| true,
            findings,
        ),
        init_containers: select(
            ExactKey::InitContainers,
            &draft.init_containers,
            init_containers,
            |place| place >= insert_at,
            findings,
        ),
    };
    for place in readers.init_containers.iter().filter(|place| **place < insert_at) {
        let name = Excerpt::new(&init_containers[*place].name);
        if draft.variables.is_empty() {
            findings.warn(format!(
                "init-containers: {name} starts before the agent and finds the mount empty; position: first starts the agent \
                 earlier"
            ));
        } else {
            // The kubelet does not start a container whose variable's file is missing, `optional` or not.
            findings.problem(
                Code::UnknownContainer,
                ExactKey::InitContainers,
                None,
                format!("{name} starts before the agent, so its inject-env variables could never be read"),
                "set position: first, or leave the container out",
            );
        }
    }
    if readers == Readers::default() {
        findings.warn("no container gets the secrets: check containers and init-containers");
    }
    readers
}

fn select(
    key: ExactKey,
    selection: &Selection,
    containers: &[ContainerView<'_>],
    may_all: impl Fn(usize) -> bool,
    findings: &mut Findings<'_>,
) -> Vec<usize> {
    match selection {
        Selection::All => {
            (0..containers.len()).filter(|place| may_all(*place) && !containers[*place].is_mesh()).collect()
        }
        Selection::Names(names) => {
            let there: BTreeSet<&str> = containers.iter().map(|container| &*container.name).collect();
            for name in names.iter().filter(|name| !there.contains(name.as_str())) {
                unknown(key, name, containers, findings);
            }
            let named: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            (0..containers.len()).filter(|place| named.contains(&*containers[*place].name)).collect()
        }
    }
}

pub(super) fn unknown(
    key: ExactKey,
    name: &str,
    containers: &[ContainerView<'_>],
    findings: &mut Findings<'_>,
) {
    let hinted = (findings.problems.takes_hint())
        .then(|| nearest(name, containers.iter().map(|container| &*container.name)))
        .flatten();
    let cure = if let Some(name) = hinted {
        format!("did you mean {}?", Excerpt::new(name))
    } else {
        let names: Vec<String> =
            containers.iter().take(8).map(|container| Excerpt::new(&container.name).to_string()).collect();
        format!("the pod has {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })
    };
    findings.problem(
        Code::UnknownContainer,
        key,
        Some(name),
        "the pod has no container of this name in that list",
        cure,
    );
}
