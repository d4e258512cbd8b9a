//! The report of an audit: which workloads use which secrets today, and what the injector would do
//! with them.
//!
//! Pure: the caller collects [`Workload`]s from manifests or a cluster; [`Audit::new`] sorts them,
//! and [`table`], [`markdown()`], [`json()`] and [`html()`] write the report. Names and annotations
//! are untrusted input in all four formats. The report contains names, keys and paths, and never
//! the value of a Secret.

mod describe;
mod html;
mod markdown;
mod model;
mod printable;
mod stage;
mod summary;
mod table;

pub use html::html;
pub use markdown::markdown;
pub use model::{
    Audit, AuditError, LongLivedToken, NativeUse, Outcome, Place, PodDrift, PodState, Pods, PolicyRow,
    Source, Tokens, Verdict, Workload, Writer,
};
pub use printable::Printable;
pub use stage::Stage;
pub use summary::{NamespaceSummary, Summary};
pub use table::{TableOptions, table};

/// The report as one indented JSON object with a final line break. Scripts depend on the field
/// names: do not rename them.
pub fn json(audit: &Audit) -> serde_json::Result<String> {
    #[derive(serde::Serialize)]
    struct Report<'a> {
        #[serde(flatten)]
        audit: &'a Audit,
        namespaces: Vec<NamespaceSummary>,
        summary: Summary,
    }
    let report = Report { audit, namespaces: audit.namespaces(), summary: audit.summary() };
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
