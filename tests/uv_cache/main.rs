//! sitefs finds in uv's cache what uv installed from it: for each layout that uv has had, with real uv.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are tests, which clippy.toml cannot know

mod remembered;
#[path = "../common/uv.rs"]
mod uv;

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use fs_err::os::unix::fs::symlink;
use rustix::fs::FileType;
use sitefs::cache::{Archive, Cache, Wanted};
use sitefs::error::Error;
use sitefs::lock::{BuildSettings, Origin, Pin, Selection, Source};
use sitefs::progress::Progress;
use sitefs::python::{PackageName, Tags};
use sitefs::venv::interpreter::Interpreter;
use url::Url;
use uv::{Server, Uv, run};

const SIX: &str = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";

fn pin(requirement: &str, source: Source) -> Pin {
    let (name, version) = requirement.split_once("==").unwrap_or((requirement, ""));
    Pin {
        name: PackageName::new(name),
        version: version.parse().ok(),
        source,
        hashes: Vec::new(),
        marker: pep508_rs::MarkerTree::default(),
        build: BuildSettings::default(),
        origin: Origin { file: "requirements.txt".into(), line: 1 },
    }
}

fn index(requirement: &str) -> Pin {
    pin(requirement, Source::Index)
}

fn hashed(requirement: &str, hash: &str) -> Pin {
    Pin { hashes: vec![hash.to_owned()], ..index(requirement) }
}

fn archive(requirement: &str, url: &str) -> Pin {
    let url = Url::parse(url).unwrap();
    pin(requirement, Source::Archive { url, subdirectory: None })
}

fn file(requirement: &str, path: &Path) -> Pin {
    archive(requirement, Url::from_file_path(path).unwrap().as_str())
}

fn directory(requirement: &str, path: &Path, editable: bool) -> Pin {
    let path = path.to_owned();
    pin(requirement, Source::Directory { path, editable: editable.then_some(true) })
}

fn git(requirement: &str, repository: &Path, revision: &str) -> Pin {
    let source = Source::Git {
        repository: Url::from_file_path(repository).unwrap(),
        revision: Some(revision.to_owned()),
        commit: (revision.len() == 40).then(|| revision.to_owned()),
        subdirectory: None,
        file: None,
    };
    pin(requirement, source)
}

fn find(uv: &Uv, pins: &[Pin]) -> Result<Vec<Archive>, Error> {
    let tags = Interpreter::remembered_in(None, &uv.venv()).unwrap().tags;
    find_in(&uv.cache(), pins, &tags, &uv.venv())
}

fn find_in(cache: &Path, pins: &[Pin], tags: &Tags, venv: &Path) -> Result<Vec<Archive>, Error> {
    find_remembering(cache, pins, tags, venv, None)
}

fn find_remembering(
    cache: &Path,
    pins: &[Pin],
    tags: &Tags,
    venv: &Path,
    plans: Option<&Path>,
) -> Result<Vec<Archive>, Error> {
    let (python, selection, progress) =
        (venv.join("bin/python"), Selection::default(), Progress::unless(true));
    let (python, selection, progress) = (&python, &selection, &progress);
    let wanted = Wanted { pins, tags, python, selection, venv, store: None, plans, progress };
    Ok(Cache::open(cache)?.find(wanted)?.archives)
}

fn error(uv: &Uv, pin: Pin) -> String {
    find(uv, &[pin]).unwrap_err().to_string()
}

