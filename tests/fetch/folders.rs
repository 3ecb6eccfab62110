//! Folders of wheels, and stores, which pip fills.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::common::{
    GREET, Outcome, Running, Sandbox, WheelBuilder, fuse, fuse_for_nobody, pythons, run_arguments, skip,
};
use super::{Fetching, other, uv};

pub(crate) const BOTH: [&str; 2] = ["greet-1.0-py3-none-any.whl", "other-2.0-py3-none-any.whl"];

#[test]
fn pip_fills_a_folder_of_wheels_with_what_is_missing_and_no_more() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(None).with_pip().with_wheelhouse();
    Outcome::of(&mut fetching.mount(&[])).fails().says("other==2.0");
    assert!(fetching.index.requests().is_empty());
    Outcome::of(&mut fetching.mount(&["--fetch"])).succeeds().says("pip gets 1 of 2 distributions");
    fetching.is_complete();
    assert_eq!(fetching.listed(), BOTH);
    let bytes = |folder: &Path| fs_err::read(folder.join(BOTH[1])).unwrap();
    assert_eq!(bytes(&fetching.test.cache), bytes(&fetching.test.root().join("served")));
    let requests = fetching.index.requests();
    assert!(!requests.iter().any(|path| path.contains("greet")), "{requests:?}");
    fetching.test.unmount().succeeds();
    Outcome::of(&mut fetching.mount(&["--fetch"])).succeeds().says_nothing_of("pip gets");
    assert_eq!(fetching.index.requests(), requests);
}

#[test]
fn pip_fills_a_store() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(None).with_pip().with_store();
    let arguments = run_arguments(&fetching.test, &["--fetch"], &["python", "-c", GREET]);
    Outcome::of(&mut fetching.sitefs(arguments)).succeeds().prints("hello").says("pip gets 1 of 2");
    let arguments = ["cache", "verify", "--store"].map(OsStr::new);
    let verified = fetching.test.sitefs(arguments.into_iter().chain([fetching.test.cache.as_os_str()]));
    verified.succeeds().says("2 wheels");
}

/// Hashes are the lock's, the words pip's; and a wheel that is there is not replaced.
#[test]
fn what_pip_may_not_or_cannot_get_is_said_and_nothing_is_left() {
    for fetching in [Fetching::new(None).with_wheelhouse(), Fetching::new(None).with_store()] {
        let fetching = fetching.with_pip();
        let (before, listed) = (fetching.test.environment(), fetching.listed());
        fetching.with_another_hash();
        let outcome = Outcome::of(&mut fetching.mount(&["--fetch"])).fails();
        outcome.says("DO NOT MATCH THE HASHES").says("pip did not get 1 of 2 distributions");
        fetching.test.lock("greet==1.0\nabsent==1.0");
        Outcome::of(&mut fetching.mount(&["--fetch"]))
            .fails()
            .says("No matching distribution found for absent");
        fetching.test.nothing_left(&before);
        assert_eq!(fetching.listed(), listed);
    }
    let fetching = Fetching::new(None).with_pip().with_wheelhouse();
    let swapped = other().file("more.py", "").build(&fetching.test.cache);
    let bytes = fs_err::read(&swapped).unwrap();
    Outcome::of(&mut fetching.mount(&["--fetch"])).fails().says("is there, and is not what was got");
    assert_eq!(fs_err::read(&swapped).unwrap(), bytes);
    assert_eq!(fetching.listed(), BOTH);
}

