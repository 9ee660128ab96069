//! What Prometheus reads: the counters of `server stats`, and how long things took, as text.
//!
//! The text is written here and not by a library with a registry: all numbers exist already, each with one owner, and
//! are read when somebody asks; a registry would be their second home. Prevents a name that changes by accident: they
//! are in one table. Never asks the disk: a scrape costs the same however much is stored.

use std::fmt::Write;

use crate::edge::control::deeds::{Stat, Vitals};
use crate::types::Spread;

/// Media type of the text (Prometheus exposition format 0.0.4).
pub(super) const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A counter's name ends in `_total`, all others are gauges: statistic, metric, meaning.
const METRICS: &[(&str, &str, &str)] = &[
    ("active_rooms", "imcd_rooms", "Rooms that exist."),
    (
        "members",
        "imcd_members",
        "Members that the rooms list, the invited too; who is in two rooms counts twice.",
    ),
    ("contacts", "imcd_contacts", "Contacts that are registered."),
    ("connections", "imcd_connections", "Open SIP stream connections."),
    ("outboxes", "imcd_outboxes", "Devices and routes that something can be sent to now."),
    ("open_transactions", "imcd_open_transactions", "MESSAGE transactions that wait for an answer."),
    ("sent", "imcd_messages_sent_total", "MESSAGE requests sent, without retransmissions."),
    ("retransmitted", "imcd_messages_retransmitted_total", "MESSAGE requests sent again."),
    ("delivered", "imcd_delivered_total", "Messages that a device took, or the server behind a route."),
    (
        "stored_elsewhere",
        "imcd_stored_elsewhere_total",
        "Of those, what the server behind a route stored (202).",
    ),
    ("gave_up", "imcd_gave_up_total", "Messages that a device does not get."),
    ("timed_out", "imcd_timed_out_total", "MESSAGE transactions that ended in silence."),
    ("stray_responses", "imcd_stray_responses_total", "SIP responses that matched no transaction."),
    ("asides_lost", "imcd_asides_lost_total", "Answers to commands that had no room in an outbox."),
    (
        "notices_dropped",
        "imcd_notices_dropped_total",
        "Typing notices and receipts that a phone was not told.",
    ),
    ("subscriptions", "imcd_subscriptions", "Subscriptions that last."),
    ("publications", "imcd_publications", "Publications that last."),
    ("published", "imcd_published_total", "PUBLISH requests accepted."),
    ("notified", "imcd_notified_total", "NOTIFY requests sent, without retransmissions."),
    ("notify_retransmitted", "imcd_notify_retransmitted_total", "NOTIFY requests sent again."),
    ("notify_timed_out", "imcd_notify_timed_out_total", "NOTIFY transactions that ended in silence."),
    ("subscriptions_lost", "imcd_subscriptions_lost_total", "Subscriptions whose watcher vanished."),
];

/// The whole page.
pub(super) fn page(stats: &[Stat], vitals: &Vitals) -> String {
    let mut text = String::with_capacity(8 * 1024);
    one(
        &mut text,
        "imcd_build_info",
        "The version of the daemon.",
        concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"),
        1,
    );
    one(&mut text, "imcd_uptime_seconds", "Seconds since the start.", "", vitals.uptime_s);
    one(&mut text, "imcd_ready", "1 while the store takes writes.", "", u64::from(vitals.ready));
    one(&mut text, "imcd_store_queue", "Writes on their way to the store.", "", vitals.queued);
    for (name, metric, help) in METRICS {
        if let Some(stat) = stats.iter().find(|stat| stat.name == *name) {
            one(&mut text, metric, help, "", stat.value);
        }
    }
    let commits = "How long a group of writes took to be durable.";
    spread(&mut text, "imcd_commit_seconds", commits, &vitals.commits);
    let deliveries = "From accepting a message to a device taking it, waiting for the device included.";
    spread(&mut text, "imcd_delivery_seconds", deliveries, &vitals.deliveries);
    text
}

// Writing to a String does not fail: what `write!` gives back is nothing to look at.

fn one(text: &mut String, metric: &str, help: &str, labels: &str, value: u64) {
    let kind = if metric.ends_with("_total") { "counter" } else { "gauge" };
    let _ = write!(text, "# HELP {metric} {help}\n# TYPE {metric} {kind}\n{metric}{labels} {value}\n");
}

fn spread(text: &mut String, metric: &str, help: &str, spread: &Spread) {
    let _ = write!(text, "# HELP {metric} {help}\n# TYPE {metric} histogram\n");
    for (until_ms, count) in spread.cumulated() {
        let _ = writeln!(text, "{metric}_bucket{{le=\"{}\"}} {count}", seconds(until_ms * 1000));
    }
    let count = spread.count();
    let _ = writeln!(text, "{metric}_bucket{{le=\"+Inf\"}} {count}");
    let _ = write!(text, "{metric}_sum {}\n{metric}_count {count}\n", seconds(spread.sum_us()));
}

/// Without the noise of binary fractions.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_page_has_help_type_and_value_of_each() {
        let mut commits = Spread::default();
        for us in [900, 1000, 1001, 70_000_000] {
            commits.add(Duration::from_micros(us));
        }
        let vitals = Vitals { ready: true, uptime_s: 7, queued: 3, commits, deliveries: Spread::default() };
        let stats = [Stat { name: "active_rooms", value: 2 }, Stat { name: "delivered", value: 9 }];
        let page = page(&stats, &vitals);
        for lines in [
            "# HELP imcd_rooms Rooms that exist.\n# TYPE imcd_rooms gauge\nimcd_rooms 2\n",
            "# TYPE imcd_delivered_total counter\nimcd_delivered_total 9\n",
            "imcd_build_info{version=\"",
            "imcd_uptime_seconds 7\n",
            "imcd_ready 1\n",
            "# TYPE imcd_commit_seconds histogram\nimcd_commit_seconds_bucket{le=\"0.001\"} 2\n\
             imcd_commit_seconds_bucket{le=\"0.002\"} 3\n",
            "imcd_commit_seconds_bucket{le=\"60\"} 3\nimcd_commit_seconds_bucket{le=\"+Inf\"} 4\n\
             imcd_commit_seconds_sum 70.002901\nimcd_commit_seconds_count 4\n",
            "imcd_delivery_seconds_sum 0\nimcd_delivery_seconds_count 0\n",
        ] {
            assert!(page.contains(lines), "{lines}\nis not in\n{page}");
        }
        assert!(page.ends_with('\n') && !page.contains("imcd_contacts"));
    }
}
