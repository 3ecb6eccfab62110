//! How a mount shows the files of the cache: as links, as regular files, or some so and some so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use common::{Corpus, Libraries, Outcome, Sandbox, WheelBuilder, run_arguments};
use walkdir::WalkDir;

fn pair() -> [WheelBuilder; 2] {
    let web = WheelBuilder::new("web", "1.0")
        .file("web/__init__.py", "word = 'web'\n")
        .file("web/static/index.html", "<p>")
        .executable("web/tool", "#!/bin/sh\necho tool\n")
        .file("web/static/image.png", [0x89, b'P', b'N', b'G']);
    let plain = WheelBuilder::new("plain", "1.0").file("plain/__init__.py", "word = 'plain'\n");
    [web, plain]
}

fn sandbox() -> Option<Sandbox> {
    Some(Sandbox::with_fuse()?.with_wheels(pair()))
}

/// The paths in site-packages that are links.
fn links(test: &Sandbox) -> Vec<String> {
    let root = test.site_packages();
    let walk = WalkDir::new(&root).sort_by_file_name().into_iter().map(Result::unwrap);
    let links = walk.filter(|entry| entry.file_type().is_symlink());
    links.map(|entry| entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect()
}

fn why(test: &Sandbox, path: &str) -> Outcome {
    test.sitefs([OsStr::new("why"), test.venv.as_os_str(), OsStr::new(path)])
}

#[test]
fn with_entries_file_nothing_is_a_link_and_every_real_path_stays_in_the_environment() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--entries", "file"]).succeeds().says("(fuse, entries file, from");
    assert_eq!(links(&test), [""; 0]);
    let code =
        "import os, web, plain; print(os.path.realpath(web.__file__) == web.__file__, web.word, plain.word)";
    test.python(code).succeeds().prints("True web plain");
    test.run(test.site_packages().join("web/tool"), &[]).succeeds().prints("tool");
    let archived = fs_err::metadata(test.archive(&pair()[0]).join("web/tool")).unwrap();
    let shown = fs_err::metadata(test.site_packages().join("web/tool")).unwrap();
    assert_eq!((shown.len(), shown.mtime()), (archived.len(), archived.mtime()));
    assert_ne!((shown.dev(), shown.ino()), (archived.dev(), archived.ino()));
}

#[test]
fn with_entries_mixed_text_is_regular_and_all_else_is_links() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--entries", "mixed"]).succeeds();
    let links = links(&test);
    for link in ["web/tool", "web/static/image.png"] {
        assert!(links.iter().any(|path| path == link), "{link} is no link: {links:?}");
    }
    assert!(!links.iter().any(|path| path.ends_with(".py") || path.ends_with(".html")), "{links:?}");
    test.python("import web; print(web.word)").succeeds().prints("web");
}

#[test]
fn entries_of_one_distribution_are_chosen_by_its_name() {
    let Some(test) = sandbox() else { return };
    let mount = |entries: &[&str]| test.mount_with(entries).succeeds();
    mount(&["--entries", "Web=file", "--entries", "absent=mixed"])
        .says("--entries names absent, which is not among the distributions");
    let of_web = |links: &[String]| links.iter().any(|path| path.starts_with("web"));
    let of_plain = |links: &[String]| links.iter().any(|path| path.starts_with("plain"));
    assert!(!of_web(&links(&test)) && of_plain(&links(&test)));
    test.unmount().succeeds();
    mount(&["--entries", "file", "--entries", "web=symlink"]);
    assert!(of_web(&links(&test)) && !of_plain(&links(&test)));
}

