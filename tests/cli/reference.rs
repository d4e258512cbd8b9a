//! Help, completions and the annotations' reference.

use super::program::run;

#[test]
fn help_shows_examples_and_exit_codes() {
    let help = run(["--help"]).exits(0).stdout;
    for expected in ["Examples:", "Exit codes:", "inject", "detach", "check", "annotations", "demo", "serve"]
    {
        assert!(help.contains(expected), "{expected} is not in\n{help}");
    }
    for command in ["inject", "detach", "check"] {
        let help = run([command, "--help"]).exits(0).stdout;
        let examples = help.split_once("Examples:").unwrap().1;
        assert!(examples.lines().all(|line| line.len() <= 90), "a line that may be wrapped:\n{examples}");
        assert!(
            help.contains("Examples:") && help.contains(&format!("scaivault-injector {command}")),
            "{help}"
        );
    }
    assert!(
        run(["inject", "--help"]).stdout.contains("the document is rewritten"),
        "where comments are lost is said"
    );
}

#[test]
fn the_version_is_printed() {
    let version = run(["--version"]).exits(0).stdout;
    assert_eq!(version.trim(), concat!("scaivault-injector ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_shell_gets_a_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(["completions", shell]).exits(0).stdout;
        assert!(script.contains("namespace-file"), "{shell}");
    }
}

#[test]
fn the_reference_has_four_formats() {
    for (format, expected) in [
        ("table", "inject-secret-"),
        ("md", "# "),
        ("json", "inject-secret-"),
        ("schema", "\"scaivault.scailabs.ai/refresh-interval\""),
    ] {
        let text = run(["annotations", "--format", format]).exits(0).stdout;
        assert!(
            text.contains(expected) && text.ends_with('\n') && !text.ends_with("\n\n"),
            "{format}:\n{text}"
        );
        if matches!(format, "json" | "schema") {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}
