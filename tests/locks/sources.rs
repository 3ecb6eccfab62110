//! Where a distribution can come from: Git, URLs, archives and folders on this machine.

use crate::project::Project;
use crate::tools::{Server, Uv};
use crate::{are_the_same, two_pythons};

const NEWEST: &str = "0.13.9";

/// A project with a dependency of each kind of source.
fn project() -> (Project, Server) {
    let [_, python] = two_pythons();
    let project = Project::new(&python);
    let maker = Uv::new(NEWEST);
    let (repository, _) = maker.repository("from-git", "1.0");
    let (by_branch, _) = maker.repository("from-branch", "1.0");
    for (name, kind) in
        [("url-wheel", "wheel"), ("url-sdist", "sdist"), ("path-wheel", "wheel"), ("path-sdist", "sdist")]
    {
        maker.build(name, "1.0", kind);
    }
    for name in ["plain", "linked", "not-a-package"] {
        maker.project(name, "1.0");
    }
    for (name, kind) in [("index-sdist", "sdist"), ("index-wheel", "wheel")] {
        let built = maker.build(name, "1.0", kind);
        fs_err::copy(&built, project.test.root().join("wheels").join(built.file_name().unwrap())).unwrap();
    }
    // What uv finds must stay where it is: the maker's folder goes with it.
    let outside = project.test.root().join("outside");
    project.test.run("cp", &["-a", maker.folder().to_str().unwrap(), outside.to_str().unwrap()]).succeeds();
    project
        .test
        .run("rm", &["-r", outside.join("not-a-package-1.0/backend.py").to_str().unwrap()])
        .succeeds();
    let server = Server::new(&outside.join("dist"));
    let wheel_url = server.url("url_wheel-1.0-py3-none-any.whl".as_ref());
    let sdist_url = server.url("url_sdist-1.0.tar.gz".as_ref());
    let git =
        |folder: &std::path::Path| format!("file://{}", outside.join(folder.file_name().unwrap()).display());
    let project = project.package(
        ".",
        "app",
        &format!(
            "version = \"1.0\"\nrequires-python = \">=3.10\"\ndependencies = [\"from-git\", \"from-branch\", \
             \"url-wheel\", \"url-sdist\", \"path-wheel\", \"path-sdist\", \"plain\", \"linked\", \"not-a-package\", \
             \"index-sdist\", \"index-wheel\"]\n[tool.uv.sources]\n\
             from-git = {{git = \"{}\", tag = \"v1\"}}\nfrom-branch = {{git = \"{}\"}}\n\
             url-wheel = {{url = \"{wheel_url}\"}}\nurl-sdist = {{url = \"{sdist_url}\"}}\n\
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
    (project, server)
}

const ALL: &str = "app-1.0-editable from-git-1.0 from-branch-1.0 url-wheel-1.0 url-sdist-1.0 path-wheel-1.0 path-sdist-1.0 \
                   plain-1.0 linked-1.0-editable index-sdist-1.0 index-wheel-1.0";

#[test]
fn every_source_of_a_uv_lock_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    let (project, _server) = project();
    // When uv has just built an sdist, it writes a file more than when it has it in its cache.
    project.sync(&[]).unwrap();
    are_the_same(
        &project,
        "uv.lock",
        &[("", ALL), ("--no-editable", &ALL.replace("-editable", ""))],
        |options| project.sync(options),
    );
}

#[test]
fn every_source_of_a_pylock_gives_what_uv_installs() {
    if !crate::common::fuse() {
        return;
    }
    let (project, _server) = project();
    project.sync(&[]).unwrap();
    project.uv(&["export", "--quiet", "--format", "pylock.toml", "-o", "pylock.toml"]).succeeds();
    are_the_same(&project, "pylock.toml", &[("", ALL)], |options| project.pip_sync("pylock.toml", options));
}
