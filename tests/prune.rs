//! The cache is kept from being pruned while it is used; and what happens when it is pruned all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use common::{
    GREET, Outcome, Running, STAY, Sandbox, WheelBuilder, compile, fuse_for_nobody, greet, run_arguments,
    sandbox, wait_until,
};

/// `uv cache ARGUMENTS` on the sandbox's cache, which waits no more than a second for who uses it.
fn uv_cache(test: &Sandbox, arguments: &[&str]) -> Outcome {
    let outcome =
        Outcome::of(test.uv().command([&["cache"], arguments].concat()).env("UV_LOCK_TIMEOUT", "1"));
    test.seal_cache();
    outcome
}

/// uv waited in vain, and said so.
#[track_caller]
fn is_kept(test: &Sandbox) {
    uv_cache(test, &["prune"]).exits(2).says("Cache is currently in-use, waiting for other uv processes");
}

#[test]
fn uv_does_not_prune_a_cache_while_it_is_mounted() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    is_kept(&test);
    uv_cache(&test, &["clean"]).exits(2).says("Cache is currently in-use");
    test.python(GREET).succeeds().prints("hello");
    // Installs go on.
    let own = test.root().join("own");
    test.uv().venv(&own, &test.python);
    test.uv().unpack(&test.python, &test.root().join("wheels"), &[greet().pin()]);
    test.seal_cache();
    test.unmount().succeeds();
    uv_cache(&test, &["prune"]).succeeds();
    test.mount().succeeds();
    test.unmount().succeeds();
    uv_cache(&test, &["clean"]).succeeds();
    test.mount().fails();
}

#[test]
fn a_server_that_is_killed_keeps_the_cache_no_longer() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    common::kill("KILL", test.server());
    wait_until("the cache is free", || uv_cache(&test, &["prune"]).code() == Some(0));
}

#[test]
fn uv_does_not_prune_a_cache_while_a_command_runs() {
    let Some(test) = sandbox() else { return };
    for options in [&[][..], &["--no-namespace"], &["--link-mode", "symlink"], &["--link-mode", "copy"]] {
        let mut running = Running::start(&test, options, &["python", "-c", STAY]);
        running.says("hello");
        is_kept(&test);
        common::kill("TERM", running.pid());
        running.ends();
        uv_cache(&test, &["prune"]).succeeds();
    }
}

#[test]
fn a_run_in_what_mount_made_of_files_keeps_the_cache() {
    let test = Sandbox::new().with_wheels([greet()]);
    test.mount_with(&["--link-mode", "symlink"]).succeeds();
    uv_cache(&test, &["prune"]).succeeds();
    let mut running = Running::start(&test, &[], &["python", "-c", STAY]);
    running.says("hello");
    is_kept(&test);
}

#[test]
fn without_the_lock_uv_prunes_at_once() {
    let Some(test) = sandbox() else { return };
    test.mount_with(&["--no-cache-lock"]).succeeds();
    uv_cache(&test, &["prune"]).succeeds();
    test.unmount().succeeds();
    let waits = run_arguments(&test, &["--no-cache-lock"], &["python", "-c", STAY]);
    let mut running = Running::of(test.sitefs_command(waits));
    running.says("hello");
    uv_cache(&test, &["prune"]).succeeds();
}

