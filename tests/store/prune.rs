//! Pruning a store while others mount from it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::common::{Outcome, Sandbox, clean_command, fuse, wait_until};
use crate::{GREET, archives, cache, greet, leases, leftovers, other, store, with_wheelhouse};

const ENVIRONMENTS: usize = 3;
const ROUNDS: usize = 6;

/// What threads need of a sandbox.
struct Scene {
    home: PathBuf,
    store: PathBuf,
    wheels: PathBuf,
    locks: [PathBuf; 2],
}

/// What each lock's environment can do.
const IMPORTS: [&str; 2] = ["import greet; print(greet.word)", "import other; print(other.word)"];

impl Scene {
    fn sitefs<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        Outcome::of(clean_command(env!("CARGO_BIN_EXE_sitefs"), &self.home).args(arguments))
    }

    /// Mounts with one lock and then the other, and uses what is mounted while all leases but those of mounts that are being made
    /// have expired.
    fn use_environment(&self, venv: &Path) {
        for round in 0..ROUNDS {
            let (lock, code) = (&self.locks[round % 2], IMPORTS[round % 2]);
            let import =
                || Outcome::of(clean_command(venv.join("bin/python"), &self.home).args(["-c", code]));
            let mount = [OsStr::new("mount"), OsStr::new("-r"), lock.as_os_str(), venv.as_os_str()];
            self.sitefs(mount.into_iter().chain([self.wheels.as_os_str()])).succeeds();
            import().succeeds();
            for lease in leases(&self.store) {
                if fs_err::read_to_string(&lease).is_ok_and(|text| text.contains(venv.to_str().unwrap())) {
                    make_old(&lease);
                }
            }
            (0..3).for_each(|_| drop(import().succeeds()));
            let log = fs_err::read_to_string(venv.join(".sitefs/server.log")).unwrap();
            assert!(!log.contains("is gone from the cache"), "{log}");
            self.sitefs([OsStr::new("unmount"), venv.as_os_str()]).succeeds();
        }
    }

    /// Prunes, after all in the store has become old. Says how many wheels went.
    fn prune(&self) -> usize {
        archives(&self.store).iter().for_each(|archive| make_old(archive.parent().unwrap()));
        let pruned = self.sitefs(["cache", "prune", "--json"]).succeeds().json();
        pruned["removed"].as_array().unwrap().len()
    }
}

/// Has something be two hours old, if it is still there.
fn make_old(path: &Path) {
    if let Ok(file) = fs_err::File::open(path) {
        let _ = file.into_file().set_modified(SystemTime::now() - Duration::from_secs(7200));
    }
}

#[test]
fn mounts_find_and_keep_what_they_need_while_others_prune() {
    if !fuse() {
        return;
    }
    let test = with_wheelhouse(Sandbox::new(), &[greet(), other()]);
    let locks = ["greet==1.0", "other==2.0"].map(|pin| {
        let lock = test.root().join(format!("{pin}.txt"));
        fs_err::write(&lock, pin).unwrap();
        lock
    });
    let scene = Scene { home: test.home(), store: store(&test), wheels: test.cache.clone(), locks };
    let venvs: Vec<PathBuf> =
        (0..ENVIRONMENTS).map(|number| test.root().join(format!("venv{number}"))).collect();
    venvs.iter().for_each(|venv| test.onlooking_uv().venv(venv, &test.python));
    scene.sitefs([OsStr::new("cache"), OsStr::new("add"), scene.wheels.as_os_str()]).succeeds();
    let (is_done, removed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let is_well = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Acquire) {
                    removed.fetch_add(scene.prune(), Ordering::AcqRel);
                }
            });
        }
        let users: Vec<_> = venvs.iter().map(|venv| scope.spawn(|| scene.use_environment(venv))).collect();
        let ends: Vec<_> = users.into_iter().map(|user| user.join().is_ok()).collect();
        is_done.store(true, Ordering::Release);
        ends
    });
    assert_eq!(is_well, [true; ENVIRONMENTS]);
    assert!(removed.into_inner() > 0, "nothing was pruned meanwhile");
    assert_eq!(leftovers(&scene.store), Vec::<PathBuf>::new());
    scene.sitefs(["cache", "verify"]).succeeds();
}

/// `rm -rf` of a wheel in the store.
fn remove(test: &Sandbox, name: &str) {
    let wheel = store(test).join("wheels").join(name);
    Outcome::of(Command::new("chmod").args(["-R", "u+w"]).arg(&wheel)).succeeds();
    fs_err::remove_dir_all(wheel).unwrap();
}

/// What came from greet is an error, and nothing that Python takes for a namespace.
#[track_caller]
fn is_gone(test: &Sandbox) {
    let module = test.site_packages().join("greet/__init__.py");
    let is_error =
        || fs_err::read(&module).is_err_and(|error| error.to_string().contains("Input/output error"));
    wait_until("the kernel has forgotten it", is_error);
    test.python("import greet").exits(1).says("No module named 'greet'");
    test.python("import other; print(other.word)").succeeds().prints("other");
    let status = test.sitefs([OsStr::new("status"), test.venv.as_os_str()]).succeeds();
    status.says("vanished       greet==1.0, from the cache; `sitefs mount");
}

#[test]
fn what_vanishes_from_the_store_is_an_error_until_it_is_mounted_again() {
    if !fuse() {
        return;
    }
    let test = with_wheelhouse(Sandbox::new(), &[greet(), other()]);
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    remove(&test, "greet");
    is_gone(&test);
    // From the folder, without a word of where it is.
    test.sitefs([OsStr::new("mount"), test.venv.as_os_str()]).succeeds().says("mounted anew");
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
}

/// By the hashes of the lock, out of any cache that has it.
#[test]
fn what_vanished_from_a_store_is_mended_out_of_another_cache() {
    if !fuse() {
        return;
    }
    let mut test = with_wheelhouse(Sandbox::new(), &[greet(), other()]);
    let digest = |wheel: &str| {
        let bytes = fs_err::read(test.cache.join(wheel)).unwrap();
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let lock = format!(
        "greet==1.0 --hash=sha256:{}\nother==2.0 --hash=sha256:{}",
        digest("greet-1.0-py3-none-any.whl"),
        digest("other-2.0-py3-none-any.whl")
    );
    test.lock(&lock);
    cache(&test, [OsStr::new("add"), test.cache.as_os_str()]).succeeds();
    let wheels = test.cache.clone();
    test.unseal_cache();
    test.cache = store(&test);
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    remove(&test, "greet");
    is_gone(&test);
    let mount = |cache: &Path| test.sitefs([OsStr::new("mount"), test.venv.as_os_str(), cache.as_os_str()]);
    mount(&test.cache).fails().says("greet==1.0");
    assert!(test.is_mounted(), "what cannot be mended stays as it is");
    // Another wheel of that name is not what the lock says.
    let swapped = test.root().join("swapped");
    greet().file("greet/evil.py", "").build(&swapped);
    other().build(&swapped);
    mount(&swapped).fails().says("hash");
    is_gone(&test);
    mount(&wheels).succeeds().says("mounted anew");
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
}
