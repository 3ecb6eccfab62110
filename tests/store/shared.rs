//! Stores and folders of wheels that are somebody else's, or of many.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::common::{
    Corpus, Outcome, Sandbox, Tree, assert_same, comparable, exact_tree, fuse, fuse_for_nobody, pip,
    run_arguments, skip,
};
use crate::{GREET, age, archives, cache, greet, leases, other, store, with_wheelhouse};

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_may_be_written_is_as_shared_as_the_root_of_the_store() {
    let test = Sandbox::new();
    let wheel = greet().build(&test.root());
    let store = test.root().join("store");
    fs_err::create_dir(&store).unwrap();
    fs_err::set_permissions(&store, std::fs::Permissions::from_mode(0o2770)).unwrap();
    let mut add = test.sitefs_command(["cache", "add", "--store"].map(OsStr::new));
    let mut masked = test.command("sh");
    masked.args(["-c", "umask 077 && exec \"$@\"", "sh"]).arg(add.get_program()).args(add.get_args());
    Outcome::of(masked.arg(&store).arg(&wheel)).succeeds();
    let archive = archives(&store).pop().unwrap();
    for folder in ["wheels", "wheels/greet", "staging", "leases", "wheelhouses"] {
        assert_eq!(mode(&store.join(folder)), 0o2770, "{folder}");
    }
    assert_eq!(mode(archive.parent().unwrap()), 0o2770);
    assert_eq!(mode(&archive), 0o555);
    assert_eq!(mode(&archive.with_file_name("wheel.json")), 0o644);
    assert_eq!(mode(&store.join("sitefs-store.json")), 0o644);
    Outcome::of(add.arg(&store).arg(&wheel)).succeeds().says("1 had been there");
}

/// Root fills a store; nobody mounts from it and from root's folder of wheels, and can change neither.
#[test]
fn a_read_only_store_and_a_read_only_wheelhouse_of_another_user() {
    if !fuse_for_nobody() {
        return;
    }
    let mut test = with_wheelhouse(Sandbox::for_nobody(), &[greet(), other()]);
    let theirs = test.root().join("store-of-root");
    let mut add = test.command(env!("CARGO_BIN_EXE_sitefs"));
    add.args(["cache", "add", "--store"]).arg(&theirs).arg(test.cache.join("greet-1.0-py3-none-any.whl"));
    Outcome::of(&mut add).succeeds();
    let in_store = |test: &Sandbox, option: &str| test.mount_with(&["--store", option]);

    // The store has it: nothing has to be written.
    test.lock("greet==1.0");
    in_store(&test, theirs.to_str().unwrap()).succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
    // It has not, and cannot be written.
    test.lock("greet==1.0\nother==2.0");
    let before = test.environment();
    in_store(&test, theirs.to_str().unwrap()).fails().says("store-of-root").says("SITEFS_STORE");
    test.nothing_left(&before);
    // Their own store can.
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
    let archive = archives(&store(&test)).pop().unwrap();
    assert_ne!(fs_err::metadata(&archive).unwrap().uid(), 0);
    // The store alone.
    test.unseal_cache();
    test.cache = theirs.clone();
    test.seal_cache();
    test.lock("greet==1.0");
    test.mount_with(&["-v"]).succeeds().says("will not know of this environment");
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
    cache(&test, [OsStr::new("prune"), OsStr::new("--store"), theirs.as_os_str()]).fails();
}

/// As a volume of a container may be. Neither the cache nor the store is written, and nothing is said of it.
#[test]
fn caches_of_every_kind_on_a_read_only_file_system() {
    if !fuse() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        skip("only root can mount a directory read-only");
        return;
    }
    let mut test = Sandbox::new().with_wheels([greet()]);
    test.unseal_cache();
    let uv = test.cache.clone();
    let wheels = test.root().join("wheels");
    cache(&test, [OsStr::new("add"), wheels.as_os_str()]).succeeds();
    let store = store(&test);
    let read_only = "for folder in $FOLDERS; do mount --bind $folder $folder && mount -o remount,bind,ro $folder || exit 99; done; \
                     exec \"$@\"";
    for (kind, folders) in [(&uv, vec![&uv]), (&wheels, vec![&wheels, &store]), (&store, vec![&store])] {
        test.cache.clone_from(kind);
        let before: Vec<_> = folders.iter().map(|folder| exact_tree(folder)).collect();
        for options in [&[][..], &["--fetch"], &["--link-mode", "symlink"]] {
            let mut command = test.command("unshare");
            command.args(["--mount", "sh", "-c", read_only, "sh"]).arg(test.root().join("sitefs"));
            command.args(run_arguments(&test, options, &["python", "-c", GREET]));
            let named: Vec<_> = folders.iter().map(|folder| folder.to_str().unwrap()).collect();
            let outcome = Outcome::of(command.env("FOLDERS", named.join(" "))).succeeds().prints("hello");
            assert_eq!(outcome.stderr, "", "{} {options:?}", kind.display());
        }
        let after: Vec<_> = folders.iter().map(|folder| exact_tree(folder)).collect();
        assert_eq!(before, after, "{}", kind.display());
    }
}

