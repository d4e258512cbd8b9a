//! Compares a plan with the injection that a pod already has: whether the intent is the same.
//!
//! Between two calls, other webhooks may have changed the injected containers: registry, resources,
//! security context, added variables, the API server's defaults. These do not change the intent;
//! what configures the agent does. Parts of the plan that are not compared here are covered by the
//! digest in the receipt.
//!
//! A variable of the agent that the plan does not set changes the intent, because it could redirect
//! the agent: `SCAIVAULT_ALLOW_HTTP`, `SCAIVAULT_TENANT_ID`. Variables that only concern
//! observability are left as they are ([`is_of_observation`]), and variables that are not the
//! agent's (`HTTPS_PROXY`, `OTEL_…`) are ignored.

use std::net::SocketAddr;

use scaivault_contract::{
    env::{ENVIRONMENT, LOG_FORMAT, LOG_LEVEL, MOUNT_POINTS, SCAIVAULT_METRICS_LISTEN},
    names::SECRETS_VOLUME,
};

use crate::{
    annotations::LogLevel,
    ownership,
    plan::{
        Plan,
        objects::{Container, EnvVar, EnvVarSource, KeyToPath, Volume, VolumeMount, VolumeSource},
    },
    pod::{ContainerView, ItemView, List, MountView, PodView, VariableValue, VolumeView},
    quantity::Quantity,
};