/// Everything of one kind of source each, installed by a uv of `version`, is found as uv installed it.
fn finds_what_uv_installed(version: &str) {
    let uv = Uv::new(version);
    let (wheel, sdist) = (uv.build("local-wheel", "1.0", "wheel"), uv.build("local-sdist", "1.0", "sdist"));
    let (far_wheel, far_sdist) =
        (uv.build("far-wheel", "1.0", "wheel"), uv.build("far-sdist", "1.0", "sdist"));
    let (plain, editable) = (uv.project("plain", "1.0"), uv.project("editable", "1.0"));
    let (repository, commit) = uv.repository("from-git", "1.0");
    let server = Server::new(&uv.folder().join("dist"));
    let (wheel_url, sdist_url) = (server.url(&far_wheel), server.url(&far_sdist));
    let links = uv.folder().join("links");
    fs::create_dir(&links).unwrap();
    for (name, kind) in [("linked-wheel", "wheel"), ("linked-sdist", "sdist")] {
        let built = uv.build(name, "1.0", kind);
        fs::rename(&built, links.join(built.file_name().unwrap())).unwrap();
    }
    uv.install(&format!(
        "--find-links {}\nsix==1.17.0\nzope.interface==7.2\nlinked-wheel==1.0\nlinked-sdist==1.0\n\
         {}\n{}\n{}\n-e {}\nfar-wheel @ {wheel_url}\nfar-sdist @ {sdist_url}\nfrom-git @ git+file://{}@{commit}\n",
        links.display(),
        wheel.display(),
        sdist.display(),
        plain.display(),
        editable.display(),
        repository.display(),
    ));
    // When uv has just built an sdist, it writes a file more than when it has it in its cache.
    run(Command::new("python3").args(["-m", "venv", "--clear", "--without-pip"]).arg(uv.venv()));
    uv.run(&["pip", "install", "-r", "requirements.txt"]);
    let pins = [
        hashed("six==1.17.0", SIX),
        index("Zope_Interface==7.2.0"),
        index("linked-wheel==1.0"),
        index("linked-sdist==1.0"),
        file("local-wheel", &wheel),
        file("local-sdist", &sdist),
        directory("plain", &plain, false),
        directory("editable", &editable, true),
        archive("far-wheel==1.0", &wheel_url),
        archive("far-sdist", &sdist_url),
        git("from-git", &repository, &commit),
    ];
    let archives = find(&uv, &pins).unwrap();
    assert_eq!(archives.len(), pins.len());
    for (pin, archive) in pins.iter().zip(archives) {
        assert_eq!(archive.name, pin.name);
        let installed = |file| uv.installed(&archive.dist_info, file);
        let wheel = fs::read_to_string(archive.root.join(&archive.dist_info).join("METADATA")).unwrap();
        assert_eq!(installed("METADATA"), Some(wheel), "{}", pin.name);
        assert_eq!(archive.direct_url, installed("direct_url.json"), "{}", pin.name);
        assert_eq!(
            cache_info(generated(&archive, "uv_cache.json")),
            cache_info(installed("uv_cache.json").as_deref().map(str::as_bytes)),
            "{}",
            pin.name
        );
        assert!(archive.top_level.iter().any(|entry| entry.file_type == FileType::RegularFile
            || entry.file_type == FileType::Directory && entry.name != *archive.dist_info));
    }
}

fn generated<'a>(archive: &'a Archive, name: &str) -> Option<&'a [u8]> {
    let file = archive.generated.iter().find(|(file, _)| file == name);
    file.map(|(_, contents)| contents.as_slice())
}

/// uv 0.5 has no `env` and no `directories`.
fn cache_info(json: Option<&[u8]>) -> Option<serde_json::Value> {
    let mut info: serde_json::Value = serde_json::from_slice(json?).unwrap();
    for field in ["env", "directories"] {
        info.as_object_mut().unwrap().entry(field).or_insert_with(|| serde_json::json!({}));
    }
    Some(info)
}

#[test]
fn finds_what_uv_0_5_0_installed() {
    finds_what_uv_installed("0.5.0");
}

#[test]
fn finds_what_uv_0_8_24_installed() {
    finds_what_uv_installed("0.8.24");
}

#[test]
fn finds_what_uv_0_10_12_installed() {
    finds_what_uv_installed("0.10.12");
}

#[test]
fn finds_what_uv_0_12_5_installed() {
    finds_what_uv_installed("0.12.5");
}

#[test]
fn finds_what_uv_0_13_9_installed() {
    finds_what_uv_installed("0.13.9");
}

const NEWEST: &str = "0.13.9";

fn uv_with_six() -> Uv {
    let uv = Uv::new(NEWEST);
    uv.install("six==1.17.0");
    uv
}

/// The folder of six among the wheels, and its key.
fn six(uv: &Uv) -> (PathBuf, &'static str) {
    let bucket = only(&uv.cache(), "wheels-v");
    (bucket.join("pypi/six"), "1.17.0-py2.py3-none-any")
}

fn only(folder: &Path, prefix: &str) -> PathBuf {
    let mut found = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    let path = found.next().unwrap();
    assert!(found.next().is_none(), "{prefix} is not alone");
    path
}

