//! Writes the Rust of the driver's contract: `cargo run` in this directory after a change of `proto/service.proto`.
//!
//! This package is outside of the workspace, because it would bring second versions of crates into its lock file.

use std::{error::Error, fs, path::Path};

const ALLOW: &str = r#"#![allow(
    clippy::pedantic,
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "written by crates/csi-provider/generate"
)]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let proto = root.join("proto/service.proto");
    let set = protox::compile([&proto], [root.join("proto")])?;
    let scratch = root.join("generate/target/generated");
    fs::create_dir_all(&scratch)?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .out_dir(&scratch)
        .compile_fds(set)?;
    let code = fs::read_to_string(scratch.join("v1alpha1.rs"))?;
    fs::write(root.join("src/generated.rs"), format!("{ALLOW}{code}"))?;
    // A test compares the two, and fails after a change of the contract until this program is run again.
    fs::copy(&proto, root.join("src/generated.proto"))?;
    Ok(())
}
