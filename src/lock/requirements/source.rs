//! Where a direct requirement comes from: a URL, a Git repository, or a path.

use std::path::{Path, PathBuf};

use pep440_rs::Version;
use url::Url;

use crate::error::{Context, Error, Result};
use crate::python::PackageName;

use crate::lock::Source;
use crate::lock::artifact::{file_name, resolved};

/// A source, and what its text says of the distribution.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) source: Source,
    /// From `#egg=`, or from the file name of an archive.
    pub(super) name: Option<PackageName>,
    /// From the file name of an archive.
    pub(super) version: Option<Version>,
    /// `algorithm:digest`, from the fragment.
    pub(super) hashes: Vec<String>,
}

impl Located {
    /// Whether it is one file that is no wheel.
    pub(super) fn is_source_archive(&self) -> bool {
        matches!(&self.source, Source::Archive { url, .. } if !url.path().ends_with(".whl"))
    }
}

/// True for text that is a URL or a path rather than a name.
pub(super) fn is_direct(text: &str) -> bool {
    text.starts_with(['.', '/']) || text.contains(['/', ':']) || is_archive(text)
}

/// Reads a URL or a path; a relative path counts from `directory`.
///
/// # Errors
/// A URL that is malformed or of a kind that is not supported; `editable` where it cannot be.
pub(super) fn locate(text: &str, editable: bool, directory: &Path) -> Result<Located> {
    let (address, fragment) = Fragment::split(text)?;
    let source = match address.split_once(':') {
        Some((scheme, _)) if scheme.starts_with("git+") => git(address, &fragment)?,
        Some(("http" | "https", rest)) if rest.starts_with("//") => {
            Source::Archive { url: parse_url(address)?, subdirectory: fragment.subdirectory.clone() }
        }
        Some(("file", path)) => on_disk(&file_url_path(address, path, directory)?, editable, &fragment)?,
        Some((scheme, rest)) if rest.starts_with("//") => {
            return Err(Error::new(format!("`{scheme}` URLs are not supported"))
                .with_help("use a `https:`, `file:` or `git+https:` URL"));
        }
        _ => on_disk(&directory.join(without_extras(address)), editable, &fragment)?,
    };
    if editable && matches!(source, Source::Archive { .. }) {
        return Err(
            Error::new("only a directory or a Git repository can be editable").with_help("leave out `-e`")
        );
    }
    let (name, version) = match &source {
        // A file that holds several is named after none of them.
        Source::Archive { subdirectory: Some(_), .. } => (None, None),
        Source::Archive { url, .. } => named_by_file(&file_name(url.as_str())),
        Source::Git { file: Some(file), .. } => named_by_file(&file_name(file)),
        _ => (None, None),
    };
    Ok(Located { source, name: fragment.egg.or(name), version, hashes: fragment.hashes })
}

/// What follows `#`: `egg=`, `subdirectory=`, uv's `path=`, and digests as `sha256=`.
#[derive(Default)]
struct Fragment {
    egg: Option<PackageName>,
    subdirectory: Option<String>,
    path: Option<String>,
    hashes: Vec<String>,
}

impl Fragment {
    fn split(text: &str) -> Result<(&str, Self)> {
        let mut fragment = Self::default();
        let Some((address, parameters)) = text.split_once('#') else {
            return Ok((text, fragment));
        };
        for parameter in parameters.split('&') {
            match parameter.split_once('=') {
                Some(("egg", egg)) => {
                    let name = egg.split(['[', '%']).next().unwrap_or_default();
                    fragment.egg = Some(PackageName::parse(name)?);
                }
                Some(("subdirectory", path)) => fragment.subdirectory = Some(within("subdirectory", path)?),
                Some(("path", path)) => fragment.path = Some(within("path", path)?),
                Some((algorithm @ ("md5" | "sha1" | "sha224" | "sha256" | "sha384" | "sha512"), digest)) => {
                    fragment.hashes.push(format!("{algorithm}:{digest}"));
                }
                Some(_) => {}
                None => return Err(Error::new(format!("`#{parameter}` is not understood"))),
            }
        }
        Ok((address, fragment))
    }
}

