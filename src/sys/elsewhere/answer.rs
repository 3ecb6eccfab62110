//! Questions about an environment, where no mount can keep them from being answered.

use crate::error::Result;

/// What `question` finds out.
///
/// # Errors
/// The question's own.
pub fn ask(question: impl FnOnce() -> Result<String>) -> Result<Option<String>> {
    question().map(Some)
}
