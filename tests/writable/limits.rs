//! Who mounts may be limited in what it may write and open; that harms neither the server nor others who use the mount.

use std::process::Command;

use crate::common::{Outcome, Sandbox, started_by};
use crate::{GREET, sandbox};

/// `sitefs mount`, by a shell with these limits.
fn mount_limited(test: &Sandbox, limits: &str) {
    let requirements = test.requirements.to_str().unwrap();
    let mut mount = test.sitefs_command(["mount", "-r", requirements]);
    mount.arg(&test.venv).arg(&test.cache);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits}; exec \"$@\""), "sh"]);
    Outcome::of(&mut started_by(shell, &mount)).succeeds();
}

#[test]
fn a_write_beyond_the_hard_limit_of_who_mounted_fails_and_the_server_lives() {
    let Some(test) = sandbox() else { return };
    mount_limited(&test, "ulimit -f 100");
    let large = "import greet, os\n\
        path = os.path.join(os.path.dirname(greet.__file__), 'large')\n\
        open(path, 'wb').write(bytes(1 << 20))";
    test.python(large).exits(1).says("File too large");
    fs_err::write(test.site_packages().join("greet/small"), "small").unwrap();
    test.python(GREET).succeeds();
    test.unmount().succeeds();
}

#[test]
fn the_soft_limits_of_who_mounted_limit_nobody_else() {
    let Some(test) = sandbox() else { return };
    mount_limited(&test, "ulimit -S -f 100; ulimit -S -n 40");
    let many = "import greet, os\n\
        folder = os.path.dirname(greet.__file__)\n\
        opened = [open(os.path.join(folder, f'mine{n}'), 'wb') for n in range(100)]\n\
        print(opened[0].write(bytes(1 << 20)))";
    test.python(many).succeeds().prints("1048576");
    test.unmount().succeeds();
}
