//! entry_points.txt: the commands that a distribution offers.

use crate::error::Result;

/// A command that a distribution offers: `name = module:function`.
///
/// Source: <https://packaging.python.org/en/latest/specifications/entry-points/>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// The file name of the command in `bin/`: never empty, without `/` or NUL, not `.` or `..`.
    pub name: String,
    /// The module to import: a dotted name.
    pub module: String,
    /// The function to call: a dotted name.
    pub function: String,
    /// True for `gui_scripts`.
    pub gui: bool,
}
/// Reads the `console_scripts` and `gui_scripts` of an entry_points.txt; other groups are passed over.
///
/// # Errors
/// A name that would leave `bin/`, a reference that is no `module:function`; the message quotes the line.
pub fn parse(_text: &str) -> Result<Vec<EntryPoint>> {
    todo!()
}
