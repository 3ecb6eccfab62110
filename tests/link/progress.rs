//! What is seen on a terminal while links or copies are made.

use crate::common::{Outcome, Sandbox, WheelBuilder};
use crate::{greet, mount};

const FILES: usize = 15_000;

/// Its `mount`, with a terminal as standard output and error.
fn mount_on_terminal(test: &Sandbox, options: &[&str]) -> Outcome {
    let program = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut command = test.command(&test.python);
    command.args(["-c", program]).arg(test.root().join("sitefs")).arg("mount").args(options);
    Outcome::of(command.arg("-r").args([&test.requirements, &test.venv, &test.cache])).succeeds()
}

#[test]
fn on_a_terminal_a_line_counts_what_takes_long_and_goes() {
    let many = (0..FILES)
        .fold(WheelBuilder::new("many", "1.0").file("many/__init__.py", ""), |wheel, number| {
            wheel.file(&format!("many/part{}/{number}.txt", number / 1000), number.to_string())
        });
    let test = Sandbox::new().with_wheels([many]);
    let seen = mount_on_terminal(&test, &["--link-mode", "copy"]).says("mounted 1 distribution").stdout;
    let mut lines = seen.split('\r').filter_map(|line| line.split_once(" files\x1b[K")).map(|(line, _)| line);
    let (done, total) = lines.next_back().expect("a line counts").split_once(" of ").unwrap();
    let (done, total): (usize, usize) = (done.parse().unwrap(), total.parse().unwrap());
    assert!(total > FILES && done <= total && done > 0, "{done} of {total}");
    assert!(seen.contains("\r\x1b[Kmounted"), "the line goes before the last is said: {seen:?}");
    test.unmount().succeeds();

    let seen = mount_on_terminal(&test, &["--link-mode", "copy", "--quiet"]).stdout;
    assert_eq!(seen, "", "it was asked to be quiet");
    test.unmount().succeeds();
    let outcome = mount(&test, "copy").succeeds();
    assert_eq!(outcome.stderr, "", "it is piped");
    assert!(!outcome.stdout.contains('\r'), "it is piped: {:?}", outcome.stdout);
}

#[test]
fn what_takes_a_moment_shows_no_line() {
    let test = Sandbox::new().with_wheels([greet("1.0")]);
    for mode in ["symlink", "copy"] {
        let seen = mount_on_terminal(&test, &["--link-mode", mode]).stdout;
        assert!(seen.starts_with("mounted 1 distribution") && !seen.contains('\x1b'), "{seen:?}");
    }
}
