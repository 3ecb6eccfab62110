//! Where things are in one virtual environment.

use std::env::consts::EXE_SUFFIX;
use std::path::{Component, Path, PathBuf};

use super::interpreter::Scheme;
use crate::error::{Error, Result};
use crate::python::record::slashed;
use crate::shell::quote;

/// Where things are in one virtual environment.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The environment: absolute, without links in it.
    pub root: PathBuf,
    /// The paths in it.
    pub scheme: Scheme,
    /// Major and minor version of its Python.
    pub python_version: (u32, u32),
}

impl Layout {
    /// The layout of the environment at `root`.
    ///
    /// # Errors
    /// An environment whose pure and binary distributions go to different directories: one mount cannot be both. A
    /// site-packages that is reached through a link: the mount would be somewhere else.
    pub fn new(root: PathBuf, scheme: Scheme, python_version: (u32, u32)) -> Result<Self> {
        let purelib = root.join(&scheme.purelib);
        let platlib = root.join(&scheme.platlib);
        if scheme.purelib != scheme.platlib && parent_of(&purelib)? != parent_of(&platlib)? {
            return Err(Error::new(format!(
                "{} has two package directories, {} and {}, and sitefs mounts one",
                root.display(),
                purelib.display(),
                platlib.display()
            ))
            .with_help(format!("ln -s lib {}", quote(&root.join("lib64")))));
        }
        // Not by stat(2), which a mount there would have to answer.
        let is_link = fs_err::read_link(&purelib).is_ok();
        if is_link || parent_of(&purelib)? != purelib.parent().unwrap_or(&root) {
            return Err(Error::new(format!("{} is reached through a link", purelib.display()))
                .with_help("make it a directory of the environment: a mount must not appear anywhere else"));
        }
        Ok(Self { root, scheme, python_version })
    }

    /// The interpreter, as commands name it in their first line.
    pub fn python(&self) -> PathBuf {
        self.root.join(&self.scheme.scripts).join(format!("python{EXE_SUFFIX}"))
    }

    /// The site-packages directory.
    pub fn site_packages(&self) -> PathBuf {
        self.root.join(&self.scheme.purelib)
    }

    /// The names that site-packages has, relative to the environment: `lib64` is often a link to `lib`.
    pub fn site_packages_names(&self) -> [PathBuf; 3] {
        let mut components = self.scheme.purelib.components();
        components.next();
        [self.scheme.purelib.clone(), self.scheme.platlib.clone(), Path::new("lib64").join(components)]
    }

    /// A path relative to the environment as RECORD writes it: relative to site-packages.
    pub fn in_record(&self, path: &Path) -> String {
        let depth =
            self.scheme.purelib.components().filter(|part| matches!(part, Component::Normal(_))).count();
        format!("{}{}", "../".repeat(depth), slashed(path))
    }
}

/// The directory that a path is in, without links. The path itself may be a mount that does not answer.
fn parent_of(path: &Path) -> Result<PathBuf> {
    Ok(crate::sys::posix::canonicalize(path.parent().unwrap_or(path))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let site_packages = PathBuf::from("lib/python3.11/site-packages");
        let root = crate::sys::posix::canonicalize(tempfile::tempdir().unwrap().keep()).unwrap();
        fs_err::create_dir_all(root.join(&site_packages)).unwrap();
        let scheme = Scheme {
            purelib: site_packages.clone(),
            platlib: site_packages,
            scripts: "bin".into(),
            headers: "include/site/python3.11".into(),
        };
        Layout::new(root, scheme, (3, 11)).unwrap()
    }

    #[test]
    fn record_names_what_is_outside_by_climbing_out() {
        assert_eq!(layout().in_record(Path::new("bin/jupyter")), "../../../bin/jupyter");
    }

    #[test]
    fn lib64_is_another_name_of_lib() {
        assert!(layout().site_packages_names().contains(&PathBuf::from("lib64/python3.11/site-packages")));
    }
}
