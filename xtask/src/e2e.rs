//! The chart on a real cluster, from its installation to its removal, with pods being created all the while where that
//! matters. Not a part of `cargo xtask ci`: it needs a cluster that may be played with, and an image.
//!
//! A step is a function over [`World`] in a file of its own; [`STEPS`] is the order. What a step leaves in the cluster
//! stands in the namespaces of [`world`], which are deleted in the end.

use std::time::Instant;

use anyhow::Result;
use clap::builder::NonEmptyStringValueParser;

use crate::table;
use image::ImageName;
use world::World;

mod image;
mod injection;
mod kubectl;
mod load;
mod release;
mod removal;
mod replacement;
mod world;

/// What is tested, and how its image gets to the nodes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The injector's image, as the pods name it
    #[arg(long, value_name = "REPOSITORY:TAG", default_value = concat!("scailabs/scaivault-injector:", env!("CARGO_PKG_VERSION")))]
    image: ImageName,
    /// A shell command that makes the image; `{}` stands for its name
    #[arg(long, value_name = "COMMAND", value_parser = NonEmptyStringValueParser::new())]
    build_image: Option<String>,
    /// A shell command that loads the image into the nodes; `{}` stands for its name, `{archive}` for --archive
    #[arg(long, value_name = "COMMAND", value_parser = NonEmptyStringValueParser::new())]
    load_image: Option<String>,
    /// The archive that `{archive}` stands for
    #[arg(long, value_name = "FILE", default_value = "image.tar")]
    archive: String,
    /// A value of the chart, as for `helm --set`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Leave everything in the cluster when a step fails
    #[arg(long)]
    keep: bool,
}

struct Step {
    name: &'static str,
    /// What it returns is said in the table.
    run: fn(&World<'_>) -> Result<String>,
}

const STEPS: &[Step] = &[
    Step { name: "image", run: image::provide },
    Step { name: "install", run: release::install },
    Step { name: "helm test", run: release::test },
    Step { name: "inject", run: injection::deployment },
    Step { name: "opt out", run: injection::opted_out },
    Step { name: "refuse", run: injection::mistake },
    Step { name: "lose a pod under load", run: replacement::lose_a_pod },
    Step { name: "upgrade under load", run: replacement::upgrade },
    Step { name: "uninstall", run: removal::uninstall },
    Step { name: "live without it", run: removal::pods_without_the_injector },
];

/// Runs all steps and stops at the first that fails; then everything is taken away again.
pub(crate) fn run(args: &Args) -> Result<()> {
    let world = World::new(args)?;
    println!("cluster: {}", world.claim()?);
    let result = run_steps(&world);
    if result.is_err() {
        world.show_state();
    }
    if result.is_err() && args.keep {
        println!("left in the cluster, as --keep says: {}", World::NAMESPACES.join(", "));
    } else {
        world.clean_up();
    }
    result
}

fn run_steps(world: &World<'_>) -> Result<()> {
    let mut rows = Vec::new();
    for Step { name, run } in STEPS {
        println!("\n== {name}");
        let started = Instant::now();
        let result = run(world);
        let took = format!("{:.1} s", started.elapsed().as_secs_f64());
        let said = result.as_ref().map_or("FAILED", String::as_str).to_owned();
        println!("== {name}: {said} ({took})");
        rows.push([(*name).to_owned(), took, said]);
        if let Err(error) = result {
            println!("\n{}", table::render(["step", "time", "result"], &rows));
            return Err(error.context(format!("e2e: step {name} failed")));
        }
    }
    println!("\n{}", table::render(["step", "time", "result"], &rows));
    Ok(())
}
