//! Native libraries of one wheel that find those of another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Libraries, Outcome, Sandbox, WheelBuilder, compile};

#[test]
fn a_library_finds_one_of_another_wheel_by_origin() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let Some(wheels) = Libraries::in_two_wheels(&test.root().join("build")) else { return };
    let test = test.with_wheels(wheels);
    test.mount().succeeds();
    test.python(&Libraries::call("lib")).succeeds().prints("42");
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
