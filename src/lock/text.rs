//! A lock file as text, or a clear word on what it is instead.

use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};

/// Reads a requirements file as UTF-8, without its byte order mark.
///
/// # Errors
/// A file that is missing, a directory, not text, not UTF-8, or another kind of lock.
pub(super) fn read(path: &Path) -> Result<String> {
    let bytes = fs_err::read(path).map_err(|error| match error.kind() {
        ErrorKind::IsADirectory => {
            Error::new(format!("`{}` is a directory, not a requirements file", path.display()))
        }
        _ => Error::from(error),
    })?;
    let text = decoded(path, bytes)?;
    match other_format(path, &text) {
        Some(error) => Err(error),
        None => Ok(text),
    }
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
        return Err(Error::new(format!("`{shown}` is binary, not a requirements file")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        Error::new(format!("{shown}:{line}: not UTF-8"))
    })
}

/// Other locks by their names, and what makes a requirements file of them.
const OTHER_LOCKS: [(&str, &str); 5] = [
    ("uv.lock", "uv export --format requirements-txt -o requirements.txt"),
    ("poetry.lock", "poetry export -o requirements.txt"),
    ("pdm.lock", "pdm export -o requirements.txt"),
    ("Pipfile.lock", "pipenv requirements --hash > requirements.txt"),
    ("pyproject.toml", "uv pip compile pyproject.toml -o requirements.txt"),
];

fn other_format(path: &Path, text: &str) -> Option<Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some((name, command)) = OTHER_LOCKS.iter().find(|(known, _)| *known == name) {
        let error = Error::new(format!("`{}`: {name} is not supported yet by this version", path.display()));
        return Some(error.with_help(format!("make a requirements file: `{command}`")));
    }
    if name.starts_with("pylock.") && name.ends_with(".toml") {
        let error =
            Error::new(format!("`{}`: pylock.toml is not supported yet by this version", path.display()));
        return Some(error.with_help("make a requirements file, as with `uv export` or `uv pip compile`"));
    }
    let format = format_of(text)?;
    let error = Error::new(format!("`{}` is {format}, not a requirements file", path.display()));
    Some(error.with_help(
        "make a requirements file, as with `uv export --format requirements-txt -o requirements.txt`",
    ))
}

/// JSON and TOML show in the first line that is no comment: no requirement starts with a bracket, or has a lone `=`
/// after its first word.
fn format_of(text: &str) -> Option<&'static str> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let is_key = |key: &str| {
        let key = key.trim();
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.\"".contains(&byte))
    };
    let assigns = first
        .split_once('=')
        .is_some_and(|(key, value)| is_key(key) && !value.starts_with('=') && !first.starts_with('-'));
    if first.starts_with('{') {
        Some("JSON")
    } else if first.starts_with('[') || assigns {
        Some("TOML")
    } else {
        None
    }
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
        assert!(error.ends_with("is a directory, not a requirements file"), "{error}");
    }

    #[test]
    fn what_is_no_text_says_what_it_is() {
        for (contents, expected) in [
            (&b"PK\x03\x04rest"[..], "is a wheel or another zip archive, not a lock"),
            (b"a\0b", "is binary, not a requirements file"),
            (b"a==1\nb\xff==2", "r.txt:2: not UTF-8"),
            (b"\xff\xfea\0", "is UTF-16, not UTF-8"),
        ] {
            let error = read_as("r.txt", contents).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn other_locks_are_known_by_name_then_by_content() {
        for (name, contents, expected) in [
            ("uv.lock", "version = 1", "uv export --format requirements-txt -o requirements.txt"),
            ("pylock.dev.toml", "", "pylock.toml is not supported yet"),
            ("a.txt", "# c\nversion = 1\n", "is TOML"),
            ("a.txt", "[[package]]\n", "is TOML"),
            ("a.txt", "{\"a\": 1}", "is JSON"),
        ] {
            let error = read_as(name, contents.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for requirements in ["a==1", "a[b] == 1", "--index-url=x", "a===1", "a>=1", "./a=b.whl", ""] {
            assert!(read_as("a.txt", requirements.as_bytes()).is_ok(), "{requirements}");
        }
    }
}
