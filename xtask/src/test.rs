//! The test command of the README.

use anyhow::Result;

use crate::process;

/// Runs every test of every package, doc tests included. `extra` goes to `cargo test` as it is; packages chosen
/// there (`-p`) take the place of the whole workspace.
pub(crate) fn run(extra: &[String]) -> Result<()> {
    let scope = if chooses_packages(extra) { None } else { Some("--workspace") };
    let args = ["test", "--locked"].into_iter().chain(scope);
    process::run(&mut process::cargo(args.chain(extra.iter().map(String::as_str))))
}

/// Whether the words before `--` (which are cargo's, not the test binaries') name packages.
fn chooses_packages(extra: &[String]) -> bool {
    extra
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word.starts_with("--package") || (word.starts_with("-p") && !word.starts_with("--")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_chosen_before_the_dashes_only() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for chosen in ["-p scaivault-inject", "-pscaivault-inject detach", "--package=xtask"] {
            assert!(chooses_packages(&words(chosen)), "{chosen}");
        }
        for all in ["detach", "--doc", "-- -p", "--profile release"] {
            assert!(!chooses_packages(&words(all)), "{all}");
        }
    }
}
