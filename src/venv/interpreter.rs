//! The facts of an interpreter, asked once and remembered.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pep508_rs::MarkerEnvironment;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Context, Error, Result};
use crate::python::Tags;
use crate::python::tags::InterpreterFacts;
use crate::sys::posix::modified;
use crate::user_folder::{remember, user_folder};

/// What sitefs needs to know of a virtual environment's interpreter.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// Where things go in the environment.
    pub scheme: Scheme,
    /// What markers are compared with.
    pub markers: MarkerEnvironment,
    /// Which wheels fit.
    pub tags: Tags,
    /// The major and the minor version, as `(3, 11)`.
    pub version: (u32, u32),
    /// `sys.implementation.name`, as `cpython`.
    pub implementation: String,
    /// How it calls bytecode; none if it keeps none.
    pub bytecode: Option<Bytecode>,
}

/// What tells an interpreter's bytecode from that of others.
///
/// Source: PEP 3147, `sys.implementation.cache_tag` and `importlib.util.MAGIC_NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytecode {
    /// `cpython-311`, a part of the names of its files.
    pub cache_tag: String,
    /// What its files begin with, in hexadecimal digits.
    pub magic: String,
}

/// The paths of the environment's `venv` scheme, relative to the environment.
///
/// Source: <https://docs.python.org/3/library/sysconfig.html#installation-paths>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheme {
    /// `lib/python3.11/site-packages`
    pub purelib: PathBuf,
    /// Usually the same as `purelib`.
    pub platlib: PathBuf,
    /// `bin`
    pub scripts: PathBuf,
    /// `include/site/python3.11`: a wheel's headers go to a folder with the distribution's name below it.
    pub headers: PathBuf,
}

/// What the script prints and what is remembered: the facts, not the tags, which are computed faster than read.
#[derive(Serialize, Deserialize)]
struct Answer {
    facts: InterpreterFacts,
    markers: MarkerEnvironment,
    scheme: Scheme,
    bytecode: Option<Bytecode>,
}

const SCRIPT: &str = include_str!("interpreter.py");

/// Raise it when the script or [`Answer`] changes, so that what older versions remembered is not read.
const FORMAT: &str = "2";

const OLDEST_VERSION: (u32, u32) = (3, 8);

impl Interpreter {
    /// The facts of `venv`'s own interpreter: remembered in the user's cache folder, or asked of `venv/bin/python`.
    ///
    /// # Errors
    /// The interpreter is missing, does not start, or answers nonsense.
    pub fn of(venv: &Path) -> Result<Self> {
        Self::remembered_in(user_folder("interpreters").as_deref(), venv)
    }

    /// The same, remembered in `folder`; without one the interpreter is asked.
    ///
    /// # Errors
    /// As [`Interpreter::of`]. A folder that cannot be read or written is no error.
    pub fn remembered_in(folder: Option<&Path>, venv: &Path) -> Result<Self> {
        let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
        answer(folder, &python).map(Self::from).map_err(|error| {
            if error.help().is_some() {
                return error;
            }
            let venv = venv.display();
            error.with_help(format!(
                "Make the environment again, for example with `python3 -m venv --clear {venv}`"
            ))
        })
    }
}

impl From<Answer> for Interpreter {
    fn from(answer: Answer) -> Self {
        Self {
            tags: Tags::new(&answer.facts),
            scheme: answer.scheme,
            markers: answer.markers,
            version: answer.facts.version,
            implementation: answer.facts.implementation,
            bytecode: answer.bytecode,
        }
    }
}

fn answer(folder: Option<&Path>, python: &Path) -> Result<Answer> {
    let real = resolve(python)?;
    let Some(folder) = folder else {
        return ask(python);
    };
    let file = folder.join(format!("{}.json", identity(&real)?));
    if let Some(answer) = recall(&file) {
        return Ok(answer);
    }
    let answer = ask(python)?;
    if let Err(error) = remember(&file, &answer) {
        log::debug!("could not remember {}: {error}", real.display());
    }
    Ok(answer)
}

