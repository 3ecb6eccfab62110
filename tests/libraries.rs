//! Native libraries of one wheel that find those of another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Outcome, Sandbox, WheelBuilder, skip};

/// As nvidia's wheels do: `one/lib/libone.so` needs `other/lib/libother.so`, which another wheel brings.
#[test]
fn a_library_finds_one_of_another_wheel_by_origin() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let Some(libraries) = Libraries::compiled(&test.root().join("build")) else {
        return;
    };
    let test = test.with_wheels(libraries.wheels());
    test.mount().succeeds();
    let call = "import ctypes, one, pathlib; \
        library = ctypes.CDLL(pathlib.Path(one.__file__).parent / 'lib/libone.so'); print(library.one())";
    test.python(call).succeeds().prints("42");
}

#[test]
fn two_libraries_of_the_same_name_in_two_wheels_stay_two() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let folder = test.root().join("build");
    let Some(first) = compile(&folder, "first", "int answer(void) { return 1; }", &[]) else {
        return;
    };
    let Some(second) = compile(&folder, "second", "int answer(void) { return 2; }", &[]) else {
        return;
    };
    let wheel = |name: &str, library: &Path| {
        let bytes = fs_err::read(library).unwrap();
        WheelBuilder::new(name, "1.0")
            .file(&format!("{name}/__init__.py"), "")
            .file(&format!("{name}/lib.so"), bytes)
    };
    let test = test.with_wheels([wheel("first", &first), wheel("second", &second)]);
    test.mount().succeeds();
    let call = "import ctypes, first, second; \
        print(*(ctypes.CDLL(package.__path__[0] + '/lib.so').answer() for package in (first, second)))";
    test.python(call).succeeds().prints("1 2");
}

/// An ELF program reached by a link loses `$ORIGIN/../lib`, so programs must be real files in `bin/`.
#[test]
fn a_program_of_a_wheel_finds_its_library_by_origin() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let folder = test.root().join("build");
    let Some(library) = compile(&folder, "tool", "int answer(void) { return 7; }", &[]) else {
        return;
    };
    let source = folder.join("main.c");
    fs_err::write(&source, "int answer(void); int main(void) { return answer(); }").unwrap();
    let program = folder.join("tool");
    let mut gcc = Command::new("gcc");
    gcc.arg("-o").arg(&program).arg(&source).arg(&library).arg("-Wl,-rpath,$ORIGIN/../lib/tool");
    Outcome::of(&mut gcc).succeeds();
    let wheel = WheelBuilder::new("tool", "1.0")
        .data("scripts/tool", fs_err::read(&program).unwrap())
        .data("data/lib/tool/libtool.so", fs_err::read(&library).unwrap());
    let test = test.with_wheels([wheel]);
    test.mount().succeeds();
    test.run(test.venv.join("bin/tool"), &[]).exits(7);
}

struct Libraries {
    one: PathBuf,
    other: PathBuf,
}

impl Libraries {
    fn compiled(folder: &Path) -> Option<Self> {
        let other = compile(folder, "other", "int other(void) { return 41; }", &[])?;
        let source = "int other(void); int one(void) { return other() + 1; }";
        let needs_other = [other.to_str().unwrap(), "-Wl,-rpath,$ORIGIN/../../other/lib"];
        let one = compile(folder, "one", source, &needs_other)?;
        Some(Self { one, other })
    }

    fn wheels(&self) -> [WheelBuilder; 2] {
        let wheel = |name: &str, library: &Path| {
            WheelBuilder::new(name, "1.0")
                .file(&format!("{name}/__init__.py"), "")
                .file(&format!("{name}/lib/lib{name}.so"), fs_err::read(library).unwrap())
        };
        [wheel("one", &self.one), wheel("other", &self.other)]
    }
}

/// `libNAME.so` made of this source; none, said loudly, without a C compiler.
fn compile(folder: &Path, name: &str, source: &str, arguments: &[&str]) -> Option<PathBuf> {
    if Command::new("gcc").arg("--version").output().is_err() {
        skip("gcc is missing");
        return None;
    }
    fs_err::create_dir_all(folder).unwrap();
    let (code, library) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
    fs_err::write(&code, source).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code).args(arguments);
    gcc.arg(format!("-Wl,-soname,lib{name}.so"));
    Outcome::of(&mut gcc).succeeds();
    Some(library)
}
