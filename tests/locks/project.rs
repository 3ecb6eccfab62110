//! A project that a real uv locks and installs, and that sitefs mounts.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Outcome, Sandbox, Tree, Uv, WheelBuilder, clean_command, comparable};

/// A project and the folder around it: an index of wheels, a cache, environments.
pub(crate) struct Project {
    /// The cache, the home and the environment to mount on.
    pub(crate) test: Sandbox,
    /// The project, with its pyproject.toml and its locks.
    pub(crate) folder: PathBuf,
    /// Whether uv may use the network and the indexes of whoever runs the tests.
    is_online: bool,
}

/// An environment as it is seen: what tools list, and every file.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) list: String,
    pub(crate) tree: Tree,
}

impl Project {
    /// An empty project, whose environments have this Python and which knows only its own wheels.
    pub(crate) fn new(python: &Path) -> Self {
        let test = Sandbox::with_venv("project/venv", python);
        let folder = test.root().join("project");
        fs_err::create_dir(test.root().join("wheels")).unwrap();
        Self { test, folder, is_online: false }
    }

    /// An empty project that knows the distributions of the network.
    pub(crate) fn online(python: &Path) -> Self {
        Self { is_online: true, ..Self::new(python) }
    }

    /// Puts wheels where uv finds them.
    pub(crate) fn with_wheels(self, wheels: impl IntoIterator<Item = WheelBuilder>) -> Self {
        for wheel in wheels {
            wheel.build(&self.test.root().join("wheels"));
        }
        self
    }

