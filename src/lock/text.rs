//! A lock file as text, or a clear word on what it is instead.

use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};

/// Reads a lock file as UTF-8, without its byte order mark.
///
/// # Errors
/// A file that is missing, a directory, not text, not UTF-8.
pub(super) fn read(path: &Path) -> Result<String> {
    let bytes = fs_err::read(path).map_err(|error| match error.kind() {
        ErrorKind::IsADirectory => {
            Error::new(format!("`{}` is a directory, not a lock file", path.display()))
        }
        _ => Error::from(error),
    })?;
    decoded(path, bytes)
}

fn decoded(path: &Path, mut bytes: Vec<u8>) -> Result<String> {
    let shown = path.display();
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Error::new(format!("`{shown}` is UTF-16, not UTF-8"))
            .with_help(format!("convert it: `iconv -f UTF-16 -t UTF-8 {shown}`")));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(Error::new(format!("`{shown}` is a wheel or another zip archive, not a lock"))
            .with_help("name wheels inside a requirements file: `./dist/x-1.0-py3-none-any.whl`"));
    }
    if bytes.contains(&0) {
        return Err(Error::new(format!("`{shown}` is binary, not a lock file")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        Error::new(format!("{shown}:{line}: not UTF-8"))
    })
}

/// A line as an error may show it: short, without the credentials of URLs.
pub(super) fn quoted(line: &str) -> String {
    let words: Vec<String> = line
        .split_whitespace()
        .take_while(|word| !word.starts_with("--hash"))
        .map(without_credentials)
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None if line.is_empty() => "--hash".to_owned(),
        None => line,
    }
}

const MAX_QUOTED: usize = 160;

fn without_credentials(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{quoted, read};

    #[test]
    fn a_quoted_line_has_no_hashes_and_no_credentials() {
        assert_eq!(
            quoted("a @ https://me:secret@x.example/a  --hash=sha256:0"),
            "a @ https://***@x.example/a"
        );
        assert_eq!(quoted("git+https://t@x.example/a@b"), "git+https://***@x.example/a@b");
        assert_eq!(quoted("a @ https://x.example/a@b"), "a @ https://x.example/a@b");
        assert_eq!(quoted(&"\u{e9}".repeat(1000)).chars().count(), 163);
    }

    fn read_as(name: &str, contents: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs_err::write(&path, contents).unwrap();
        read(&path).map_err(|error| format!("{error}; {}", error.help().unwrap_or_default()))
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        assert_eq!(read_as("r.txt", b"\xef\xbb\xbfa==1").unwrap(), "a==1");
    }

    #[test]
    fn what_cannot_be_read_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.txt");
        assert!(read(&missing).unwrap_err().to_string().contains("missing.txt"));
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("is a directory, not a lock file"), "{error}");
    }

    #[test]
    fn what_is_no_text_says_what_it_is() {
        for (contents, expected) in [
            (&b"PK\x03\x04rest"[..], "is a wheel or another zip archive, not a lock"),
            (b"a\0b", "is binary, not a lock file"),
            (b"a==1\nb\xff==2", "r.txt:2: not UTF-8"),
            (b"\xff\xfea\0", "is UTF-16, not UTF-8"),
        ] {
            let error = read_as("r.txt", contents).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
