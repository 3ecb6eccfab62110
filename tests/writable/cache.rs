//! The cache stays as it is, whatever happens in an environment: every sandbox compares it, byte by byte, at its end.

use std::process::Command;

use crate::common::{Corpus, Outcome, Sandbox, WheelBuilder, fuse, pip, wait_until};
use crate::{GREET, greet, kill, kill_server, sandbox};

/// Imports every module that can be, in one process; modules of tests and of other systems may fail.
const IMPORT_ALL: &str = r#"
import importlib, os, pkgutil, sys, sysconfig, warnings
warnings.simplefilter("ignore")
site = sysconfig.get_path("purelib")
count = 0
for name in sorted(os.listdir(site)):
    stem = name[:-3] if name.endswith(".py") else name
    if not stem.isidentifier() or name == "__pycache__" or stem.startswith("_virtualenv"):
        continue
    try:
        importlib.import_module(stem)
        count += 1
    except BaseException:
        pass
print(count)
"#;

fn a_full_import_writes_bytecode_and_leaves_the_cache_alone(name: &str) {
    if !fuse() {
        return;
    }
    let corpus = Corpus::prepared(name);
    let test = Sandbox::of(&corpus);
    test.mount().succeeds();
    let imported: usize = test.python(IMPORT_ALL).succeeds().stdout.trim().parse().unwrap();
    assert!(imported > 0);
    let compile = test.run(
        test.venv.join("bin/python"),
        &["-m", "compileall", "-q", "-j", "2", test.site_packages().to_str().unwrap()],
    );
    // Some wheels have files that are templates, and no Python.
    assert!(matches!(compile.code(), Some(0 | 1)), "{compile}");
    let bytecode = walkdir::WalkDir::new(test.venv.join(".sitefs/bytecode")).into_iter().count();
    assert!(bytecode > imported, "{bytecode}");
    assert_eq!(test.python(IMPORT_ALL).succeeds().stdout.trim(), imported.to_string());
    test.unmount().succeeds();
}

#[test]
fn a_full_import_of_the_small_corpus_leaves_the_cache_alone() {
    a_full_import_writes_bytecode_and_leaves_the_cache_alone("small");
}

#[test]
#[ignore = "takes minutes: make test-long"]
fn a_full_import_of_the_data_corpus_leaves_the_cache_alone() {
    a_full_import_writes_bytecode_and_leaves_the_cache_alone("data");
}

#[test]
#[ignore = "takes minutes: make test-long"]
fn a_full_import_of_the_cloud_corpus_leaves_the_cache_alone() {
    a_full_import_writes_bytecode_and_leaves_the_cache_alone("cloud");
}

#[test]
fn removing_all_packages_leaves_the_cache_alone_and_a_kill_in_between_too() {
    for kills in [false, true] {
        let Some(test) = sandbox() else { return };
        test.mount().succeeds();
        test.python(GREET).succeeds();
        let all: Vec<_> =
            fs_err::read_dir(test.site_packages()).unwrap().map(|entry| entry.unwrap().path()).collect();
        for path in all {
            Outcome::of(test.command("rm").arg("-rf").arg(&path)).succeeds();
            assert!(!path.exists());
            if kills && path.ends_with("greet") {
                kill_server(&test);
                test.mount().succeeds();
                assert!(!path.exists());
            }
        }
        test.python("import greet").exits(1);
        test.unmount().succeeds();
        test.mount().succeeds();
        assert_eq!(fs_err::read_dir(test.site_packages()).unwrap().count(), 0);
    }
}

#[test]
fn git_clean_of_a_project_leaves_the_cache_alone() {
    let Some(mut test) = sandbox() else { return };
    let project = test.root().join("project");
    fs_err::create_dir(&project).unwrap();
    let git = |arguments: &[&str]| Outcome::of(test.command("git").args(arguments).current_dir(&project));
    git(&["init", "--quiet"]).succeeds();
    fs_err::write(project.join(".gitignore"), "venv\n").unwrap();
    let venv = project.join("venv");
    fs_err::rename(&test.venv, &venv).unwrap();
    test.venv = venv;
    test.mount().succeeds();
    test.python(GREET).succeeds();
    let git = |arguments: &[&str]| Outcome::of(test.command("git").args(arguments).current_dir(&project));
    git(&["clean", "-xfd"]).exits(1);
    test.unmount().succeeds();
    git(&["clean", "-xffd"]).succeeds();
    assert!(!test.venv.exists());
}

