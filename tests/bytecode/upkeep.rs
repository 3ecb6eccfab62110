//! `sitefs cache list`, `verify` and `prune` know the bytecode in the store.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::common::{Outcome, Sandbox, age, corrupt, fuse_for_nobody};
use super::{ALL, bytecode_below, compile, compiled_by, files, shelved, store, wheels};

/// `sitefs cache ARGUMENTS`.
fn cache(test: &Sandbox, arguments: &[&str]) -> Outcome {
    test.sitefs([&["cache"], arguments].concat())
}

fn compiled() -> Option<Sandbox> {
    let test = Sandbox::with_fuse()?.with_wheels(wheels());
    compile(&test).says("compiled 7 modules of 3 distributions");
    Some(test)
}

/// What is known of each archive's bytecode.
fn indexes(test: &Sandbox) -> Vec<PathBuf> {
    files(&store(test).join("bytecode")).into_iter().filter(|path| path.ends_with("index.json")).collect()
}

/// As if no mount had used any of it for so long.
fn unused_for(test: &Sandbox, hours: u64) {
    indexes(test).iter().for_each(|index| age(index, hours));
}

fn writable(path: &Path) {
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
}

#[test]
fn list_says_how_much_there_is_for_each_interpreter() {
    let test = Sandbox::new().with_wheels(wheels());
    compile(&test);
    let bytes: u64 =
        bytecode_below(&store(&test)).iter().map(|path| fs_err::metadata(path).unwrap().len()).sum();
    let listed = cache(&test, &["list", "--json"]).succeeds().json();
    let [only] = listed["bytecode"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!((&only["archives"], &only["modules"], &only["bytes"]), (&3.into(), &7.into(), &bytes.into()));
    assert_eq!(listed["wheels"], Value::Array(Vec::new()));
    let interpreter = only["interpreter"].as_str().unwrap();
    cache(&test, &["list"]).succeeds().says(&format!("{interpreter}  bytecode of 7 modules of 3 archives, "));
}

type Damage = fn(&Path);

#[test]
fn verify_names_what_is_damaged_and_removes_it_so_that_it_is_compiled_again() {
    let Some(test) = compiled() else { return };
    cache(&test, &["verify"]).succeeds().says("0 wheels, and the bytecode of 3 archives, in");
    let damages: [(&str, Damage); 6] = [
        ("is not what was compiled", corrupt),
        ("bytes of", |path| {
            writable(path);
            fs_err::OpenOptions::new().write(true).open(path).unwrap().set_len(20).unwrap();
        }),
        ("is not of this interpreter and source", |path| {
            // The magic number of another Python.
            let mut bytes = fs_err::read(path).unwrap();
            bytes[0] ^= 1;
            writable(path);
            fs_err::write(path, bytes).unwrap();
        }),
        ("is not of this interpreter and source", |path| {
            // The time of another source.
            let mut bytes = fs_err::read(path).unwrap();
            bytes[8] ^= 1;
            writable(path);
            fs_err::write(path, bytes).unwrap();
        }),
        ("No such file", |path| fs_err::remove_file(path).unwrap()),
        ("index.json cannot be read", |path| {
            let index = path.ancestors().nth(3).unwrap().join("index.json");
            fs_err::write(index, "{").unwrap();
        }),
    ];
    for (reason, damage) in damages {
        damage(&shelved(&test, "single."));
        let found = cache(&test, &["verify", "--json"]).fails().says(reason).says("single").json();
        let [only] = found["damaged_bytecode"].as_array().unwrap().as_slice() else { panic!("{found}") };
        assert!(only["archive"].as_str().unwrap().starts_with("single-1.0-"), "{only}");
        assert_eq!(only["removed"], true);
        cache(&test, &["verify"]).succeeds().says("the bytecode of 2 archives");
        compile(&test).says("compiled 1 module of 1 distribution");
    }
    test.mount().succeeds();
    assert_eq!(compiled_by(&test, ALL), "");
}

/// Python fails where bytecode is cut short, and goes on without any.
#[test]
fn what_verify_removes_under_a_mount_is_compiled_by_whoever_imports() {
    let Some(test) = compiled() else { return };
    test.mount().succeeds();
    assert_eq!(compiled_by(&test, ALL), "");
    corrupt(&shelved(&test, "single."));
    cache(&test, &["verify"]).fails().says("it was removed");
    assert_eq!(compiled_by(&test, ALL), "single.py");
    assert_eq!(compiled_by(&test, ALL), "");
}

#[test]
fn who_may_not_remove_what_is_damaged_is_told() {
    if !fuse_for_nobody() {
        return;
    }
    let test = Sandbox::for_nobody().with_wheels(wheels());
    compile(&test);
    let bytecode = shelved(&test, "single.");
    corrupt(&bytecode);
    Outcome::of(std::process::Command::new("chown").arg("-hR").arg("0:0").arg(store(&test))).succeeds();
    let found = cache(&test, &["verify", "--json"]).fails().says("its owner can have it removed").json();
    assert_eq!(found["damaged_bytecode"][0]["removed"], false);
    assert!(bytecode.exists());
}

#[test]
fn prune_removes_the_bytecode_of_archives_that_are_gone() {
    let Some(test) = compiled() else { return };
    // However long nobody used it: the archives are there.
    unused_for(&test, 24 * 365);
    cache(&test, &["prune"]).succeeds().says("removed the bytecode of 0 archives, 0 B; kept 3 in use");
    let [_, single, _] = wheels();
    let archive = test.archive(&single);
    test.unseal_cache();
    fs_err::rename(&archive, archive.with_extension("away")).unwrap();
    let would = cache(&test, &["prune", "--dry-run", "--json"]).succeeds().json();
    let [only] = would["bytecode"]["removed"].as_array().unwrap().as_slice() else { panic!("{would}") };
    assert_eq!(only["bytes"], fs_err::metadata(shelved(&test, "single.")).unwrap().len());
    cache(&test, &["prune"]).succeeds().says("single-1.0-").says("removed the bytecode of 1 archive, ");
    assert_eq!(
        (indexes(&test).len(), fs_err::read_dir(store(&test).join("staging")).unwrap().count()),
        (2, 0)
    );
    // One that was unpacked again is another one.
    let [shop, ..] = wheels();
    let record = test.archive(&shop).join(shop.dist_info()).join("RECORD");
    age(&record, 1);
    cache(&test, &["prune"]).succeeds().says("shop-1.0-").says("removed the bytecode of 1 archive, ");
}

/// A container may have the same archives by another path.
#[test]
fn prune_keeps_what_a_mount_has_used_of_late() {
    let Some(mut test) = compiled() else { return };
    test.unseal_cache();
    let moved = test.root().join("moved");
    fs_err::rename(&test.cache, &moved).unwrap();
    test.cache = moved;
    test.seal_cache();
    unused_for(&test, 24 * 365);
    test.mount().succeeds();
    assert_eq!(compiled_by(&test, "import single"), "");
    // Python has looked into the directory of two of them.
    cache(&test, &["prune"]).succeeds().says("removed the bytecode of 1 archive, ").says("; kept 2 in use");
    assert_eq!(compiled_by(&test, "import single, moved"), "");
    unused_for(&test, 24 * 3);
    cache(&test, &["prune"]).succeeds().says("removed the bytecode of 2 archives, ");
}

/// Those of the store itself are leased: their bytecode goes with them, and stays with them.
#[test]
fn prune_removes_the_bytecode_of_wheels_with_the_wheels() {
    let Some(mut test) = Sandbox::with_fuse() else { return };
    let folder = test.root().join("wheels");
    wheels().iter().for_each(|wheel| drop(wheel.build(&folder)));
    test.lock("shop==1.0\nsingle==1.0\nmoved==1.0");
    test.sitefs([OsStr::new("cache"), OsStr::new("add"), folder.as_os_str()]).succeeds();
    test.cache = store(&test);
    compile(&test).says("compiled 7 modules of 3 distributions");
    test.lock("single==1.0");
    test.mount().succeeds();
    for name in ["shop", "single", "moved"] {
        let places = fs_err::read_dir(store(&test).join("wheels").join(name)).unwrap();
        places.for_each(|place| age(&place.unwrap().path(), 2));
    }
    let leases = fs_err::read_dir(store(&test).join("leases")).unwrap();
    leases.for_each(|lease| age(&lease.unwrap().path(), 2));
    let would = cache(&test, &["prune", "--dry-run"]).succeeds();
    would.says("would remove 2 wheels").says("would remove the bytecode of 2 archives, ");
    cache(&test, &["prune"]).succeeds().says("removed 2 wheels").says("removed the bytecode of 2 archives, ");
    assert_eq!(compiled_by(&test, "import single"), "");
    assert_eq!(indexes(&test).len(), 1);
}
