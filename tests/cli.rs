//! The command line as a user has it: the built program, its streams and its exit code. Nothing here injects; that is
//! in `cli_inject.rs`.

mod cli {
    pub(crate) mod program;

    mod errors;
    mod examples;
    mod inputs;
    mod migration_page;
    mod not_text;
    mod pass_through;
    mod reference;
    mod reports;
}
