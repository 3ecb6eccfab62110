//! Merging one level of the union: a pure function from lists of names to entries.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::layer::LayerId;
use crate::sys::directory::Entry;
use crate::sys::posix::FileType;

/// What the view shows under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// A directory over those layers that have it, lowest first.
    Directory(Vec<LayerId>),
    /// A leaf of one layer.
    Leaf(LayerId, FileType),
}

/// Merges the listings of one directory's layers, lowest first, into its entries, sorted by name.
///
/// A leaf hides all that lies below it, whatever it is; a directory joins the directories below it, down to the first
/// leaf. So the highest layer wins, and always the same one.
pub(super) fn merge(listings: Vec<(LayerId, Vec<Entry>)>) -> BTreeMap<OsString, Merged> {
    let mut entries: BTreeMap<OsString, Merged> = BTreeMap::new();
    for (layer, listing) in listings {
        for Entry { name, file_type } in listing {
            match (file_type, entries.get_mut(&name)) {
                (FileType::Directory, Some(Merged::Directory(layers))) => layers.push(layer),
                (FileType::Directory, _) => {
                    entries.insert(name, Merged::Directory(vec![layer]));
                }
                (file_type, _) => {
                    entries.insert(name, Merged::Leaf(layer, file_type));
                }
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> Entry {
        Entry { name: name.into(), file_type: FileType::Directory }
    }

    fn file(name: &str) -> Entry {
        Entry { name: name.into(), file_type: FileType::RegularFile }
    }

    fn merged(listings: Vec<Vec<Entry>>) -> Vec<(String, Merged)> {
        let listings = (0u32..).map(LayerId).zip(listings).collect();
        merge(listings).into_iter().map(|(name, entry)| (name.into_string().unwrap(), entry)).collect()
    }

    #[test]
    fn directories_of_one_name_become_one() {
        let entries =
            merged(vec![vec![directory("google")], vec![file("six.py")], vec![directory("google")]]);
        assert_eq!(
            entries,
            [
                ("google".to_owned(), Merged::Directory(vec![LayerId(0), LayerId(2)])),
                ("six.py".to_owned(), Merged::Leaf(LayerId(1), FileType::RegularFile)),
            ]
        );
    }

    #[test]
    fn of_two_leaves_the_later_wins() {
        let entries = merged(vec![vec![file("a")], vec![file("a")]]);
        assert_eq!(entries, [("a".to_owned(), Merged::Leaf(LayerId(1), FileType::RegularFile))]);
    }

    #[test]
    fn a_leaf_hides_the_directories_below_it() {
        let entries = merged(vec![vec![directory("a")], vec![file("a")]]);
        assert_eq!(entries, [("a".to_owned(), Merged::Leaf(LayerId(1), FileType::RegularFile))]);
    }

    #[test]
    fn a_directory_above_a_leaf_does_not_join_what_the_leaf_hid() {
        let entries = merged(vec![vec![directory("a")], vec![file("a")], vec![directory("a")]]);
        assert_eq!(entries, [("a".to_owned(), Merged::Directory(vec![LayerId(2)]))]);
    }
}
