//! Commands that people can copy.

use std::path::Path;

/// A path as one word of a shell.
pub(crate) fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-+=:,@%".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quote(Path::new("/a/b-c.d")), "/a/b-c.d");
        assert_eq!(quote(Path::new("/a b")), "'/a b'");
        assert_eq!(quote(Path::new("/it's")), r"'/it'\''s'");
    }
}
