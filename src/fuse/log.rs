//! The server's log: a file that never grows without bound, since nobody reads it until something is wrong.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::time::SystemTime;

use ::log::{LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// When the log is longer than this many bytes, it starts anew.
const LIMIT: u64 = 256 * 1024;

/// How fuser begins to say that the kernel did not take an answer.
const UNSENT: &str = "Failed to send FUSE reply: ";

struct BoundedLog {
    file: Mutex<Option<File>>,
}

static LOG: BoundedLog = BoundedLog { file: Mutex::new(None) };

/// Sends what this process logs to a file.
///
/// # Errors
/// This process logs already.
pub(super) fn start(file: File) -> Result<()> {
    *LOG.file.lock() = Some(file);
    ::log::set_logger(&LOG).map_err(|error| Error::new("the log cannot be used").because(error))?;
    ::log::set_max_level(LevelFilter::Info);
    Ok(())
}

/// Closes that file. What is logged from then on is lost.
pub(super) fn stop() {
    *LOG.file.lock() = None;
}

impl Log for BoundedLog {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= ::log::max_level()
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) || is_of_nobody_waiting(record) {
            return;
        }
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = format!("{:.3} {} {}\n", since_epoch.as_secs_f64(), record.level(), record.args());
        if let Some(file) = self.file.lock().as_mut() {
            // A log that cannot be written must not disturb the mount.
            let _ = append(file, line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Whether it tells of an answer that nobody waits for any more: whoever asked was interrupted or killed meanwhile, and
/// the kernel then takes the answer with ENOENT. fuser calls that an error.
fn is_of_nobody_waiting(record: &Record) -> bool {
    let text = record.args().to_string();
    text.strip_prefix(UNSENT)
        .is_some_and(|why| why == std::io::Error::from_raw_os_error(libc::ENOENT).to_string())
}

fn append(file: &mut File, line: &[u8]) -> std::io::Result<()> {
    if file.stream_position()? > LIMIT {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(b"(what came before was dropped)\n")?;
    }
    file.write_all(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_somebody_who_was_killed_is_no_error() {
        let is_left_out = |errno| {
            let error = std::io::Error::from_raw_os_error(errno);
            is_of_nobody_waiting(&Record::builder().args(format_args!("{UNSENT}{error}")).build())
        };
        assert!(is_left_out(libc::ENOENT));
        assert!(!is_left_out(libc::EIO));
    }
}
