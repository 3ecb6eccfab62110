//! Signals, where they end this process at once.

/// Whether a signal is held back that asks to end: none is.
pub fn is_asked_to_end() -> bool {
    false
}
