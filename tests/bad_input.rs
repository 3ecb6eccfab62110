//! Bad input: a clear error, and nothing left half-made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::path::PathBuf;

use common::{Outcome, Sandbox, WheelBuilder, fuse_for_nobody, skip};

const GREET: &str = "import greet; print(greet.word)";

fn greet() -> WheelBuilder {
    WheelBuilder::new("greet", "1.0").file("greet/__init__.py", "word = 'hello'\n")
}

fn sandbox() -> Option<Sandbox> {
    Some(mountable()?.with_wheels([greet()]))
}

/// Built without FUSE, sitefs must refuse the same.
fn mountable() -> Option<Sandbox> {
    if cfg!(feature = "fuse") { Sandbox::with_fuse() } else { Some(Sandbox::new()) }
}

/// The mount fails with each of these words, and the environment is as it was.
#[track_caller]
fn refused(test: &Sandbox, words: &[&str]) -> Outcome {
    let before = test.environment();
    let mut outcome = test.mount().fails();
    for word in words {
        outcome = outcome.says(word);
    }
    test.nothing_left(&before);
    outcome
}

#[test]
fn missing_distributions_are_told_all_at_once_with_the_command_that_gets_them() {
    let Some(test) = sandbox() else { return };
    test.lock("greet==1.0\nabsent-one==1.0\nabsent-two==2.0");
    refused(&test, &["absent-one==1.0", "absent-two==2.0", "uv pip"]).says_nothing_of("greet==");
}

#[test]
fn a_distribution_of_another_version_is_missing() {
    let Some(test) = sandbox() else { return };
    test.lock("greet==2.0");
    refused(&test, &["greet==2.0", "1.0"]);
}

#[test]
fn a_distribution_with_another_hash_is_missing() {
    let Some(test) = sandbox() else { return };
    // uv remembers the hash of a local wheel if it was asked to compare it.
    let wheel = greet().build(&test.root().join("wheels"));
    let digest = test.run("sha256sum", &[wheel.to_str().unwrap()]).succeeds().stdout;
    let digest = digest.split(' ').next().unwrap();
    test.lock(&format!("greet==1.0 --hash=sha256:{digest}"));
    let scratch = test.root().join("scratch");
    test.uv().venv(&scratch, &test.python);
    let mut sync =
        test.uv().command(["pip", "sync", "--require-hashes", "--no-index", "--refresh", "--find-links"]);
    sync.arg(wheel.parent().unwrap()).arg("--python").arg(scratch.join("bin/python")).arg(&test.requirements);
    Outcome::of(sync.env_remove("UV_OFFLINE")).succeeds();
    test.seal_cache();
    test.mount().succeeds();
    test.unmount().succeeds();
    test.lock(&format!("greet==1.0 --hash=sha256:{}", "0".repeat(64)));
    refused(&test, &["greet==1.0", "hash"]);
}

#[test]
fn an_unpinned_requirement_is_told_with_file_line_and_text() {
    let Some(test) = sandbox() else { return };
    test.lock("greet==1.0\nflask>=1");
    refused(&test, &["requirements.txt", "2", "flask>=1"]);
}

#[test]
fn a_broken_requirements_file() {
    let Some(test) = sandbox() else { return };
    for text in [
        &b"greet==="[..],
        b"greet==1.0 ; python_version ~~ '3'",
        b"\xff\xfe\x00g",
        b"<html>",
        b"greet==1.0 --hash=sha256:zz",
    ] {
        fs_err::write(&test.requirements, text).unwrap();
        refused(&test, &["requirements.txt"]);
    }
}

#[test]
fn a_requirements_file_that_is_not_there() {
    let Some(test) = sandbox() else { return };
    fs_err::remove_file(&test.requirements).unwrap();
    refused(&test, &["requirements.txt"]);
    test.lock("-r elsewhere.txt");
    refused(&test, &["elsewhere.txt"]);
}

#[test]
fn a_requirements_file_that_includes_itself() {
    let Some(test) = sandbox() else { return };
    test.lock("greet==1.0\n-r requirements.txt");
    let before = test.environment();
    // An error or not: it comes to an end, and leaves nothing.
    test.mount();
    test.unmount();
    test.nothing_left(&before);
}

