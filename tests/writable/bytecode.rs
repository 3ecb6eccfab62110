//! Python's bytecode of what is mounted: it is written, used again, and never left where it would import as a package.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::{
    Outcome, Sandbox, Tree, WheelBuilder, assert_same, exact_tree, run_arguments, servers_below, wait_until,
};
use crate::{GREET, greet, kill, kill_server, sandbox};

/// All of site-packages, bytecode too.
fn site_packages(test: &Sandbox) -> Tree {
    exact_tree(&test.site_packages())
}

/// Runs Python, and says whether it took these modules from bytecode.
fn uses_bytecode(test: &Sandbox, module: &str) -> bool {
    let mut command = test.command(test.venv.join("bin/python"));
    let outcome = Outcome::of(command.args(["-v", "-c", GREET])).succeeds();
    outcome.stderr.lines().any(|line| line.contains(".pyc matches ") && line.ends_with(module))
}

fn used_sandbox() -> Option<Sandbox> {
    let test = sandbox()?;
    // uv's environments import a module of their own at every start.
    test.python("").succeeds();
    Some(test)
}

type End = fn(&Sandbox);

const ENDS: [(&str, End); 5] = [
    ("unmount", |test| drop(test.unmount().succeeds())),
    ("SIGTERM", |test| {
        kill("TERM", test.server());
        gone(test);
    }),
    ("umount", |test| {
        Outcome::of(Command::new("umount").arg("-R").arg(test.site_packages())).succeeds();
        gone(test);
    }),
    ("kill -9 and unmount", |test| {
        kill_server(test);
        test.unmount().succeeds();
    }),
    ("kill -9, mount and unmount", |test| {
        kill_server(test);
        test.mount().succeeds();
        test.unmount().succeeds();
    }),
];

fn gone(test: &Sandbox) {
    wait_until("the server is gone", || servers_below(&test.root()).is_empty());
}

#[test]
fn bytecode_is_written_and_used_again_whichever_way_the_mount_ended() {
    let Some(test) = used_sandbox() else { return };
    let before = site_packages(&test);
    for (way, end) in ENDS {
        test.mount().succeeds();
        test.python(GREET).succeeds().prints("hello 1.0");
        for module in ["greet/__init__.py", "greet/deep/er.py", "beside.py"] {
            assert!(uses_bytecode(&test, module), "{module} has bytecode");
        }
        end(&test);
        assert_same("before", &before, way, &site_packages(&test));
        test.python("import greet").exits(1).says("No module named 'greet'");
        test.mount().succeeds();
        for module in ["greet/__init__.py", "greet/deep/er.py", "beside.py"] {
            assert!(uses_bytecode(&test, module), "{module} still has bytecode after {way}");
        }
        test.unmount().succeeds();
    }
}

/// Python looks at time and size only.
#[test]
fn bytecode_of_another_version_is_never_used() {
    let Some(test) = Sandbox::with_fuse() else { return };
    test.unpack(&[greet("1.0"), greet("1.1")]);
    for wheel in [greet("1.0"), greet("1.1")] {
        for file in ["greet/__init__.py", "beside.py"] {
            let file = test.archive(&wheel).join(file);
            Outcome::of(Command::new("touch").args(["-d", "@1600000000"]).arg(file)).succeeds();
        }
    }
    for version in ["1.0", "1.1", "1.0"] {
        test.lock(&format!("greet=={version}"));
        test.mount().succeeds();
        test.python(GREET).succeeds().prints(&format!("hello {version}"));
        test.python("import beside; print(beside.word)").succeeds().prints(&format!("beside {version}"));
        test.unmount().succeeds();
    }
}