#[test]
fn entries_are_remembered_told_by_status_and_taken_from_the_environment() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--entries", "mixed", "--entries", "web=file"]).succeeds();
    test.unmount().succeeds();
    test.mount().succeeds().says("entries mixed web=file");
    test.sitefs([OsStr::new("status"), test.venv.as_os_str()]).says("(fuse, entries mixed web=file)");
    assert_eq!(test.status().json()["mount"]["entries"]["all"], "mixed");
    assert_eq!(test.status().json()["mount"]["entries"]["named"]["web"], "file");
    test.unmount().succeeds();
    let with_variable = |value: &str| {
        let mut mount = test.sitefs_command([OsStr::new("mount"), test.venv.as_os_str()]);
        Outcome::of(mount.env("SITEFS_ENTRIES", value))
    };
    with_variable("files").fails().says("SITEFS_ENTRIES").says("symlink, file and mixed");
    with_variable("plain=file, symlink").succeeds().says("entries symlink plain=file");
    test.unmount().succeeds();
    test.mount_with(&["--entries", "symlink"]).succeeds().says_nothing_of("entries");
}

#[test]
fn why_knows_regular_files_too() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--entries", "file"]).succeeds();
    let file = test.archive(&pair()[0]).join("web/__init__.py");
    let said = why(&test, "web/__init__.py").succeeds().says("from    web 1.0");
    said.says(&format!("target  {}", file.display()));
}

#[test]
fn entries_do_not_go_with_link_modes_that_make_files() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--link-mode", "copy", "--entries", "file"]).fails().says("--entries").says("copy");
    test.mount_with(&["--entries", "links"]).exits(2).says("symlink, file and mixed");
}

#[test]
fn run_uses_a_mount_only_with_the_entries_that_are_asked_for() {
    let Some(test) = sandbox() else { return };
    let code = "import os, web; print(os.path.islink(web.__file__))";
    let run = |options: &[&str]| {
        Outcome::of(&mut test.sitefs_command(run_arguments(&test, options, &["python", "-c", code])))
    };
    run(&["--entries", "file"]).succeeds().prints("False");
    run(&["--entries", "symlink"]).succeeds().prints("True");
    test.mount().succeeds();
    run(&[]).succeeds().prints("True");
    run(&["--entries", "file"]).fails().says("is mounted already, with entries symlink");
}

/// Each library is mapped from the mount, and finds the other by `$ORIGIN`.
#[test]
fn libraries_that_are_regular_files_find_each_other() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let Some(wheels) = Libraries::in_two_wheels(&test.root().join("build")) else { return };
    let test = test.with_wheels(wheels);
    test.mount_with(&["--entries", "file"]).succeeds();
    test.python(&Libraries::call("lib")).succeeds().prints("42");
}

/// starlette serves no file whose real path lies outside of the directory that it serves.
#[test]
fn a_server_that_refuses_links_serves_files_that_are_none() {
    if !common::fuse() {
        return;
    }
    let test = Sandbox::of(&Corpus::prepared("web"));
    let code = "
import os, starlette
from starlette.staticfiles import StaticFiles
files = StaticFiles(directory=os.path.dirname(starlette.__file__))
print(files.lookup_path('routing.py')[1] is not None, files.lookup_path('py.typed')[1] is not None)";
    for (entries, served) in [
        ("symlink", "False False"),
        ("starlette=file", "True True"),
        ("mixed", "True True"),
        ("file", "True True"),
    ] {
        test.mount_with(&["--entries", entries]).succeeds();
        test.python(code).succeeds().prints(served);
        test.unmount().succeeds();
    }
}

#[test]
fn a_regular_file_is_copied_when_it_is_first_written_to_and_stays_the_same_file() {
    let Some(test) = sandbox() else { return };
    for entries in ["file", "mixed"] {
        test.mount_with(&["--entries", entries]).succeeds();
        let path = test.site_packages().join("web/__init__.py");
        let before = fs_err::metadata(&path).unwrap();
        let mut file = fs_err::OpenOptions::new().read(true).append(true).open(&path).unwrap();
        file.write_all(b"more = 'more'\n").unwrap();
        assert_eq!(fs_err::metadata(&path).unwrap().ino(), before.ino());
        assert_eq!(fs_err::metadata(&path).unwrap().len(), before.len() + 14);
        drop(file);
        test.python("import web; print(web.word, web.more)").succeeds().prints("web more");
        test.unmount().succeeds();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "word = 'web'\nmore = 'more'\n");
        fs_err::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
