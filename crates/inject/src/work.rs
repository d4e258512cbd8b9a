//! Counts how often the texts of a pod are looked at, so that tests and the fuzz target `cost` see work that grows faster than
//! the review. A count does not depend on the machine, as a time does.
//!
//! In tests and with the feature `count-work` only.

use std::cell::Cell;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// Bytes that count as one more look: long texts that are equal at their beginning cost more to compare.
const BYTES_A_STEP: usize = 16;

/// One look at a text of so many bytes.
pub(crate) fn look(bytes: usize) {
    STEPS.set(STEPS.get() + 1 + (bytes / BYTES_A_STEP) as u64);
}

/// The looks of this thread since the last call.
pub fn take() -> u64 {
    STEPS.take()
}

/// The most steps for each byte, and for a review of any size. Hints take the most of what does not grow: the
/// distances of 8 names to 64 others.
const STEPS_A_BYTE: u64 = 2;
/// See [`STEPS_A_BYTE`].
const STEPS_ALWAYS: u64 = 400_000;

/// The most steps that a review of so many bytes may take.
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
                // Before the last template that is checked there are almost as many hints as it makes itself.
                let hints = if hostile.kind == Kind::Custom { STEPS_ALWAYS } else { 0 };
                let most = hints + most(bytes);
                assert!(steps <= most, "{name}: {bytes} bytes take {steps} steps, and {most} are allowed");
            }
        }
    }

    /// The growth itself, where the allowance for every review could hide it.
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

    /// Policies with the globs and selectors that cost most.
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
