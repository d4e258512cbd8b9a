//! The command line as a user has it: the built program, its streams and its exit code. What is injected is
//! in `cli_inject.rs`, but for what policies do.

mod cli {
    pub(crate) mod program;

    mod csi;
    mod errors;
    mod examples;
    mod inputs;
    mod migrate;
    mod migration_page;
    mod misplaced;
    mod not_text;
    mod pass_through;
    mod policies;
    mod reference;
    mod reports;
}
