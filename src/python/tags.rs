//! Compatibility tags: which wheels an interpreter can use, and which it likes best.

mod linux;
mod macos;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::{Deserialize, Serialize};

use super::WheelName;
pub use linux::{ElfAbi, Linux};
pub use macos::MacOs;

/// The tags that an interpreter supports, best first.
///
/// They are kept as families (a python and an abi tag) times platforms, because the whole list is a thousand long and
/// most callers ask for a few ranks.
///
/// Source: <https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/> (PEP 425, 600, 656).
#[derive(Clone, Debug)]
pub struct Tags {
    families: Vec<Family>,
    platforms: Vec<String>,
    /// The python tags of `{python}-none-any`, which come after all others.
    pure: Vec<String>,
    family_ranks: HashMap<String, Vec<(String, usize)>>,
    platform_ranks: HashMap<String, usize>,
    pure_ranks: HashMap<String, usize>,
}

/// A python tag and an abi tag.
type Family = (String, String);

/// What the tags of an interpreter follow from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterpreterFacts {
    /// `sys.implementation.name`, as `cpython`.
    pub implementation: String,
    /// `sys.version_info[:2]`
    pub version: (u32, u32),
    /// `sysconfig.get_config_var("EXT_SUFFIX")`, as `.cpython-311-x86_64-linux-gnu.so`.
    pub ext_suffix: Option<String>,
    /// Built with `--with-pydebug`.
    pub debug: bool,
    /// Built with `--disable-gil` (PEP 703).
    pub gil_disabled: bool,
    /// What it runs on.
    pub system: System,
}

/// What an interpreter runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum System {
    /// Linux, with glibc, musl or neither.
    Linux(Linux),
    /// macOS.
    MacOs(MacOs),
    /// Windows and all others, whose platform is one fixed tag.
    Other {
        /// `sysconfig.get_platform()`, as `win-amd64`.
        platform: String,
    },
}

impl Tags {
    /// The tags of an interpreter, the same and in the same order as `packaging.tags.sys_tags()` of packaging 26.3.
    ///
    /// Source: <https://packaging.pypa.io/en/stable/tags.html>
    pub fn new(facts: &InterpreterFacts) -> Self {
        let mut families = native_families(facts);
        families
            .extend(compatible_pythons(facts.version).into_iter().map(|python| (python, "none".to_owned())));
        let platforms = facts.system.platforms();
        let pure = pure_pythons(facts);

        let mut family_ranks: HashMap<String, Vec<(String, usize)>> = HashMap::new();
        for (rank, (python, abi)) in families.iter().enumerate() {
            family_ranks.entry(python.clone()).or_default().push((abi.clone(), rank));
        }
        Self {
            family_ranks,
            platform_ranks: first_ranks(&platforms),
            pure_ranks: first_ranks(&pure),
            families,
            platforms,
            pure,
        }
    }

    /// How well `wheel` fits: 0 is best, `None` is not at all.
    pub fn rank(&self, wheel: &WheelName) -> Option<usize> {
        let of_platforms = |python, abi| {
            wheel.platform.iter().filter_map(move |platform| self.rank_of(python, abi, platform))
        };
        wheel
            .python
            .iter()
            .flat_map(|python| wheel.abi.iter().flat_map(move |abi| of_platforms(python, abi)))
            .min()
    }

    /// Whether a wheel of this file name may fit: a quick look at its tags, before the name is read.
    pub fn may_fit(&self, file_name: &str) -> bool {
        let mut parts = file_name.strip_suffix(".whl").unwrap_or_default().rsplitn(4, '-');
        let (Some(platforms), Some(abis), Some(pythons)) = (parts.next(), parts.next(), parts.next()) else {
            return true;
        };
        // Tags are compared in lower case, which the name is not yet in.
        let is_lower = |tags: &str| !tags.bytes().any(|byte| byte.is_ascii_uppercase());
        let fits = |python: &str, abi: &str| {
            platforms.split('.').any(|platform| self.rank_of(python, abi, platform).is_some())
        };
        ![pythons, abis, platforms].into_iter().all(is_lower)
            || pythons.split('.').any(|python| abis.split('.').any(|abi| fits(python, abi)))
    }

