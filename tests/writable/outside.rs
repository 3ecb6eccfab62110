//! What wheels have outside site-packages, served by the mount: `share/` and `etc/` are one link each, and what the user makes
//! there is in the environment itself once unmounted. That the cache is the same, every sandbox checks at its end.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::common::{
    Outcome, Sandbox, WheelBuilder, as_nobody, compile_program, fuse_for_nobody, pip, run_arguments,
    servers_below, skip, wait_until,
};
use crate::tools::uv;
use crate::{kill, kill_server};

fn outside() -> WheelBuilder {
    WheelBuilder::new("outside", "1.0")
        .file("outside.py", "")
        .data("data/share/outside/deep/one.txt", "one\n")
        .data("data/share/outside/two.txt", "two\n")
        .data("data/share/both/of-outside.txt", "outside\n")
        .data("data/etc/outside.json", "{}\n")
}

fn other() -> WheelBuilder {
    WheelBuilder::new("other", "1.0").file("other.py", "").data("data/share/both/of-other.txt", "other\n")
}

fn sandbox() -> Option<Sandbox> {
    Some(Sandbox::with_fuse()?.with_wheels([outside(), other()]))
}

fn read(test: &Sandbox, path: &str) -> String {
    fs_err::read_to_string(test.venv.join(path)).unwrap()
}

fn write(test: &Sandbox, path: &str, text: &str) {
    fs_err::write(test.venv.join(path), text).unwrap();
}

fn is_link(test: &Sandbox, path: &str) -> bool {
    fs_err::symlink_metadata(test.venv.join(path)).is_ok_and(|metadata| metadata.is_symlink())
}

fn exists(test: &Sandbox, path: &str) -> bool {
    test.venv.join(path).exists()
}

/// The lines of RECORD that start so.
fn recorded(test: &Sandbox, start: &str) -> usize {
    let record = fs_err::read_to_string(test.site_packages().join("outside-1.0.dist-info/RECORD")).unwrap();
    record.lines().filter(|line| line.starts_with(start)).count()
}

#[test]
fn a_whole_directory_is_one_link_and_its_files_are_regular() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    assert!(is_link(&test, "share") && is_link(&test, "etc"));
    for (path, text) in [
        ("share/outside/deep/one.txt", "one\n"),
        ("share/both/of-outside.txt", "outside\n"),
        ("share/both/of-other.txt", "other\n"),
        ("etc/outside.json", "{}\n"),
    ] {
        assert_eq!(read(&test, path), text);
        assert!(fs_err::symlink_metadata(test.venv.join(path)).unwrap().is_file(), "{path}");
    }
    let listed = fs_err::read_dir(test.site_packages()).unwrap();
    let names: Vec<_> = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with(".sitefs")), "{names:?}");
    assert_eq!(recorded(&test, "../../../share/outside/deep/one.txt,sha256="), 1);
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn a_file_beside_the_directories_is_served_as_they_are() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([outside().data("data/notes.txt", "notes\n")]);
    let before = test.environment();
    test.mount().succeeds();
    assert!(is_link(&test, "notes.txt") && recorded(&test, "../../../notes.txt,sha256=") == 1);
    test.unmount().succeeds();
    test.nothing_left(&before);
    test.mount().succeeds();
    write(&test, "notes.txt", "edited");
    test.unmount().succeeds();
    assert!(!is_link(&test, "notes.txt") && read(&test, "notes.txt") == "edited");
    test.mount().succeeds();
    assert_eq!((read(&test, "notes.txt").as_str(), recorded(&test, "../../../notes.txt,")), ("edited", 0));
    test.unmount().succeeds();
    test.mount_with(&["--reset"]).succeeds().says("1 file that stood in the place of locked ones");
    assert_eq!(read(&test, "notes.txt"), "notes\n");
    test.unmount().succeeds();
}

