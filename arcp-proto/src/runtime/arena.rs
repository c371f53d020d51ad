//! Dense storage behind handles that are never reused.

use alloc::vec::Vec;
use core::marker::PhantomData;

/// A handle of one kind: the low half is a slot, the high half counts how often the slot was used.
pub(crate) trait Handle: Copy {
    fn from_raw(raw: u64) -> Self;
    fn raw(self) -> u64;
}

macro_rules! arena_handle {
    ($($name:ty),*) => {
        $(impl Handle for $name {
            fn from_raw(raw: u64) -> Self {
                Self(raw)
            }

            fn raw(self) -> u64 {
                self.0
            }
        })*
    };
}

arena_handle!(super::ConnectionId, super::JobHandle, super::SessionHandle);

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by handle, found without search; walked in the order of slots.
#[derive(Debug)]
pub(crate) struct Arena<H, T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    handle: PhantomData<H>,
}

impl<H: Handle, T> Arena<H, T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), handle: PhantomData }
    }

    pub(crate) fn insert(&mut self, value: T) -> H {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return Self::handle(slot.generation, index);
        }
        // 2³² values at once do not fit into memory.
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { generation: 0, value: Some(value) });
        Self::handle(0, index)
    }

    pub(crate) fn remove(&mut self, handle: H) -> Option<T> {
        let (generation, index) = Self::parts(handle);
        let slot = self.slots.get_mut(index)?;
        if slot.generation != generation {
            return None;
        }
        let value = slot.value.take()?;
        // A slot whose count is used up is never handed out again, so no handle ever names two values.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(u32::try_from(index).unwrap_or(u32::MAX));
        }
        Some(value)
    }

    pub(crate) fn get(&self, handle: H) -> Option<&T> {
        let (generation, index) = Self::parts(handle);
        let slot = self.slots.get(index)?;
        if slot.generation == generation { slot.value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, handle: H) -> Option<&mut T> {
        let (generation, index) = Self::parts(handle);
        let slot = self.slots.get_mut(index)?;
        if slot.generation == generation { slot.value.as_mut() } else { None }
    }

    pub(crate) fn handles(&self) -> Vec<H> {
        self.iter().map(|(handle, _)| handle).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (H, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((Self::handle(slot.generation, u32::try_from(index).ok()?), value))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn handle(generation: u32, index: u32) -> H {
        H::from_raw(u64::from(generation) << 32 | u64::from(index))
    }

    fn parts(handle: H) -> (u32, usize) {
        let raw = handle.raw();
        let generation = u32::try_from(raw >> 32).unwrap_or(u32::MAX);
        (generation, usize::try_from(raw & u64::from(u32::MAX)).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::JobHandle;
    use super::*;

    #[test]
    fn a_handle_never_names_two_values() {
        let mut arena: Arena<JobHandle, char> = Arena::new();
        let first = arena.insert('a');
        let second = arena.insert('b');
        assert_eq!(arena.remove(first), Some('a'));
        assert_eq!(arena.remove(first), None);
        let third = arena.insert('c');
        assert_ne!(first, third);
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.get(third), Some(&'c'));
        assert_eq!(arena.handles(), [third, second]);
        assert_eq!(arena.len(), 2);
    }
}