    /// Every tag, best first, as `cp311-cp311-manylinux_2_36_x86_64`.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        let native = self.families.iter().flat_map(|(python, abi)| {
            self.platforms.iter().map(move |platform| format!("{python}-{abi}-{platform}"))
        });
        native.chain(self.pure.iter().map(|python| format!("{python}-none-any")))
    }

    /// What tells them from the tags of another interpreter.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let families = self.families.iter().flat_map(|(python, abi)| [python, abi]);
        families.chain(&self.platforms).chain(&self.pure).map(String::as_str)
    }

    fn rank_of(&self, python: &str, abi: &str, platform: &str) -> Option<usize> {
        let width = self.platforms.len();
        if platform == "any" {
            let rank = self.pure_ranks.get(python).filter(|_| abi == "none")?;
            return Some(self.families.len() * width + rank);
        }
        let platform_rank = self.platform_ranks.get(platform)?;
        let abis = self.family_ranks.get(python)?;
        let (_, family_rank) = abis.iter().find(|(other, _)| other == abi)?;
        Some(family_rank * width + platform_rank)
    }
}

impl System {
    fn platforms(&self) -> Vec<String> {
        match self {
            Self::Linux(linux) => linux.platforms(),
            Self::MacOs(macos) => macos.platforms(),
            Self::Other { platform } => vec![normalize(platform)],
        }
    }
}

/// The families of the interpreter itself, before those of every Python of its version.
fn native_families(facts: &InterpreterFacts) -> Vec<Family> {
    if facts.implementation == "cpython" {
        return cpython_families(facts);
    }
    let python = interpreter_tag(facts);
    let mut abis = generic_abis(facts);
    if !abis.iter().any(|abi| abi == "none") {
        abis.push("none".to_owned());
    }
    abis.into_iter().map(|abi| (python.clone(), abi)).collect()
}

fn cpython_families(facts: &InterpreterFacts) -> Vec<Family> {
    let (major, minor) = facts.version;
    let python = interpreter_tag(facts);
    // A free-threaded build has a stable ABI of its own (PEP 803); older ones are usable in both.
    let stable = if is_free_threaded(facts) { "abi3t" } else { "abi3" };
    let mut families: Vec<Family> = cpython_abis(facts)
        .into_iter()
        .chain([stable.to_owned(), "none".to_owned()])
        .map(|abi| (python.clone(), abi))
        .collect();
    families.extend((2..minor).rev().map(|minor| (format!("cp{major}{minor}"), stable.to_owned())));
    families
}

fn cpython_abis(facts: &InterpreterFacts) -> Vec<String> {
    let (major, minor) = facts.version;
    let threading = if is_free_threaded(facts) { "t" } else { "" };
    let release = format!("cp{major}{minor}{threading}");
    if facts.debug {
        // A debug build also loads the extensions of a release build.
        vec![format!("{release}d"), release]
    } else {
        vec![release]
    }
}

fn is_free_threaded(facts: &InterpreterFacts) -> bool {
    facts.gil_disabled && facts.version >= (3, 13)
}

/// The abi in `EXT_SUFFIX` without its platform: `.pypy310-pp73-x86_64-linux-gnu.so` has `pypy310_pp73`.
fn generic_abis(facts: &InterpreterFacts) -> Vec<String> {
    let parts: Vec<&str> = facts.ext_suffix.as_deref().unwrap_or_default().split('.').collect();
    let [_, soabi, _, ..] = *parts.as_slice() else {
        return cpython_abis(facts);
    };
    let fields: Vec<&str> = soabi.split('-').collect();
    let first = |count: usize| fields.iter().take(count).copied().collect::<Vec<_>>().join("-");
    let abi = if soabi.starts_with("cpython") {
        format!("cp{}", fields.get(1).unwrap_or(&""))
    } else if soabi.starts_with("cp") {
        first(1)
    } else if soabi.starts_with("pypy") {
        first(2)
    } else if soabi.starts_with("graalpy") {
        first(3)
    } else {
        soabi.to_owned()
    };
    if abi.is_empty() { Vec::new() } else { vec![normalize(&abi)] }
}

