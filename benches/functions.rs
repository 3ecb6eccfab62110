//! What a mount does in memory, function by function: `cargo bench`. Whole commands are measured by `make bench`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder};
use sitefs::error::Result;
use sitefs::lock::{Lock, Selection, Target};
use sitefs::python::tags::{InterpreterFacts, Linux, System};
use sitefs::python::{Tags, WheelName, record};
use tempfile::TempDir;

/// As many as the lock of tests/corpora/data.txt has.
const DISTRIBUTIONS: usize = 124;
/// The wheels of one version of a distribution with compiled code.
const PYTHONS: [&str; 5] = ["cp310-cp310", "cp311-cp311", "cp312-cp312", "cp313-cp313", "cp313-cp313t"];
const PLATFORMS: [&str; 7] = [
    "macosx_10_14_x86_64",
    "macosx_11_0_arm64",
    "manylinux_2_17_aarch64.manylinux2014_aarch64",
    "manylinux_2_17_x86_64.manylinux2014_x86_64",
    "musllinux_1_2_aarch64",
    "musllinux_1_2_x86_64",
    "win_amd64",
];

fn main() {
    divan::main();
}

#[divan::bench]
fn read_requirements(bencher: Bencher) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/data.txt");
    read(bencher, &file);
}

#[divan::bench]
fn read_uv_lock(bencher: Bencher) {
    let folder = Folder::with("uv.lock", &uv_lock());
    read(bencher, &folder.file);
}

#[divan::bench]
fn read_pylock(bencher: Bencher) {
    let folder = Folder::with("pylock.toml", &pylock());
    read(bencher, &folder.file);
}

#[divan::bench(args = [100, 10_000])]
fn read_record(bencher: Bencher, lines: usize) {
    let digest = "5hhM4Q4mYTT9z6QB6PGpUAW81PGNFrYrdXMj4oM_6ak";
    let text: String =
        (0..lines).map(|line| format!("package/folder/module{line}.py,sha256={digest},{line}\n")).collect();
    bencher.counter(ItemsCount::new(lines)).bench(|| record::parse(black_box(&text)));
}

#[divan::bench]
fn make_tags() -> Tags {
    Tags::new(black_box(&facts()))
}

#[divan::bench]
fn choose_a_wheel(bencher: Bencher) {
    let tags = Tags::new(&facts());
    let names = wheels("numpy", 0);
    bencher.counter(ItemsCount::new(names.len())).bench(|| {
        let fitting = names.iter().filter(|name| tags.may_fit(name)).filter_map(|name| name.parse().ok());
        fitting.filter_map(|wheel: WheelName| tags.rank(&wheel)).min()
    });
}

#[cfg(all(feature = "fuse", target_os = "linux"))]
#[divan::bench(args = [10, 100, 1000])]
#[expect(clippy::expect_used, reason = "an error would be measured as if it were a directory")]
fn merge_one_level(bencher: Bencher, distributions: usize) {
    use sitefs::view::{NodeId, View};

    let view = || merging::view(distributions).expect("a view");
    let list = |view: View| view.entries(NodeId::ROOT, 0).expect("its root").len();
    assert!(list(view()) > 0);
    bencher.counter(ItemsCount::new(distributions)).with_inputs(view).bench_values(list);
}

#[cfg(all(feature = "fuse", target_os = "linux"))]
mod merging {
    use rustix::fs::FileType;
    use sitefs::cache::Archive;
    use sitefs::error::Result;
    use sitefs::outside::Planned;
    use sitefs::python::PackageName;
    use sitefs::sys::directory::Entry;
    use sitefs::venv::{Layout, Scheme};
    use sitefs::view::{Distribution, Entries, View, Whiteouts};

    /// Distributions with a package, a module and a dist-info each, and a namespace that all share. Their roots have
    /// been listed, and nothing is read.
    pub(super) fn view(distributions: usize) -> Result<View> {
        let site_packages = std::path::PathBuf::from("lib/python3.11/site-packages");
        let scheme = Scheme {
            purelib: site_packages.clone(),
            platlib: site_packages,
            scripts: "bin".into(),
            headers: "include/site/python3.11".into(),
        };
        let layout = Layout { root: "/venv".into(), scheme, python_version: (3, 11) };
        let all = (0..distributions)
            .map(|number| Distribution::new(archive(number), Planned::default(), &layout, Entries::Symlink));
        View::new(all.collect(), None, Whiteouts::default(), layout.clone())
    }

    fn archive(number: usize) -> Archive {
        let name = format!("package{number}");
        let dist_info = format!("{name}-1.0.dist-info");
        let entry = |name: String, file_type| Entry { name: name.into(), file_type };
        Archive {
            root: format!("/cache/{name}").into(),
            top_level: vec![
                entry(name.clone(), FileType::Directory),
                entry(dist_info.clone(), FileType::Directory),
                entry("namespace".to_owned(), FileType::Directory),
                entry(format!("{name}_module.py"), FileType::RegularFile),
            ],
            name: PackageName::new(&name),
            version: "1.0".to_owned(),
            dist_info,
            data: None,
            entry_points: None,
            direct_url: None,
            generated: Vec::new(),
        }
    }
}

