//! Containers without an engine: see container.py beside this.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::{Outcome, as_nobody};
use super::skip;
use super::venv::{Sandbox, python};

const RUNNER: &str = include_str!("container.py");

/// For a shell, in a mount namespace of its own: a `/dev` without fuse.
pub const WITHOUT_DEVICE: &str = r#"
    devices=$(mktemp -d)
    mount -t tmpfs tmpfs "$devices"
    for name in null zero full random urandom; do
        touch "$devices/$name"
        mount --bind "/dev/$name" "$devices/$name"
    done
    mount --move "$devices" /dev
"#;

/// What `docker run` is told, of a root file system that is a directory.
#[derive(Clone)]
pub struct Container {
    root: PathBuf,
    runner: PathBuf,
    python: PathBuf,
    options: Vec<OsString>,
    is_nobodys: bool,
}

impl Container {
    /// An empty root file system; none, said loudly, where none can be made.
    pub fn empty(root: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can make a container");
            return None;
        }
        fs_err::create_dir_all(root).unwrap();
        let runner = root.with_extension("py");
        fs_err::write(&runner, RUNNER).unwrap();
        Some(Self {
            root: root.to_path_buf(),
            runner,
            python: python(),
            options: Vec::new(),
            is_nobodys: false,
        })
    }

    /// One with sitefs, a Python, a sandbox's lock at /app and its cache at /cache, and /run/app, which all may write.
    pub fn of(test: &Sandbox) -> Option<Self> {
        let root = test.root().join("container");
        let container = Self::empty(&root)?;
        let writable = root.join("run/app");
        fs_err::create_dir_all(&writable).unwrap();
        fs_err::set_permissions(&writable, PermissionsExt::from_mode(0o1777)).unwrap();
        let lock = format!("{}:/app/requirements.txt:ro", test.requirements.display());
        let cache = format!("{}:/cache:ro", test.cache.display());
        Some(container.sitefs(test).python(&test.python).with(&["--volume", &lock, "--volume", &cache]))
    }

    /// The sandbox's sitefs, as /usr/local/bin/sitefs.
    pub fn sitefs(self, test: &Sandbox) -> Self {
        let program = format!("{}:/usr/local/bin/sitefs", test.root().join("sitefs").display());
        self.with(&["--program", &program])
    }

    /// A Python, as /usr/local/bin/python3.
    pub fn python(self, python: &Path) -> Self {
        self.with(&["--python", python.to_str().unwrap()])
    }

    /// More options.
    pub fn with<S: AsRef<OsStr>>(mut self, options: &[S]) -> Self {
        self.options.extend(options.iter().map(|option| option.as_ref().to_owned()));
        self
    }

    /// Rootless: made by the user nobody, who is its root, with this Python.
    pub fn rootless(self, python: &Path) -> Self {
        let mut container = self.with(&["--rootless"]);
        container.is_nobodys = true;
        container.python = python.to_path_buf();
        container
    }

    /// A command in it, to be run, as process 1 and with no variable but PATH.
    pub fn command<S: AsRef<OsStr>>(&self, command: &[S]) -> Command {
        let mut runner = Command::new(&self.python);
        runner.arg("-IB").arg(&self.runner).arg(&self.root).args(&self.options).arg("--").args(command);
        let mut runner = if self.is_nobodys { as_nobody(&runner) } else { runner };
        runner.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").current_dir("/");
        runner
    }

    /// A command in it, run.
    pub fn run<S: AsRef<OsStr>>(&self, command: &[S]) -> Outcome {
        Outcome::of(&mut self.command(command))
    }

    /// `sitefs run -v ... -- python -c CODE`, in an environment that it makes.
    pub fn run_python(&self, code: &str) -> Outcome {
        let options = [
            "--python",
            "python3",
            "--venv",
            "/run/app/venv",
            "--cache",
            "/cache",
            "-r",
            "/app/requirements.txt",
        ];
        let command = ["sitefs", "run", "-v"].into_iter().chain(options).chain(["--", "python", "-c", code]);
        self.run(&command.collect::<Vec<_>>())
    }
}
