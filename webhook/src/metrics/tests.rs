use super::*;
use crate::reason::IgnoreReason;

#[test]
fn the_exposition_is_the_table() {
    let text = Metrics::default().encode().unwrap();
    let described: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP "))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(described.len(), METRICS.len());
    for Metric { name, help, kind, labels } in METRICS {
        let stem = if *kind == MetricKind::Counter { name.trim_end_matches("_total") } else { name };
        assert!(text.contains(&format!("# HELP {stem} {help}.\n")), "{name}");
        assert!(text.contains(&format!("# TYPE {stem} {}\n", format!("{kind:?}").to_lowercase())), "{name}");
        let samples = [format!("{name}{{"), format!("{name} "), format!("{name}_bucket{{")];
        let sample =
            text.lines().find(|line| samples.iter().any(|start| line.starts_with(start))).expect(name);
        for label in *labels {
            assert!(sample.contains(&format!("{label}=\"")), "{sample}");
        }
    }
}

#[test]
fn every_reason_is_counted_apart_for_dry_runs() {
    let metrics = Metrics::default();
    for (entry, reason) in Reason::all() {
        metrics.admission(entry, reason, true, Duration::from_micros(60), 3);
    }
    let delete = Reason::Ignored(IgnoreReason::Delete);
    metrics.admission(Endpoint::Mode, delete, false, Duration::from_micros(10), 0);
    let text = metrics.encode().unwrap();
    for (entry, reason) in Reason::all() {
        let (entry, outcome, name) = (entry.name(), reason.outcome(), reason.name());
        let line = format!(
            "admissions_total{{entry=\"{entry}\",outcome=\"{outcome}\",reason=\"{name}\",dry_run=\"true\"}} 1\n"
        );
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert!(text.contains(r#"entry="mode",outcome="ignored",reason="delete",dry_run="false"} 1"#));
    assert!(text.contains(&format!("patch_bytes_total {}\n", 3 * Reason::all().count())));
    assert!(text.contains(&format!("duration_seconds_count {}\n", Reason::all().count() + 1)));
}
