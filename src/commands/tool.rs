//! Running a tool of somebody else's to its end, before anything is changed.

use std::process::Command;
use std::time::Duration;

#[cfg(target_os = "linux")]
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

#[cfg(target_os = "linux")]
use crate::error::Error;
use crate::error::{Context, Result};

/// Runs a tool, and gives its exit code, as a shell tells it. What it says goes to standard error. Signals go to the tool, and do not end this process,
/// which has to clean up when the tool has ended.
#[cfg(target_os = "linux")]
pub(super) fn run_tool(mut command: Command) -> Result<u8> {
    use std::os::unix::process::CommandExt;

    use super::run::stay_with;
    use crate::sys::fork::{Fork, fork};
    use crate::sys::signals::{Signals, release};

    let shown = command.get_program().display().to_string();
    command.stdout(std::io::stderr());
    let signals = Signals::hold()?;
    let caller = getpid();
    let code = match fork().context(|| format!("{shown} cannot be started"))? {
        Fork::Child => {
            let error = match end_with(caller).and_then(|()| release()) {
                Ok(()) => command.exec(),
                Err(error) => error,
            };
            eprintln!("error: {shown} cannot be run: {error}");
            std::process::exit(126);
        }
        Fork::Parent(child) => stay_with(child, &signals),
    };
    signals.restore()?;
    code
}

/// Has the kernel end this process when `caller` ends, even if that is killed.
#[cfg(target_os = "linux")]
fn end_with(caller: Pid) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid() == Some(caller) { Ok(()) } else { Err(std::io::Error::other("sitefs has ended")) }
}

/// The same, where a child is all that can be waited for.
#[cfg(not(target_os = "linux"))]
pub(super) fn run_tool(mut command: Command) -> Result<u8> {
    let shown = command.get_program().display().to_string();
    let status = command.stdout(std::io::stderr()).status();
    let code = status.context(|| format!("{shown} cannot be started"))?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// Waits a moment, unless a signal asks this process to end.
#[cfg(target_os = "linux")]
pub(super) fn pause(moment: Duration) -> Result<()> {
    let signals = crate::sys::signals::Signals::hold()?;
    let signal = signals.next(Some(moment))?;
    signals.restore()?;
    match signal {
        Some(signal) if signal.asks_to_end() => Err(Error::new("interrupted by a signal")),
        _ => Ok(()),
    }
}

/// Waits a moment.
#[cfg(not(target_os = "linux"))]
pub(super) fn pause(moment: Duration) -> Result<()> {
    std::thread::sleep(moment);
    Ok(())
}
