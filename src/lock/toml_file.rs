//! TOML files, with errors of one line that say where.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};

/// Reads the text of the file at `path`.
///
/// # Errors
/// Text that is not TOML, or not what is expected.
pub(super) fn parse<'text, T: Deserialize<'text>>(path: &Path, text: &'text str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| Lines::of(text).number(span.start)).unwrap_or(1);
        let message = error.message().trim().replace('\n', ", ");
        Error::new(format!("{}:{line}: {message}", path.display()))
    })
}

/// Where the lines of a text start.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(memchr::memchr_iter(b'\n', text.as_bytes()).collect())
    }

    /// The number of the line that holds this byte, from 1.
    pub(super) fn number(&self, position: usize) -> usize {
        1 + self.0.partition_point(|&newline| newline < position)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::parse;

    #[test]
    fn an_error_is_one_line_that_says_where() {
        for (text, expected) in
            [("a = 1\nb = [1,\n", "x.toml:2: "), ("a = 1\nb = \"x\"\n", "x.toml:2: invalid type")]
        {
            let error = parse::<BTreeMap<String, u32>>(Path::new("x.toml"), text).unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains('\n'), "{error}");
        }
    }
}
