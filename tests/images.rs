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

use common::{Container, Corpus, Outcome, Sandbox};
use walkdir::WalkDir;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

const CHECK: &str = "import app; print(app.app.test_client().get('/').json)";

/// What the application says, with the file that its Flask comes from.
fn answer(file: &str) -> String {
    format!("{{'flask': '3.1.3', 'from': '{file}'}}")
}

#[test]
fn an_entrypoint_mounts_the_packages_of_a_cache_volume() {
    let Some(images) = Images::built("Dockerfile") else { return };
    let [fill, app] = ["fill", "app"].map(|name| images.image(name));
    let cache = images.cache();
    let volume = format!("{}:/cache", cache.display());
    fill.container().with(&["--volume", &volume]).run(&fill.command).succeeds();

    // As compose.yaml and kubernetes.yaml have it; then with less.
    let strict = ["--read-only", "--tmpfs", "/run/app", "--volume", &format!("{volume}:ro")];
    let mount = ["--device", "/dev/fuse", "--cap-add", "SYS_ADMIN"];
    let check = [app.entrypoint.clone(), ["python", "-c", CHECK].map(String::from).to_vec()].concat();
    let before = common::exact_tree(&cache);
    let mounted = app.container().with(&strict).with(&mount).run(&check).succeeds();
    let file = from(&mounted);
    assert!(file.contains("/site-packages/.sitefs-cache/"), "{mounted}");
    assert_eq!(mounted.stderr, "", "it says nothing unless something is wrong");
    mounted.prints(&answer(&file));
    let linked = app.container().with(&strict).run(&check).succeeds().says("so symlink");
    let file = from(&linked);
    assert!(file.starts_with("/cache/archive-v0/"), "{linked}");
    linked.prints(&answer(&file));
    common::assert_same("before", &before, "after", &common::exact_tree(&cache));
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
                let uv = Path::new(REPOSITORY).join("target/tools/uv/bin/uv");
                let uv = format!("{}:/usr/local/bin/uv", fs_err::canonicalize(uv).unwrap().display());
                image.base = image.base.map(|base| base.with(&["--program", &uv]));
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
