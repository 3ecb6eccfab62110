//! One lock, every mode, one tree.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::common::{Corpus, Outcome, Sandbox, Tree, WheelBuilder, assert_same};
use crate::folded::is_link;
use crate::{FOLDED, Place, mount, seen};

#[test]
fn random_wheels_make_one_tree_in_every_mode() {
    for seed in 1..=4 {
        let place = Place::new();
        let mut random = Random(seed);
        let library = place.site_packages().strip_prefix(&place.venv).unwrap().to_str().unwrap().to_owned();
        let wheels: Vec<_> = ["one", "two", "three", "four"].map(|name| random.wheel(name, &library)).into();
        // One by one: an install of wheels that clash may fail, and the cache is all that is asked for.
        wheels.iter().for_each(|wheel| place.unpack(std::slice::from_ref(wheel)));
        place.lock(&wheels.iter().map(WheelBuilder::pin).collect::<Vec<_>>().join("\n"));
        makes_one_tree(&place, &place.every_mode(), &format!("seed {seed}"));
        makes_the_same_whatever_was_before(&place, &mut random, &wheels);
    }
}

/// Now this lock in that mode, then another in another: always the tree of that lock.
fn makes_the_same_whatever_was_before(place: &Place, random: &mut Random, wheels: &[WheelBuilder]) {
    let before = place.environment();
    let modes = place.every_mode();
    let mut trees: BTreeMap<u64, Tree> = BTreeMap::new();
    for step in 0..16 {
        let chosen = [0b1111, 0b0101, 0b1110][random.below(3) as usize];
        let pins = (0..).zip(wheels).filter(|(index, _)| chosen & (1 << index) != 0);
        place.lock(&pins.map(|(_, wheel)| wheel.pin()).collect::<Vec<_>>().join("\n"));
        let mode = random.of(&modes);
        if place.is_mounted() {
            place.unmount().succeeds();
        }
        mount(place, mode).succeeds();
        let tree = seen(place);
        let expected = trees.entry(chosen).or_insert_with(|| tree.clone());
        assert_same("first", expected, &format!("step {step}, {chosen:b} in {mode}"), &tree);
    }
    place.unmount().succeeds();
    place.nothing_left(&before);
}

#[test]
fn the_small_corpus_makes_one_tree_in_every_mode() {
    corpus_makes_one_tree("small", 256);
}

#[test]
fn the_cloud_corpus_makes_one_tree_in_its_own_cache() {
    corpus_makes_one_tree_in_its_own_cache("cloud", &["google/cloud/storage", "boto3"]);
}

/// numpy and pillow bring libraries beside their packages.
#[test]
fn the_data_corpus_makes_one_tree_in_its_own_cache() {
    corpus_makes_one_tree_in_its_own_cache("data", &["numpy", "numpy.libs", "PIL", "pillow.libs"]);
}

#[test]
#[ignore = "long: `make test-long`"]
fn the_cloud_corpus_makes_one_tree_in_every_mode() {
    corpus_makes_one_tree("cloud", 1024);
}

#[test]
#[ignore = "long: `make test-long`"]
fn the_data_corpus_makes_one_tree_in_every_mode() {
    corpus_makes_one_tree("data", 3072);
}

/// No wheel can bring one, as archives of wheels are read: the names in them are text. So there is nothing to keep it by.
#[test]
fn a_name_that_is_no_text_is_refused_and_leaves_what_is_mounted() {
    let place = Place::with_wheels([crate::greet("1.0")]);
    mount(&place, "symlink").succeeds();
    let before = seen(&place);
    let name = OsStr::from_bytes(b"greet/b\xffd.txt");
    fs_err::write(place.archive(&crate::greet("1.0")).join(name), "").unwrap();
    place.seal_cache();
    for mode in &place.modes {
        mount(&place, mode).fails().says("greet/b\u{fffd}d.txt cannot be made: its name is not UTF-8");
        assert_same("before", &before, "after", &seen(&place));
    }
    place.unmount().succeeds();
}

#[test]
fn deep_directories_are_made_in_every_mode() {
    let deep: String = (0..60).map(|level| format!("level{level:02}-abcdefghijklmnopqrs/")).collect();
    let wheel = WheelBuilder::new("deep", "1.0").file(&format!("{deep}leaf.txt"), "found\n");
    let place = Place::with_wheels([wheel]);
    makes_one_tree(&place, &place.every_mode(), "deep directories");
}

