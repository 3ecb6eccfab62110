//! One lock, every mode, one tree.

use std::path::Path;

use crate::common::{Outcome, Sandbox, Tree, WheelBuilder, assert_same};
use crate::{Place, mount, seen};

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
        makes_one_tree(&place, &place.all_modes(), &format!("seed {seed}"));
    }
}

#[test]
fn the_small_corpus_makes_one_tree_in_every_mode() {
    corpus_makes_one_tree("small", 256);
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
    makes_one_tree(&place, &place.all_modes(), name);
}

fn makes_one_tree(test: &Sandbox, modes: &[&str], what: &str) {
    let before = test.environment();
    let mut first: Option<(&str, Tree)> = None;
    for mode in modes {
        mount(test, mode).succeeds().says(mode);
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
    let walk = walkdir::WalkDir::new(test.site_packages()).into_iter().map(Result::unwrap);
    let links_to_cache =
        walk.filter(|entry| entry.path_is_symlink() && leads_below(entry.path(), &test.cache));
    assert_eq!(links_to_cache.count() > 0, ["fuse", "symlink"].contains(&mode), "links in {mode}");
}

fn leads_below(link: &Path, folder: &Path) -> bool {
    fs_err::canonicalize(link).is_ok_and(|target| target.starts_with(fs_err::canonicalize(folder).unwrap()))
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
        match self.below(4) {
            0 => Vec::new(),
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
