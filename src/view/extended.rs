//! Extended attributes. Entries of archives have none but one that is not listed, and tells `why` where they come from.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, XattrFlags, getxattr, listxattr, removexattr, setxattr};
use rustix::io::Errno;

use super::nodes::{NodeId, Origin};
use super::upper::path_of;
use super::{Failure, View};

/// The most bytes that an attribute, or a list of their names, can have.
///
/// Source: `XATTR_SIZE_MAX` of <linux/limits.h>
const LARGEST: usize = 65536;

/// The attribute of regular files whose value is the path of the archive's file.
const ARCHIVED: &str = "user.sitefs.archived";

/// The archive's file that a mounted view shows as a regular file at this path.
pub fn archived(path: &Path) -> Option<PathBuf> {
    let mut value = Vec::with_capacity(LARGEST);
    getxattr(path, ARCHIVED, rustix::buffer::spare_capacity(&mut value)).ok()?;
    Some(OsString::from_vec(value).into())
}

impl View {
    /// The value of an attribute.
    ///
    /// # Errors
    /// `ENODATA`, and what else getxattr(2) says.
    pub fn extended(&self, node: NodeId, name: &OsStr) -> Result<Vec<u8>, Failure> {
        if name == ARCHIVED
            && let Some(file) = self.archived(node)
        {
            return Ok(file.into_os_string().into_vec());
        }
        self.read_extended(node, |path| {
            let mut value = Vec::with_capacity(LARGEST);
            getxattr(path, name, rustix::buffer::spare_capacity(&mut value))?;
            Ok(value)
        })?
        .ok_or_else(|| self.failed(Errno::NODATA, node))
    }

    /// The names of the attributes, each with a zero byte after it.
    ///
    /// # Errors
    /// What listxattr(2) says.
    pub fn extended_names(&self, node: NodeId) -> Result<Vec<u8>, Failure> {
        let names = self.read_extended(node, |path| {
            let mut names = Vec::with_capacity(LARGEST);
            listxattr(path, rustix::buffer::spare_capacity(&mut names))?;
            Ok(names)
        })?;
        Ok(names.unwrap_or_default())
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// What setxattr(2) says.
    pub fn set_extended(&self, node: NodeId, name: &OsStr, value: &[u8], flags: i32) -> Result<(), Failure> {
        let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
        self.change_extended(node, |path| setxattr(path, name, value, flags))
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// What removexattr(2) says.
    pub fn remove_extended(&self, node: NodeId, name: &OsStr) -> Result<(), Failure> {
        if !self.is_in_upper(node) {
            return Err(self.failed(Errno::NODATA, node));
        }
        self.change_extended(node, |path| removexattr(path, name))
    }

    fn read_extended(
        &self,
        node: NodeId,
        read: impl FnOnce(PathBuf) -> Result<Vec<u8>, Errno>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if !self.is_in_upper(node) {
            return Ok(None);
        }
        let held = self.open(node, OFlags::PATH)?;
        read(path_of(&held)).map(Some).map_err(|errno| self.failed(errno, node))
    }

    fn change_extended(
        &self,
        node: NodeId,
        change: impl FnOnce(PathBuf) -> Result<(), Errno>,
    ) -> Result<(), Failure> {
        self.copy_up(node, None)?;
        let held = self.open(node, OFlags::PATH)?;
        change(path_of(&held)).map_err(|errno| self.failed(errno, node))
    }

    fn archived(&self, node: NodeId) -> Option<PathBuf> {
        let nodes = self.nodes.read();
        let found = nodes.get(node).filter(|found| found.file_type == FileType::RegularFile)?;
        match &found.origin {
            Origin::Archive(layer) => Some(self.layer(*layer).ok()?.path(&nodes.path(node)?)),
            _ => None,
        }
    }

    fn is_in_upper(&self, node: NodeId) -> bool {
        match self.nodes.read().get(node).map(|node| &node.origin) {
            Some(Origin::Directory(directory)) => directory.in_upper,
            Some(Origin::Upper | Origin::Removed(_)) => true,
            _ => false,
        }
    }
}
