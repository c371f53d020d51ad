//! The SQLite store: the same answers as the tables in memory, from a file, after every end.

#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod conformance;
mod failures;
mod files;
mod histories;
mod place;
mod records;