#[test]
fn pip_is_the_one_of_the_environment_where_path_has_none_else_the_one_that_uv_runs() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(None).with_pip().with_wheelhouse();
    // The system may have a pip of its own. Who is not root mounts with fusermount3, and what uv installs starts with the others.
    let tools = fetching.tool().parent().unwrap().to_path_buf();
    for name in ["fusermount3", "realpath", "dirname"] {
        symlink(Path::new("/usr/bin").join(name), tools.join(name)).unwrap();
    }
    let mount = |options: &[&str]| {
        let mut command = fetching.mount(options);
        command.env("PATH", &tools);
        command
    };
    let on_path = fetching.tool().with_file_name("pip");
    fs_err::rename(&on_path, fetching.test.venv.join("bin/pip")).unwrap();
    Outcome::of(&mut mount(&["--fetch", "-q"])).succeeds();
    fetching.is_complete();
    fetching.test.unmount().succeeds();
    fs_err::remove_file(fetching.test.venv.join("bin/pip")).unwrap();
    fs_err::remove_file(fetching.test.cache.join(BOTH[1])).unwrap();
    let outcome = Outcome::of(&mut mount(&["--fetch"])).fails();
    outcome.says("neither pip nor uv is there, on PATH or in");
    // uv gets pip as it gets everything: from its index.
    let code = "import ensurepip, glob, os; print(*glob.glob(os.path.dirname(ensurepip.__file__) + '/_bundled/pip-*.whl'))";
    let bundled = fetching.test.run(&fetching.test.python, &["-c", code]).succeeds().stdout;
    let bundled = Path::new(bundled.trim());
    let served = fetching.test.root().join("served").join(bundled.file_name().unwrap());
    fs_err::copy(bundled, served).unwrap();
    symlink(uv(), fetching.tool()).unwrap();
    Outcome::of(&mut mount(&["--fetch"])).succeeds();
    fetching.is_complete();
}

/// Nothing says what it is to become.
#[test]
fn an_empty_folder_becomes_a_cache_of_uvs() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(None);
    fs_err::remove_dir_all(&fetching.test.cache).unwrap();
    fs_err::create_dir(&fetching.test.cache).unwrap();
    Outcome::of(&mut fetching.mount(&["--fetch"])).succeeds().says("uv gets 2 of 2 distributions");
    fetching.is_complete();
    assert!(fetching.test.cache.join("archive-v0").is_dir());
}

/// Each has an environment of its own; what both got is there once.
#[test]
fn two_that_fill_one_folder_at_once_both_succeed() {
    if !fuse() {
        return;
    }
    for attempt in 0..3 {
        let fetching = Fetching::new(None).with_pip().with_wheelhouse();
        let mut both = both_run(&fetching, "import greet, other; print(greet.word, other.word)");
        for one in &mut both {
            one.says("hello other");
            assert_eq!(one.ends(), Some(0), "attempt {attempt}");
        }
        assert_eq!(fetching.listed(), BOTH);
    }
}

/// What is built twice is never the same twice.
#[test]
fn two_that_build_the_same_at_once_both_succeed() {
    if !fuse() {
        return;
    }
    let fetching = Fetching::new(None).with_pip().with_wheelhouse();
    let tree = super::source_tree(&fetching.test.root(), "time.sleep(0.5) or time.time_ns()");
    fetching.test.lock(&format!("tree @ file://{}\ngreet==1.0", tree.display()));
    let mut both = both_run(&fetching, "import tree; print(tree.word)");
    let said = both.each_mut().map(|one| (one.line(), one.ends()));
    let [(first, Some(0)), (second, Some(0))] = said else { panic!("{said:?}") };
    assert_eq!(first, second, "both use what is there");
    assert_eq!(fetching.listed(), [BOTH[0], "tree-1-py3-none-any.whl"]);
}

fn both_run(fetching: &Fetching, code: &str) -> [Running; 2] {
    let test = &fetching.test;
    let another = test.root().join("another");
    test.onlooking_uv().venv(&another, &test.python);
    [&test.venv, &another].map(|venv| {
        let mut command = fetching.sitefs(["run", "--fetch", "--venv"]);
        command.arg(venv).arg("--cache").arg(&test.cache).arg("-r").arg(&test.requirements);
        Running::of({
            command.args(["--", "python", "-c", code]);
            command
        })
    })
}

