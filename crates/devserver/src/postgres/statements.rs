//! The SQL for a server. Pure.

use crate::seed::{Placeholders, Role, Statement};

const CREATION: &str = r#"CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"#;

const RENEWAL: &str = r#"ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}'"#;

/// One transaction each: after the first one no login is possible, so that the second one ends all
/// sessions. A user that is not a superuser has to be a member of the role for the following
/// statements.
const REVOCATION: [&str; 3] = [
    r#"ALTER ROLE "{{name}}" NOLOGIN; GRANT "{{name}}" TO CURRENT_USER"#,
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{{name}}'",
    r#"REASSIGN OWNED BY "{{name}}" TO CURRENT_USER; DROP OWNED BY "{{name}}"; DROP ROLE "{{name}}""#,
];

/// One batch, which PostgreSQL executes as a whole or not at all.
pub(super) fn creation(role: &Role, filling: Placeholders<'_>) -> String {
    batch(&role.creation_statements, CREATION, filling)
}

/// One batch.
pub(super) fn renewal(role: &Role, filling: Placeholders<'_>) -> String {
    batch(&role.renew_statements, RENEWAL, filling)
}

/// The batches in order.
pub(super) fn revocation(role: &Role, filling: Placeholders<'_>) -> Vec<String> {
    match &role.revocation_statements[..] {
        [] => REVOCATION.iter().map(|text| default(text).fill(filling)).collect(),
        statements => vec![joined(statements, filling)],
    }
}

fn batch(statements: &[Statement], default_text: &str, filling: Placeholders<'_>) -> String {
    if statements.is_empty() { default(default_text).fill(filling) } else { joined(statements, filling) }
}

/// Each on its own lines, because a statement may end with a comment.
fn joined(statements: &[Statement], filling: Placeholders<'_>) -> String {
    let filled: Vec<_> = statements.iter().map(|statement| statement.fill(filling)).collect();
    filled.join("\n;\n")
}

fn default(text: &str) -> Statement {
    text.parse().expect("the defaults only have known placeholders")
}
