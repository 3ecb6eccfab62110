//! The cache behind links: a write through a link must not reach it, wherever it can be mounted read-only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{
    Outcome, Running, STAY, Sandbox, WheelBuilder, all_mounts_below, fuse_for_nobody, kill, run_arguments,
    skip, wait_until,
};

/// A module, a data file outside site-packages, and both once more with a name that is not easy.
fn wheel() -> WheelBuilder {
    WheelBuilder::new("greet", "1.0")
        .file("greet/__init__.py", "word = 'hello'\n")
        .file("greet/data.bin", [0, 1, 2])
        .data("data/include/greet/note.txt", "a note\n")
}

/// A sandbox in which root mounts; none, said loudly, for others.
fn sandbox() -> Option<Sandbox> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can mount the cache where all see it");
        return None;
    }
    Some(Sandbox::with_fuse()?.with_wheels([wheel()]))
}

fn cache_mount(test: &Sandbox) -> PathBuf {
    test.site_packages().join(".sitefs-cache")
}

/// Whether the environment has its mount and that of the cache, and no other.
fn has_both(test: &Sandbox) -> bool {
    let mut mounts = all_mounts_below(&test.root());
    mounts.sort();
    mounts == [test.site_packages(), cache_mount(test)]
}

/// The links of the environment that lead to the cache: in site-packages and in a directory of wheels' data that an
/// environment has anyway.
fn links(test: &Sandbox) -> [PathBuf; 2] {
    [test.site_packages().join("greet/__init__.py"), test.venv.join("include/greet/note.txt")]
}

/// Python that tries every way to change a file in place, and prints what it is told each time.
const WRITE: &str = "
import errno, os, sys
for path in sys.argv[1:]:
    for attempt in (lambda: open(path, 'a'), lambda: open(path, 'r+b'), lambda: os.truncate(path, 0),
                    lambda: os.chmod(path, 0o777), lambda: os.utime(path), lambda: os.setxattr(path, 'user.x', b'')):
        try:
            attempt()
            print('done')
        except OSError as error:
            print(errno.errorcode[error.errno])
";

fn write_through(paths: &[PathBuf]) -> Vec<String> {
    let paths = paths.iter().map(|path| path.display().to_string());
    ["-c".to_owned(), WRITE.to_owned()].into_iter().chain(paths).collect()
}

#[test]
fn not_even_root_writes_through_a_link() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let said = Outcome::of(test.command(&test.python).args(write_through(&links(&test)))).succeeds();
    assert_eq!(said.stdout.lines().collect::<Vec<_>>(), ["EROFS"; 12], "{said}");
    test.python("import greet; print(greet.word)").succeeds().prints("hello");
    // The cache itself stays as writable as it was: uv works on it.
    let new = test.cache.join("new");
    fs_err::write(&new, "").unwrap();
    fs_err::remove_file(new).unwrap();
}

#[test]
fn the_command_of_run_cannot_write_through_a_link_but_can_write_the_cache() {
    for way in [&[][..], &["--no-namespace"]] {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        let python = write_through(&links(&test));
        let command: Vec<&str> = ["python"].into_iter().chain(python.iter().map(String::as_str)).collect();
        let said = Outcome::of(&mut test.sitefs_command(run_arguments(&test, way, &command))).succeeds();
        assert_eq!(said.stdout.lines().collect::<Vec<_>>(), ["EROFS"; 12], "{said}");
        let new = test.cache.join("new").display().to_string();
        let command = ["sh", "-c", r#": >"$0" && rm "$0""#, &new];
        Outcome::of(&mut test.sitefs_command(run_arguments(&test, way, &command))).succeeds();
        test.nothing_left(&before);
        assert_eq!(all_mounts_below(&test.root()), [] as [PathBuf; 0]);
    }
}

/// In a user namespace of its own an ordinary user may mount, and owns the cache besides.
#[test]
fn nor_does_the_command_of_an_ordinary_users_run() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([wheel()]);
    let python = write_through(&links(&test));
    let command: Vec<&str> = ["python"].into_iter().chain(python.iter().map(String::as_str)).collect();
    let said = Outcome::of(&mut test.sitefs_command(run_arguments(&test, &["-v"], &command))).succeeds();
    if said.stderr.contains("where others see it") {
        skip("an ordinary user can have no namespace here");
        return;
    }
    assert_eq!(said.stdout.lines().collect::<Vec<_>>(), ["EROFS"; 12], "{said}");
    assert!(!said.stderr.contains("--entries"), "{said}");
}

