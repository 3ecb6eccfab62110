//! How the files of archives are shown in a mounted view.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::python::PackageName;

/// How the files of a distribution are shown in a mounted view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entries {
    /// As links into its archive.
    #[default]
    Symlink,
    /// As regular files, which are copied up when they are first written to.
    File,
    /// Python's sources and other text as regular files, all else as links.
    Mixed,
}

impl Entries {
    /// Whether a file of this name is shown as a regular file.
    pub fn is_file(self, name: &OsStr) -> bool {
        match self {
            Self::Symlink => false,
            Self::File => true,
            Self::Mixed => {
                let suffix = Path::new(name).extension().and_then(OsStr::to_str);
                suffix.is_some_and(|suffix| TEXT.contains(&suffix))
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Symlink => "symlink",
            Self::File => "file",
            Self::Mixed => "mixed",
        }
    }
}

/// What names of text end with: sources, and what servers of static files look for. A name is all that a listing tells. Not `.txt`:
/// programs open each distribution's entry_points.txt when they start, and that costs a request where it is no link.
const TEXT: [&str; 19] = [
    "cfg", "css", "htm", "html", "ini", "js", "json", "map", "md", "mjs", "pth", "py", "pyi", "rst", "svg",
    "toml", "typed", "xml", "yaml",
];

impl FromStr for Entries {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Symlink, Self::File, Self::Mixed].into_iter().find(|one| one.name() == text).ok_or_else(|| {
            Error::new(format!("`{text}` is no kind of entries: they are symlink, file and mixed"))
        })
    }
}

/// What is asked for of entries in one word: `KIND` for all distributions, `NAME=KIND` for one.
#[derive(Clone, Debug)]
pub struct EntriesWord {
    of: Option<PackageName>,
    entries: Entries,
}

impl FromStr for EntriesWord {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (of, kind) = match text.split_once('=') {
            Some((name, kind)) => (Some(PackageName::parse(name)?), kind),
            None => (None, text),
        };
        Ok(Self { of, entries: kind.parse()? })
    }
}

/// How the files of all distributions are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntriesChoice {
    /// Of those that are not named.
    pub all: Entries,
    /// Of those that are.
    pub named: BTreeMap<PackageName, Entries>,
}

impl EntriesChoice {
    /// What words say together; of two about the same, the later counts.
    pub fn of_words(words: impl IntoIterator<Item = EntriesWord>) -> Self {
        let mut choice = Self::default();
        for EntriesWord { of, entries } in words {
            match of {
                Some(name) => drop(choice.named.insert(name, entries)),
                None => choice.all = entries,
            }
        }
        choice
    }

    /// How the files of a distribution are shown.
    pub fn of(&self, distribution: &PackageName) -> Entries {
        self.named.get(distribution).copied().unwrap_or(self.all)
    }

    /// Whether all are links, as nobody has to ask for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for EntriesChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.all.name())?;
        self.named.iter().try_for_each(|(name, entries)| write!(formatter, " {name}={}", entries.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(words: &[&str]) -> EntriesChoice {
        EntriesChoice::of_words(words.iter().map(|word| word.parse().unwrap()))
    }

    #[test]
    fn a_word_is_about_all_or_about_one() {
        let choice = choice(&["mixed", "Starlette=file", "torch=symlink"]);
        assert_eq!(choice.of(&PackageName::new("starlette")), Entries::File);
        assert_eq!(choice.of(&PackageName::new("torch")), Entries::Symlink);
        assert_eq!(choice.of(&PackageName::new("six")), Entries::Mixed);
        assert_eq!(choice.to_string(), "mixed starlette=file torch=symlink");
    }

    #[test]
    fn the_later_word_counts_and_none_is_links() {
        assert_eq!(choice(&["file", "symlink"]), EntriesChoice::default());
        assert!(choice(&[]).is_default());
        assert!(!choice(&["six=file"]).is_default());
    }

    #[test]
    fn nonsense_is_refused() {
        for word in ["", "files", "=file", "six=", "six=File", "a/b=file"] {
            assert!(word.parse::<EntriesWord>().is_err(), "{word}");
        }
    }

    #[test]
    fn mixed_shows_text_as_files_and_all_else_as_links() {
        let is_file = |name: &str| Entries::Mixed.is_file(OsStr::new(name));
        assert!(["a.py", "py.typed", "index.html", "a.b.json"].into_iter().all(is_file));
        assert!(
            !["a.so", "a.cpython-311.pyc", "py", ".py", "data.parquet", "a.PY.gz"].into_iter().any(is_file)
        );
    }
}
