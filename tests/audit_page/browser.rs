//! A real browser in headless mode.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// The names of browser programs in order of preference.
const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// An installed browser.
pub(crate) struct Browser {
    program: PathBuf,
}

impl Browser {
    /// The browser of this machine. If there is none, a message is printed; with `CI=true` the test
    /// fails.
    #[expect(clippy::disallowed_methods, reason = "a test looks at the machine that it runs on")]
    pub(crate) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let programs =
            NAMES.iter().flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
        let found = programs.into_iter().find(|program| program.is_file());
        if found.is_none() {
            assert_ne!(
                std::env::var_os("CI").as_deref(),
                Some(OsStr::new("true")),
                "the page of `audit` needs Chromium: apt-get install chromium"
            );
            eprintln!("left out: no Chromium on the PATH; on Debian: apt-get install chromium");
        }
        found.map(|program| Self { program })
    }

    /// The document of a local page as HTML after its scripts have run. `home` is the browser's
    /// home directory.
    pub(crate) fn document(&self, page: &Path, home: &Path) -> String {
        let output = Command::new(&self.program)
            .args([
                "--headless",
                "--disable-gpu",
                // Tests may run as root, for which the browser's sandbox does not work.
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-extensions",
                "--disable-background-networking",
                "--disable-component-update",
                // The harness reads the frames from the same directory.
                "--allow-file-access-from-files",
                "--window-size=1600,1200",
                // Virtual time, which ends as soon as the page is idle.
                "--virtual-time-budget=20000",
                "--dump-dom",
            ])
            .arg(format!("--user-data-dir={}", home.join("profile").display()))
            .arg(format!("file://{}", page.display()))
            .env("HOME", home)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {}\n{said}", self.program.display(), output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The result that the harness wrote into its document.
pub(crate) fn result(document: &str) -> Value {
    let (_, rest) =
        document.split_once("<pre id=\"result\">").expect("the harness has a place for its result");
    let (text, _) = rest.split_once("</pre>").unwrap();
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