#[test]
fn uv_would_change_nothing_with_the_generated_files() {
    let uv = Uv::new(NEWEST);
    let wheel = uv.build("local-wheel", "1.0", "wheel");
    let plain = uv.project("plain", "1.0");
    let (repository, commit) = uv.repository("from-git", "1.0");
    let pins = [
        file("local-wheel", &wheel),
        directory("plain", &plain, false),
        git("from-git", &repository, &commit),
    ];
    uv.install(&format!(
        "{}\n{}\nfrom-git @ git+file://{}@{commit}\n",
        wheel.display(),
        plain.display(),
        repository.display()
    ));
    let site_packages = only(&uv.venv().join("lib"), "python").join("site-packages");
    for archive in find(&uv, &pins).unwrap() {
        let dist_info = site_packages.join(&archive.dist_info);
        for file in ["direct_url.json", "uv_cache.json", "uv_build.json"] {
            let _ = fs::remove_file(dist_info.join(file));
        }
        fs::write(dist_info.join("direct_url.json"), archive.direct_url.unwrap()).unwrap();
        for (name, contents) in archive.generated {
            fs::write(dist_info.join(name), contents).unwrap();
        }
    }
    let says = uv.run(&["pip", "sync", "--dry-run", "requirements.txt"]);
    assert!(says.contains("Would make no changes"), "{says}");
}

#[test]
fn a_wheel_is_found_by_its_link_when_its_pointer_is_damaged_and_the_other_way_round() {
    let uv = uv_with_six();
    let (folder, key) = six(&uv);
    let pointer = folder.join(format!("{key}.http"));
    let whole = fs::read(&pointer).unwrap();
    for damaged in [
        &b""[..],
        &whole[..5],
        b"foreign",
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0x92, 0xa1, b'/', 0x90],
        &[0x91; 5000],
    ] {
        fs::write(&pointer, damaged).unwrap();
        assert_eq!(find(&uv, &[index("six==1.17.0")]).unwrap().len(), 1, "{damaged:?}");
    }
    fs::remove_file(folder.join(key)).unwrap();
    let error = error(&uv, index("six==1.17.0"));
    assert!(error.contains("is damaged or from an unknown uv"), "{error}");
    fs::write(&pointer, whole).unwrap();
    assert_eq!(find(&uv, &[index("six==1.17.0")]).unwrap().len(), 1);
}

#[test]
fn links_of_a_cache_that_was_moved_lead_to_its_archives() {
    let uv = uv_with_six();
    let (folder, key) = six(&uv);
    let target = fs::read_link(folder.join(key)).unwrap();
    fs::remove_file(folder.join(key)).unwrap();
    fs::remove_file(folder.join(format!("{key}.http"))).unwrap();
    let old = Path::new("/gone/cache/archive-v0").join(target.file_name().unwrap());
    symlink(old, folder.join(key)).unwrap();
    let found = find(&uv, &[index("six==1.17.0")]).unwrap();
    assert!(found[0].root.starts_with(fs::canonicalize(uv.cache()).unwrap()));
}

#[test]
fn tags_that_only_the_archive_tells_are_read_there() {
    let uv = uv_with_six();
    let (folder, key) = six(&uv);
    fs::remove_file(folder.join(format!("{key}.http"))).unwrap();
    fs::rename(folder.join(key), folder.join("1.17.0-516d0c2242d49034")).unwrap();
    assert_eq!(find(&uv, &[index("six==1.17")]).unwrap().len(), 1);
    assert_eq!(find(&uv, &[index("six==1.17.0")]).unwrap().len(), 1);
}

#[test]
fn a_cache_reached_by_links_gives_archives_without_links() {
    let uv = uv_with_six();
    let link = uv.folder().join("link");
    symlink(uv.cache(), &link).unwrap();
    let tags = Interpreter::remembered_in(None, &uv.venv()).unwrap().tags;
    let found = find_in(&link, &[index("six==1.17.0")], &tags, &uv.venv()).unwrap();
    assert!(found[0].root.starts_with(fs::canonicalize(uv.cache()).unwrap()));
    assert_eq!(found[0].root, fs::canonicalize(&found[0].root).unwrap());
}

#[test]
fn an_archive_that_is_gone_or_damaged_is_not_used() {
    let uv = uv_with_six();
    let root = find(&uv, &[index("six==1.17.0")]).unwrap().remove(0).root;
    let record = root.join("six-1.17.0.dist-info/RECORD");
    fs::write(&record, "").unwrap();
    let error_text = error(&uv, index("six==1.17.0"));
    assert!(error_text.contains("RECORD is missing or empty"), "{error_text}");
    fs::remove_dir_all(&root).unwrap();
    let error_text = error(&uv, index("six==1.17.0"));
    assert!(error_text.contains("is gone"), "{error_text}");
}