fn interpreter_tag(facts: &InterpreterFacts) -> String {
    let (major, minor) = facts.version;
    let short = match facts.implementation.as_str() {
        "python" => "py",
        "cpython" => "cp",
        "pypy" => "pp",
        "ironpython" => "ip",
        "jython" => "jy",
        other => other,
    };
    format!("{short}{major}{minor}").to_ascii_lowercase()
}

/// `py311`, `py3`, then `py310` down to `py30`.
fn compatible_pythons((major, minor): (u32, u32)) -> Vec<String> {
    let mut pythons = vec![format!("py{major}{minor}"), format!("py{major}")];
    pythons.extend((0..minor).rev().map(|minor| format!("py{major}{minor}")));
    pythons
}

fn pure_pythons(facts: &InterpreterFacts) -> Vec<String> {
    let own = match facts.implementation.as_str() {
        "cpython" => Some(interpreter_tag(facts)),
        "pypy" => Some("pp3".to_owned()),
        _ => None,
    };
    own.into_iter().chain(compatible_pythons(facts.version)).collect()
}

fn first_ranks(tags: &[String]) -> HashMap<String, usize> {
    let mut ranks = HashMap::with_capacity(tags.len());
    for (rank, tag) in tags.iter().enumerate() {
        if let Entry::Vacant(vacant) = ranks.entry(tag.clone()) {
            vacant.insert(rank);
        }
    }
    ranks
}

fn normalize(text: &str) -> String {
    text.replace(['.', '-', ' '], "_").to_ascii_lowercase()
}

