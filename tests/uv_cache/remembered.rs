//! What sitefs remembers of uv's cache is what it would find there, whatever uv and others have done to it since.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use sitefs::cache::Archive;
use sitefs::lock::Pin;
use sitefs::venv::interpreter::Interpreter;

use super::uv::Uv;
use super::{NEWEST, SIX, find_remembering, hashed, index};

/// What changed so shortly ago is not remembered yet.
const COARSE: Duration = Duration::from_millis(2100);

/// A cache of uv's with a wheel of an index and one that uv built, and what is remembered of it.
struct Test {
    uv: Uv,
    plans: PathBuf,
}

impl Test {
    fn new() -> Self {
        let uv = Uv::new(NEWEST);
        let links = uv.folder().join("links");
        fs::create_dir(&links).unwrap();
        let sdist = uv.build("built-here", "1.0", "sdist");
        fs::rename(&sdist, links.join(sdist.file_name().unwrap())).unwrap();
        let plans = uv.folder().join("plans");
        let test = Self { uv, plans };
        test.install(&[]);
        test
    }

    fn install(&self, options: &[&str]) {
        let words = ["pip", "install", "--find-links", "links", "six==1.17.0", "built-here==1.0"];
        self.uv.run(&[&words, options].concat());
    }

    fn find(&self, plans: Option<&Path>) -> Result<Vec<Archive>, String> {
        let (cache, venv) = (self.uv.cache(), self.uv.venv());
        let pins = ["six==1.17.0", "built-here==1.0"].map(index);
        let tags = Interpreter::remembered_in(None, &venv).unwrap().tags;
        find_remembering(&cache, &pins, &tags, &venv, plans).map_err(|error| error.to_string())
    }

    /// Finds what is remembered, where that is what would be found anyway.
    fn remembered(&self, what: &str) -> Result<Vec<Archive>, String> {
        let remembered = self.find(Some(&self.plans));
        assert_eq!(remembered, self.find(None), "{what}");
        remembered
    }

    /// Has it be remembered, and gives the file.
    fn remember(&self) -> PathBuf {
        std::thread::sleep(COARSE);
        self.remembered("anew").unwrap();
        let mut files = fs::read_dir(&self.plans).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none());
        file
    }

    /// What uv does on one file system, where it is not told otherwise.
    fn link_into_another_environment(&self) {
        self.uv.run(&["venv", "other"]);
        let words = ["pip", "install", "--python", "other", "--link-mode", "hardlink", "six==1.17.0"];
        self.uv.run(&words);
    }

    fn root(&self, name: &str) -> PathBuf {
        let archives = self.find(None).unwrap();
        archives.into_iter().find(|archive| archive.name.as_str() == name).unwrap().root
    }
}

#[test]
fn what_is_remembered_is_what_would_be_found() {
    let test = Test::new();
    test.remembered("what was just installed").unwrap();
    assert!(!test.plans.exists(), "what may still change is remembered");
    test.remember();
    test.remembered("nothing changed").unwrap();

    let record = test.root("six").join("six-1.17.0.dist-info/RECORD");
    fs::write(record, "").unwrap();
    assert!(test.remembered("a file of an archive was lost").unwrap_err().contains("missing or empty"));
    test.install(&["--reinstall", "--refresh"]);
    test.remembered("it was got again").unwrap();

    test.remember();
    fs::remove_dir_all(test.root("built-here")).unwrap();
    assert!(test.remembered("an archive is gone").unwrap_err().contains("is gone"));
    test.install(&["--reinstall", "--refresh"]);
    test.remembered("it was built again").unwrap();

    let file = test.remember();
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    test.link_into_another_environment();
    test.remembered("files were linked").unwrap();
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written, "that changes nothing");
    let module = test.root("six").join("six.py");
    fs::rename(&module, module.with_extension("gone")).unwrap();
    test.remembered("a module is gone").unwrap();

    test.uv.run(&["pip", "install", "six==1.16.0"]);
    test.remembered("another version came").unwrap();
    test.uv.run(&["cache", "clean", "six"]);
    assert!(test.remembered("a distribution was removed").unwrap_err().contains("six"));
}

#[test]
fn a_second_choice_is_not_remembered() {
    let test = Test::new();
    let second = test.root("six");
    // uv keeps what comes from a folder apart from what comes from an index.
    let wheel = test.uv.build("six", "1.17.0", "wheel");
    fs::rename(&wheel, test.uv.folder().join("links").join(wheel.file_name().unwrap())).unwrap();
    test.uv.run(&["pip", "install", "--no-index", "--find-links", "links", "--reinstall", "six==1.17.0"]);
    let first = test.root("six");
    assert_ne!(first, second);
    let away = first.with_extension("away");
    fs::rename(&first, &away).unwrap();
    std::thread::sleep(COARSE);
    assert_eq!(test.remembered("the first is gone").unwrap()[0].root, second);
    fs::rename(&away, &first).unwrap();
    assert_eq!(test.remembered("the first is there again").unwrap()[0].root, first);
}

#[test]
fn a_better_wheel_that_comes_later_is_taken() {
    let test = Test::new();
    let file = test.remember();
    // uv prefers a wheel to what it built itself.
    let wheel = test.uv.build("built-here", "1.0", "wheel");
    fs::rename(&wheel, test.uv.folder().join("links").join(wheel.file_name().unwrap())).unwrap();
    let before = test.root("built-here");
    test.install(&["--reinstall", "--refresh"]);
    assert_ne!(test.root("built-here"), before);
    test.remembered("a wheel came").unwrap();
    assert!(file.exists());
}

#[test]
fn what_is_remembered_is_used_and_what_is_damaged_is_not() {
    let test = Test::new();
    let file = test.remember();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"version\":\"1.17.0\"", "\"version\":\"1.17.0.1\"")).unwrap();
    assert_eq!(test.find(Some(&test.plans)).unwrap()[0].version, "1.17.0.1");
    for damaged in ["", "{}", "[1]", &text[..text.len() / 2]] {
        fs::write(&file, damaged).unwrap();
        test.remembered(damaged).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "it was remembered anew");
    }
}

/// Every lock has a plan of its own, and the last 64 are kept.
#[test]
fn a_lock_is_answered_by_its_own_plan_only() {
    let test = Test::new();
    test.remember();
    let (cache, venv) = (test.uv.cache(), test.uv.venv());
    let tags = Interpreter::remembered_in(None, &venv).unwrap().tags;
    let find = |pins: &[Pin]| find_remembering(&cache, pins, &tags, &venv, Some(&test.plans));
    let built = || index("built-here==1.0");
    find(&[hashed("six==1.17.0", SIX), built()]).unwrap();
    let error = find(&[hashed("six==1.17.0", &"0".repeat(64)), built()]).unwrap_err().to_string();
    assert!(error.contains("six"), "{error}");
    let plans = || fs::read_dir(&test.plans).unwrap().count();
    assert_eq!(plans(), 2);
    for number in 0..70 {
        fs::write(test.plans.join(format!("{number}.json")), "").unwrap();
    }
    find(&[hashed("six==1.17.0", SIX)]).unwrap();
    assert_eq!(plans(), 64);
}
