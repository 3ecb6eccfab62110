//! Changes of files and directories, as anybody makes them.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::common::{Sandbox, exact_tree, fuse_for_nobody, wait_until};
use crate::{GREET, greet, kill_server, sandbox};

/// Unmounted, unmounted by a kill, or still mounted: what was changed is seen in all.
fn remounted(test: &Sandbox, way: usize) {
    match way {
        0 => {}
        1 => {
            test.unmount().succeeds();
            test.mount().succeeds();
        }
        _ => {
            kill_server(test);
            test.mount().succeeds();
        }
    }
}

#[test]
fn what_is_made_changed_and_removed_stays_so_after_a_remount_and_after_a_kill() {
    for way in 0..3 {
        let Some(test) = sandbox() else { return };
        test.mount().succeeds();
        let at = |path: &str| test.site_packages().join(path);
        fs_err::create_dir(at("own")).unwrap();
        fs_err::write(at("own/a.py"), "a").unwrap();
        fs_err::write(at("greet/added.py"), "added").unwrap();
        symlink("a.py", at("own/link.py")).unwrap();
        fs_err::hard_link(at("own/a.py"), at("own/b.py")).unwrap();
        fs_err::set_permissions(at("own/a.py"), PermissionsExt::from_mode(0o600)).unwrap();
        fs_err::remove_file(at("greet/deep/er.py")).unwrap();
        fs_err::remove_dir(at("greet/deep")).unwrap();
        fs_err::rename(at("own/a.py"), at("beside.py")).unwrap();
        remounted(&test, way);
        assert_eq!(fs_err::read_to_string(at("greet/added.py")).unwrap(), "added");
        assert_eq!(fs_err::read_to_string(at("beside.py")).unwrap(), "a");
        assert_eq!(fs_err::read_to_string(at("own/b.py")).unwrap(), "a");
        assert_eq!(fs_err::read_link(at("own/link.py")).unwrap().to_str(), Some("a.py"));
        assert_eq!(fs_err::metadata(at("beside.py")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!at("greet/deep").exists());
        test.python("import greet; print(greet.word)").succeeds().prints("hello 1.0");
    }
}

#[test]
fn after_unmount_there_is_what_the_user_made_and_nothing_else() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    test.python(GREET).succeeds();
    fs_err::write(test.site_packages().join("own.py"), "own").unwrap();
    test.unmount().succeeds();
    let mut after = test.environment();
    assert!(after.remove(&test.site_packages().strip_prefix(&test.venv).unwrap().join("own.py")).is_some());
    crate::common::assert_same("before", &before, "after", &after);
}

#[test]
fn two_environments_on_one_cache_do_not_see_each_others_changes() {
    let Some(test) = sandbox() else { return };
    let other = test.root().join("other");
    test.uv().venv(&other, &test.python);
    test.seal_cache();
    let mount = |venv: &std::path::Path| {
        let mut command = test.sitefs_command(["mount", "-r"]);
        command.args([&test.requirements, &venv.to_path_buf(), &test.cache]);
        crate::common::Outcome::of(&mut command).succeeds();
    };
    mount(&test.venv);
    mount(&other);
    let theirs = other.join(test.site_packages().strip_prefix(&test.venv).unwrap());
    let before = exact_tree(&theirs);
    fs_err::remove_dir_all(test.site_packages().join("greet")).unwrap();
    fs_err::write(test.site_packages().join("new.py"), "").unwrap();
    fs_err::remove_file(test.site_packages().join("beside.py")).unwrap();
    fs_err::write(test.site_packages().join("beside.py"), "mine").unwrap();
    crate::common::assert_same("before", &before, "after", &exact_tree(&theirs));
    let unmount = test.sitefs([std::ffi::OsStr::new("unmount"), other.as_os_str()]);
    unmount.succeeds();
}

#[test]
fn what_is_open_is_read_and_written_on_whatever_its_mode_becomes() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([greet("1.0")]);
    test.mount_with(&["--entries", "file"]).succeeds();
    let code = "
import os, greet
os.chdir(os.path.dirname(os.path.dirname(greet.__file__)))
open('first', 'w').close()
open('first').close()
for name in ['greet/__init__.py', 'new']:
    file = os.open(name, os.O_CREAT | os.O_RDWR, 0o444)
    os.chmod(name, 0)
    for number in range(100):
        open(f'other-{number}', 'w').close()
    os.pwrite(file, b'written', 0)
    assert os.pread(file, 7, 0) == b'written'
    os.ftruncate(file, 3)
    os.unlink(name)
    os.pwrite(file, b'more', 3)
    assert os.pread(file, 9, 0) == b'wrimore'
    assert os.fstat(file).st_mode & 0o777 == 0
";
    test.python(code).succeeds();
}

#[test]
fn a_server_holds_no_file_that_was_created_and_closed() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let at = |number: u32| test.site_packages().join(format!("file-{number}"));
    let open_files = || fs_err::read_dir(format!("/proc/{}/fd", test.server())).unwrap().count();
    let before = open_files();
    for number in 0..200 {
        fs_err::write(at(number), "text").unwrap();
        fs_err::read(at(number)).unwrap();
    }
    assert!(open_files() < before + 100, "{before} files were open, and {} are", open_files());
    (0..200).for_each(|number| fs_err::remove_file(at(number)).unwrap());
    wait_until("what was removed is closed", || open_files() < before + 5);
}
