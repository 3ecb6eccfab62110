//! Many that fill one store at the same time, and are killed at it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{Corpus, Outcome, WheelBuilder, clean_command};
use crate::{age, archives, leftovers};

const PROCESSES: usize = 8;

fn add(folder: &Path, wheels: &Path) -> Command {
    let mut command = clean_command(env!("CARGO_BIN_EXE_sitefs"), &folder.join("home"));
    command.args(["cache", "add", "--store"]).arg(folder.join("store")).arg(wheels);
    command
}

fn start(folder: &Path, wheels: &Path) -> Vec<Child> {
    let start = |_| add(folder, wheels).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    (0..PROCESSES).map(start).collect()
}

/// All fill one empty store; then all again, and are killed in the middle of it; then once more.
fn race(wheels: &Path, count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let is_whole = || {
        let mut verify = clean_command(env!("CARGO_BIN_EXE_sitefs"), &folder.path().join("home"));
        let whole = format!("{count} wheels");
        Outcome::of(verify.args(["cache", "verify", "--store"]).arg(&store))
            .succeeds()
            .says(&whole)
            .says("are whole");
        assert_eq!(archives(&store).len(), count);
        assert_eq!(leftovers(&store), Vec::<PathBuf>::new());
    };
    for child in start(folder.path(), wheels) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    is_whole();

    // How long they need depends on the machine.
    let mut left = 0;
    for attempt in 0..40 {
        Outcome::of(Command::new("chmod").args(["-R", "u+w"]).arg(&store)).succeeds();
        fs_err::remove_dir_all(&store).unwrap();
        let mut children = start(folder.path(), wheels);
        std::thread::sleep(Duration::from_millis(10 + 10 * attempt));
        children.iter_mut().for_each(|child| child.kill().unwrap());
        for child in &mut children {
            child.wait().unwrap();
        }
        left = leftovers(&store).len();
        if left > 0 {
            break;
        }
        fs_err::create_dir_all(&store).unwrap();
    }
    assert!(left > 0, "nobody was killed in the middle of it");
    // What was published in spite of that is whole, and what was left lies where it is swept from, in time.
    leftovers(&store).iter().for_each(|left| age(left, 2));
    let mut again = start(folder.path(), wheels);
    again.iter_mut().for_each(|child| assert!(child.wait().unwrap().success()));
    is_whole();
}

#[test]
fn eight_processes_fill_one_store_and_are_killed() {
    let wheels = tempfile::tempdir().unwrap();
    for number in 0..12 {
        let mut wheel = WheelBuilder::new(&format!("race{number}"), "1.0");
        for file in 0..20 {
            wheel = wheel.file(&format!("race{number}/m{file}.py"), format!("x = {file}\n").repeat(200));
        }
        wheel.build(wheels.path());
    }
    race(wheels.path(), 12);
}

/// `make test-long`.
#[test]
#[ignore = "takes minutes"]
fn eight_processes_fill_one_store_with_the_data_corpus() {
    let wheels = Corpus::wheels("data");
    race(&wheels, fs_err::read_dir(&wheels).unwrap().count());
}
