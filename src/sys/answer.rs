//! Questions that may never be answered: who looks into a mount whose server hangs waits for it, perhaps beyond SIGKILL.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::fork::{Fork, close_all_but, fork, silence};
use crate::error::{Error, Result};

/// How long a server may take for an answer. A cache on a slow drive may take seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a process may take to end when it is killed.
const DYING: Duration = Duration::from_millis(100);

/// What keeps a mount from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its server answers.
    Answers,
    /// It has no server any more.
    Dead,
    /// Its server lives, and does not answer.
    Hangs,
}

/// How what is mounted there is. This process must have one thread.
///
/// # Errors
/// No process can be started to ask.
pub fn life_of(point: &Path) -> Result<Life> {
    Ok(match ask(|| Ok(is_dead(point).to_string()))?.as_deref() {
        None => Life::Hangs,
        Some("true") => Life::Dead,
        Some(_) => Life::Answers,
    })
}

/// Whether what is mounted there has no server any more, or loses it while it is asked. Hangs where the server does.
pub fn is_dead(point: &Path) -> bool {
    rustix::fs::statfs(point).is_err_and(|errno| matches!(errno, Errno::NOTCONN | Errno::CONNABORTED))
}

/// What `question` finds out, in a process of its own; nothing if it takes too long. This process must have one thread.
///
/// # Errors
/// The question's own; no process can be started, or it ended without an answer.
pub fn ask(question: impl FnOnce() -> Result<String>) -> Result<Option<String>> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    match fork()? {
        Fork::Child => {
            drop(ours);
            // Left behind, it must keep no pipe or lock of the caller's.
            let ready = silence().and_then(|()| close_all_but(&[theirs.as_fd()]));
            let answer =
                || question().map_or_else(|error| format!("-{}", error.told()), |text| format!("+{text}"));
            let told = ready.and_then(|()| theirs.write_all(answer().as_bytes()));
            std::process::exit(told.is_err().into());
        }
        Fork::Parent(child) => {
            drop(theirs);
            ours.set_read_timeout(Some(PATIENCE))?;
            let mut answer = String::new();
            let heard = ours.read_to_string(&mut answer);
            end(child, heard.is_ok());
            match heard {
                Ok(_) => match answer.split_at_checked(1) {
                    Some(("+", text)) => Ok(Some(text.to_owned())),
                    Some((_, error)) => Err(Error::heard(error)),
                    None => Err(Error::new("the process that was to look has ended")),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// One that waits for an answer which a server has begun ends only when that comes: it is left to process 1.
fn end(child: Pid, ends_by_itself: bool) {
    if !ends_by_itself {
        let _ = kill_process(child, Signal::KILL);
    }
    let asked = Instant::now();
    while matches!(waitpid(Some(child), WaitOptions::NOHANG), Ok(None)) && asked.elapsed() < DYING {
        std::thread::sleep(Duration::from_micros(100));
    }
}