/// A lock in a folder of its own.
struct Folder {
    _folder: TempDir,
    file: PathBuf,
}

impl Folder {
    #[expect(clippy::expect_used, reason = "without a disk there is nothing to measure")]
    fn with(name: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join(name);
        fs_err::write(&file, text).expect("a lock in it");
        Self { _folder: folder, file }
    }
}

/// Reads a lock and selects what applies.
#[expect(clippy::expect_used, reason = "an error would be measured as if it were a lock")]
fn read(bencher: Bencher, file: &Path) {
    let (markers, tags) = (markers(), Tags::new(&facts()));
    let files = [file.to_owned()];
    let read = || -> Result<usize> {
        let target = Target { markers: &markers, tags: &tags };
        let lock = Lock::read(black_box(&files), target, &Selection::default())?;
        Ok(lock.select(&markers)?.len())
    };
    assert_eq!(read().expect("a lock that can be read"), DISTRIBUTIONS);
    bencher.counter(ItemsCount::new(DISTRIBUTIONS)).bench(read);
}

#[expect(clippy::expect_used, reason = "these facts are right")]
fn markers() -> MarkerEnvironment {
    MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: "3.11.7",
        os_name: "posix",
        platform_machine: "x86_64",
        platform_python_implementation: "CPython",
        platform_release: "6.1.0",
        platform_system: "Linux",
        platform_version: "#1 SMP",
        python_full_version: "3.11.7",
        python_version: "3.11",
        sys_platform: "linux",
    })
    .expect("markers")
}

fn facts() -> InterpreterFacts {
    InterpreterFacts {
        implementation: "cpython".to_owned(),
        version: (3, 11),
        ext_suffix: Some(".cpython-311-x86_64-linux-gnu.so".to_owned()),
        debug: false,
        gil_disabled: false,
        system: System::Linux(Linux {
            platform: "linux-x86_64".to_owned(),
            is_32bit: false,
            glibc: Some((2, 36)),
            musl: None,
            elf_abi: None,
        }),
    }
}

/// Every fourth distribution has compiled code.
fn wheels(name: &str, number: usize) -> Vec<String> {
    if !number.is_multiple_of(4) {
        return vec![format!("{name}-1.0-py3-none-any.whl")];
    }
    let of_python =
        |python| PLATFORMS.iter().map(move |platform| format!("{name}-1.0-{python}-{platform}.whl"));
    PYTHONS.iter().flat_map(of_python).collect()
}

fn tables_of_wheels(name: &str, number: usize, indent: &str) -> String {
    let digest = format!("{number:064x}");
    let table = |wheel| {
        let url = format!("https://index.example/packages/{digest}/{wheel}");
        format!("{indent}{{ url = \"{url}\", hash = \"sha256:{digest}\", size = 12345 }},\n")
    };
    wheels(name, number).into_iter().map(table).collect()
}

/// A project with its dependencies for all platforms, as `uv lock` writes it. Each needs the one after it.
fn uv_lock() -> String {
    let mut text = "version = 1\nrevision = 3\nrequires-python = \">=3.10\"\n".to_owned();
    for number in 0..DISTRIBUTIONS {
        let name = format!("package{number:03}");
        let registry = "{ registry = \"https://index.example/simple\" }";
        let _ = write!(text, "\n[[package]]\nname = \"{name}\"\nversion = \"1.0\"\nsource = {registry}\n");
        if number + 1 < DISTRIBUTIONS {
            let _ = write!(text, "dependencies = [\n    {{ name = \"package{:03}\" }},\n]\n", number + 1);
        }
        let _ = write!(text, "wheels = [\n{}]\n", tables_of_wheels(&name, number, "    "));
    }
    text + "\n[[package]]\nname = \"project\"\nversion = \"0.1.0\"\nsource = { virtual = \".\" }\n\
        dependencies = [\n    { name = \"package000\" },\n]\n"
}

/// The same as `uv export --format pylock.toml` writes it.
fn pylock() -> String {
    let mut text = "lock-version = \"1.0\"\ncreated-by = \"uv\"\nrequires-python = \">=3.10\"\n".to_owned();
    for number in 0..DISTRIBUTIONS {
        let name = format!("package{number:03}");
        let wheels = tables_of_wheels(&name, number, "    ");
        let wheels =
            wheels.replace("hash = \"sha256:", "hashes = { sha256 = \"").replace("\", size", "\" }, size");
        let index = "https://index.example/simple";
        let _ = write!(text, "\n[[packages]]\nname = \"{name}\"\nversion = \"1.0\"\nindex = \"{index}\"\n");
        let _ = write!(text, "wheels = [\n{wheels}]\n");
    }
    text
}
