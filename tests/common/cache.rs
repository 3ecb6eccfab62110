//! A real uv, caches that it fills, and environments that it installs to compare with.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::command::{Outcome, clean_command};
use super::venv::corpora_python;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// A uv that uses one cache and asks no network.
pub struct Uv {
    cache: PathBuf,
    home: PathBuf,
}

impl Uv {
    /// A uv with this cache; the cache is made when it is first filled.
    pub fn new(cache: &Path, home: &Path) -> Self {
        Self { cache: cache.to_path_buf(), home: home.to_path_buf() }
    }

    /// `uv ARGUMENTS`, offline, to be run.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = clean_command(tool("uv"), &self.home);
        command
            .args(arguments)
            .env("UV_CACHE_DIR", &self.cache)
            .env("UV_NO_CONFIG", "1")
            .env("UV_OFFLINE", "1")
            .env("UV_PYTHON_DOWNLOADS", "never")
            .env("UV_LINK_MODE", "copy");
        command
    }

    /// Makes an empty environment.
    pub fn venv(&self, path: &Path, python: &Path) {
        let mut command = self.command(["venv", "--quiet", "--no-project", "--python"]);
        Outcome::of(command.arg(python).arg(path)).succeeds();
    }

    /// Unpacks wheels of a folder into the cache, as an install of these requirements does.
    pub fn unpack(&self, python: &Path, wheels: &Path, requirements: &[String]) {
        let scratch = tempfile::tempdir_in(&self.home).unwrap();
        let venv = scratch.path().join("venv");
        self.venv(&venv, python);
        let mut command =
            self.command(["pip", "install", "--quiet", "--no-deps", "--no-index", "--find-links"]);
        command.arg(wheels).args(requirements).arg("--python").arg(venv.join("bin/python"));
        Outcome::of(&mut command).succeeds();
    }

    /// `uv pip sync` of a real requirements file, with the network and the indexes of whoever runs the tests.
    fn sync_from_the_network(&self, venv: &Path, requirements: &Path) {
        let mut command = self.command(["pip", "sync", "--quiet", "--require-hashes", "--python"]);
        command.arg(venv.join("bin/python")).arg(requirements);
        Self::use_the_network(&mut command);
        command.env_remove("UV_LINK_MODE");
        Outcome::of(&mut command).succeeds();
    }

    /// Lets a command use the network, with the indexes of whoever runs the tests.
    pub fn use_the_network(command: &mut Command) {
        command.env_remove("UV_OFFLINE");
        for name in ["UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_NATIVE_TLS"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
    }
}

/// `python -m pip --python VENV/bin/python ARGUMENTS`: a pip from outside the environment.
pub fn pip(venv: &Path, home: &Path, arguments: &[&str]) -> Command {
    let mut command = clean_command(tool("python"), home);
    command
        .args(["-m", "pip", "--disable-pip-version-check", "--python"])
        .arg(venv.join("bin/python"))
        .args(arguments);
    command
}

fn tool(name: &str) -> PathBuf {
    let path = Path::new(REPOSITORY).join("target/tools/uv/bin").join(name);
    assert!(path.exists(), "{} is missing: run `make tools` (or `make test`) first", path.display());
    path
}

/// A pinned set of real distributions, a uv cache that holds them, and the environment that uv installed from it.
///
/// Made once below `target/tools` and kept. Nothing may run uv on this cache afterwards: tests hash it.
pub struct Corpus {
    /// The lock.
    pub requirements: PathBuf,
    /// A real uv cache.
    pub cache: PathBuf,
    /// What uv itself made of the lock.
    pub installed: PathBuf,
    /// The interpreter of `installed`.
    pub python: PathBuf,
}

impl Corpus {
    /// The corpus of tests/corpora/NAME.txt, fetched unless it is there. Several tests may ask at the same time.
    pub fn prepared(name: &str) -> Self {
        let requirements = Path::new(REPOSITORY).join(format!("tests/corpora/{name}.txt"));
        let python = corpora_python();
        let state = [python.as_os_str().as_encoded_bytes(), &fs_err::read(&requirements).unwrap()].concat();
        let digest = Sha256::digest(&state);
        let folder = Path::new(REPOSITORY)
            .join("target/tools/corpora")
            .join(format!("{name}-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]));
        let corpus =
            Self { requirements, cache: folder.join("cache"), installed: folder.join("installed"), python };
        fs_err::create_dir_all(&folder).unwrap();
        let lock = fs_err::File::create(folder.join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let complete = folder.join("complete");
        if !complete.exists() {
            corpus.fetch(&folder.join("home"));
            fs_err::write(complete, "").unwrap();
        }
        corpus
    }

    /// The wheels of a corpus in a folder, as `pip download` makes it.
    pub fn wheels(name: &str) -> PathBuf {
        let corpus = Self::prepared(name);
        let folder = corpus.cache.parent().unwrap();
        let lock = fs_err::File::create(folder.join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let (wheels, unfinished) = (folder.join("wheels"), folder.join("wheels.unfinished"));
        if !wheels.exists() {
            let mut command = Command::new(tool("python"));
            command.args(["-m", "pip", "--disable-pip-version-check", "--python"]).arg(&corpus.python);
            command.args(["download", "--quiet", "--no-deps", "--require-hashes", "-d"]).arg(&unfinished);
            Outcome::of(command.arg("-r").arg(&corpus.requirements)).succeeds();
            fs_err::rename(unfinished, &wheels).unwrap();
        }
        wheels
    }

    fn fetch(&self, home: &Path) {
        eprintln!("fetching the distributions of {} (once)", self.requirements.display());
        for leftover in [&self.cache, &self.installed] {
            if leftover.exists() {
                fs_err::remove_dir_all(leftover).unwrap();
            }
        }
        let uv = Uv::new(&self.cache, home);
        uv.venv(&self.installed, &self.python);
        uv.sync_from_the_network(&self.installed, &self.requirements);
    }
}
