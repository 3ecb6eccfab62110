//! What pip, uv and compileall make of it.

use super::common::{Outcome, Sandbox, pip, wait_until};
use super::{ALL, cached, compile, compiled_by, store, wheels, written};

fn mounted() -> Option<Sandbox> {
    let test = Sandbox::with_fuse()?.with_wheels(wheels());
    compile(&test);
    test.mount().succeeds();
    assert_eq!(compiled_by(&test, ALL), "");
    Some(test)
}

#[test]
fn uninstalling_leaves_nothing_of_it() {
    for with_pip in [true, false] {
        let Some(test) = mounted() else { return };
        let before = super::files(&store(&test));
        if with_pip {
            Outcome::of(&mut pip(&test.venv, &test.home(), &["uninstall", "-y", "-q", "shop", "single"]))
                .succeeds();
        } else {
            let uv = test.onlooking_uv();
            let mut uninstall = uv.command(["pip", "uninstall", "--quiet", "shop", "single", "--python"]);
            Outcome::of(uninstall.arg(test.venv.join("bin/python"))).succeeds();
        }
        let left = |test: &Sandbox| {
            assert!(!test.site_packages().join("shop").exists(), "with pip: {with_pip}");
            let single = cached(test, "").into_iter().filter(|name| name.starts_with("single")).count();
            assert_eq!(compiled_by(test, "import moved"), "");
            single
        };
        // uv never looks for bytecode in site-packages itself.
        assert_eq!(left(&test), if with_pip { 0 } else { 1 });
        test.unmount().succeeds();
        test.mount().succeeds();
        assert_eq!(left(&test), 0, "with pip: {with_pip}");
        assert_eq!(super::files(&store(&test)), before);
    }
}

#[test]
fn a_directory_of_bytecode_that_is_removed_comes_back_with_the_next_mount() {
    let Some(test) = mounted() else { return };
    fs_err::remove_dir_all(test.site_packages().join("shop/__pycache__")).unwrap();
    assert_eq!(compiled_by(&test, ALL), "__init__.py");
    assert_eq!(compiled_by(&test, ALL), "");
    assert_eq!(written(&test).len(), 1);
    fs_err::remove_dir_all(test.site_packages().join("shop/__pycache__")).unwrap();
    test.unmount().succeeds();
    test.mount().succeeds();
    assert_eq!(compiled_by(&test, ALL), "");
    assert!(written(&test).is_empty());
}

#[test]
fn compileall_finds_all_done() {
    let Some(test) = mounted() else { return };
    let site_packages = test.site_packages();
    test.run(test.venv.join("bin/python"), &["-m", "compileall", "-q", site_packages.to_str().unwrap()])
        .succeeds();
    assert!(written(&test).is_empty());
}

#[test]
fn link_modes_have_only_what_python_writes_there() {
    let test = Sandbox::new().with_wheels(wheels());
    compile(&test);
    test.mount_with(&["--link-mode", "symlink"]).succeeds();
    assert_eq!(cached(&test, "shop"), [""; 0]);
    test.python(ALL).succeeds();
    test.unmount().succeeds();
    wait_until("its bytecode went with it", || !test.site_packages().join("shop").exists());
}
