//! One folder for one test: wheels, a cache, an environment, a home.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::cache::{Corpus, Uv};
use super::command::{Outcome, as_nobody, clean_command, id_of_nobody, nobody_can_run};
use super::sitefs::{clear_away, mounts_below, servers_below};
use super::tree::{Tree, assert_same, exact_tree};
use super::wheel::WheelBuilder;

/// Where a test happens. Dropping it undoes everything, and checks that the cache is as it was.
pub struct Sandbox {
    folder: TempDir,
    /// The virtual environment.
    pub venv: PathBuf,
    /// The uv cache.
    pub cache: PathBuf,
    /// The lock, `requirements.txt`.
    pub requirements: PathBuf,
    /// The interpreter that the environment is made with.
    pub python: PathBuf,
    program: PathBuf,
    is_for_nobody: bool,
    sealed: RefCell<Option<Tree>>,
}

impl Sandbox {
    /// A sandbox with an empty environment and no cache yet.
    pub fn new() -> Self {
        Self::at("venv", &python(), false)
    }

    /// A sandbox that lies below this folder, such as one of a [`Disk`](super::Disk).
    pub fn below(folder: &Path) -> Self {
        Self::in_folder(folder, "venv", &python(), false)
    }

    /// A sandbox where mounts work; none, said loudly, if FUSE does not.
    pub fn with_fuse() -> Option<Self> {
        super::fuse().then(Self::new)
    }

    /// A sandbox whose environment lies at `venv` below it and is made with `python`.
    pub fn with_venv(venv: &str, python: &Path) -> Self {
        Self::at(venv, python, false)
    }

    /// A sandbox whose commands run as the user `nobody`, who owns everything in it.
    pub fn for_nobody() -> Self {
        let python = installed_pythons().map(|(_, python)| python).find(|python| nobody_can_run(python));
        Self::at("venv", &python.expect("a Python that every user can run"), true)
    }

    /// A sandbox that uses a corpus: its Python, its cache and its lock. The folder of the environment has the same
    /// name as the one that uv installed, because some files of an environment contain it.
    pub fn of(corpus: &Corpus) -> Self {
        let mut sandbox = Self::at("installed", &corpus.python, false);
        sandbox.cache.clone_from(&corpus.cache);
        sandbox.requirements.clone_from(&corpus.requirements);
        sandbox.seal_cache();
        sandbox
    }

    /// The same on the file system of the corpus, for hard links. The cache is not sealed.
    pub fn beside(corpus: &Corpus) -> Self {
        let folder = corpus.cache.parent().unwrap();
        let mut sandbox = Self::in_folder(folder, "installed", &corpus.python, false);
        sandbox.cache.clone_from(&corpus.cache);
        sandbox.requirements.clone_from(&corpus.requirements);
        sandbox
    }

    fn at(venv: &str, python: &Path, is_for_nobody: bool) -> Self {
        Self::in_folder(&std::env::temp_dir(), venv, python, is_for_nobody)
    }

    fn in_folder(folder: &Path, venv: &str, python: &Path, is_for_nobody: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("sitefs-test-").tempdir_in(folder).unwrap();
        // Where nobody's commands run, or another user looks in, everybody must get through.
        fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let root = fs_err::canonicalize(folder.path()).unwrap();
        fs_err::create_dir_all(root.join("home")).unwrap();
        let program = root.join("sitefs");
        let built = env!("CARGO_BIN_EXE_sitefs");
        // A debug build is large. What is given away must be a copy.
        if is_for_nobody || fs_err::hard_link(built, &program).is_err() {
            fs_err::copy(built, &program).unwrap();
        }
        let sandbox = Self {
            venv: root.join(venv),
            cache: root.join("cache"),
            requirements: root.join("requirements.txt"),
            python: python.to_path_buf(),
            program,
            is_for_nobody,
            sealed: RefCell::new(None),
            folder,
        };
        fs_err::create_dir_all(sandbox.venv.parent().unwrap()).unwrap();
        sandbox.uv().venv(&sandbox.venv, python);
        sandbox.give_to_nobody();
        sandbox
    }

    /// The sandbox's own folder.
    pub fn root(&self) -> PathBuf {
        fs_err::canonicalize(self.folder.path()).unwrap()
    }

