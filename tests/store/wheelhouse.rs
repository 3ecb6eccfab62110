//! A folder of wheels as CACHE.

use std::ffi::OsStr;

use crate::common::{Running, Sandbox, WheelBuilder, kill, run_arguments, wait_until};
use crate::{GREET, archives, cache, greet, leftovers, other, store, with_wheelhouse};

fn sandbox() -> Option<Sandbox> {
    Some(with_wheelhouse(Sandbox::with_fuse()?, &[greet(), other()]))
}

#[test]
fn wheels_are_unpacked_when_first_needed_and_never_again() {
    let Some(test) = sandbox() else { return };
    test.lock("greet==1.0");
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.run(test.venv.join("bin/greet"), &[]).succeeds().prints("hello");
    test.run(test.venv.join("bin/hail"), &[]).succeeds().prints("hello");
    // What the lock does not need stays unopened.
    let unpacked = archives(&store(&test));
    assert_eq!(unpacked.len(), 1);
    test.unmount().succeeds();
    test.mount().succeeds();
    assert_eq!(archives(&store(&test)), unpacked);
    assert_eq!(leftovers(&store(&test)).len(), 0);
    test.unmount().succeeds();
}

#[test]
fn a_second_mount_opens_no_wheel() {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    test.unmount().succeeds();
    let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, test.cache.as_path(), WatchFlags::OPEN).unwrap();
    let opened_wheels = || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        let mut names = Vec::new();
        while let Ok(event) = events.next() {
            assert!(event.events().contains(ReadFlags::OPEN));
            names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
        names.retain(|name| name.ends_with(".whl"));
        names
    };
    test.mount().succeeds();
    assert_eq!(opened_wheels(), [""; 0]);
    test.unmount().succeeds();
    // What was written again is read again, although it is the same.
    let wheel = test.cache.join("greet-1.0-py3-none-any.whl");
    let bytes = fs_err::read(&wheel).unwrap();
    fs_err::write(&wheel, bytes).unwrap();
    opened_wheels();
    test.mount().succeeds();
    assert_eq!(opened_wheels(), ["greet-1.0-py3-none-any.whl"]);
}

#[test]
fn without_a_lock_a_wheelhouse_with_one_version_of_each_is_the_lock() {
    let Some(test) = sandbox() else { return };
    fs_err::remove_file(&test.requirements).unwrap();
    let mount = || test.sitefs([OsStr::new("mount"), test.venv.as_os_str(), test.cache.as_os_str()]);
    mount().succeeds().says("mounted 2 distributions");
    test.python("import greet, other; print(other.word)").succeeds().prints("other");
    test.sitefs([OsStr::new("status"), test.venv.as_os_str()])
        .succeeds()
        .says("2, from the wheels in the cache");
    test.unmount().succeeds();
    // The same again, without a word.
    test.sitefs([OsStr::new("mount"), test.venv.as_os_str()]).succeeds().says("mounted 2 distributions");
    test.unmount().succeeds();
    WheelBuilder::new("other", "3.0").build(&test.cache);
    test.seal_cache();
    mount().fails().says("other 2.0, 3.0").says("-r");
}

#[test]
fn what_is_missing_is_told_at_once_with_the_command_that_gets_it() {
    let Some(test) = sandbox() else { return };
    let before = test.environment();
    test.lock("greet==1.0\nother==3.0\nabsent-one==1.0\nabsent-two==2.0");
    test.mount()
        .fails()
        .says("absent-one==1.0")
        .says("absent-two==2.0")
        .says("only other versions: 2.0")
        .says("download --only-binary :all: -d")
        .says(test.cache.to_str().unwrap())
        .says_nothing_of("greet==");
    test.nothing_left(&before);
    // Nothing was unpacked in vain.
    assert_eq!(archives(&store(&test)).len(), 0);
}

#[test]
fn the_best_wheel_by_tags_wins_and_one_for_another_python_is_none() {
    let Some(test) = Sandbox::with_fuse() else { return };
    let wheel = |tags: &str| {
        WheelBuilder::new("greet", "1.0").tags(tags).file("greet.py", format!("word = '{tags}'\n"))
    };
    let test =
        with_wheelhouse(test, &[wheel("py3-none-any"), wheel("cp30-none-any"), wheel("py2.py3-none-any")]);
    let folder = test.cache.join("deeper/down");
    let built = WheelBuilder::new("greet", "1.0").file("greet.py", "word = 'build 1'\n").build(&folder);
    fs_err::rename(built, folder.join("greet-1.0-1-py3-none-any.whl")).unwrap();
    test.seal_cache();
    test.lock("greet==1.0");
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("build 1");
    test.unmount().succeeds();
    let only = with_wheelhouse(Sandbox::new(), &[wheel("cp30-none-any")]);
    only.mount().fails().says("greet==1.0").says("cp30-none-any");
}