#[test]
fn an_ordinary_user_is_told_once_that_links_reach_a_cache_that_is_theirs() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([wheel()]);
    let open = |test: &Sandbox| test.python("import greet; open(greet.__file__, 'a')");
    test.mount().succeeds().says("this user may write").says("--entries file");
    open(&test).succeeds();
    test.unmount().succeeds();
    test.mount().succeeds().says_nothing_of("may write");
    test.unmount().succeeds();
    test.mount_with(&["--entries", "file"]).succeeds().says_nothing_of("may write");
    let code = "import os, greet; print(os.path.islink(greet.__file__))";
    test.python(code).succeeds().prints("False");
}

#[test]
fn an_ordinary_user_is_told_nothing_of_a_cache_that_is_not_theirs() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([wheel()]);
    Outcome::of(Command::new("chown").args(["-R", "root:root"]).arg(&test.cache)).succeeds();
    test.mount().succeeds().says_nothing_of("may write");
    test.unmount().succeeds();
}

#[test]
fn links_lead_to_the_cache_itself_where_that_is_asked_for() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--no-cache-mount"]).succeeds().says_nothing_of("may write");
    assert_eq!(all_mounts_below(&test.root()), [test.site_packages()]);
    for link in links(&test) {
        assert!(fs_err::read_link(link).unwrap().starts_with(fs_err::canonicalize(&test.cache).unwrap()));
    }
}

#[test]
fn the_mount_of_the_cache_is_seen_by_nobody_who_looks_around() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let listed = fs_err::read_dir(test.site_packages()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!listed.into_iter().any(|name| name == ".sitefs-cache"));
    let found = test.run("find", &[test.venv.to_str().unwrap(), "-name", "greet-1.0.data"]).succeeds();
    assert_eq!(found.stdout, "");
    let target = fs_err::read_link(&links(&test)[0]).unwrap();
    assert!(target.starts_with(cache_mount(&test)), "{}", target.display());
    assert_eq!(fs_err::canonicalize(&links(&test)[0]).unwrap(), target);
    let length = fs_err::symlink_metadata(&links(&test)[0]).unwrap().len();
    assert_eq!(length as usize, target.as_os_str().len());
}

#[test]
fn why_and_status_tell_of_the_cache_itself() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let archive = test.archive(&wheel());
    let why =
        |path: &str| test.sitefs([OsStr::new("why"), test.venv.as_os_str(), OsStr::new(path)]).succeeds();
    let target = |path: &str| format!("target  {}", archive.join(path).display());
    why("greet/__init__.py").says("from    greet 1.0").says(&target("greet/__init__.py"));
    why("include/greet/note.txt")
        .says("from    greet")
        .says(&target("greet-1.0.data/data/include/greet/note.txt"));
    test.sitefs([OsStr::new("status"), test.venv.as_os_str()]).says("which links reach read-only");
    assert_eq!(test.status().json()["mount"]["cache_mounted"], true);
}

/// A file of the cache and the same file through a link are one to the loader, which takes each inode once.
#[test]
fn a_file_keeps_its_identity() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let code = "
import os, sys
link, file = map(os.stat, sys.argv[1:])
print((link.st_dev, link.st_ino) == (file.st_dev, file.st_ino))";
    let file = test.archive(&wheel()).join("greet/__init__.py");
    let mut command = test.command(&test.python);
    Outcome::of(command.args(["-c", code]).arg(&links(&test)[0]).arg(file)).succeeds().prints("True");
}

