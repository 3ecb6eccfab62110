//! What an environment shows.

mod common;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;

use common::{Outcome, Sandbox, WheelBuilder};
use walkdir::{DirEntryExt, WalkDir};

fn pair() -> [WheelBuilder; 2] {
    let one = WheelBuilder::new("one", "1.0")
        .file("shared/one.py", "")
        .file("shared/both.py", "word = 'one'\n")
        .file("shared/same.py", "word = 'same'\n")
        .file("shared/deep/er/one.txt", "1");
    let two = WheelBuilder::new("two", "2.0")
        .file("shared/two.py", "")
        .file("shared/both.py", "word = 'two'\n")
        .file("shared/same.py", "word = 'same'\n")
        .file("shared/deep/er/two.txt", "2");
    [one, two]
}

fn why(test: &Sandbox, path: &str) -> Outcome {
    test.sitefs([OsStr::new("why"), test.venv.as_os_str(), OsStr::new(path)])
}

#[test]
fn directories_merge_at_any_depth() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(pair());
    test.mount().succeeds();
    for path in ["one.py", "two.py", "deep/er/one.txt", "deep/er/two.txt"] {
        let leaf = test.site_packages().join("shared").join(path);
        assert!(fs_err::symlink_metadata(&leaf).unwrap().is_symlink(), "{path} is a link to the cache");
        let file = test.cache_of(&fs_err::canonicalize(&leaf).unwrap());
        assert!(file.starts_with(fs_err::canonicalize(&test.cache).unwrap()), "{}", file.display());
    }
}

#[test]
fn of_two_files_the_later_in_the_lock_wins_and_mount_and_why_tell() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(pair());
    let mounted = test.mount_with(&["-v"]).succeeds().says("shared/both.py is two's, and hides one's");
    mounted.says_nothing_of("same.py");
    test.python("import shared.both as both; print(both.word)").succeeds().prints("two");
    why(&test, "shared/both.py").succeeds().says("from    two 2.0").says("hides   one 1.0");
    why(&test, "shared").succeeds().says("one 1.0").says("two 2.0");
    test.unmount().succeeds();

    test.lock("two==2.0\none==1.0\n");
    test.mount().succeeds();
    test.python("import shared.both as both; print(both.word)").succeeds().prints("one");
}

#[test]
fn inode_numbers_are_unique_and_the_same_however_they_are_asked_for() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(pair());
    test.mount().succeeds();
    let numbers = || -> HashMap<u64, _> {
        let walk = WalkDir::new(test.site_packages()).into_iter().map(Result::unwrap);
        let entries: Vec<_> = walk.collect();
        let numbers: HashMap<u64, _> = entries
            .iter()
            .map(|entry| {
                let metadata = fs_err::symlink_metadata(entry.path()).unwrap();
                (metadata.ino(), entry.path().to_path_buf())
            })
            .collect();
        assert_eq!(numbers.len(), entries.len(), "two entries share a number");
        numbers
    };
    let first = numbers();
    assert_eq!(first, numbers());
    let listing =
        WalkDir::new(test.site_packages().join("shared")).max_depth(1).into_iter().map(Result::unwrap);
    listing.for_each(|entry| assert_eq!(first[&entry.ino()], entry.path(), "the number in the listing"));
}

#[test]
fn a_distribution_of_the_environments_own_hides_the_locked_one() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(pair());
    let own = test.site_packages().join("one-0.5.dist-info");
    fs_err::create_dir(&own).unwrap();
    fs_err::write(own.join("METADATA"), "Metadata-Version: 2.1\nName: one\nVersion: 0.5\n").unwrap();
    test.mount().succeeds().says("the environment's own one hides the locked one==1.0");
    let version = "import importlib.metadata as m; print(m.version('one'), m.version('two'))";
    test.python(version).succeeds().prints("0.5 2.0");
    assert!(!test.site_packages().join("shared/one.py").exists());
}