fn within(key: &str, path: &str) -> Result<String> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(Error::new(format!("`#{key}={path}` leaves the source")));
    }
    Ok(path.to_owned())
}

/// Source: <https://pip.pypa.io/en/stable/topics/vcs-support/#git>
fn git(address: &str, fragment: &Fragment) -> Result<Source> {
    let mut repository = parse_url(address.trim_start_matches("git+"))?;
    let path = repository.path().to_owned();
    let revision = match path.rsplit_once('@') {
        Some((path, revision)) if !revision.is_empty() => {
            repository.set_path(path);
            Some(revision.to_owned())
        }
        _ => None,
    };
    let commit = revision.clone().filter(|revision| is_commit(revision));
    let (subdirectory, file) = (fragment.subdirectory.clone(), fragment.path.clone());
    Ok(Source::Git { repository, revision, commit, subdirectory, file })
}

fn parse_url(text: &str) -> Result<Url> {
    Url::parse(text).context(|| "the URL is not understood".to_owned())
}

/// The path of a `file:` URL; tools also write `file:relative/path`.
fn file_url_path(url: &str, after_scheme: &str, directory: &Path) -> Result<PathBuf> {
    if !after_scheme.starts_with('/') {
        return Ok(directory.join(after_scheme));
    }
    parse_url(url)?.to_file_path().map_err(|()| Error::new("the URL names no file of this machine"))
}

fn on_disk(path: &Path, editable: bool, fragment: &Fragment) -> Result<Source> {
    let path = resolved(path).context(|| "the path is not understood".to_owned())?;
    if is_archive(&path.to_string_lossy()) {
        let url = Url::from_file_path(&path).map_err(|()| Error::new("the path is not understood"))?;
        let subdirectory = fragment.subdirectory.clone();
        return Ok(Source::Archive { url, subdirectory });
    }
    let path = match &fragment.subdirectory {
        Some(subdirectory) => path.join(subdirectory),
        None => path,
    };
    Ok(Source::Directory { path, editable: editable.then_some(true) })
}

/// A branch or a tag can move; the whole name of a commit cannot.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// `./project[extra]` is the path `./project`: a lock lists what extras bring.
fn without_extras(path: &str) -> &str {
    match path.strip_suffix(']').and_then(|path| path.rsplit_once('[')) {
        Some((path, _)) => path,
        None => path,
    }
}

const SOURCE_ARCHIVES: [&str; 8] =
    [".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tbz", ".txz"];

fn is_archive(path: &str) -> bool {
    path.ends_with(".whl") || SOURCE_ARCHIVES.iter().any(|suffix| path.ends_with(suffix))
}

