//! Selects the containers that get the mount and the variables.

use std::collections::BTreeSet;

use scaivault_contract::names::{API_TOKEN_DIR, SECRETS_VOLUME};

use super::{Diagnostics, Inputs};
use crate::{
    annotations::{ExactKey, Selection, nearest},
    known_sidecars::{Sidecar, SidecarKind},
    ownership,
    pod::{ContainerView, PodView},
    problem::{Code, Excerpt},
};

/// Containers, by their index in the pod without the injection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readers {
    pub(crate) init_containers: Vec<usize>,
    pub(crate) containers: Vec<usize>,
}

impl Readers {
    /// The containers themselves, init containers first.
    pub(crate) fn containers_of<'a, 'p>(
        &'a self,
        pod: &'a PodView<'p>,
    ) -> impl Iterator<Item = &'a ContainerView<'p>> {
        let pick = |places: &'a [usize], containers: &'a [ContainerView<'p>]| {
            places.iter().filter_map(move |place| containers.get(*place))
        };
        pick(&self.init_containers, pod.spec.init_containers.as_slice())
            .chain(pick(&self.containers, pod.spec.containers.as_slice()))
    }

    /// Their names, which are unique in a pod.
    pub(crate) fn names<'a>(&'a self, pod: &'a PodView<'_>) -> BTreeSet<&'a str> {
        self.containers_of(pod).map(|reader| &*reader.name).collect()
    }

    /// Whether there are readers and all are known to run with this uid.
    pub(super) fn all_run_as(&self, pod: &PodView<'_>, uid: i64) -> bool {
        let mut readers = self.containers_of(pod).peekable();
        readers.peek().is_some() && readers.all(|container| pod.uid_of(container) == Some(uid))
    }
}

pub(super) fn resolve(
    inputs: &Inputs<'_, '_>,
    insert_at: usize,
    diagnostics: &mut Diagnostics<'_>,
) -> Readers {
    let Inputs { draft, pod, .. } = *inputs;
    let init_containers = pod.spec.init_containers.as_slice();
    let readers = Readers {
        containers: select(
            ExactKey::Containers,
            &draft.containers,
            pod.spec.containers.as_slice(),
            |diagnostics| all_containers(inputs, diagnostics),
            diagnostics,
        ),
        init_containers: select(
            ExactKey::InitContainers,
            &draft.init_containers,
            init_containers,
            |diagnostics| all_init_containers(inputs, insert_at, diagnostics),
            diagnostics,
        ),
    };
    for place in readers.init_containers.iter().filter(|place| **place < insert_at) {
        let name = Excerpt::new(&init_containers[*place].name);
        if draft.variables.is_empty() {
            // A template has no mount of the token yet; in a pod, the mount itself is reported.
            let token = if draft.mount_path.covers(API_TOKEN_DIR) {
                ", and cannot start if the service account's token is mounted into it"
            } else {
                ""
            };
            diagnostics.warn(format!(
                "init-containers: {name} starts before the agent and finds the mount empty{token}; position: first starts the \
                 agent earlier"
            ));
        } else {
            // The kubelet does not start a container if the file of its variable is missing,
            // `optional` or not.
            diagnostics.problem(
                Code::UnknownContainer,
                ExactKey::InitContainers,
                None,
                format!("{name} starts before the agent, so its inject-env variables could never be read"),
                "set position: first, or leave the container out",
            );
        }
    }
    if readers == Readers::default() {
        diagnostics.warn(if pod.spec.containers.as_slice().is_empty() {
            "no container gets the secrets: the pod has none; check the spelling of spec.containers"
        } else {
            "no container gets the secrets: check the annotations containers and init-containers"
        });
    }
    readers
}

