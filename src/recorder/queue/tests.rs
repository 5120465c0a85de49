//! The queue and its epochs against recorders that act in random order.

use std::collections::{HashMap, HashSet, VecDeque};

use crossbeam_channel::unbounded;
use proptest::prelude::*;

use super::*;

/// Requests in one batch of the simulated recorders.
const BATCH_GROUPS: usize = 2;

/// A recorder that sends what it gets in batches of a few groups.
struct SimulatedRecorder {
    inbox: Receiver<Chunk>,
    /// Groups that were received, each with its epoch.
    received: VecDeque<(u64, RequestGroup)>,
    in_flight: Vec<(u64, RequestGroup)>,
}

struct Simulation {
    queue: Queue,
    epochs: Arc<Epochs>,
    recorders: Vec<SimulatedRecorder>,
    opened: HashSet<(u32, i32)>,
    /// Line numbers in the order in which they were sent.
    sent: Vec<(u64, u64)>,
    lines: u64,
}

impl Simulation {
    fn new(recorders: usize, window: usize, small_epoch: usize) -> Self {
        let epochs = Arc::<Epochs>::default();
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..recorders).map(|_| unbounded()).unzip();
        let (_, emptied) = unbounded();
        let mut queue = Queue::new(
            senders,
            emptied,
            Arc::clone(&epochs),
            None,
            usize::MAX,
            Shutdown::default(),
        );
        queue.days = queue.days.map(|_| DayWindow::new(window, small_epoch));
        let recorders = inboxes.into_iter().map(|inbox| SimulatedRecorder {
            inbox,
            received: VecDeque::new(),
            in_flight: Vec::new(),
        });
        Self {
            queue,
            epochs,
            recorders: recorders.collect(),
            opened: HashSet::new(),
            sent: Vec::new(),
            lines: 0,
        }
    }

    fn add(&mut self, site: u32, days: HitDays, visitor: u64, requests: u32) {
        let line = self.lines;
        self.lines += 1;
        // Spread over all recorders.
        let visitor = visitor << 60 | visitor;
        let chunk = self.queue.chunk(visitor);
        for part in 0..requests {
            let request = format!("{line}.{part};");
            chunk.body.extend_from_slice(request.as_bytes());
            chunk.end_request();
        }
        let group = RequestGroup {
            file: 0,
            log: None,
            position: LinePosition {
                line,
                ..LinePosition::default()
            },
            more: Vec::new(),
            site,
            days,
            requests,
            agent: 0,
            visitor,
            has_hit_ids: true,
            originals: Vec::new(),
            session: None,
        };
        self.queue.add(group).unwrap();
    }

    /// Lets a recorder finish its batch, or send the next one. Returns false if it can do nothing.
    fn act(&mut self, recorder: usize) -> bool {
        let acting = &mut self.recorders[recorder];
        if !acting.in_flight.is_empty() {
            for (epoch, group) in acting.in_flight.drain(..) {
                if let HitDays::Past(day) = group.days {
                    self.opened.insert((group.site, day));
                }
                self.epochs.finish(epoch, 1);
            }
            return true;
        }
        while let Ok(chunk) = acting.inbox.try_recv() {
            check_requests(&chunk);
            let groups = chunk.groups.into_iter().map(|group| (chunk.epoch, group));
            acting.received.extend(groups);
        }
        let Some((epoch, _)) = acting.received.front() else {
            return false;
        };
        let epoch = *epoch;
        if !self.epochs.has_begun(epoch) {
            return false;
        }
        let same_epoch = |(next, _): &&(u64, RequestGroup)| *next == epoch;
        let count = acting.received.iter().take(BATCH_GROUPS);
        let count = count.take_while(same_epoch).count();
        acting.in_flight = acting.received.drain(..count).collect();
        let batch = acting.in_flight.iter();
        let lines = batch.map(|(_, group)| (group.visitor, group.position.line));
        self.sent.extend(lines);
        self.check_in_flight();
        true
    }

    fn check_in_flight(&self) {
        let batches = self.recorders.iter().map(|recorder| &recorder.in_flight);
        let batches: Vec<_> = batches.filter(|batch| !batch.is_empty()).collect();
        if batches.len() < 2 {
            return;
        }
        let mut days = HashMap::new();
        for (_, group) in batches.into_iter().flatten() {
            match group.days {
                HitDays::Today => {}
                HitDays::Several => panic!("a group of several days is not alone"),
                HitDays::Past(day) => {
                    let first = *days.entry(group.site).or_insert(day);
                    assert_eq!(first, day, "two days of site {}", group.site);
                    let is_open = self.opened.contains(&(group.site, day));
                    assert!(is_open, "the first hit of a day is not alone");
                }
            }
        }
    }

    fn check_end(&mut self) {
        self.queue.flush().unwrap();
        assert_eq!(self.queue.unsent().count(), 0);
        while (0..self.recorders.len()).fold(false, |acted, number| self.act(number) | acted) {}
        let mut lines: Vec<u64> = self.sent.iter().map(|(_, line)| *line).collect();
        let mut last = HashMap::new();
        for (visitor, line) in &self.sent {
            let before = last.insert(*visitor, *line);
            assert!(before < Some(*line), "{before:?} before {line}");
        }
        lines.sort_unstable();
        assert_eq!(lines, (0..self.lines).collect::<Vec<_>>());
    }
}

