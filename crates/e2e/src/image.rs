//! The product's images: building and loading into the nodes.

use std::{fmt, process::Command, str::FromStr};

use anyhow::Result;

use super::{Args, CSI, INJECTED, INJECTOR, world::World};
use crate::process;

/// An image as repository and tag, for which the chart has separate values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageName {
    pub(super) repository: String,
    pub(super) tag: String,
}

impl FromStr for ImageName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A colon before the last slash belongs to a registry's port.
        match text.rsplit_once(':') {
            Some((repository, tag)) if !repository.is_empty() && !tag.is_empty() && !tag.contains('/') => {
                Ok(Self { repository: repository.to_owned(), tag: tag.to_owned() })
            }
            _ => Err("an image is written REPOSITORY:TAG"),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repository, tag } = self;
        write!(f, "{repository}:{tag}")
    }
}

/// Builds and loads the product's images, if commands for it are given.
pub(super) fn provide(world: &World<'_>) -> Result<String> {
    let Args { image, init_image, sidecar_image, build_image, load_image, csi, .. } = world.args;
    let images = [
        (INJECTED, "injector", image),
        (INJECTED, "init", init_image),
        (INJECTOR, "sidecar", sidecar_image),
        (CSI, "csi-provider", &csi.image),
    ];
    let images: Vec<_> = images.iter().filter(|(parts, ..)| world.args.tests_any(parts)).collect();
    let commands = [("built", build_image), ("loaded", load_image)];
    let mut done = Vec::new();
    for (what, command) in commands {
        let Some(command) = command else { continue };
        for (_, target, image) in &images {
            let command = fill(command, target, image);
            process::run(Command::new("sh").args(["-c", &command]).current_dir(process::root()))?;
        }
        done.push(what);
    }
    let done = if done.is_empty() { "expected on the nodes".to_owned() } else { done.join(" and ") };
    let images: Vec<_> = images.iter().map(|(_, _, image)| image.to_string()).collect();
    Ok(format!("{} {done}", images.join(", ")))
}

fn fill(command: &str, target: &str, image: &ImageName) -> String {
    command.replace("{target}", target).replace("{}", &image.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_tag() {
        let image: ImageName = "registry:5000/a/b:1.2".parse().unwrap();
        assert_eq!((image.repository.as_str(), image.tag.as_str()), ("registry:5000/a/b", "1.2"));
        for wrong in ["a/b", "registry:5000/a/b", "a:", ":1"] {
            assert!(wrong.parse::<ImageName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_command_names_image_and_target() {
        let image = "a/b:1".parse().unwrap();
        assert_eq!(
            fill("make {target} {} && load {target}.tar {}", "init", &image),
            "make init a/b:1 && load init.tar a/b:1"
        );
    }
}
