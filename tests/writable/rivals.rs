//! What went wrong in other writable views of packages: each of these was seen somewhere.

use std::ffi::CString;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use walkdir::{DirEntryExt, WalkDir};

use crate::common::{Sandbox, mounts_below, servers_below, wait_until};
use crate::{GREET, greet, kill, kill_server};

/// Mounted, with links and with regular files.
fn each_kind(check: impl Fn(&Sandbox)) {
    for entries in ["symlink", "file"] {
        let Some(test) = crate::sandbox() else { return };
        test.mount_with(&["--entries", entries]).succeeds();
        check(&test);
    }
}

fn read(path: &Path) -> String {
    fs_err::read_to_string(path).unwrap()
}

#[test]
fn a_directory_that_was_renamed_has_its_files_under_the_new_name() {
    each_kind(|test| {
        let at = |path: &str| test.site_packages().join(path);
        fs_err::create_dir(at("a")).unwrap();
        fs_err::write(at("a/x"), "1").unwrap();
        fs_err::rename(at("a"), at("b")).unwrap();
        assert_eq!(read(&at("b/x")), "1");
        assert!(!at("a").exists() && !at("a/x").exists());
    });
}

#[test]
fn who_holds_a_file_of_an_archive_open_while_it_is_rewritten_and_who_opens_it_then_see_what_they_should() {
    each_kind(|test| {
        let path = test.site_packages().join("beside.py");
        let old = read(&path);
        let mut held = fs_err::File::open(&path).unwrap();
        // As editors and installers do it: a link's target is never written to.
        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, "word = 'a new and longer text than before'\n").unwrap();
        let mut seen = String::new();
        held.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, old);
        assert_eq!(read(&path), "word = 'a new and longer text than before'\n");
    });
}

#[test]
fn a_regular_file_of_an_archive_is_rewritten_in_place_for_all_who_have_it_open() {
    let Some(test) = crate::sandbox() else { return };
    test.mount_with(&["--entries", "file"]).succeeds();
    let path = test.site_packages().join("beside.py");
    let mut held = fs_err::File::open(&path).unwrap();
    held.read_to_string(&mut String::new()).unwrap();
    let before = fs_err::metadata(&path).unwrap();
    fs_err::write(&path, "word = 'a new and longer text than before'\n").unwrap();
    let mut seen = String::new();
    held.seek(SeekFrom::Start(0)).unwrap();
    held.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "word = 'a new and longer text than before'\n");
    assert_eq!(read(&path), seen);
    assert_eq!(fs_err::metadata(&path).unwrap().ino(), before.ino());
}

#[test]
fn two_entries_that_are_exchanged_both_live_on() {
    each_kind(|test| {
        let at = |path: &str| test.site_packages().join(path);
        fs_err::write(at("own.py"), "own").unwrap();
        let beside = read(&at("beside.py"));
        let text = |name: &str| CString::new(at(name).as_os_str().as_bytes()).unwrap();
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            text("own.py"),
            rustix::fs::CWD,
            text("beside.py"),
            rustix::fs::RenameFlags::EXCHANGE,
        )
        .unwrap();
        for _ in 0..2 {
            assert_eq!((read(&at("own.py")), read(&at("beside.py"))), (beside.clone(), "own".to_owned()));
            test.unmount().succeeds();
            test.mount().succeeds();
        }
    });
}

#[test]
fn a_directory_deleted_and_made_again_has_what_it_lists() {
    each_kind(|test| {
        let at = |path: &str| test.site_packages().join(path);
        fs_err::remove_dir_all(at("greet")).unwrap();
        fs_err::create_dir(at("greet")).unwrap();
        fs_err::write(at("greet/new.py"), "new").unwrap();
        for _ in 0..2 {
            let names: Vec<_> =
                fs_err::read_dir(at("greet")).unwrap().map(|it| it.unwrap().file_name()).collect();
            assert_eq!(names, ["new.py"]);
            assert_eq!(read(&at("greet/new.py")), "new");
            test.unmount().succeeds();
            test.mount().succeeds();
        }
    });
}

