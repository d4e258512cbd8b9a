//! A digest, for the receipt, of the parts of a plan that [`crate::reinvocation`] does not compare with
//! the pod.
//!
//! Between two calls, other webhooks may change images, resources and security contexts, so the
//! pod's values cannot be compared with the plan. Digests can, because they are computed from plans
//! only. A different digest is a different intent.

use super::{
    json::{OrNull, WriteJson, object, to_json},
    objects::{Container, Lifecycle, Probe, SecurityContext},
};
use crate::{
    annotations::{Draft, Position, Selection},
    reinvocation::is_of_observation,
};

object! {
    /// The content of the digest. Its JSON is hashed, so adding, renaming or moving a field
    /// replaces all existing injections.
    Content<'a> {
        position: &'static str = "position",
        // `containers` and `init-containers` as configured, `None` for `*`: with the same ones, a
        // container keeps its mount.
        readers: [Option<&'a [String]>; 2] = "readers",
        // As configured: amounts that are derived from other containers change when other webhooks
        // change those.
        resources: [Option<&'a str>; 4] = "resources",
        containers: Vec<ContainerContent<'a>> = "containers",
    }
}

object! {
    /// The content of the digest for one container.
    ContainerContent<'a> {
        name: &'a str = "name",
        image: &'a str = "image",
        image_pull_policy: OrNull<'a, &'static str> = "image_pull_policy",
        security_context: &'a SecurityContext = "security_context",
        lifecycle: OrNull<'a, Lifecycle> = "lifecycle",
        startup_probe: OrNull<'a, Probe> = "startup_probe",
        // Variables that other webhooks may set to any value, if the plan sets them.
        observation: Vec<(&'a str, Option<&'a str>)> = "observation",
    }
}

/// The digest of a plan's containers: 16 hexadecimal digits.
pub(super) fn digest<'a>(draft: &'a Draft, agents: &[Container<'_>]) -> String {
    let names = |selection: &'a Selection| match selection {
        Selection::All => None,
        Selection::Names(names) => Some(names.as_slice()),
    };
    let Draft {
        position,
        containers,
        init_containers,
        requests_cpu,
        requests_memory,
        limits_cpu,
        limits_memory,
        ..
    } = draft;
    let content = Content {
        position: match position {
            Position::First => "first",
            Position::Last => "last",
        },
        readers: [names(containers), names(init_containers)],
        resources: [requests_cpu, requests_memory, limits_cpu, limits_memory]
            .map(|amount| amount.as_ref().map(crate::quantity::Quantity::as_str)),
        containers: agents.iter().map(container).collect(),
    };
    format!("{:016x}", fnv1a(to_json(&content).as_bytes()))
}

fn container<'a>(container: &'a Container<'_>) -> ContainerContent<'a> {
    // The omitted fields are compared with the pod, or are derived from other containers (the
    // resources).
    let Container {
        args: _,
        command: _,
        env,
        image,
        image_pull_policy,
        lifecycle,
        name,
        resources: _,
        restart_policy: _,
        security_context,
        startup_probe,
        volume_mounts: _,
    } = container;
    let observation = env.iter().filter(|variable| is_of_observation(variable.name));
    ContainerContent {
        name,
        image,
        image_pull_policy: OrNull(image_pull_policy),
        security_context,
        lifecycle: OrNull(lifecycle),
        startup_probe: OrNull(startup_probe),
        observation: observation.map(|variable| (variable.name, variable.value.as_deref())).collect(),
    }
}

/// 64-bit FNV-1a, which is the same in every version of the injector. It does not need to be
/// cryptographic: a user who can write a receipt can write any digest, and gains nothing by it (see
/// [`crate::receipt`]).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vectors.
    #[test]
    fn the_hash_is_fnv_1a() {
        for (text, expected) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(fnv1a(text.as_bytes()), expected, "{text:?}");
        }
    }
}
