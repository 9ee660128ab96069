//! The log: to standard error, for people, for machines or for systemd's journal.
//!
//! Prevents that a warning looks to the journal like any other line. Never writes a file: what keeps logs is there.

use std::fmt;
use std::os::fd::AsFd;

use tracing::{Event, Level as TracingLevel, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;

use crate::config::{Config, Level, LogFormat};

pub(super) type SetLevel = Box<dyn Fn(Level) + Send + Sync>;

/// Begins to log; what is returned changes how much.
pub(super) fn start(config: &Config) -> SetLevel {
    let (limit, handle) = reload::Layer::<_, Registry>::new(filter(config.log.level));
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
    let layer = match config.log.format {
        LogFormat::Json => layer.json().boxed(),
        LogFormat::Text if is_journal() => {
            let line = tracing_subscriber::fmt::format().with_target(false).with_ansi(false);
            layer.event_format(Journal(line.with_level(false).without_time())).boxed()
        }
        LogFormat::Text => layer.boxed(),
    };
    // A second daemon in one process (tests) keeps the first one's log.
    let _ = tracing_subscriber::registry().with(limit).with(layer).try_init();
    Box::new(move |level| drop(handle.reload(filter(level))))
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

/// Whether standard error goes to the journal: it says which file that is (`systemd.exec(5)`, `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    nix::sys::stat::fstat(std::io::stderr().as_fd())
        .is_ok_and(|meta| told == format!("{}:{}", meta.st_dev, meta.st_ino))
}

/// Lines with their priority in front (`sd-daemon(3)`); the journal has a clock of its own.
struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

fn priority(level: TracingLevel) -> &'static str {
    match level {
        TracingLevel::ERROR => "<3>",
        TracingLevel::WARN => "<4>",
        TracingLevel::INFO => "<6>",
        _ => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_journal_is_told_how_much_each_line_matters() {
        let page = Page::default();
        let writer = page.clone();
        let line = tracing_subscriber::fmt::format().with_target(false).with_ansi(false);
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(Journal(line.with_level(false).without_time()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::error!(why = "full", "the disk");
            tracing::warn!("nearly full");
            tracing::info!("started");
            tracing::debug!("a detail");
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "<3>the disk why=\"full\"\n<4>nearly full\n<6>started\n<7>a detail\n");
    }
}
