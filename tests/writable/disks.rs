//! Disks that are full, read-only, or limited by a quota: the error is the disk's, and nothing is half done.

use std::path::Path;
use std::process::Command;

use crate::common::{Disk, Outcome, Sandbox, WheelBuilder, fuse, pip, wait_until};
use crate::{GREET, greet};

/// Has a file of four megabytes, that nothing compresses.
fn large(name: &str) -> WheelBuilder {
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..4 << 20)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    WheelBuilder::new(name, "1.0")
        .file(&format!("{name}/__init__.py"), "")
        .file(&format!("{name}/data.bin"), bytes)
}

/// An environment below this folder, and all else somewhere else.
fn sandbox_on(folder: &Path) -> Sandbox {
    let mut test = Sandbox::new().with_wheels([greet("1.0"), large("large")]);
    test.venv = folder.join("venv");
    test.uv().venv(&test.venv, &test.python);
    test.seal_cache();
    large("new").build(&test.root().join("wheels"));
    test
}

/// Leaves so many kilobytes.
fn fill(folder: &Path, left: u64) {
    let filler = folder.join("filler");
    let space = || rustix::fs::statvfs(folder).map(|it| it.f_bavail * it.f_frsize / 1024).unwrap();
    let file = fs_err::OpenOptions::new().create(true).append(true).open(&filler).unwrap();
    while space() > left {
        let size = fs_err::metadata(&filler).unwrap().len();
        let more = (space() - left).min(1024) << 10;
        if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), size, more).is_err() {
            break;
        }
    }
}

/// Nothing fits any more: what fails fails as on any such disk, what is there stays, and all goes on once there is room.
fn nothing_is_half_done(test: &Sandbox, errors: &[&str], make_room: impl Fn()) {
    let at = |path: &str| test.site_packages().join(path);
    let data = fs_err::read(at("large/data.bin")).unwrap();
    let append = format!("with open({:?}, 'ab') as file: file.write(b'more')", at("large/data.bin"));
    let said = test.python(&append).exits(1).stderr;
    assert!(errors.iter().any(|error| said.contains(error)), "{said}");
    assert!(fs_err::read(at("large/data.bin")).unwrap() == data, "it is as it was");

    let install = ["install", "--no-index", "--find-links", "wheels", "new==1.0"];
    let installed = Outcome::of(pip(&test.venv, &test.home(), &install).current_dir(test.root())).exits(1);
    assert!(errors.iter().any(|error| installed.stderr.contains(error)), "{installed}");
    assert!(fs_err::read(at("large/data.bin")).unwrap() == data, "it is as it was");
    test.python(GREET).succeeds().prints("hello 1.0");
    test.unmount().succeeds();

    make_room();
    test.mount_with(&["--entries", "file"]).succeeds();
    test.python(GREET).succeeds().prints("hello 1.0");
    test.python(&append).succeeds();
    assert_eq!(fs_err::metadata(at("large/data.bin")).unwrap().len(), data.len() as u64 + 4);
    Outcome::of(pip(&test.venv, &test.home(), &install).current_dir(test.root())).succeeds();
    test.python("import new, large").succeeds();
}

#[test]
fn on_a_full_disk_nothing_is_half_done() {
    let Some(disk) = Disk::ext4(64).filter(|_| fuse()) else { return };
    let test = sandbox_on(&disk.path());
    test.mount_with(&["--entries", "file"]).succeeds();
    test.python(GREET).succeeds();
    fill(&disk.path(), 1024);
    nothing_is_half_done(&test, &["No space left on device"], || {
        fs_err::remove_file(disk.path().join("filler")).unwrap();
    });
}

#[test]
fn on_a_full_disk_a_mount_fails_for_that_reason() {
    let Some(disk) = Disk::ext4(64).filter(|_| fuse()) else { return };
    let test = sandbox_on(&disk.path());
    let before = test.environment();
    fill(&disk.path(), 0);
    test.mount().fails().says("No space left on device").says_nothing_of("--read-only");
    fs_err::remove_file(disk.path().join("filler")).unwrap();
    test.nothing_left(&before);
    test.mount().succeeds();
    test.unmount().succeeds();
}

#[test]
fn within_a_quota_nothing_is_half_done() {
    let Some(disk) = Disk::btrfs(256).filter(|_| fuse()) else { return };
    let volume = disk.path().join("volume");
    let btrfs = |arguments: &[&str], path: &Path| {
        Outcome::of(Command::new("btrfs").args(arguments).arg(path)).succeeds();
    };
    btrfs(&["quota", "enable"], &disk.path());
    btrfs(&["subvolume", "create"], &volume);
    let test = sandbox_on(&volume);
    test.mount_with(&["--entries", "file"]).succeeds();
    test.python(GREET).succeeds();
    rustix::fs::sync();
    btrfs(&["qgroup", "limit", "2M"], &volume);
    nothing_is_half_done(&test, &["Disk quota exceeded"], || btrfs(&["qgroup", "limit", "none"], &volume));
}

#[test]
fn on_a_read_only_upper_changes_are_refused_and_imports_work() {
    let Some(disk) = Disk::ext4(64).filter(|_| fuse()) else { return };
    let test = sandbox_on(&disk.path());
    let library = test.venv.join("lib");
    let mount = |arguments: &[&str]| {
        Outcome::of(Command::new("mount").args(arguments).arg(&library)).succeeds();
    };
    mount(&["--bind", library.to_str().unwrap()]);
    mount(&["-o", "remount,bind,ro"]);
    test.mount_with(&["--entries", "file"]).succeeds();
    test.python(GREET).succeeds().prints("hello 1.0");
    let at = |path: &str| test.site_packages().join(path);
    let refused = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    };
    refused(fs_err::write(at("new.py"), ""));
    refused(fs_err::create_dir(at("new")));
    refused(fs_err::OpenOptions::new().append(true).open(at("beside.py")).and_then(|file| {
        use std::io::Write;
        file.into_file().write_all(b"x")
    }));
    refused(fs_err::rename(at("beside.py"), at("x.py")));
    test.python(GREET).succeeds().prints("hello 1.0");
    test.unmount().succeeds();
    wait_until("the server lets go of the upper", || {
        Outcome::of(Command::new("umount").arg(&library)).code() == Some(0)
    });
    assert!(!at("greet").exists());
}