#[cfg(test)]
impl Tags {
    /// The tags of a CPython 3 on x86_64 Linux with glibc 2.36, for tests.
    pub(crate) fn cpython_on_linux(minor: u32) -> Self {
        Self::new(&tests::cpython(minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn cpython(minor: u32) -> InterpreterFacts {
        InterpreterFacts {
            implementation: "cpython".to_owned(),
            version: (3, minor),
            ext_suffix: Some(format!(".cpython-3{minor}-x86_64-linux-gnu.so")),
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

    fn windows(facts: InterpreterFacts) -> Tags {
        Tags::new(&InterpreterFacts { system: System::Other { platform: "win-amd64".to_owned() }, ..facts })
    }

    #[test]
    fn a_quick_look_says_the_same_as_a_rank() {
        let tags = Tags::new(&cpython(11));
        for name in [
            "a-1-py3-none-any.whl",
            "a-1-2-py2.py3-none-any.whl",
            "a_b-1.0+x-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp39-abi3-manylinux_2_17_x86_64.whl",
            "a-1-CP311-cp311-LINUX_x86_64.whl",
            "a-1-cp312-cp312-manylinux_2_17_x86_64.whl",
            "a-1-cp311-cp311-win_amd64.whl",
            "a-1-cp311-cp311t-manylinux_2_17_x86_64.whl",
        ] {
            let wheel: WheelName = name.parse().unwrap();
            assert_eq!(tags.may_fit(name), tags.rank(&wheel).is_some(), "{name}");
        }
        assert!(tags.may_fit("no-wheel.whl"));
    }

    #[test]
    fn cpython_prefers_its_own_abi_then_the_stable_one_then_none() {
        let tags: Vec<String> = windows(cpython(4)).iter().collect();
        assert_eq!(
            tags,
            [
                "cp34-cp34-win_amd64",
                "cp34-abi3-win_amd64",
                "cp34-none-win_amd64",
                "cp33-abi3-win_amd64",
                "cp32-abi3-win_amd64",
                "py34-none-win_amd64",
                "py3-none-win_amd64",
                "py33-none-win_amd64",
                "py32-none-win_amd64",
                "py31-none-win_amd64",
                "py30-none-win_amd64",
                "cp34-none-any",
                "py34-none-any",
                "py3-none-any",
                "py33-none-any",
                "py32-none-any",
                "py31-none-any",
                "py30-none-any",
            ]
        );
    }

    #[test]
    fn free_threading_and_debugging_change_the_abi() {
        let first = |count, facts| windows(facts).iter().take(count).collect::<Vec<_>>();
        let threaded = InterpreterFacts { gil_disabled: true, ..cpython(14) };
        assert_eq!(
            first(4, threaded.clone()),
            [
                "cp314-cp314t-win_amd64",
                "cp314-abi3t-win_amd64",
                "cp314-none-win_amd64",
                "cp313-abi3t-win_amd64"
            ]
        );
        let both = InterpreterFacts { debug: true, ..threaded };
        assert_eq!(
            first(3, both),
            ["cp314-cp314td-win_amd64", "cp314-cp314t-win_amd64", "cp314-abi3t-win_amd64"]
        );
    }

    #[test]
    fn other_implementations_take_their_abi_from_the_extension_suffix() {
        let abis = |implementation: &str, suffix: &str| {
            let facts = InterpreterFacts {
                implementation: implementation.to_owned(),
                ext_suffix: Some(suffix.to_owned()),
                ..cpython(10)
            };
            windows(facts)
                .families
                .into_iter()
                .map(|(python, abi)| format!("{python}-{abi}"))
                .take(2)
                .collect::<Vec<_>>()
        };
        assert_eq!(abis("pypy", ".pypy310-pp73-x86_64-linux-gnu.so"), ["pp310-pypy310_pp73", "pp310-none"]);
        assert_eq!(
            abis("graalpy", ".graalpy-310-native-x86_64-darwin.dylib"),
            ["graalpy310-graalpy_310_native", "graalpy310-none"]
        );
        assert_eq!(
            abis("pyston", ".pyston-23-x86_64-linux-gnu.so"),
            ["pyston310-pyston_23_x86_64_linux_gnu", "pyston310-none"]
        );
        assert_eq!(abis("other", "..so"), ["other310-none", "py310-none"]);
    }

    #[test]
    fn pypy_takes_pure_wheels_of_pypy_first() {
        let facts = InterpreterFacts {
            implementation: "pypy".to_owned(),
            ext_suffix: Some(".pypy310-pp73-x86_64-linux-gnu.so".to_owned()),
            ..cpython(10)
        };
        let pure: Vec<String> =
            Tags::new(&facts).iter().filter(|tag| tag.ends_with("-any")).take(3).collect();
        assert_eq!(pure, ["pp3-none-any", "py310-none-any", "py3-none-any"]);
    }

    #[test]
    fn the_rank_of_a_wheel_is_the_place_of_its_best_tag() {
        let tags = Tags::cpython_on_linux(11);
        let rank = |tag: &str| tags.rank(&format!("x-1-{tag}.whl").parse().unwrap());
        for (place, tag) in tags.iter().enumerate() {
            assert_eq!(rank(&tag), Some(place), "{tag}");
        }
        let best = "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64";
        assert_eq!(rank(best), rank("cp311-cp311-manylinux_2_17_x86_64"));
        assert_eq!(rank("py2.py3-none-any"), rank("py3-none-any"));
        assert!(rank(best) < rank("cp38-abi3-manylinux_2_17_x86_64"));
        for foreign in [
            "cp312-cp312-manylinux_2_17_x86_64",
            "cp311-cp311-manylinux_2_37_x86_64",
            "cp311-cp311-win_amd64",
            "cp311-cp311-any",
            "py2-none-any",
        ] {
            assert_eq!(rank(foreign), None, "{foreign}");
        }
    }
}