#[test]
fn what_the_user_makes_there_stays_and_is_joined_by_what_is_locked() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    fs_err::create_dir_all(test.venv.join("share/outside/mine")).unwrap();
    write(&test, "share/outside/mine/kernel.json", "mine");
    write(&test, "share/outside/two.txt", "edited");
    write(&test, "etc/outside.json", "edited");
    fs_err::remove_file(test.venv.join("share/both/of-other.txt")).unwrap();
    test.unmount().succeeds();

    assert!(!is_link(&test, "share") && !is_link(&test, "etc"));
    assert_eq!(read(&test, "share/outside/mine/kernel.json"), "mine");
    assert_eq!(read(&test, "share/outside/two.txt"), "edited");
    assert_eq!(read(&test, "etc/outside.json"), "edited");
    assert!(!exists(&test, "share/outside/deep") && !exists(&test, "share/both"));

    test.mount().succeeds();
    assert_eq!(read(&test, "share/outside/mine/kernel.json"), "mine");
    assert_eq!(read(&test, "share/outside/two.txt"), "edited");
    assert_eq!(read(&test, "share/outside/deep/one.txt"), "one\n");
    assert_eq!(read(&test, "share/both/of-outside.txt"), "outside\n");
    assert!(!exists(&test, "share/both/of-other.txt"), "what was removed stays so");
    assert!(is_link(&test, "share/outside/deep") && is_link(&test, "share/both"));
    test.unmount().succeeds();
    assert!(!exists(&test, "share/both") && !is_link(&test, "share/outside/deep"));
}

#[test]
fn a_directory_that_is_made_and_removed_again_leaves_nothing() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    write(&test, "share/outside/deep/mine", "mine");
    fs_err::remove_file(test.venv.join("share/outside/deep/mine")).unwrap();
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn what_was_removed_with_the_directory_that_it_is_in_stays_so() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    fs_err::remove_dir_all(fs_err::canonicalize(test.venv.join("share")).unwrap()).unwrap();
    test.unmount().succeeds();
    test.mount().succeeds();
    assert_eq!(fs_err::read_dir(test.venv.join("share")).unwrap().count(), 0, "pip can install into it anew");
    assert_eq!(read(&test, "etc/outside.json"), "{}\n");
    test.unmount().succeeds();
}

#[test]
fn what_the_environment_has_of_its_own_hides_what_is_locked() {
    let Some(test) = sandbox() else { return };
    fs_err::create_dir_all(test.venv.join("share/outside")).unwrap();
    write(&test, "share/outside/two.txt", "own");
    symlink("/nowhere", test.venv.join("share/both")).unwrap();
    let before = test.environment();
    test.mount().succeeds();
    assert_eq!(read(&test, "share/outside/two.txt"), "own");
    assert_eq!(read(&test, "share/outside/deep/one.txt"), "one\n");
    assert_eq!(fs_err::read_link(test.venv.join("share/both")).unwrap(), Path::new("/nowhere"));
    assert_eq!(recorded(&test, "../../../share/outside/deep/one.txt,"), 1);
    assert_eq!(
        recorded(&test, "../../../share/outside/two.txt,"),
        0,
        "whoever uninstalls it must not remove it"
    );
    assert_eq!(recorded(&test, "../../../share/both/"), 0);
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn a_killed_server_loses_nothing() {
    let Some(test) = sandbox() else { return };
    for finish in [&["mount"][..], &["unmount"], &["mount", "--link-mode", "symlink"]] {
        test.mount().succeeds();
        write(&test, "share/outside/mine.txt", "mine");
        kill_server(&test);
        match finish {
            ["unmount"] => drop(test.unmount().succeeds()),
            [_, options @ ..] => drop(test.mount_with(options).succeeds()),
            [] => unreachable!(),
        }
        assert_eq!(read(&test, "share/outside/mine.txt"), "mine", "{finish:?}");
        if finish[0] == "mount" {
            assert_eq!(read(&test, "share/outside/two.txt"), "two\n", "{finish:?}");
            test.unmount().succeeds();
        }
        assert_eq!(read(&test, "share/outside/mine.txt"), "mine", "{finish:?}");
        assert!(!exists(&test, "share/outside/two.txt"), "{finish:?}");
        assert!(!test.site_packages().join(".sitefs-outside").exists(), "{finish:?}");
        fs_err::remove_dir_all(test.venv.join("share")).unwrap();
    }
}

#[test]
fn an_environment_that_was_moved_has_its_files_where_it_is_now() {
    let Some(mut test) = sandbox() else { return };
    for (name, is_killed) in [("moved", true), ("moved-again", false)] {
        test.mount().succeeds();
        write(&test, "share/mine.txt", "mine");
        write(&test, "etc/mine.txt", "mine");
        if is_killed {
            kill_server(&test);
        }
        let moved = test.root().join(name);
        fs_err::rename(&test.venv, &moved).unwrap();
        test.venv = moved;
        test.unmount().succeeds();
        assert!(!is_link(&test, "share") && !test.site_packages().join(".sitefs-outside").exists(), "{name}");
        for path in ["share/mine.txt", "etc/mine.txt"] {
            assert_eq!(read(&test, path), "mine", "{name}");
            fs_err::remove_dir_all(test.venv.join(path).parent().unwrap()).unwrap();
        }
    }
}

#[test]
fn directories_that_nobody_may_write_or_read_stay_so() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([outside(), other()]);
    test.mount().succeeds();
    let script = "mkdir share/both/mine share/closed && echo mine > share/both/mine/a && echo mine > share/closed/a\n\
                  chmod 555 share/both/mine share/both && chmod 0 share/closed share/outside && echo mine > etc/a";
    let mut shell = test.command("sh");
    Outcome::of(&mut as_nobody(shell.args(["-ec", script]).current_dir(&test.venv))).succeeds();
    test.unmount().succeeds();
    assert!(!test.site_packages().join(".sitefs-outside").exists());
    for path in ["share/both/mine/a", "share/closed/a", "etc/a"] {
        assert_eq!(read(&test, path), "mine\n");
    }
    let mode = |path: &str| fs_err::metadata(test.venv.join(path)).unwrap().permissions().mode() & 0o777;
    let modes = ["share/both", "share/both/mine", "share/closed", "share/outside"].map(mode);
    assert_eq!(modes, [0o555, 0o555, 0, 0]);
}

