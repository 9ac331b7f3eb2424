//! The ways in which the bytes of a file are cut into writes.

use std::fmt;

/// How many of the random ways are tried for each file.
const RANDOM_COUNT: u64 = 2;
/// The seed that the files' own seeds are drawn from; a run of other cuts needs another.
const SEED: u64 = 0x2545_f491_4f6c_dd1d;
/// Cuts of one file at random.
const CUTS_MAX: u64 = 5;

/// How the bytes of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// In one write.
    Whole,
    /// Each byte in a write of its own.
    ByteByByte,
    /// Cut at places that the seed gives.
    Random {
        /// The seed, which is never zero.
        seed: u64,
    },
}

impl Delivery {
    /// Every way, for the file of this number.
    pub(super) fn all(number: u64) -> Vec<Self> {
        let seed = |round| SEED.rotate_left(7 * round) ^ (number + 1);
        let random = (0..u32::try_from(RANDOM_COUNT).expect("it is small"))
            .map(|round| Self::Random { seed: seed(round) });
        [Self::Whole, Self::ByteByByte].into_iter().chain(random).collect()
    }

    /// The writes.
    pub(super) fn pieces(self, input: &[u8]) -> Vec<&[u8]> {
        match self {
            Self::Whole => vec![input],
            Self::ByteByByte => input.chunks(1).collect(),
            Self::Random { seed } => {
                let mut random = Random(seed);
                let length = u64::try_from(input.len()).expect("64 bits do");
                let count = 1 + random.next() % CUTS_MAX;
                let mut cuts: Vec<usize> = (0..count)
                    .map(|_| usize::try_from(random.next() % length.max(1)).expect("within it"))
                    .collect();
                cuts.sort_unstable();
                cuts.push(input.len());
                let mut start = 0;
                let pieces = cuts.into_iter().map(|cut| {
                    let piece = &input[start..cut];
                    start = cut;
                    piece
                });
                pieces.filter(|piece| !piece.is_empty()).collect()
            }
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("in one write"),
            Self::ByteByByte => f.write_str("byte by byte"),
            Self::Random { seed } => write!(f, "cut by the seed {seed:#x}"),
        }
    }
}

/// Pseudo-random numbers out of a seed (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn every_way_of_writing_carries_every_byte_once() {
    let input: Vec<u8> = (0..=u8::MAX).collect();
    for delivery in Delivery::all(7) {
        assert_eq!(delivery.pieces(&input).concat(), input, "{delivery}");
        assert!(delivery.pieces(&input).iter().all(|piece| !piece.is_empty()), "{delivery}");
    }
    assert_eq!(Delivery::ByteByByte.pieces(&input).len(), input.len());
    let [_, _, first, second] = Delivery::all(7)[..] else { panic!("four ways") };
    assert_ne!(first.pieces(&input), second.pieces(&input));
}
