//! What is not what it was is found and named; what nobody uses is removed, and nothing else.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::{Outcome, Sandbox, corrupt, fuse_for_nobody};
use crate::{GREET, age, archives, cache, greet, leases, leftovers, other, store, with_wheelhouse};

fn sandbox() -> Option<Sandbox> {
    Some(with_wheelhouse(Sandbox::with_fuse()?, &[greet(), other()]))
}

fn archive_of(test: &Sandbox, name: &str) -> PathBuf {
    let found = archives(&store(test))
        .into_iter()
        .find(|path| path.starts_with(store(test).join("wheels").join(name)));
    found.unwrap()
}

#[test]
fn a_corrupted_file_of_the_store_is_found_named_and_mended() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    cache(&test, ["verify"]).succeeds().says("2 wheels").says("whole");
    let module = archive_of(&test, "greet").join("greet/__init__.py");
    corrupt(&module);
    cache(&test, ["verify"]).fails().says(module.to_str().unwrap()).says("is not what it was");
    // Who uses it keeps it.
    assert!(test.site_packages().join("greet/__init__.py").exists());
    test.unmount().succeeds();
    // A mount from the store alone refuses it; one that has the wheel mends it.
    let mut mount =
        test.sitefs_command([OsStr::new("mount"), OsStr::new("-r"), test.requirements.as_os_str()]);
    mount.arg(&test.venv).arg(store(&test));
    Outcome::of(&mut mount).fails().says("greet==1.0").says("damaged").says(module.to_str().unwrap());
    let list = cache(&test, ["list", "--json"]).succeeds().json();
    assert!(list["wheels"][0]["damage"].as_str().unwrap().contains("greet/__init__.py"));
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    cache(&test, ["verify"]).succeeds();
    test.unmount().succeeds();
    assert_eq!(leftovers(&store(&test)).len(), 0);
}

/// A mount does not read what it does not need; and where nothing can be written down, what is damaged is only named.
#[test]
fn what_is_damaged_is_mounted_until_somebody_verifies_who_may_write_that_down() {
    if !fuse_for_nobody() {
        return;
    }
    let test = with_wheelhouse(Sandbox::for_nobody(), &[greet(), other()]);
    test.mount().succeeds();
    test.unmount().succeeds();
    corrupt(&archive_of(&test, "greet").join("greet/__init__.py"));
    test.run("chown", &["-hR", "0:0", store(&test).to_str().unwrap()]).succeeds();
    let found = cache(&test, ["verify", "--json"]).fails().says("its owner can have it set aside").json();
    assert_eq!(found["damaged"][0]["set_aside"], false);
    test.mount().succeeds();
    test.unmount().succeeds();
    let mut verify = test.command(env!("CARGO_BIN_EXE_sitefs"));
    Outcome::of(verify.args(["cache", "verify", "--store"]).arg(store(&test)).arg("-q")).fails();
    // Its wheel would have to be unpacked again.
    test.mount().fails().says("cannot be written");
}

type Change = fn(&Path);

#[test]
fn whatever_is_wrong_in_the_store_is_found() {
    let test = Sandbox::new();
    let wheel = greet().build(&test.root());
    let add = [OsStr::new("add"), wheel.as_os_str()];
    let changes: [(&str, Change); 4] = [
        ("RECORD is not what it was", |archive| corrupt(&archive.join("greet-1.0.dist-info/RECORD"))),
        ("evil.py does not belong there", |archive| {
            fs_err::set_permissions(archive, std::fs::Permissions::from_mode(0o755)).unwrap();
            fs_err::write(archive.join("evil.py"), "").unwrap();
        }),
        ("__init__.py is missing", |archive| {
            fs_err::set_permissions(archive.join("greet"), std::fs::Permissions::from_mode(0o755)).unwrap();
            fs_err::remove_file(archive.join("greet/__init__.py")).unwrap();
        }),
        ("__init__.py is not what it was", |archive| {
            fs_err::set_permissions(archive.join("greet"), std::fs::Permissions::from_mode(0o755)).unwrap();
            fs_err::remove_file(archive.join("greet/__init__.py")).unwrap();
            fs_err::os::unix::fs::symlink("/dev/null", archive.join("greet/__init__.py")).unwrap();
        }),
    ];
    for (reason, change) in changes {
        cache(&test, add).succeeds().says("added 1 wheel");
        change(&archive_of(&test, "greet"));
        let found = cache(&test, ["verify", "--json"]).fails().says(reason).json();
        assert_eq!(found["damaged"][0]["name"], "greet");
        assert_eq!(found["damaged"][0]["set_aside"], true);
    }
    cache(&test, add).succeeds().says("added 1 wheel");
    cache(&test, ["verify"]).succeeds();
}

