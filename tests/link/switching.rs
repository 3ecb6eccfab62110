//! Mounting again: in another mode, with another lock, or just again.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use walkdir::WalkDir;

use crate::common::{Sandbox, assert_same};
use crate::{FOLDED, GREET, GUEST, Place, greet, guest, link_mode, mode, mount, seen};

#[test]
fn every_mode_can_take_the_place_of_every_other() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    fs_err::write(place.site_packages().join("mine.py"), "word = 'mine'\n").unwrap();
    let before = place.environment();
    let modes = place.every_mode();
    mount(&place, modes[0]).succeeds();
    let expected = seen(&place);
    for from in &modes {
        for to in modes.iter().filter(|to| *to != from) {
            if mode(&place) != *from {
                mount(&place, from).succeeds();
            }
            mount(&place, to).succeeds();
            assert_eq!(mode(&place), *to);
            assert_same(from, &expected, &format!("{to} after {from}"), &seen(&place));
            place.python("import mine; print(mine.word)").succeeds().prints("mine");
            assert_eq!(place.is_mounted_with_fuse(), *to == "fuse");
        }
    }
    place.unmount().succeeds();
    place.nothing_left(&before);
}

#[test]
fn what_the_user_changed_survives_every_switch() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    mount(&place, "copy").succeeds();
    fs_err::write(place.site_packages().join("greet/__init__.py"), "word = 'mine'\n").unwrap();
    for mode in place.every_mode() {
        mount(&place, mode).succeeds();
        place.look(GUEST).succeeds().prints("guest of mine");
    }
    place.unmount().succeeds();
    place.python(GREET).succeeds().prints("mine");
}

#[test]
fn mounting_again_touches_nothing() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    for mode in place.modes.iter().chain([&FOLDED]) {
        mount(&place, mode).succeeds();
        let first = identities(&place, |_| true);
        mount(&place, mode).succeeds();
        assert_same("first", &first, "again", &identities(&place, |_| true));
        assert_eq!(crate::state(&place), "mounted");
    }
}

#[test]
fn a_changed_lock_touches_only_what_differs() {
    let place = Place::new();
    place.unpack(&[greet("1.0"), greet("2.0"), guest()]);
    let before = place.environment();
    // greet's files outside of its own directories stand in directories that others use.
    let is_guests = |path: &Path| {
        let path = path.to_string_lossy();
        path.contains("guest")
            || !path.contains("greet") && !path.ends_with("bin") && !path.ends_with("space")
    };
    for mode in &place.modes {
        place.lock("greet==1.0\nguest==3.0");
        mount(&place, mode).succeeds();
        let first = identities(&place, is_guests);
        assert!(first.keys().any(|path| path.ends_with("er/data.txt")));
        place.lock("greet==2.0\nguest==3.0");
        mount(&place, mode).succeeds();
        let mut second = identities(&place, is_guests);
        // The directory that holds both dist-infos changed, and no file in it.
        second.extend(
            first
                .iter()
                .filter(|(path, _)| path.ends_with("site-packages"))
                .map(|(path, it)| (path.clone(), *it)),
        );
        assert_same("first", &first, "with another greet", &second);
        place.python(GUEST).succeeds().prints("guest of hello 2.0");
        place.python("import greet.only_1_0").exits(1);

        place.lock("guest==3.0");
        mount(&place, mode).succeeds();
        place.python("import greet").exits(1).says("No module named 'greet'");
        assert!(!place.site_packages().join("greet").exists(), "no empty namespace stays");
        assert!(!place.venv.join("share").exists(), "nor its directories elsewhere");
        place.unmount().succeeds();
        place.nothing_left(&before);
    }
}

#[test]
fn a_lock_that_cannot_be_had_leaves_what_is_mounted_alone() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    for mode in place.all_modes() {
        mount(&place, mode).succeeds();
        let first = identities(&place, |_| true);
        place.lock("greet==1.0\nabsent==9.9");
        for other in &place.modes {
            mount(&place, other).fails().says("absent");
        }
        assert_eq!(crate::state(&place), "mounted");
        assert_same("first", &first, "after errors", &identities(&place, |_| true));
        place.lock("greet==1.0\nguest==3.0");
        place.unmount().succeeds();
    }
}

#[test]
fn mounts_and_unmounts_at_the_same_moment_end_in_one_of_both() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let before = place.environment();
    for mode in place.modes.iter().chain([&FOLDED]) {
        mount(&place, mode).succeeds();
        let expected = seen(&place);
        let mounts = || {
            let mut command = place.sitefs_command(["mount", "-q"]);
            command.args(link_mode(mode)).args(["-r", "requirements.txt", "venv", "cache"]);
            command
        };
        let unmounts = || place.sitefs_command(["unmount", "-q", "venv"]);
        let racers: Vec<Child> = (0..4)
            .flat_map(|_| [mounts(), unmounts()])
            .map(|mut command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
            .collect();
        for mut racer in racers {
            racer.wait().unwrap();
        }
        match crate::state(&place).as_str() {
            "mounted" => assert_same("expected", &expected, mode, &seen(&place)),
            state => assert_eq!(state, "unmounted"),
        }
        mount(&place, mode).succeeds();
        assert_same("expected", &expected, mode, &seen(&place));
        place.unmount().succeeds();
        place.nothing_left(&before);
    }
}

impl Place {
    fn is_mounted_with_fuse(&self) -> bool {
        !crate::common::mounts_below(&self.venv).is_empty()
    }
}

/// What changes when a file is made anew or a directory is written to.
fn identities(test: &Sandbox, is_wanted: impl Fn(&Path) -> bool) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let walk = WalkDir::new(&test.venv).into_iter().filter_entry(|entry| entry.file_name() != ".sitefs");
    walk.map(Result::unwrap)
        .filter(|entry| is_wanted(entry.path().strip_prefix(&test.venv).unwrap()) && entry.depth() > 0)
        .map(|entry| {
            let metadata = fs_err::symlink_metadata(entry.path()).unwrap();
            (entry.into_path(), (metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
        })
        .collect()
}