#[test]
fn the_hashes_of_the_lock_count() {
    let Some(test) = sandbox() else { return };
    let wheel = test.cache.join("greet-1.0-py3-none-any.whl");
    let digest = test.run("sha256sum", &[wheel.to_str().unwrap()]).succeeds().stdout;
    let right = format!("greet==1.0 --hash=sha256:{}", digest.split(' ').next().unwrap());
    let before = test.environment();
    test.lock(&format!("greet==1.0 --hash=sha256:{}", "0".repeat(64)));
    test.mount().fails().says("greet==1.0").says("hash");
    test.nothing_left(&before);
    assert_eq!(archives(&store(&test)).len(), 0);
    test.lock(&right);
    test.mount().succeeds();
    test.unmount().succeeds();
    // A wheel of that name with other content, although the first one is known and unpacked: what is mounted is what
    // the lock says, or nothing.
    greet().file("greet/evil.py", "").build(&test.cache);
    test.seal_cache();
    test.mount().fails().says("greet==1.0").says("hash");
    test.lock("greet==1.0");
    test.mount().succeeds();
    test.python("import greet.evil").succeeds();
    test.unmount().succeeds();
}

#[test]
fn the_store_is_a_cache_too() {
    let Some(mut test) = sandbox() else { return };
    let wheelhouse = test.cache.clone();
    test.cache = test.root().join("store");
    let add = [OsStr::new("add"), OsStr::new("--store"), test.cache.as_os_str(), wheelhouse.as_os_str()];
    cache(&test, add).succeeds().says("added 2 wheels");
    cache(&test, add).succeeds().says("added 0 wheels").says("2 had been there");
    test.unseal_cache();
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
    test.lock("greet==1.0\nabsent==1.0");
    test.mount().fails().says("absent==1.0").says("sitefs cache add --store");
    test.lock(&format!("greet==1.0 --hash=sha256:{}", "0".repeat(64)));
    test.mount().fails().says("hash");
    let list = cache(
        &test,
        [OsStr::new("list"), OsStr::new("--json"), OsStr::new("--store"), test.cache.as_os_str()],
    );
    let list = list.succeeds().json();
    assert_eq!(list["wheels"][0]["name"], "greet");
    assert_eq!(list["wheels"][0]["wheel"], "greet-1.0-py3-none-any.whl");
    assert_eq!(list["wheels"][1]["version"], "2.0");
}

#[test]
fn a_folder_with_something_else_in_it_does_not_become_a_store() {
    let test = Sandbox::new();
    let wheel = greet().build(&test.root());
    let home = test.root().join("documents");
    fs_err::create_dir(&home).unwrap();
    fs_err::write(home.join("letter.txt"), "").unwrap();
    let arguments = [OsStr::new("add"), OsStr::new("--store"), home.as_os_str(), wheel.as_os_str()];
    cache(&test, arguments).fails().says("letter.txt").says("SITEFS_STORE");
    assert_eq!(fs_err::read_dir(&home).unwrap().count(), 1);
    fs_err::remove_file(home.join("letter.txt")).unwrap();
    fs_err::create_dir(home.join("lost+found")).unwrap();
    cache(&test, arguments).succeeds();
}

/// `run` holds signals until its command runs, and unpacking may take minutes.
#[test]
fn a_signal_ends_run_while_it_unpacks() {
    let many = |number: usize| {
        let wheel = WheelBuilder::new(&format!("many{number}"), "1.0");
        (0..100).fold(wheel, |wheel, file| wheel.file(&format!("many{number}/m{file}.py"), "x = 1\n"))
    };
    let wheels: Vec<_> = (0..8).map(many).collect();
    let test = with_wheelhouse(Sandbox::new(), &wheels);
    let before = test.environment();
    for signal in ["TERM", "INT"] {
        let mut running = Running::start(&test, &["--link-mode", "symlink"], &["echo", "started"]);
        wait_until("it unpacks", || !leftovers(&store(&test)).is_empty());
        kill(signal, running.pid());
        assert_eq!((running.line(), running.ends()), (String::new(), Some(1)));
        assert!(archives(&store(&test)).len() < wheels.len());
        assert_eq!(leftovers(&store(&test)).len(), 0);
        test.nothing_left(&before);
    }
    // One that whoever started it ignores ends nothing.
    let mut ignoring = test.command("sh");
    ignoring.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(test.root().join("sitefs"));
    ignoring.args(run_arguments(&test, &["--link-mode", "symlink"], &["echo", "started"]));
    let mut running = Running::of(ignoring);
    wait_until("it unpacks", || !leftovers(&store(&test)).is_empty());
    kill("HUP", running.pid());
    running.says("started");
    assert_eq!(running.ends(), Some(0));
}
