//! A plan beside a pod that already carries an injection: the same intent, or another one.
//!
//! Between two calls other webhooks may have changed our containers: registry, resources, security context, added
//! variables, the API server's defaults. None of that is another intent. What the agent is told to do is.

use k8s_openapi::api::core::v1::{Container, EnvVar, KeyToPath, Volume, VolumeMount};
use scaivault_contract::{env::ENVIRONMENT, names::SECRETS_VOLUME};

use crate::{
    ours,
    plan::Plan,
    pod::{ContainerView, ItemView, List, MountView, PodView, Text, VariableValue, VolumeView},
    quantity::Quantity,
};

/// Whether what is there is this plan, give or take things that are missing. `readers` are the containers that are to
/// have the mount.
pub(crate) fn is_same(
    plan: &Plan,
    pod: &PodView<'_>,
    is_reader: impl Fn(&ContainerView<'_>) -> bool,
) -> bool {
    let agents: Vec<&ContainerView<'_>> =
        pod.spec.init_containers.iter().filter(|c| ours::is_marked(c)).collect();
    agents.len() == plan.agents.len()
        && agents.iter().zip(&plan.agents).all(|(there, planned)| is_same_agent(planned, there))
        && pod.spec.volumes.iter().filter(|volume| ours::is_reserved_volume(&volume.name)).all(|there| {
            plan.volumes.iter().any(|planned| planned.name == *there.name && is_same_volume(planned, there))
        })
        && pod.all_containers().filter(|container| !ours::is_marked(container)).all(|container| {
            is_reader(container)
                && has_planned_place(plan, container)
                && has_planned_variables(plan, container)
                || !container.mounts(SECRETS_VOLUME) && !has_our_variables(container)
        })
}

/// What the agent is told and given: its command line, its variables, its gate, its mounts of our volumes.
fn is_same_agent(planned: &Container, there: &ContainerView<'_>) -> bool {
    let variables = planned.env.as_deref().unwrap_or_default();
    let value = |name: &str| variables.iter().find(|variable| variable.name == name).map(planned_value);
    let is_hooked = planned.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some());
    planned.name == *there.name
        && is_same_text(planned.command.as_deref(), &there.command)
        && is_same_text(planned.args.as_deref(), &there.args)
        && (planned.restart_policy.as_deref() == Some("Always")) == there.is_native_sidecar()
        && has_planned_mounts(planned.volume_mounts.as_deref().unwrap_or_default(), there)
        && ENVIRONMENT.iter().all(|spec| value(spec.name) == there.variable(spec.name))
        && is_hooked == there.has_post_start()
        && planned.startup_probe.is_some() == there.has_startup_probe()
}

/// Where a planned variable's value comes from, in the words of the read model. What the API server fills in (the version
/// of a field reference) is left out of both.
fn planned_value(variable: &EnvVar) -> VariableValue<'_> {
    match &variable.value_from {
        None => VariableValue::Literal(variable.value.as_deref().unwrap_or("")),
        Some(source) => match &source.field_ref {
            Some(field) => VariableValue::Field(&field.field_path),
            None => VariableValue::Other,
        },
    }
}

fn is_same_text(planned: Option<&[String]>, there: &List<Text<'_>>) -> bool {
    planned.unwrap_or_default().iter().map(String::as_str).eq(there.iter().map(|text| &**text))
}

/// Mounts of other volumes (a CA bundle that another webhook gives to everybody) are nobody's business.
fn has_planned_mounts(planned: &[VolumeMount], there: &ContainerView<'_>) -> bool {
    let ours = || there.volume_mounts.iter().filter(|mount| ours::is_reserved_volume(&mount.name));
    ours().count() == planned.len()
        && planned.iter().all(|planned| ours().any(|there| is_same_mount(planned, there)))
}

fn is_same_mount(planned: &VolumeMount, there: &MountView<'_>) -> bool {
    planned.name == *there.name
        && planned.mount_path == *there.mount_path
        && planned.read_only.unwrap_or(false) == there.read_only.unwrap_or(false)
        && !there.is_partial()
}

fn is_same_volume(planned: &Volume, there: &VolumeView<'_>) -> bool {
    if let Some(planned) = &planned.empty_dir {
        let size = planned.size_limit.as_ref().map(|size| size.0.as_str());
        return there.empty_dir.as_ref().is_some_and(|there| {
            let amount = |text: &str| text.parse::<Quantity>().ok();
            there.medium.as_deref() == planned.medium.as_deref()
                && there.size_limit.as_ref().and_then(|text| amount(&text.0)) == size.and_then(amount)
        });
    }
    if let Some(planned) = &planned.config_map {
        return there.config_map.as_ref().is_some_and(|there| {
            there.name.as_deref() == Some(&planned.name)
                && are_same_items(planned.items.as_deref(), &there.items)
        });
    }
    if let Some(planned) = &planned.secret {
        return there.secret.as_ref().is_some_and(|there| {
            there.secret_name.as_deref() == planned.secret_name.as_deref()
                && are_same_items(planned.items.as_deref(), &there.items)
        });
    }
    let token = planned
        .projected
        .as_ref()
        .and_then(|projected| projected.sources.as_ref()?.first()?.service_account_token.as_ref());
    let sources = there.projected.as_ref().map(|projected| projected.sources.as_slice());
    let [source] = sources.unwrap_or_default() else {
        return false;
    };
    match (token, &source.service_account_token) {
        (Some(planned), Some(there)) => {
            there.audience.as_deref() == planned.audience.as_deref()
                && there.expiration_seconds == planned.expiration_seconds
                && there.path.as_deref() == Some(&planned.path)
        }
        _ => false,
    }
}

/// Which keys become which files.
fn are_same_items(planned: Option<&[KeyToPath]>, there: &List<ItemView<'_>>) -> bool {
    let planned = planned.unwrap_or_default().iter().map(|item| (item.key.as_str(), item.path.as_str()));
    planned.eq(there.iter().map(|item| (&*item.key, &*item.path)))
}

/// A reader's mount of ours, if it has one, is where the plan wants it.
fn has_planned_place(plan: &Plan, container: &ContainerView<'_>) -> bool {
    let mut places = container.volume_mounts.iter().filter(|mount| &*mount.name == SECRETS_VOLUME);
    places.all(|place| plan.mount.as_ref().is_some_and(|planned| is_same_mount(planned, place)))
}

/// A reader's variables of ours are all wanted.
fn has_planned_variables(plan: &Plan, container: &ContainerView<'_>) -> bool {
    container
        .env
        .iter()
        .filter(|variable| ours::is_our_variable(variable))
        .all(|there| plan.variables.iter().any(|planned| planned.name == *there.name))
}

fn has_our_variables(container: &ContainerView<'_>) -> bool {
    container.env.iter().any(ours::is_our_variable)
}