#[test]
fn it_goes_with_the_environments_mount_whatever_ends_that() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    let is_all_gone = || all_mounts_below(&test.root()).is_empty();
    for end in ["unmount", "TERM", "umount", "KILL and unmount", "KILL and mount", "KILL and run"] {
        test.mount().succeeds();
        assert!(has_both(&test), "{end}");
        match end {
            "unmount" => drop(test.unmount().succeeds()),
            "TERM" => kill("TERM", test.server()),
            "umount" => {
                let point = test.site_packages();
                Outcome::of(Command::new("umount").arg("-l").arg(point)).succeeds();
            }
            _ => kill("KILL", test.server()),
        }
        match end {
            "KILL and unmount" => drop(test.unmount().succeeds()),
            "KILL and mount" => {
                test.mount().succeeds();
                assert!(has_both(&test), "{end}");
                test.unmount().succeeds();
            }
            "KILL and run" => {
                Outcome::of(&mut test.sitefs_command(run_arguments(&test, &[], &["true"]))).succeeds();
            }
            _ => {}
        }
        wait_until("all is unmounted", is_all_gone);
        test.nothing_left(&before);
    }
}

/// As after an unmount that was killed in between, or by somebody who went for the wrong one.
#[test]
fn an_environment_that_has_lost_it_is_mended() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    Outcome::of(Command::new("umount").arg(cache_mount(&test))).succeeds();
    test.sitefs([OsStr::new("status"), test.venv.as_os_str()]).says("whose mount is gone");
    assert_eq!(test.status().json()["mount"]["cache_mounted"], false);
    let run = || {
        Outcome::of(&mut test.sitefs_command(run_arguments(&test, &[], &["python", "-c", "import greet"])))
    };
    run().fails().says("the mount of the cache").says("sitefs mount");
    test.mount().succeeds().says("mounted anew");
    assert!(has_both(&test));
    test.python("import greet; print(greet.word)").succeeds().prints("hello");
    test.mount().fails().says("mounted already");
    run().succeeds();
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn a_killed_run_leaves_no_mount_of_the_cache() {
    for way in [&[][..], &["--no-namespace"]] {
        let Some(test) = sandbox() else { return };
        let before = test.environment();
        let mut running = Running::start(&test, way, &["python", "-c", STAY]);
        running.says("hello");
        kill("KILL", running.pid());
        wait_until("all is unmounted", || all_mounts_below(&test.root()).is_empty());
        test.nothing_left(&before);
    }
}

#[test]
fn an_unmount_is_refused_while_the_environment_is_used_and_not_for_what_was_loaded_from_the_cache() {
    let Some(test) = sandbox() else { return };
    let hold = |path: &Path| {
        let code = "import sys; kept = open(sys.argv[1], 'rb'); print('held', flush=True); sys.stdin.read()";
        let mut command = test.command(&test.python);
        command.args(["-c", code]).arg(path).stdin(Stdio::piped());
        let mut holder = Running::of(command);
        holder.says("held");
        holder
    };
    test.mount().succeeds();
    let holder = hold(&test.site_packages().join("greet-1.0.dist-info/INSTALLER"));
    test.unmount().fails().says(&holder.pid().to_string()).says("open file");
    assert!(has_both(&test));
    test.python("import greet; print(greet.word)").succeeds().prints("hello");
    drop(holder);
    let holder = hold(&links(&test)[0]);
    test.unmount().succeeds();
    assert_eq!(all_mounts_below(&test.root()), [] as [PathBuf; 0]);
    drop(holder);
}

