//! Who gets the mount and the variables.

use std::collections::BTreeSet;

use scaivault_contract::names::API_TOKEN_DIR;

use super::{Facts, Findings};
use crate::{
    annotations::{ExactKey, Selection, nearest},
    known_sidecars::{SidecarKind, SidecarsConfig},
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

pub(super) fn resolve(facts: &Facts<'_, '_>, insert_at: usize, findings: &mut Findings<'_>) -> Readers {
    let Facts { draft, pod, settings, .. } = *facts;
    let sidecars = &settings.config.sidecars;
    let init_containers = pod.spec.init_containers.as_slice();
    let readers = Readers {
        containers: select(
            ExactKey::Containers,
            &draft.containers,
            pod.spec.containers.as_slice(),
            |containers, findings| applications(containers, sidecars, findings),
            findings,
        ),
        init_containers: select(
            ExactKey::InitContainers,
            &draft.init_containers,
            init_containers,
            |containers, _| {
                let is_ours = |place: &usize| sidecars.kind_of(&containers[*place]).is_none();
                (insert_at..containers.len()).filter(is_ours).collect()
            },
            findings,
        ),
    };
    for place in readers.init_containers.iter().filter(|place| **place < insert_at) {
        let name = Excerpt::new(&init_containers[*place].name);
        if draft.variables.is_empty() {
            // In a template nobody has mounted the token yet; in the pod this is a problem of its mounts.
            let token = if draft.mount_path.covers(API_TOKEN_DIR) {
                ", and cannot start if the service account's token is mounted into it"
            } else {
                ""
            };
            findings.warn(format!(
                "init-containers: {name} starts before the agent and finds the mount empty{token}; position: first starts the \
                 agent earlier"
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
    all: impl Fn(&[ContainerView<'_>], &mut Findings<'_>) -> Vec<usize>,
    findings: &mut Findings<'_>,
) -> Vec<usize> {
    match selection {
        Selection::All => all(containers, findings),
        Selection::Names(names) => {
            let there: BTreeSet<&str> = containers.iter().map(|container| &*container.name).collect();
            for name in names.iter().filter(|name| !there.contains(name.as_str())) {
                unknown(key, name, containers, findings);
            }
            let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            (0..containers.len()).filter(|place| wanted.contains(&*containers[*place].name)).collect()
        }
    }
}

/// The containers that are no sidecars of other products. In a pod that has nothing else, such as a gateway of a mesh, one
/// of these is the application.
fn applications(
    containers: &[ContainerView<'_>],
    sidecars: &SidecarsConfig,
    findings: &mut Findings<'_>,
) -> Vec<usize> {
    let kinds: Vec<Option<SidecarKind>> =
        containers.iter().map(|container| sidecars.kind_of(container)).collect();
    let chosen = likeliest(&kinds);
    if chosen.first().is_some_and(|first| kinds[*first].is_some()) {
        let names: Vec<&str> = chosen.iter().map(|place| &*containers[*place].name).collect();
        let names = Excerpt::new(&names.join(","));
        findings.warn(format!(
            "containers: all app containers are known sidecars of other products; these get the secrets: {names}; to choose \
             others, set containers to their names"
        ));
    }
    chosen
}

/// The places that are applications, or that most likely are: a sidecar of any kind rather than a mesh's.
pub(super) fn likeliest(kinds: &[Option<SidecarKind>]) -> Vec<usize> {
    let rank = |kind: &Option<SidecarKind>| match kind {
        None => 0,
        Some(SidecarKind::Mesh) => 2,
        Some(_) => 1,
    };
    let least = kinds.iter().map(rank).min();
    (0..kinds.len()).filter(|place| Some(rank(&kinds[*place])) == least).collect()
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