#[test]
fn what_has_another_in_its_place_stays_and_is_told() {
    let Some(test) = sandbox() else { return };
    fs_err::create_dir_all(test.venv.join("share/outside/own")).unwrap();
    test.mount().succeeds();
    write(&test, "share/outside/two.txt", "in place");
    write(&test, "share/outside/deep/mine.txt", "mine");
    write(&test, "share/outside/saved", "in its place");
    fs_err::rename(test.venv.join("share/outside/saved"), test.venv.join("share/outside/two.txt")).unwrap();
    test.unmount().succeeds().says(".sitefs-outside has what could not be moved");
    assert_eq!(read(&test, "share/outside/two.txt"), "in its place");
    assert_eq!(read(&test, "share/outside/deep/mine.txt"), "mine");
    let kept = test.site_packages().join(".sitefs-outside/share/outside/two.txt");
    assert_eq!(fs_err::read_to_string(kept).unwrap(), "in place");
}

/// A volume on `share/`, as containers have them, which no rename reaches.
#[test]
fn what_is_changed_where_another_file_system_is_stays_is_told_and_is_served_again() {
    let Some(test) = sandbox() else { return };
    let share = test.venv.join("share");
    fs_err::create_dir(&share).unwrap();
    if !rustix::process::geteuid().is_root() {
        skip("only root can mount a tmpfs");
        return;
    }
    Outcome::of(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&share)).succeeds();
    write(&test, "share/of-the-volume.txt", "there before");
    test.mount().succeeds();
    assert!(is_link(&test, "share/outside") && read(&test, "share/of-the-volume.txt") == "there before");
    write(&test, "share/outside/deep/mine.txt", "mine");
    write(&test, "share/outside/two.txt", "edited");
    write(&test, "share/beside.txt", "on the volume itself");
    write(&test, "etc/outside.json", "edited");
    test.unmount().succeeds().says(".sitefs-outside has what could not be moved");

    let kept = test.site_packages().join(".sitefs-outside/share/outside");
    assert_eq!(fs_err::read_to_string(kept.join("two.txt")).unwrap(), "edited");
    assert_eq!(fs_err::read_to_string(kept.join("deep/mine.txt")).unwrap(), "mine");
    assert!(!is_link(&test, "share/outside") && !is_link(&test, "share/both"));
    assert_eq!(read(&test, "share/beside.txt"), "on the volume itself");
    assert_eq!(read(&test, "etc/outside.json"), "edited", "the rest is brought home");

    test.mount().succeeds();
    assert_eq!(read(&test, "share/outside/two.txt"), "edited");
    assert_eq!(read(&test, "share/outside/deep/mine.txt"), "mine");
    assert_eq!(read(&test, "share/outside/deep/one.txt"), "one\n");
    test.unmount().succeeds();
}