fn resolve(python: &Path) -> Result<PathBuf> {
    crate::sys::posix::canonicalize(python).map_err(|error| match fs_err::read_link(python) {
        Ok(target) if error.kind() == io::ErrorKind::NotFound => Error::new(format!(
            "the interpreter {} is a link to {}, which is not there",
            python.display(),
            target.display()
        )),
        _ if error.kind() == io::ErrorKind::PermissionDenied => {
            Error::new("the interpreter cannot be reached")
                .because(error)
                .with_help("this user needs permission to enter its directories")
        }
        _ => Error::new("there is no interpreter").because(error),
    })
}

/// Environments over one base interpreter share what is remembered: its scheme is relative, and they differ in nothing
/// else that is asked.
///
/// The running system counts too, because its kernel is in the markers and its libc in the tags, and machines may
/// share an interpreter and a home on one drive.
fn identity(real: &Path) -> Result<String> {
    let metadata = fs_err::metadata(real)?;
    let (seconds, nanoseconds) = modified(&metadata);
    let mut hash = Sha256::new();
    hash.update(FORMAT);
    hash.update(real.as_os_str().as_encoded_bytes());
    hash.update(format!("\0{} {seconds}.{nanoseconds:09}", metadata.len()));
    for file in ["/proc/sys/kernel/osrelease", "/proc/sys/kernel/version", "/etc/os-release"] {
        hash.update([0]);
        hash.update(fs_err::read(file).unwrap_or_default());
    }
    Ok(data_encoding::HEXLOWER.encode(&hash.finalize()))
}

fn recall(file: &Path) -> Option<Answer> {
    parse(&fs_err::read(file).ok()?).ok()
}

