//! What an environment imports.

use std::os::unix::fs::PermissionsExt;

use super::common::{Outcome, Sandbox, WheelBuilder, as_nobody, fuse, fuse_for_nobody, pythons, wait_until};
use super::{
    ALL, bytecode_below, cached, compile, compile_command, compiled_by, compiled_with, shelved, watched,
};
use super::{store, wheels, written};

#[test]
fn the_first_import_of_a_fresh_environment_compiles_nothing_with_any_python() {
    if !fuse() {
        return;
    }
    for python in pythons() {
        let test = Sandbox::with_venv("venv", &python).with_wheels(wheels());
        compile(&test).says("compiled 7 modules of 3 distributions");
        test.mount().succeeds();
        assert_eq!(compiled_by(&test, ALL), "", "{}", python.display());
        assert!(written(&test).is_empty(), "{:?}", written(&test));
        // Another environment, of another path, shares it.
        test.unmount().succeeds();
    }
}

#[test]
fn without_it_everything_is_compiled_as_ever() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(wheels());
    test.mount().succeeds();
    assert!(compiled_by(&test, ALL).contains("module.py"));
    assert_eq!(written(&test).len(), 7);
    assert_eq!(compiled_by(&test, ALL), "");
}

#[test]
fn tracebacks_and_sources_name_the_environment() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(wheels());
    compile(&test);
    test.mount().succeeds();
    let path = test.site_packages().join("shop/deep/module.py");
    let code = "import inspect, traceback, shop.deep.module as module
print(module.fail.__code__.co_filename, module.__file__, sep='\\n')
print(module.__spec__.cached)
print(inspect.getsource(module.fail).split()[0])
try:
    module.fail()
except ValueError:
    traceback.print_exc()";
    let said = test.python(code).succeeds();
    let lines: Vec<&str> = said.stdout.lines().collect();
    let text = path.to_str().unwrap();
    assert_eq!(lines[..2], [text, text]);
    assert!(lines[2].starts_with(test.site_packages().to_str().unwrap()), "{said}");
    assert_eq!(lines[3], "def");
    assert!(said.stderr.contains(&format!("File \"{text}\", line 2, in fail")), "{said}");
    assert!(said.stderr.contains("raise ValueError('on line 2')"), "{said}");
    let traced = test.python("import trace, sys\nt = trace.Trace(trace=0, count=1)\nimport shop.deep.module as m\ntry: t.runfunc(m.fail)\nexcept ValueError: pass\nprint(sorted(t.results().counts))");
    traced.succeeds().says(&format!("('{text}', 2)"));
}

#[test]
fn a_source_that_is_replaced_in_the_environment_counts_at_once() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(wheels());
    compile(&test);
    test.mount().succeeds();
    test.python("import shop; print(shop.word)").succeeds().prints("shop");
    assert_eq!(cached(&test, "shop").len(), 1);
    // As editors do it; with the same size and the same time, which is all that Python looks at.
    let source = test.site_packages().join("shop/__init__.py");
    let archived = fs_err::canonicalize(&source).unwrap();
    let replace = format!(
        "cp --remove-destination {0} {0}.new && sed -i s/shop/pohs/ {0}.new && touch -r {1} {0}.new && mv {0}.new {0}",
        source.display(),
        archived.display()
    );
    test.run("sh", &["-c", &replace]).succeeds();
    wait_until("the bytecode of what was replaced is gone", || cached(&test, "shop").is_empty());
    test.python("import shop; print(shop.word)").succeeds().prints("pohs");
    test.unmount().succeeds();
    test.mount().succeeds();
    test.python("import shop; print(shop.word)").succeeds().prints("pohs");
    assert!(!shelved(&test, "__init__").starts_with(&test.venv));
}

#[test]
fn a_source_that_is_written_to_or_made_anew_counts_at_once() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(wheels());
    compile(&test);
    test.mount_with(&["--entries", "mixed"]).succeeds();
    test.python("import shop, single; print(shop.word, single.word)").succeeds().prints("shop single");
    let (shop, single) =
        (test.site_packages().join("shop/__init__.py"), test.site_packages().join("single.py"));
    let append = format!("echo \"word = 'more'\" >> {}", shop.display());
    test.run("sh", &["-c", &append]).succeeds();
    fs_err::remove_file(&single).unwrap();
    test.python("import single").exits(1).says("ModuleNotFoundError");
    fs_err::write(&single, "word = 'anew'\n").unwrap();
    test.python("import shop, single; print(shop.word, single.word)").succeeds().prints("more anew");
    // Python keeps its own bytecode of them.
    assert_eq!(compiled_by(&test, "import shop, single"), "");
    test.python("import shop.deep.module, moved").succeeds();
}

#[test]
fn what_was_changed_in_the_cache_is_compiled_anew() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let wheels = wheels();
    let test = test.with_wheels(wheels.clone());
    compile(&test);
    fs_err::write(test.archive(&wheels[1]).join("single.py"), "word = 'changed'\n").unwrap();
    test.seal_cache();
    test.mount().succeeds();
    let there = cached(&test, "");
    assert!(there.iter().all(|name| !name.starts_with("single")), "{there:?}");
    assert!(there.iter().any(|name| name.starts_with("moved")), "{there:?}");
    test.python("import single; print(single.word)").succeeds().prints("changed");
    assert_eq!(compiled_by(&test, ALL), "");
}

