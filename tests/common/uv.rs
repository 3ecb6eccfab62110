//! Real uv, of several versions: installed once into `target/tools`, run against a cache and a venv of the test's own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fs_err as fs;
use tempfile::TempDir;

/// A cache, a venv and a folder of sources, for one uv.
pub(crate) struct Uv {
    program: PathBuf,
    folder: TempDir,
}

impl Uv {
    /// uv of this version, with an empty cache and an empty venv.
    pub(crate) fn new(version: &str) -> Self {
        let folder = TempDir::new().unwrap();
        run(Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(folder.path().join("venv")));
        Self { program: program(version), folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder().join("cache")
    }

    pub(crate) fn venv(&self) -> PathBuf {
        self.folder().join("venv")
    }

    /// The folder to have on `PATH` for this `uv`.
    pub(crate) fn bin(&self) -> &Path {
        self.program.parent().unwrap()
    }

    /// Runs uv in the folder of the test, and gives what it says on stderr.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.folder())
            .env("UV_CACHE_DIR", self.cache())
            .env("VIRTUAL_ENV", self.venv())
            .env_remove("UV_PYTHON");
        run(&mut command)
    }

    /// Writes requirements and installs them into the venv.
    pub(crate) fn install(&self, requirements: &str) {
        fs::write(self.folder().join("requirements.txt"), requirements).unwrap();
        self.run(&["pip", "install", "-r", "requirements.txt"]);
    }

    /// A file of an installed distribution's `*.dist-info`.
    pub(crate) fn installed(&self, dist_info: &str, file: &str) -> Option<String> {
        let lib = fs::read_dir(self.venv().join("lib")).unwrap().next().unwrap().unwrap();
        let path = lib.path().join("site-packages").join(dist_info).join(file);
        fs::read_to_string(path).ok()
    }

    /// Makes a project that builds without any other distribution, in the folder `name-version`.
    pub(crate) fn project(&self, name: &str, version: &str) -> PathBuf {
        let folder = self.folder().join(format!("{name}-{version}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join("pyproject.toml"),
            format!(
                "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\
                 [project]\nname = \"{name}\"\nversion = \"{version}\"\n"
            ),
        )
        .unwrap();
        fs::write(folder.join("backend.py"), BACKEND).unwrap();
        fs::write(folder.join(format!("{}.py", name.replace('-', "_"))), "").unwrap();
        folder
    }

    /// Makes a project and builds its sdist or wheel into `dist`.
    pub(crate) fn build(&self, name: &str, version: &str, kind: &str) -> PathBuf {
        let project = self.project(name, version);
        let dist = self.folder().join("dist");
        fs::create_dir_all(&dist).unwrap();
        let script = format!("import backend, sys; print(backend.build_{kind}(sys.argv[1]))");
        let output =
            Command::new("python3").args(["-c", &script]).arg(&dist).current_dir(&project).output().unwrap();
        dist.join(String::from_utf8(output.stdout).unwrap().trim())
    }

    /// Makes a project in a Git repository, and gives the repository and its commit.
    pub(crate) fn repository(&self, name: &str, version: &str) -> (PathBuf, String) {
        let project = self.project(name, version);
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.args(["-c", "user.name=test", "-c", "user.email=test@test.example"]);
            command.args(arguments).current_dir(&project);
            command
        };
        run(&mut git(&["init", "--quiet"]));
        run(&mut git(&["add", "."]));
        run(&mut git(&["commit", "--quiet", "--message", "Begin"]));
        run(&mut git(&["tag", "v1"]));
        let commit = git(&["rev-parse", "HEAD"]).output().unwrap().stdout;
        (project, String::from_utf8(commit).unwrap().trim().to_owned())
    }
}

/// Serves a folder over HTTP on this machine until dropped.
pub(crate) struct Server {
    process: Child,
    port: String,
}

impl Server {
    pub(crate) fn new(folder: &Path) -> Self {
        let mut process = Command::new("python3")
            .args(["-u", "-c", SERVER])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        let port = port.trim().to_owned();
        Self { process, port }
    }

    pub(crate) fn url(&self, file: &Path) -> String {
        let file = file.file_name().unwrap().to_str().unwrap();
        format!("http://127.0.0.1:{}/{file}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Installs uv with pip, once: a version that is half installed is never seen under its name.
fn program(version: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
    let installed = tools.join(format!("uv-{version}"));
    let program = installed.join("bin/uv");
    if !program.exists() {
        fs::create_dir_all(&tools).unwrap();
        let fresh = TempDir::new_in(&tools).unwrap();
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(fresh.path())
            .arg(format!("uv=={version}")));
        // Another test may have been faster.
        let renamed = fs::rename(fresh.path(), &installed);
        assert!(renamed.is_ok() || program.exists(), "{renamed:?}");
    }
    program
}

/// Runs a command that must succeed, and gives what it says on stderr.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {says}");
    says
}

/// With `Vary`, which lengthens what uv keeps of a request.
const SERVER: &str = r#"
import functools, http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("Vary", "Accept-Encoding, User-Agent")
        super().end_headers()
handler = functools.partial(Handler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_port)
server.serve_forever()
"#;

/// A build backend in one file, for a distribution of one module.
const BACKEND: &str = r#"
import io, os, re, tarfile, zipfile

project = open("pyproject.toml").read()
name = re.search('name = "(.*)"', project)[1].replace("-", "_")
version = re.search('version = "(.*)"', project)[1]
metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

def wheel(folder, files):
    info = f"{name}-{version}.dist-info"
    files[f"{info}/METADATA"] = metadata
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(os.path.join(folder, f"{name}-{version}-py3-none-any.whl"), "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return f"{name}-{version}-py3-none-any.whl"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    return wheel(folder, {f"{name}.py": open(f"{name}.py").read()})

def build_editable(folder, config_settings=None, metadata_directory=None):
    return wheel(folder, {f"{name}.pth": os.getcwd() + "\n"})

def build_sdist(folder, config_settings=None):
    with tarfile.open(os.path.join(folder, f"{name}-{version}.tar.gz"), "w:gz") as archive:
        def add(file, contents):
            member = tarfile.TarInfo(f"{name}-{version}/{file}")
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
        add("PKG-INFO", metadata.encode())
        for file in ["pyproject.toml", "backend.py", f"{name}.py"]:
            add(file, open(file, "rb").read())
    return f"{name}-{version}.tar.gz"
"#;