fn ask(python: &Path) -> Result<Answer> {
    let name = python.display();
    let output = run(python).context(|| format!("the interpreter {name} does not start"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let reason = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it printed no error");
        return Err(Error::new(format!(
            "the interpreter {name} failed with {}: {}",
            output.status,
            reason.trim()
        )));
    }
    parse(&output.stdout).context(|| format!("the interpreter {name} does not answer as Python does"))
}

/// Runs the script, disturbed neither by the user's variables nor by what is installed in the environment: without
/// `site` (`-S`) no `.pth` file and no `sitecustomize` runs. Writes no bytecode.
fn run(python: &Path) -> io::Result<Output> {
    let mut command = Command::new(python);
    command.args(["-I", "-S", "-B", "-c", SCRIPT]).stdin(Stdio::null());
    // sysconfig reads some of its variables in isolated mode, too.
    for (variable, _) in env::vars_os().filter(|(variable, _)| is_read_by_python(variable)) {
        command.env_remove(variable);
    }
    // Without it, macOS tells programs built for older releases that it is version 10.16.
    command.env("SYSTEM_VERSION_COMPAT", "0");
    command.output()
}

/// Whether Python does something else where this variable is set.
pub(crate) fn is_read_by_python(variable: &OsStr) -> bool {
    ["PYTHON", "_PYTHON", "__PYVENV_LAUNCHER__"]
        .iter()
        .any(|prefix| variable.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

fn parse(text: &[u8]) -> Result<Answer> {
    let answer: Answer = serde_json::from_slice(text).context(|| {
        let start: String = String::from_utf8_lossy(text).chars().take(60).collect();
        format!("it printed `{}`", start.escape_debug())
    })?;
    let (major, minor) = answer.facts.version;
    if answer.facts.version < OLDEST_VERSION {
        let (oldest_major, oldest_minor) = OLDEST_VERSION;
        return Err(Error::new(format!("it is Python {major}.{minor}")).with_help(format!(
            "Make the environment again with Python {oldest_major}.{oldest_minor} or newer"
        )));
    }
    let Scheme { purelib, platlib, scripts, headers } = &answer.scheme;
    for path in [purelib, platlib, scripts, headers] {
        let is_inside = path.components().all(|component| matches!(component, Component::Normal(_)));
        if !is_inside || path.as_os_str().is_empty() {
            return Err(Error::new(format!(
                "its scheme has `{}`, which is outside the environment",
                path.display()
            )));
        }
    }
    if let Some(Bytecode { cache_tag, magic }) = &answer.bytecode
        && !(is_name(cache_tag, b"._-") && is_name(magic, b""))
    {
        return Err(Error::new(format!("its bytecode is called `{cache_tag}` `{magic}`")));
    }
    Ok(answer)
}

/// Whether a text can be a part of a file's name.
fn is_name(text: &str, marks: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{
        "facts": {
            "implementation": "cpython", "version": [3, 11], "ext_suffix": ".cpython-311-x86_64-linux-gnu.so",
            "debug": false, "gil_disabled": false,
            "system": {
                "name": "linux", "platform": "linux-x86_64", "is_32bit": false,
                "glibc": [2, 36], "musl": null, "elf_abi": null
            }
        },
        "markers": {
            "implementation_name": "cpython", "implementation_version": "3.11.7", "os_name": "posix",
            "platform_machine": "x86_64", "platform_python_implementation": "CPython", "platform_release": "6.1",
            "platform_system": "Linux", "platform_version": "1", "python_full_version": "3.11.7",
            "python_version": "3.11", "sys_platform": "linux"
        },
        "scheme": {
            "purelib": "lib/python3.11/site-packages", "platlib": "lib64/python3.11/site-packages",
            "scripts": "bin", "headers": "include/site/python3.11"
        },
        "bytecode": {"cache_tag": "cpython-311", "magic": "a70d0d0a"}
    }"#;

    /// A virtual environment whose `bin/python` is a shell script, and a folder to remember in.
    struct Fake {
        root: tempfile::TempDir,
    }

    impl Fake {
        fn new(script: &str) -> Self {
            let fake = Self { root: tempfile::tempdir().unwrap() };
            fs_err::create_dir_all(fake.venv().join("bin")).unwrap();
            fs_err::write(fake.root.path().join("answer"), ANSWER).unwrap();
            fake.write_python(script);
            fake
        }

        /// A Python that answers well, and counts how often it was asked.
        fn good() -> Self {
            Self::new("cat \"$ROOT/answer\"; echo >> \"$ROOT/asked\"")
        }

        /// Another process writes the script: a thread that forks while this one has it open for writing would make
        /// it too busy to start (ETXTBSY).
        fn write_python(&self, script: &str) {
            let text = format!("#!/bin/sh\nROOT='{}'\n{script}\n", self.root.path().display());
            let status = Command::new("sh")
                .args(["-c", r#"printf %s "$1" > "$2" && chmod +x "$2""#, "sh", &text])
                .arg(self.python())
                .status()
                .unwrap();
            assert!(status.success());
        }

        fn venv(&self) -> PathBuf {
            self.root.path().join("venv")
        }

        fn python(&self) -> PathBuf {
            self.venv().join("bin/python")
        }

        fn folder(&self) -> PathBuf {
            self.root.path().join("memory/interpreters")
        }

        fn interpreter(&self) -> Result<Interpreter> {
            Interpreter::remembered_in(Some(&self.folder()), &self.venv())
        }

        fn error(&self) -> Error {
            self.interpreter().unwrap_err()
        }

        fn times_asked(&self) -> usize {
            fs_err::read_to_string(self.root.path().join("asked")).map_or(0, |text| text.lines().count())
        }

        fn remembered_file(&self) -> PathBuf {
            let files: Vec<_> = fs_err::read_dir(self.folder()).unwrap().collect();
            let [Ok(file)] = files.as_slice() else { panic!("one file expected: {files:?}") };
            file.path()
        }
    }

    #[test]
    fn an_interpreter_is_asked_once() {
        let fake = Fake::good();
        for _ in 0..3 {
            let interpreter = fake.interpreter().unwrap();
            assert_eq!(interpreter.version, (3, 11));
            assert_eq!(interpreter.implementation, "cpython");
            assert_eq!(interpreter.scheme.platlib, Path::new("lib64/python3.11/site-packages"));
            assert_eq!(interpreter.markers.python_full_version().string, "3.11.7");
            let best = interpreter.tags.iter().next();
            assert_eq!(best.as_deref(), Some("cp311-cp311-linux_x86_64"));
        }
        assert_eq!(fake.times_asked(), 1);
    }

    #[test]
    fn environments_over_one_interpreter_share_what_is_remembered() {
        let fake = Fake::good();
        fake.interpreter().unwrap();
        let other = fake.root.path().join("other");
        fs_err::create_dir_all(other.join("bin")).unwrap();
        fs_err::os::unix::fs::symlink(fake.python(), other.join("bin/python")).unwrap();
        Interpreter::remembered_in(Some(&fake.folder()), &other).unwrap();
        assert_eq!(fake.times_asked(), 1);
    }

    #[test]
    fn a_changed_interpreter_is_asked_again() {
        let fake = Fake::good();
        fake.interpreter().unwrap();
        fake.write_python("cat \"$ROOT/answer\"; echo >> \"$ROOT/asked\"; true");
        fake.interpreter().unwrap();
        assert_eq!(fake.times_asked(), 2);
    }

    #[test]
    fn a_bad_remembered_file_is_asked_again_and_replaced() {
        let fake = Fake::good();
        let outside = ANSWER.replace("lib/python3.11", "../python3.11");
        let climbing = ANSWER.replace("cpython-311\"", "../cpython\"");
        let bad: [&[u8]; 6] =
            [b"", b"{", b"{\"other\": 1}", &[0xff; 9], outside.as_bytes(), climbing.as_bytes()];
        fake.interpreter().unwrap();
        let file = fake.remembered_file();
        for (count, text) in bad.into_iter().enumerate() {
            fs_err::write(&file, text).unwrap();
            fake.interpreter().unwrap();
            assert_eq!(fake.times_asked(), count + 2);
            assert_eq!(fake.remembered_file(), file);
            assert!(recall(&file).is_some());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_no_error() {
        let fake = Fake::good();
        fs_err::write(fake.root.path().join("memory"), "a file in the way").unwrap();
        fake.interpreter().unwrap();
        Interpreter::remembered_in(None, &fake.venv()).unwrap();
        assert_eq!(fake.times_asked(), 2);
    }

    #[test]
    fn a_broken_environment_is_told_with_its_path_and_help() {
        let missing = Fake::new("");
        fs_err::remove_file(missing.python()).unwrap();
        let dangling = Fake::new("");
        fs_err::remove_file(dangling.python()).unwrap();
        fs_err::os::unix::fs::symlink("/gone/python3", dangling.python()).unwrap();
        let not_a_program = Fake::new("");
        fs_err::write(not_a_program.python(), "rubbish").unwrap();
        for (fake, reason) in [
            (missing, "there is no interpreter"),
            (dangling, "is a link to /gone/python3, which is not there"),
            (not_a_program, "does not start"),
            (
                Fake::new("echo first >&2; echo no module named encodings >&2; exit 3"),
                "failed with exit status: 3: no module named encodings",
            ),
            (Fake::new("exit 1"), "exit status: 1: it printed no error"),
            (Fake::new("kill -9 $$"), "failed with signal: 9"),
            (Fake::new("echo hello"), r"does not answer as Python does: it printed `hello\n`"),
            (Fake::new(""), "it printed ``"),
            (
                Fake::new(r#"sed 's|"bin"|"/usr/bin"|' "$ROOT/answer""#),
                "`/usr/bin`, which is outside the environment",
            ),
        ] {
            let error = fake.error();
            let message = error.to_string();
            let python = fake.python();
            assert!(message.contains(reason) && message.contains(&*python.to_string_lossy()), "{message}");
            let help = error.help().unwrap();
            assert!(help.contains(&*fake.venv().to_string_lossy()), "{help}");
            assert!(!fake.folder().exists(), "nothing may be remembered: {message}");
        }
    }

    #[test]
    fn an_old_python_is_refused() {
        let error = Fake::new(r#"sed 's/\[3, 11\]/[3, 7]/' "$ROOT/answer""#).error();
        assert!(error.to_string().ends_with("it is Python 3.7"), "{error}");
        assert!(error.help().unwrap().contains("Python 3.8 or newer"));
    }
}
