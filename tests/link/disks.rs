//! Disks that are full, and disks apart.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use crate::common::{Disk, Outcome, Sandbox, Tree, WheelBuilder, assert_same, exact_tree, wait_until};
use crate::{GREET, greet, mount, seen, state};

const MEGABYTE: usize = 1 << 20;

fn big() -> WheelBuilder {
    let part = |number: u8| -> Vec<u8> {
        (0..3 * MEGABYTE).map(|index| ((index * (7 + usize::from(number))) >> 4) as u8).collect()
    };
    (0..8).fold(WheelBuilder::new("big", "1.0").file("big/__init__.py", "word = 'big'\n"), |wheel, number| {
        wheel.file(&format!("big/part{number}.bin"), part(number))
    })
}

#[test]
fn on_a_full_disk_it_says_so_and_leaves_nothing_half_made() {
    let Some(disk) = Disk::ext4(20) else { return };
    let mut test = Sandbox::new().with_wheels([greet("1.0"), big()]);
    let roomy = std::mem::replace(&mut test.venv, disk.path().join("venv"));
    test.uv().venv(&test.venv, &test.python);
    test.seal_cache();
    let before = test.environment();
    let free = free_space(&disk);

    mount(&test, "copy").fails().says("No space left on device").says(&test.venv.display().to_string());
    test.nothing_left(&before);
    assert_eq!(state(&test), "unmounted");
    wait_until("the space is free again", || free_space(&disk).abs_diff(free) < 100);

    mount(&test, "symlink").succeeds();
    let linked = exact_tree(&test.venv);
    mount(&test, "copy").fails().says("No space left on device").says_nothing_of("unmounted");
    is_as_it_was(&linked, &test);
    test.python("import big; print(big.word)").succeeds().prints("big");

    // What was made can be undone although nothing more can be written.
    let filler = Command::new("dd").args(["if=/dev/zero", "bs=1k"]).arg(filler(&disk)).output().unwrap();
    assert!(!filler.status.success(), "the disk is full");
    test.unmount().succeeds();
    test.nothing_left(&before);

    test.venv = roomy;
    mount(&test, "copy").succeeds();
    test.python("import big; print(big.word)").succeeds().prints("big");
    test.unmount().succeeds();
}

#[test]
fn a_disk_that_is_full_from_the_start_is_left_as_it_was() {
    let Some(disk) = Disk::ext4(20) else { return };
    let mut test = Sandbox::new().with_wheels([greet("1.0"), big()]);
    test.venv = disk.path().join("venv");
    test.uv().venv(&test.venv, &test.python);
    test.seal_cache();
    let before = test.environment();
    let _ = Command::new("dd").args(["if=/dev/zero", "bs=1k"]).arg(filler(&disk)).output().unwrap();
    for mode in ["symlink", "copy"] {
        mount(&test, mode).fails().says("No space left on device");
        test.nothing_left(&before);
    }
}

#[test]
fn across_devices_hard_links_and_clones_are_errors_and_links_and_copies_work() {
    let (Some(drive), Some(disk)) = (Disk::ext4(64), Disk::btrfs(256)) else { return };
    let mut test = Sandbox::new();
    fs_err::remove_dir_all(&test.venv).unwrap();
    test.cache = drive.path().join("cache");
    test.venv = disk.path().join("venv");
    test.uv().venv(&test.venv, &test.python);
    let test = test.with_wheels([greet("1.0")]);
    let before = test.environment();
    for mode in ["hardlink", "clone"] {
        mount(&test, mode)
            .fails()
            .says(&format!("{}/", test.venv.display()))
            .says(&format!("{}/", test.cache.display()))
            .says("different file systems")
            .says("--link-mode symlink");
        test.nothing_left(&before);
    }
    let mut first = None;
    for options in [
        &["--link-mode", "symlink"][..],
        &["--link-mode", "copy"],
        &["--link-mode", "hardlink", "--fallback"],
        &["--link-mode", "clone", "--fallback"],
    ] {
        let outcome = test.mount_with(options).succeeds();
        if options.contains(&"--fallback") {
            outcome.says(&format!("{} does not work here, so copy", options[1])).says("(copy, from");
        }
        test.python(GREET).succeeds().prints("hello 1.0");
        let tree = seen(&test);
        assert_same("in another mode", first.get_or_insert_with(|| tree.clone()), &options.join(" "), &tree);
        test.unmount().succeeds();
        test.nothing_left(&before);
    }
}