#[test]
fn a_lock_for_another_python() {
    let Some(test) = mountable() else { return };
    let wheel = WheelBuilder::new("greet", "1.0").tags("cp38-none-any").file("greet/__init__.py", "");
    wheel.build(&test.root().join("wheels"));
    let mut install =
        test.uv().command(["pip", "install", "--no-index", "--python-version", "3.8", "--find-links"]);
    install
        .arg(test.root().join("wheels"))
        .arg("--target")
        .arg(test.root().join("scratch"))
        .arg("greet==1.0");
    Outcome::of(install.arg("--python").arg(&test.python)).succeeds();
    test.lock("greet==1.0");
    test.seal_cache();
    refused(&test, &["greet==1.0", "cp38"]);
}

/// uv's link beside a pointer still says where the archive is; without it, the distribution is not there.
#[test]
fn a_pointer_that_is_cut_short_or_foreign() {
    let Some(test) = sandbox() else { return };
    let pointer = test.cache_files(".rev").pop().expect("uv wrote a pointer");
    let whole = fs_err::read(&pointer).unwrap();
    let broken = [
        &whole[..0],
        &whole[..1],
        &whole[..whole.len() / 2],
        b"\xc1",
        b"not msgpack at all",
        &[0xff; 100],
        &[0xdd; 8],
    ];
    for bytes in broken {
        fs_err::write(&pointer, bytes).unwrap();
        test.seal_cache();
        test.mount().succeeds();
        test.python(GREET).succeeds().prints("hello");
        test.unmount().succeeds();
    }
    fs_err::remove_file(pointer.with_extension("")).unwrap();
    for bytes in broken {
        fs_err::write(&pointer, bytes).unwrap();
        test.seal_cache();
        refused(&test, &["greet==1.0"]);
    }
}

/// A pointer is data from a shared drive: it must not lead out of the cache.
#[test]
fn a_pointer_that_leads_out_of_the_cache() {
    let Some(test) = sandbox() else { return };
    let archive = test.archive(&greet());
    let outside = test.root().join("outside");
    fs_err::rename(&archive, &outside).unwrap();
    let pointer = test.cache_files(".rev").pop().unwrap();
    let id = archive.file_name().unwrap().as_encoded_bytes().to_vec();
    let lie = b"../../outside";
    let bytes = fs_err::read(&pointer).unwrap();
    let position =
        bytes.windows(id.len()).position(|window| window == id).expect("the pointer names its archive");
    // msgpack: one byte says the length of a short string, 0xa0 and the length; or 0xd9 and the length.
    let start = if bytes[position - 2] == 0xd9 { position - 2 } else { position - 1 };
    let mut lying = bytes[..start].to_vec();
    lying.push(0xa0 | u8::try_from(lie.len()).unwrap());
    lying.extend_from_slice(lie);
    lying.extend_from_slice(&bytes[position + id.len()..]);
    fs_err::write(&pointer, lying).unwrap();
    test.seal_cache();
    refused(&test, &["greet"]);
}

#[test]
fn an_archive_that_is_gone() {
    let Some(test) = sandbox() else { return };
    fs_err::remove_dir_all(test.archive(&greet())).unwrap();
    test.seal_cache();
    refused(&test, &["greet==1.0", "gone"]);
}

#[test]
fn an_archive_that_is_empty_or_a_file() {
    let Some(test) = sandbox() else { return };
    let archive = test.archive(&greet());
    fs_err::remove_dir_all(&archive).unwrap();
    fs_err::create_dir(&archive).unwrap();
    test.seal_cache();
    refused(&test, &["greet==1.0"]);
    fs_err::remove_dir(&archive).unwrap();
    fs_err::write(&archive, "").unwrap();
    test.seal_cache();
    refused(&test, &["greet==1.0"]);
}

/// Nothing in an environment may lead an uninstall out of it.
#[test]
fn a_record_with_dots_leads_nowhere() {
    let Some(test) = mountable() else { return };
    let record = "greet/__init__.py,,\n../../../../victim.txt,,\n/etc/victim,,\ngreet/../../../../../victim.txt,,\n\
        greet-1.0.dist-info/METADATA,,\ngreet-1.0.dist-info/WHEEL,,\ngreet-1.0.dist-info/RECORD,,\n";
    let wheel = greet().raw_record(record);
    // uv refuses such a wheel, or not: the lie is put into the archive.
    let test = test.with_wheels([greet()]);
    let dist_info = test.archive(&wheel).join(wheel.dist_info());
    fs_err::write(dist_info.join("RECORD"), record).unwrap();
    test.seal_cache();
    let before = test.environment();
    if test.mount().code() == Some(0) {
        let path = test.site_packages().join(wheel.dist_info()).join("RECORD");
        if let Ok(shown) = fs_err::read_to_string(path) {
            let leads_out = |line: &str| line.contains("victim") && line.contains("..");
            assert!(!shown.lines().any(leads_out), "{shown}");
        }
        test.python(GREET).succeeds().prints("hello");
        test.unmount().succeeds();
    }
    test.nothing_left(&before);
}