/// Whoever ends a mount in another way hears nothing from `unmount`.
#[test]
fn a_run_tells_at_its_end_what_stays() {
    let Some(test) = sandbox() else { return };
    fs_err::create_dir_all(test.venv.join("share/outside/own")).unwrap();
    let script = format!(
        "cd {}/share/outside && echo in place >>two.txt && sed -i s/two/2/ two.txt",
        test.venv.display()
    );
    let run = |script| test.sitefs(run_arguments(&test, &[], &["sh", "-ec", script]));
    run(&script).succeeds().says(".sitefs-outside has what could not be moved");
    assert_eq!(read(&test, "share/outside/two.txt"), "2\nin place\n");
    run("true").succeeds().says(".sitefs-outside has what could not be moved");
}

#[test]
fn a_run_does_not_tell_of_what_another_run_still_uses() {
    let Some(test) = sandbox() else { return };
    let run = |script: &str| test.sitefs_command(run_arguments(&test, &[], &["sh", "-ec", script]));
    let script = "echo mine >venv/share/mine; touch ready; while [ ! -e done ]; do sleep 0.01; done";
    let mut first = run(script).spawn().unwrap();
    wait_until("it has written", || test.root().join("ready").exists());
    Outcome::of(&mut run("cat venv/share/mine")).succeeds().prints("mine").says_nothing_of(".sitefs-outside");
    fs_err::write(test.root().join("done"), "").unwrap();
    assert!(first.wait().unwrap().success());
    assert_eq!(read(&test, "share/mine"), "mine\n");
    let log = fs_err::read_to_string(test.venv.join(".sitefs/server.log")).unwrap();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn what_stays_is_told_later_when_the_mount_did_not_end_by_unmount() {
    for end in ["a signal", "umount", "kill -9"] {
        let Some(test) = sandbox() else { return };
        fs_err::create_dir_all(test.venv.join("share/outside/own")).unwrap();
        test.mount().succeeds();
        write(&test, "share/outside/two.txt", "in place");
        write(&test, "share/outside/saved", "in its place");
        fs_err::rename(test.venv.join("share/outside/saved"), test.venv.join("share/outside/two.txt"))
            .unwrap();
        match end {
            "a signal" => kill("TERM", test.server()),
            "umount" => {
                let cache = test.site_packages().join(".sitefs-cache");
                let _ = Outcome::of(Command::new("umount").arg(cache));
                Outcome::of(Command::new("umount").arg(test.site_packages())).succeeds();
            }
            _ => kill_server(&test),
        }
        wait_until("the server is gone", || servers_below(&test.root()).is_empty());
        let left = test.site_packages().join(".sitefs-outside");
        let told = format!("{} has what could not be moved", left.display());
        if end != "kill -9" {
            let log = fs_err::read_to_string(test.venv.join(".sitefs/server.log")).unwrap();
            assert!(log.contains(&told), "{end}: {log}");
            test.sitefs([Path::new("status"), &test.venv]).succeeds().says(&told);
            assert_eq!(test.status().succeeds().json()["left"]["directory"], left.to_str().unwrap(), "{end}");
            test.unmount().fails().says(&told);
        }
        test.mount().succeeds().says(&told);
        test.unmount().succeeds().says(&told);
        fs_err::remove_dir_all(&left).unwrap();
        test.sitefs([Path::new("status"), &test.venv]).succeeds().says_nothing_of("could not be moved");
    }
}

/// Whoever thinks that all is lost may remove sitefs's notes.
#[test]
fn what_was_made_is_found_again_when_its_notes_were_removed() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    for is_unmounted in [false, true] {
        test.mount().succeeds();
        write(&test, "share/mine.txt", "mine");
        kill_server(&test);
        fs_err::remove_dir_all(test.venv.join(".sitefs")).unwrap();
        test.sitefs([Path::new("status"), &test.venv]).succeeds().says(".sitefs/mount.json is missing");
        if is_unmounted {
            test.unmount().succeeds().says("the next `sitefs unmount` removes them");
            assert!(!test.is_mounted());
        }
        test.mount().succeeds();
        assert_eq!(read(&test, "share/mine.txt"), "mine");
        assert_eq!(read(&test, "share/outside/two.txt"), "two\n");
        assert_eq!(recorded(&test, "../../../share/outside/"), 2);
        test.unmount().succeeds();
        assert_eq!(read(&test, "share/mine.txt"), "mine");
        fs_err::remove_dir_all(test.venv.join("share")).unwrap();
        test.nothing_left(&before);
    }
}

