//! The options of a requirements file: which there are, and their values.
//!
//! Source: <https://pip.pypa.io/en/stable/reference/requirements-file-format/#supported-options>

use std::borrow::Cow;

use crate::error::{Error, Result};

use super::lines;

/// An option on a line of its own, by its long name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileOption<'a> {
    pub(super) name: &'static str,
    pub(super) value: Option<Cow<'a, str>>,
}

/// An option after a requirement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequirementOption<'a> {
    /// `--hash=algorithm:digest`.
    Hash(Cow<'a, str>),
    /// One that says how to build, by its name.
    Build(&'static str),
}

struct Known {
    long: &'static str,
    short: Option<&'static str>,
    has_value: bool,
}

const fn valued(long: &'static str, short: Option<&'static str>) -> Known {
    let has_value = true;
    Known { long, short, has_value }
}

const fn flag(long: &'static str) -> Known {
    Known { long, short: None, has_value: false }
}

const OF_FILE: [Known; 16] = [
    valued("--requirement", Some("-r")),
    valued("--constraint", Some("-c")),
    valued("--index-url", Some("-i")),
    valued("--pypi-url", None),
    valued("--extra-index-url", None),
    flag("--no-index"),
    valued("--find-links", Some("-f")),
    valued("--trusted-host", None),
    flag("--pre"),
    flag("--prefer-binary"),
    valued("--no-binary", None),
    valued("--only-binary", None),
    valued("--all-releases", None),
    valued("--only-final", None),
    flag("--require-hashes"),
    valued("--use-feature", None),
];

const OF_REQUIREMENT: [Known; 5] = [
    valued("--hash", None),
    valued("--config-settings", Some("-C")),
    valued("--config-setting", None),
    valued("--global-option", None),
    valued("--install-option", None),
];

/// Whether an option of a file says where distributions come from, and tools that get some understand it.
pub(super) fn is_about_indexes(option: &str) -> bool {
    const KNOWN: [&str; 6] =
        ["--index-url", "--extra-index-url", "--no-index", "--find-links", "--no-binary", "--only-binary"];
    KNOWN.contains(&option)
}

/// What follows `-e` or `--editable` on a line that starts with it.
pub(super) fn editable(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("--editable").or_else(|| line.strip_prefix("-e"))?;
    if !rest.is_empty() && !rest.starts_with(|next: char| next.is_whitespace() || next == '=') {
        return None;
    }
    let value = rest.trim_start_matches('=').trim();
    let quoted = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    Some(quoted('"').or_else(|| quoted('\'')).unwrap_or(value))
}

/// Splits a requirement from the options after it.
pub(super) fn split_off(line: &str) -> (&str, &str) {
    let is_option = |position: &usize| {
        let (before, option) = line.split_at(*position);
        before.ends_with(char::is_whitespace) && (option.starts_with("--") || option.starts_with("-C"))
    };
    let mut dashes = line.match_indices('-').map(|(position, _)| position);
    match dashes.find(is_option) {
        Some(position) => {
            let (requirement, options) = line.split_at(position);
            (requirement.trim_end(), options)
        }
        None => (line, ""),
    }
}

/// Reads a line of options.
///
/// # Errors
/// An option that is not known, a value that is missing.
pub(super) fn of_file(line: &str) -> Result<Vec<FileOption<'_>>> {
    parse(line, &OF_FILE)
}

/// Reads the options after a requirement.
///
/// # Errors
/// An option that is not known, a value that is missing.
pub(super) fn of_requirement(options: &str) -> Result<Vec<RequirementOption<'_>>> {
    let options = parse(options, &OF_REQUIREMENT)?;
    let option = |FileOption { name, value }| match (name, value) {
        ("--hash", Some(hash)) => RequirementOption::Hash(hash),
        (name, _) => RequirementOption::Build(name),
    };
    Ok(options.into_iter().map(option).collect())
}

