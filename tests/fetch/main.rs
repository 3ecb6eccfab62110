//! `--fetch`: what is missing is got by uv or pip, with their own settings; and nothing is got without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod folders;
mod interrupted;

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{GREET, Index, Outcome, Sandbox, WheelBuilder, fuse, greet, run_arguments, skip};
use sha2::{Digest, Sha256};

fn other() -> WheelBuilder {
    WheelBuilder::new("other", "2.0").file("other.py", "word = 'other'\n")
}

/// A sandbox with a uv on PATH, an index that has [`greet`] and [`other`], and a lock that asks for both.
struct Fetching {
    test: Sandbox,
    index: Index,
}

impl Fetching {
    fn new(credentials: Option<&str>) -> Self {
        Self::in_sandbox(Sandbox::new(), credentials)
    }

    fn in_sandbox(test: Sandbox, credentials: Option<&str>) -> Self {
        let wheels = [greet(), other()];
        let served = test.root().join("served");
        let hash = |wheel: &WheelBuilder| sha256(&wheel.build(&served));
        let lines = wheels.iter().map(|wheel| format!("{} --hash=sha256:{}", wheel.pin(), hash(wheel)));
        test.lock(&lines.collect::<Vec<_>>().join("\n"));
        fs_err::create_dir(test.root().join("tools")).unwrap();
        let fetching = Self { index: Index::of(&served, credentials), test };
        symlink(uv(), fetching.tool()).unwrap();
        fetching
    }

    /// Where `uv` is found on PATH.
    fn tool(&self) -> PathBuf {
        self.test.root().join("tools/uv")
    }

    /// With a pip on PATH, and no uv.
    fn with_pip(self) -> Self {
        fs_err::remove_file(self.tool()).unwrap();
        symlink(uv().with_file_name("pip"), self.tool().with_file_name("pip")).unwrap();
        self
    }

    /// With a folder as CACHE that has only [`greet`].
    fn with_wheelhouse(mut self) -> Self {
        self.test.cache = self.test.root().join("wheelhouse");
        greet().build(&self.test.cache);
        self
    }

    /// With a store as CACHE that has only [`greet`].
    fn with_store(mut self) -> Self {
        let wheel = greet().build(&self.test.root().join("wheels"));
        self.test.cache = self.test.root().join("store");
        let arguments = ["cache", "add", "--store"].map(OsStr::new);
        let paths = [self.test.cache.as_os_str(), wheel.as_os_str()];
        self.test.sitefs(arguments.into_iter().chain(paths)).succeeds();
        self
    }

