//! The command line as a user has it: the built program, its streams and its exit code.

mod cli {
    mod errors;
    mod inputs;
    mod manifests;
    mod program;
    mod reference;
    mod reports;
}
