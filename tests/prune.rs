//! The cache is kept from being pruned while it is used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use common::{
    GREET, Outcome, Running, STAY, Sandbox, compile, fuse_for_nobody, greet, run_arguments, sandbox,
    wait_until,
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