    /// The home of every command that runs here.
    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// The environment's site-packages: the mount point.
    pub fn site_packages(&self) -> PathBuf {
        let lib = fs_err::read_dir(self.venv.join("lib")).unwrap();
        let is_python = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"))
        };
        lib.map(|entry| entry.unwrap().path()).find(is_python).expect("lib/pythonX.Y").join("site-packages")
    }

    /// Has uv unpack these wheels into the cache, and writes a lock that pins them in this order.
    pub fn with_wheels(self, wheels: impl IntoIterator<Item = WheelBuilder>) -> Self {
        let wheels: Vec<WheelBuilder> = wheels.into_iter().collect();
        self.unpack(&wheels);
        self.lock(&wheels.iter().map(WheelBuilder::pin).collect::<Vec<_>>().join("\n"));
        self
    }

    /// Has uv unpack these wheels into the cache.
    pub fn unpack(&self, wheels: &[WheelBuilder]) {
        let folder = self.root().join("wheels");
        for wheel in wheels {
            wheel.build(&folder);
        }
        let (mut todo, mut done) = (wheels.to_vec(), Vec::new());
        // Versions of one distribution cannot be installed together.
        while !todo.is_empty() {
            let (batch, rest): (Vec<_>, Vec<_>) = todo.into_iter().partition(|wheel| {
                let is_new = !done.contains(&wheel.name().to_owned());
                done.push(wheel.name().to_owned());
                is_new
            });
            let pins: Vec<String> = batch.iter().map(WheelBuilder::pin).collect();
            self.uv().unpack(&self.python, &folder, &pins);
            (todo, done) = (rest, Vec::new());
        }
        self.give_to_nobody();
        self.seal_cache();
    }

    /// Writes the lock.
    pub fn lock(&self, text: &str) {
        fs_err::write(&self.requirements, format!("{text}\n")).unwrap();
    }

    /// From now on the cache must stay as it is.
    pub fn seal_cache(&self) {
        *self.sealed.borrow_mut() = Some(exact_tree(&self.cache));
    }

    /// From now on the cache may change: it is one that sitefs writes.
    pub fn unseal_cache(&self) {
        *self.sealed.borrow_mut() = None;
    }

    /// The unpacked wheel in the cache that has this dist-info directory.
    pub fn archive(&self, wheel: &WheelBuilder) -> PathBuf {
        let archives = fs_err::read_dir(self.cache.join("archive-v0")).unwrap();
        archives
            .map(|entry| entry.unwrap().path())
            .find(|path| path.join(wheel.dist_info()).exists())
            .unwrap_or_else(|| panic!("no archive of {} in the cache", wheel.pin()))
    }

    /// Files of the cache whose path ends so, such as a pointer's `.rev`.
    pub fn cache_files(&self, suffix: &str) -> Vec<PathBuf> {
        let paths = exact_tree(&self.cache).into_keys();
        paths
            .filter(|path| path.to_string_lossy().ends_with(suffix))
            .map(|path| self.cache.join(path))
            .collect()
    }

    /// A uv on the sandbox's cache.
    pub fn uv(&self) -> Uv {
        Uv::new(&self.cache, &self.home())
    }

    /// A uv on a cache apart, to look at the environment: uv writes into any cache that it opens.
    pub fn onlooking_uv(&self) -> Uv {
        Uv::new(&self.root().join("another-cache"), &self.home())
    }

    /// Any command, run here.
    pub fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(program).args(arguments))
    }

    /// Any command, to be run here.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = clean_command(program, &self.home());
        // Tests are about one thing: those about bytecode ask for it.
        command.current_dir(self.root()).env("SITEFS_COMPILE_BYTECODE", "never");
        command
    }

    /// `sitefs ARGUMENTS`, to be run, by nobody where the sandbox is nobody's.
    pub fn sitefs_command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(&self.program);
        command.args(arguments);
        if self.is_for_nobody { as_nobody(&command) } else { command }
    }

    /// `sitefs ARGUMENTS`.
    pub fn sitefs<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        Outcome::of(&mut self.sitefs_command(arguments))
    }

    /// `sitefs mount -r requirements.txt VENV CACHE`.
    pub fn mount(&self) -> Outcome {
        self.mount_with(&[])
    }

    /// The same, with options.
    pub fn mount_with(&self, options: &[&str]) -> Outcome {
        let mut arguments: Vec<&OsStr> =
            vec![OsStr::new("mount"), OsStr::new("-r"), self.requirements.as_os_str()];
        arguments.extend(options.iter().map(OsStr::new));
        arguments.extend([self.venv.as_os_str(), self.cache.as_os_str()]);
        self.sitefs(arguments)
    }

    /// The file of the cache that a link's target is, which may lead through the environment's mount of the cache.
    pub fn cache_of(&self, target: &Path) -> PathBuf {
        match target.strip_prefix(self.site_packages().join(".sitefs-cache")) {
            Ok(rest) => fs_err::canonicalize(&self.cache).unwrap().join("archive-v0").join(rest),
            Err(_) => target.to_path_buf(),
        }
    }

    /// `sitefs unmount VENV`.
    pub fn unmount(&self) -> Outcome {
        self.sitefs([OsStr::new("unmount"), self.venv.as_os_str()])
    }

    /// `sitefs status --json VENV`.
    pub fn status(&self) -> Outcome {
        self.sitefs([OsStr::new("status"), OsStr::new("--json"), self.venv.as_os_str()])
    }

    /// `VENV/bin/python -c CODE`.
    pub fn python(&self, code: &str) -> Outcome {
        Outcome::of(&mut self.python_command(code))
    }

    /// The same, to be run.
    pub fn python_command(&self, code: &str) -> Command {
        let mut command = self.command(self.venv.join("bin/python"));
        command.args(["-c", code]);
        if self.is_for_nobody { as_nobody(&command) } else { command }
    }

    /// Whether anything is mounted in this sandbox.
    pub fn is_mounted(&self) -> bool {
        !mounts_below(&self.root()).is_empty()
    }

    /// The process that serves the mount.
    pub fn server(&self) -> u32 {
        let servers = servers_below(&self.root());
        assert!(servers.len() == 1, "expected one server, not {servers:?}");
        servers[0]
    }

    /// Nothing is mounted, no server runs, and sitefs left nothing in the environment: as before the mount.
    #[track_caller]
    pub fn nothing_left(&self, before: &Tree) {
        assert!(!self.is_mounted(), "still mounted: {:?}", mounts_below(&self.root()));
        super::wait_until("the server is gone", || servers_below(&self.root()).is_empty());
        assert_same("before", before, "after", &self.environment());
    }

    /// What lies in the environment, sitefs's own notes and Python's bytecode apart.
    pub fn environment(&self) -> Tree {
        let is_content = |path: &Path| !path.iter().any(|part| part == ".sitefs" || part == "__pycache__");
        exact_tree(&self.venv).into_iter().filter(|(path, _)| is_content(path)).collect()
    }

    fn give_to_nobody(&self) {
        if self.is_for_nobody {
            let owner = format!("{}:{}", id_of_nobody("-u"), id_of_nobody("-g"));
            Outcome::of(Command::new("chown").arg("-hR").arg(owner).arg(self.root())).succeeds();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let root = self.root();
        if self.is_mounted() {
            let mut unmount =
                self.sitefs_command([OsStr::new("unmount"), OsStr::new("--lazy"), self.venv.as_os_str()]);
            let _ = unmount.output();
        }
        clear_away(&root);
        if let Some(sealed) = self.sealed.take()
            && !std::thread::panicking()
        {
            assert_same("the cache before", &sealed, "the cache after", &exact_tree(&self.cache));
        }
    }
}

