//! Where a distribution can come from: Git, URLs, archives and folders on this machine.

use std::path::Path;

use crate::common::Outcome;
use crate::fetch::fetched;
use crate::project::Project;
use crate::tools::{Server, Uv};
use crate::{are_the_same, two_pythons};

const NEWEST: &str = "0.13.9";

/// A project with a dependency of each kind of source, where each stays.
struct Sources {
    project: Project,
    _server: Server,
}

/// Whether there are wheels and source archives in Git repositories, too: uv does not export these to a pylock.toml.
#[derive(Clone, Copy, PartialEq)]
enum FilesInGit {
    Some,
    None,
}

impl Sources {
    fn new(python: &Path, files: FilesInGit) -> Self {
        let project = Project::new(python);
        let maker = Uv::new(NEWEST);
        let (repository, _) = maker.repository("from-git", "1.0");
        let (by_branch, _) = maker.repository("from-branch", "1.0");
        for (name, kind) in [
            ("url-wheel", "wheel"),
            ("url-sdist", "sdist"),
            ("path-wheel", "wheel"),
            ("path-sdist", "sdist"),
            ("git-wheel", "wheel"),
            ("git-sdist", "sdist"),
        ] {
            maker.build(name, "1.0", kind);
        }
        for name in ["plain", "linked", "not-a-package", "git-folder", "git-other", "url-folder"] {
            maker.project(name, "1.0");
        }
        for (name, kind) in [("index-sdist", "sdist"), ("index-wheel", "wheel")] {
            let built = maker.build(name, "1.0", kind);
            fs_err::copy(&built, project.test.root().join("wheels").join(built.file_name().unwrap()))
                .unwrap();
        }
        // What uv finds must stay where it is: the maker's folder goes with it.
        let outside = project.test.root().join("outside");
        let sources = [maker.folder().to_str().unwrap(), outside.to_str().unwrap()];
        project.test.run("cp", &[&["-a"], &sources[..]].concat()).succeeds();
        fs_err::remove_file(outside.join("not-a-package-1.0/backend.py")).unwrap();
        bundle(&project, &outside);
        let server = Server::new(&outside.join("dist"));
        let bundle_url = server.url("bundle-7.tar.gz".as_ref());
        let wheel_url = server.url("url_wheel-1.0-py3-none-any.whl".as_ref());
        let sdist_url = server.url("url_sdist-1.0.tar.gz".as_ref());
        let git = |folder: &Path| format!("file://{}", outside.join(folder.file_name().unwrap()).display());
        let several = several(&project, &outside);
        let (files, in_files) = match files {
            FilesInGit::None => ("", String::new()),
            FilesInGit::Some => (
                ", \"git-wheel\", \"git-sdist\"",
                format!(
                    "git-wheel = {{git = \"{several}\", path = \"dist/git_wheel-1.0-py3-none-any.whl\"}}\n\
                     git-sdist = {{git = \"{several}\", branch = \"main\", path = \"dist/git_sdist-1.0.tar.gz\"}}\n"
                ),
            ),
        };
        let project = project.package(
            ".",
            "app",
            &format!(
                "version = \"1.0\"\nrequires-python = \">=3.10\"\ndependencies = [\"from-git\", \"from-branch\", \
                 \"url-wheel\", \"url-sdist\", \"path-wheel\", \"path-sdist\", \"plain\", \"linked\", \"not-a-package\", \
                 \"index-sdist\", \"index-wheel\", \"git-folder\", \"git-other\", \"url-folder\"{files}]\n[tool.uv.sources]\n{in_files}\
                 from-git = {{git = \"{}\", tag = \"v1\"}}\nfrom-branch = {{git = \"{}\"}}\n\
                 git-folder = {{git = \"{several}\", subdirectory = \"folder\"}}\n\
                 git-other = {{git = \"{several}\", subdirectory = \"deep/other\"}}\n\
                 url-wheel = {{url = \"{wheel_url}\"}}\nurl-sdist = {{url = \"{sdist_url}\"}}\n\
                 url-folder = {{url = \"{bundle_url}\", subdirectory = \"in/side\"}}\n\
                 path-wheel = {{path = \"../outside/dist/path_wheel-1.0-py3-none-any.whl\"}}\n\
                 path-sdist = {{path = \"../outside/dist/path_sdist-1.0.tar.gz\"}}\n\
                 plain = {{path = \"../outside/plain-1.0\"}}\n\
                 linked = {{path = \"../outside/linked-1.0\", editable = true}}\n\
                 not-a-package = {{path = \"../outside/not-a-package-1.0\", package = false}}\n",
                git(&repository),
                git(&by_branch),
            ),
        );
        project.uv(&["lock"]).succeeds();
        // When uv has just built an sdist, it writes a file more than when it has it in its cache.
        project.sync(&[]).unwrap();
        Self { project, _server: server }
    }
}

/// An archive with a project in it, named after neither.
fn bundle(project: &Project, outside: &Path) {
    fs_err::create_dir_all(outside.join("bundle-7/in")).unwrap();
    fs_err::rename(outside.join("url-folder-1.0"), outside.join("bundle-7/in/side")).unwrap();
    let (archive, folder) = (outside.join("dist/bundle-7.tar.gz"), outside.to_str().unwrap());
    project.test.run("tar", &["-czf", archive.to_str().unwrap(), "-C", folder, "bundle-7"]).succeeds();
}

