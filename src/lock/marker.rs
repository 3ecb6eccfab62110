//! Environment markers, read strictly.

use std::collections::HashSet;

use pep508_rs::{MarkerTree, MarkerWarningKind, Pep508Error};

use crate::error::{Context, Error, Result};

/// Longer than any marker that tools write: uv's are long where many extras exclude each other.
const MAX_LENGTH: usize = 64 * 1024;
/// More different values than any marker has, and few enough that its tree, a level for each, does not exhaust the stack.
const MAX_VALUES: usize = 200;
/// Deeper than any marker that tools write, and shallow enough for a recursive parser.
const MAX_DEPTH: usize = 64;
/// Every number of so many digits can still be counted up in 64 bits.
const MAX_DIGITS: usize = 19;

/// Reads a marker, the part after `;`.
///
/// Source: <https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers>
///
/// pep508_rs ignores a comparison that makes no sense; here it is an error, because what is ignored would install
/// where it should not.
///
/// # Errors
/// A marker that is not one, or makes no sense.
pub(super) fn parse(text: &str) -> Result<MarkerTree> {
    let text = text.trim();
    understood(text).context(|| format!("the marker `{text}` is not understood"))
}

fn understood(text: &str) -> Result<MarkerTree> {
    check_limits(text)?;
    let mut ignored = None;
    let mut reporter = |kind: MarkerWarningKind, message: String| {
        let harmless = matches!(
            kind,
            MarkerWarningKind::DeprecatedMarkerName | MarkerWarningKind::LexicographicComparison
        );
        if !harmless {
            ignored.get_or_insert(message);
        }
    };
    let marker = MarkerTree::parse_reporter(&without_compatible(text)?, &mut reporter)
        .map_err(|error: Pep508Error| Error::new(error.message.to_string()))?;
    match ignored {
        Some(_) => Err(Error::new("it compares what cannot be compared")),
        None => Ok(marker),
    }
}

/// pep508_rs 0.9.2 panics on some text outside ASCII, overflows on large numbers, and recurses without bound.
fn check_limits(text: &str) -> Result<()> {
    let deepest = text
        .bytes()
        .scan(0_usize, |depth, byte| {
            match byte {
                b'(' => *depth += 1,
                b')' => *depth = depth.saturating_sub(1),
                _ => {}
            }
            Some(*depth)
        })
        .max();
    let most_digits = text.split(|character: char| !character.is_ascii_digit()).map(str::len).max();
    let values: HashSet<&str> = text.split(['\'', '"']).skip(1).step_by(2).collect();
    if !text.is_ascii() {
        Err(Error::new("it is not ASCII"))
    } else if text.len() > MAX_LENGTH
        || deepest > Some(MAX_DEPTH)
        || most_digits > Some(MAX_DIGITS)
        || values.len() > MAX_VALUES
    {
        Err(Error::new("it is too long, too deep or has too large a number"))
    } else {
        Ok(())
    }
}

/// The marker with each `variable ~= "1.2"` as `(variable >= "1.2" and variable == "1.*")`, which is what it means:
/// pep508_rs 0.9.2 panics on `python_version ~= "3.0"` and on `"a" ~= os_name`.
fn without_compatible(text: &str) -> Result<String> {
    let mut rewritten = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['\'', '"']) {
        let (before, quoted) = rest.split_at(start);
        let quote = quoted.get(..1).unwrap_or_default();
        let Some((value, after)) = quoted.get(1..).and_then(|quoted| quoted.split_once(quote)) else {
            return Err(Error::new("a quote is not closed"));
        };
        match before.trim_end().strip_suffix("~=") {
            Some(before) => {
                let (before, variable) = split_last_word(before.trim_end());
                let (series, _) = value.rsplit_once('.').unwrap_or_default();
                if !is_version_variable(variable) || series.is_empty() {
                    return Err(Error::new("`~=` compares a version with one such as \"3.8\""));
                }
                rewritten.push_str(before);
                rewritten.push_str(&format!("({variable} >= '{value}' and {variable} == '{series}.*')"));
            }
            None => rewritten.extend([before, quote, value, quote]),
        }
        rest = after;
    }
    rewritten.push_str(rest);
    if rewritten.contains("~=") {
        return Err(Error::new("`~=` needs a quoted version on its right"));
    }
    Ok(rewritten)
}

fn split_last_word(text: &str) -> (&str, &str) {
    let start = text
        .rfind(|character: char| !(character.is_ascii_alphanumeric() || "_.".contains(character)))
        .map_or(0, |position| position + 1);
    text.split_at(start)
}

fn is_version_variable(word: &str) -> bool {
    ["python_version", "python_full_version", "implementation_version"].contains(&word)
}

