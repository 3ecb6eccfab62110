//! RECORD: the files of an installed distribution.

use crate::error::Result;

/// One line of a RECORD.
///
/// Source: <https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-record-file>
/// (PEP 376, 627).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordEntry {
    /// Path with `/`, relative to site-packages (`../../../bin/tool`) or absolute.
    pub path: String,
    /// `sha256=` and the digest in urlsafe base64 without padding; empty for RECORD itself.
    pub hash: Option<String>,
    /// Size in bytes.
    pub size: Option<u64>,
}
impl RecordEntry {
    /// An entry for a file with these contents.
    pub fn of(_path: impl Into<String>, _contents: &[u8]) -> Self {
        todo!()
    }
}
/// Reads a RECORD. Lines with one, two or three fields are accepted, in any order.
///
/// # Errors
/// Text that is not CSV, a size that is not a number; the message names the line.
pub fn parse(_text: &str) -> Result<Vec<RecordEntry>> {
    todo!()
}
/// Writes a RECORD: sorted, each line ended by `\n`, quoted only where needed, as uv writes it.
pub fn format(_entries: &[RecordEntry]) -> String {
    todo!()
}