/// The address of a Git repository with several projects in it, a wheel and a source archive.
fn several(project: &Project, outside: &Path) -> String {
    let repository = outside.join("several");
    fs_err::create_dir_all(repository.join("deep")).unwrap();
    fs_err::create_dir_all(repository.join("dist")).unwrap();
    for (from, to) in [
        ("git-folder-1.0", "folder"),
        ("git-other-1.0", "deep/other"),
        ("dist/git_wheel-1.0-py3-none-any.whl", "dist/git_wheel-1.0-py3-none-any.whl"),
        ("dist/git_sdist-1.0.tar.gz", "dist/git_sdist-1.0.tar.gz"),
    ] {
        fs_err::rename(outside.join(from), repository.join(to)).unwrap();
    }
    for arguments in [
        &["init", "--quiet", "--initial-branch", "main"][..],
        &["add", "."],
        &["commit", "--quiet", "--message", "Begin"],
    ] {
        let mut git = project.test.command("git");
        git.args(["-c", "user.name=test", "-c", "user.email=test@test.example"]);
        Outcome::of(git.args(arguments).current_dir(&repository)).succeeds();
    }
    format!("file://{}", repository.display())
}

const ALL: &str = "app-1.0-editable from-git-1.0 from-branch-1.0 url-wheel-1.0 url-sdist-1.0 path-wheel-1.0 path-sdist-1.0 \
                   plain-1.0 linked-1.0-editable index-sdist-1.0 index-wheel-1.0 git-folder-1.0 git-other-1.0 url-folder-1.0";
const FILES: &str = " git-wheel-1.0 git-sdist-1.0";

#[test]
fn every_source_of_a_uv_lock_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    for python in two_pythons() {
        let Sources { project, .. } = &Sources::new(&python, FilesInGit::Some);
        let all = format!("{ALL}{FILES}");
        let without_local = "from-git-1.0 from-branch-1.0 url-wheel-1.0 url-sdist-1.0 index-sdist-1.0 index-wheel-1.0 \
                             git-folder-1.0 git-other-1.0 url-folder-1.0 git-wheel-1.0 git-sdist-1.0";
        let rows = [
            ("", &*all),
            ("--no-editable", &all.replace("-editable", "")),
            ("--no-install-local", without_local),
        ];
        are_the_same(project, "uv.lock", &rows, |options| project.sync(options));
    }
}

#[test]
fn every_source_of_a_pylock_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    for python in two_pythons() {
        let Sources { project, .. } = &Sources::new(&python, FilesInGit::None);
        project.uv(&["export", "--quiet", "--format", "pylock.toml", "-o", "pylock.toml"]).succeeds();
        // uv says the folder of an archive twice, and then writes the URL with its fragment into direct_url.json.
        let path = project.folder.join("pylock.toml");
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.contains("#subdirectory=in/side\", subdirectory = \"in/side\""), "{text}");
        project.mount("pylock.toml", &[]).unwrap();
        fs_err::write(&path, text.replace("#subdirectory=in/side", "")).unwrap();
        are_the_same(project, "pylock.toml", &[("", ALL)], |options| {
            project.pip_sync("pylock.toml", options)
        });
        let plain = ALL.replace("-editable", "");
        are_the_same(project, "pylock.toml", &[("--no-editable", &plain)], |options| {
            project.pip_install("pylock.toml", options)
        });
        lock_with_pip(project);
        let others = ALL.replace("path-wheel-1.0 path-sdist-1.0", "");
        are_the_same(project, "../pylock.pip.toml", &[("", &others)], |options| {
            project.pip_sync("../pylock.pip.toml", options)
        });
    }
}

/// What pip writes of the same, but for archives by path: these it names by URLs that uv does not take.
fn lock_with_pip(project: &Project) {
    let requirements = project.folder.join("all.txt");
    let export = ["export", "--quiet", "--no-hashes", "--format", "requirements.txt", "-o", "all.txt"];
    project.uv(&export).succeeds();
    let text = fs_err::read_to_string(&requirements).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("outside/dist")).collect();
    assert!(lines.len() + 2 == text.lines().count(), "{text}");
    fs_err::write(&requirements, lines.join("\n")).unwrap();
    let mut lock = project.pip_command();
    // Its paths must lie below the folder of the lock.
    lock.args(["lock", "--quiet", "--no-index", "--find-links", "../wheels", "-r", "all.txt"]);
    Outcome::of(lock.args(["-o", "../pylock.pip.toml"])).succeeds();
}

#[test]
fn every_source_of_requirements_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    for python in two_pythons() {
        let Sources { project, .. } = &Sources::new(&python, FilesInGit::Some);
        let all = format!("{ALL}{FILES}");
        project
            .uv(&["export", "--quiet", "--format", "requirements.txt", "-o", "requirements.txt"])
            .succeeds();
        are_the_same(project, "requirements.txt", &[("", &all)], |options| {
            project.pip_sync("requirements.txt", options)
        });
        let rows = [
            ("--no-editable", &*all.replace("-editable", "")),
            ("--no-editable-package Linked", &all.replace("linked-1.0-editable", "linked-1.0")),
        ];
        are_the_same(project, "requirements.txt", &rows, |options| {
            project.pip_install("requirements.txt", options)
        });
    }
}

#[test]
fn every_source_is_got() {
    if !crate::common::fuse() {
        return;
    }
    let [oldest, _] = two_pythons();
    let Sources { project, .. } = &Sources::new(&oldest, FilesInGit::Some);
    let all = format!("{ALL}{FILES}");
    fetched(project, "uv.lock", &[], &all);
    project.uv(&["export", "--quiet", "--format", "requirements.txt", "-o", "requirements.txt"]).succeeds();
    fetched(project, "requirements.txt", &["--no-editable"], &all.replace("-editable", ""));
}