#[test]
fn mount_waits_for_who_prunes_the_cache_and_says_so() {
    let Some(test) = sandbox() else { return };
    let lock = fs_err::File::open(test.cache.join(".lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mount = || {
        let mut command = test.sitefs_command(["mount", "-r"]);
        command.args([&test.requirements, &test.venv, &test.cache]);
        command
    };
    let refused = Outcome::of(mount().env("UV_LOCK_TIMEOUT", "0"));
    refused.fails().says("another process prunes the cache");
    let mut waiting = mount().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(waiting.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("waiting for the process that prunes the cache"), "{said}");
    assert!(!test.is_mounted());
    drop(lock);
    assert!(waiting.wait().unwrap().success());
    test.python(GREET).succeeds().prints("hello");
}

#[test]
fn a_cache_without_lock_file_is_mounted_and_that_is_said() {
    let Some(test) = sandbox() else { return };
    fs_err::remove_file(test.cache.join(".lock")).unwrap();
    test.seal_cache();
    test.mount().succeeds().says("there is no").says("do not run `uv cache prune`");
    test.python(GREET).succeeds().prints("hello");
}

/// As some network drives do.
#[test]
fn a_file_system_that_cannot_lock_is_said() {
    let Some(test) = sandbox() else { return };
    let source = "#define _GNU_SOURCE\n#include <errno.h>\n#include <sys/file.h>\n#include <unistd.h>\n\
                  #include <sys/syscall.h>\n\
                  int flock(int fd, int how) { if (how & LOCK_SH) { errno = 524; return -1; } \
                  return syscall(SYS_flock, fd, how); }";
    let Some(library) = compile(&test.root(), "nolock", source, &[]) else { return };
    let mut mount = test.sitefs_command(["mount", "-r"]);
    mount.args([&test.requirements, &test.venv, &test.cache]).env("LD_PRELOAD", library);
    Outcome::of(&mut mount).succeeds().says("cannot be locked").says("do not run `uv cache prune`");
    test.python(GREET).succeeds().prints("hello");
}

/// A cache that is root's: it can be read, and its lock be held, by who may not write there.
#[test]
fn who_may_only_read_a_cache_keeps_it_too() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([greet()]);
    test.run("chown", &["-hR", "0:0", test.cache.to_str().unwrap()]).succeeds();
    let lock = test.cache.join(".lock");
    let set_mode = |mode| fs_err::set_permissions(&lock, PermissionsExt::from_mode(mode)).unwrap();
    set_mode(0o644);
    test.seal_cache();
    test.mount().succeeds().says_nothing_of("note");
    is_kept(&test);
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
    set_mode(0o600);
    test.seal_cache();
    test.mount().succeeds().says("Permission denied").says("do not run `uv cache prune`");
    test.python(GREET).succeeds().prints("hello");
}

/// Two distributions that share a namespace, and one with a package of its own.
fn distributions() -> [WheelBuilder; 3] {
    let one = WheelBuilder::new("one", "1.0").file("shared/one/__init__.py", "word = 'one'\n");
    let two = WheelBuilder::new("two", "1.0").file("shared/two/__init__.py", "word = 'two'\n");
    [greet().file("greet/inner/__init__.py", ""), one, two]
}

const SHARED: &str = "import shared.one, shared.two; print(shared.one.word, shared.two.word)";

fn refused(result: std::io::Result<impl Sized>) {
    let error = result.err().expect("it is gone");
    assert!(error.to_string().contains("Input/output error"), "{error}");
}

/// Nothing of a package is there that Python could take for a namespace.
#[track_caller]
fn is_gone(test: &Sandbox) {
    let package = test.site_packages().join("greet");
    wait_until("the kernel has forgotten it", || fs_err::symlink_metadata(&package).is_err());
    refused(fs_err::symlink_metadata(&package));
    refused(fs_err::read_dir(&package));
    refused(fs_err::metadata(package.join("__init__.py")));
    refused(fs_err::metadata(package.join("inner")));
    // The kernel forgets one directory after another.
    let installer = test.site_packages().join("greet-1.0.dist-info/INSTALLER");
    wait_until("the kernel has forgotten all", || fs_err::read(&installer).is_err());
    refused(fs_err::read(&installer));
    test.python("import greet").exits(1).says("No module named 'greet'");
    test.python("import greet.inner").exits(1).says("No module named 'greet'");
    let log = fs_err::read_to_string(test.venv.join(".sitefs/server.log")).unwrap();
    assert!(log.contains("greet==1.0 is gone from the cache: "), "{log}");
}

/// However much of it the kernel remembers.
#[test]
fn what_vanishes_from_the_cache_is_an_error_and_never_an_empty_package() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let wheels = distributions();
    let test = test.with_wheels(wheels.clone());
    let archive = test.archive(&wheels[0]);
    let away = archive.with_extension("away");
    let import = format!("import greet.inner; {SHARED}");
    let looks: [&dyn Fn(); 4] = [
        &|| {},
        &|| drop(test.python(&import).succeeds()),
        &|| drop(test.run("ls", &["-lR", test.site_packages().to_str().unwrap()]).succeeds()),
        &|| drop(test.run("ls", &["-l", test.site_packages().to_str().unwrap()]).succeeds()),
    ];
    for look in looks {
        test.mount().succeeds();
        look();
        fs_err::rename(&archive, &away).unwrap();
        is_gone(&test);
        test.python(SHARED).succeeds().prints("one two");
        let status = test.sitefs([OsStr::new("status"), test.venv.as_os_str()]).succeeds();
        status.says("vanished       greet==1.0, from the cache; `sitefs mount");
        assert_eq!(test.status().json()["mount"]["vanished"], serde_json::json!(["greet==1.0"]));
        fs_err::rename(&away, &archive).unwrap();
        test.python(GREET).succeeds().prints("hello");
        test.unmount().succeeds();
    }
}