#[test]
fn clones_share_the_blocks_of_the_cache_until_they_are_changed() {
    for disk in [Disk::btrfs(256), Disk::xfs(320)].into_iter().flatten() {
        let test = Sandbox::below(&disk.path()).with_wheels([greet("1.0"), big()]);
        let before = test.environment();
        let used = || u64::MAX - free_space(&disk);
        let sync = || Outcome::of(Command::new("sync").arg("-f").arg(disk.path())).succeeds();
        sync();
        let used_before = used();
        mount(&test, "clone").succeeds();
        sync();
        let grown = used().saturating_sub(used_before);
        assert!(grown < 4 * 1024, "the disk grew by {grown} KiB for 24 MiB");
        let part = test.site_packages().join("big/part3.bin");
        Outcome::of(Command::new("filefrag").arg("-v").arg(&part)).succeeds().says("shared");
        let cloned = seen(&test);
        mount(&test, "copy").succeeds();
        assert_same("cloned", &cloned, "copied", &seen(&test));
        mount(&test, "clone").succeeds();

        // The sandbox checks at its end that this did not reach the cache.
        fs_err::write(&part, "mine").unwrap();
        test.unmount().succeeds().says("big/part3.bin was changed since it was mounted, and stays");
        fs_err::remove_dir_all(test.site_packages().join("big")).unwrap();
        test.nothing_left(&before);
    }
}

/// ext4 has no clones, and keeps holes only if they are not written.
#[test]
fn copies_keep_the_holes_of_sparse_files() {
    let Some(disk) = Disk::ext4(384) else { return };
    let test = Sandbox::below(&disk.path()).with_wheels([greet("1.0")]);
    let package = test.archive(&greet("1.0")).join("greet");
    let pieces: [(&str, &[usize]); 4] =
        [("between.bin", &[0, 12, 29]), ("at_the_start.bin", &[20]), ("all.bin", &[]), ("dense.bin", &[0])];
    for (name, places) in pieces {
        let file = fs_err::File::create(package.join(name)).unwrap();
        for place in places {
            file.file().write_all_at(&[7; 70_000], (place * MEGABYTE) as u64).unwrap();
        }
        let size = if name == "dense.bin" { 70_000 } else { 30 * MEGABYTE + 5 };
        file.set_len(size as u64).unwrap();
        file.sync_all().unwrap();
    }
    test.seal_cache();
    mount(&test, "copy").succeeds();
    for (name, places) in pieces {
        let (original, copy) = (package.join(name), test.site_packages().join("greet").join(name));
        assert!(fs_err::read(&original).unwrap() == fs_err::read(&copy).unwrap(), "{name} has other bytes");
        fs_err::File::open(&copy).unwrap().sync_all().unwrap();
        let blocks = |path: &Path| fs_err::metadata(path).unwrap().blocks();
        let (original, copy) = (blocks(&original), blocks(&copy));
        // A piece of 70,000 bytes has 144 blocks of 512; the file system may add some for its own tables.
        let most = places.len() as u64 * 144 + 16;
        assert!(original <= most, "the test's own {name} is not sparse: {original} blocks");
        assert!(copy <= most, "{name} has {copy} blocks, its source {original}");
    }
    test.unmount().succeeds();
}

/// All of it, save for what sitefs keeps for itself.
fn is_as_it_was(before: &Tree, test: &Sandbox) {
    assert_same("before", before, "after", &exact_tree(&test.venv));
    assert_eq!(state(test), "mounted");
}

/// A mode that cannot be costs nothing of what is there.
#[test]
fn across_devices_a_mode_that_cannot_be_leaves_what_is_mounted() {
    let Some(disk) = Disk::btrfs(128) else { return };
    let mut test = Sandbox::new().with_wheels([greet("1.0")]);
    test.venv = disk.path().join("venv");
    test.uv().venv(&test.venv, &test.python);
    test.seal_cache();
    for mounted in ["symlink", "symlink --fold", "copy"] {
        mount(&test, mounted).succeeds();
        let before = exact_tree(&test.venv);
        for mode in ["hardlink", "clone"] {
            mount(&test, mode).fails().says("different file systems").says_nothing_of("unmounted");
            is_as_it_was(&before, &test);
        }
    }
}

fn filler(disk: &Disk) -> String {
    format!("of={}", disk.path().join("filler").display())
}

/// In KiB.
fn free_space(disk: &Disk) -> u64 {
    let stat = rustix::fs::statvfs(disk.path()).unwrap();
    stat.f_bavail * stat.f_frsize / 1024
}