    /// The names in CACHE.
    fn listed(&self) -> Vec<String> {
        let entries = fs_err::read_dir(&self.test.cache).into_iter().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The lock, with another hash for [`other`].
    fn with_another_hash(&self) {
        let lock = fs_err::read_to_string(&self.test.requirements).unwrap();
        let (start, digest) = lock.trim().rsplit_once(':').unwrap();
        self.test.lock(&format!("{start}:{}", digest.chars().rev().collect::<String>()));
    }

    /// Another program instead of uv.
    fn with_false_uv(&self, script: &str) {
        self.with_false("uv", script);
    }

    /// Another program instead of uv or pip.
    fn with_false(&self, tool: &str, script: &str) {
        let tool = self.tool().with_file_name(tool);
        fs_err::remove_file(&tool).unwrap();
        fs_err::write(&tool, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs_err::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// `sitefs ARGUMENTS`, with a uv on PATH that knows the index.
    fn sitefs<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.test.sitefs_command(arguments);
        command
            .env("PATH", format!("{}:/usr/bin:/bin", self.test.root().join("tools").display()))
            .env("UV_DEFAULT_INDEX", self.index.url(""))
            .env("PIP_INDEX_URL", self.index.url(""))
            .env("UV_PYTHON_DOWNLOADS", "never");
        command
    }

    fn mount(&self, options: &[&str]) -> Command {
        let test = &self.test;
        let mut command = self.sitefs(["mount", "-r"]);
        command.arg(&test.requirements).args(options).args([&test.venv, &test.cache]);
        command
    }

    /// All that the lock asks for is there.
    #[track_caller]
    fn is_complete(&self) {
        let code = "import greet, other; print(greet.word, other.word)";
        self.test.python(code).succeeds().prints("hello other");
    }
}

fn sha256(file: &Path) -> String {
    Sha256::digest(fs_err::read(file).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A source tree that is built without any tool. Its module says what this expression is when it is built.
fn source_tree(folder: &Path, word: &str) -> PathBuf {
    const PROJECT: &str = "[project]\nname = 'tree'\nversion = '1'\n\
                           [build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n";
    const BACKEND: &str = "
import base64, hashlib, os, time, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    info = 'tree-1.dist-info'
    files = {
        'tree.py': 'word = ' + repr(WORD),
        f'{info}/METADATA': 'Metadata-Version: 2.1\\nName: tree\\nVersion: 1\\n',
        f'{info}/WHEEL': 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n',
    }
    digest = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')
    record = [f'{file},sha256={digest(text)},{len(text)}' for file, text in files.items()]
    files[f'{info}/RECORD'] = '\\n'.join([*record, f'{info}/RECORD,,\\n'])
    with zipfile.ZipFile(os.path.join(folder, 'tree-1-py3-none-any.whl'), 'w') as wheel:
        [wheel.writestr(*file) for file in files.items()]
    return 'tree-1-py3-none-any.whl'
";
    let tree = folder.join("tree");
    fs_err::create_dir(&tree).unwrap();
    fs_err::write(tree.join("pyproject.toml"), PROJECT).unwrap();
    fs_err::write(tree.join("backend.py"), BACKEND.replace("WORD", word)).unwrap();
    tree
}

/// The uv of `make tools`.
fn uv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/uv/bin/uv")
}

#[test]
fn what_is_missing_is_got_into_a_cache_that_was_not_there() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(None);
    let temporary = fetching.test.root().join("temporary");
    fs_err::create_dir(&temporary).unwrap();
    let fetch = || Outcome::of(fetching.mount(&["--fetch"]).env("TMPDIR", &temporary));
    fetch().succeeds().says("uv gets 2 of 2 distributions into").says("mounted 2 distributions");
    fetching.is_complete();
    fetching.test.unmount().succeeds();
    let asked = fetching.index.requests().len();
    fetch().succeeds().says_nothing_of("uv gets");
    assert_eq!(fetching.index.requests().len(), asked, "what is there is not asked for");
    assert_eq!(fs_err::read_dir(&temporary).unwrap().count(), 0, "a folder is left");
}

#[test]
fn only_what_is_missing_is_asked_for() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(None);
    fetching.test.unpack(&[greet()]);
    Outcome::of(&mut fetching.mount(&[])).fails().says("other==2.0").says("Get them with");
    Outcome::of(&mut fetching.mount(&["--fetch"])).succeeds().says("uv gets 1 of 2 distributions");
    fetching.is_complete();
    let requests = fetching.index.requests();
    assert!(requests.iter().any(|path| path.contains("other")), "{requests:?}");
    assert!(!requests.iter().any(|path| path.contains("greet")), "{requests:?}");
    fetching.test.seal_cache();
}

/// As an entrypoint does; and a program that reads the output gets what the command says, and no more.
#[test]
fn run_gets_what_is_missing() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(None);
    let arguments = run_arguments(&fetching.test, &["--fetch"], &["python", "-c", GREET]);
    Outcome::of(&mut fetching.sitefs(arguments)).succeeds().prints("hello");
    let json = Outcome::of(&mut fetching.mount(&["--fetch", "--json"])).succeeds().json();
    assert_eq!(json["mount"]["distributions"], 2);
}

#[test]
fn links_are_made_of_what_was_got() {
    let fetching = Fetching::new(None);
    Outcome::of(&mut fetching.mount(&["--fetch", "--link-mode", "symlink", "-q"])).succeeds();
    fetching.is_complete();
}