#[cfg(test)]
pub(crate) mod tests {
    use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder, MarkerTree};

    use super::parse;
    use crate::python::Tags;
    use crate::python::tags::{InterpreterFacts, System};

    /// CPython 3.11.7 on Linux.
    pub(crate) fn linux() -> MarkerEnvironment {
        MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
            implementation_name: "cpython",
            implementation_version: "3.11.7",
            os_name: "posix",
            platform_machine: "x86_64",
            platform_python_implementation: "CPython",
            platform_release: "6.1.0",
            platform_system: "Linux",
            platform_version: "#1 SMP",
            python_full_version: "3.11.7",
            python_version: "3.11",
            sys_platform: "linux",
        })
        .unwrap()
    }

    /// The tags of the same.
    pub(crate) fn linux_tags() -> Tags {
        Tags::new(&InterpreterFacts {
            implementation: "cpython".to_owned(),
            version: (3, 11),
            ext_suffix: None,
            debug: false,
            gil_disabled: false,
            system: System::Other { platform: "linux_x86_64".to_owned() },
        })
    }

    fn applies(marker: &str) -> bool {
        parse(marker).unwrap().evaluate(&linux(), &[])
    }

    #[test]
    fn markers_ask_the_interpreter() {
        assert!(applies("sys_platform == 'linux' and python_full_version >= \"3.11\""));
        assert!(applies("'inu' in sys_platform and (os_name == 'nt' or os_name == 'posix')"));
        assert!(!applies("python_version < '3.11'"));
        assert!(!applies("extra == 'socks'"));
    }

    #[test]
    fn compatible_release_means_at_least_and_the_same_series() {
        for (marker, expected) in [
            ("python_version ~= '3.0'", true),
            ("python_version ~= '3.12'", false),
            ("python_version~='2.7'", false),
            ("sys_platform == 'linux' and (python_full_version ~= \"3.11.0\")", true),
            ("python_full_version ~= '3.10.0'", false),
        ] {
            assert_eq!(applies(marker), expected, "{marker}");
        }
    }

    /// As uv writes where many extras exclude each other.
    #[test]
    fn a_long_marker_is_read() {
        let one = |number| format!("extra == 'extra-7-project-x{}' and extra != 'b'", number % 190);
        let many = |count| (0..count).map(one).collect::<Vec<_>>().join(" or ");
        assert!(!applies(&many(1000)));
        let different: Vec<String> = (0..1000).map(|number| format!("extra == 'x{number}'")).collect();
        assert!(parse(&different.join(" or ")).is_err());
    }

    #[test]
    fn what_pep508_rs_would_ignore_or_panic_on_is_an_error() {
        let deep = format!("{}os_name == 'a'", "(".repeat(100_000));
        let long = "os_name == 'a' and ".repeat(10_000) + "os_name == 'b'";
        for marker in [
            "",
            "nonsense",
            "os_name == sys_platform",
            "python_version >= 'x'",
            "'a' == 'b'",
            "'a' ~= os_name",
            "os_name ~= 'a'",
            "python_version ~= '3'",
            "python_version > '3.18446744073709551615'",
            "os_name == 'a' a\u{e9}",
            "os_name == 'a",
            deep.as_str(),
            long.as_str(),
        ] {
            assert!(parse(marker).is_err(), "{marker}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_marker_panics(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "python_version", "python_full_version", "os_name", "extra", "sys.platform", "'", "\"", "3.", "0",
                    "*", "18446744073709551615", "(", ")", " and ", " or ", " in ", " not in ", "~=", "==", ">", "<=",
                    "!=", "===", "a", "\u{e9}", " ", "'3.0'", "\"1.2.0\"", "'linux'", "''", "'3.0 3.1'", "'3.*'",
                ]),
                0..12,
            )
        ) {
            let marker: MarkerTree = parse(&pieces.concat()).unwrap_or_default();
            marker.evaluate(&linux(), &[]);
        }

        #[test]
        fn no_comparison_panics(
            variable in proptest::sample::select(vec!["python_version", "python_full_version", "os_name", "extra"]),
            operator in proptest::sample::select(vec!["==", "===", "~=", "!=", ">", "<", ">=", "<=", "in", "not in"]),
            value in "[0-9]{1,19}(\\.[0-9]{1,19}){0,3}(\\.\\*|a1|\\.dev0|\\+local)?",
            inverted: bool,
        ) {
            let marker = match inverted {
                true => format!("'{value}' {operator} {variable}"),
                false => format!("{variable} {operator} '{value}'"),
            };
            parse(&marker).unwrap_or_default().evaluate(&linux(), &[]);
        }
    }
}
