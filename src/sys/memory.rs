//! Giving memory back to the system.
#![expect(unsafe_code, reason = "malloc_trim has no safe form")]

/// Gives back what was freed. An allocator keeps it for later, and each thread's apart; a server that was forked has it from all
/// that its caller did before.
///
/// Source: malloc_trim(3), which glibc alone has.
pub fn give_back_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