#[test]
fn a_truncated_or_swapped_wheel_is_found_and_named() {
    let Some(test) = sandbox() else { return };
    let (good, wheel) =
        (test.cache.join("other-2.0-py3-none-any.whl"), test.cache.join("greet-1.0-py3-none-any.whl"));
    let verify = || cache(&test, [OsStr::new("verify"), test.cache.as_os_str()]);
    test.unseal_cache();
    test.mount().succeeds();
    test.unmount().succeeds();
    verify().succeeds().says("2 wheels");
    let whole = fs_err::read(&wheel).unwrap();
    // Cut short.
    fs_err::write(&wheel, &whole[..whole.len() / 2]).unwrap();
    verify().fails().says(wheel.to_str().unwrap()).says_nothing_of("other");
    test.mount().fails().says(wheel.to_str().unwrap()).says("cut short");
    // Another distribution under its name.
    fs_err::copy(&good, &wheel).unwrap();
    verify().fails().says("greet-1.0").says("is not the wheel that was last mounted");
    test.mount().fails().says("holds other-2.0");
    // Another wheel of the same distribution: whole in itself, and not what was mounted.
    greet().file("greet/evil.py", "").build(&test.cache);
    verify().fails().says("is not the wheel that was last mounted");
}

#[test]
fn prune_keeps_what_is_mounted_and_what_was_and_frees_the_rest() {
    let Some(test) = sandbox() else { return };
    test.lock("greet==1.0");
    test.mount().succeeds();
    cache(&test, [OsStr::new("add"), test.cache.as_os_str()]).succeeds().says("added 1 wheel");
    let (used, unused) = (archive_of(&test, "greet"), archive_of(&test, "other"));
    // What came just now may be about to be used.
    cache(&test, ["prune"])
        .succeeds()
        .says("removed 0 wheels")
        .says("1 in use")
        .says("1 added within the last hour");
    for archive in [&used, &unused] {
        age(archive.parent().unwrap(), 2);
    }
    let would = cache(&test, ["prune", "--dry-run", "--json"]).succeeds().json();
    assert_eq!(would["removed"][0]["name"], "other");
    assert!(unused.exists());
    let freed =
        cache(&test, ["prune"]).succeeds().says("other-2.0-py3-none-any.whl").says("removed 1 wheel").stdout;
    assert!(!freed.contains(" 0 B"), "{freed}");
    assert!(used.exists() && !unused.exists());
    test.python(GREET).succeeds().prints("hello");
    // Unmounted, it is recorded, and stays although its lease has expired.
    test.unmount().succeeds();
    age_leases(&test, 24 * 365);
    cache(&test, ["prune"]).succeeds().says("removed 0 wheels").says("1 in use");
    assert!(used.exists());
    // An environment that is gone uses nothing.
    fs_err::remove_dir_all(&test.venv).unwrap();
    let pruned = cache(&test, ["prune", "--json"]).succeeds().json();
    assert_eq!(pruned["removed"][0]["name"], "greet");
    assert_eq!(pruned["leases_ended"], 1);
    assert_eq!(archives(&store(&test)).len(), 0);
    assert_eq!(leftovers(&store(&test)).len(), 0);
}

#[test]
fn a_lease_of_another_machine_holds_until_it_expires() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    test.unmount().succeeds();
    for archive in archives(&store(&test)) {
        age(archive.parent().unwrap(), 24 * 100);
    }
    // The environment cannot be asked: it is on another machine.
    for lease in leases(&store(&test)) {
        let text = fs_err::read_to_string(&lease).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["host"] = "another".into();
        fs_err::write(&lease, value.to_string()).unwrap();
    }
    age_leases(&test, 24 * 29);
    cache(&test, ["prune"]).succeeds().says("removed 0 wheels").says("2 in use");
    age_leases(&test, 24 * 31);
    cache(&test, ["prune"]).succeeds().says("removed 2 wheels");
    // Whoever mounts again has them again, from the folder.
    test.mount().succeeds();
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
}

#[test]
fn an_environment_that_uses_other_wheels_now_keeps_those() {
    let Some(test) = sandbox() else { return };
    test.lock("greet==1.0");
    test.mount().succeeds();
    test.unmount().succeeds();
    test.lock("other==2.0");
    test.mount().succeeds();
    for archive in archives(&store(&test)) {
        age(archive.parent().unwrap(), 2);
    }
    age_leases(&test, 2);
    cache(&test, ["prune"]).succeeds().says("greet-1.0").says("removed 1 wheel").says("1 in use");
    test.python("import other").succeeds();
    test.unmount().succeeds();
}

/// A lock that changed a little leaves nothing behind.
#[test]
fn what_an_environment_uses_of_an_old_lease_stays_and_the_rest_goes() {
    let Some(test) = sandbox() else { return };
    test.mount().succeeds();
    test.unmount().succeeds();
    test.lock("greet==1.0");
    test.mount().succeeds();
    for archive in archives(&store(&test)) {
        age(archive.parent().unwrap(), 2);
    }
    cache(&test, ["prune"]).succeeds().says("removed 0 wheels").says("2 in use");
    age_leases(&test, 2);
    cache(&test, ["prune"]).succeeds().says("other-2.0").says("removed 1 wheel").says("1 in use");
    test.python(GREET).succeeds().prints("hello");
    test.unmount().succeeds();
}

fn age_leases(test: &Sandbox, hours: u64) {
    leases(&store(test)).iter().for_each(|lease| age(lease, hours));
}