#[test]
fn purelib_platlib_and_data_for_site_packages_are_part_of_the_view() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let library = test.site_packages().strip_prefix(&test.venv).unwrap().to_str().unwrap().to_owned();
    let wheel = WheelBuilder::new("parts", "1.0")
        .file("parts/__init__.py", "")
        .data("purelib/parts/pure.py", "word = 'pure'\n")
        .data("platlib/parts/plat.py", "word = 'plat'\n")
        .data(&format!("data/{library}/parts/data.py"), "word = 'data'\n");
    let test = test.with_wheels([wheel]);
    test.mount().succeeds();
    let code = "from parts import pure, plat, data; print(pure.word, plat.word, data.word)";
    test.python(code).succeeds().prints("pure plat data");
    assert!(!test.site_packages().join("parts-1.0.data").exists());
    let record = fs_err::read_to_string(test.site_packages().join("parts-1.0.dist-info/RECORD")).unwrap();
    for path in ["parts/pure.py,sha256=", "parts/plat.py,sha256=", "parts/data.py,sha256="] {
        assert!(record.lines().any(|line| line.starts_with(path)), "{path} in {record}");
    }
    assert!(!record.contains(".data/"), "{record}");
}

#[test]
fn what_wheels_have_outside_site_packages_is_where_it_belongs() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let wheel = WheelBuilder::new("outside", "1.0")
        .file("outside.py", "")
        .data("data/share/outside/index.html", "<p>")
        .data("data/etc/outside.json", "{}")
        .data("headers/outside.h", "int x;")
        .data("scripts/outside-tool", "#!python\nprint('tool')\n")
        .data("scripts/outside-shell", "#!/bin/sh\necho shell\n");
    let test = test.with_wheels([wheel]);
    let before = test.environment();
    test.mount().succeeds();
    assert_eq!(fs_err::read_to_string(test.venv.join("share/outside/index.html")).unwrap(), "<p>");
    test.run(test.venv.join("bin/outside-tool"), &[]).succeeds().prints("tool");
    test.run(test.venv.join("bin/outside-shell"), &[]).succeeds().prints("shell");
    let headers = fs_err::read_dir(test.venv.join("include/site")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs_err::read_to_string(headers.join("outside/outside.h")).unwrap(), "int x;");
    let record = fs_err::read_to_string(test.site_packages().join("outside-1.0.dist-info/RECORD")).unwrap();
    for path in [
        "../../../bin/outside-tool,sha256=",
        "../../../share/outside/index.html,",
        "../../../etc/outside.json,",
    ] {
        assert!(record.lines().any(|line| line.starts_with(path)), "{path} in {record}");
    }

    fs_err::write(test.venv.join("etc/outside.json"), "{\"mine\": 1}").unwrap();
    test.unmount().succeeds();
    assert_eq!(fs_err::read_to_string(test.venv.join("etc/outside.json")).unwrap(), "{\"mine\": 1}");
    fs_err::remove_dir_all(test.venv.join("etc")).unwrap();
    test.nothing_left(&before);
}

/// How often the server was asked for anything.
fn requests(test: &Sandbox) -> u64 {
    let status = ["status", "-v", "--json"].map(OsStr::new);
    let told = test.sitefs(status.into_iter().chain([test.venv.as_os_str()])).succeeds().json();
    told["mount"]["requests"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

#[test]
fn once_all_is_warm_neither_a_look_nor_an_import_asks_the_server_and_status_counts_what_did() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(pair());
    test.mount().succeeds();
    let look =
        || WalkDir::new(test.site_packages()).into_iter().for_each(|entry| drop(entry.unwrap().metadata()));
    let import = || {
        let code = "import sys; sys.dont_write_bytecode = True; import shared.both, shared.one, shared.two";
        test.python(code).succeeds();
    };
    let counted_over = |action: &dyn Fn()| {
        let before = requests(&test);
        action();
        requests(&test) - before
    };
    assert!(counted_over(&look) > 3);
    // The kernel asks each directory that it has listed once more when it was read, for that is in its attributes.
    look();
    assert_eq!(counted_over(&look), 0);
    import();
    assert!(counted_over(&import) <= 3, "a second import");
    let status = test.sitefs([OsStr::new("status"), OsStr::new("-v"), test.venv.as_os_str()]);
    status.succeeds().says("requests       ").says("lookup ");
}