#[test]
fn a_record_that_is_garbage_breaks_nothing_else() {
    let Some(test) = sandbox() else { return };
    let path = test.archive(&greet()).join(greet().dist_info()).join("RECORD");
    for bytes in [&b""[..], b"\xff\xfe\n", b"\"never closed,,\n", b"a,b,c,d,e,f\n"] {
        fs_err::write(&path, bytes).unwrap();
        test.seal_cache();
        let before = test.environment();
        if test.mount().code() == Some(0) {
            test.python(GREET).succeeds().prints("hello");
            test.unmount().succeeds();
        }
        test.nothing_left(&before);
    }
}

#[test]
fn entry_points_that_leave_bin_or_take_the_interpreter() {
    for line in [
        "../../evil = greet:main",
        "sub/evil = greet:main",
        "/tmp/evil = greet:main",
        ".. = greet:main",
        "python = greet:main",
        "python3 = greet:main",
        "evil = greet:main() or print",
        "evil = greet\nimport os:main",
        "evil = greet",
        " = greet:main",
    ] {
        let Some(test) = sandbox() else { return };
        let wheel = greet();
        let path = test.archive(&wheel).join(wheel.dist_info()).join("entry_points.txt");
        fs_err::write(path, format!("[console_scripts]\n{line}\n")).unwrap();
        test.seal_cache();
        eprintln!("with {line:?}");
        refused(&test, &["greet", "entry_points.txt"]);
        assert!(!test.root().join("evil").exists());
    }
}

/// Refused, or passed over in favour of what the environment has.
#[test]
fn data_that_would_replace_what_makes_an_environment() {
    for path in [
        "scripts/python",
        "scripts/activate",
        "data/pyvenv.cfg",
        "data/bin/python3",
        "data/.sitefs/state.json",
        "odd/file.txt",
    ] {
        let Some(test) = sandbox() else { return };
        let member = test.archive(&greet()).join("greet-1.0.data").join(path);
        fs_err::create_dir_all(member.parent().unwrap()).unwrap();
        fs_err::write(&member, "#!python\nevil\n").unwrap();
        test.seal_cache();
        let before = test.environment();
        eprintln!("with {path:?}");
        if test.mount().code() == Some(0) {
            let now = test.environment();
            assert!(
                before.keys().filter(|path| !path.starts_with("lib")).all(|path| before[path] == now[path])
            );
            test.python(GREET).succeeds().prints("hello");
            assert!(!test.venv.join(".sitefs/state.json").exists());
            test.unmount().succeeds();
        }
        test.nothing_left(&before);
    }
}

/// A link in the environment must not carry files of a wheel out of it.
#[test]
fn data_below_a_link_that_leaves_the_environment() {
    let Some(test) = mountable() else { return };
    let outside = test.root().join("outside");
    fs_err::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, test.venv.join("share")).unwrap();
    let test = test.with_wheels([greet().data("data/share/note.txt", "a note\n")]);
    let before = test.environment();
    test.mount();
    assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 0, "written outside the environment");
    test.unmount();
    test.nothing_left(&before);
}

#[test]
fn links_in_an_archive_that_leave_it() {
    let Some(test) = mountable() else { return };
    let test = test.with_wheels([greet().data("data/share/note.txt", "a note\n")]);
    let secret = test.root().join("secret.txt");
    fs_err::write(&secret, "secret\n").unwrap();
    let member = test.archive(&greet()).join("greet-1.0.data/data/share/note.txt");
    fs_err::remove_file(&member).unwrap();
    std::os::unix::fs::symlink(&secret, &member).unwrap();
    test.seal_cache();
    let before = test.environment();
    test.mount();
    test.unmount();
    test.nothing_left(&before);
    assert_eq!(fs_err::read_to_string(&secret).unwrap(), "secret\n");
}

