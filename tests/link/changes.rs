//! What people change in an environment that was made real stays theirs.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::common::{Sandbox, Tree, exact_tree};
use crate::{GREET, Place, greet, guest, mount, seen};

#[test]
fn a_changed_copy_is_the_users_and_stays_and_is_told() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let before = place.environment();
    for mode in place.modes.iter().filter(|mode| ["clone", "copy"].contains(mode)) {
        // The second is as long as what it replaces, and as new as it can be.
        for text in ["word = 'mine'\n", "word = 'jello 1.0'\n\ndef main():\n    print(word)\n"] {
            mount(&place, mode).succeeds();
            let module = place.site_packages().join("greet/__init__.py");
            fs_err::write(&module, text).unwrap();
            place.unmount().succeeds().says("greet/__init__.py was changed since it was mounted, and stays");
            assert_eq!(fs_err::read_to_string(&module).unwrap(), text);
            assert_eq!(fs_err::read_dir(place.site_packages().join("greet")).unwrap().count(), 1);

            mount(&place, mode).succeeds();
            assert_eq!(fs_err::read_to_string(&module).unwrap(), text, "it hides the locked one");
            place.unmount().succeeds();
            assert_eq!(fs_err::read_to_string(&module).unwrap(), text);
            fs_err::remove_dir_all(module.parent().unwrap()).unwrap();
            place.nothing_left(&before);
        }
    }
}

/// `chmod -R g+w` on an environment must not make all of it the user's, who could not unmount it any more.
#[test]
fn permission_bits_alone_are_no_change() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let before = place.environment();
    for mode in place.modes.iter().filter(|mode| ["clone", "copy"].contains(mode)) {
        mount(&place, mode).succeeds();
        let module = place.site_packages().join("greet/__init__.py");
        fs_err::set_permissions(&module, PermissionsExt::from_mode(0o775)).unwrap();
        mount(&place, mode).succeeds();
        assert_eq!(
            fs_err::metadata(&module).unwrap().permissions().mode() & 0o777,
            0o775,
            "it stays as it is"
        );
        place.unmount().succeeds().says_nothing_of("changed");
        place.nothing_left(&before);
    }
}

#[test]
fn a_link_that_the_user_replaced_is_the_users() {
    let place = Place::with_wheels([greet("1.0")]);
    for mode in &place.modes {
        mount(&place, mode).succeeds();
        let module = place.site_packages().join("greet/__init__.py");
        fs_err::remove_file(&module).unwrap();
        fs_err::write(&module, "word = 'mine'\n").unwrap();
        mount(&place, mode).succeeds();
        place.python(GREET).succeeds().prints("mine");
        place.unmount().succeeds();
        place.python(GREET).succeeds().prints("mine");
        fs_err::remove_dir_all(module.parent().unwrap()).unwrap();
    }
}

#[test]
fn a_file_of_the_user_at_a_planned_path_stays() {
    let place = Place::with_wheels([greet("1.0")]);
    fs_err::create_dir_all(place.site_packages().join("greet")).unwrap();
    fs_err::write(place.site_packages().join("greet/__init__.py"), "word = 'mine'\n").unwrap();
    fs_err::write(place.venv.join("bin/greet"), "mine\n").unwrap();
    let before = place.environment();
    for mode in &place.modes {
        let outcome = place.mount_with(&["--link-mode", mode, "-v"]).succeeds();
        outcome
            .says("greet/__init__.py is the environment's own, and stays")
            .says("bin/greet is the environment's own, and stays");
        place.python("import greet, greet.only_1_0; print(greet.word)").succeeds().prints("mine");
        place.unmount().succeeds();
        place.nothing_left(&before);
    }
}

#[test]
fn bytecode_of_what_was_made_leaves_with_it_and_the_users_stays() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let own = place.site_packages().join("space/own.py");
    fs_err::create_dir(own.parent().unwrap()).unwrap();
    fs_err::write(&own, "word = 'own'\n").unwrap();
    place.python("import space.own").succeeds();
    let before = all_but_state(&place);
    for mode in &place.modes {
        mount(&place, mode).succeeds();
        place.python("import guest, greet.empty, space.guest, space.greet, space.own").succeeds();
        let bytecode = place.site_packages().join("space/__pycache__");
        assert_eq!(fs_err::read_dir(&bytecode).unwrap().count(), 2, "of own and guest");
        place.unmount().succeeds();
        crate::common::assert_same("before", &before, "after", &all_but_state(&place));
    }
}

