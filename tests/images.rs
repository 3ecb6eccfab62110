//! The images of examples/container: what their Dockerfiles say, done without an engine.
//!
//! `python:` images stand for this machine's programs and a Python; the stage that builds sitefs, for the sitefs under test.
//! uv is there already and asks no network. All else happens as it is written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Container, Corpus, Index, Outcome, Sandbox};
use walkdir::WalkDir;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

const CHECK: &str = "import app; print(app.app.test_client().get('/').json)";

/// What the application says, with the file that its Flask comes from.
fn answer(file: &str) -> String {
    format!("{{'flask': '3.1.3', 'from': '{file}'}}")
}

/// As compose.yaml and kubernetes.yaml have it.
const STRICT: [&str; 3] = ["--read-only", "--tmpfs", "/run/app"];
const MOUNT: [&str; 4] = ["--device", "/dev/fuse", "--cap-add", "SYS_ADMIN"];

#[test]
fn entrypoints_that_start_at_once_fill_an_empty_cache_volume_together() {
    let Some(images) = Images::built("Dockerfile") else { return };
    let entrypoint = Entrypoint::of(&images);
    let started: Vec<Outcome> = std::thread::scope(|scope| {
        let start = || Outcome::of(&mut entrypoint.with_network(&["--tmpfs", "/tmp"]));
        let all: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for one in started {
        one.succeeds().says("{'flask': '3.1.3'");
    }
    let requests = entrypoint.index.requests();
    assert!(requests.iter().any(|path| path.contains("flask")), "{requests:?}");
    assert_eq!(entrypoint.left_in_volume(), Vec::<PathBuf>::new());

    // Whoever starts now asks nobody, and needs no folder for what is got.
    let mounted = Outcome::of(&mut entrypoint.without_network("", &MOUNT)).succeeds();
    let file = from(&mounted);
    assert!(file.contains("/site-packages/.sitefs-cache/"), "{mounted}");
    assert_eq!(mounted.stderr, "", "it says nothing unless something is wrong");
    mounted.prints(&answer(&file));
    assert_eq!(entrypoint.index.requests(), requests);
}

/// Somebody else has filled it, as the examples say.
#[test]
fn an_entrypoint_reads_a_cache_volume_that_it_may_not_write() {
    let Some(images) = Images::built("Dockerfile") else { return };
    let entrypoint = Entrypoint::of(&images);
    let mut fill =
        entrypoint.command(&["--tmpfs", "/tmp", "--env", "SITEFS_COMPILE_BYTECODE=now"], "", &["true"]);
    Outcome::of(&mut fill).succeeds().says("uv gets 7 of 7 distributions").says("compiled");

    let before = common::exact_tree(&entrypoint.volume);
    let mounted = Outcome::of(&mut entrypoint.without_network(":ro", &MOUNT)).succeeds();
    let file = from(&mounted);
    assert!(file.contains("/site-packages/.sitefs-cache/"), "{mounted}");
    assert_eq!(mounted.stderr, "", "it says nothing unless something is wrong");
    mounted.prints(&answer(&file));
    let linked = Outcome::of(&mut entrypoint.without_network(":ro", &[])).succeeds().says("so symlink");
    let file = from(&linked);
    assert!(file.starts_with("/cache/uv/archive-v0/"), "{linked}");
    linked.prints(&answer(&file));
    common::assert_same("before", &before, "after", &common::exact_tree(&entrypoint.volume));

    // What is not there cannot be got, and no command is started.
    fs_err::remove_dir_all(entrypoint.volume.join("uv")).unwrap();
    fs_err::create_dir(entrypoint.volume.join("uv")).unwrap();
    let mut empty = entrypoint.command(&["--tmpfs", "/tmp"], ":ro", &["echo", "started"]);
    Outcome::of(&mut empty).exits(1).says("Read-only file system").says("uv did not get 7 of 7");
}

#[test]
fn a_baked_image_needs_no_cache_and_nothing_writable() {
    let Some(images) = Images::built("Dockerfile.baked") else { return };
    let app = images.image("app");
    let check = ["python", "-c", CHECK];
    let python = Outcome::of(Command::new("ls").arg(app.root.join("venv/lib"))).stdout;
    let file = format!("/venv/lib/{}/site-packages/flask/__init__.py", python.trim());
    app.container().with(&["--read-only"]).run(&check).succeeds().prints(&answer(&file));
    app.container().with(&["--read-only"]).run(&["flask", "--version"]).succeeds().says("Flask 3.1.3");

    assert!(!app.root.join("venv/.sitefs").exists());
    let mut compiled = 0;
    for entry in WalkDir::new(app.root.join("venv")).min_depth(1) {
        let entry = entry.unwrap();
        let path = entry.path();
        compiled += usize::from(path.extension().is_some_and(|extension| extension == "pyc"));
        if entry.file_type().is_symlink() {
            let target = fs_err::read_link(path).unwrap();
            assert!(!target.starts_with("/cache"), "{} leads into the cache", path.display());
        } else if entry.file_type().is_file() {
            let bytes = fs_err::read(path).unwrap();
            let names_cache = bytes.windows(16).any(|window| window == b"/cache/archive-v");
            assert!(!names_cache, "{} names the cache", path.display());
        }
    }
    assert!(compiled > 100, "{compiled} files of bytecode");
}

fn from(said: &Outcome) -> String {
    said.stdout.split('\'').nth_back(1).unwrap_or_default().to_owned()
}

/// The image that gets what is missing, with a new volume, and an index that has its packages.
struct Entrypoint {
    app: Image,
    volume: PathBuf,
    index: Index,
}

impl Entrypoint {
    fn of(images: &Images) -> Self {
        let app = images.image("app");
        let volume = images.sandbox.root().join("volume");
        // A new volume takes over the directory that it covers.
        Outcome::of(Command::new("cp").arg("-a").args([&app.root.join("cache"), &volume])).succeeds();
        let served = images.sandbox.root().join("served");
        symlink(Corpus::wheels("small"), &served).unwrap();
        Self { app, volume, index: Index::of(&served, None) }
    }

    /// The container with these options, in which the volume is mounted with this mode.
    fn command(&self, options: &[&str], mode: &str, command: &[&str]) -> Command {
        let volume = format!("{}:/cache{mode}", self.volume.display());
        let index = format!("UV_DEFAULT_INDEX={}", self.index.url(""));
        let container = self.app.container().with(&STRICT).with(&["--volume", &volume, "--env", &index]);
        let command = self.app.entrypoint.iter().map(String::as_str).chain(command.iter().copied());
        container.with(options).command(&command.collect::<Vec<_>>())
    }

    fn with_network(&self, options: &[&str]) -> Command {
        self.command(&[&MOUNT[..], options].concat(), "", &["python", "-c", CHECK])
    }

    fn without_network(&self, mode: &str, options: &[&str]) -> Command {
        let command = self.command(options, mode, &["python", "-c", CHECK]);
        let mut unshare = Command::new("unshare");
        unshare.arg("--net").env_clear();
        common::started_by(unshare, &command)
    }

    /// What whoever filled the volume has left there that is nothing whole.
    fn left_in_volume(&self) -> Vec<PathBuf> {
        let paths = WalkDir::new(&self.volume).into_iter().map(|entry| entry.unwrap().into_path());
        let is_left = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".tmp"))
                || path.parent().is_some_and(|parent| parent.ends_with("store/staging"))
        };
        paths.filter(is_left).collect()
    }
}