/// What the file name of a wheel or source archive says; of neither if it is not named as the standards say.
fn named_by_file(file_name: &str) -> (Option<PackageName>, Option<Version>) {
    let name_and_version = match file_name.strip_suffix(".whl") {
        Some(stem) => {
            let parts: Vec<&str> = stem.split('-').collect();
            match parts.as_slice() {
                [name, version, _, _, _] | [name, version, _, _, _, _] => Some((*name, *version)),
                _ => None,
            }
        }
        None => SOURCE_ARCHIVES
            .iter()
            .find_map(|suffix| file_name.strip_suffix(suffix))
            .and_then(|stem| stem.rsplit_once('-')),
    };
    let read = name_and_version
        .and_then(|(name, version)| Some((PackageName::parse(name).ok()?, version.parse::<Version>().ok()?)));
    read.unzip()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Located, Source, is_direct, locate, named_by_file};

    fn located(text: &str) -> Located {
        locate(text, false, Path::new("/work dir")).unwrap()
    }

    fn error(text: &str, editable: bool) -> String {
        locate(text, editable, Path::new("/d")).unwrap_err().to_string()
    }

    #[test]
    fn names_are_told_from_urls_and_paths() {
        for direct in
            ["./a", "/a", "a/b", "../a", ".", "https://x/y", "file:a", "a-1.0-py3-none-any.whl", "a-1.zip"]
        {
            assert!(is_direct(direct), "{direct}");
        }
        for name in ["a", "a.b", "zip", "a==1"] {
            assert!(!is_direct(name), "{name}");
        }
    }

    #[test]
    fn a_wheel_says_its_name_and_version() {
        let wheel =
            located("https://files.example/t/Torch_x-2.0%2Bcpu-1-cp311-cp311-linux_x86_64.whl#sha256=ab");
        assert_eq!(wheel.name.unwrap().as_str(), "torch-x");
        assert_eq!(wheel.version.unwrap().to_string(), "2.0+cpu");
        assert_eq!(wheel.hashes, ["sha256:ab"]);
        let Source::Archive { url, .. } = wheel.source else {
            panic!("a wheel is an archive");
        };
        assert_eq!(url.fragment(), None);
        let several = located("./dist/a-b-1.5.tar.gz#subdirectory=c");
        assert_eq!((several.name, several.version), (None, None));
        let sdist = located("./dist/a-b-1.5.tar.gz");
        assert_eq!(sdist.name.unwrap().as_str(), "a-b");
        assert_eq!(sdist.version.unwrap().to_string(), "1.5");
        assert_eq!(named_by_file("main.zip"), (None, None));
        assert_eq!(named_by_file("a-1.0.whl"), (None, None));
    }

    #[test]
    fn a_git_url_is_split_into_its_parts() {
        let git = located("git+https://me@git.example/a/b.git@release/1#subdirectory=sub/c&egg=My_Name[x]");
        assert_eq!(git.name.unwrap().as_str(), "my-name");
        assert_eq!(
            git.source,
            Source::Git {
                repository: "https://me@git.example/a/b.git".parse().unwrap(),
                revision: Some("release/1".into()),
                commit: None,
                subdirectory: Some("sub/c".into()),
                file: None,
            }
        );
        let file = located("git+https://git.example/a@v1#path=dist/b_c-1.5-py3-none-any.whl");
        assert_eq!((file.name.unwrap().as_str(), file.version.unwrap().to_string().as_str()), ("b-c", "1.5"));
        let Source::Git { file: Some(file), .. } = file.source else {
            panic!("it is a file in a repository");
        };
        assert_eq!(file, "dist/b_c-1.5-py3-none-any.whl");
        let Source::Git { revision, .. } = located("git+ssh://git@git.example/a").source else {
            panic!("git+ssh is Git");
        };
        assert_eq!(revision, None);
    }

    #[test]
    fn paths_and_file_urls_are_absolute() {
        for (text, expected) in [
            ("./a", "/work dir/a"),
            (".[extra]", "/work dir"),
            ("file:a", "/work dir/a"),
            ("../b/./c", "/b/c"),
            ("file:///a/../b", "/b"),
            ("./a#subdirectory=b/c", "/work dir/a/b/c"),
            ("file:///a%20b/", "/a b"),
            ("file://localhost/a", "/a"),
            ("/a#egg=x&subdirectory=s", "/a/s"),
        ] {
            let Source::Directory { path, .. } = located(text).source else {
                panic!("{text} is a directory");
            };
            assert_eq!(path, Path::new(expected), "{text}");
        }
        let Source::Archive { url, .. } = located("a-1.0-py3-none-any.whl").source else {
            panic!("a wheel is an archive");
        };
        assert_eq!(url.as_str(), "file:///work%20dir/a-1.0-py3-none-any.whl");
    }

    #[test]
    fn what_is_not_supported_says_so() {
        assert!(error("hg+https://x.example/a", false).contains("`hg+https` URLs are not supported"));
        assert!(error("git+me@x.example:a/b", false).contains("the URL is not understood"));
        assert!(error("file://other/a", false).contains("no file of this machine"));
        assert!(error("./a-1.0-py3-none-any.whl", true).contains("editable"));
        assert!(error("https://x.example/a", true).contains("editable"));
        assert!(error("./a#egg=a!", false).contains("a!"));
        assert!(error("git+https://x.example/a#subdirectory=../b", false).contains("leaves the source"));
        assert!(error("git+https://x.example/a#path=/b.whl", false).contains("leaves the source"));
    }
}
