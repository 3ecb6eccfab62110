//! Signals taken one by one instead of by handlers, so that a process can hand them on.
#![expect(unsafe_code, reason = "signal sets and sigtimedwait have no safe form")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use libc::{c_int, siginfo_t, sigset_t};
use rustix::process::Pid;

/// What stays as it is: faults of this process itself, and being stopped for using the terminal in the background.
const UNTOUCHED: [c_int; 9] = [
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// What asks a process to end.
const ENDING: [c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// All signals held back, until they are asked for.
#[derive(Debug)]
pub struct Signals {
    held: sigset_t,
    before: sigset_t,
}

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    number: c_int,
    code: c_int,
    sender: i32,
}

impl Signals {
    /// Holds all signals back, save those about faults. A process that it then starts holds them back, too, until it
    /// calls [`release`] or [`Signals::restore`].
    ///
    /// # Errors
    /// What sigprocmask(2) says.
    pub fn hold() -> io::Result<Self> {
        let mut held = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: sigfillset writes the whole set, which sigdelset and sigprocmask then use; sigprocmask writes the
        // whole old set where it succeeds. A SIGCHLD ignored by whoever started us would take our children's ends from
        // us; no handler is replaced, since this process has none for it.
        unsafe {
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            libc::sigfillset(held.as_mut_ptr());
            for signal in UNTOUCHED {
                libc::sigdelset(held.as_mut_ptr(), signal);
            }
            check(libc::sigprocmask(libc::SIG_BLOCK, held.as_ptr(), before.as_mut_ptr()))?;
            Ok(Self { held: held.assume_init(), before: before.assume_init() })
        }
    }

    /// Waits for the next signal; for none longer than `timeout`.
    ///
    /// # Errors
    /// What sigtimedwait(2) says.
    pub fn next(&self, timeout: Option<Duration>) -> io::Result<Option<Received>> {
        let timeout = timeout.map(|duration| libc::timespec {
            tv_sec: duration.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: duration.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mut information = MaybeUninit::<siginfo_t>::zeroed();
        // SAFETY: the set and the time are valid for reading, and the information for writing; zeroed it is a valid
        // value. The sender is read from it where the signal has one, and is zero or nonsense else.
        unsafe {
            let number = libc::sigtimedwait(&raw const self.held, information.as_mut_ptr(), timeout);
            if number == -1 {
                let error = io::Error::last_os_error();
                return match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EINTR) => Ok(None),
                    _ => Err(error),
                };
            }
            let information = information.assume_init();
            Ok(Some(Received { number, code: information.si_code, sender: information.si_pid() }))
        }
    }

    /// Makes signals arrive as they did before they were held.
    ///
    /// # Errors
    /// What sigprocmask(2) says.
    pub fn restore(&self) -> io::Result<()> {
        // SAFETY: the set is valid for reading, and no old one is asked for.
        check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) })
    }
}

/// Lets all signals arrive, whatever this process's parent held back.
///
/// # Errors
/// What sigprocmask(2) says.
pub fn release() -> io::Result<()> {
    let mut none = MaybeUninit::uninit();
    // SAFETY: sigemptyset writes the whole set before it is used.
    check(unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut())
    })
}

/// Whether a signal is held back that asks to end, for work that takes long. One that is ignored does not.
pub fn is_asked_to_end() -> bool {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: sigpending writes the whole set where it succeeds; only then it is read.
    let pending = unsafe {
        if libc::sigpending(pending.as_mut_ptr()) == -1 {
            return false;
        }
        pending.assume_init()
    };
    ENDING.into_iter().any(|signal| {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the set is valid for reading; sigaction changes nothing, and writes the whole action where it succeeds. Zeroed,
        // it is a valid value.
        unsafe {
            libc::sigismember(&raw const pending, signal) == 1
                && libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
                && action.assume_init().sa_sigaction != libc::SIG_IGN
        }
    })
}

/// Has a write beyond the limit on a file's size fail with EFBIG, instead of ending this process.
pub fn ignore_file_size_limit() {
    // SAFETY: no handler is installed, and none of ours is replaced.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

impl Received {
    /// Whether it says that a child ended or stopped.
    pub fn is_about_children(self) -> bool {
        self.number == libc::SIGCHLD
    }

    /// Whether it asks to end.
    pub fn asks_to_end(self) -> bool {
        ENDING.contains(&self.number)
    }

    /// Whether it asks to stop for a while, as Ctrl-Z does.
    pub fn asks_to_stop(self) -> bool {
        self.number == libc::SIGTSTP
    }

    /// Whether `process` has it as well, or has sent it: the terminal sends what is typed, and its new size, to all
    /// processes in its foreground.
    pub fn is_known_to(self, process: Pid) -> bool {
        let from_terminal =
            matches!(self.number, libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGWINCH);
        if self.code == libc::SI_KERNEL {
            from_terminal
        } else {
            self.sender == process.as_raw_nonzero().get()
        }
    }

    /// Sends the same signal to a process. One that is gone needs none.
    pub fn forward_to(self, process: Pid) {
        // SAFETY: kill takes any numbers; this one is a signal that came, and a process id above 0.
        unsafe { libc::kill(process.as_raw_nonzero().get(), self.number) };
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
