//! Bytecode that is compiled once for all environments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod compiling;
mod importing;
mod tools;
mod upkeep;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Outcome, Sandbox, WheelBuilder};

/// Modules of every kind: a package, a single module, a namespace, one that lies in `.data`.
fn wheels() -> [WheelBuilder; 3] {
    let shop = WheelBuilder::new("shop", "1.0")
        .file("shop/__init__.py", "word = 'shop'\n")
        .file("shop/deep/__init__.py", "")
        .file("shop/deep/module.py", "def fail():\n    raise ValueError('on line 2')\n")
        .file("spaces/one.py", "word = 'one'\n");
    let single = WheelBuilder::new("single", "1.0").file("single.py", "word = 'single'\n");
    let moved = WheelBuilder::new("moved", "1.0")
        .data("purelib/moved.py", "word = 'moved'\n")
        .file("spaces/two.py", "word = 'two'\n");
    [shop, single, moved]
}

/// Imports all of [`wheels`].
const ALL: &str = "import shop.deep.module, single, moved, spaces.one, spaces.two";

/// Says what Python compiles, at the end.
const WATCH: &str = "
import sys, atexit, os
compiled = []
sys.addaudithook(lambda event, args: event == 'compile' and compiled.append(os.path.basename(str(args[1]))))
atexit.register(lambda: print('compiled:', *sorted(name for name in compiled if not name.startswith('<'))))
";

/// `sitefs cache compile -r requirements.txt OPTIONS VENV CACHE`, to be run.
fn compile_command(test: &Sandbox, options: &[&str]) -> Command {
    let mut arguments = vec![OsStr::new("cache"), OsStr::new("compile"), OsStr::new("-r")];
    arguments.push(test.requirements.as_os_str());
    arguments.extend(options.iter().map(OsStr::new));
    arguments.extend([test.venv.as_os_str(), test.cache.as_os_str()]);
    test.sitefs_command(arguments)
}

fn compile(test: &Sandbox) -> Outcome {
    Outcome::of(&mut compile_command(test, &[])).succeeds()
}

/// What Python compiles while it runs this.
fn compiled_by(test: &Sandbox, code: &str) -> String {
    compiled_with(&mut test.python_command(&watched(code)))
}

fn watched(code: &str) -> String {
    format!("{WATCH}\n{code}")
}

fn compiled_with(command: &mut Command) -> String {
    let said = Outcome::of(command).succeeds();
    let line = said.stdout.lines().rfind(|line| line.starts_with("compiled:"));
    line.unwrap_or_else(|| panic!("it says what it compiled: {said}"))
        .trim_start_matches("compiled:")
        .trim()
        .to_owned()
}

fn store(test: &Sandbox) -> PathBuf {
    test.home().join(".cache/sitefs/store")
}

/// The bytecode of a module in the store.
fn shelved(test: &Sandbox, module: &str) -> PathBuf {
    let is_it = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(module));
    files(&store(test).join("bytecode")).into_iter().find(|path| is_it(path)).expect("bytecode")
}

/// All files below a folder that end with `.pyc`; none if it is not there.
fn bytecode_below(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "pyc")).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    entries.filter(|entry| !entry.file_type().is_dir()).map(walkdir::DirEntry::into_path).collect()
}

/// What Python wrote into the environment itself.
fn written(test: &Sandbox) -> Vec<PathBuf> {
    bytecode_below(&test.venv.join(".sitefs"))
}

/// The names in a `__pycache__` of the mounted site-packages; none if it is not there.
fn cached(test: &Sandbox, directory: &str) -> Vec<String> {
    let entries = fs_err::read_dir(test.site_packages().join(directory).join("__pycache__"));
    let names = entries.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