#[test]
fn another_version_has_other_bytecode_and_so_has_another_interpreter() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(wheels());
    let other = WheelBuilder::new("single", "2.0").file("single.py", "word = 'newer'\n");
    test.unpack(&[other]);
    compile(&test);
    test.lock("shop==1.0\nsingle==2.0\nmoved==1.0");
    test.mount().succeeds();
    assert_eq!(compiled_by(&test, &format!("{ALL}; assert single.word == 'newer'")), "single.py");
    test.unmount().succeeds();
    compile(&test).says("compiled 1 module of 1 distribution").says("2 had been");

    let mut others = pythons();
    others.retain(|python| *python != test.python);
    let Some(python) = others.first() else { return };
    fs_err::remove_dir_all(&test.venv).unwrap();
    test.uv().venv(&test.venv, python);
    test.mount().succeeds();
    assert_eq!(cached(&test, ""), [""; 0]);
    test.python(ALL).succeeds();
    test.unmount().succeeds();
    compile(&test).says("compiled 7 modules of 3 distributions");
    test.seal_cache();
}

#[test]
fn an_interpreter_that_optimizes_has_its_own() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(wheels());
    Outcome::of(&mut compile_command(&test, &["--optimize", "1"])).succeeds();
    Outcome::of(compile_command(&test, &[]).env("PYTHONOPTIMIZE", "2")).succeeds().says("compiled 7");
    test.mount().succeeds();
    assert_eq!(cached(&test, "shop/deep").len(), 4);
    for level in ["1", "2"] {
        let mut optimized = test.python_command(&watched(ALL));
        assert_eq!(compiled_with(optimized.env("PYTHONOPTIMIZE", level)), "");
    }
    assert!(written(&test).is_empty());
    assert!(compiled_by(&test, ALL).contains("module.py"));
}

#[test]
fn pythons_variables_mean_what_they_mean_elsewhere() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(wheels());
    Outcome::of(compile_command(&test, &[]).env("SOURCE_DATE_EPOCH", "1")).succeeds();
    test.mount().succeeds();
    let mut reading = test.python_command(&watched(ALL));
    assert_eq!(compiled_with(reading.env("PYTHONDONTWRITEBYTECODE", "1")), "");
    let prefix = test.root().join("prefix");
    let mut elsewhere = test.python_command(&watched(ALL));
    assert!(compiled_with(elsewhere.env("PYTHONPYCACHEPREFIX", &prefix)).contains("module.py"));
    let of_test =
        bytecode_below(&prefix).into_iter().filter(|path| path.to_string_lossy().contains("site-packages"));
    assert_eq!(of_test.count(), 7);
    assert!(written(&test).is_empty());
}

#[test]
fn what_python_wrote_in_the_environment_comes_first() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(wheels());
    test.mount().succeeds();
    test.python("import single").succeeds();
    test.unmount().succeeds();
    compile(&test);
    test.mount().succeeds();
    let cache = test.site_packages().join("__pycache__");
    let is_link = |module: &str| {
        let names = cached(&test, "").into_iter().find(|name| name.starts_with(module)).unwrap();
        fs_err::symlink_metadata(cache.join(names)).unwrap().is_symlink()
    };
    assert!(!is_link("single") && is_link("moved"));
    assert_eq!(compiled_by(&test, ALL), "");
}

#[test]
fn bytecode_that_is_not_whole_is_not_shown() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let test = test.with_wheels(wheels());
    compile(&test);
    let (cut, removed) = (shelved(&test, "single."), shelved(&test, "moved."));
    let whole = fs_err::read(&cut).unwrap();
    fs_err::remove_file(&cut).unwrap();
    fs_err::write(&cut, &whole[..whole.len() / 2]).unwrap();
    fs_err::remove_file(&removed).unwrap();
    test.mount().succeeds();
    assert_eq!(compiled_by(&test, ALL), "moved.py single.py");
    assert_eq!(written(&test).len(), 2);
    assert_eq!(compiled_by(&test, ALL), "");
    // What is left of a folder without its index counts for nothing.
    test.unmount().succeeds();
    for index in super::files(&store(&test)).into_iter().filter(|path| path.ends_with("index.json")) {
        fs_err::write(index, "{\"archive\":").unwrap();
    }
    test.mount().succeeds();
    assert!(compiled_by(&test, ALL).contains("module.py"));
}

#[test]
fn nobody_writes_the_store_through_an_environment() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels(wheels());
    compile(&test);
    test.mount().succeeds();
    let shelved = shelved(&test, "single.");
    let before = fs_err::read(&shelved).unwrap();
    let shown = test.site_packages().join("__pycache__").join(shelved.file_name().unwrap());
    let mut append = test.command("sh");
    append.args(["-c", &format!("cat {0} > /dev/null && echo x >> {0}", shown.display())]);
    Outcome::of(&mut as_nobody(&append)).exits(2).says("ermission denied");
    assert_eq!(fs_err::read(&shelved).unwrap(), before);
    for path in bytecode_below(&store(&test)) {
        assert_eq!(fs_err::metadata(path).unwrap().permissions().mode() & 0o222, 0);
    }
}
