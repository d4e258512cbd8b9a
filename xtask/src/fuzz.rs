//! Runs the fuzz targets with cargo-fuzz.

use std::path::Path;

use anyhow::{Context, Result, bail};
use xshell::cmd;

use crate::workspace;

/// The longest body that the injector reads: `Limits::default().body_bytes`.
const BODY_BYTES: usize = 7 * 1024 * 1024;

/// The arguments of libFuzzer.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each target runs
    #[arg(long, default_value_t = 180)]
    seconds: u32,
    /// One target; all if it is not given
    target: Option<String>,
}

/// Runs the targets one after the other and stops at the first crash. libFuzzer prints the number
/// of inputs.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { seconds, target } = args;
    let shell = workspace::shell()?;
    // The `cargo` that started this program is the pinned one, which does not support `+nightly`.
    shell.set_var("RUSTUP_TOOLCHAIN", "nightly");
    let is_installed = cmd!(shell, "cargo fuzz --version").quiet().ignore_stdout().ignore_stderr().run();
    is_installed.context(
        "cargo-fuzz on the nightly toolchain is needed; to install: \
         rustup toolchain install nightly && cargo install --locked cargo-fuzz",
    )?;
    let files = shell.read_dir("fuzz/fuzz_targets")?;
    let all: Vec<_> =
        files.iter().filter_map(|file| file.file_stem()).map(|name| name.to_string_lossy()).collect();
    let chosen: Vec<&str> = all
        .iter()
        .map(AsRef::as_ref)
        .filter(|name| target.as_deref().is_none_or(|target| target == *name))
        .collect();
    if chosen.is_empty() {
        bail!("there is no such fuzz target; there are: {}", all.join(", "));
    }
    for target in chosen {
        // libFuzzer writes new inputs to the first directory and only reads the others.
        let (found, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
        shell.create_dir(&found)?;
        // libFuzzer's default limit is the longest seed, but expensive inputs are long.
        let limits = [format!("-max_len={BODY_BYTES}"), format!("-max_total_time={seconds}")];
        let dictionary = format!("fuzz/dictionaries/{target}.dict");
        let dictionary = shell.path_exists(Path::new(&dictionary)).then(|| format!("-dict={dictionary}"));
        cmd!(
            shell,
            "cargo fuzz run {target} {found} {seeds} -- {limits...} -print_final_stats=1 {dictionary...}"
        )
        .env_remove("CARGO")
        .run()
        .with_context(|| {
            format!("fuzz target {target} failed; the input is below fuzz/artifacts/{target}")
        })?;
    }
    Ok(())
}
