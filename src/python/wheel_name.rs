//! The file name of a wheel.

use std::fmt;
use std::str::FromStr;

use pep440_rs::Version;

use super::PackageName;
use crate::error::{Error, Result};

/// A wheel's file name: `{name}-{version}(-{build})?-{python}-{abi}-{platform}.whl`.
///
/// Source: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/#file-name-convention>
/// (PEP 427).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WheelName {
    /// The distribution's name.
    pub name: PackageName,
    /// The distribution's version.
    pub version: Version,
    /// The build tag: its leading number, then the rest; none sorts before any.
    pub build: Option<(u64, String)>,
    /// The python tags, as `cp311` or `py2.py3`, split at the dots.
    pub python: Vec<String>,
    /// The abi tags, split at the dots.
    pub abi: Vec<String>,
    /// The platform tags, split at the dots.
    pub platform: Vec<String>,
}

impl FromStr for WheelName {
    type Err = Error;

    /// Reads a file name, without a folder before it. Tags are read in lower case, as they are compared.
    fn from_str(file_name: &str) -> Result<Self> {
        parse(file_name).map_err(|reason| {
            Error::new(format!("`{file_name}` is no file name of a wheel: {reason}"))
                .with_help("A wheel is named NAME-VERSION-PYTHON-ABI-PLATFORM.whl, as in six-1.17.0-py2.py3-none-any.whl")
        })
    }
}

/// The normalized file name; a name read from elsewhere may have been spelled differently.
impl fmt::Display for WheelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_str().replace('-', "_");
        write!(formatter, "{name}-{}-", self.version)?;
        if let Some((number, rest)) = &self.build {
            write!(formatter, "{number}{rest}-")?;
        }
        let [python, abi, platform] = [&self.python, &self.abi, &self.platform].map(|tags| tags.join("."));
        write!(formatter, "{python}-{abi}-{platform}.whl")
    }
}

fn parse(file_name: &str) -> Result<WheelName, String> {
    let stem = file_name.strip_suffix(".whl").ok_or("it does not end in `.whl`")?;
    let parts: Vec<&str> = stem.split('-').collect();
    let (name, version, build, [python, abi, platform]) = match *parts.as_slice() {
        [name, version, python, abi, platform] => (name, version, None, [python, abi, platform]),
        [name, version, build, python, abi, platform] => {
            (name, version, Some(build), [python, abi, platform])
        }
        _ => {
            return Err(format!("it has {} parts between dashes, not 5 or 6", parts.len()));
        }
    };
    Ok(WheelName {
        name: parse_name(name)?,
        version: Version::from_str(version).map_err(|error| format!("its version `{version}`: {error}"))?,
        build: build.map(parse_build).transpose()?,
        python: parse_tags("python", python)?,
        abi: parse_tags("abi", abi)?,
        platform: parse_tags("platform", platform)?,
    })
}

fn parse_name(name: &str) -> Result<PackageName, String> {
    let is_valid = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.ends_with(|last: char| last.is_ascii_alphanumeric())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '.' | '_'));
    if is_valid { Ok(PackageName::new(name)) } else { Err(format!("`{name}` is no name of a distribution")) }
}

fn parse_build(build: &str) -> Result<(u64, String), String> {
    let digits = build.find(|character: char| !character.is_ascii_digit()).unwrap_or(build.len());
    let (number, rest) = build.split_at(digits);
    let number = number
        .parse()
        .map_err(|error| format!("its build tag `{build}` does not start with a number: {error}"))?;
    Ok((number, rest.to_owned()))
}

fn parse_tags(kind: &str, tags: &str) -> Result<Vec<String>, String> {
    let is_valid = |tag: &str| {
        !tag.is_empty() && tag.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    };
    if tags.split('.').all(is_valid) {
        Ok(tags.split('.').map(str::to_ascii_lowercase).collect())
    } else {
        Err(format!("its {kind} tag `{tags}` is empty or has a foreign character"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read() {
        let wheel: WheelName =
            "Zope.Interface-6.1.post1-2local-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
                .parse()
                .unwrap();
        assert_eq!(wheel.name.as_str(), "zope-interface");
        assert_eq!(wheel.version.to_string(), "6.1.post1");
        assert_eq!(wheel.build, Some((2, "local".to_owned())));
        assert_eq!(wheel.python, ["cp311"]);
        assert_eq!(wheel.abi, ["cp311"]);
        assert_eq!(wheel.platform, ["manylinux_2_17_x86_64", "manylinux2014_x86_64"]);
    }

    #[test]
    fn a_normalized_name_is_written_as_it_was_read() {
        for name in [
            "six-1.17.0-py2.py3-none-any.whl",
            "zope_interface-6.1-1-cp311-cp311-win_amd64.whl",
            "torch-2.4.0+cu121-1post2-cp311-cp311-linux_x86_64.whl",
            "pywin32-306!1.0rc1-cp311-abi3-macosx_11_0_universal2.whl",
        ] {
            assert_eq!(name.parse::<WheelName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_build_tag_sorts_by_its_number_and_after_none() {
        let build = |name: &str| name.parse::<WheelName>().unwrap().build;
        let none = build("a-1-py3-none-any.whl");
        let two = build("a-1-2-py3-none-any.whl");
        let ten = build("a-1-10-py3-none-any.whl");
        assert!(none < two && two < ten);
    }

    #[test]
    fn an_error_names_the_bad_part() {
        for (name, part) in [
            ("six-1.17.0.tar.gz", "`.whl`"),
            ("six-1.17.0-none-any.whl", "4 parts"),
            ("six-1-1-1-py3-none-any.whl", "7 parts"),
            ("six-one-py3-none-any.whl", "version `one`"),
            ("-1.0-py3-none-any.whl", "`` is no name"),
            ("../six-1.0-py3-none-any.whl", "`../six` is no name"),
            ("six-1.0-b1-py3-none-any.whl", "build tag `b1`"),
            ("six-1.0-99999999999999999999-py3-none-any.whl", "build tag `99999999999999999999`"),
            ("six-1.0-py2..py3-none-any.whl", "python tag `py2..py3`"),
            ("six-1.0-py3--any.whl", "abi tag ``"),
            ("six-1.0-py3-none-a/b.whl", "platform tag `a/b`"),
        ] {
            let message = name.parse::<WheelName>().unwrap_err().to_string();
            assert!(message.contains(part) && message.contains(name), "{name}: {message}");
        }
    }
}
