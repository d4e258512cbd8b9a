//! The command line from a user's view: the built program, its streams and its exit code. Injection
//! is tested in `cli_inject.rs`, except for policies.

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
    mod restarts;
}
