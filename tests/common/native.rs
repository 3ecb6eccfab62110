//! Native libraries, compiled here.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::Outcome;
use super::skip;
use super::wheel::WheelBuilder;

/// `libNAME.so` made of this source; none, said loudly, without a C compiler.
pub fn compile(folder: &Path, name: &str, source: &str, arguments: &[&str]) -> Option<PathBuf> {
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

/// A program that prints its name; none, said loudly, without a C compiler.
pub fn compile_program(folder: &Path, name: &str, arguments: &[&str]) -> Option<PathBuf> {
    if Command::new("gcc").arg("--version").output().is_err() {
        skip("gcc is missing");
        return None;
    }
    fs_err::create_dir_all(folder).unwrap();
    let (code, program) = (folder.join(format!("{name}.c")), folder.join(name));
    fs_err::write(&code, format!("#include <stdio.h>\nint main(void) {{ return puts(\"{name}\") < 0; }}\n"))
        .unwrap();
    Outcome::of(Command::new("gcc").arg("-o").arg(&program).arg(&code).args(arguments)).succeeds();
    Some(program)
}

/// Two libraries, one of which needs the other.
pub struct Libraries {
    /// The one that needs the other.
    pub one: PathBuf,
    /// The other.
    pub other: PathBuf,
}

impl Libraries {
    /// `one` looks for the other in this search path.
    pub fn compiled(folder: &Path, search_path: &str) -> Option<Self> {
        let other = compile(folder, "other", "int other(void) { return 41; }", &[])?;
        let source = "int other(void); int one(void) { return other() + 1; }";
        let needs_other = [other.to_str().unwrap(), &format!("-Wl,-rpath,{search_path}")];
        let one = compile(folder, "one", source, &needs_other)?;
        Some(Self { one, other })
    }

    /// As nvidia's wheels do: `one/lib/libone.so` needs `other/lib/libother.so`, which another wheel brings.
    pub fn in_two_wheels(folder: &Path) -> Option<[WheelBuilder; 2]> {
        let Self { one, other } = Self::compiled(folder, "$ORIGIN/../../other/lib")?;
        let wheel = |name: &str, library: &Path| {
            WheelBuilder::new(name, "1.0")
                .file(&format!("{name}/__init__.py"), "")
                .file(&format!("{name}/lib/lib{name}.so"), fs_err::read(library).unwrap())
        };
        Some([wheel("one", &one), wheel("other", &other)])
    }

    /// As auditwheel makes them: `one/core/libone.so` needs `one.libs/libother.so` of the same wheel.
    pub fn in_one_wheel(folder: &Path) -> Option<WheelBuilder> {
        let Self { one, other } = Self::compiled(folder, "$ORIGIN/../../one.libs")?;
        let wheel = WheelBuilder::new("one", "1.0")
            .file("one/__init__.py", "")
            .file("one/core/libone.so", fs_err::read(one).unwrap())
            .file("one.libs/libother.so", fs_err::read(other).unwrap());
        Some(wheel)
    }

    /// Python that calls the one and so the other: prints 42.
    pub fn call(folder: &str) -> String {
        format!(
            "import ctypes, one, pathlib; \
             library = ctypes.CDLL(pathlib.Path(one.__file__).parent / '{folder}/libone.so'); print(library.one())"
        )
    }
}
