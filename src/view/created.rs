//! Files that were opened when they were created.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::View;
use super::nodes::NodeId;

/// A file that was opened when it was created: who created it may write it whatever its mode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// How many are kept open. The kernel does not tell when the last user has closed one, since it was told not to ask for
/// opening; a file is written soon after it was created, or else opened again.
const KEPT: usize = 64;

/// The files that were created last, open.
#[derive(Debug, Default)]
pub(super) struct Created {
    files: HashMap<NodeId, Arc<OwnedFd>>,
    order: VecDeque<NodeId>,
}

impl Created {
    fn keep(&mut self, node: NodeId, file: OwnedFd) {
        self.remove(node);
        self.files.insert(node, Arc::new(file));
        self.order.push_back(node);
        while self.order.len() > KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.files.remove(&oldest);
            }
        }
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        if self.files.remove(&node).is_some() {
            self.order.retain(|known| *known != node);
        }
    }
}

impl View {
    /// Keeps a file open that was just created.
    pub(super) fn keep_open(&self, node: NodeId, file: OwnedFd) -> Handle {
        self.created.lock().keep(node, file);
        Handle(node.0)
    }

    /// The file that was opened when it was created, if it still is.
    pub(super) fn handle(&self, handle: Handle) -> Option<Arc<OwnedFd>> {
        self.created.lock().files.get(&NodeId(handle.0)).cloned()
    }

    /// Its last user has closed it.
    pub fn release(&self, handle: Handle) {
        self.created.lock().remove(NodeId(handle.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_that_were_created_last_are_kept_open() {
        let mut created = Created::default();
        for number in 0..100 {
            created.keep(NodeId(number), fs_err::File::open("/dev/null").unwrap().into_file().into());
        }
        created.remove(NodeId(99));
        assert_eq!((created.files.len(), created.order.len()), (KEPT - 1, KEPT - 1));
        assert!(created.files.contains_key(&NodeId(98)));
    }
}
