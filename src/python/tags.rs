//! Compatibility tags: which wheels an interpreter can use, and which it likes best.

use super::WheelName;

/// The tags that an interpreter supports, best first.
///
/// Source: <https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/> (PEP 425, 600, 656).
#[derive(Clone, Debug)]
pub struct Tags {}
impl Tags {
    /// How well `wheel` fits: 0 is best, `None` is not at all.
    pub fn rank(&self, _wheel: &WheelName) -> Option<usize> {
        todo!()
    }
}
