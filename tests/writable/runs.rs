//! Several `sitefs run` in one environment, each with a server of its own: what they see of each other.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use crate::common::{Sandbox, WheelBuilder, run_arguments};
use crate::sandbox;

/// A Python in a `sitefs run`, which does as it is told.
struct Shell {
    child: Child,
}

impl Shell {
    fn start(test: &Sandbox) -> Self {
        let code = "import os, sys, sysconfig\nos.chdir(sysconfig.get_path('purelib'))\nprint('ready', flush=True)\n\
                    for line in sys.stdin:\n  try: print(repr(eval(line)), flush=True)\n  except OSError as e: print(type(e).__name__, flush=True)";
        let mut command = test.sitefs_command(run_arguments(test, &[], &["python", "-c", code]));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut shell = Self { child };
        assert_eq!(shell.answer(), "ready");
        shell
    }

    fn says(&mut self, expression: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{expression}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ends(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_name_that_another_run_made_is_found_when_it_is_made_here() {
    let Some(test) = sandbox() else { return };
    let (mut one, mut other) = (Shell::start(&test), Shell::start(&test));
    for shell in [&mut one, &mut other] {
        assert_eq!(
            shell.says("os.path.exists('own.py'), os.path.exists('own'), os.path.exists('excl.py')"),
            "(False, False, False)"
        );
    }
    assert_eq!(one.says("open('own.py', 'w').write('one')"), "3");
    assert_eq!(one.says("os.mkdir('own')"), "None");
    assert_eq!(one.says("open('excl.py', 'x').write('one')"), "3");
    assert_eq!(other.says("open('own.py', 'a').write(' and other')"), "10");
    assert_eq!(other.says("open('own.py').read()"), "'one and other'");
    assert_eq!(other.says("os.mkdir('own')"), "FileExistsError");
    assert_eq!(other.says("os.listdir('own')"), "[]");
    assert_eq!(other.says("open('excl.py', 'x')"), "FileExistsError");
    assert_eq!(other.says("open('excl.py').read()"), "'one'");
    assert_eq!(other.says("open('own.py', 'w').write('other')"), "5");
    assert_eq!(other.says("open('own/new.py', 'w').write('new')"), "3");
    one.ends();
    other.ends();
    let read = |path: &str| fs_err::read_to_string(test.site_packages().join(path)).unwrap();
    assert_eq!(
        (read("own.py"), read("own/new.py"), read("excl.py")),
        ("other".into(), "new".into(), "one".into())
    );
}

#[test]
fn a_name_that_another_run_removed_is_gone_when_it_is_used_here() {
    let Some(test) = sandbox() else { return };
    for name in ["a.py", "b.py", "c.py"] {
        fs_err::write(test.site_packages().join(name), name).unwrap();
    }
    fs_err::create_dir(test.site_packages().join("folder")).unwrap();
    let (mut one, mut other) = (Shell::start(&test), Shell::start(&test));
    for shell in [&mut one, &mut other] {
        assert_eq!(shell.says("all(map(os.path.exists, ['a.py', 'b.py', 'c.py', 'folder']))"), "True");
    }
    assert_eq!(one.says("[os.remove(name) for name in ['a.py', 'b.py', 'c.py']]"), "[None, None, None]");
    assert_eq!(one.says("os.rmdir('folder')"), "None");
    assert_eq!(other.says("os.remove('a.py')"), "FileNotFoundError");
    assert_eq!(other.says("os.rename('b.py', 'd.py')"), "FileNotFoundError");
    assert_eq!(other.says("os.rmdir('folder')"), "FileNotFoundError");
    assert_eq!(other.says("any(map(os.path.exists, ['a.py', 'b.py', 'folder']))"), "False");
    assert_eq!(other.says("open('a.py', 'w').write('again')"), "5");
    one.ends();
    other.ends();
    assert_eq!(fs_err::read_to_string(test.site_packages().join("a.py")).unwrap(), "again");
}

#[test]
fn what_several_runs_remove_at_once_all_stays_removed() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let wheel =
        (0..200).fold(WheelBuilder::new("many", "1.0"), |it, n| it.file(&format!("many/m{n}.py"), ""));
    let test = test.with_wheels([wheel]);
    let mut shells: Vec<Shell> = (0..4).map(|_| Shell::start(&test)).collect();
    for (number, shell) in shells.iter_mut().enumerate() {
        let code = format!("[os.remove(f'many/m{{n}}.py') for n in range({number}, 200, 4)]");
        writeln!(shell.child.stdin.as_mut().unwrap(), "{code}").unwrap();
    }
    for mut shell in shells {
        assert!(shell.answer().starts_with("[None"));
        shell.ends();
    }
    test.mount().succeeds();
    assert_eq!(fs_err::read_dir(test.site_packages().join("many")).unwrap().count(), 0);
    let journal = fs_err::read_to_string(test.venv.join(".sitefs/whiteouts")).unwrap();
    assert_eq!(journal.lines().filter(|line| line.contains(" removed many==1.0 many/m")).count(), 200);
}