#[test]
fn an_older_bucket_helps_when_the_newest_is_damaged() {
    let uv = uv_with_six();
    let newest = find(&uv, &[index("six==1.17.0")]).unwrap().remove(0).root;
    let old = Uv::new("0.8.24");
    old.install("six==1.17.0");
    let archive = find(&old, &[index("six==1.17.0")]).unwrap().remove(0).root;
    fs::rename(&archive, uv.cache().join("archive-v0").join(archive.file_name().unwrap())).unwrap();
    fs::rename(only(&old.cache(), "wheels-v"), uv.cache().join("wheels-v5")).unwrap();
    assert_eq!(find(&uv, &[index("six==1.17.0")]).unwrap()[0].root, newest);
    fs::remove_dir_all(&newest).unwrap();
    let found = find(&uv, &[index("six==1.17.0")]).unwrap();
    assert_eq!(found[0].root.file_name(), archive.file_name());
    // uv 0.8 kept no hashes, so nothing says that this is not the wheel of the lock.
    assert_eq!(find(&uv, &[hashed("six==1.17.0", SIX)]).unwrap(), found);
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    let uv = uv_with_six();
    let (folder, key) = six(&uv);
    let foreign = folder.parent().unwrap().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::copy(folder.join(format!("{key}.http")), foreign.join("1.0-cp27-cp27m-win32.http")).unwrap();
    let mut pins =
        vec![hashed("six==1.17.0", &SIX.replace('4', "5")), index("foreign==1.0"), index("six==1.16.0")];
    pins.extend((0..20).map(|number| index(&format!("absent-{number}==1"))));
    pins.push(index("six==1.17.0"));
    let error = find(&uv, &pins).unwrap_err();
    let cache = fs::canonicalize(uv.cache()).unwrap();
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], format!("23 of 24 distributions are not in the cache {}:", cache.display()));
    assert_eq!(lines[1], "  six==1.17.0: its hash is none of those in the lock");
    assert_eq!(lines[2], "  foreign==1.0: only for other Pythons or platforms: cp27-cp27m-win32");
    assert_eq!(lines[3], "  six==1.16.0: only other versions: 1.17.0");
    assert_eq!(lines[4], "  absent-0==1");
    assert_eq!(lines.last().unwrap(), &"  and 3 more");
    assert_eq!(lines.len(), 22);
}

/// Runs the command that the help of `error` names, for `/bin/sh`.
fn follow_help(uv: &Uv, error: &Error) {
    let command = error.help().unwrap().split('`').nth(1).unwrap();
    let path = format!("{}:{}", uv.bin().display(), std::env::var("PATH").unwrap());
    uv::run(Command::new("sh").args(["-c", command]).env("PATH", path).env("TMPDIR", uv.folder()));
}

#[test]
fn the_command_in_the_help_gets_what_is_missing_and_leaves_the_venv_alone() {
    let uv = Uv::new(NEWEST);
    fs::create_dir_all(uv.cache().join("archive-v0")).unwrap();
    let wheel = uv.build("local-wheel", "1.0", "wheel");
    let hash = sha256(&wheel);
    let lock = uv.folder().join("the lock.txt");
    fs::write(&lock, format!("local-wheel @ file://{} --hash=sha256:{hash}\n", wheel.display())).unwrap();
    let mut missing = file("local-wheel", &wheel);
    missing.hashes.push(hash);
    missing.origin.file = lock;
    let error = find(&uv, std::slice::from_ref(&missing)).unwrap_err();
    follow_help(&uv, &error);
    assert_eq!(find(&uv, &[missing]).unwrap().len(), 1);
    assert_eq!(uv.installed("local_wheel-1.0.dist-info", "METADATA"), None);
}