/// The Python that tests use where any will do.
pub fn python() -> PathBuf {
    // Not more of them than the first: starting each costs what a short test costs.
    installed_pythons().next().expect("a Python 3.10 or newer").1
}

/// The Python that the corpora are pinned for, or else the one that is there.
pub fn corpora_python() -> PathBuf {
    let of_corpora = installed_pythons().find(|(version, _)| *version == (3, 11));
    of_corpora.map_or_else(python, |(_, python)| python)
}

/// One Python of each minor version from 3.10 on that is installed here, `python3` first.
pub fn pythons() -> Vec<PathBuf> {
    let mut found: Vec<((u32, u32), PathBuf)> = Vec::new();
    for (version, executable) in installed_pythons() {
        if !found.iter().any(|(other, _)| *other == version) {
            found.push((version, executable));
        }
    }
    found.into_iter().map(|(_, executable)| executable).collect()
}

fn installed_pythons() -> impl Iterator<Item = ((u32, u32), PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    for versions in [home.join(".pyenv/versions"), home.join(".local/share/uv/python"), "/opt/python".into()]
    {
        let found = fs_err::read_dir(versions).into_iter().flatten().flatten();
        folders.extend(found.map(|entry| entry.path().join("bin")));
    }
    let names = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];
    let candidates = names.into_iter().flat_map(move |name| {
        let paths = folders.iter().map(|folder| folder.join(name));
        paths.filter(|path| path.exists()).collect::<Vec<_>>()
    });
    candidates.filter_map(|path| inspect(&path)).filter(|(version, _)| *version >= (3, 10))
}

/// A Python's version and its real path. A version manager's shim may answer with an error: then it is none.
fn inspect(python: &Path) -> Option<((u32, u32), PathBuf)> {
    let code = "import sys; print(sys.version_info[0], sys.version_info[1], getattr(sys, '_base_executable', sys.executable))";
    let output = Command::new(python).args(["-I", "-c", code]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut words = text.trim().splitn(3, ' ');
    let version = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((version, PathBuf::from(words.next()?)))
}
