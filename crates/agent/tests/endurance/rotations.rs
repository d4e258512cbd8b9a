//! Thousands of rotations; with `ROTATIONS=10000` the documented number.

use std::{env, fs};

use scaivault_devserver::{Category, Route};

use crate::{
    application::{self, Application},
    readers::{Readers, content, generation, generation_number, generations, mapping, secret},
    support::{Pod, Sidecar, until},
};

/// The number of rotations at the rate at which the agent receives events.
const ROTATIONS: &str = "ROTATIONS";
const DEFAULT_ROTATIONS: u32 = 1_000;
/// The number of rotations that wait until the application has read the previous one.
const ONE_BY_ONE: u32 = 5;

#[tokio::test]
async fn rotations_are_atomic_and_each_is_signalled_once() {
    let pod = Pod::new().await;
    for category in [Category::Read, Category::Poll, Category::Subscription] {
        pod.vault.set_rate_limit(category, u32::MAX);
    }
    let mut newest = [0, 0];
    let rotate = |number: u32, newest: &mut [u32; 2]| {
        let index = usize::from(number.is_multiple_of(2));
        pod.vault.rotate(&secret(index), content(number));
        newest[index] = number;
    };
    for number in 1..=2 {
        rotate(number, &mut newest);
    }
    let (name, root) = (application::name("rotated"), pod.path("secrets"));
    let application = Application::start_reader(&name, &root.join("alpha")).await;
    let files = mapping();
    let watch = pod.mapping(&files.each_ref().map(|(source, file)| (*source, file.as_str())));
    let sidecar = Sidecar::start(
        &pod,
        &[
            ("WATCH_PATHS", watch.as_str()),
            ("REFRESH_INTERVAL", "1s"),
            ("REFRESH_ON_EVENT", "true"),
            ("RELOAD_SIGNAL", "SIGHUP"),
            ("RELOAD_TARGET", &name),
        ],
    );
    pod.requested(Route::Poll, 1).await;
    let readers = Readers::start(&root);

    let rotations = rotations();
    for number in 3..3 + rotations {
        let polls = pod.vault.requests(Route::Poll);
        rotate(number, &mut newest);
        // The agent has received the event and polls again, so each rotation is a separate event.
        pod.requested(Route::Poll, polls + 1).await;
    }
    until(|| generation(&root) == Some(newest)).await;
    for number in (3 + rotations..).filter(|number| !number.is_multiple_of(2)).take(ONE_BY_ONE as usize) {
        rotate(number, &mut newest);
        let number = format!("{number:010}");
        // The signal is sent after the file is written, and the last signal always arrives.
        until(|| application.reports.read().starts_with(&number)).await;
    }
    assert_eq!(generation(&root), Some(newest));

    let (by_path, by_generation) = readers.end();
    let last = fs::read_link(root.join("..data")).unwrap();
    let changes = usize::try_from(generation_number(last.to_str().unwrap())).unwrap();
    println!(
        "{rotations} rotations and {ONE_BY_ONE} one by one: {changes} generations; by path {} rounds, {} versions, {} times gone; by generation {} rounds, {} versions, {} times gone; {} signals heard",
        by_path.rounds,
        by_path.numbers.len(),
        by_path.gone,
        by_generation.rounds,
        by_generation.numbers.len(),
        by_generation.gone,
        application.reports.heard(),
    );
    // The first generation existed before the application had to be notified. On a busy machine,
    // changes that arrive while a signal is being sent share the next one.
    let signalled = sidecar.said("application signalled");
    assert!(
        (ONE_BY_ONE as usize..changes).contains(&signalled),
        "{signalled} signals for {changes} generations"
    );
    assert_eq!(sidecar.said("application not notified"), 0);
    assert!(application.reports.heard() > ONE_BY_ONE);
    for seen in [by_path, by_generation] {
        assert!(
            seen.numbers.len() > ONE_BY_ONE as usize,
            "a reader that sees no change shows nothing: {seen:?}"
        );
    }
    assert!(generations(&root).len() <= 2, "{:?}", generations(&root));
    sidecar.end().await.check(0, &["stopped"]);
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
fn rotations() -> u32 {
    env::var(ROTATIONS).map_or(DEFAULT_ROTATIONS, |number| number.parse().unwrap())
}
