//! entry_points.txt: the commands that a distribution offers.

use crate::error::{Error, Result};

/// A command that a distribution offers: `name = module:function`.
///
/// Source: <https://packaging.python.org/en/latest/specifications/entry-points/>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// The file name of the command in `bin/`: never empty, without `/` or NUL, not `.` or `..`.
    pub name: String,
    /// The module to import: a dotted name.
    pub module: String,
    /// The function to call: a dotted name.
    pub function: String,
    /// True for `gui_scripts`.
    pub gui: bool,
}

/// Reads the `console_scripts` and `gui_scripts` of an entry_points.txt; other groups are passed over.
/// Of a name given twice the last counts, and a gui script counts more than a console script.
///
/// # Errors
/// A name that would leave `bin/` or replace the interpreter there, a reference that is no `module:function`; the
/// message quotes the line.
pub fn parse(text: &str) -> Result<Vec<EntryPoint>> {
    let mut console: Vec<EntryPoint> = Vec::new();
    let mut gui: Vec<EntryPoint> = Vec::new();
    let mut group = "";
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            group = name;
            continue;
        }
        let scripts = match group {
            "console_scripts" => &mut console,
            "gui_scripts" => &mut gui,
            _ => continue,
        };
        let script = parse_line(line, group == "gui_scripts").map_err(|reason| {
            Error::new(format!("line {} of entry_points.txt, `{}`: {reason}", index + 1, line.escape_debug()))
        })?;
        scripts.retain(|earlier| earlier.name != script.name);
        scripts.push(script);
    }
    console.retain(|script| gui.iter().all(|other| other.name != script.name));
    console.append(&mut gui);
    Ok(console)
}

fn parse_line(line: &str, gui: bool) -> Result<EntryPoint, String> {
    let (name, value) = line.split_once('=').ok_or("it has no `=`")?;
    let name = name.trim();
    check_name(name)?;
    let (reference, _extras_or_comment) = value.split_at(value.find(['[', '#', ';']).unwrap_or(value.len()));
    let (module, function) =
        reference.split_once(':').ok_or("it does not say which function to call, as in `module:function`")?;
    Ok(EntryPoint {
        name: name.to_owned(),
        module: parse_dotted(module)?,
        function: parse_dotted(function)?,
        gui,
    })
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("it has no name".to_owned())
    } else if name == "." || name == ".." || name.contains(['/', '\0']) {
        Err("its name is no file name".to_owned())
    } else if is_reserved(name) {
        Err("its name would replace the interpreter".to_owned())
    } else {
        Ok(())
    }
}

/// True for the names of interpreters, in any case and with `.py`, so that a wheel is good or bad on every system.
pub(crate) fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".py").unwrap_or(&name);
    let is_minor = |rest: &str| {
        let digits = rest.strip_suffix('t').unwrap_or(rest);
        !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit())
    };
    let is_versioned = ["python3.", "pythonw3.", "pypy3."]
        .iter()
        .any(|prefix| name.strip_prefix(prefix).is_some_and(is_minor));
    is_versioned || matches!(name, "python" | "python3" | "pythonw" | "pypy" | "pypy2" | "pypy3" | "graalpy")
}

/// Reads a dotted name. What is accepted here is written into a script as source.
fn parse_dotted(name: &str) -> Result<String, String> {
    let name = name.trim();
    let is_valid = !name.is_empty()
        && name.chars().all(|character| character.is_alphanumeric() || matches!(character, '_' | '.' | '-'));
    if is_valid { Ok(name.to_owned()) } else { Err(format!("`{name}` is no dotted name")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str, module: &str, function: &str, gui: bool) -> EntryPoint {
        EntryPoint { name: name.to_owned(), module: module.to_owned(), function: function.to_owned(), gui }
    }

    #[test]
    fn scripts_are_read_and_other_groups_passed_over() {
        let text = "\
            stray\n\
            [console_scripts]\r\n\
            # a comment = x\n\
            ; another\n\
            \tBlack=black:patched_main  \n\
            black d = blackd : Sub.main [d, e]\n\
            tool=tool.cli:main[extra]\n\
            late = late:main ; said beside it\n\
            \n\
            [pytest11]\n\
            ../plugin = not checked\n\
            [gui_scripts]\n\
            idle = idlelib.pyshell:main\n";
        assert_eq!(
            parse(text).unwrap(),
            [
                script("Black", "black", "patched_main", false),
                script("black d", "blackd", "Sub.main", false),
                script("tool", "tool.cli", "main", false),
                script("late", "late", "main", false),
                script("idle", "idlelib.pyshell", "main", true),
            ]
        );
    }

    #[test]
    fn of_a_name_given_twice_the_last_counts() {
        let text = "[gui_scripts]\nb=gui:b\n[console_scripts]\na=one:a\nb=one:b\na=two:a\n";
        assert_eq!(parse(text).unwrap(), [script("a", "two", "a", false), script("b", "gui", "b", true)]);
    }

    #[test]
    fn a_bad_line_is_refused_and_quoted() {
        for (line, reason) in [
            ("tool", "no `=`"),
            ("tool: a:b", "no `=`"),
            ("= a:b", "no name"),
            (".. = a:b", "no file name"),
            (". = a:b", "no file name"),
            ("../../evil = a:b", "no file name"),
            ("sub/tool = a:b", "no file name"),
            ("tool = a", "which function"),
            ("tool = a:", "`` is no dotted name"),
            ("tool = :b", "`` is no dotted name"),
            ("tool = a:b()", "`b()` is no dotted name"),
            ("tool = os, sys:exit", "`os, sys` is no dotted name"),
        ] {
            let error = parse(&format!("[console_scripts]\n{line}\n")).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains(reason)
                    && message.contains(&format!("line 2 of entry_points.txt, `{line}`")),
                "{message}"
            );
        }
        let error = parse("[console_scripts]\na\0b = a:b\n").unwrap_err().to_string();
        assert!(error.contains(r"`a\0b = a:b`"), "{error}");
    }

    #[test]
    fn no_script_replaces_an_interpreter() {
        let parse_name = |name: &str| parse(&format!("[console_scripts]\n{name} = a:b\n"));
        for name in [
            "python",
            "Python3",
            "python3.11",
            "python3.13t",
            "pythonw",
            "python.py",
            "pypy",
            "pypy3",
            "pypy3.10",
            "graalpy",
        ] {
            assert!(parse_name(name).is_err(), "{name}");
        }
        for name in ["pypyr", "python-config", "python3.x", "ipython3", "pip3.11"] {
            assert!(parse_name(name).is_ok(), "{name}");
        }
    }
}
