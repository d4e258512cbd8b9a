//! The end-to-end test on a real cluster, `cargo xtask e2e`: the chart from installation to
//! removal, partly while pods are created, and pods with secrets from a development server on this
//! machine. It is not part of `cargo xtask ci`, because it needs images and a test cluster.
//!
//! A step is a function of [`World`] in its own file; [`STEPS`] defines the order. Objects created
//! by a step are in the namespaces of [`world`], which are deleted at the end.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the test reports to the person who started it; no program reads its output"
)]

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{
    Parser,
    builder::{NonEmptyStringValueParser, PossibleValuesParser},
};

use image::ImageName;
use world::World;

mod agent_loss;
mod app;
mod calls;
mod csi;
mod failure;
mod image;
mod injection;
mod jobs;
mod kubectl;
mod lease;
mod load;
mod migration;
mod mounts;
mod patterns;
mod platforms;
mod pod_start;
mod policy;
mod process;
mod published_page;
mod release;
mod removal;
mod replacement;
mod restart;
mod rotation;
mod running;
mod table;
mod vault;
mod world;

/// Test images and charts on the cluster of KUBECONFIG, with injected pods that really run
#[derive(Parser)]
#[command(bin_name = "cargo xtask e2e")]
struct Args {
    /// The injector's image, as the pods name it
    #[arg(long, value_name = "REPOSITORY:TAG", default_value = concat!("scailabs/scaivault-injector:", env!("CARGO_PKG_VERSION")))]
    image: ImageName,
    /// The agent's image
    #[arg(long, value_name = "REPOSITORY:TAG", default_value = concat!("scailabs/scaivault-init:", env!("CARGO_PKG_VERSION")))]
    init_image: ImageName,
    /// The sidecar's image of manifests written by hand
    #[arg(long, value_name = "REPOSITORY:TAG", default_value = concat!("scailabs/scaivault-sidecar:", env!("CARGO_PKG_VERSION")))]
    sidecar_image: ImageName,
    /// The applications' image: it needs a shell, cat, grep, pidof, readlink and sleep
    #[arg(long, value_name = "REPOSITORY:TAG", default_value = "busybox:1.37")]
    app_image: ImageName,
    /// What is tested; several are separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "injector")]
    part: Vec<Part>,
    /// A shell command that makes one of the product's images; `{}` is its name, `{target}` is injector, init,
    /// sidecar or csi-provider, as the Dockerfile has it
    #[arg(long, value_name = "COMMAND", value_parser = NonEmptyStringValueParser::new())]
    build_image: Option<String>,
    /// A shell command that loads one of them into the nodes; `{}` and `{target}` as before
    #[arg(long, value_name = "COMMAND", value_parser = NonEmptyStringValueParser::new())]
    load_image: Option<String>,
    /// A value of the chart, as for `helm --set`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    vault: vault::VaultArgs,
    #[command(flatten)]
    csi: csi::CsiArgs,
    /// Measure in so many rounds what the injection adds to a pod's start; the node has to be this machine
    #[arg(long, value_name = "ROUNDS")]
    bench: Option<u32>,
    /// Leave out a step, by its name; may be repeated
    #[arg(long, value_name = "STEP", value_parser = step_names())]
    skip: Vec<String>,
    /// Leave everything in the cluster when a step fails
    #[arg(long)]
    keep: bool,
}

/// A part of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The injector and the agent
    Injector,
    /// The CSI provider, with the Secrets Store CSI driver
    Csi,
    /// The restart controller
    Restart,
    /// All of them
    All,
}

impl Args {
    /// Whether one of these parts is tested.
    fn tests_any(&self, parts: &[Part]) -> bool {
        self.part.iter().any(|part| *part == Part::All || parts.contains(part))
    }
}