/// A name of a namespace is an error where its archive has vanished; those of others stay.
#[test]
fn a_namespace_stays_for_those_that_are_there() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let wheels = distributions();
    let test = test.with_wheels(wheels.clone());
    test.mount().succeeds();
    test.python(SHARED).succeeds().prints("one two");
    let archive = test.archive(&wheels[1]);
    fs_err::rename(&archive, archive.with_extension("away")).unwrap();
    let package = test.site_packages().join("shared/one");
    wait_until("the kernel has forgotten it", || fs_err::symlink_metadata(&package).is_err());
    refused(fs_err::symlink_metadata(&package));
    test.python("import shared.one").exits(1).says("No module named 'shared.one'");
    test.python("import shared.two as two; print(two.word)").succeeds().prints("two");
    fs_err::rename(archive.with_extension("away"), &archive).unwrap();
}

/// What was never listed cannot be told apart: then all of the namespace is an error.
#[test]
fn a_namespace_that_nobody_listed_is_an_error_as_a_whole() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let wheels = distributions();
    let test = test.with_wheels(wheels.clone());
    test.mount().succeeds();
    let archive = test.archive(&wheels[1]);
    fs_err::rename(&archive, archive.with_extension("away")).unwrap();
    test.python("import shared.two").exits(1).says("Input/output error");
    fs_err::rename(archive.with_extension("away"), &archive).unwrap();
    test.python(SHARED).succeeds().prints("one two");
}

#[test]
fn mount_mends_what_a_forced_clean_has_taken_away() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let before = test.environment();
    let test = test.with_wheels(distributions());
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    uv_cache(&test, &["clean", "--force"]).succeeds();
    is_gone(&test);
    test.status().succeeds().says("one==1.0");
    test.mount().fails();
    assert!(test.is_mounted(), "what cannot be mended stays as it is");
    test.unpack(&distributions());
    test.mount().succeeds().says("are gone from the cache, so it is mounted anew");
    test.python(GREET).succeeds().prints("hello");
    test.status().says_nothing_of("vanished");
    test.unmount().succeeds();
    test.nothing_left(&before);
}

/// By what the lock says, out of any cache that has it.
#[test]
fn mount_mends_it_out_of_another_cache() {
    let Some(test) = sandbox() else { return };
    let other = test.root().join("other");
    test.run("cp", &["-a", test.cache.to_str().unwrap(), other.to_str().unwrap()]).succeeds();
    test.mount().succeeds();
    uv_cache(&test, &["clean", "--force"]).succeeds();
    is_gone(&test);
    let run = Outcome::of(&mut test.sitefs_command(run_arguments(&test, &[], &["true"])));
    run.fails();
    test.sitefs([OsStr::new("mount"), test.venv.as_os_str(), other.as_os_str()]).succeeds();
    test.python(GREET).succeeds().prints("hello");
}

#[test]
fn mount_mends_links_into_a_cache_that_was_cleaned() {
    let test = Sandbox::new().with_wheels([greet()]);
    let symlinks = ["--link-mode", "symlink"];
    test.mount_with(&symlinks).succeeds();
    uv_cache(&test, &["clean"]).succeeds();
    test.status().succeeds().says("greet==1.0");
    test.unpack(&[greet()]);
    test.mount_with(&symlinks).succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.status().says_nothing_of("vanished");
}

/// A server sleeps as long as nothing vanishes.
#[test]
fn a_server_does_not_wake_up_for_what_comes_into_the_cache() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let switches = || -> Vec<String> {
        let tasks = fs_err::read_dir(format!("/proc/{}/task", test.server())).unwrap();
        let status = |task: std::io::Result<fs_err::DirEntry>| {
            let text = fs_err::read_to_string(task.unwrap().path().join("status")).unwrap();
            text.lines().filter(|line| line.contains("ctxt_switches")).collect::<String>()
        };
        let mut all: Vec<_> = tasks.map(status).collect();
        all.sort();
        all
    };
    let mut before = switches();
    wait_until("it sleeps", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = switches();
        std::mem::replace(&mut before, now.clone()) == now
    });
    test.unpack(&[WheelBuilder::new("new", "1.0").file("new.py", "")]);
    assert_eq!(switches(), before);
}