/// Nobody mounts from what is root's, whatever it is.
#[test]
fn caches_of_every_kind_of_another_user() {
    if !fuse_for_nobody() {
        return;
    }
    let mut test = Sandbox::for_nobody().with_wheels([greet()]);
    let uv = test.cache.clone();
    let wheels = test.root().join("wheels");
    let theirs = test.root().join("theirs");
    let mut add = test.command(env!("CARGO_BIN_EXE_sitefs"));
    Outcome::of(add.args(["cache", "add", "--store"]).arg(&theirs).arg(&wheels)).succeeds();
    for folder in [&uv, &wheels, &theirs] {
        Outcome::of(Command::new("chown").args(["-hR", "0:0"]).arg(folder)).succeeds();
    }
    test.unseal_cache();
    for kind in [uv, wheels, theirs] {
        test.cache.clone_from(&kind);
        let before = exact_tree(&kind);
        for options in [&[][..], &["--fetch"], &["--link-mode", "symlink"]] {
            test.mount_with(options).succeeds();
            test.python(GREET).succeeds().prints("hello");
            test.unmount().succeeds();
        }
        assert_same("before", &before, "after", &exact_tree(&kind));
    }
}

/// Two users of one group, each with their own wheels, fill and use one store.
#[test]
fn two_users_share_one_store() {
    if !fuse_for_nobody() {
        return;
    }
    let test = with_wheelhouse(Sandbox::for_nobody(), &[greet(), other()]);
    let shared = test.root().join("shared");
    fs_err::create_dir(&shared).unwrap();
    fs_err::set_permissions(&shared, std::fs::Permissions::from_mode(0o2777)).unwrap();
    let mut add = test.command(env!("CARGO_BIN_EXE_sitefs"));
    add.args(["cache", "add", "--store"]).arg(&shared).arg(test.cache.join("greet-1.0-py3-none-any.whl"));
    Outcome::of(&mut add).succeeds();
    test.mount_with(&["--store", shared.to_str().unwrap()]).succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
    assert_eq!(archives(&shared).len(), 2);
    // Nobody removes what is root's, and says so; what is theirs goes.
    fs_err::remove_dir_all(&test.venv).unwrap();
    for archive in archives(&shared) {
        age(archive.parent().unwrap(), 2);
    }
    leases(&shared).iter().for_each(|lease| age(lease, 2));
    cache(&test, [OsStr::new("prune"), OsStr::new("--store"), shared.as_os_str()])
        .succeeds()
        .says("removed 1 wheel,")
        .says("1 of other users");
}

/// What differs: permission bits (the store's files are read-only), and uv's note about the wheel.
fn alike(venv: &Path) -> Tree {
    let mut tree = comparable(venv);
    tree.retain(|path, _| path.file_name() != Some(OsStr::new("uv_cache.json")));
    for (path, entry) in &mut tree {
        entry.mode &= 0o111;
        if path.file_name() == Some(OsStr::new("RECORD")) {
            entry.kind = crate::common::Kind::Directory;
        }
    }
    tree
}

/// The view of a folder of wheels is what uv installs of the same lock from it; pip and uv agree.
fn equals_what_uv_installs(name: &str) {
    if !crate::common::fuse() {
        return;
    }
    let corpus = Corpus::prepared(name);
    let mut test = Sandbox::with_venv("installed", &corpus.python);
    test.cache = Corpus::wheels(name);
    test.requirements.clone_from(&corpus.requirements);
    test.seal_cache();
    let theirs = test.root().join("theirs/installed");
    test.onlooking_uv().venv(&theirs, &corpus.python);
    let mut install =
        test.onlooking_uv().command(["pip", "install", "--no-deps", "--no-index", "--find-links"]);
    install.arg(&test.cache).arg("-r").arg(&test.requirements).arg("--python").arg(theirs.join("bin/python"));
    Outcome::of(&mut install).succeeds();
    test.mount().succeeds();
    assert_same("uv's", &alike(&theirs), "ours", &alike(&test.venv));
    Outcome::of(&mut pip(&test.venv, &test.home(), &["check"])).succeeds();
    let mut check = test.onlooking_uv().command(["pip", "check", "--python"]);
    Outcome::of(check.arg(test.venv.join("bin/python"))).succeeds();
    test.unmount().succeeds();
}

#[test]
fn a_folder_of_wheels_shows_what_uv_installs_from_it() {
    equals_what_uv_installs("small");
}

/// `make test-long`.
#[test]
#[ignore = "takes minutes"]
fn a_folder_of_the_wheels_of_the_data_corpus_shows_what_uv_installs_from_it() {
    equals_what_uv_installs("data");
}
