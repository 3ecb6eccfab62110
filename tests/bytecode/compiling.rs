//! Filling the store.

use std::fmt::Write;
use std::process::Stdio;

use super::common::{
    Outcome, Running, Sandbox, WheelBuilder, fuse_for_nobody, kill, run_arguments, sitefs_below, wait_until,
};
use super::{ALL, bytecode_below, compile, compile_command, compiled_by, files, store, wheels};

/// A distribution that takes a moment to compile.
fn large(name: &str, modules: usize) -> WheelBuilder {
    let source = (0..2000).fold(String::new(), |mut text, number| {
        let _ = writeln!(
            text,
            "def f{number}(a, b):\n    return [a + {number}, b - {number}, a if b else f{number}]"
        );
        text
    });
    (0..modules).fold(WheelBuilder::new(name, "1.0"), |wheel, number| {
        wheel.file(&format!("{name}/m{number:02}.py"), &source)
    })
}

fn archives(test: &Sandbox) -> usize {
    files(&store(test).join("bytecode")).iter().filter(|path| path.ends_with("index.json")).count()
}

fn unfinished(test: &Sandbox) -> usize {
    fs_err::read_dir(store(test).join("staging")).map_or(0, Iterator::count)
}

#[test]
fn what_does_not_compile_is_no_error_and_not_tried_again() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let broken = WheelBuilder::new("broken", "1.0")
        .file("broken/__init__.py", "")
        .file("broken/python2.py", "print 'no'\n")
        .file("broken/zeros.py", "\0\0")
        .file("broken/deep.py", format!("x = {}1{}\n", "(".repeat(5000), ")".repeat(5000)))
        .file("broken/not-a-name.py", "word = 1\n")
        .file("broken/data.txt", "print 'no'\n");
    let test = test.with_wheels([broken]);
    Outcome::of(&mut compile_command(&test, &["-v"]))
        .succeeds()
        .says("compiled 2 modules (3 do not compile)")
        .says("python2.py does not compile: SyntaxError");
    compile(&test).says("compiled 0 modules of 0 distributions").says("1 had been");
    test.mount().succeeds();
    assert_eq!(compiled_by(&test, "import broken"), "");
    test.python("import broken.python2").exits(1).says("SyntaxError");
}

/// What is about mounts is not among its options.
#[test]
fn its_options_are_those_that_do_something() {
    let test = Sandbox::new();
    let help = test.sitefs(["cache", "compile", "--help"]).succeeds();
    help.says("--requirements")
        .says("--group")
        .says("--fetch")
        .says("--store")
        .says_nothing_of("--link-mode");
    for option in
        ["--link-mode=copy", "--entries=file", "--read-only", "--fold", "--python=python3", "--allow-other"]
    {
        Outcome::of(&mut compile_command(&test, &[option])).exits(2).says("unexpected argument");
    }
}

#[test]
fn what_was_killed_goes_on_with_what_is_missing() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([large("first", 1), large("second", 12)]);
    let mut killed =
        compile_command(&test, &["--jobs", "1"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the first is there and the second begun", || archives(&test) == 1 && unfinished(&test) == 1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(archives(&test), 1);
    compile(&test).says("compiled 12 modules of 1 distribution").says("1 had been");
    test.mount().succeeds();
    assert_eq!(compiled_by(&test, "import first.m00, second.m11"), "");
}

#[test]
fn ctrl_c_leaves_what_is_whole_and_nothing_else() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([large("first", 1), large("second", 40)]);
    let mut stopped = Running::of(compile_command(&test, &["--jobs", "2"]));
    wait_until("the first is there and the second begun", || archives(&test) == 1 && unfinished(&test) == 1);
    kill("INT", stopped.pid());
    assert_eq!(stopped.ends(), Some(1));
    assert_eq!((archives(&test), unfinished(&test)), (1, 0));
}

#[test]
fn two_at_once_make_one_whole() {
    let test = Sandbox::new().with_wheels([large("first", 3), large("second", 3)]);
    let mut both = [(); 2].map(|()| Running::of(compile_command(&test, &[])));
    for one in &mut both {
        assert_eq!(one.ends(), Some(0));
    }
    assert_eq!((archives(&test), unfinished(&test)), (2, 0));
    assert_eq!(bytecode_below(&store(&test)).len(), 6);
}

#[test]
fn mount_compiles_before_or_afterwards() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(wheels());
    test.mount_with(&["--compile-bytecode"]).succeeds().says("compiled 7 modules");
    assert_eq!(compiled_by(&test, ALL), "");
    test.unmount().succeeds();
    fs_err::remove_dir_all(store(&test)).unwrap();
    test.mount_with(&["--compile-bytecode=background"]).succeeds();
    test.unmount().succeeds();
    wait_until("it goes on without the mount", || archives(&test) == 3);
    wait_until("it ends", || sitefs_below(&test).is_empty());
}

#[test]
fn run_compiles_in_the_background_and_stops_with_its_command() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([large("first", 1), large("second", 60)]);
    let run = |command: &[&str]| {
        let mut run = test.sitefs_command(run_arguments(&test, &[], command));
        run.env_remove("SITEFS_COMPILE_BYTECODE");
        run
    };
    let wait = "import sys, time\nwhile not (len(sys.argv) < 2 or __import__('glob').glob(sys.argv[1])): time.sleep(0.01)";
    let first = store(&test).join("bytecode/*/first*");
    Outcome::of(&mut run(&["python", "-c", wait, first.to_str().unwrap()])).succeeds();
    assert!(sitefs_below(&test).is_empty());
    assert_eq!((archives(&test), unfinished(&test)), (1, 0));
}

#[test]
fn a_store_that_cannot_be_written_is_used_as_it_is() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels(wheels());
    compile(&test);
    let more = WheelBuilder::new("more", "1.0").file("more.py", "");
    test.unpack(&[more]);
    test.lock("shop==1.0\nsingle==1.0\nmoved==1.0");
    Outcome::of(std::process::Command::new("chown").arg("-hR").arg("0:0").arg(store(&test))).succeeds();
    compile(&test).says("3 had been");
    test.mount_with(&["--compile-bytecode"]).succeeds();
    assert_eq!(compiled_by(&test, ALL), "");
    test.unmount().succeeds();
    test.lock("shop==1.0\nsingle==1.0\nmoved==1.0\nmore==1.0");
    Outcome::of(&mut compile_command(&test, &[])).fails();
    test.mount_with(&["--compile-bytecode"]).succeeds().says("note: bytecode is not compiled:");
}