#[test]
fn a_relative_cache_is_found_from_everywhere() {
    let place = Place::with_wheels([crate::greet("1.0")]);
    let mut command = place.sitefs_command(["mount", "--link-mode", "symlink", "-r", "requirements.txt"]);
    Outcome::of(command.args(["venv", "cache"]).current_dir(place.root())).succeeds();
    place.python(crate::GREET).succeeds().prints("hello 1.0");
    let mut elsewhere = place.python_command(crate::GREET);
    Outcome::of(elsewhere.current_dir("/")).succeeds().prints("hello 1.0");
}

fn corpus_makes_one_tree(name: &str, megabytes: u64) {
    let place = Place::of_corpus(name, megabytes);
    makes_one_tree(&place, &place.every_mode(), name);
}

/// All modes but clone, which the small corpus has on a disk that can. Files that are the cache's own, reached by a link or by
/// another name, are not read: so this takes seconds for a gigabyte.
fn corpus_makes_one_tree_in_its_own_cache(name: &str, folded: &[&str]) {
    let test = Sandbox::beside(&Corpus::prepared(name));
    let cache = Cache::of(&test.cache);
    let before = test.environment();
    let mut expected: Option<BTreeMap<PathBuf, Thing>> = None;
    let fuse = crate::common::fuse().then_some("fuse");
    for mode in fuse.into_iter().chain(["symlink", FOLDED, "hardlink", "copy"]) {
        mount(&test, mode).succeeds();
        let things = cache.things(&test.venv, expected.as_ref());
        assert!(things.values().any(|thing| matches!(thing.kind, ThingKind::Cached(_))), "{name} in {mode}");
        assert_same("first", expected.get_or_insert_with(|| things.clone()), mode, &things);
        for folded in folded {
            assert_eq!(is_link(&test, folded), mode == FOLDED, "{folded} in {mode}");
        }
        if mode == FOLDED && name == "data" {
            native_libraries_work(&test);
        }
        test.unmount().succeeds();
        test.nothing_left(&before);
    }
    assert_same("the cache before", &cache.files, "the cache after", &Cache::of(&test.cache).files);
}

fn native_libraries_work(test: &Sandbox) {
    let code = "import numpy, PIL.Image, pandas, scipy.linalg; print(int(numpy.linalg.det(numpy.eye(3))), \
        PIL.Image.new('L', (2, 3)).size, pandas.Series([1, 2]).sum(), int(scipy.linalg.norm([3, 4])))";
    let mut python = test.python_command(code);
    Outcome::of(python.env("PYTHONDONTWRITEBYTECODE", "1")).succeeds().prints("1 (2, 3) 3 5");
}

/// What an environment has under a name, as a program sees it, and its permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Thing {
    kind: ThingKind,
    mode: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ThingKind {
    Directory,
    /// This file of the cache, or one with the same bytes.
    Cached(PathBuf),
    Other(Vec<u8>),
}

/// The files of a cache by what tells them apart, and what would change if they did.
struct Cache {
    files: BTreeMap<PathBuf, (u64, u64, i64, i64, u32)>,
    by_identity: HashMap<(u64, u64), PathBuf>,
}

impl Cache {
    fn of(folder: &Path) -> Self {
        let mut cache = Self { files: BTreeMap::new(), by_identity: HashMap::new() };
        for entry in WalkDir::new(folder) {
            let entry = entry.unwrap();
            let it = entry.metadata().unwrap();
            let attributes = (it.ino(), it.size(), it.mtime(), it.mtime_nsec(), it.mode());
            cache.by_identity.insert((it.dev(), it.ino()), entry.path().to_path_buf());
            cache.files.insert(entry.into_path(), attributes);
        }
        cache
    }

    /// The environment as programs see it. A file that is as `expected`, byte by byte, is told as that.
    fn things(&self, venv: &Path, expected: Option<&BTreeMap<PathBuf, Thing>>) -> BTreeMap<PathBuf, Thing> {
        let is_left_out =
            |name: &OsStr| ["__pycache__", ".lock", ".sitefs", "lib64"].iter().any(|it| name == *it);
        let walk = WalkDir::new(venv).min_depth(1).follow_links(true).into_iter();
        let thing = |entry: walkdir::DirEntry| {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let relative = path.strip_prefix(venv).unwrap().to_path_buf();
            let same_bytes = |cached: &Path| fs_err::read(cached).unwrap() == fs_err::read(path).unwrap();
            let kind = match (
                self.by_identity.get(&(metadata.dev(), metadata.ino())),
                expected.and_then(|it| it.get(&relative)),
            ) {
                _ if metadata.is_dir() => ThingKind::Directory,
                (_, Some(Thing { kind: ThingKind::Other(bytes), .. }))
                    if fs_err::read(path).unwrap() == *bytes =>
                {
                    ThingKind::Other(bytes.clone())
                }
                (Some(cached), _) => ThingKind::Cached(cached.clone()),
                (None, Some(Thing { kind: ThingKind::Cached(cached), .. })) if same_bytes(cached) => {
                    ThingKind::Cached(cached.clone())
                }
                _ => ThingKind::Other(fs_err::read(path).unwrap()),
            };
            (relative, Thing { kind, mode: metadata.mode() & 0o7777 })
        };
        walk.filter_entry(|entry| !is_left_out(entry.file_name()))
            .map(|entry| thing(entry.unwrap()))
            .collect()
    }
}