#[test]
fn a_server_that_is_told_to_end_while_it_is_busy_leaves_no_dead_mount_and_nothing_stacks() {
    each_kind(|test| {
        let folder = test.site_packages().join("busy");
        fs_err::create_dir(&folder).unwrap();
        let is_told = AtomicBool::new(false);
        let write = |n: &u32| {
            !is_told.load(Ordering::Relaxed) && fs_err::write(folder.join(n.to_string()), "x").is_ok()
        };
        let written = std::thread::scope(|scope| {
            let busy = scope.spawn(|| (0..).take_while(write).count());
            while !folder.join("50").exists() {}
            kill("TERM", test.server());
            wait_until("the mount is gone", || mounts_below(&test.root()).is_empty());
            is_told.store(true, Ordering::Relaxed);
            busy.join().unwrap()
        });
        wait_until("the server is gone", || servers_below(&test.root()).is_empty());
        test.mount().succeeds();
        let kept = fs_err::read_dir(&folder).unwrap().count();
        assert!(kept >= written, "{written} were written, and {kept} are there");
        kill_server(test);
        test.mount().succeeds();
        assert_eq!(mounts_below(&test.root()), [test.site_packages()]);
        test.python(GREET).succeeds().prints("hello 1.0");
    });
}

#[test]
fn an_archive_that_is_gone_gives_errors_and_invents_nothing() {
    each_kind(|test| {
        let archive = test.archive(&greet("1.0"));
        let away = archive.with_extension("away");
        fs_err::rename(&archive, &away).unwrap();
        let file = test.site_packages().join("beside.py");
        assert!(fs_err::metadata(&file).is_err() && fs_err::read(&file).is_err());
        let listed = fs_err::read_dir(test.site_packages().join("greet"));
        assert!(listed.and_then(|mut entries| entries.next().transpose()).is_err());
        fs_err::rename(&away, &archive).unwrap();
        test.python(GREET).succeeds().prints("hello 1.0");
    });
}

#[test]
fn a_corruption_that_keeps_the_size_is_found_and_named() {
    let Some(test) = crate::sandbox() else { return };
    test.mount().succeeds();
    let verify = || test.sitefs(["cache", "verify", test.venv.to_str().unwrap()]);
    verify().succeeds().says("are whole");
    let archive = test.archive(&greet("1.0"));
    let file = archive.join("greet/__init__.py");
    let sound = read(&file);
    fs_err::write(&file, sound.replacen('1', "2", 1)).unwrap();
    let said = verify().exits(1);
    said.says(archive.to_str().unwrap())
        .says("greet/__init__.py is not what its RECORD says")
        .says("uv cache clean");
    fs_err::write(&file, sound).unwrap();
    verify().succeeds();
}

#[test]
fn attributes_times_and_room_are_true() {
    each_kind(|test| {
        let own = test.site_packages().join("own.py");
        fs_err::write(&own, "own").unwrap();
        let file = fs_err::OpenOptions::new().read(true).write(true).open(&own).unwrap().into_file();
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        file.set_times(std::fs::FileTimes::new().set_modified(then)).unwrap();
        assert_eq!(fs_err::metadata(&own).unwrap().mtime(), 1_000_000_000);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&own, Some(12), Some(34)).unwrap();
            let metadata = fs_err::metadata(&own).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (12, 34));
        }
        symlink("own.py", own.with_extension("link")).unwrap();
        fs_err::hard_link(&own, own.with_extension("hard")).unwrap();
        let space = rustix::fs::statvfs(test.site_packages()).unwrap();
        assert!(space.f_blocks > 0 && space.f_bavail > 0 && space.f_files > 0 && space.f_namemax == 255);

        fs_err::remove_file(&own).unwrap();
        fs_err::remove_file(own.with_extension("hard")).unwrap();
        file.write_all_at(b"and more", 3).unwrap();
        assert_eq!((file.metadata().unwrap().nlink(), file.metadata().unwrap().len()), (0, 11));

        let error = fs_err::remove_dir(test.site_packages().join("greet")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
        fs_err::write(test.site_packages().join("x.tmp"), "").unwrap();
        let names = fs_err::read_dir(test.site_packages()).unwrap().map(|it| it.unwrap().file_name());
        assert!(names.into_iter().any(|name| name == "x.tmp"));
    });
}

#[test]
fn numbers_of_inodes_are_the_same_in_listings_and_stay_when_files_are_copied_up() {
    let Some(test) = crate::sandbox() else { return };
    test.mount_with(&["--entries", "file"]).succeeds();
    let path = test.site_packages().join("greet/__init__.py");
    let before = fs_err::metadata(&path).unwrap().ino();
    let file = fs_err::OpenOptions::new().append(true).open(&path).unwrap();
    file.into_file().write_all(b"more = 1\n").unwrap();
    assert_eq!(fs_err::metadata(&path).unwrap().ino(), before);
    for entry in WalkDir::new(test.site_packages()) {
        let entry = entry.unwrap();
        let number = fs_err::symlink_metadata(entry.path()).unwrap().ino();
        assert!(entry.depth() == 0 || entry.ino() == number, "{}", entry.path().display());
    }
}
