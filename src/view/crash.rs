//! Where a test lets the power go: before each step that changes the disk. Outside of tests this is nothing.

use rustix::io::Errno;

/// Counts the steps down; from the last one on, each fails, as if the process had been killed there.
#[derive(Clone, Debug, Default)]
pub(super) struct Crash {
    #[cfg(test)]
    steps: Option<std::sync::Arc<std::sync::atomic::AtomicI64>>,
}

impl Crash {
    #[cfg(test)]
    pub(super) fn after(steps: std::sync::Arc<std::sync::atomic::AtomicI64>) -> Self {
        Self { steps: Some(steps) }
    }

    /// A step that changes the disk is about to be taken.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "only tests crash")
    )]
    pub(super) fn point(&self) -> Result<(), Errno> {
        #[cfg(test)]
        if let Some(steps) = &self.steps
            && steps.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) <= 0
        {
            return Err(Errno::IO);
        }
        Ok(())
    }
}
