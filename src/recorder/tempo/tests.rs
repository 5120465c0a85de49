//! Recorders and servers played through without waiting.

use super::*;

const ROOM: usize = 2 << 20;

/// A server and the recorders that send to it, with a clock of their own.
struct Play {
    tempo: Tempo,
    recorders: usize,
    /// What a request takes: so many hits, so many requests at once, itself included.
    seconds: fn(usize, usize) -> f64,
    took: fn(usize, usize) -> Took,
    now: f64,
    under_way: Vec<UnderWay>,
    /// Most requests at once since this was last set to 0.
    peak: usize,
    failed: usize,
}

struct UnderWay {
    ends: f64,
    seen: Seen,
}

impl Play {
    fn new(most: Most, given: Option<usize>, seconds: fn(usize, usize) -> f64) -> Self {
        let (Most::Fixed(recorders) | Most::Auto(recorders)) = most;
        Self {
            tempo: Tempo::new(most, Sizer::new(given, ROOM)),
            recorders,
            seconds,
            took: |_, _| Took::Well,
            now: 0.0,
            under_way: Vec::new(),
            peak: 0,
            failed: 0,
        }
    }

    /// Until so many more requests have ended.
    fn requests(&mut self, number: usize) {
        for _ in 0..number {
            while self.under_way.len() < self.recorders.min(self.tempo.limit()) {
                self.send();
            }
            let next = (0..self.under_way.len())
                .min_by(|a, b| self.under_way[*a].ends.total_cmp(&self.under_way[*b].ends))
                .unwrap();
            let UnderWay { ends, seen } = self.under_way.swap_remove(next);
            self.now = ends;
            self.tempo.note(&seen);
        }
    }

    fn send(&mut self) {
        let (size, cut) = self.tempo.size();
        let busy = self.under_way.len() + 1;
        self.peak = self.peak.max(busy);
        let took = (self.took)(size.hits, busy);
        self.failed += usize::from(took == Took::Failed);
        let seconds = (self.seconds)(size.hits, busy);
        self.under_way.push(UnderWay {
            // No two end at the same moment.
            ends: self.now + seconds + 0.0001 * busy as f64,
            seen: Seen {
                hits: size.hits,
                bytes: size.hits * 430,
                elapsed: Duration::from_secs_f64(seconds),
                took,
                cut: Some(cut),
                sent: self.tempo.era(),
                crowded: busy >= self.tempo.limit(),
            },
        });
    }

    fn hits(&self) -> usize {
        self.tempo.size().0.hits
    }
}

/// For each request and each hit something; twice as much for each four requests more at once.
fn doubles_above_four(hits: usize, busy: usize) -> f64 {
    (0.05 + hits as f64 * 0.0005) * f64::from(1 << ((busy - 1) / 4))
}

/// For each request only.
fn flat(_: usize, busy: usize) -> f64 {
    0.05 * f64::from(1 << ((busy - 1) / 4))
}

fn alike(hits: usize, _: usize) -> f64 {
    hits as f64 * 0.001
}

#[test]
fn auto_finds_how_many_requests_the_server_likes_within_few() {
    for (given, seconds) in [
        (Some(5), flat as fn(usize, usize) -> f64),
        (None, flat),
        (None, doubles_above_four),
    ] {
        for recorders in [8, 16] {
            let mut play = Play::new(Most::Auto(recorders), given, seconds);
            play.requests(50);
            assert!((3..=6).contains(&play.tempo.settled()));
            for _ in 0..20 {
                play.requests(100);
                assert!((3..=6).contains(&play.tempo.settled()));
                assert!((3..=6).contains(&play.tempo.limit()));
            }
        }
    }
}

#[test]
fn requests_grow_with_one_recorder_and_with_many() {
    for most in [Most::Fixed(1), Most::Fixed(4), Most::Auto(8)] {
        let mut play = Play::new(most, None, doubles_above_four);
        play.requests(400);
        assert_eq!(play.hits(), 1000, "{most:?}");
    }
}

#[test]
fn where_the_size_makes_no_difference_a_limit_is_found_all_the_same() {
    let mut play = Play::new(Most::Auto(8), None, alike);
    play.requests(400);
    assert_eq!(play.tempo.settled(), 8);
}

#[test]
fn a_fixed_number_is_used_from_the_beginning() {
    let mut play = Play::new(Most::Fixed(8), Some(5), flat);
    play.requests(1);
    assert_eq!(play.peak, 8);
}

#[test]
fn a_server_that_fails_above_four_at_once_soon_gets_no_more() {
    let mut play = Play::new(Most::Fixed(8), None, doubles_above_four);
    play.took = |_, busy| match busy {
        5.. => Took::Failed,
        _ => Took::Well,
    };
    play.requests(100);
    let failed = play.failed;
    play.requests(1000);
    let share = (play.failed - failed) as f64 / 1000.0;
    assert!(share < 0.02, "{share} of the requests fail");
}