fn parse<'a>(text: &'a str, known: &[Known]) -> Result<Vec<FileOption<'a>>> {
    let mut words = lines::words(text).ok_or_else(|| Error::new("a quote is not closed"))?.into_iter();
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let (option, attached) = known
            .iter()
            .find_map(|option| Some((option, option.matches(&word)?)))
            .ok_or_else(|| unknown(&word))?;
        let value = match (option.has_value, attached) {
            (true, Some(value)) => Some(Cow::Owned(value.to_owned())),
            (true, None) => words.next(),
            (false, None) => None,
            (false, Some(_)) => return Err(Error::new(format!("`{}` takes no value", option.long))),
        };
        if option.has_value && value.as_ref().is_none_or(|value| value.is_empty()) {
            return Err(Error::new(format!("`{}` needs a value", option.long)));
        }
        options.push(FileOption { name: option.long, value });
    }
    Ok(options)
}

impl Known {
    /// Whether `word` is this option, and the value attached to it.
    fn matches<'a>(&self, word: &'a str) -> Option<Option<&'a str>> {
        if let Some(rest) = word.strip_prefix(self.long) {
            return match rest.strip_prefix('=') {
                Some(value) => Some(Some(value)),
                None => rest.is_empty().then_some(None),
            };
        }
        let rest = word.strip_prefix(self.short?)?;
        let value = rest.strip_prefix('=').unwrap_or(rest);
        Some((!rest.is_empty()).then_some(value))
    }
}

/// The word's value is not told: it may hold a password.
fn unknown(word: &str) -> Error {
    let (name, _) = word.split_once('=').unwrap_or((word, ""));
    match name.starts_with('-') {
        true => Error::new(format!("the option `{name}` is not known here")),
        false => Error::new("there is more on the line than is understood"),
    }
}

#[cfg(test)]
mod tests {
    use super::{FileOption, editable, of_file, of_requirement, split_off};

    fn read(line: &str) -> Vec<(&'static str, String)> {
        let option = |FileOption { name, value }| (name, value.unwrap_or_default().into_owned());
        of_file(line).unwrap().into_iter().map(option).collect()
    }

    #[test]
    fn a_value_is_attached_or_follows() {
        for line in ["-r a.txt", "-ra.txt", "-r=a.txt", "--requirement a.txt", "--requirement='a.txt'"] {
            assert_eq!(read(line), [("--requirement", "a.txt".into())], "{line}");
        }
        assert_eq!(
            read("--no-index -f x --pre"),
            [("--no-index", "".into()), ("--find-links", "x".into()), ("--pre", "".into())]
        );
    }

    #[test]
    fn what_is_not_understood_is_told_without_its_value() {
        for (line, expected) in [
            ("--frob=secret", "the option `--frob` is not known here"),
            ("-r", "`--requirement` needs a value"),
            ("--index-url=", "`--index-url` needs a value"),
            ("--no-index=1", "`--no-index` takes no value"),
            ("-r a secret", "there is more on the line than is understood"),
            ("-r 'a", "a quote is not closed"),
            ("-", "the option `-` is not known here"),
        ] {
            assert_eq!(of_file(line).unwrap_err().to_string(), expected);
        }
        assert!(of_requirement("--index-url x").is_err());
    }

    #[test]
    fn editables_are_one_requirement_up_to_the_end_of_the_line() {
        assert_eq!(editable("-e ./a b ; x"), Some("./a b ; x"));
        assert_eq!(editable("--editable='./a b'"), Some("./a b"));
        assert_eq!(editable("--extra-index-url x"), None);
        assert_eq!(editable("-extra"), None);
    }

    #[test]
    fn options_start_at_a_word_with_dashes() {
        assert_eq!(split_off("a-b==1 --hash=x"), ("a-b==1", "--hash=x"));
        assert_eq!(split_off("./a--b -C x"), ("./a--b", "-C x"));
    }
}
