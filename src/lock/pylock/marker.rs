//! Markers of pylock.toml: those of requirements, with two more variables.

use pep508_rs::{ExtraName, MarkerTree};

use crate::error::{Context, Error, Result};
use crate::lock::marker;
use crate::python::PackageName;

/// The two variables that only pylock.toml has, each a list of names: `'x' in extras`, `'x' not in dependency_groups`.
const LISTS: [&str; 2] = ["extras", "dependency_groups"];

/// Reads a marker.
///
/// pep508_rs does not know the two lists. What it does know is a list of extras, which it asks for by `extra == 'x'`:
/// so `'x' in extras` is read as `extra == 'in-extras-x'`, and [`active`] gives such names.
///
/// Source: <https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers>
///
/// # Errors
/// A marker that is not one, or makes no sense.
pub(super) fn parse(text: &str) -> Result<MarkerTree> {
    let rewritten = rewritten(text).context(|| format!("the marker `{text}` is not understood"))?;
    marker::parse(&rewritten)
}

/// The extras and groups that are wanted, under the names that markers ask for.
///
/// # Errors
/// A name that is none.
pub(super) fn active(extras: &[&PackageName], groups: &[&PackageName]) -> Result<Vec<ExtraName>> {
    let [of_extras, of_groups] = LISTS;
    let extras = extras.iter().map(|name| encoded(of_extras, name));
    let groups = groups.iter().map(|name| encoded(of_groups, name));
    let name = |name: String| ExtraName::new(name.clone()).context(|| format!("`{name}` is no name"));
    extras.chain(groups).map(name).collect()
}

fn encoded(list: &str, name: &PackageName) -> String {
    format!("in-{}-{name}", list.replace('_', "-"))
}

fn rewritten(text: &str) -> Result<String> {
    let mut rewritten = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['\'', '"']) {
        let (before, quoted) = rest.split_at(start);
        let quote = quoted.get(..1).unwrap_or_default();
        let Some((value, after)) = quoted.get(1..).and_then(|quoted| quoted.split_once(quote)) else {
            return Err(Error::new("a quote is not closed"));
        };
        rewritten.push_str(before);
        rest = match asks_list(after) {
            Some((operator, list, after)) => {
                rewritten
                    .push_str(&format!("extra {operator} '{}'", encoded(list, &PackageName::new(value))));
                after
            }
            None => {
                rewritten.extend([quote, value, quote]);
                after
            }
        };
    }
    rewritten.push_str(rest);
    Ok(rewritten)
}

/// What follows a name that is looked for in a list: the operator that says the same of an extra, the list, the rest.
fn asks_list(after: &str) -> Option<(&'static str, &'static str, &str)> {
    let (word, rest) = split_word(after);
    let (operator, rest) = match word {
        "in" => ("==", rest),
        "not" => match split_word(rest) {
            ("in", rest) => ("!=", rest),
            _ => return None,
        },
        _ => return None,
    };
    let (word, rest) = split_word(rest);
    let list = LISTS.into_iter().find(|list| *list == word)?;
    Some((operator, list, rest))
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::{active, parse};
    use crate::lock::marker::tests::linux;
    use crate::python::PackageName;

    fn applies(marker: &str, extras: &str, groups: &str) -> bool {
        let names =
            |text: &str| -> Vec<PackageName> { text.split_whitespace().map(PackageName::new).collect() };
        let (extras, groups) = (names(extras), names(groups));
        let active = active(&extras.iter().collect::<Vec<_>>(), &groups.iter().collect::<Vec<_>>()).unwrap();
        parse(marker).unwrap().evaluate(&linux(), &active)
    }

    #[test]
    fn extras_and_groups_are_asked_for() {
        for (marker, extras, groups, expected) in [
            ("'a' in extras", "a", "", true),
            ("'a' in extras", "", "a", false),
            ("\"My_Extra\" in extras", "my-extra", "", true),
            ("'a' not in extras", "a", "", false),
            ("'a'  not  in extras", "b", "", true),
            ("'dev' in dependency_groups", "", "dev", true),
            ("'dev' in dependency_groups", "dev", "", false),
            ("('a' in extras or 'dev' in dependency_groups) and sys_platform == 'linux'", "", "dev", true),
            ("('a' in extras or 'dev' in dependency_groups)and sys_platform == 'win32'", "a", "dev", false),
            ("'a' not in extras and 'b' in extras", "b", "", true),
            ("'a' not in extras and 'b' in extras", "a b", "", false),
            ("'in extras' != sys_platform", "", "", true),
            ("'linux' in sys_platform", "", "", true),
            ("extra == 'a'", "a", "", false),
        ] {
            assert_eq!(applies(marker, extras, groups), expected, "{marker} with {extras} and {groups}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for marker in [
            "extras == 'a'",
            "extras in 'a'",
            "'a' in extras_",
            "'a in extras",
            "'a' < extras",
            "'' in extras",
        ] {
            assert!(parse(marker).is_err(), "{marker}");
        }
    }
}
