//! Which mode is taken where FUSE is missing, and what is said of it.

use std::ffi::OsStr;
use std::path::Path;

use crate::common::{Outcome, Sandbox, WITHOUT_DEVICE, as_nobody, skip};
use crate::{FOLDED, GREET, greet, mode, mount};

/// A `/dev/fuse` that may not be opened, as a device cgroup has it.
const FORBIDDEN_DEVICE: &str = r#"
    mount --bind /dev/fuse /dev/fuse
    mount -o remount,bind,nodev /dev/fuse
"#;

/// No fusermount3 anywhere.
const WITHOUT_FUSERMOUNT: &str = r#"
    for folder in /usr/bin /bin /usr/local/bin; do
        if [ -e "$folder/fusermount3" ]; then mount --bind /dev/null "$folder/fusermount3"; fi
    done
"#;

#[test]
fn auto_takes_fuse_where_it_works() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([greet("1.0")]);
    test.mount_with(&["--link-mode", "auto"]).succeeds().says("(fuse, from").says_nothing_of("does not work");
    test.unmount().succeeds();
}

#[test]
fn without_the_device_auto_says_why_and_takes_symlinks() {
    takes_symlinks(WITHOUT_DEVICE, "/dev/fuse cannot be opened: No such file");
}

#[test]
fn with_a_forbidden_device_auto_says_why_and_takes_symlinks() {
    takes_symlinks(FORBIDDEN_DEVICE, "/dev/fuse cannot be opened: Permission denied");
}

#[test]
fn fuse_by_name_does_not_fall_back_unless_allowed() {
    let Some(test) = privileged() else { return };
    let before = test.environment();
    in_namespace(&test, WITHOUT_DEVICE, &["mount", "--link-mode", "fuse"], false)
        .fails()
        .says("/dev/fuse cannot be opened");
    test.nothing_left(&before);
    in_namespace(&test, WITHOUT_DEVICE, &["mount", "--link-mode", "fuse", "--fallback"], false)
        .succeeds()
        .says("fuse does not work here, so symlink")
        .says("(symlink, from");
    test.python(GREET).succeeds().prints("hello 1.0");
}

#[test]
fn an_environment_of_symlinks_is_not_made_anew_where_fuse_is_missing() {
    use std::os::unix::fs::MetadataExt;
    let Some(test) = privileged() else { return };
    in_namespace(&test, WITHOUT_DEVICE, &["mount"], false).succeeds();
    let identity = || {
        let link = fs_err::symlink_metadata(test.site_packages().join("greet/__init__.py")).unwrap();
        (link.ino(), link.ctime(), link.ctime_nsec())
    };
    let first = identity();
    in_namespace(&test, WITHOUT_DEVICE, &["mount"], false).succeeds();
    assert_eq!(first, identity());
}

#[test]
fn folded_links_stay_folded_where_no_mode_is_asked_for() {
    let Some(test) = privileged() else { return };
    mount(&test, FOLDED).succeeds();
    in_namespace(&test, WITHOUT_DEVICE, &["mount"], false).succeeds().says("(symlink, folded, from");
    assert_eq!(mode(&test), FOLDED);
    mount(&test, "symlink").succeeds().says("(symlink, from");
    in_namespace(&test, WITHOUT_DEVICE, &["mount"], false).succeeds().says("(symlink, from");

    // What was unmounted is made as it is made anew.
    mount(&test, FOLDED).succeeds();
    test.unmount().succeeds();
    in_namespace(&test, WITHOUT_DEVICE, &["mount"], false).succeeds().says("(symlink, from");
}

#[test]
fn an_ordinary_user_without_fusermount_gets_symlinks_and_is_told_why() {
    if privileged().is_none() || !crate::common::fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([greet("1.0")]);
    let before = test.environment();
    in_namespace(&test, WITHOUT_FUSERMOUNT, &["mount", "--link-mode", "fuse"], true)
        .fails()
        .says("there is no fusermount3");
    test.nothing_left(&before);
    in_namespace(&test, WITHOUT_FUSERMOUNT, &["mount"], true)
        .succeeds()
        .says("fuse does not work here, so symlink")
        .says("there is no fusermount3")
        .says("(symlink, from");
    test.python(GREET).succeeds().prints("hello 1.0");
    test.unmount().succeeds();
    test.nothing_left(&before);
}

fn takes_symlinks(preparation: &str, why: &str) {
    let Some(test) = privileged() else { return };
    let before = test.environment();
    in_namespace(&test, preparation, &["mount"], false)
        .succeeds()
        .says("fuse does not work here, so symlink")
        .says(why)
        .says("(symlink, from");
    test.python(GREET).succeeds().prints("hello 1.0");
    let link = test.site_packages().join("greet/__init__.py");
    assert!(fs_err::symlink_metadata(link).unwrap().is_symlink());
    assert_eq!(test.status().json()["mount"]["link_mode"], "symlink");
    test.unmount().succeeds();
    test.nothing_left(&before);
}

fn privileged() -> Option<Sandbox> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can make a mount namespace");
        return None;
    }
    Some(Sandbox::new().with_wheels([greet("1.0")]))
}

/// `sitefs VERB -r requirements.txt VENV CACHE` in a mount namespace that root has prepared.
fn in_namespace(test: &Sandbox, preparation: &str, verb: &[&str], is_for_nobody: bool) -> Outcome {
    let mut sitefs = test.command(test.root().join("sitefs"));
    sitefs.args(verb).arg("-r").args([&test.requirements, &test.venv, &test.cache]);
    let sitefs = if is_for_nobody { as_nobody(&sitefs) } else { sitefs };
    let mut command = test.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(format!("set -e\n{preparation}\nexec \"$@\"")).arg("sh");
    let words = std::iter::once(sitefs.get_program()).chain(sitefs.get_args());
    Outcome::of(command.args(words.map(OsStr::to_os_string)).current_dir(Path::new("/")))
}