fn select(
    key: ExactKey,
    selection: &Selection,
    containers: &[ContainerView<'_>],
    all: impl Fn(&mut Diagnostics<'_>) -> Vec<usize>,
    diagnostics: &mut Diagnostics<'_>,
) -> Vec<usize> {
    match selection {
        Selection::All => all(diagnostics),
        Selection::Names(names) => {
            let there: BTreeSet<&str> = containers.iter().map(|container| &*container.name).collect();
            for name in names.iter().filter(|name| !there.contains(name.as_str())) {
                unknown(key, name, containers, diagnostics);
            }
            let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            (0..containers.len()).filter(|place| wanted.contains(&*containers[*place].name)).collect()
        }
    }
}

/// `containers: *`: the applications, and containers that already have the mount.
fn all_containers(inputs: &Inputs<'_, '_>, diagnostics: &mut Diagnostics<'_>) -> Vec<usize> {
    let containers = inputs.pod.spec.containers.as_slice();
    let injected = inputs.injected.map_or(&[][..], |pod| pod.spec.containers.as_slice());
    let sidecars = recognise(containers, inputs);
    let applications = applications(&sidecars);
    if applications.first().is_some_and(|first| sidecars[*first].is_some_and(|it| !it.is_standalone)) {
        diagnostics.warn(format!(
            "containers: all app containers are known sidecars of other products; these get the secrets: {}; to choose \
             others, set containers to their names",
            joined(containers, &applications)
        ));
    }
    let is_chosen = |place: &usize| {
        applications.binary_search(place).is_ok() || is_reader_already(injected, &containers[*place])
    };
    let chosen: Vec<usize> = (0..containers.len()).filter(is_chosen).collect();
    warn_of_left_out(ExactKey::Containers, containers, &sidecars, &chosen, diagnostics);
    chosen
}

/// `init-containers: *`: init containers after the agent that are not sidecars, and those that
/// already have the mount.
fn all_init_containers(
    inputs: &Inputs<'_, '_>,
    insert_at: usize,
    diagnostics: &mut Diagnostics<'_>,
) -> Vec<usize> {
    let containers = inputs.pod.spec.init_containers.as_slice();
    let injected = inputs.injected.map_or(&[][..], |pod| pod.spec.init_containers.as_slice());
    let mut sidecars = recognise(containers, inputs);
    let is_chosen =
        |place: &usize| sidecars[*place].is_none() || is_reader_already(injected, &containers[*place]);
    let chosen: Vec<usize> = (insert_at..containers.len()).filter(is_chosen).collect();
    sidecars[..insert_at.min(containers.len())].fill(None);
    warn_of_left_out(ExactKey::InitContainers, containers, &sidecars, &chosen, diagnostics);
    chosen
}

fn recognise(containers: &[ContainerView<'_>], inputs: &Inputs<'_, '_>) -> Vec<Option<Sidecar>> {
    let sidecars = &inputs.settings.config.sidecars;
    containers.iter().map(|container| sidecars.recognise(container)).collect()
}

/// Whether a container got the secrets from the injection that is being completed. Other webhooks
/// may have inserted containers before it since, so that it looks like a sidecar.
fn is_reader_already(injected: &[ContainerView<'_>], container: &ContainerView<'_>) -> bool {
    injected.get(container.index).is_some_and(|container| {
        container.mounts(SECRETS_VOLUME) || container.env.iter().any(ownership::is_injected_variable)
    })
}

/// Warns of containers that `*` excludes and that the user may have meant.
fn warn_of_left_out(
    key: ExactKey,
    containers: &[ContainerView<'_>],
    sidecars: &[Option<Sidecar>],
    chosen: &[usize],
    diagnostics: &mut Diagnostics<'_>,
) {
    let may_be_meant = |place: &usize| sidecars[*place].is_some_and(Sidecar::may_be_meant);
    let is_left_out = |place: &usize| may_be_meant(place) && chosen.binary_search(place).is_err();
    let left_out: Vec<usize> = (0..containers.len()).filter(is_left_out).collect();
    if left_out.is_empty() {
        return;
    }
    let mut all: Vec<usize> = chosen.iter().chain(&left_out).copied().collect();
    all.sort_unstable();
    diagnostics.warn(format!(
        "{key}: * leaves out {}, by name or image a sidecar of another product; where it needs the secrets, name all containers \
         that do, for example {key}: {}",
        joined(containers, &left_out),
        joined(containers, &all)
    ));
}

/// The names of containers in the form of a value of `containers`.
fn joined(containers: &[ContainerView<'_>], places: &[usize]) -> Excerpt {
    let names: Vec<&str> = places.iter().take(16).map(|place| &*containers[*place].name).collect();
    Excerpt::new(&names.join(","))
}

/// The indices of the containers that are applications.
///
/// A container of a product that is also deployed as an application of its own is a sidecar only if
/// it comes after an application. If it is the first container apart from those that other webhooks
/// add, the pod is a deployment of that product. In a pod of sidecars only, such as a mesh gateway,
/// one of them is the application, preferably one that is not a mesh's.
pub(super) fn applications(sidecars: &[Option<Sidecar>]) -> Vec<usize> {
    let is_certain = |sidecar: &Option<Sidecar>| sidecar.is_some_and(|sidecar| !sidecar.is_standalone);
    let places = 0..sidecars.len();
    if let Some(first) = sidecars.iter().find(|sidecar| !is_certain(sidecar)) {
        let is_application =
            |place: &usize| sidecars[*place].is_none() || first.is_some() && !is_certain(&sidecars[*place]);
        return places.filter(is_application).collect();
    }
    let is_mesh = |place: &usize| sidecars[*place].is_some_and(|sidecar| sidecar.kind == SidecarKind::Mesh);
    let has_others = !places.clone().all(|place| is_mesh(&place));
    places.filter(|place| !(has_others && is_mesh(place))).collect()
}

pub(super) fn unknown(
    key: ExactKey,
    name: &str,
    containers: &[ContainerView<'_>],
    diagnostics: &mut Diagnostics<'_>,
) {
    let hinted = (diagnostics.problems.takes_hint())
        .then(|| nearest(name, containers.iter().map(|container| &*container.name)))
        .flatten();
    let fix = if let Some(name) = hinted {
        format!("did you mean {}?", Excerpt::new(name))
    } else {
        let names: Vec<String> =
            containers.iter().take(8).map(|container| Excerpt::new(&container.name).to_string()).collect();
        format!("the pod has {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })
    };
    diagnostics.problem(
        Code::UnknownContainer,
        key,
        Some(name),
        match key {
            ExactKey::InitContainers => "the pod has no container of this name among its init containers",
            _ => "the pod has no container of this name among its app containers",
        },
        fix,
    );
}
