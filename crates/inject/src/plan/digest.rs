//! A digest of what a plan says of our containers and [`crate::present`] does not compare with the pod, for the receipt.
//!
//! Between two calls other webhooks rewrite images, resources and security contexts, so those cannot be compared with what was
//! planned. The digest can: it is made of our plan alone. What it says differently is another intent.

use std::io;

use serde::Serialize;

use super::objects::{Container, Lifecycle, Probe, SecurityContext};
use crate::{
    annotations::{Draft, Position, Selection},
    present::is_of_observation,
};

/// What goes into the digest. Its JSON is the digest's input, so a field is only added, renamed or moved on purpose: each such
/// change replaces all injections that exist.
#[derive(Serialize)]
struct Content<'a> {
    position: &'static str,
    /// `containers` and `init-containers` as they are set, none for `*`: with the same ones, a container keeps the mount that
    /// it has.
    readers: [Option<&'a [String]>; 2],
    /// As configured: the amounts that follow from other containers change when other webhooks change those.
    resources: [Option<&'a str>; 4],
    containers: Vec<ContainerContent<'a>>,
}

#[derive(Serialize)]
struct ContainerContent<'a> {
    name: &'a str,
    image: &'a str,
    image_pull_policy: Option<&'a str>,
    security_context: &'a SecurityContext,
    lifecycle: &'a Option<Lifecycle>,
    startup_probe: &'a Option<Probe>,
    /// Variables that another webhook may set as it likes, where ours are set.
    observation: Vec<(&'a str, Option<&'a str>)>,
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
    let mut hash = Fnv1a::default();
    serde_json::to_writer(&mut hash, &content).expect("texts and numbers are JSON");
    format!("{:016x}", hash.0)
}

fn container<'a>(container: &'a Container<'_>) -> ContainerContent<'a> {
    // The fields that are not taken are compared with the pod, or follow from other containers (the resources).
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
        image_pull_policy: *image_pull_policy,
        security_context,
        lifecycle,
        startup_probe,
        observation: observation.map(|variable| (variable.name, variable.value.as_deref())).collect(),
    }
}

/// FNV-1a of 64 bits: tells two plans apart, and is the same in every version of the injector. It protects nothing: whoever
/// may write a receipt could compute any digest, and what a receipt can do by that is nothing (see [`crate::receipt`]).
struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl io::Write for Fnv1a {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        self.0 = bytes.iter().fold(self.0, step);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// The published test vectors.
    #[test]
    fn the_hash_is_fnv_1a() {
        for (text, expected) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            let mut hash = Fnv1a::default();
            hash.write_all(text.as_bytes()).unwrap();
            assert_eq!(hash.0, expected, "{text:?}");
        }
    }
}
