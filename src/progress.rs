//! A line on the terminal while work takes long.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What is done sooner needs no line.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often the line is written anew.
const INTERVAL: Duration = Duration::from_millis(100);

/// Whether to show a line, and since when.
#[derive(Debug)]
pub struct Progress {
    is_shown: bool,
    started: Instant,
}

impl Progress {
    /// On standard error, where that is a terminal, unless nothing shall be said.
    pub fn unless(quiet: bool) -> Self {
        Self { is_shown: !quiet && std::io::stderr().is_terminal(), started: Instant::now() }
    }

    /// Counts this many of something.
    pub fn counting(&self, what: &'static str, total: usize) -> Counter<'_> {
        Counter { progress: self, what, total, done: AtomicUsize::new(0), written: Mutex::new(None) }
    }
}

/// So many are done. The line goes with it.
#[derive(Debug)]
pub struct Counter<'a> {
    progress: &'a Progress,
    what: &'static str,
    total: usize,
    done: AtomicUsize,
    written: Mutex<Option<Instant>>,
}

impl Counter<'_> {
    /// One more is done.
    pub fn one_more(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.progress.is_shown || self.progress.started.elapsed() < PATIENCE {
            return;
        }
        // Another thread that writes it just now writes nearly the same.
        let Some(mut written) = self.written.try_lock() else { return };
        if written.is_none_or(|last| last.elapsed() >= INTERVAL) {
            let _ = write!(std::io::stderr(), "\r{done} of {} {}\x1b[K", self.total, self.what);
            *written = Some(Instant::now());
        }
    }
}

impl Drop for Counter<'_> {
    fn drop(&mut self) {
        if self.written.get_mut().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