#[test]
fn the_command_in_the_help_gets_what_a_uv_lock_asks_for() {
    let uv = Uv::new(NEWEST);
    let wheel = uv.build("local-wheel", "1.0", "wheel");
    let editable = uv.project("editable", "1.0");
    let project = uv.folder().join("project");
    fs::create_dir(&project).unwrap();
    fs::write(
        project.join("pyproject.toml"),
        format!(
            "[project]\nname = \"project\"\nversion = \"1\"\nrequires-python = \">=3.8\"\n\
             dependencies = [\"local-wheel @ file://{}\", \"editable\"]\n\
             [tool.uv.sources]\neditable = {{ path = \"{}\", editable = true }}\n",
            wheel.display(),
            editable.display()
        ),
    )
    .unwrap();
    uv.run(&["lock", "--project", "project"]);
    fs::remove_dir_all(uv.cache()).unwrap();
    fs::create_dir_all(uv.cache().join("archive-v0")).unwrap();
    let mut pins = [file("local-wheel==1.0", &wheel), directory("editable==1.0", &editable, true)];
    for pin in &mut pins {
        pin.origin.file = project.join("uv.lock");
    }
    follow_help(&uv, &find(&uv, &pins).unwrap_err());
    assert_eq!(find(&uv, &pins).unwrap().len(), 2);
    assert!(!project.join(".venv").exists());
    assert_eq!(uv.installed("local_wheel-1.0.dist-info", "METADATA"), None);
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn two_urls_with_the_same_wheel_name_are_told_apart() {
    let uv = Uv::new(NEWEST);
    let wheel = uv.build("far-wheel", "1.0", "wheel");
    let server = Server::new(&uv.folder().join("dist"));
    let url = server.url(&wheel);
    let (first, second) = (format!("{url}?first"), format!("{url}?second"));
    let mut roots = Vec::new();
    for url in [&first, &second] {
        uv.install(&format!("far-wheel @ {url}"));
        roots.push(find(&uv, &[archive("far-wheel==1.0", url)]).unwrap().remove(0).root);
    }
    assert_ne!(roots[0], roots[1]);
    assert_eq!(find(&uv, &[archive("far-wheel==1.0", &first)]).unwrap()[0].root, roots[0]);
    let error = error(&uv, archive("far-wheel==1.0", &url));
    assert!(error.contains("it comes from http://127.0.0.1:"), "{error}");
    let mut verified = archive("far-wheel==1.0", &url);
    verified.hashes.push(sha256(&wheel));
    assert_eq!(find(&uv, &[verified]).unwrap().len(), 1);
}

#[test]
fn credentials_in_a_url_are_not_written_down() {
    let uv = Uv::new(NEWEST);
    let wheel = uv.build("far-wheel", "1.0", "wheel");
    let server = Server::new(&uv.folder().join("dist"));
    let url = server.url(&wheel).replace("http://", "http://me:secret@");
    uv.install(&format!("far-wheel @ {url}"));
    let found = find(&uv, &[archive("far-wheel==1.0", &url)]).unwrap();
    assert_eq!(found[0].direct_url, uv.installed("far_wheel-1.0.dist-info", "direct_url.json"));
    assert!(!found[0].direct_url.as_ref().unwrap().contains("secret"));
}

#[test]
fn a_local_source_that_changed_since_is_not_used() {
    let uv = Uv::new(NEWEST);
    let wheel = uv.build("local-wheel", "1.0", "wheel");
    let plain = uv.project("plain", "1.0");
    uv.install(&format!("{}\n{}\n", wheel.display(), plain.display()));
    let pins = [file("local-wheel", &wheel), directory("plain", &plain, false)];
    for path in [wheel, plain.join("pyproject.toml")] {
        let contents = fs::read(&path).unwrap();
        fs::write(&path, contents).unwrap();
    }
    let error = find(&uv, &pins).unwrap_err().to_string();
    assert_eq!(error.matches("has changed since it was cached").count(), 2, "{error}");
}

#[test]
fn a_local_wheel_that_is_not_here_is_the_one_of_its_name() {
    let uv = Uv::new(NEWEST);
    let [old, new] = ["1.0+cpu", "2.0"].map(|version| uv.build("local-wheel", version, "wheel"));
    for wheel in [&old, &new] {
        uv.install(wheel.to_str().unwrap());
        fs::remove_file(wheel).unwrap();
    }
    let found = find(&uv, &[file("local-wheel", &old)]).unwrap();
    assert_eq!(found[0].version, "1.0+cpu");
}

#[test]
fn a_tag_of_a_repository_is_no_lock() {
    let uv = Uv::new(NEWEST);
    let (repository, _) = uv.repository("from-git", "1.0");
    uv.install(&format!("from-git @ git+file://{}@v1", repository.display()));
    let error = error(&uv, git("from-git", &repository, "v1"));
    assert!(error.contains("v1 can move: name the whole commit"), "{error}");
}

#[test]
fn what_is_not_a_cache_is_said_to_be_none() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, reason) in [
        (folder.path().join("missing"), "cannot open the cache"),
        (file, "is not a directory"),
        (folder.path().to_owned(), "has no folder"),
    ] {
        let error = Cache::open(&path).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.help().is_some());
    }
    fs::create_dir(folder.path().join("wheels-v8")).unwrap();
    Cache::open(folder.path()).unwrap();
}