/// What a Dockerfile makes: a directory for each stage.
struct Images {
    sandbox: Sandbox,
    corpus: Corpus,
    images: BTreeMap<String, Image>,
}

/// A stage: its root file system, and how it starts.
#[derive(Clone)]
struct Image {
    root: PathBuf,
    base: Option<Container>,
    environment: BTreeMap<String, String>,
    folder: String,
    user: String,
    entrypoint: Vec<String>,
    command: Vec<String>,
}

impl Images {
    fn built(dockerfile: &str) -> Option<Self> {
        if !common::fuse() {
            return None;
        }
        let corpus = Corpus::prepared("small");
        let sandbox = Sandbox::with_venv("venv", &corpus.python);
        let text = fs_err::read_to_string(Path::new(REPOSITORY).join("examples/container").join(dockerfile))
            .unwrap();
        let mut images = Self { sandbox, corpus, images: BTreeMap::new() };
        let mut name = String::new();
        for (instruction, rest) in instructions(&text) {
            if instruction == "FROM" {
                let (base, stage) = rest.split_once(" AS ").expect("a stage with a name");
                name = stage.to_owned();
                let image = images.based_on(base, stage)?;
                images.images.insert(name.clone(), image);
            } else {
                let image = images.images[&name].clone();
                let image = images.after(image, &instruction, &rest);
                images.images.insert(name.clone(), image);
            }
        }
        Some(images)
    }

    fn image(&self, name: &str) -> Image {
        self.images[name].clone()
    }

    /// The cache that uv has filled from the network before; a copy, since uv writes into it.
    fn cache(&self) -> PathBuf {
        let cache = self.sandbox.root().join("packages");
        if !cache.exists() {
            Outcome::of(Command::new("cp").arg("-a").args([&self.corpus.cache, &cache])).succeeds();
            fs_err::set_permissions(&cache, PermissionsExt::from_mode(0o755)).unwrap();
        }
        cache
    }

