//! The text of commands: launchers of entry points, and scripts whose `#!python` line is made real.

use std::io::Read;
use std::path::Path;

use crate::error::Result;
use crate::python::EntryPoint;

/// The longest first line that kernels accept, with `#!` and the newline.
const LONGEST_SHEBANG: usize = 127;

/// The launcher of an entry point, byte for byte as uv writes it, so that environments compare equal.
pub(super) fn launcher(entry_point: &EntryPoint, python: &Path) -> Vec<u8> {
    let EntryPoint { module, function, .. } = entry_point;
    let import = function.split('.').next().unwrap_or(function);
    let mut text = shebang(python);
    text.extend_from_slice(
        format!(
            r#"
# -*- coding: utf-8 -*-
import sys
from {module} import {import}
if __name__ == "__main__":
    if sys.argv[0].endswith("-script.pyw"):
        sys.argv[0] = sys.argv[0][:-11]
    elif sys.argv[0].endswith(".exe"):
        sys.argv[0] = sys.argv[0][:-4]
    sys.exit({function}())
"#
        )
        .as_bytes(),
    );
    text
}

/// What a wheel's script starts with when the installer shall put the interpreter there: `#!python` or `#!pythonw`.
///
/// Source: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/#recommended-installer-features>
const PYTHON_LINE: &[u8] = b"#!python";

/// Whether a wheel's script starts with `#!python`. Only its first bytes are read: a script may be a large program.
pub(super) fn has_python_line(script: &Path) -> Result<bool> {
    let mut start = Vec::with_capacity(PYTHON_LINE.len());
    fs_err::File::open(script)?.take(PYTHON_LINE.len() as u64).read_to_end(&mut start)?;
    Ok(start == PYTHON_LINE)
}

/// A script of a wheel with its `#!python` or `#!pythonw` line made real.
pub(super) fn rewritten(script: &[u8], python: &Path) -> Vec<u8> {
    let end = script.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(script.len());
    let rest = script.get(end + 1..).unwrap_or_default();
    let mut text = shebang(python);
    text.push(b'\n');
    text.extend_from_slice(rest);
    text
}

/// The first line for an interpreter, without newline. A path that is too long or has white space goes through `/bin/sh`:
/// the two lines are a string to Python and an `exec` to the shell.
fn shebang(python: &Path) -> Vec<u8> {
    let path = python.as_os_str().as_encoded_bytes();
    if path.len() + b"#!\n".len() <= LONGEST_SHEBANG && !path.iter().any(u8::is_ascii_whitespace) {
        return [b"#!", path].concat();
    }
    let mut quoted = Vec::with_capacity(path.len());
    for &byte in path {
        match byte {
            b'\'' => quoted.extend_from_slice(br#"'"'"'"#),
            other => quoted.push(other),
        }
    }
    [b"#!/bin/sh\n'''exec' '".as_slice(), &quoted, b"' \"$0\" \"$@\"\n' '''"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_plain_path_is_the_first_line() {
        assert_eq!(text(shebang(Path::new("/venv/bin/python"))), "#!/venv/bin/python");
    }

    #[test]
    fn a_path_with_a_space_goes_through_the_shell() {
        assert_eq!(
            text(shebang(Path::new("/my venv's/bin/python"))),
            "#!/bin/sh\n'''exec' '/my venv'\"'\"'s/bin/python' \"$0\" \"$@\"\n' '''"
        );
    }

    #[test]
    fn a_long_path_goes_through_the_shell() {
        let fits = format!("/{}", "x".repeat(123));
        assert_eq!(text(shebang(Path::new(&fits))), format!("#!{fits}"));
        let long = format!("{fits}x");
        assert!(text(shebang(Path::new(&long))).starts_with("#!/bin/sh\n"));
    }

    #[test]
    fn a_method_is_imported_by_its_class() {
        let entry_point =
            EntryPoint { name: "tool".into(), module: "a.b".into(), function: "C.run".into(), gui: false };
        let launcher = text(launcher(&entry_point, Path::new("/venv/bin/python")));
        assert!(launcher.contains("\nfrom a.b import C\n"), "{launcher}");
        assert!(launcher.ends_with("    sys.exit(C.run())\n"), "{launcher}");
    }

    #[test]
    fn only_the_first_line_of_a_script_changes() {
        let python = Path::new("/v/bin/python");
        assert_eq!(rewritten(b"#!python -u\nprint()\n", python), b"#!/v/bin/python\nprint()\n");
        assert_eq!(rewritten(b"#!pythonw", python), b"#!/v/bin/python\n");
    }
}