/// Checks that each group of a chunk has its own requests.
fn check_requests(chunk: &Chunk) {
    let mut requests = chunk.requests();
    for group in &chunk.groups {
        for part in 0..group.requests {
            let expected = format!("{}.{part};", group.position.line);
            assert_eq!(requests.next(), Some(expected.as_bytes()));
        }
    }
    assert_eq!(requests.next(), None);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32, HitDays, u64, u32),
    Flush,
    Act(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let days = prop_oneof![
        1 => Just(HitDays::Today),
        8 => (0..4).prop_map(HitDays::Past),
        1 => Just(HitDays::Several),
    ];
    prop_oneof![
        6 => (0u32..3, days, 0u64..16, 1u32..4).prop_map(|(a, b, c, d)| Step::Add(a, b, c, d)),
        1 => Just(Step::Flush),
        6 => any::<usize>().prop_map(Step::Act),
    ]
}

proptest! {
    #[test]
    fn days_in_flight_never_mix(
        steps in prop::collection::vec(step(), 0..400),
        recorders in 1usize..6,
        window in 1usize..400,
        small_epoch in 0usize..20,
    ) {
        let mut simulation = Simulation::new(recorders, window, small_epoch);
        for step in steps {
            match step {
                Step::Add(site, days, visitor, requests) => {
                    // One recorder needs no order of days.
                    let days = if recorders == 1 { HitDays::Today } else { days };
                    simulation.add(site, days, visitor, requests);
                }
                Step::Flush => simulation.queue.flush().unwrap(),
                Step::Act(recorder) => {
                    simulation.act(recorder % recorders);
                }
            }
        }
        simulation.check_end();
    }
}

/// The epochs that a log takes whose lines have these days.
fn epochs_of(days: impl IntoIterator<Item = i32>) -> u64 {
    let mut simulation = Simulation::new(4, 4000, 100);
    for (number, day) in days.into_iter().enumerate() {
        simulation.add(0, HitDays::Past(day), number as u64 % 16, 1);
    }
    simulation.check_end();
    simulation.queue.epoch
}

#[test]
fn a_log_in_order_takes_two_epochs_a_day() {
    assert_eq!(epochs_of((0..5).flat_map(|day| [day; 1000])), 10);
}

#[test]
fn alternating_days_take_a_few_epochs_a_window() {
    // 5,000 lines of at least 4 bytes, in windows of 4,000 bytes.
    let epochs = epochs_of((0..5000).map(|line| line % 2));
    assert!(epochs < 60, "{epochs}");
}

#[test]
fn a_day_is_not_opened_twice() {
    let again = epochs_of((0..6).flat_map(|part| [part % 2; 1000]));
    assert_eq!(again, 8);
}

#[test]
fn lines_that_cannot_be_handed_over_are_unsent() {
    let mut simulation = Simulation::new(2, 1 << 20, 100);
    for line in 0..100 {
        simulation.add(0, HitDays::Past(line / 50), line as u64 % 16, 1);
    }
    // The recorders have ended.
    simulation.recorders.clear();
    assert_eq!(simulation.queue.flush(), Err(QueueClosed));
    assert_eq!(simulation.queue.unsent().count(), 100);
}