#[test]
fn a_folder_that_cannot_be_written_is_said_and_nobody_is_asked() {
    if !fuse_for_nobody() {
        return;
    }
    for fetching in [
        Fetching::in_sandbox(Sandbox::for_nobody(), None).with_wheelhouse(),
        Fetching::in_sandbox(Sandbox::for_nobody(), None).with_store(),
    ] {
        let fetching = fetching.with_pip();
        let cache = &fetching.test.cache;
        fetching.test.run("chown", &["-hR", "0:0", cache.to_str().unwrap()]).succeeds();
        let (before, listed) = (fetching.test.environment(), fetching.listed());
        let outcome = Outcome::of(&mut fetching.mount(&["--fetch"])).fails();
        outcome
            .says(&format!("{} cannot be written: 1 of 2 distributions are missing", cache.display()))
            .says("have who may write there get them, or take another cache");
        fetching.test.nothing_left(&before);
        assert_eq!(fetching.listed(), listed);
        assert!(fetching.index.requests().is_empty());
    }
}

/// A wheel that was built has another hash than its source.
#[test]
fn what_has_hashes_is_not_built_and_what_is_editable_is_not_got() {
    let fetching = Fetching::new(None).with_pip().with_wheelhouse();
    let root = fetching.test.root();
    let tree = super::source_tree(&root, "open(os.environ['HOME'] + '/built', 'w').close()");
    let archive = root.join("served/tree-1.tar.gz");
    let mut pack = Command::new("tar");
    pack.arg("-czf").arg(&archive).args(["--transform", "s,^tree,tree-1,", "-C"]).arg(&root).arg("tree");
    Outcome::of(&mut pack).succeeds();
    let (before, listed) = (fetching.test.environment(), fetching.listed());
    fetching.test.lock(&format!("greet==1.0\ntree==1 --hash=sha256:{}", super::sha256(&archive)));
    Outcome::of(&mut fetching.mount(&["--fetch"])).fails().says("No matching distribution found for tree==1");
    assert!(!fetching.test.home().join("built").exists());
    let asked = fetching.index.requests();
    fetching.test.lock(&format!("greet==1.0\n-e file://{}", tree.display()));
    Outcome::of(&mut fetching.mount(&["--fetch"])).fails().says("not in the cache").says("tree");
    assert_eq!(fetching.index.requests(), asked);
    fetching.test.nothing_left(&before);
    assert_eq!(fetching.listed(), listed);
    // Without hashes, it is.
    fetching.test.lock("greet==1.0\ntree==1");
    Outcome::of(&mut fetching.mount(&["--fetch", "--link-mode", "symlink"])).succeeds();
    assert!(fetching.test.home().join("built").exists());
}

/// The interpreter is the environment's, whichever is the first on PATH.
#[test]
fn wheels_are_got_for_the_interpreter_of_the_environment() {
    let others = pythons();
    let [_, .., another] = others.as_slice() else {
        skip("there is only one Python");
        return;
    };
    let code = "import sys; print(f'cp{sys.version_info[0]}{sys.version_info[1]}')";
    let tag = Outcome::of(Command::new(another).args(["-I", "-c", code])).succeeds().stdout;
    let fitting = WheelBuilder::new("fits", "1.0").tags(&format!("{}-none-any", tag.trim()));
    let fitting = fitting.file("fits.py", "word = 'fits'\n");
    let of = || Fetching::in_sandbox(Sandbox::with_venv("venv", another), None);
    for fetching in [of(), of().with_pip().with_wheelhouse(), of().with_pip().with_store()] {
        fitting.build(&fetching.test.root().join("served"));
        fetching.test.lock("greet==1.0\nfits==1.0");
        Outcome::of(&mut fetching.mount(&["--fetch", "--link-mode", "symlink"])).succeeds();
        fetching.test.python("import fits; print(fits.word)").succeeds().prints("fits");
    }
}