#[test]
fn a_server_whose_notes_were_removed_leaves_those_of_the_next_mount_alone() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    let mut user = test.command("sleep").arg("100").current_dir(test.site_packages()).spawn().unwrap();
    fs_err::remove_dir_all(test.venv.join(".sitefs")).unwrap();
    test.mount().succeeds();
    user.kill().unwrap();
    user.wait().unwrap();
    wait_until("the first server is gone", || servers_below(&test.root()).len() == 1);
    assert_eq!(read(&test, "share/outside/two.txt"), "two\n");
    test.unmount().succeeds();
    test.nothing_left(&before);
}

#[test]
fn a_wheel_cannot_take_the_place_of_what_is_served() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let file = WheelBuilder::new("z", "1.0").file(".sitefs-outside", "file");
    let directory = WheelBuilder::new("z", "2.0").file(".sitefs-outside/share/both/evil.txt", "evil");
    let test = test.with_wheels([outside(), other(), file]);
    test.unpack(&[directory]);
    for version in ["1.0", "2.0"] {
        test.lock(&format!("outside==1.0\nother==1.0\nz=={version}\n"));
        test.mount().succeeds();
        assert_eq!(read(&test, "share/both/of-other.txt"), "other\n");
        assert!(!exists(&test, "share/both/evil.txt"));
        test.unmount().succeeds();
    }
}

#[test]
fn the_link_modes_and_a_mount_take_turns() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    for mode in ["fuse", "symlink", "fuse", "copy", "fuse"] {
        test.mount_with(&["--link-mode", mode]).succeeds();
        assert_eq!(is_link(&test, "share"), mode == "fuse", "{mode}");
        assert_eq!(read(&test, "share/both/of-other.txt"), "other\n");
        if mode == "fuse" {
            write(&test, "share/both/mine.txt", "mine");
            test.unmount().succeeds();
            assert_eq!(read(&test, "share/both/mine.txt"), "mine");
            fs_err::remove_dir_all(test.venv.join("share")).unwrap();
        }
    }
    test.nothing_left(&before);
}

#[test]
fn installers_uninstall_what_is_served() {
    let Some(test) = sandbox() else { return };
    for tool in ["pip", "uv"] {
        test.mount().succeeds();
        if tool == "pip" {
            Outcome::of(&mut pip(&test.venv, &test.home(), &["uninstall", "--yes", "outside"])).succeeds();
        } else {
            uv(&test, &["uninstall", "outside"]).succeeds();
        }
        assert!(!exists(&test, "share/outside/two.txt") && !exists(&test, "etc/outside.json"), "{tool}");
        assert_eq!(read(&test, "share/both/of-other.txt"), "other\n");
        test.unmount().succeeds();
        test.mount_with(&["--reset"]).succeeds();
        assert_eq!(read(&test, "share/outside/two.txt"), "two\n");
        test.unmount().succeeds();
    }
}

#[test]
fn a_reset_moves_aside_what_was_changed_there() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    write(&test, "share/outside/two.txt", "edited");
    write(&test, "share/outside/mine.txt", "mine");
    write(&test, "etc/outside.json", "edited");
    test.unmount().succeeds();
    test.mount_with(&["--reset"]).succeeds().says("2 files that stood in the place of locked ones");
    assert_eq!(read(&test, "share/outside/two.txt"), "two\n");
    assert_eq!(read(&test, "etc/outside.json"), "{}\n");
    assert_eq!(read(&test, "share/outside/mine.txt"), "mine");
    for path in ["share/outside/two.txt", "etc/outside.json"] {
        assert_eq!(read(&test, &format!(".sitefs/set-aside/1/{path}")), "edited");
    }
    test.unmount().succeeds();
}