struct Step {
    name: &'static str,
    /// It runs if one of them is tested.
    parts: &'static [Part],
    /// The returned text is shown in the table.
    run: fn(&World<'_>) -> Result<String>,
}

const EVERY: &[Part] = &[Part::Injector, Part::Csi, Part::Restart];
const INJECTOR: &[Part] = &[Part::Injector];
const CSI: &[Part] = &[Part::Csi];
const RESTART: &[Part] = &[Part::Restart];
/// The parts that need the injector.
const INJECTED: &[Part] = &[Part::Injector, Part::Restart];

const STEPS: &[Step] = &[
    Step { name: "image", parts: EVERY, run: image::provide },
    Step { name: "ScaiVault", parts: EVERY, run: app::prepare },
    Step { name: "install", parts: INJECTED, run: release::install },
    Step { name: "helm test", parts: INJECTOR, run: release::test },
    Step { name: "inject", parts: INJECTOR, run: injection::deployment },
    Step { name: "opt out", parts: INJECTOR, run: injection::opted_out },
    Step { name: "refuse", parts: INJECTOR, run: injection::mistake },
    Step { name: "webhook calls", parts: INJECTOR, run: calls::for_a_pod },
    Step { name: "start", parts: INJECTOR, run: patterns::start },
    Step { name: "variables", parts: INJECTOR, run: patterns::variables },
    Step { name: "mounts below", parts: INJECTOR, run: mounts::below_the_path },
    Step { name: "assigned users", parts: INJECTOR, run: platforms::assigned_users },
    Step { name: "quota", parts: INJECTOR, run: platforms::quota },
    Step { name: "policy", parts: INJECTOR, run: policy::gives_and_limits },
    Step { name: "migrate", parts: INJECTOR, run: migration::from_a_native_secret },
    Step { name: "rotate", parts: INJECTOR, run: rotation::arrives },
    Step { name: "published page", parts: INJECTOR, run: published_page::by_hand },
    Step { name: "jobs", parts: INJECTOR, run: jobs::complete },
    Step { name: "denied", parts: INJECTOR, run: failure::denied },
    Step { name: "missing", parts: INJECTOR, run: failure::missing },
    Step { name: "kill the agent", parts: INJECTOR, run: agent_loss::agent_killed },
    Step { name: "end a lease", parts: INJECTOR, run: lease::ends_with_its_pod },
    Step { name: "csi-install", parts: CSI, run: csi::install },
    Step { name: "csi-page", parts: CSI, run: csi::page::published },
    Step { name: "csi-rotate", parts: CSI, run: csi::page::rotated },
    Step { name: "csi-socket", parts: CSI, run: csi::socket::of_other_pods },
    Step { name: "csi-refused", parts: CSI, run: csi::failures::refused },
    Step { name: "csi-API-errors", parts: CSI, run: csi::failures::of_the_api },
    Step { name: "csi-leases", parts: CSI, run: csi::dynamic::one_per_pod },
    Step { name: "csi-restart", parts: CSI, run: csi::dynamic::restarts },
    Step { name: "csi-lease-ends", parts: CSI, run: csi::dynamic::revoked },
    Step { name: "csi-killed", parts: CSI, run: csi::outage::provider_killed },
    Step { name: "csi-driver-killed", parts: CSI, run: csi::outage::driver_killed },
    Step { name: "csi-no-provider", parts: CSI, run: csi::outage::no_provider },
    Step { name: "csi-load", parts: CSI, run: csi::load::measure },
    Step { name: "restart-dry-run", parts: RESTART, run: restart::install::dry_run },
    Step { name: "restart-install", parts: RESTART, run: restart::install::first_sight },
    Step { name: "restart-kinds", parts: RESTART, run: restart::kinds::replaced_once },
    Step { name: "restart-native", parts: RESTART, run: restart::native::selected },
    Step { name: "restart-manual", parts: RESTART, run: restart::manual::released },
    Step { name: "restart-broken", parts: RESTART, run: restart::broken::stops },
    Step { name: "restart-applier", parts: RESTART, run: restart::applier::leaves_it },
    Step { name: "restart-leader", parts: RESTART, run: restart::leader::changes },
    Step { name: "restart-csi", parts: RESTART, run: restart::csi::files },
    Step { name: "restart-count", parts: RESTART, run: restart::count::once_for_each_version },
    Step { name: "pod start", parts: INJECTOR, run: pod_start::measure },
    Step { name: "ScaiVault is away", parts: INJECTOR, run: agent_loss::vault_gone },
    Step { name: "lose a pod under load", parts: INJECTOR, run: replacement::lose_a_pod },
    Step { name: "upgrade under load", parts: INJECTOR, run: replacement::upgrade },
    Step { name: "uninstall", parts: INJECTED, run: removal::uninstall },
    Step { name: "live without it", parts: INJECTOR, run: removal::pods_without_the_injector },
];

fn step_names() -> PossibleValuesParser {
    PossibleValuesParser::new(STEPS.iter().map(|step| step.name))
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all steps up to the first failure, then removes everything from the cluster.
fn run(args: &Args) -> Result<()> {
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
    let args = world.args;
    let is_asked_for =
        |step: &&Step| args.tests_any(step.parts) && !args.skip.iter().any(|name| name == step.name);
    for Step { name, parts: _, run } in STEPS.iter().filter(is_asked_for) {
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// clap only checks them at program start.
    #[test]
    fn the_options_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn steps_run_if_one_of_their_parts_is_tested() {
        let names = |parts: &str| {
            let args = Args::parse_from(["e2e", "--part", parts]);
            let steps = STEPS.iter().filter(|step| args.tests_any(step.parts));
            steps.map(|step| step.name).collect::<Vec<_>>()
        };
        assert_eq!(names("all").len(), STEPS.len());
        let both = names("csi,restart");
        assert!(["install", "csi-page", "restart-csi"].iter().all(|name| both.contains(name)), "{both:?}");
        assert!(!both.contains(&"inject"), "{both:?}");
        assert!(!names("csi").contains(&"install"));
    }
}
