//! Giving way to all others.
#![expect(unsafe_code, reason = "ioprio_set and sched_setscheduler have no safe form")]

use rustix::process::setpriority_process;

/// The lowest priority for the processor (`nice 19`).
const LOWEST: i32 = 19;

/// Source: ioprio_set(2) and the kernel's `linux/ioprio.h`.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const IOPRIO_CLASS_IDLE: libc::c_int = 3;
const IOPRIO_CLASS_SHIFT: libc::c_int = 13;

/// Has this process, and all that it starts from now on, use only what nobody else wants of processors and disks. What the
/// system does not grant is left out.
pub fn give_way() {
    let _ = setpriority_process(None, LOWEST);
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: both are about the calling process and take numbers only, save for the parameters, which are valid for
    // reading. `sched_param` has no other field on Linux with glibc.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT);
    }
}