/// Whether the existing injection matches the plan, except for missing parts. `readers` selects the
/// containers that must have the mount.
pub(crate) fn is_up_to_date(
    plan: &Plan<'_>,
    pod: &PodView<'_>,
    is_reader: impl Fn(&ContainerView<'_>) -> bool,
) -> bool {
    let agents: Vec<&ContainerView<'_>> =
        pod.spec.init_containers.iter().filter(|c| ownership::is_injected(c)).collect();
    agents.len() == plan.agents.len()
        && agents.iter().zip(&plan.agents).all(|(actual, planned)| is_same_agent(planned, actual))
        && pod.spec.volumes.iter().filter(|volume| ownership::is_reserved_volume(&volume.name)).all(
            |actual| {
                plan.volumes
                    .iter()
                    .any(|planned| planned.name == &*actual.name && is_same_volume(planned, actual))
            },
        )
        && pod.all_containers().filter(|container| !ownership::is_injected(container)).all(|container| {
            is_reader(container)
                && has_planned_place(plan, container)
                && has_planned_variables(plan, container)
                || !container.mounts(SECRETS_VOLUME) && !has_injected_variables(container)
        })
}

/// Whether an agent matches the plan: command line, variables, hook and probe, and mounts of the
/// injector's volumes.
fn is_same_agent(planned: &Container<'_>, actual: &ContainerView<'_>) -> bool {
    let value = |name: &str| planned.env.iter().find(|variable| variable.name == name).map(planned_value);
    planned.name == &*actual.name
        && planned.command.iter().copied().eq(actual.command.iter().map(|text| &**text))
        && planned.args.iter().copied().eq(actual.args.iter().map(|text| &**text))
        && planned.restart_policy.is_some() == actual.is_native_sidecar()
        && has_planned_mounts(&planned.volume_mounts, actual)
        && ENVIRONMENT.iter().all(|spec| match actual.variable(spec.name) {
            // Missing mount points are added later: other webhooks add mounts after the first call
            // of this one.
            None | Some(VariableValue::Literal(_)) if spec.name == MOUNT_POINTS => true,
            Some(VariableValue::Literal(text)) if is_observable(spec.name, text) => true,
            found => found == value(spec.name),
        })
        && planned.lifecycle.is_some() == actual.has_post_start()
        && planned.startup_probe.is_some() == actual.has_startup_probe()
}

/// Whether a variable only concerns observability. Webhooks set such variables in all containers of
/// a pod.
pub(crate) fn is_of_observation(name: &str) -> bool {
    matches!(name, LOG_FORMAT | LOG_LEVEL | SCAIVAULT_METRICS_LISTEN)
}

/// Whether such a variable has a value that the agent accepts. With another one
/// (`LOG_LEVEL=notice`) it would not start, so the injection is replaced.
fn is_observable(name: &str, text: &str) -> bool {
    match name {
        LOG_FORMAT => matches!(text, "" | "json" | "text"),
        LOG_LEVEL => text.is_empty() || LogLevel::ALL.iter().any(|level| level.eq_ignore_ascii_case(text)),
        SCAIVAULT_METRICS_LISTEN => text.is_empty() || text.parse::<SocketAddr>().is_ok(),
        _ => false,
    }
}

/// The source of a planned variable in the terms of the read model. Fields that the API server
/// defaults, such as the version of a field reference, are ignored in both.
fn planned_value<'v>(variable: &'v EnvVar<'_>) -> VariableValue<'v> {
    match &variable.value_from {
        None => VariableValue::Literal(variable.value.as_deref().unwrap_or("")),
        Some(EnvVarSource::FieldRef(field)) => VariableValue::Field(field.field_path),
        Some(EnvVarSource::FileKeyRef(_)) => VariableValue::Other,
    }
}

/// Compares only mounts of the injector's volumes. Other webhooks may add mounts to every
/// container, such as a CA bundle.
fn has_planned_mounts(planned: &[VolumeMount<'_>], actual: &ContainerView<'_>) -> bool {
    let injected = || actual.volume_mounts.iter().filter(|mount| ownership::is_reserved_volume(&mount.name));
    injected().count() == planned.len()
        && planned.iter().all(|planned| injected().any(|actual| is_same_mount(planned, actual)))
}

fn is_same_mount(planned: &VolumeMount<'_>, actual: &MountView<'_>) -> bool {
    planned.name == &*actual.name
        && planned.mount_path == &*actual.mount_path
        && planned.read_only == actual.read_only.unwrap_or(false)
        && !actual.is_partial()
}

fn is_same_volume(planned: &Volume<'_>, actual: &VolumeView<'_>) -> bool {
    match &planned.source {
        VolumeSource::EmptyDir(planned) => actual.empty_dir.as_ref().is_some_and(|actual| {
            let amount = |text: &str| text.parse::<Quantity>().ok();
            actual.medium.as_deref() == Some(planned.medium)
                && actual.size_limit.as_ref().and_then(|text| amount(&text.0)) == amount(planned.size_limit)
        }),
        VolumeSource::ConfigMap(planned) => actual.config_map.as_ref().is_some_and(|actual| {
            actual.name.as_deref() == Some(planned.name) && are_same_items(&planned.items, &actual.items)
        }),
        VolumeSource::Secret(planned) => actual.secret.as_ref().is_some_and(|actual| {
            actual.secret_name.as_deref() == Some(planned.secret_name)
                && are_same_items(&planned.items, &actual.items)
        }),
        VolumeSource::Projected(planned) => {
            let token = &planned.sources[0].service_account_token;
            let sources = actual.projected.as_ref().map(|projected| projected.sources.as_slice());
            let [source] = sources.unwrap_or_default() else {
                return false;
            };
            source.service_account_token.as_ref().is_some_and(|actual| {
                actual.audience.as_deref() == Some(token.audience)
                    && actual.expiration_seconds == Some(token.expiration_seconds)
                    && actual.path.as_deref() == Some(token.path)
            })
        }
    }
}

/// Whether the same keys become the same files.
fn are_same_items(planned: &[KeyToPath<'_>], actual: &List<ItemView<'_>>) -> bool {
    planned.iter().map(|item| (item.key, item.path)).eq(actual.iter().map(|item| (&*item.key, &*item.path)))
}

/// Whether the mount of a reader, if it has one, matches the plan.
fn has_planned_place(plan: &Plan<'_>, container: &ContainerView<'_>) -> bool {
    let mut places = container.volume_mounts.iter().filter(|mount| &*mount.name == SECRETS_VOLUME);
    places.all(|place| plan.mount.as_ref().is_some_and(|planned| is_same_mount(planned, place)))
}

/// Whether the plan has all variables that a reader reads from the injector's volume.
fn has_planned_variables(plan: &Plan<'_>, container: &ContainerView<'_>) -> bool {
    let mut injected = container.env.iter().filter(|variable| ownership::is_injected_variable(variable));
    injected.all(|actual| plan.variables.binary_search_by(|planned| planned.name.cmp(&actual.name)).is_ok())
}

fn has_injected_variables(container: &ContainerView<'_>) -> bool {
    container.env.iter().any(ownership::is_injected_variable)
}
