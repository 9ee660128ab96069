//! The examples for Prometheus and Grafana show what the daemon exports, and all of it.
//!
//! Prevents a panel that stays empty for ever because a metric has another name.

use std::collections::BTreeSet;

use crate::kit::Setup;
use crate::kit::http::ask;

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    words.filter(|word| word.starts_with("imcd_")).collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_what_is_exported() {
    let (setup, door) = Setup::new().http();
    let _daemon = setup.start();
    let page = ask(door, "GET", "/metrics", &[], b"").text();
    let names =
        page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next());
    let exported: BTreeSet<&str> = names.collect();
    let dashboard = include_str!("../../examples/grafana.json");
    let alerts = include_str!("../../examples/imcd-alerts.yml");
    for (file, text) in [("grafana.json", dashboard), ("imcd-alerts.yml", alerts)] {
        let unknown: Vec<_> = named(text).difference(&exported).copied().collect();
        assert!(!named(text).is_empty() && unknown.is_empty(), "{file}: not exported: {unknown:?}");
    }
    // Of a histogram the dashboard shows the buckets.
    let shown = |metric: &&str| !metric.ends_with("_sum") && !metric.ends_with("_count");
    let missing: Vec<_> = exported.difference(&named(dashboard)).copied().filter(shown).collect();
    assert!(missing.is_empty(), "grafana.json shows nothing of {missing:?}");
    serde_json::from_str::<serde_json::Value>(dashboard).expect("JSON");
    let prometheus = include_str!("../../examples/prometheus.yml");
    assert!(prometheus.contains("127.0.0.1:8080") && prometheus.contains("imcd-alerts.yml"));
}
