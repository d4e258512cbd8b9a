//! `init` with two secrets, from the start of the process to its exit, and the contribution of each
//! part: variants that each omit one part are measured alternately.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    Result,
    figures::Sample,
    world::{Limits, Pod, World},
};

const RUNS: usize = 200;
const SECRETS: usize = 2;

/// The part that a variant omits.
#[derive(Clone, Copy)]
enum Variant {
    Whole,
    FilesThere,
    LoginKept,
    PlainHttp,
    PlainHttpLoginKept,
    Nothing,
}

const VARIANTS: [(Variant, &str); 6] = [
    (Variant::Whole, "`init`, two secrets, HTTPS"),
    (Variant::FilesThere, "the same, the files exist already"),
    (Variant::LoginKept, "the same, the login is kept from before"),
    (Variant::PlainHttp, "the same without TLS"),
    (Variant::PlainHttpLoginKept, "the same without TLS, the login is kept from before"),
    (Variant::Nothing, "a process that ends at its arguments"),
];

pub(crate) fn measure(agent: &Path) -> Result<()> {
    let https = World::new(agent, Limits::Off, true)?;
    let http = World::new(agent, Limits::Off, false)?;
    let mut samples: Vec<Sample> = VARIANTS.iter().map(|_| Sample::default()).collect();
    let pods = VARIANTS.map(|(variant, _)| world(variant, &https, &http).pod());
    for run in 0..=RUNS {
        for ((variant, _), (pod, sample)) in VARIANTS.iter().zip(pods.iter().zip(&mut samples)) {
            let took =
                one(*variant, world(*variant, &https, &http), pod.as_ref().map_err(ToString::to_string)?)?;
            // The first run fills caches, and creates the login and files for the variants that
            // need them.
            if run > 0 {
                sample.push(took);
            }
        }
    }
    println!("\n| start to end, ms, {RUNS} runs | median | min | p99 | max |\n|---|---:|---:|---:|---:|");
    for ((_, name), sample) in VARIANTS.iter().zip(&samples) {
        println!("| {name} | {} |", sample.milliseconds(&[0.5, 0.0, 0.99, 1.0]));
    }
    Ok(())
}

fn world<'w>(variant: Variant, https: &'w World, http: &'w World) -> &'w World {
    match variant {
        Variant::PlainHttp | Variant::PlainHttpLoginKept => http,
        _ => https,
    }
}

fn one(variant: Variant, world: &World, pod: &Pod) -> Result<Duration> {
    let state = pod.path("state");
    let state = state.to_str().ok_or("a temporary path is not UTF-8")?;
    let (subcommand, variables, code): (_, &[_], _) = match variant {
        Variant::LoginKept | Variant::PlainHttpLoginKept => ("init", &[("SCAIVAULT_STATE_DIR", state)], 0),
        Variant::Nothing => ("nothing", &[], 5),
        _ => ("init", &[], 0),
    };
    if !matches!(variant, Variant::FilesThere) {
        pod.empty()?;
    }
    let took = time(&mut world.agent(pod, subcommand, SECRETS, variables)?, code);
    took.map_err(|error| format!("{error}: {}", fs::read_to_string(pod.log()).unwrap_or_default()).into())
}

fn time(command: &mut Command, code: i32) -> Result<Duration> {
    let started = Instant::now();
    let status = command.status()?;
    let took = started.elapsed();
    if status.code() == Some(code) { Ok(took) } else { Err(format!("{status}").into()) }
}
