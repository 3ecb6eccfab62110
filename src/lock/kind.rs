//! Which kind of lock a file is: known by name, then by content.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};

/// A kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// requirements.txt.
    Requirements,
    /// uv.lock.
    Uv,
    /// pylock.toml (PEP 751).
    Pylock,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Requirements => "requirements.txt",
            Self::Uv => "uv.lock",
            Self::Pylock => "pylock.toml",
        })
    }
}

/// What some other lock or project file is called, and what makes a requirements file of it.
const OTHERS: [(&str, &str); 4] = [
    ("poetry.lock", "poetry export -o requirements.txt"),
    ("pdm.lock", "pdm export -o requirements.txt"),
    ("Pipfile.lock", "pipenv requirements --hash > requirements.txt"),
    ("pyproject.toml", "uv pip compile pyproject.toml -o requirements.txt"),
];

impl Kind {
    /// The kind of the lock at `path`, which holds `text`.
    ///
    /// # Errors
    /// A lock of another kind, or no lock.
    pub(super) fn of(path: &Path, text: &str) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some((name, command)) = OTHERS.iter().find(|(known, _)| *known == name) {
            return Err(Error::new(format!("`{}`: {name} is not supported", path.display()))
                .with_help(format!("make a requirements file: `{command}`")));
        }
        let is_pylock = name == "pylock.toml" || name.starts_with("pylock.") && name.ends_with(".toml");
        match Content::of(text) {
            _ if name == "uv.lock" => Ok(Self::Uv),
            _ if is_pylock => Ok(Self::Pylock),
            Content::Requirements => Ok(Self::Requirements),
            Content::Toml if has_top_level_key(text, "lock-version") => Ok(Self::Pylock),
            Content::Toml if has_top_level_key(text, "requires-python") => Ok(Self::Uv),
            content => {
                let format = if content == Content::Toml { "TOML" } else { "JSON" };
                let message = format!("`{}` is {format}, and no lock that is known", path.display());
                Err(Error::new(message)
                    .with_help("a lock is a uv.lock, a pylock.toml or a requirements file"))
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Requirements,
    Toml,
    Json,
}

impl Content {
    /// JSON and TOML show in the first line that is no comment: no requirement starts with a bracket, or has a lone `=`
    /// after its first word.
    fn of(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim);
        let Some(first) = lines.find(|line| !line.is_empty() && !line.starts_with('#')) else {
            return Self::Requirements;
        };
        if first.starts_with('{') {
            Self::Json
        } else if first.starts_with('[') || key(first).is_some() {
            Self::Toml
        } else {
            Self::Requirements
        }
    }
}

/// The key that a line of TOML assigns to.
fn key(line: &str) -> Option<&str> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.\"".contains(&byte);
    let assigns =
        !key.is_empty() && key.bytes().all(is_key) && !key.starts_with('-') && !value.starts_with('=');
    assigns.then_some(key)
}

fn has_top_level_key(text: &str, wanted: &str) -> bool {
    let is_table = |line: &&str| line.starts_with('[');
    text.lines().take_while(|line| !is_table(line)).any(|line| key(line) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Kind;

    #[test]
    fn a_lock_is_known_by_name_then_by_content() {
        let uv = "# made\nversion = 1\nrevision = 3\nrequires-python = \">=3.10\"\n\n[[package]]\n";
        let pylock = "lock-version = \"1.0\"\ncreated-by = \"uv\"\nrequires-python = \">=3.10\"\n";
        for (name, text, expected) in [
            ("uv.lock", "", Kind::Uv),
            ("script.py.lock", uv, Kind::Uv),
            ("locked", uv, Kind::Uv),
            ("pylock.toml", "", Kind::Pylock),
            ("pylock.dev.toml", "", Kind::Pylock),
            ("dev.toml", pylock, Kind::Pylock),
        ] {
            assert_eq!(Kind::of(Path::new(name), text).unwrap(), expected, "{name}");
        }
        for requirements in ["a==1", "a[b] == 1", "--index-url=x", "a===1", "a>=1", "./a=b.whl", ""] {
            assert_eq!(
                Kind::of(Path::new("a.txt"), requirements).unwrap(),
                Kind::Requirements,
                "{requirements}"
            );
        }
    }

    #[test]
    fn what_is_no_lock_says_what_it_is() {
        for (name, text, expected) in [
            ("poetry.lock", "", "poetry export"),
            ("pyproject.toml", "", "uv pip compile pyproject.toml"),
            ("a.txt", "# c\nversion = 1\n", "is TOML, and no lock that is known"),
            ("a.txt", "[[package]]\nlock-version = 1\n", "is TOML"),
            ("a.txt", "{\"a\": 1}", "is JSON"),
        ] {
            let error = Kind::of(Path::new(name), text).unwrap_err();
            let told = format!("{error}; {}", error.help().unwrap_or_default());
            assert!(told.contains(expected), "{told}");
        }
    }
}
