//! The logical lines of a requirements file: comments gone, continued lines joined.

use std::borrow::Cow;
use std::iter::Enumerate;
use std::str::Split;

/// A line that says something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Its number, from 1; the first one's if several were joined.
    pub(super) number: usize,
    /// Its text as written, trimmed, never empty.
    pub(super) text: Cow<'a, str>,
}

/// The logical lines of `text`.
pub(super) fn logical(text: &str) -> impl Iterator<Item = Line<'_>> {
    Logical { physical: text.split('\n').enumerate() }
}

struct Logical<'a> {
    physical: Enumerate<Split<'a, char>>,
}

impl<'a> Iterator for Logical<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        loop {
            let (index, first) = self.physical.next()?;
            let text = match without_comment(first) {
                (text, false) => Cow::Borrowed(text.trim()),
                (text, true) => Cow::Owned(self.joined(text)),
            };
            if !text.is_empty() {
                let number = index + 1;
                return Some(Line { number, text });
            }
        }
    }
}

impl Logical<'_> {
    fn joined(&mut self, first: &str) -> String {
        let mut joined = first.to_owned();
        let mut continued = true;
        while continued {
            let Some((_, line)) = self.physical.next() else {
                break;
            };
            let (text, more) = without_comment(line);
            joined.push_str(text);
            continued = more;
        }
        joined.trim().to_owned()
    }
}

/// The text of a physical line, and whether the next one continues it. As in pip and uv, a `#` starts a comment
/// at the start of a line or after white space (so `#egg=` in a URL does not), and a comment ends the line.
fn without_comment(line: &str) -> (&str, bool) {
    for (position, _) in line.match_indices('#') {
        let before = line.get(..position).unwrap_or_default();
        if before.is_empty() || before.ends_with(char::is_whitespace) {
            return (before, false);
        }
    }
    let line = line.trim_end();
    match line.strip_suffix('\\') {
        Some(continued) => (continued, true),
        None => (line, false),
    }
}

/// The words of a line of options, without the quotes around them; `None` if a quote stays open.
pub(super) fn words(text: &str) -> Option<Vec<Cow<'_, str>>> {
    if !text.contains('\'') && !text.contains('"') {
        return Some(text.split_ascii_whitespace().map(Cow::Borrowed).collect());
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut open_quote = None;
    for character in text.chars() {
        match (open_quote, character) {
            (Some(quote), _) if quote == character => open_quote = None,
            (None, '\'' | '"') => {
                open_quote = Some(character);
                word.get_or_insert_default();
            }
            (None, _) if character.is_whitespace() => words.extend(word.take().map(Cow::Owned)),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word.map(Cow::Owned));
    open_quote.is_none().then_some(words)
}

/// `text` with each `${NAME}` replaced by that environment variable, if it is set and not empty.
///
/// Source: <https://pip.pypa.io/en/stable/reference/requirements-file-format/#using-environment-variables>
pub(super) fn expand<'a>(text: &'a str, variable: &dyn Fn(&str) -> Option<String>) -> Cow<'a, str> {
    if !text.contains("${") {
        return Cow::Borrowed(text);
    }
    let mut expanded = String::with_capacity(text.len());
    let mut pieces = text.split("${");
    expanded.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let value = piece.split_once('}').and_then(|(name, rest)| {
            let named =
                name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
            let value = variable(name).filter(|value| named && !name.is_empty() && !value.is_empty())?;
            Some((value, rest))
        });
        match value {
            Some((value, rest)) => expanded.extend([value.as_str(), rest]),
            None => expanded.extend(["${", piece]),
        }
    }
    Cow::Owned(expanded)
}

#[cfg(test)]
mod tests {
    use super::{expand, logical, words};

    fn texts(text: &str) -> Vec<(usize, String)> {
        logical(text).map(|line| (line.number, line.text.into_owned())).collect()
    }

    #[test]
    fn comments_and_blank_lines_say_nothing() {
        let text = "# whole\n\n  # indented\na==1  # trailing\n\tb==2\t# tab\n";
        assert_eq!(texts(text), [(4, "a==1".into()), (5, "b==2".into())]);
    }

    #[test]
    fn a_hash_inside_a_word_is_no_comment() {
        assert_eq!(texts("a @ b#egg=a # c"), [(1, "a @ b#egg=a".into())]);
    }

    #[test]
    fn a_backslash_continues_a_line_whatever_ends_it() {
        for text in ["a==1 \\\n  --x\nb==2", "a==1 \\\r\n  --x\r\nb==2\r\n", "a==1 \\ \n  --x\nb==2"] {
            assert_eq!(texts(text), [(1, "a==1   --x".into()), (3, "b==2".into())]);
        }
    }

    #[test]
    fn a_comment_ends_a_continued_line() {
        let text = "a==1 \\\n  --x \\\n    # via b\nb==2 # c \\\nd==3 \\";
        assert_eq!(texts(text), [(1, "a==1   --x".into()), (4, "b==2".into()), (5, "d==3".into())]);
    }

    #[test]
    fn quotes_hold_a_word_together() {
        assert_eq!(words("-r 'my file' -c=\"x y\"").unwrap(), ["-r", "my file", "-c=x y"]);
        assert_eq!(words("-r ''").unwrap(), ["-r", ""]);
        assert_eq!(words("-r 'open"), None);
    }

    #[test]
    fn only_upper_case_variables_that_are_set_are_expanded() {
        let variable = |name: &str| match name {
            "HOME_1" | "lower" => Some("/h".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        assert_eq!(
            expand("${HOME_1}/${UNSET}/${EMPTY}/${lower}/$HOME_1/${HOME_1", &variable),
            "/h/${UNSET}/${EMPTY}/${lower}/$HOME_1/${HOME_1"
        );
    }
}
