//! What a process wrote, in order: to its files, and to its sockets. Read from what `strace` prints.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The system calls that are recorded. Those that only read, or work on memory, leave nothing behind.
pub(super) const CALLS: &str =
    "write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync,ftruncate,unlink,rename,renameat,fallocate";

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Bytes went into a file at an offset.
    Write { file: usize, offset: u64, data: Vec<u8> },
    /// A file was cut or lengthened.
    Truncate { file: usize, length: u64 },
    /// A file was removed.
    Remove { file: usize },
    /// What was written to a file before step `covers` is on the disk from here on.
    Sync { file: usize, covers: usize },
    /// Bytes were given to a socket, which others may have seen from here on.
    Sent { socket: String, data: Vec<u8> },
}

/// Everything that a process did.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// The files below the folder of interest, by index.
    pub(super) files: Vec<PathBuf>,
    /// The folder itself, if it was synchronised.
    pub(super) folder: Option<usize>,
    pub(super) steps: Vec<Step>,
}

/// A call that has begun.
struct Begun {
    text: String,
    at: usize,
}

impl Recording {
    /// Reads the output of `strace -f -y -xx`. Of files, those below `folder` count.
    ///
    /// # Errors
    /// A line that cannot be understood, or a call that leaves traces this does not know.
    pub(super) fn read(text: &str, folder: &Path) -> Result<Self, String> {
        let mut recording = Self::default();
        let mut begun: HashMap<&str, Begun> = HashMap::new();
        for line in text.lines() {
            let Some((process, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if rest.starts_with("+++") || rest.starts_with("---") {
                continue;
            }
            if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
                // Others may see what is being sent; what is being written may be lost.
                if recording.is_send(start) {
                    recording.call(start, usize::MAX, folder)?;
                    begun.remove(process);
                } else {
                    begun.insert(process, Begun { text: start.to_owned(), at: recording.steps.len() });
                }
                continue;
            }
            if let Some(resumed) = rest.strip_prefix("<... ") {
                let Some(Begun { text, at }) = begun.remove(process) else { continue };
                let end = resumed.split_once("resumed>").map_or("", |(_, end)| end);
                recording.call(&format!("{text}{end}"), at, folder)?;
                continue;
            }
            recording.call(rest, recording.steps.len(), folder)?;
        }
        Ok(recording)
    }

    /// Whether a call gives bytes to a socket.
    fn is_send(&self, call: &str) -> bool {
        let Some((name, arguments)) = call.split_once('(') else { return false };
        let is_write = matches!(name, "write" | "writev" | "sendto" | "sendmsg");
        is_write && target(arguments).is_some_and(|target| target.starts_with("socket:"))
    }

    fn call(&mut self, call: &str, at: usize, folder: &Path) -> Result<(), String> {
        let Some((name, arguments)) = call.split_once('(') else { return Ok(()) };
        let unknown = || format!("a call that is not understood: {}", &call[..call.len().min(200)]);
        // A call that failed did nothing; one without a result was cut short by the end of the process.
        let result = arguments.rsplit_once(" = ").map(|(_, result)| result);
        if result.is_some_and(|result| result.starts_with('-')) {
            return Ok(());
        }
        let written = result.and_then(|result| result.split(' ').next()?.parse::<usize>().ok());
        let subject = match name {
            "unlink" | "rename" => {
                strings(arguments).first().map(|path| String::from_utf8_lossy(path).into_owned())
            }
            _ => target(arguments),
        };
        let Some(subject) = subject else { return Ok(()) };
        if subject.starts_with("socket:") {
            let data: Vec<u8> = strings(arguments).concat();
            if matches!(name, "write" | "writev" | "sendto" | "sendmsg") && !data.is_empty() {
                let length = written.unwrap_or(data.len()).min(data.len());
                self.steps.push(Step::Sent { socket: subject, data: data[..length].to_vec() });
            }
            return Ok(());
        }
        let path = Path::new(&subject);
        if !path.starts_with(folder) {
            return Ok(());
        }
        let file = self.file(path);
        if path == folder {
            self.folder = Some(file);
        }
        match name {
            "pwrite64" => {
                let mut data = strings(arguments).into_iter().next().ok_or_else(unknown)?;
                data.truncate(written.unwrap_or(data.len()));
                let list = arguments.rsplit_once(')').map_or(arguments, |(list, _)| list);
                let offset = list.rsplit_once(", ").and_then(|(_, offset)| offset.trim().parse().ok());
                self.steps.push(Step::Write { file, offset: offset.ok_or_else(unknown)?, data });
            }
            "fsync" | "fdatasync" => self.steps.push(Step::Sync { file, covers: at }),
            "ftruncate" => {
                let list = arguments.split_once(')').map_or(arguments, |(list, _)| list);
                let length = list.rsplit_once(", ").and_then(|(_, length)| length.trim().parse().ok());
                self.steps.push(Step::Truncate { file, length: length.ok_or_else(unknown)? });
            }
            "unlink" => self.steps.push(Step::Remove { file }),
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> usize {
        self.files.iter().position(|known| known == path).unwrap_or_else(|| {
            self.files.push(path.to_owned());
            self.files.len() - 1
        })
    }
}

/// What a call's first argument, a descriptor, stands for.
fn target(arguments: &str) -> Option<String> {
    let (_, rest) = arguments.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    Some(String::from_utf8_lossy(&unescape(path)).into_owned())
}

/// The strings among a call's arguments.
fn strings(arguments: &str) -> Vec<Vec<u8>> {
    arguments.split('"').skip(1).step_by(2).map(unescape).collect()
}

/// `\x61b` is `ab`.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut found = Vec::with_capacity(bytes.len() / 4);
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 2..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if bytes[at..].starts_with(b"\\x") => {
                found.push(byte);
                at += 4;
            }
            _ => {
                found.push(bytes[at]);
                at += 1;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strace_prints_is_read() {
        let text = r#"7 pwrite64(3</d/a.db>, "\x61\x62", 2, 4096) = 2
7 pwrite64(9</elsewhere>, "\x61", 1, 0) = 1
8 fdatasync(3<\x2f\x64\x2f\x61\x2e\x64\x62> <unfinished ...>
9 pwrite64(3</d/a.db>, "\x63\x64\x65", 3, 0) = 2
9 sendto(5<socket:[77]>, "\x68\x69", 2, MSG_NOSIGNAL, NULL, 0 <unfinished ...>
8 <... fdatasync resumed>) = 0
9 <... sendto resumed>) = 2
7 ftruncate(3</d/a.db>, 8192) = 0
7 pwrite64(3</d/a.db>, "\x63", 1, 0) = -1 ENOSPC (No space left on device)
7 unlink("/d/a.db") = 0
7 +++ killed by SIGKILL +++"#;
        let recording = Recording::read(text, Path::new("/d")).unwrap();
        assert_eq!(recording.files, [PathBuf::from("/d/a.db")]);
        assert_eq!(
            recording.steps,
            [
                Step::Write { file: 0, offset: 4096, data: b"ab".to_vec() },
                Step::Write { file: 0, offset: 0, data: b"cd".to_vec() },
                Step::Sent { socket: "socket:[77]".to_owned(), data: b"hi".to_vec() },
                Step::Sync { file: 0, covers: 1 },
                Step::Truncate { file: 0, length: 8192 },
                Step::Remove { file: 0 },
            ]
        );
    }

    #[test]
    fn a_call_that_nobody_knows_is_told() {
        let text = r#"7 rename("/d/a", "/d/b") = 0"#;
        assert!(Recording::read(text, Path::new("/d")).unwrap_err().contains("rename"));
    }
}