#[test]
fn a_cache_that_is_not_one() {
    let Some(mut test) = sandbox() else { return };
    let cache = test.cache.clone();
    for (name, make) in [
        ("absent", (|_| ()) as fn(&PathBuf)),
        ("empty", |path| fs_err::create_dir(path).unwrap()),
        ("a-file", |path| fs_err::write(path, "").unwrap()),
        ("a-home", |path| {
            fs_err::create_dir_all(path.join("Documents")).unwrap();
        }),
    ] {
        test.cache = test.root().join(name);
        make(&test.cache);
        refused(&test, &[name]);
    }
    test.cache = cache;
}

#[test]
fn a_venv_that_is_not_one() {
    let Some(mut test) = sandbox() else { return };
    let venv = test.venv.clone();
    test.venv = test.root().join("plain");
    fs_err::create_dir_all(test.venv.join("documents")).unwrap();
    refused(&test, &["plain"]);
    assert!(!test.venv.join(".sitefs").exists(), "notes left in a folder that is no environment");

    test.venv = test.root().join("a-file");
    fs_err::write(&test.venv, "").unwrap();
    test.mount().fails().says("a-file");

    test.venv = venv;
    fs_err::remove_file(test.venv.join("pyvenv.cfg")).unwrap();
    refused(&test, &["venv"]);
}

#[test]
fn a_venv_whose_python_is_gone() {
    let Some(test) = sandbox() else { return };
    for name in ["python", "python3"] {
        fs_err::remove_file(test.venv.join("bin").join(name)).unwrap();
        std::os::unix::fs::symlink("/nonexistent/python3", test.venv.join("bin").join(name)).unwrap();
    }
    refused(&test, &["/nonexistent/python3"]);
}

#[test]
fn a_venv_whose_python_hangs_up_or_lies() {
    let Some(test) = sandbox() else { return };
    for script in
        ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho nonsense\n", "#!/bin/sh\nkill -9 $$\n", "not a program"]
    {
        let python = test.venv.join("bin/python");
        fs_err::remove_file(&python).unwrap();
        fs_err::write(&python, script).unwrap();
        fs_err::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        refused(&test, &["python"]);
    }
}

#[test]
fn no_dev_fuse() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([greet()]);
    let before = test.environment();
    let script = "mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && exec \"$@\"";
    let Some(outcome) = mount_with_dev(&test, script) else {
        return;
    };
    outcome.fails().says("/dev/fuse");
    test.nothing_left(&before);
}

#[test]
fn no_permission_to_open_dev_fuse() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([greet()]);
    let before = test.environment();
    let script = "mount -t tmpfs tmpfs /dev && chmod 755 /dev && mknod -m 666 /dev/null c 1 3 && mknod /dev/fuse c 10 229 \
        && chmod 600 /dev/fuse && exec \"$@\"";
    let Some(outcome) = mount_with_dev(&test, script) else {
        return;
    };
    outcome.fails().says("/dev/fuse");
    test.nothing_left(&before);
}

/// `sitefs mount` in a mount namespace whose /dev a script has changed.
fn mount_with_dev(test: &Sandbox, script: &str) -> Option<Outcome> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can change what is in /dev");
        return None;
    }
    let mount = test.sitefs_command(["mount", "--link-mode", "fuse", "-r"].map(OsStr::new));
    let mut command = test.command("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(mount.get_program())
        .args(mount.get_args())
        .args([&test.requirements, &test.venv, &test.cache]);
    Some(Outcome::of(&mut command))
}

#[test]
fn no_permission_to_change_the_environment() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels([greet()]);
    test.run("chmod", &["-R", "a-w", test.venv.to_str().unwrap()]).succeeds();
    refused(&test, &[test.venv.to_str().unwrap()]);
}

#[test]
fn wrong_usage_is_code_2() {
    let test = Sandbox::new();
    for arguments in [
        &[][..],
        &["mount"],
        &["unmount"],
        &["unmount", "--all", "venv"],
        &["mount", "--no-such-option", "venv"],
        &["fly", "venv"],
        &["why", "venv"],
    ] {
        test.sitefs(arguments).exits(2);
    }
    test.sitefs(["--help"]).succeeds().says("mount");
    test.sitefs(["--version"]).succeeds().says(env!("CARGO_PKG_VERSION"));
}
