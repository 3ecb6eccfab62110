//! The part of a pylock.toml that is about some of its packages.

use std::collections::HashSet;
use std::path::Path;

use toml::{Table, Value};

use super::file::{File, Package};
use crate::error::{Context, Result};
use crate::lock::toml_file::{self, Lines};
use crate::lock::{Selection, artifact};

/// A pylock.toml with the packages of that at `path`, which holds `text`, that are named on these lines: without conditions,
/// and with absolute paths.
///
/// # Errors
/// A lock that is not understood.
pub(in crate::lock) fn excerpt(
    path: &Path,
    text: &str,
    lines: &HashSet<usize>,
    selection: &Selection,
) -> Result<String> {
    let shown = || format!("`{}`", path.display());
    let file: File = toml_file::parse(path, text)?;
    let mut table: Table = toml_file::parse(path, text)?;
    let path = std::path::absolute(path).context(shown)?;
    let folder = path.parent().unwrap_or(&path);
    for condition in ["environments", "extras", "dependency-groups", "default-groups"] {
        table.remove(condition);
    }
    let numbers = Lines::of(text);
    let is_meant = |package: &&Package| lines.contains(&numbers.number(package.name.span().start));
    if let Some(Value::Array(packages)) = table.get_mut("packages") {
        let mut meant = file.packages.iter().map(|package| is_meant(&package));
        packages.retain(|_| meant.next().unwrap_or_default());
        let meant = file.packages.iter().filter(is_meant);
        for (package, table) in meant.zip(packages.iter_mut().filter_map(Value::as_table_mut)) {
            simplify(table, folder, selection.refuses_editable(package.name.get_ref()))?;
        }
    }
    toml::to_string(&table).context(shown)
}

fn simplify(package: &mut Table, folder: &Path, refuses_editable: bool) -> Result<()> {
    package.remove("marker");
    package.remove("dependencies");
    for source in ["vcs", "directory", "archive", "sdist"] {
        if let Some(Value::Table(source)) = package.get_mut(source) {
            make_absolute(source, folder)?;
        }
    }
    if let Some(Value::Array(wheels)) = package.get_mut("wheels") {
        for wheel in wheels.iter_mut().filter_map(Value::as_table_mut) {
            make_absolute(wheel, folder)?;
        }
    }
    if refuses_editable && let Some(Value::Table(directory)) = package.get_mut("directory") {
        directory.remove("editable");
    }
    Ok(())
}

fn make_absolute(source: &mut Table, folder: &Path) -> Result<()> {
    if let Some(Value::String(path)) = source.get_mut("path") {
        *path = artifact::absolute(folder, path)?.display().to_string();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_lock_has_no_conditions_and_absolute_paths() {
        let text = "lock-version = \"1.0\"\ncreated-by = \"x\"\nextras = [\"a\"]\n\n\
                    [[packages]]\nname = \"one\"\nversion = \"1\"\nmarker = \"'a' in extras\"\n\
                    directory = { path = \"../one\", editable = true }\n\n\
                    [[packages]]\nname = \"two\"\nversion = \"2\"\n";
        let selection = Selection { no_editable: true, ..Selection::default() };
        let part = excerpt(Path::new("/p/q/pylock.toml"), text, &HashSet::from([6]), &selection).unwrap();
        let expected = "lock-version = \"1.0\"\ncreated-by = \"x\"\n[[packages]]\nname = \"one\"\n\
                        version = \"1\"\n[packages.directory]\npath = \"/p/one\"\n";
        let parsed = |text: &str| toml::from_str::<Table>(text).unwrap();
        assert_eq!(parsed(&part), parsed(expected));
    }
}
