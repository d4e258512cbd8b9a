//! Counts how often the texts of a pod are examined, so that tests and the fuzz target `cost`
//! detect work that grows faster than the review. Unlike a time, a count does not depend on the
//! machine.
//!
//! Only in tests and with the feature `count-work`.

use std::cell::Cell;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// The number of bytes that count as one more step: long texts with a common prefix cost more to
/// compare.
const BYTES_A_STEP: usize = 16;

/// Counts one comparison of a text with this many bytes.
pub(crate) fn look(bytes: usize) {
    STEPS.set(STEPS.get() + 1 + (bytes / BYTES_A_STEP) as u64);
}

/// The steps of this thread since the last call.
pub fn take() -> u64 {
    STEPS.take()
}

/// Maximum number of steps per byte, in addition to [`STEPS_ALWAYS`].
const STEPS_A_BYTE: u64 = 2;
/// Maximum number of steps for a review of any size. Most of them are for suggestions: the
/// distances of 8 names to 64 others.
const STEPS_ALWAYS: u64 = 400_000;

/// The maximum number of steps for a review with this many bytes.
pub const fn most(bytes: u64) -> u64 {
    STEPS_ALWAYS + STEPS_A_BYTE * bytes
}

#[cfg(test)]
mod tests {
    use scaivault_testkit::hostile::{Hostile, Kind, SHAPES};

    use super::{STEPS_ALWAYS, most, take};
    use crate::{
        Allow, Context, Expression, KubeVersion, Namespace, Operator, PodView, Policy, PolicyParts,
        PolicySet, Settings, decide,
        manifest::find_templates,
        workload::{Former, FormerObject, WorkloadKind, WorkloadView, adjust, validate, validate_object},
    };

    const API_VERSION: &str = "example.com/v1";

    fn steps(hostile: &Hostile, settings: &Settings) -> (u64, u64) {
        steps_under(hostile, settings, PolicySet::empty())
    }

    fn steps_under(hostile: &Hostile, settings: &Settings, policies: &PolicySet) -> (u64, u64) {
        let Hostile { kind, object, old_object } = hostile;
        let namespace = Namespace { name: "shop".to_owned(), ..Namespace::default() };
        let context =
            Context::new(settings, &namespace, KubeVersion::FILE_KEY_REF).with_policies(policies, 0);
        let bytes = object.len() + old_object.as_ref().map_or(0, String::len);
        take();
        match kind {
            Kind::Pod => drop(PodView::parse(object).map(|pod| decide(&pod, &context))),
            Kind::Deployment => {
                let parse = |json| WorkloadView::parse(WorkloadKind::Deployment, json).ok();
                let former = old_object.as_deref().and_then(parse);
                let former = former.as_ref().map_or(Former::Unknown, Former::Workload);
                if let Some(workload) = parse(object) {
                    drop(adjust(&workload, former));
                    drop(validate(&workload, former, &context));
                }
            }
            Kind::Custom => {
                let former = old_object.as_deref().map_or(FormerObject::Nothing, FormerObject::Object);
                let templates = find_templates(API_VERSION, object);
                drop(validate_object(API_VERSION, object, &templates, former, &context));
            }
        }
        (take(), bytes as u64)
    }

    #[test]
    fn work_grows_no_faster_than_the_review() {
        let settings = Settings::default();
        for (name, shape) in SHAPES {
            for size in [4, 32, 256].map(|kib| kib * 1024) {
                let hostile = shape(size);
                let (steps, bytes) = steps(&hostile, &settings);
                // Before the last template is checked, almost as many suggestions were made as in
                // the template itself.
                let hints = if hostile.kind == Kind::Custom { STEPS_ALWAYS } else { 0 };
                let most = hints + most(bytes);
                assert!(steps <= most, "{name}: {bytes} bytes take {steps} steps, and {most} are allowed");
            }
        }
    }

    /// Compares the growth itself, which the constant allowance could hide.
    #[test]
    fn a_review_of_twice_the_size_takes_twice_the_work() {
        let settings = Settings::default();
        for (name, shape) in SHAPES {
            for size in [8, 32, 128].map(|kib| kib * 1024) {
                let ((before, small), (after, large)) =
                    (steps(&shape(size), &settings), steps(&shape(2 * size), &settings));
                let most = (before + 10_000) * large * 5 / (small * 4);
                assert!(
                    after <= most,
                    "{name}: {small} bytes take {before} steps, and {large} bytes {after}; {most} are allowed"
                );
            }
        }
    }

    /// Policies with the most expensive globs and selectors.
    fn policies() -> PolicySet {
        let policy = |n: usize| {
            let globs = (0..16).map(|k| format!("**/**/**/*a*a*a*b{k}/**/*a*a*c"));
            let values = (0..256).map(|value| format!("v{value:03}")).collect();
            let mut parts = PolicyParts { name: format!("p{n}"), ..PolicyParts::default() };
            parts.allow = Allow { paths: Some(globs.chain(["**".to_owned()]).collect()), ..Allow::default() };
            let expression = Expression { key: format!("label-{n}"), operator: Operator::NotIn, values };
            parts.pods.match_expressions.push(expression);
            Policy::compile(parts).unwrap_or_else(|problems| panic!("{problems}"))
        };
        PolicySet::new((0..64).map(policy).collect())
    }

    #[test]
    fn policies_multiply_no_work_of_a_review() {
        let (settings, policies) = (Settings::default(), policies());
        for (name, shape) in SHAPES {
            for size in [8, 128].map(|kib| kib * 1024) {
                let (one, two) = (shape(size), shape(2 * size));
                let (before, small) = steps_under(&one, &settings, &policies);
                let (after, large) = steps_under(&two, &settings, &policies);
                let most = (before + 10_000) * large * 5 / (small * 4);
                assert!(
                    after <= most,
                    "{name}: {small} bytes take {before} steps, and {large} bytes {after}; {most} are allowed"
                );
            }
        }
    }
}