#[test]
fn a_users_link_that_leads_out_is_not_followed() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    let outside = place.root().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("__init__.py"), "word = 'outside'\n").unwrap();
    symlink(&outside, place.site_packages().join("greet")).unwrap();
    let (before, there) = (place.environment(), exact_tree(&outside));
    for mode in place.every_mode() {
        mount(&place, mode).succeeds();
        place.look("import greet; print(greet.word)").succeeds().prints("outside");
        place.look("import space.guest as it; print(it.word)").succeeds().prints("in space");
        place.unmount().succeeds();
        place.nothing_left(&before);
        assert_eq!(exact_tree(&outside), there, "{mode}");
    }
    // A link that appears later is not followed either, to remove what lies there.
    fs_err::remove_file(place.site_packages().join("greet")).unwrap();
    mount(&place, "symlink").succeeds();
    let moved = place.root().join("moved");
    fs_err::rename(place.site_packages().join("greet"), &moved).unwrap();
    symlink(&moved, place.site_packages().join("greet")).unwrap();
    let there = exact_tree(&moved);
    place.unmount().succeeds();
    assert_eq!(exact_tree(&moved), there, "what the user moved out is the user's");
}

#[test]
fn a_users_file_where_a_directory_would_be_hides_it_in_every_mode() {
    let place = Place::with_wheels([greet("1.0"), guest()]);
    fs_err::write(place.site_packages().join("guest"), "mine\n").unwrap();
    fs_err::write(place.venv.join("share"), "mine\n").unwrap();
    let before = place.environment();
    let mut first: Option<Tree> = None;
    for mode in place.every_mode() {
        let outcome = mount(&place, mode).succeeds();
        outcome.says("share is the environment's own, and hides the directory of that name");
        let tree = seen(&place);
        assert!(tree.contains_key(Path::new("etc/guest.json")), "what is elsewhere is there");
        crate::common::assert_same("first", first.get_or_insert_with(|| tree.clone()), mode, &tree);
        place.look("import guest").exits(1).says("No module named 'guest'");
        place.unmount().succeeds();
        place.nothing_left(&before);
    }
    mount(&place, "copy")
        .succeeds()
        .says("site-packages/guest is the environment's own, and hides the directory");
    // What hid it is gone: it comes.
    fs_err::remove_file(place.site_packages().join("guest")).unwrap();
    mount(&place, "copy").succeeds().says_nothing_of("guest is the environment's own");
    place.look(crate::GUEST).succeeds().prints("guest of hello 1.0");
}

#[test]
fn a_users_directory_where_a_file_must_be_stays() {
    let place = Place::with_wheels([greet("1.0")]);
    fs_err::create_dir_all(place.site_packages().join("greet/empty.py/deep")).unwrap();
    let before = place.environment();
    for mode in &place.modes {
        mount(&place, mode).succeeds();
        place.python(GREET).succeeds().prints("hello 1.0");
        place.unmount().succeeds();
        place.nothing_left(&before);
    }
}

#[test]
fn a_cache_of_other_peoples_stays_whole_and_its_copies_can_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_wheels([greet("1.0")]);
    let original = place.archive(&greet("1.0")).join("greet/__init__.py");
    fs_err::set_permissions(&original, PermissionsExt::from_mode(0o444)).unwrap();
    place.seal_cache();
    for mode in place.modes.iter().filter(|mode| ["clone", "copy"].contains(mode)) {
        mount(&place, mode).succeeds();
        let copy = place.site_packages().join("greet/__init__.py");
        assert_eq!(fs_err::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o644);
        fs_err::write(&copy, "word = 'mine'\n").unwrap();
        place.unmount().succeeds();
        fs_err::remove_dir_all(copy.parent().unwrap()).unwrap();
    }
}

/// The environment with Python's bytecode.
fn all_but_state(test: &Sandbox) -> Tree {
    exact_tree(&test.venv).into_iter().filter(|(path, _)| !path.starts_with(".sitefs")).collect()
}
