//! Real distributions: a mounted environment is to every tool what uv's own install of the same lock is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::{Corpus, Outcome, Sandbox, assert_same, clean_command, comparable, pip};

#[test]
fn tools_say_the_same_of_the_small_corpus() {
    tools_say_the_same_of("small");
}

#[test]
fn tools_say_the_same_of_the_cloud_corpus() {
    tools_say_the_same_of("cloud");
}

#[test]
fn tools_say_the_same_of_the_data_corpus() {
    tools_say_the_same_of("data");
}

#[test]
fn the_small_corpus_has_the_same_names_kinds_and_bytes() {
    has_the_same_names_kinds_and_bytes("small");
}

#[test]
fn the_cloud_corpus_has_the_same_names_kinds_and_bytes() {
    has_the_same_names_kinds_and_bytes("cloud");
}

#[test]
fn the_data_corpus_has_the_same_names_kinds_and_bytes() {
    has_the_same_names_kinds_and_bytes("data");
}

#[test]
fn scripts_of_the_small_corpus_run() {
    scripts_run("small");
}

#[test]
fn scripts_of_the_cloud_corpus_run() {
    scripts_run("cloud");
}

#[test]
fn scripts_of_the_data_corpus_run() {
    scripts_run("data");
}

fn tools_say_the_same_of(name: &str) {
    if !common::fuse() {
        return;
    }
    let corpus = Corpus::prepared(name);
    let test = Sandbox::of(&corpus);
    test.mount().succeeds();
    for arguments in [&["list", "--format=json"][..], &["check"], &["freeze"]] {
        let said_of = |venv: &Path| Outcome::of(&mut pip(venv, &test.home(), arguments));
        says_the_same(&said_of(&corpus.installed), &said_of(&test.venv));
        let said_of = |venv: &Path| {
            let mut command = test.onlooking_uv().command(["pip"]);
            Outcome::of(command.args(arguments).arg("--python").arg(venv.join("bin/python")))
        };
        says_the_same(&said_of(&corpus.installed), &said_of(&test.venv));
    }
    for options in [&["--require-hashes"][..], &[]] {
        let mut sync = test.onlooking_uv().command(["pip", "sync", "--dry-run"]);
        sync.args(options).arg("--python").arg(test.venv.join("bin/python")).arg(&corpus.requirements);
        Outcome::of(&mut sync).succeeds().says("Would make no changes");
    }
    let (installed, mounted) = (metadata(&corpus.installed, &test), metadata(&test.venv, &test));
    assert_same("installed", &installed, "mounted", &mounted);
    test.unmount().succeeds();
}

fn has_the_same_names_kinds_and_bytes(name: &str) {
    if !common::fuse() {
        return;
    }
    let corpus = Corpus::prepared(name);
    let test = Sandbox::of(&corpus);
    let before = test.environment();
    test.mount().succeeds();
    assert_same("installed", &comparable(&corpus.installed), "mounted", &comparable(&test.venv));
    test.unmount().succeeds();
    test.nothing_left(&before);
}

/// Every console script whose `--help` (or else `--version`) works in uv's environment works here.
fn scripts_run(name: &str) {
    if !common::fuse() {
        return;
    }
    let corpus = Corpus::prepared(name);
    let test = Sandbox::of(&corpus);
    let own: BTreeSet<_> = names_in(&test.venv.join("bin"));
    test.mount().succeeds();
    let mut worked = 0;
    for script in names_in(&corpus.installed.join("bin")).difference(&own) {
        let run = |venv: &Path, option: &str| {
            // Where no bytecode can be written beside the modules, each of these would compile all anew.
            let mut command = clean_command("timeout", &test.home());
            command.args(["--kill-after=5", "60"]).arg(venv.join("bin").join(script)).arg(option);
            Outcome::of(command.env("PYTHONPYCACHEPREFIX", test.root().join("bytecode")))
        };
        let option = ["--help", "--version"]
            .into_iter()
            .find(|option| run(&corpus.installed, option).code() == Some(0));
        if let Some(option) = option {
            run(&test.venv, option).succeeds();
            worked += 1;
        }
    }
    assert!(worked > 0, "no script works in {}", corpus.installed.display());
}

fn says_the_same(installed: &Outcome, mounted: &Outcome) {
    assert!(
        (installed.code(), &installed.stdout) == (mounted.code(), &mounted.stdout),
        "installed: {installed}\n\nmounted: {mounted}"
    );
}

fn names_in(folder: &Path) -> BTreeSet<std::ffi::OsString> {
    fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// What importlib.metadata says of each distribution.
fn metadata(venv: &Path, test: &Sandbox) -> BTreeMap<String, serde_json::Value> {
    let code = "
import importlib.metadata, json
told = {}
for distribution in importlib.metadata.distributions():
    files = sorted(str(file) for file in distribution.files if '__pycache__' not in str(file))
    points = sorted(f'{point.group}: {point.name} = {point.value}' for point in distribution.entry_points)
    name = distribution.metadata['Name']
    assert name not in told, f'{name} twice'
    told[name] = [distribution.version, files, points, distribution.requires]
print(json.dumps(told))";
    let mut command = clean_command(venv.join("bin/python"), &test.home());
    let told = Outcome::of(command.args(["-B", "-c", code])).succeeds().json();
    told.as_object().unwrap().clone().into_iter().collect()
}