/// The settings of uv are its own: indexes, credentials, files, and what the lock itself says.
#[test]
fn the_indexes_and_credentials_of_uv_and_of_the_lock_count() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(Some("me:secret"));
    let (test, index) = (&fetching.test, &fetching.index);
    Outcome::of(&mut fetching.mount(&["--fetch"])).fails().says("401");
    Outcome::of(fetching.mount(&["--fetch"]).env("UV_DEFAULT_INDEX", index.url("me:secret@"))).succeeds();
    fetching.is_complete();
    let forget = || {
        test.unmount().succeeds();
        fs_err::remove_dir_all(&test.cache).unwrap();
    };
    forget();
    fs_err::create_dir_all(test.home().join(".config/uv")).unwrap();
    let settings = format!("[[index]]\nurl = \"{}\"\ndefault = true\n", index.url("me:secret@"));
    fs_err::write(test.home().join(".config/uv/uv.toml"), settings).unwrap();
    Outcome::of(fetching.mount(&["--fetch"]).env_remove("UV_DEFAULT_INDEX")).succeeds();
    forget();
    fs_err::remove_file(test.home().join(".config/uv/uv.toml")).unwrap();
    let pins = fs_err::read_to_string(&test.requirements).unwrap();
    fs_err::write(test.root().join("pins.txt"), pins).unwrap();
    test.lock(&format!("--index-url {}\n-r pins.txt", index.url("me:secret@")));
    Outcome::of(fetching.mount(&["--fetch"]).env_remove("UV_DEFAULT_INDEX")).succeeds();
    fetching.is_complete();
}

#[test]
fn a_distribution_with_another_hash_is_refused_in_uvs_words() {
    let fetching = Fetching::new(None);
    let before = fetching.test.environment();
    fetching.with_another_hash();
    let outcome = Outcome::of(&mut fetching.mount(&["--fetch"])).fails();
    outcome.says("Hash mismatch for `other==2.0").says("uv did not get 2 of 2 distributions");
    fetching.test.nothing_left(&before);
}

/// With the name of the interpreter's release, a source tree is built by uv, in an environment of its own.
#[test]
fn source_trees_are_built() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(None);
    let tree = source_tree(&fetching.test.root(), "'built'");
    fetching.test.lock(&format!("tree @ file://{}\ngreet==1.0", tree.display()));
    Outcome::of(&mut fetching.mount(&["--fetch"])).succeeds();
    fetching.test.python("import tree; print(tree.word)").succeeds().prints("built");
}

#[test]
fn uv_is_found_on_path_then_in_the_environment_and_else_its_absence_is_said() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(None);
    fs_err::remove_file(fetching.tool()).unwrap();
    let outcome = Outcome::of(&mut fetching.mount(&["--fetch"])).fails();
    outcome.says("uv is not there, neither on PATH nor in").says("install uv");
    symlink(uv(), fetching.test.venv.join("bin/uv")).unwrap();
    Outcome::of(&mut fetching.mount(&["--fetch"])).succeeds();
    fetching.is_complete();
}

#[test]
fn a_uv_that_fails_or_gets_nothing_is_said_and_nothing_is_left() {
    let fetching = Fetching::new(None);
    let before = fetching.test.environment();
    fetching.with_false_uv("echo 'error: no luck' >&2; exit 3");
    let new = fetching.test.root().join("new");
    let mut mount = fetching.sitefs(["mount", "--fetch", "--python"]);
    mount
        .arg(&fetching.test.python)
        .arg("-r")
        .arg(&fetching.test.requirements)
        .args([&new, &fetching.test.cache]);
    Outcome::of(&mut mount).fails().says("error: no luck").says("it ended with 3");
    assert!(!new.exists());
    Outcome::of(&mut fetching.mount(&["--fetch"])).fails().says("error: no luck");
    fetching.with_false_uv("exit 0");
    Outcome::of(&mut fetching.mount(&["--fetch"])).fails();
    fetching.test.nothing_left(&before);
}

/// Neither by asking uv nor otherwise.
#[test]
fn without_the_option_nothing_is_got() {
    let fetching = Fetching::new(None);
    let called = fetching.test.root().join("called");
    fetching.with_false_uv(&format!("touch {}", called.display()));
    Outcome::of(&mut fetching.mount(&[])).fails();
    fetching.test.unpack(&[greet()]);
    Outcome::of(&mut fetching.mount(&[])).fails().says("other==2.0");
    Outcome::of(&mut fetching.sitefs(run_arguments(&fetching.test, &[], &["true"]))).fails();
    assert!(!called.exists() && fetching.index.requests().is_empty());
}

#[test]
fn a_complete_cache_needs_no_network() {
    let Some(test) = common::sandbox() else { return };
    if !rustix::process::geteuid().is_root() {
        skip("only root can make a network namespace");
        return;
    }
    let mut command = test.command("unshare");
    command.arg("--net").arg(test.root().join("sitefs"));
    command.args(run_arguments(&test, &["--fetch"], &["python", "-c", GREET]));
    Outcome::of(&mut command).succeeds().prints("hello");
}
