//! Sorting in bounded memory: sorted runs in a temporary file, and their merge.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Items that are written at once.
const WRITE_ITEMS: usize = 4096;

/// Items that are buffered for reading all runs of a file.
const MERGE_ITEMS: usize = 16_384;

/// Bits that a pass of the radix sort looks at.
const DIGIT_BITS: u32 = 11;

/// Bits that decide the order of most items. Three passes look at them.
const PREFIX_BITS: u32 = 3 * DIGIT_BITS;

/// What can be sorted in runs.
pub trait RunItem: Copy {
    /// Decides the order.
    type Key: Ord + Copy;
    /// Bytes in a file.
    type Bytes: AsRef<[u8]>;

    fn key(self) -> Self::Key;

    /// A number that is smaller only if the key is.
    fn prefix(self) -> u64;

    fn to_bytes(self) -> Self::Bytes;

    /// Reads what [`RunItem::to_bytes`] returned for several items.
    fn read_all(bytes: &[u8], items: &mut Vec<Self>);
}

/// Sorts items by their keys. `scratch` is only memory to work with.
///
/// A comparison sort takes several times as long, because most runs are random.
pub fn sort<T: RunItem>(items: &mut Vec<T>, scratch: &mut Vec<T>) {
    let prefixes = || items.iter().map(|item| item.prefix());
    let (Some(least), Some(most)) = (prefixes().min(), prefixes().max()) else {
        return;
    };
    if items.is_sorted_by_key(|item| item.key()) {
        return;
    }
    let bits = u64::BITS - (most - least).leading_zeros();
    let shift = bits.saturating_sub(PREFIX_BITS);
    let prefix = |item: &T| (item.prefix() - least) >> shift;
    for pass in 0..(bits - shift).div_ceil(DIGIT_BITS) {
        let digit = |item: &T| (prefix(item) >> (pass * DIGIT_BITS)) as usize & DIGIT_MASK;
        scatter(items, scratch, digit);
        std::mem::swap(items, scratch);
    }
    for same in items.chunk_by_mut(|one, next| prefix(one) == prefix(next)) {
        if same.len() > 1 {
            same.sort_unstable_by_key(|item| item.key());
        }
    }
}

const DIGIT_MASK: usize = (1 << DIGIT_BITS) - 1;

/// Copies the items to `sorted` in the order of a digit, and otherwise in their old order.
fn scatter<T: RunItem>(items: &[T], sorted: &mut Vec<T>, digit: impl Fn(&T) -> usize) {
    let mut places = [0u32; DIGIT_MASK + 1];
    for item in items {
        places[digit(item)] += 1;
    }
    let mut next = 0;
    for place in &mut places {
        next += std::mem::replace(place, next);
    }
    // All are overwritten.
    sorted.clear();
    sorted.extend_from_slice(items);
    for item in items {
        let place = &mut places[digit(item)];
        sorted[*place as usize] = *item;
        *place += 1;
    }
}

/// Sorted runs, one after the other in a temporary file without a name.
#[derive(Debug, Default)]
pub struct RunFile {
    file: Option<File>,
    /// The items of each run.
    runs: Vec<usize>,
    bytes: u64,
}

impl RunFile {
    /// Appends a run that is sorted.
    ///
    /// # Errors
    ///
    /// The temporary file cannot be written.
    pub fn append<T: RunItem>(&mut self, items: &[T]) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        let file = self.file.insert(file);
        let mut bytes = Vec::new();
        for items in items.chunks(WRITE_ITEMS) {
            bytes.clear();
            for item in items {
                bytes.extend_from_slice(item.to_bytes().as_ref());
            }
            file.write_all_at(&bytes, self.bytes)?;
            self.bytes += bytes.len() as u64;
        }
        self.runs.push(items.len());
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// All items in ascending order.
    ///
    /// # Errors
    ///
    /// The temporary file cannot be read.
    pub fn merged<T: RunItem>(&self) -> io::Result<Merge<'_, T>> {
        let mut merge = Merge {
            file: self.file.as_ref(),
            runs: Vec::new(),
            heap: BinaryHeap::new(),
            buffer_items: (MERGE_ITEMS / self.runs.len().max(1)).max(64),
        };
        let mut first = 0;
        for (number, items) in self.runs.iter().enumerate() {
            let mut run = SortedRun::<T> {
                buffered: Vec::new(),
                at: 0,
                first,
                left: *items,
            };
            first += items;
            if let Some(item) = run.advance(merge.file, merge.buffer_items)? {
                merge.heap.push(Reverse((item.key(), number)));
            }
            merge.runs.push(run);
        }
        Ok(merge)
    }
}

/// Items in ascending order.
pub struct Merge<'f, T: RunItem> {
    file: Option<&'f File>,
    runs: Vec<SortedRun<T>>,
    /// The next key of each run that has one, and the number of the run.
    heap: BinaryHeap<Reverse<(T::Key, usize)>>,
    buffer_items: usize,
}

