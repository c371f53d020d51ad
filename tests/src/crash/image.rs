//! What a disk may hold after the power fails at some moment of a recording.

use super::recording::{Recording, Step};
use crate::random::Random;

/// A disk writes this much whole or not at all.
const SECTOR: usize = 512;

/// How much of what was not synchronised is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// Some writes and some sectors of others, in any order.
    Some,
}

/// The files as they are after the first `steps` steps; `None` for one that is not there.
pub(super) fn image(
    recording: &Recording,
    steps: usize,
    luck: Luck,
    random: &mut Random,
) -> Vec<Option<Vec<u8>>> {
    let mut files: Vec<Option<Vec<u8>>> = vec![None; recording.files.len()];
    // Where the last synchronisation of each file reached; that of the folder says which files there are.
    let mut durable = vec![0; recording.files.len()];
    for step in &recording.steps[..steps] {
        if let Step::Sync { file, covers } = step {
            durable[*file] = *covers;
        }
    }
    let names = recording.folder.map_or(0, |folder| durable[folder]);
    for (at, step) in recording.steps[..steps].iter().enumerate() {
        let file = match step {
            Step::Write { file, .. } | Step::Truncate { file, .. } | Step::Remove { file } => *file,
            Step::Sync { .. } | Step::Sent { .. } => continue,
        };
        let synced = if matches!(step, Step::Remove { .. }) { names } else { durable[file] };
        let is_kept = at < synced
            || match luck {
                Luck::None => false,
                Luck::All => true,
                Luck::Some => random.below(2) == 0,
            };
        let is_torn = at >= synced && luck == Luck::Some && random.below(3) == 0;
        if is_kept {
            apply(&mut files[file], step, is_torn, random);
        }
    }
    files
}

fn apply(content: &mut Option<Vec<u8>>, step: &Step, is_torn: bool, random: &mut Random) {
    match step {
        Step::Write { offset, data, .. } => {
            let content = content.get_or_insert_default();
            let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
            let end = offset.saturating_add(data.len());
            if content.len() < end {
                content.resize(end, 0);
            }
            let mut at = 0;
            while at < data.len() {
                let next = (at + SECTOR - (offset + at) % SECTOR).min(data.len());
                if !is_torn || random.below(2) == 0 {
                    content[offset + at..offset + next].copy_from_slice(&data[at..next]);
                }
                at = next;
            }
        }
        Step::Truncate { length, .. } => {
            content.get_or_insert_default().resize(usize::try_from(*length).unwrap_or(usize::MAX), 0);
        }
        Step::Remove { .. } => *content = None,
        Step::Sync { .. } | Step::Sent { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn recording() -> Recording {
        let write = |offset, byte: u8| Step::Write { file: 0, offset, data: vec![byte; 1_024] };
        Recording {
            files: vec![PathBuf::from("a")],
            folder: None,
            steps: vec![write(0, 1), Step::Sync { file: 0, covers: 1 }, write(1_024, 2), write(0, 3)],
        }
    }

    #[test]
    fn a_file_is_gone_when_its_folder_is_synchronised() {
        let mut recording = recording();
        recording.files.push(PathBuf::from("."));
        recording.folder = Some(1);
        recording.steps.push(Step::Remove { file: 0 });
        recording.steps.push(Step::Sync { file: 0, covers: 5 });
        recording.steps.push(Step::Sync { file: 1, covers: 6 });
        let mut random = Random::new(1);
        assert!(image(&recording, 6, Luck::None, &mut random)[0].is_some());
        assert_eq!(image(&recording, 7, Luck::None, &mut random)[0], None);
    }

    #[test]
    fn what_was_synchronised_is_always_there() {
        let recording = recording();
        let mut random = Random::new(1);
        let of = |steps, luck, random: &mut Random| image(&recording, steps, luck, random)[0].clone();
        assert_eq!(of(0, Luck::All, &mut random), None);
        assert_eq!(of(1, Luck::None, &mut random), None);
        assert_eq!(of(2, Luck::None, &mut random), Some(vec![1; 1_024]));
        let all = of(4, Luck::All, &mut random).unwrap();
        assert_eq!((all[0], all[1_024], all.len()), (3, 2, 2_048));
        let mut torn = 0;
        for _ in 0..200 {
            let some = of(4, Luck::Some, &mut random).unwrap();
            assert!(some[..1_024].iter().all(|byte| matches!(byte, 1 | 3)));
            torn += usize::from(some[0] != some[1_023]);
        }
        assert!(torn > 0, "writes are torn between sectors");
    }
}