#[test]
fn installers_install_anew_what_was_served() {
    for (tool, again) in [("pip", "--force-reinstall"), ("uv", "--reinstall")] {
        let Some(test) = sandbox() else { return };
        let run = |arguments: &[&str]| match tool {
            "pip" => Outcome::of(&mut pip(&test.venv, &test.home(), arguments)).succeeds(),
            _ => uv(&test, arguments).succeeds(),
        };
        let wheels = test.root().join("wheels");
        let install = ["install", "--no-index", "--find-links", wheels.to_str().unwrap(), "outside==1.0"];
        test.mount().succeeds();
        run(&[&install[..], &[again]].concat());
        assert_eq!(read(&test, "etc/outside.json"), "{}\n", "{tool}");
        run(if tool == "pip" { &["uninstall", "--yes", "outside"] } else { &["uninstall", "outside"] });
        assert!(!exists(&test, "etc/outside.json"), "{tool}");
        fs_err::create_dir_all(test.venv.join("etc/mine")).unwrap();
        run(&install);
        for _ in 0..2 {
            assert_eq!(read(&test, "etc/outside.json"), "{}\n", "{tool}");
            assert_eq!(read(&test, "share/outside/deep/one.txt"), "one\n", "{tool}");
            if test.is_mounted() {
                test.unmount().succeeds();
            }
        }
    }
}

#[test]
fn a_read_only_mount_refuses_changes_there_too() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--read-only"]).succeeds();
    let failed = fs_err::write(test.venv.join("share/outside/two.txt"), "edited").unwrap_err();
    assert_eq!(failed.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(read(&test, "share/outside/two.txt"), "two\n");
    test.unmount().succeeds();
}

#[test]
fn a_native_program_is_served_unless_it_looks_around_from_where_it_is() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let folder = test.root().join("programs");
    let (Some(plain), Some(looks_around)) = (
        compile_program(&folder, "plain", &[]),
        compile_program(&folder, "around", &["-Wl,-rpath,$ORIGIN/../lib"]),
    ) else {
        return;
    };
    let wheel = WheelBuilder::new("outside", "1.0")
        .file("outside.py", "")
        .executable("outside-1.0.data/scripts/plain", fs_err::read(plain).unwrap())
        .executable("outside-1.0.data/scripts/around", fs_err::read(looks_around).unwrap());
    let test = test.with_wheels([wheel]);
    test.mount().succeeds();
    for name in ["plain", "around"] {
        test.run(test.venv.join("bin").join(name), &[]).succeeds().prints(name);
        assert_eq!(recorded(&test, &format!("../../../bin/{name},sha256=")), 1);
    }
    assert!(is_link(&test, "bin/plain") && !is_link(&test, "bin/around"));
    test.sitefs([Path::new("why"), &test.venv, Path::new("bin/plain")])
        .succeeds()
        .says("outside 1.0")
        .says("outside-1.0.data/scripts/plain");
    write(&test, "bin/plain", "#!/bin/sh\necho mine\n");
    test.unmount().succeeds();
    test.run(test.venv.join("bin/plain"), &[]).succeeds().prints("mine");
}

/// No installer takes two such wheels; what is shown of them is always the same, as in site-packages.
#[test]
fn of_a_file_and_a_directory_of_one_name_the_later_in_the_lock_wins() {
    let Some(test) = sandbox() else { return };
    let top = WheelBuilder::new("top", "1.0").file("top.py", "").data("data/share", "a file\n");
    let below = WheelBuilder::new("below", "1.0").file("below.py", "").data("data/share/both", "a file\n");
    test.unpack(&[top]);
    test.unpack(&[below]);
    let before = test.environment();
    for mode in ["fuse", "symlink", "copy"] {
        for (lock, shown) in [
            ("outside other top", [("share", "a file\n")].as_slice()),
            (
                "top outside other",
                &[("share/outside/two.txt", "two\n"), ("share/both/of-other.txt", "other\n")],
            ),
            ("outside top other", &[("share/outside/two.txt", ""), ("share/both/of-other.txt", "other\n")]),
            ("outside other below", &[("share/outside/two.txt", "two\n"), ("share/both", "a file\n")]),
            ("below outside", &[("share/both/of-outside.txt", "outside\n")]),
            (
                "outside below other",
                &[("share/both/of-outside.txt", ""), ("share/both/of-other.txt", "other\n")],
            ),
        ] {
            test.lock(&lock.split(' ').map(|name| format!("{name}==1.0\n")).collect::<String>());
            test.mount_with(&["--link-mode", mode]).succeeds();
            for (path, text) in shown {
                let found = fs_err::read_to_string(test.venv.join(path)).unwrap_or_default();
                assert_eq!(found, *text, "{path} by {mode} of {lock}");
            }
            test.unmount().succeeds();
            test.nothing_left(&before);
        }
    }
}