/// The rest of a sorted run.
struct SortedRun<T> {
    buffered: Vec<T>,
    /// Index of the item after the current one.
    at: usize,
    /// Items of the file that are not buffered yet.
    first: usize,
    left: usize,
}

impl<T: RunItem> SortedRun<T> {
    /// Returns the next item, which is the current one from now on.
    #[inline]
    fn advance(&mut self, file: Option<&File>, buffer_items: usize) -> io::Result<Option<T>> {
        if self.at == self.buffered.len() && self.left > 0 {
            self.fill(file, buffer_items)?;
        }
        let item = self.buffered.get(self.at).copied();
        self.at += usize::from(item.is_some());
        Ok(item)
    }

    fn current(&self) -> Option<T> {
        self.buffered.get(self.at.checked_sub(1)?).copied()
    }

    #[cold]
    fn fill(&mut self, file: Option<&File>, buffer_items: usize) -> io::Result<()> {
        let items = self.left.min(buffer_items);
        let mut bytes = vec![0; items * size_of::<T::Bytes>()];
        if let Some(file) = file {
            let from = self.first * size_of::<T::Bytes>();
            file.read_exact_at(&mut bytes, from as u64)?;
        }
        self.buffered.clear();
        T::read_all(&bytes, &mut self.buffered);
        self.at = 0;
        self.first += items;
        self.left -= items;
        Ok(())
    }
}

impl<T: RunItem> Merge<'_, T> {
    /// Sorted items that are all in memory.
    pub fn of_one(items: Vec<T>) -> Self {
        Self {
            file: None,
            runs: vec![SortedRun {
                at: 1,
                buffered: items,
                first: 0,
                left: 0,
            }],
            heap: BinaryHeap::new(),
            buffer_items: 0,
        }
    }

    /// The next item.
    #[inline]
    pub fn peek(&self) -> Option<T> {
        match &self.runs[..] {
            // The usual case, without a heap.
            [only] if self.file.is_none() => only.current(),
            runs => runs[self.heap.peek()?.0.1].current(),
        }
    }

    /// Takes the next item.
    ///
    /// # Errors
    ///
    /// The temporary file cannot be read.
    #[inline]
    pub fn take_next(&mut self) -> io::Result<Option<T>> {
        if let (None, [only]) = (self.file, &mut self.runs[..]) {
            let item = only.current();
            // After the last one there is no current item.
            only.at += usize::from(item.is_some());
            return Ok(item);
        }
        let Some(mut top) = self.heap.peek_mut() else {
            return Ok(None);
        };
        let number = top.0.1;
        let run = &mut self.runs[number];
        let item = run.current();
        match run.advance(self.file, self.buffer_items)? {
            Some(next) => top.0.0 = next.key(),
            None => {
                PeekMut::pop(top);
            }
        }
        Ok(item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Pair(u64, u8);

    impl RunItem for Pair {
        type Key = Self;
        type Bytes = [u8; 9];

        fn key(self) -> Self {
            self
        }

        fn prefix(self) -> u64 {
            self.0
        }

        fn to_bytes(self) -> [u8; 9] {
            let mut bytes = [self.1; 9];
            bytes[..8].copy_from_slice(&self.0.to_le_bytes());
            bytes
        }

        fn read_all(bytes: &[u8], items: &mut Vec<Self>) {
            let (pairs, _) = bytes.as_chunks::<9>();
            items.extend(pairs.iter().map(|bytes| {
                let number = bytes.first_chunk().copied().unwrap_or_default();
                Self(u64::from_le_bytes(number), bytes[8])
            }));
        }
    }

    fn pairs(most: usize) -> impl Strategy<Value = Vec<Pair>> {
        let number = prop_oneof![
            0..10u64,
            1000..1_000_000u64,
            any::<u64>(),
            // The first 33 bits are the same.
            (0..1000u64).prop_map(|low| u64::MAX / 3 + low),
        ];
        let pair = (number, any::<u8>()).prop_map(|(number, other)| Pair(number, other));
        prop::collection::vec(pair, 0..most)
    }

    proptest! {
        #[test]
        fn items_are_sorted(mut items in pairs(300)) {
            let mut expected = items.clone();
            expected.sort_unstable();
            sort(&mut items, &mut Vec::new());
            prop_assert_eq!(items, expected);
        }

        #[test]
        fn runs_are_merged(runs in prop::collection::vec(pairs(200), 0..8)) {
            let mut file = RunFile::default();
            for run in &runs {
                let mut run = run.clone();
                sort(&mut run, &mut Vec::new());
                file.append(&run).unwrap();
            }
            let mut merge = file.merged::<Pair>().unwrap();
            let mut expected = runs.concat();
            expected.sort_unstable();
            for pair in expected {
                prop_assert_eq!(merge.peek(), Some(pair));
                prop_assert_eq!(merge.take_next().unwrap(), Some(pair));
            }
            prop_assert_eq!(merge.take_next().unwrap(), None);
        }
    }
}