    fn based_on(&self, base: &str, stage: &str) -> Option<Image> {
        let root = self.sandbox.root().join("images").join(stage);
        let container = Container::empty(&root)?;
        let base = match base.split_once(':').expect("an image with a tag").0 {
            "rust" => None,
            "python" => Some(with_programs(container, &root).python(&self.sandbox.python)),
            other => panic!("no image {other} is known"),
        };
        Some(Image {
            root,
            base,
            environment: BTreeMap::new(),
            folder: "/".to_owned(),
            user: "0".to_owned(),
            entrypoint: Vec::new(),
            command: Vec::new(),
        })
    }

    fn after(&self, mut image: Image, instruction: &str, rest: &str) -> Image {
        match instruction {
            "WORKDIR" => rest.clone_into(&mut image.folder),
            "USER" => rest.clone_into(&mut image.user),
            "ENTRYPOINT" => image.entrypoint = serde_json::from_str(rest).unwrap(),
            "CMD" => image.command = serde_json::from_str(rest).unwrap(),
            "ENV" => {
                let variables = rest.split(' ').map(|variable| variable.split_once('=').unwrap());
                image.environment.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
            "COPY" if image.base.is_none() => assert_eq!(rest, ". ."),
            "RUN" if image.base.is_none() => {
                assert_eq!(rest, "make static");
                let made = image.root.join("src/target/static");
                fs_err::create_dir_all(&made).unwrap();
                fs_err::copy(self.sandbox.root().join("sitefs"), made.join("sitefs")).unwrap();
            }
            "RUN" if rest.starts_with("pip install") => {
                assert!(rest.contains(" uv=="));
                let uv = fs_err::canonicalize(Path::new(REPOSITORY).join("target/tools/uv/bin/uv")).unwrap();
                let installed = image.root.join("usr/local/bin/uv");
                fs_err::create_dir_all(installed.parent().unwrap()).unwrap();
                fs_err::copy(uv, installed).unwrap();
                // It asks the cache what the network would answer.
                image.environment.insert("UV_OFFLINE".to_owned(), "1".to_owned());
                let bind = format!("{}:/cache", self.cache().display());
                image.base = image.base.map(|base| base.with(&["--volume", &bind]));
            }
            "RUN" => self.run(&image, rest),
            "COPY" => self.copy(&image, rest),
            other => panic!("no instruction {other} is known"),
        }
        image
    }

    fn run(&self, image: &Image, rest: &str) {
        let (mounts, command): (Vec<&str>, Vec<&str>) =
            rest.split(' ').partition(|word| word.starts_with("--mount="));
        let mut container = image.container();
        for mount in mounts {
            assert_eq!(mount, "--mount=type=bind,from=cache,source=/cache,target=/cache");
            container = container.with(&["--volume", &format!("{}:/cache:ro", self.cache().display())]);
        }
        container.run(&["sh", "-ec", &command.join(" ")]).succeeds();
    }

    /// A file into a directory, or a directory as another.
    fn copy(&self, image: &Image, rest: &str) {
        let words: Vec<&str> = rest.split(' ').collect();
        let (from, source, target) = match words.as_slice() {
            [from, source, target] => {
                let stage = from.strip_prefix("--from=").expect("--from=");
                (self.images[stage].root.clone(), source.trim_start_matches('/'), *target)
            }
            [source, target] => (PathBuf::from(REPOSITORY), *source, *target),
            other => panic!("not understood: COPY {other:?}"),
        };
        let target = image.root.join(target.trim_start_matches('/'));
        fs_err::create_dir_all(&target).unwrap();
        let mut source = from.join(source).into_os_string();
        if Path::new(&source).is_dir() {
            source.push("/.");
        }
        Outcome::of(Command::new("cp").arg("-a").arg(source).arg(target)).succeeds();
    }
}

impl Image {
    fn container(&self) -> Container {
        let base = self.base.clone().expect("an image that can run");
        let container = base.with(&["--workdir", &self.folder, "--user", &self.user]);
        let variables = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        variables.fold(container, |container, variable| container.with(&["--env", &variable]))
    }
}

/// Instructions, each on one line and without comments.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let joined = lines.join("\n").replace("\\\n", "");
    let split = |line: &str| line.split_once(' ').map(|(name, rest)| (name.to_owned(), words(rest)));
    joined.lines().map(|line| split(line).unwrap_or_else(|| panic!("no instruction: {line}"))).collect()
}

/// With single spaces between them.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// This machine's programs, with an empty /usr/local.
fn with_programs(mut container: Container, root: &Path) -> Container {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let (here, there) = (Path::new("/").join(name), root.join(name));
        let inside = Path::new("/usr").join(name);
        if inside.is_dir() {
            container = container.with(&["--volume", &format!("{0}:{0}:ro", inside.display())]);
        }
        match fs_err::read_link(&here) {
            Ok(target) => symlink(target, there).unwrap(),
            Err(_) => container = container.with(&["--volume", &format!("{0}:{0}:ro", here.display())]),
        }
    }
    container
}