fn makes_one_tree(test: &Sandbox, modes: &[&str], what: &str) {
    let before = test.environment();
    let mut first: Option<(&str, Tree)> = None;
    for mode in modes {
        mount(test, mode).succeeds();
        assert_eq!(crate::mode(test), *mode);
        let tree = seen(test);
        assert!(tree.keys().any(|path| path.ends_with("METADATA")), "{what} is there");
        match &first {
            None => first = Some((mode, tree)),
            Some((other, expected)) => {
                assert_same(&format!("{what}, {other}"), expected, &format!("{what}, {mode}"), &tree);
            }
        }
        kinds_are_those_of(test, mode);
        test.unmount().succeeds();
        test.nothing_left(&before);
    }
}

/// Links are links, and files are files.
fn kinds_are_those_of(test: &Sandbox, mode: &str) {
    let walk = WalkDir::new(test.site_packages()).into_iter().map(Result::unwrap);
    // A mounted environment's links lead through its read-only mount of the cache.
    let folders = [test.cache.clone(), test.site_packages().join(".sitefs-cache")];
    let leads_to_cache = |link: &Path| folders.iter().any(|folder| leads_below(link, folder));
    let links_to_cache = walk.filter(|entry| entry.path_is_symlink() && leads_to_cache(entry.path()));
    assert_eq!(links_to_cache.count() > 0, ["fuse", "symlink", FOLDED].contains(&mode), "links in {mode}");
}

fn leads_below(link: &Path, folder: &Path) -> bool {
    let target = fs_err::canonicalize(link);
    target.is_ok_and(|target| fs_err::canonicalize(folder).is_ok_and(|folder| target.starts_with(folder)))
}

/// xorshift: the same wheels for the same seed.
struct Random(u64);

impl Random {
    fn wheel(&mut self, name: &str, library: &str) -> WheelBuilder {
        const FOLDERS: [&str; 9] = [
            "clash/",
            "",
            "ns/",
            "ns/deep/",
            "ns/deep/er/",
            "ns/déjà vu/",
            "名前/",
            "pkg/a b/",
            "pkg/x.dist/",
        ];
        const FILES: [&str; 8] =
            ["__init__.py", "mod.py", "empty", "ünïcode.txt", "lib.so", "tool", "data.bin", "-dash"];
        let mut wheel = WheelBuilder::new(name, "1.0").file(&format!("{name}.py"), "");
        if self.below(2) == 0 {
            wheel = wheel.file(&format!("{}/__init__.py", self.of(&["own", "ns", "ns/deep"])), "");
        }
        // A file where another wheel has a folder.
        let folders = if self.below(3) == 0 {
            wheel = wheel.data("purelib/clash", "a file");
            &FOLDERS[1..]
        } else {
            &FOLDERS
        };
        for _ in 0..25 {
            let path = format!("{}{}", self.of(folders), self.of(&FILES));
            let bytes = self.bytes(name);
            wheel = match self.below(9) {
                0 => wheel.data(&format!("purelib/{path}"), bytes),
                1 => wheel.data(&format!("platlib/{path}"), bytes),
                2 => wheel.data(&format!("data/{library}/{path}"), bytes),
                3 => wheel.data(&format!("data/share/{path}"), bytes),
                4 => wheel.data(&format!("data/etc/{path}"), bytes),
                5 => wheel.data(&format!("headers/{path}"), bytes),
                6 => wheel.data(&format!("scripts/{name}-{}", self.below(4)), bytes),
                7 => wheel.executable(&path, bytes),
                _ => wheel.file(&path, bytes),
            };
        }
        wheel
    }

    fn bytes(&mut self, name: &str) -> Vec<u8> {
        match self.below(5) {
            0 => Vec::new(),
            4 => b"\x7fELF, or so it says".to_vec(),
            1 => b"the same in all".to_vec(),
            2 => format!("#!python\nprint('{name} {}')\n", self.next()).into_bytes(),
            _ => (0..self.below(9000)).map(|_| self.next() as u8).collect(),
        }
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn next(&mut self) -> u64 {
        let mut state = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ (state >> 32);
        state >> 16
    }
}