    /// Writes a file of the project.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.folder.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
        self
    }

    /// Makes the folder a package that can be built: `table` is its `[project]` table and all that follows.
    pub(crate) fn package(self, folder: &str, name: &str, table: &str) -> Self {
        let build = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";
        self.file(
            &format!("{folder}/pyproject.toml"),
            &format!("[project]\nname = \"{name}\"\n{table}\n{build}"),
        )
        .file(&format!("{folder}/backend.py"), BACKEND)
        .file(&format!("{folder}/src/{}/__init__.py", name.replace('-', "_")), "")
    }

    /// `uv ARGUMENTS` in the project.
    pub(crate) fn uv_command<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = self.test.uv().command(arguments);
        // The project's own settings count; there are no others in this home.
        command.current_dir(&self.folder).env("UV_PYTHON", &self.test.python).env_remove("UV_NO_CONFIG");
        if self.is_online {
            Uv::use_the_network(&mut command);
        } else {
            // Servers on this machine count as network, too.
            command.env_remove("UV_OFFLINE").args(["--no-index", "--find-links", "../wheels"]);
        }
        command
    }

    pub(crate) fn uv(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&mut self.uv_command(arguments))
    }

    /// What `uv sync` with these options makes of the lock; or the error that it ends with.
    pub(crate) fn sync(&self, options: &[&str]) -> Result<Seen, String> {
        let venv = self.fresh_venv();
        let mut command = self.uv_command(["sync", "--quiet", "--locked"]);
        command.args(options).env("UV_PROJECT_ENVIRONMENT", &venv);
        self.installed(&mut command, &venv)
    }

    /// What `uv pip sync` with these options makes of another lock; or the error that it ends with.
    pub(crate) fn pip_sync(&self, lock: &str, options: &[&str]) -> Result<Seen, String> {
        let venv = self.fresh_venv();
        let mut command =
            self.uv_command(["pip", "sync", "--quiet", "--preview", "--allow-empty-requirements"]);
        command.arg(lock).args(options).env("VIRTUAL_ENV", &venv).env_remove("UV_PYTHON");
        self.installed(&mut command, &venv)
    }

    /// What `uv pip install` with these options makes of requirements, without what they depend on; or the error that it
    /// ends with.
    pub(crate) fn pip_install(&self, lock: &str, options: &[&str]) -> Result<Seen, String> {
        let venv = self.fresh_venv();
        let mut command = self.uv_command(["pip", "install", "--quiet", "--no-deps", "-r", lock]);
        command.args(options).env("VIRTUAL_ENV", &venv).env_remove("UV_PYTHON");
        self.installed(&mut command, &venv)
    }

    /// A pip of its own, of a version that has `pip lock`, to be run in the project.
    pub(crate) fn pip_command(&self) -> Command {
        let pip = self.test.root().join("pip");
        if !pip.exists() {
            self.test.uv().venv(&pip, &self.test.python);
            let mut install = self.test.uv().command(["pip", "install", "--quiet", "pip==25.3", "--python"]);
            Uv::use_the_network(&mut install);
            install.arg(pip.join("bin/python")).env("UV_CACHE_DIR", self.test.root().join("cache-of-pip"));
            Outcome::of(&mut install).succeeds();
        }
        let mut command = clean_command(pip.join("bin/python"), &self.test.home());
        command.args(["-m", "pip"]).current_dir(&self.folder);
        command
    }

    fn installed(&self, command: &mut Command, venv: &Path) -> Result<Seen, String> {
        let outcome = Outcome::of(command);
        match outcome.code() {
            Some(0) => Ok(self.seen(venv)),
            _ => Err(outcome.stderr),
        }
    }

    /// The same name as the environment to mount on: it is written in its files.
    fn fresh_venv(&self) -> PathBuf {
        let venv = self.test.root().join("installed/venv");
        if venv.exists() {
            fs_err::remove_dir_all(&venv).unwrap();
        }
        self.test.uv().venv(&venv, &self.test.python);
        venv
    }

    /// What sitefs with these options makes of a lock; or the error that it ends with.
    pub(crate) fn mount(&self, lock: &str, options: &[&str]) -> Result<Seen, String> {
        let outcome = self.mount_with(&[&["-r", lock][..], options].concat());
        if outcome.code() != Some(0) {
            return Err(outcome.fails().stderr);
        }
        let seen = self.seen(&self.test.venv);
        self.test.unmount().succeeds();
        Ok(seen)
    }

    /// `sitefs mount OPTIONS VENV CACHE` in the project.
    pub(crate) fn mount_with(&self, options: &[&str]) -> Outcome {
        let mut command = self.test.sitefs_command(["mount"]);
        command.args(options).args([&self.test.venv, &self.test.cache]).current_dir(&self.folder);
        Outcome::of(&mut command)
    }

    pub(crate) fn seen(&self, venv: &Path) -> Seen {
        let mut list = self.test.onlooking_uv().command(["pip", "list", "--format=json", "--python"]);
        let list = Outcome::of(list.arg(venv.join("bin/python"))).succeeds().stdout;
        Seen { list, tree: comparable(venv) }
    }
}

/// A build backend in one file: packages below `src`, the version from `version.txt` where pyproject.toml has none, and
/// further lines of METADATA from `metadata.txt`. What it is built with is told in a file.
const BACKEND: &str = r#"
import os, re, zipfile

project = open("pyproject.toml").read()
name = re.search('name = "(.*)"', project)[1].replace("-", "_")
static = re.search('^version = "(.*)"', project, re.M)
version = static[1] if static else open("version.txt").read().strip()
info = f"{name}-{version}.dist-info"
more = open("metadata.txt").read() if os.path.exists("metadata.txt") else ""
metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}"

def wheel(folder, files):
    files[f"{info}/METADATA"] = metadata
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(os.path.join(folder, f"{name}-{version}-py3-none-any.whl"), "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return f"{name}-{version}-py3-none-any.whl"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    files = {f"{name}/__init__.py": open(f"src/{name}/__init__.py").read()}
    settings = [config_settings or {}, os.environ.get("FLAVOUR")]
    if any(settings):
        files[f"{name}/built_with.txt"] = repr(settings)
    return wheel(folder, files)

def build_editable(folder, config_settings=None, metadata_directory=None):
    return wheel(folder, {f"{name}.pth": os.path.join(os.getcwd(), "src") + "\n"})
"#;
