//! Damaged logs: fixture lines with flipped bits, cut, joined and out of order.

use std::fs;

use super::folder::fixtures;

/// The formats that have a log of unusual lines.
pub fn formats() -> Vec<String> {
    let logs = fs::read_dir(fixtures().join("odd")).unwrap();
    let paths = logs.map(|log| log.unwrap().path());
    let logs = paths.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let mut names: Vec<String> = logs
        .map(|log| log.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The lines of a format's log, without line ends.
pub fn lines(format: &str) -> Vec<Vec<u8>> {
    let log = fs::read(fixtures().join(format!("odd/{format}.log"))).unwrap();
    let lines = log.split(|byte| *byte == b'\n');
    lines.map(<[u8]>::to_vec).collect()
}

/// Changes each line as its seed says, and repeats the lines if there are more seeds. Half of the
/// lines stay as they are.
pub fn changed(lines: &[Vec<u8>], seeds: &[u64]) -> Vec<u8> {
    let mut log = Vec::new();
    for (place, seed) in seeds.iter().enumerate() {
        let mut dice = Dice(*seed);
        let mut line = lines[place % lines.len()].clone();
        let other = &lines[dice.below(lines.len())];
        match dice.below(8) {
            // Without its header no line of a log can be read. A byte order mark may precede it.
            _ if line
                .strip_prefix(b"\xef\xbb\xbf")
                .unwrap_or(&line)
                .starts_with(b"#") => {}
            0 => turn_bits(&mut line, 1, &mut dice),
            1 => turn_bits(&mut line, 9, &mut dice),
            2 => line.truncate(dice.below(line.len() + 1)),
            3 => drop(line.drain(..dice.below(line.len() + 1))),
            4 => {
                line.truncate(dice.below(line.len() + 1));
                line.extend_from_slice(&other[dice.below(other.len() + 1)..]);
            }
            _ => {}
        }
        log.extend_from_slice(&line);
        log.push(b'\n');
    }
    log
}

fn turn_bits(line: &mut [u8], bits: usize, dice: &mut Dice) {
    for _ in 0..bits.min(line.len()) {
        line[dice.below(line.len())] ^= 1 << dice.below(8);
    }
}

/// Pseudo-random numbers, the same in each run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as usize % end.max(1)
    }
}