#[test]
fn trouble_that_came_before_the_change_it_made_counts_once() {
    let mut play = Play::new(Most::Fixed(8), None, flat);
    play.took = |_, _| Took::Busy;
    play.requests(1);
    assert_eq!(play.tempo.limit(), 4);
    play.took = |_, _| Took::Well;
    play.requests(7);
    assert_eq!(play.tempo.limit(), 4);
}

#[test]
fn requests_of_more_than_five_seconds_shrink() {
    let mut play = Play::new(Most::Fixed(1), None, flat);
    play.requests(60);
    assert_eq!(play.hits(), 1000);
    play.seconds = |hits, _| hits as f64 * 0.01;
    play.requests(5);
    assert_eq!(play.hits(), 500);
    // Where even the least takes longer there is nothing to be gained by size.
    play.seconds = |_, _| 6.0;
    play.requests(5);
    assert_eq!(play.hits(), 200);
}

#[test]
fn requests_too_slow_to_shrink_are_still_a_measure_of_the_crowd() {
    let mut play = Play::new(Most::Fixed(8), Some(5), |_, _| 3.0);
    play.requests(40);
    play.seconds = |_, _| 20.0;
    play.requests(40);
    assert!(play.tempo.limit() < 8);
}

#[test]
fn bits_and_pieces_are_no_measure() {
    let mut tempo = Tempo::new(Most::Fixed(4), Sizer::new(None, ROOM));
    let (_, cut) = tempo.size();
    let seen = Seen {
        hits: 200,
        bytes: 80_000,
        elapsed: Duration::from_millis(100),
        took: Took::Well,
        cut: Some(cut),
        sent: tempo.era(),
        crowded: true,
    };
    for _ in 0..50 {
        // The rest of a log, and what was sent again.
        assert!(!tempo.note(&Seen {
            hits: 3,
            bytes: 1200,
            elapsed: Duration::from_secs(1),
            ..seen
        }));
        assert!(!tempo.note(&Seen {
            cut: None,
            elapsed: Duration::from_secs(1),
            ..seen
        }));
    }
    assert_eq!(tempo.limit(), 4);
    let changes = (0..20).filter(|_| tempo.note(&seen)).count();
    assert_eq!((changes, tempo.size().0.hits), (1, 400));
}

/// One request after the other to a server that hangs up on more than so many hits; what it hung up on is sent again
/// in halves. Gives the hits of each request.
fn sent_to_one_that_hangs_up(tempo: &mut Tempo, above: usize, batches: usize) -> Vec<usize> {
    let mut all = Vec::new();
    for _ in 0..batches {
        let (size, cut) = tempo.size();
        let mut waiting = vec![(size.hits, Some(cut))];
        while let Some((hits, cut)) = waiting.pop() {
            let took = match hits > above {
                true => Took::HungUp,
                false => Took::Well,
            };
            tempo.note(&Seen {
                hits,
                bytes: hits * 430,
                elapsed: Duration::from_millis(hits as u64),
                took,
                cut,
                sent: tempo.era(),
                crowded: true,
            });
            all.push(hits);
            if took == Took::HungUp {
                waiting.extend([(hits / 2, None), (hits.div_ceil(2), None)]);
            }
        }
    }
    all
}

#[test]
fn a_server_that_hangs_up_on_the_size_gets_what_it_takes() {
    for (above, next) in [(100, 100), (60, 50)] {
        let mut tempo = Tempo::new(Most::Fixed(1), Sizer::new(None, ROOM));
        let sent = sent_to_one_that_hangs_up(&mut tempo, above, 20);
        let too_many = sent.iter().filter(|hits| **hits > above).count();
        assert_eq!(tempo.size().0.hits, next, "{sent:?}");
        assert!(too_many <= 3, "{sent:?}");
    }
}

#[test]
fn one_that_hangs_up_for_other_reasons_says_nothing_about_the_size() {
    let mut tempo = Tempo::new(Most::Fixed(1), Sizer::new(None, ROOM));
    let (_, cut) = tempo.size();
    let seen = |hits, took, cut, tempo: &Tempo| Seen {
        hits,
        bytes: hits * 430,
        elapsed: Duration::from_millis(100),
        took,
        cut,
        sent: tempo.era(),
        crowded: true,
    };
    // The rest of a log, and its half.
    tempo.note(&seen(3, Took::HungUp, Some(cut), &tempo));
    tempo.note(&seen(2, Took::Well, None, &tempo));
    assert_eq!(tempo.size().0.hits, 200);
    // Another recorder's request of that size was taken.
    tempo.note(&seen(200, Took::HungUp, Some(cut), &tempo));
    tempo.note(&seen(200, Took::Well, Some(cut), &tempo));
    tempo.note(&seen(100, Took::Well, None, &tempo));
    assert_eq!(tempo.size().0.hits, 200);
}
