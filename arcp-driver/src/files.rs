//! Files behind `fs.read` and `fs.write`: opened below directory handles, so that no link leads out (protocol §5.3).
//!
//! A lease judges names. What a name leads to is the disk's affair: a link below a permitted directory may point anywhere.
//! [`Roots`] opens a permitted path below the handle of the directory it stands for, component by component, and refuses
//! every way out of it, also one that is made while it looks.
//!
//! ```no_run
//! use std::io::Read;
//! use std::sync::Arc;
//!
//! use arcp_driver::files::Roots;
//! use arcp_driver::{AgentError, JobContext};
//!
//! # fn main() -> std::io::Result<()> {
//! let roots = Arc::new(Roots::new().mount("/data", "/srv/agents/data")?);
//! let reader = move |job: JobContext, path: String| {
//!     let roots = roots.clone();
//!     async move {
//!         let text = job
//!             .read_path(&path, |path| async move {
//!                 let mut text = String::new();
//!                 roots.open(&path)?.read_to_string(&mut text)?;
//!                 Ok::<_, std::io::Error>(text)
//!             })
//!             .await?;
//!         Ok::<_, AgentError>(text)
//!     }
//! };
//! # let _ = arcp_driver::Runtime::builder().agent("reader@1.0.0", reader);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io;
use std::path::Path;

use arcp_proto::lease::{Canonical, canonical_path};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};

/// Directories by the paths that leases know them under.
#[derive(Default)]
pub struct Roots {
    mounts: Vec<Mount>,
}

struct Mount {
    /// Canonical, without a trailing slash; empty for the root itself.
    at: String,
    directory: Dir,
}

impl Roots {
    /// No directory: every path is refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the path `at` and all below it stand for `directory` and what is below that. A longer path that is mounted too
    /// goes first. The directory is opened now, with the rights of this process; what is moved there later does not matter.
    ///
    /// # Errors
    /// `at` is no path of a lease, or is mounted already, or the directory cannot be opened.
    pub fn mount(mut self, at: &str, directory: impl AsRef<Path>) -> io::Result<Self> {
        let at = canonical_path(at, cfg!(windows))
            .map_err(|refusal| io::Error::new(io::ErrorKind::InvalidInput, format!("`{at}`: {refusal}")))?;
        let at = at.trim_end_matches('/').to_owned();
        if self.mounts.iter().any(|mount| mount.at == at) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("`{at}/` is mounted already")));
        }
        let directory = Dir::open_ambient_dir(directory, ambient_authority())?;
        self.mounts.push(Mount { at, directory });
        Ok(self)
    }

    /// Opens a permitted path for reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is below no mounted path; whatever opening says, which is
    /// [`io::ErrorKind::PermissionDenied`] where a link leads out.
    pub fn open(&self, path: &Canonical) -> io::Result<File> {
        let (directory, below) = self.below(path)?;
        directory.open(below)
    }

    /// Opens a permitted path for writing; the file is made if it is not there, and emptied if it is.
    ///
    /// # Errors
    /// As [`Roots::open`].
    pub fn create(&self, path: &Canonical) -> io::Result<File> {
        self.open_with(path, OpenOptions::new().write(true).create(true).truncate(true))
    }

    /// Opens a permitted path in another way.
    ///
    /// # Errors
    /// As [`Roots::open`].
    pub fn open_with(&self, path: &Canonical, options: &OpenOptions) -> io::Result<File> {
        let (directory, below) = self.below(path)?;
        directory.open_with(below, options)
    }

    /// The directory that a permitted path lies in, and the rest of the path, for whatever else is to be done there:
    /// listing, removing, making directories.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is below no mounted path.
    pub fn below<'a>(&'a self, path: &'a Canonical) -> io::Result<(&'a Dir, &'a Path)> {
        let text = path.as_str();
        let rest_in = |mount: &'a Mount| {
            let rest = text.strip_prefix(mount.at.as_str())?;
            match rest.strip_prefix('/') {
                Some("") | None => rest.trim_start_matches('/').is_empty().then_some("."),
                Some(rest) => Some(rest),
            }
            .map(|rest| (mount, rest))
        };
        let found = self.mounts.iter().filter_map(rest_in).max_by_key(|(mount, _)| mount.at.len());
        found
            .map(|(mount, rest)| (&mount.directory, Path::new(rest)))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the path is below no mounted directory"))
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.mounts.iter().map(|mount| &mount.at)).finish()
    }
}
