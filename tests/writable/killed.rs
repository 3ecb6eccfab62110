//! Kill -9, of a tool or of the server, in the middle of what people do: the next mount works, and nothing of theirs is
//! lost. That the cache is the same, every sandbox checks at its end.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::common::{Outcome, Sandbox, WheelBuilder, pip, servers_below, wait_until};
use crate::{greet, kill};

/// So many that there is a middle.
const MODULES: usize = 100;

/// Imports them all.
const IMPORT_BULK: &str = "import importlib\n\
    print(sum(importlib.import_module(f'bulk.m{n}').x for n in range(100)) == sum(range(100)))";

#[derive(Clone, Copy)]
enum Victim {
    Tool,
    Server,
}

fn bulk() -> WheelBuilder {
    (0..MODULES).fold(WheelBuilder::new("bulk", "1.0").file("bulk/__init__.py", ""), |it, n| {
        it.file(&format!("bulk/m{n}.py"), module(n))
    })
}

fn module(n: usize) -> String {
    format!("x = {n}\n")
}

/// Mounted, with a file of the user's in a package of the cache.
fn mounted(test: &Sandbox) -> PathBuf {
    test.mount().succeeds();
    let mine = test.site_packages().join("greet/mine.py");
    fs_err::write(&mine, "mine").unwrap();
    mine
}

fn started(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Kills in the middle of a command, and mounts again where that needs it. A command that was faster did its work.
fn kill_in_the_middle(test: &Sandbox, victim: Victim, command: Command, is_at_work: impl Fn() -> bool) {
    let mut child = started(command);
    wait_until("the tool is at work", || child.try_wait().unwrap().is_some() || is_at_work());
    match victim {
        Victim::Tool => drop(child.kill()),
        Victim::Server => kill("KILL", test.server()),
    }
    child.wait().unwrap();
    if matches!(victim, Victim::Server) {
        wait_until("the server is gone", || servers_below(&test.root()).is_empty());
        test.mount().succeeds();
    }
}

fn entries(folder: PathBuf) -> usize {
    fs_err::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn an_install_by_uv_that_is_killed_loses_nothing_and_can_be_done_again() {
    for victim in [Victim::Tool, Victim::Server] {
        let Some(test) = crate::sandbox() else { return };
        bulk().build(&test.root().join("wheels"));
        let mine = mounted(&test);
        let uv = test.onlooking_uv();
        let install = || {
            let mut command = uv.command(["pip", "install", "--reinstall", "--no-index", "bulk"]);
            command.args(["--find-links", "wheels", "--python"]).arg(test.venv.join("bin/python"));
            command.current_dir(test.root());
            command
        };
        kill_in_the_middle(&test, victim, install(), || entries(test.site_packages().join("bulk")) > 0);
        assert_eq!(fs_err::read_to_string(&mine).unwrap(), "mine");
        Outcome::of(&mut install()).succeeds();
        test.python(IMPORT_BULK).succeeds().prints("True");
        test.unmount().succeeds();
        test.mount().succeeds();
        test.python(IMPORT_BULK).succeeds().prints("True");
        assert_eq!(fs_err::read_to_string(&mine).unwrap(), "mine");
    }
}

#[test]
fn an_import_that_is_killed_while_it_writes_bytecode_leaves_none_that_is_wrong() {
    for victim in [Victim::Tool, Victim::Server] {
        let Some(test) = Sandbox::with_fuse() else { return };
        let test = test.with_wheels([greet("1.0"), bulk()]);
        let mine = mounted(&test);
        let cached = test.site_packages().join("bulk/__pycache__");
        let is_at_work = || entries(cached.clone()) > 2;
        kill_in_the_middle(&test, victim, test.python_command(IMPORT_BULK), is_at_work);
        for _ in 0..2 {
            test.python(IMPORT_BULK).succeeds().prints("True");
        }
        assert_eq!(fs_err::read_to_string(&mine).unwrap(), "mine");
    }
}

#[test]
fn a_git_clean_that_is_killed_has_removed_a_file_or_has_not() {
    for victim in [Victim::Tool, Victim::Server] {
        let Some(test) = Sandbox::with_fuse() else { return };
        let test = test.with_wheels([greet("1.0"), bulk()]);
        let git = |arguments: &[&str]| {
            let mut command = test.command("git");
            command.args(arguments).current_dir(test.root());
            command
        };
        Outcome::of(&mut git(&["init", "--quiet"])).succeeds();
        let mine = mounted(&test);
        Outcome::of(&mut git(&["add", "--force", mine.to_str().unwrap()])).succeeds();
        let folder = test.site_packages().join("bulk");
        let clean = || git(&["clean", "-xfd", "--quiet", test.site_packages().to_str().unwrap()]);
        kill_in_the_middle(&test, victim, clean(), || entries(folder.clone()) <= MODULES);
        for n in 0..MODULES {
            if let Ok(text) = fs_err::read_to_string(folder.join(format!("m{n}.py"))) {
                assert_eq!(text, module(n));
            }
        }
        let _ = Outcome::of(&mut clean());
        assert!(!folder.exists());
        test.unmount().succeeds();
        test.mount().succeeds();
        assert!(!folder.exists());
        assert_eq!(fs_err::read_to_string(&mine).unwrap(), "mine");
    }
}

#[test]
fn installs_and_imports_at_the_same_time_survive_a_kill_of_the_server() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels([greet("1.0"), bulk()]);
    let extra = |n: usize| format!("extra{n}");
    for name in (0..4).map(extra) {
        (0..20)
            .fold(WheelBuilder::new(&name, "1.0"), |it, m| it.file(&format!("{name}/m{m}.py"), module(m)))
            .build(&test.root().join("wheels"));
    }
    let mine = mounted(&test);
    let install = |n: usize| {
        let arguments = ["install", "--no-index", "--find-links", "wheels", "--force-reinstall", &extra(n)];
        let mut command = pip(&test.venv, &test.home(), &arguments);
        command.current_dir(test.root());
        command
    };
    let imports = (0..4).map(|_| test.python_command(IMPORT_BULK));
    let mut children: Vec<_> = (0..4).map(install).chain(imports).map(started).collect();
    wait_until("one is at work", || (0..4).any(|n| test.site_packages().join(extra(n)).exists()));
    kill("KILL", test.server());
    for child in &mut children {
        child.wait().unwrap();
    }
    wait_until("the server is gone", || servers_below(&test.root()).is_empty());
    test.mount().succeeds();
    for n in 0..4 {
        Outcome::of(&mut install(n)).succeeds();
        test.python(&format!("import extra{n}.m0, extra{n}.m19")).succeeds();
    }
    test.python(IMPORT_BULK).succeeds().prints("True");
    assert_eq!(fs_err::read_to_string(&mine).unwrap(), "mine");
}