#[test]
fn bytecode_of_other_distributions_outlives_a_changed_lock() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let other = |version: &str| {
        WheelBuilder::new("other", version).file("other/__init__.py", "").file("third.py", "")
    };
    let test = test.with_wheels([greet("1.0"), other("1.0")]);
    test.unpack(&[other("2.0")]);
    test.mount().succeeds();
    test.python("import other, third").succeeds();
    test.python(GREET).succeeds();
    test.unmount().succeeds();
    test.lock("other==2.0\ngreet==1.0");
    test.mount().succeeds();
    let cached = |module: &str| {
        test.python(&format!(
            "import importlib.util as it, os; print(os.path.exists(it.find_spec('{module}').cached))"
        ))
        .succeeds()
        .stdout
    };
    assert_eq!((cached("greet"), cached("beside")), ("True\n".into(), "True\n".into()));
    assert_eq!((cached("other"), cached("third")), ("False\n".into(), "False\n".into()));
}

#[test]
fn bytecode_of_the_environments_own_modules_stays_beside_them() {
    let Some(test) = used_sandbox() else { return };
    let own = test.site_packages().join("own.py");
    test.mount().succeeds();
    fs_err::write(&own, "word = 'own'\n").unwrap();
    test.python("import own").succeeds();
    test.python(GREET).succeeds();
    test.unmount().succeeds();
    let bytecode: Vec<_> = fs_err::read_dir(test.site_packages().join("__pycache__")).unwrap().collect();
    let names: Vec<String> =
        bytecode.iter().map(|it| it.as_ref().unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("own.")), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("beside.")), "{names:?}");
}

#[test]
fn a_directory_of_an_archive_in_which_nothing_is_left_is_none_of_the_environment() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.mount().succeeds();
    let file = test.site_packages().join("greet/deep/new.py");
    fs_err::write(&file, "").unwrap();
    fs_err::remove_file(&file).unwrap();
    test.unmount().succeeds();
    test.nothing_left(&before);
    assert!(!test.site_packages().join("greet").exists());
}

#[test]
fn who_removes_bytecode_has_it_removed() {
    let Some(test) = sandbox() else { return };
    let cache = test.site_packages().join("greet/__pycache__");
    test.mount().succeeds();
    test.python(GREET).succeeds();
    let moved = test.site_packages().join("moved");
    fs_err::rename(&cache, &moved).unwrap();
    assert!(!cache.exists() && fs_err::read_dir(&moved).unwrap().count() == 1);
    test.python(GREET).succeeds();
    fs_err::remove_dir_all(&cache).unwrap();
    test.unmount().succeeds();
    assert!(moved.exists() && !test.site_packages().join("greet").exists());
    test.mount().succeeds();
    assert!(!cache.exists());
}

#[test]
fn imports_by_several_processes_at_once_are_right() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    let python = test.venv.join("bin/python");
    let start = |_| {
        let mut command = test.command(&python);
        std::thread::spawn(move || Outcome::of(command.args(["-W", "error", "-c", GREET])))
    };
    let started: Vec<_> = (0..12).map(start).collect();
    for one in started {
        let outcome = one.join().unwrap().succeeds().prints("hello 1.0");
        assert_eq!(outcome.stderr, "");
    }
    assert!(uses_bytecode(&test, "beside.py"));
}

/// Each has a server and a kernel's memory of its own.
#[test]
fn several_runs_at_once_share_bytecode() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    let code =
        "import sys; input(); import greet, greet.deep.er, beside; print(greet.word, flush=True); input()";
    let start = || {
        let mut command = test.sitefs_command(run_arguments(&test, &[], &["python", "-v", "-c", code]));
        let errors = test.root().join(format!("errors-{}", fs_err::read_dir(test.root()).unwrap().count()));
        command.stdin(Stdio::piped()).stderr(fs_err::File::create(&errors).unwrap().into_file());
        (command.stdout(Stdio::piped()).spawn().unwrap(), errors)
    };
    let mut runs: Vec<_> = (0..4).map(|_| start()).collect();
    for (run, _) in &mut runs {
        run.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
    for (mut run, errors) in runs {
        drop(run.stdin.take());
        let output = run.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello 1.0\n");
        let said = fs_err::read_to_string(errors).unwrap();
        let wrong: Vec<&str> =
            said.lines().filter(|line| line.contains("could not") || line.contains("Errno")).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
    test.nothing_left(&before);
    assert!(!test.site_packages().join("greet").exists());
}