/// Nothing can remove a mount point: what is left is the mount, which tells that all else is gone.
#[test]
fn removing_a_mounted_environment_leaves_the_cache_alone_and_says_what_happened() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    test.python(GREET).succeeds();
    let removed = Outcome::of(test.command("rm").arg("-rf").arg(&test.venv)).exits(1);
    removed.says("site-packages': Device or resource busy");
    let status = test.sitefs([std::ffi::OsStr::new("status"), test.venv.as_os_str()]);
    status.succeeds().says(test.venv.to_str().unwrap()).says("was removed under its mount");
    test.unmount().succeeds().says(".sitefs is gone");
    wait_until("the server is gone", || crate::common::servers_below(&test.root()).is_empty());
    Outcome::of(test.command("rm").arg("-r").arg(&test.venv)).succeeds();
}

#[test]
fn installs_and_imports_at_the_same_time_leave_the_cache_alone() {
    let Some(test) = sandbox() else { return };
    let extra = |n: usize| {
        let name = format!("extra{n}");
        (0..20).fold(WheelBuilder::new(&name, "1.0"), |it, m| {
            it.file(&format!("{name}/m{m}.py"), format!("x = {m}\n"))
        })
    };
    (0..4).for_each(|n| drop(extra(n).build(&test.root().join("wheels"))));
    test.mount().succeeds();
    let install = |n: usize| {
        let name = format!("extra{n}");
        let mut command =
            pip(&test.venv, &test.home(), &["install", "--no-index", "--find-links", "wheels", &name]);
        command.current_dir(test.root());
        command
    };
    let import = |_| test.python_command(GREET);
    let commands: Vec<Command> = (0..4).map(install).chain((0..8).map(import)).collect();
    let started: Vec<_> = commands
        .into_iter()
        .map(|mut command| std::thread::spawn(move || Outcome::of(&mut command)))
        .collect();
    for one in started {
        one.join().unwrap().succeeds();
    }
    for _ in 0..2 {
        for n in 0..4 {
            test.python(&format!("import extra{n}.m0, extra{n}.m19, greet")).succeeds();
        }
        Outcome::of(&mut pip(&test.venv, &test.home(), &["check"])).succeeds();
        kill_server(&test);
        test.mount().succeeds();
    }
}

/// The tool, or the server, is killed after so long: whatever was done by then, the tool can do it again.
#[test]
fn a_tool_and_a_server_that_are_killed_lose_nothing() {
    let Some(test) = sandbox() else { return };
    greet("2.0").build(&test.root().join("wheels"));
    greet("1.0").build(&test.root().join("wheels"));
    let mine = test.site_packages().join("greet/mine.py");
    test.mount().succeeds();
    fs_err::write(&mine, "mine").unwrap();
    for (round, version) in ["2.0", "1.0", "2.0", "1.0", "2.0", "1.0"].into_iter().enumerate() {
        let pin = format!("greet=={version}");
        let arguments = ["install", "--no-index", "--find-links", "wheels", "--force-reinstall", &pin];
        let install = || {
            let mut command = pip(&test.venv, &test.home(), &arguments);
            command.current_dir(test.root());
            command
        };
        let mut child = install()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // pip is at work in site-packages when its first temporary folder, or the new version, is there.
        wait_until("pip is at work", || {
            child.try_wait().unwrap().is_some()
                || fs_err::read_dir(test.site_packages()).is_ok_and(|mut all| {
                    all.any(|it| it.is_ok_and(|it| it.file_name().as_encoded_bytes().starts_with(b"~")))
                })
        });
        if round % 2 == 0 {
            kill("KILL", test.server());
        } else {
            let _ = child.kill();
        }
        let _ = child.wait();
        if round % 2 == 0 {
            wait_until("the server is gone", || crate::common::servers_below(&test.root()).is_empty());
            test.mount().succeeds();
        }
        assert_eq!(fs_err::read_to_string(&mine).unwrap(), "mine");
        Outcome::of(&mut install()).succeeds();
        test.python(GREET).succeeds().prints(&format!("hello {version}"));
        assert_eq!(fs_err::read_to_string(&mine).unwrap(), "mine");
    }
}