#[test]
fn a_cache_on_any_path_is_mounted() {
    let Some(mut test) = sandbox() else { return };
    let odd = test.root().join("a cache, with\nall\\ \"signs\" é");
    fs_err::rename(&test.cache, &odd).unwrap();
    test.cache = odd;
    let link = test.root().join("link to the cache");
    std::os::unix::fs::symlink(&test.cache, &link).unwrap();
    let mut mount = test.sitefs_command(["mount", "-r"]);
    Outcome::of(mount.args([&test.requirements, &test.venv, &link])).succeeds();
    test.python("import greet; print(greet.word)").succeeds().prints("hello");
    let error = fs_err::OpenOptions::new().append(true).open(&links(&test)[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    test.unmount().succeeds();
}

#[test]
fn several_runs_each_have_the_cache() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    let mut first = Running::start(&test, &[], &["python", "-c", STAY]);
    first.says("hello");
    let show = r#"cat "$VIRTUAL_ENV"/include/greet/note.txt"#;
    Outcome::of(&mut test.sitefs_command(run_arguments(&test, &[], &["sh", "-c", show])))
        .succeeds()
        .prints("a note");
    kill("TERM", first.pid());
    first.ends();
    test.nothing_left(&before);
}

/// What outlives the mount must lead somewhere without it.
#[test]
fn links_that_are_moved_or_made_in_the_environment_lead_to_the_cache_when_it_is_unmounted() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let site_packages = test.site_packages();
    let [link, _] = links(&test);
    let shown = fs_err::read_link(&link).unwrap();
    fs_err::rename(&link, site_packages.join("moved.py")).unwrap();
    std::os::unix::fs::symlink(&shown, site_packages.join("copied.py")).unwrap();
    let file = test.cache_of(&shown);
    std::os::unix::fs::symlink(&file, site_packages.join("own.py")).unwrap();
    std::os::unix::fs::symlink("moved.py", site_packages.join("other.py")).unwrap();
    let names = ["moved.py", "copied.py", "own.py"];
    let check = |expected: &Path| {
        for name in names {
            let link = site_packages.join(name);
            assert_eq!(fs_err::read_link(&link).unwrap(), expected, "{name}");
            let length = fs_err::symlink_metadata(&link).unwrap().len();
            assert_eq!(length as usize, expected.as_os_str().len(), "{name}");
        }
        assert_eq!(fs_err::read_link(site_packages.join("other.py")).unwrap(), Path::new("moved.py"));
        assert_eq!(fs_err::read_to_string(site_packages.join("other.py")).unwrap(), "word = 'hello'\n");
    };
    check(&shown);
    test.unmount().succeeds();
    check(&file);
    test.mount().succeeds();
    check(&shown);
}

#[test]
fn nothing_takes_the_name_of_the_mount() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let point = cache_mount(&test);
    assert_eq!(fs_err::create_dir(&point).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(fs_err::write(&point, "").is_err());
    assert_eq!(fs_err::remove_dir(&point).unwrap_err().kind(), ErrorKind::ResourceBusy);
    assert!(fs_err::rename(&point, test.site_packages().join("away")).is_err());
    assert!(fs_err::rename(links(&test)[0].parent().unwrap(), &point).is_err());
    let uncovered =
        test.command("sh").args(["-c", r#"umount "$0" && touch "$0/new""#]).arg(&point).output().unwrap();
    assert!(!uncovered.status.success(), "nor is anything made below");
}

/// Whoever waits for a server inside the mount is seen by the kernel alone.
#[test]
fn an_unmount_that_the_kernel_refuses_leaves_the_cache_where_it_was() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let below = test.site_packages().join("greet");
    Outcome::of(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&below)).succeeds();
    test.unmount().fails().says("has a tmpfs file system mounted in it");
    Outcome::of(Command::new("umount").arg(&below)).succeeds();
    assert!(has_both(&test));
    test.python("import greet; print(greet.word)").succeeds().prints("hello");
    let error = fs_err::OpenOptions::new().append(true).open(&links(&test)[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    test.unmount().succeeds();
    assert_eq!(all_mounts_below(&test.root()), [] as [PathBuf; 0]);
}
