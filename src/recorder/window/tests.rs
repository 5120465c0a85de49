//! Queue and window against recorders that act in random order, and against threads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;
use crate::hit::HitDays;
use crate::recorder::days::DayWindow;
use crate::recorder::queue::{LinePosition, Queue, QueueClosed};

/// Limits of so many hits a batch, and of so many requests at once.
fn limits(hits: usize, requests: usize) -> LoadLimits {
    LoadLimits {
        batch: BatchLimits {
            hits,
            bytes: 900_000,
            exact: false,
        },
        requests,
    }
}

/// A chunk with a group for each visitor, agent and number of requests. A request reads
/// `line.request;`, as in `0.2;`.
fn chunk(first_line: u64, groups: &[(u64, u64, u32)]) -> Chunk {
    let mut chunk = Chunk::default();
    for (line, (visitor, agent, requests)) in (first_line..).zip(groups) {
        push(&mut chunk, line, *requests);
        chunk.groups.push(RequestGroup {
            position: LinePosition {
                line,
                ..LinePosition::default()
            },
            requests: *requests,
            agent: *agent,
            visitor: *visitor,
            ..RequestGroup::default()
        });
    }
    chunk
}

fn push(chunk: &mut Chunk, line: u64, requests: u32) {
    for part in 0..requests {
        let request = format!("{line}.{part};");
        chunk.body.extend_from_slice(request.as_bytes());
        chunk.end_request();
    }
}

/// The requests of a buffer as text.
fn text(buffer: &Buffer) -> String {
    let requests = buffer.requests().into_iter();
    let texts = requests.map(|request| String::from_utf8_lossy(buffer.json(request)).into_owned());
    texts.collect()
}

fn take(window: &Window, limits: LoadLimits) -> Option<Buffer> {
    let mut buffer = Buffer::default();
    window.take(0, limits, &mut buffer).map(|_| buffer)
}

/// A window with these groups, after a flush.
fn window_of(keep_order: bool, groups: &[(u64, u64, u32)]) -> (Window, WindowSender) {
    let (window, sender) = Window::new(keep_order, 1);
    let chunk = Chunk {
        flush: true,
        ..chunk(0, groups)
    };
    window
        .push(&sender, chunk, &Shutdown::default(), || {})
        .unwrap();
    (window, sender)
}

#[test]
fn agents_come_together_and_each_visitor_keeps_its_order() {
    let groups = [
        (1, 10, 1),
        (2, 20, 1),
        (3, 10, 1),
        (1, 20, 1),
        (2, 20, 1),
        (3, 10, 1),
    ];
    let (window, _sender) = window_of(false, &groups);
    let buffer = take(&window, limits(1000, 4)).unwrap();
    assert_eq!(text(&buffer), "0.0;3.0;2.0;5.0;1.0;4.0;");
    let (window, _sender) = window_of(true, &groups);
    let buffer = take(&window, limits(1000, 4)).unwrap();
    assert_eq!(text(&buffer), "0.0;1.0;2.0;3.0;4.0;5.0;");
}

#[test]
fn requests_of_a_group_stay_together() {
    let (window, _sender) = window_of(false, &[(1, 10, 300), (2, 20, 1), (3, 10, 2)]);
    let buffer = take(&window, limits(250, 1)).unwrap();
    assert_eq!(buffer.len(), 300, "a group is taken whole");
    assert_eq!(buffer.groups().len(), 1);
}

#[test]
fn hits_of_a_visitor_in_flight_wait() {
    let (window, sender) = window_of(false, &[(1, 10, 1), (2, 20, 1)]);
    let first = take(&window, limits(1000, 4)).unwrap();
    let more = Chunk {
        flush: true,
        ..chunk(2, &[(1, 30, 1), (3, 10, 1)])
    };
    window
        .push(&sender, more, &Shutdown::default(), || {})
        .unwrap();
    assert!(
        take(&window, limits(1000, 4)).is_none(),
        "one hit is not worth a request while others wait"
    );
    window.finish(&first);
    let second = take(&window, limits(1000, 4)).unwrap();
    assert_eq!(text(&second), "3.0;2.0;");
}

/// The batches that a log of so many lines takes, each of another visitor and one of 50 agents.
fn batches(lines: u64, limits: LoadLimits) -> Vec<usize> {
    let groups: Vec<_> = (0..lines).map(|line| (line, line % 50, 1)).collect();
    let (window, _sender) = window_of(false, &groups);
    let in_flight: Vec<Buffer> = std::iter::from_fn(|| take(&window, limits)).collect();
    in_flight.iter().map(Buffer::len).collect()
}

#[test]
fn small_logs_use_few_requests() {
    assert_eq!(batches(20, limits(1000, 8)), [20]);
    assert_eq!(batches(300, limits(1000, 8)), [300]);
    assert_eq!(batches(500, limits(1000, 8)).len(), 2);
    assert_eq!(batches(1000, limits(1000, 1)), [1000]);
    assert_eq!(batches(1000, limits(1000, 2)), [500, 500]);
    assert_eq!(batches(4000, limits(1000, 2)).len(), 4);
}

#[test]
fn batches_are_full_if_the_user_chose_their_size() {
    let exact = |hits, requests| {
        let mut limits = limits(hits, requests);
        limits.batch.exact = true;
        limits
    };
    assert_eq!(batches(1030, exact(200, 4)), [200, 200, 200, 200, 200, 30]);
    // Small batches are taken several at a time.
    assert_eq!(batches(30, exact(7, 1)), [30]);
    assert_eq!(batches(210, exact(7, 1)), [105, 105]);
    assert_eq!(batches(30, exact(7, 4)), [14, 14, 2]);
}

#[test]
fn bodies_stay_within_the_limit_but_a_single_group_always_goes() {
    // A request is four bytes and a separator.
    let groups = [
        (1, 1, 20_000),
        (2, 2, 10_000),
        (3, 3, 2_000),
        (4, 4, 20_000),
    ];
    let (window, _sender) = window_of(false, &groups);
    let mut limits = limits(100_000, 1);
    limits.batch.bytes = 250_000;
    let visitors = |buffer: &Buffer| -> Vec<u64> {
        let groups = buffer.groups();
        groups.map(|group| group.visitor).collect()
    };
    let first = take(&window, limits).unwrap();
    assert_eq!(visitors(&first), [1, 2]);
    window.finish(&first);
    limits.batch.bytes = 1;
    let second = take(&window, limits).unwrap();
    assert_eq!(visitors(&second), [3], "a little is taken all the same");
    window.finish(&second);
    assert_eq!(visitors(&take(&window, limits).unwrap()), [4]);
}

#[test]
fn a_sweep_goes_on_where_the_last_batch_ended() {
    let (window, sender) = window_of(false, &[(1, 1, 150), (2, 2, 150), (3, 3, 150)]);
    let first = take(&window, limits(200, 8)).unwrap();
    window.finish(&first);
    let more = Chunk {
        flush: true,
        ..chunk(3, &[(4, 1, 150), (5, 3, 30)])
    };
    window
        .push(&sender, more, &Shutdown::default(), || {})
        .unwrap();
    let agents = std::iter::from_fn(|| take(&window, limits(200, 8)));
    let agents: Vec<Vec<u64>> = agents
        .map(|buffer| buffer.groups().map(|group| group.agent).collect())
        .collect();
    assert_eq!(agents, [vec![2], vec![3, 3], vec![1]]);
}

#[test]
fn a_full_batch_waits_a_moment_for_more_hits_to_order() {
    let (window, sender) = Window::new(false, 1);
    let groups: Vec<_> = (0..1500).map(|line| (line, line, 1)).collect();
    let pushed = window.push(&sender, chunk(0, &groups), &Shutdown::default(), || {});
    pushed.unwrap();
    assert!(take(&window, limits(1000, 1)).is_none());
    std::thread::sleep(READ_AHEAD_WAIT);
    assert_eq!(take(&window, limits(1000, 1)).unwrap().len(), 1000);
    assert!(take(&window, limits(1000, 1)).is_none(), "no full batch");
    drop(sender);
    assert_eq!(take(&window, limits(1000, 1)).unwrap().len(), 500);
}

#[test]
fn lines_that_cannot_be_handed_over_are_unsent() {
    let (window, sender) = Window::new(false, 1);
    let stop = Shutdown::default();
    stop.halt(crate::error::Error::stopped("test"));
    let full = (0..INBOX_CHUNKS + 1).find_map(|line| {
        let chunk = chunk(line as u64, &[(1, 1, 1)]);
        window.push(&sender, chunk, &stop, || {}).err()
    });
    assert_eq!(full.unwrap().groups.len(), 1);
    drop(sender);
    let mut unsent = 0;
    window.drain(|_| unsent += 1);
    assert_eq!(unsent, INBOX_CHUNKS);
}

#[test]
fn what_recorders_left_is_drained() {
    let (window, sender) = window_of(false, &[(1, 1, 1), (2, 2, 2), (3, 3, 1)]);
    let taken = take(&window, limits(1, 8));
    assert!(taken.is_some_and(|buffer| !buffer.is_empty()));
    let next_epoch = Chunk {
        epoch: 1,
        ..chunk(3, &[(4, 4, 1)])
    };
    window
        .push(&sender, next_epoch, &Shutdown::default(), || {})
        .unwrap();
    drop(sender);
    let mut left = 0;
    window.drain(|_| left += 1);
    let taken = 4 - left;
    assert!((1..=3).contains(&taken), "{left}");
}

/// A recorder of the model, with what it has in flight.
#[derive(Default)]
struct SimulatedRecorder {
    in_flight: Option<(u64, Buffer)>,
    /// Attempts until its request succeeds.
    failures: u32,
}

struct Simulation {
    queue: Queue,
    window: Arc<Window>,
    /// Each recorder sends to one of so many front ends.
    fronts: usize,
    limits: LoadLimits,
    recorders: Vec<SimulatedRecorder>,
    opened: HashSet<(u32, i32)>,
    front_of: HashMap<u64, usize>,
    /// Visitor and line number of each group in the order in which they were sent.
    sent: Vec<(u64, u64)>,
    lines: u64,
    keep_order: bool,
}

impl Simulation {
    fn new(
        (recorders, fronts): (usize, usize),
        days: DayWindow,
        max_bytes: usize,
        keep_order: bool,
    ) -> Self {
        let (window, sender) = Window::with_capacity(keep_order, fronts, max_bytes, 100_000);
        let window = Arc::new(window);
        let days = (recorders > 1).then_some(days);
        let stop = Shutdown::default();
        Self {
            queue: Queue::of_parts(Arc::clone(&window), sender, days, stop),
            window,
            fronts,
            limits: limits(5, recorders),
            recorders: (0..recorders)
                .map(|_| SimulatedRecorder::default())
                .collect(),
            opened: HashSet::new(),
            front_of: HashMap::new(),
            sent: Vec::new(),
            lines: 0,
            keep_order,
        }
    }

    fn add(&mut self, site: u32, days: HitDays, visitor: u64, agent: u64, requests: u32) {
        let line = self.lines;
        self.lines += 1;
        push(self.queue.chunk(), line, requests);
        let group = RequestGroup {
            position: LinePosition {
                line,
                ..LinePosition::default()
            },
            site,
            days,
            requests,
            agent,
            visitor,
            ..RequestGroup::default()
        };
        self.queue.add(group).unwrap();
    }

    /// Lets a recorder finish its request, fail and try again, or take the next one. Returns false
    /// if it can do nothing.
    fn act(&mut self, recorder: usize, failures: u32) -> bool {
        let acting = &mut self.recorders[recorder];
        if acting.failures > 0 {
            acting.failures -= 1;
            return true;
        }
        if let Some((_, buffer)) = acting.in_flight.take() {
            for group in buffer.groups() {
                if let HitDays::Past(day) = group.days {
                    self.opened.insert((group.site, day));
                }
            }
            self.window.finish(&buffer);
            return true;
        }
        let mut buffer = Buffer::default();
        let front = recorder % self.fronts;
        let Some(epoch) = self.window.take(front, self.limits, &mut buffer) else {
            return false;
        };
        check_requests(&buffer);
        for group in buffer.groups() {
            let first = *self.front_of.entry(group.visitor).or_insert(front);
            assert_eq!(first, front, "visitor {}", group.visitor);
        }
        let lines = buffer
            .groups()
            .map(|group| (group.visitor, group.position.line));
        self.sent.extend(lines);
        let acting = &mut self.recorders[recorder];
        acting.in_flight = Some((epoch, buffer));
        acting.failures = failures;
        self.check_in_flight();
        true
    }

    fn check_in_flight(&self) {
        let buffers = self.recorders.iter();
        let buffers: Vec<_> = buffers.filter_map(|it| it.in_flight.as_ref()).collect();
        let mut visitors = HashSet::new();
        let mut days = HashMap::new();
        for (epoch, buffer) in &buffers {
            assert_eq!(*epoch, buffers[0].0, "two epochs in flight");
            let of_buffer: HashSet<u64> = buffer.groups().map(|group| group.visitor).collect();
            for visitor in of_buffer {
                assert!(visitors.insert(visitor), "visitor {visitor} twice");
            }
            if buffers.len() < 2 {
                continue;
            }
            for group in buffer.groups() {
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
    }

    fn check_end(&mut self) {
        self.queue.flush().unwrap();
        assert_eq!(self.queue.unsent().count(), 0);
        while (0..self.recorders.len()).fold(false, |acted, number| self.act(number, 0) | acted) {}
        let mut last = HashMap::new();
        for (visitor, line) in &self.sent {
            let before = last.insert(*visitor, *line);
            assert!(before < Some(*line), "{before:?} before {line}");
        }
        let mut lines: Vec<u64> = self.sent.iter().map(|(_, line)| *line).collect();
        if self.keep_order && self.recorders.len() == 1 {
            assert!(lines.is_sorted(), "{lines:?}");
        }
        lines.sort_unstable();
        assert_eq!(lines, (0..self.lines).collect::<Vec<_>>());
        let state = self.window.state.lock();
        for FrontHits { contents, .. } in &state.fronts {
            assert_eq!((contents.ready_hits, contents.blocked_hits), (0, 0));
            assert_eq!((contents.bytes, contents.visitors.len()), (0, 0));
        }
    }
}

/// Checks that each group of a buffer has its own requests.
fn check_requests(buffer: &Buffer) {
    let mut requests = buffer.requests().into_iter();
    for group in buffer.groups() {
        for part in 0..group.requests {
            let expected = format!("{}.{part};", group.position.line);
            let request = requests.next().map(|request| buffer.json(request));
            assert_eq!(request, Some(expected.as_bytes()));
        }
    }
    assert_eq!(requests.next(), None);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32, HitDays, u64, u64, u32),
    Flush,
    Act(usize, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let days = prop_oneof![
        2 => Just(HitDays::Today),
        8 => (0..4).prop_map(HitDays::Past),
        1 => Just(HitDays::Several),
    ];
    let visitor = prop_oneof![0u64..4, 0u64..40];
    let add = (0u32..3, days, visitor, 0u64..5, 1u32..4);
    prop_oneof![
        6 => add.prop_map(|(site, days, visitor, agent, requests)| {
            Step::Add(site, days, visitor, agent, requests)
        }),
        1 => Just(Step::Flush),
        6 => (any::<usize>(), 0u32..4).prop_map(|(recorder, failures)| {
            Step::Act(recorder, failures)
        }),
    ]
}

proptest! {
    #[test]
    fn requests_in_flight_share_no_visitor_and_no_day(
        steps in prop::collection::vec(step(), 0..400),
        recorders in 1usize..=16,
        fronts in 1usize..=4,
        max_bytes in 1usize..4000,
        held_bytes in 1usize..400,
        small_day in 0usize..20,
        keep_order: bool,
    ) {
        let days = DayWindow::new(held_bytes, small_day);
        let fronts = fronts.min(recorders);
        let mut simulation = Simulation::new((recorders, fronts), days, max_bytes, keep_order);
        for step in steps {
            match step {
                Step::Add(site, days, visitor, agent, requests) => {
                    // One recorder needs no order of days.
                    let days = if recorders == 1 { HitDays::Today } else { days };
                    simulation.add(site, days, visitor, agent, requests);
                }
                Step::Flush => simulation.queue.flush().unwrap(),
                Step::Act(recorder, failures) => {
                    simulation.act(recorder % recorders, failures);
                }
            }
        }
        simulation.check_end();
    }
}

/// The epochs that a log takes whose lines have these days.
fn epochs_of(days: impl IntoIterator<Item = i32>) -> u64 {
    let window = DayWindow::new(4000, 100);
    let mut simulation = Simulation::new((4, 1), window, WINDOW_BYTES, false);
    for (number, day) in days.into_iter().enumerate() {
        simulation.add(0, HitDays::Past(day), number as u64 % 16, 0, 1);
    }
    simulation.check_end();
    simulation.queue.chunk().epoch
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
fn a_day_of_several_sites_is_shared_among_the_recorders() {
    let window = DayWindow::new(4000, 500);
    let mut simulation = Simulation::new((4, 1), window, WINDOW_BYTES, false);
    for line in 0..20_000 {
        simulation.add((line % 4) as u32, HitDays::Past(1), line % 999, 0, 1);
    }
    // The beginning goes alone, and all that follows may be sent at once.
    let chunk = simulation.queue.chunk();
    assert_eq!((chunk.epoch, chunk.alone), (2, false));
    simulation.check_end();
}

#[test]
fn a_day_is_not_opened_twice() {
    let again = epochs_of((0..6).flat_map(|part| [part % 2; 1000]));
    assert_eq!(again, 8);
}

#[test]
fn a_closed_queue_keeps_its_lines() {
    let (window, sender) = Window::new(false, 1);
    let stop = Shutdown::default();
    let days = DayWindow::new(1 << 20, 10);
    let mut queue = Queue::of_parts(Arc::new(window), sender, Some(days), stop.clone());
    stop.halt(crate::error::Error::stopped("test"));
    let mut added = 0;
    let closed = (0..10_000).find_map(|line| {
        push(queue.chunk(), line, 100);
        let group = RequestGroup {
            requests: 100,
            days: HitDays::Past((line / 500) as i32),
            ..RequestGroup::default()
        };
        added += 1;
        queue.add(group).err()
    });
    assert_eq!(closed, Some(QueueClosed));
    let handed_over = added - queue.unsent().count();
    assert!(handed_over > 0 && queue.unsent().count() > 0);
}

/// Lets threads send what a parser pushes to a server that is slow at random. Returns the hits that
/// were sent.
fn run_threads(recorders: usize, fronts: usize, lines: u64) -> u64 {
    let (window, sender) = Window::with_capacity(false, fronts, 100_000, 4);
    let stop = Shutdown::default();
    let in_flight = Mutex::new(HashSet::new());
    let last = Mutex::new(HashMap::<u64, u64>::new());
    let sent = AtomicU64::new(0);
    let limits = move || limits(50, recorders);
    std::thread::scope(|threads| {
        let (window, stop) = (&window, &stop);
        let (in_flight, last, sent) = (&in_flight, &last, &sent);
        for recorder in 0..recorders {
            let front = recorder % fronts;
            threads.spawn(move || {
                while window.wait(front, limits, stop) {
                    let mut buffer = Buffer::default();
                    if window.take(front, limits(), &mut buffer).is_none() {
                        continue;
                    }
                    let visitors: HashSet<u64> =
                        buffer.groups().map(|group| group.visitor).collect();
                    for visitor in &visitors {
                        assert!(in_flight.lock().insert(*visitor), "{visitor} twice");
                    }
                    for group in buffer.groups() {
                        let before = last.lock().insert(group.visitor, group.position.line);
                        assert!(before < Some(group.position.line));
                    }
                    sent.fetch_add(buffer.len() as u64, Ordering::SeqCst);
                    if buffer.len() % 3 == 0 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    in_flight
                        .lock()
                        .retain(|visitor| !visitors.contains(visitor));
                    window.finish(&buffer);
                }
            });
        }
        // The read-back thread now and then keeps all others from sending.
        threads.spawn(|| {
            for _ in 0..20 {
                let reserved = window.reserve(stop);
                assert!(in_flight.lock().is_empty());
                drop(reserved);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for first in (0..lines).step_by(20) {
            let groups: Vec<_> = (first..first + 20)
                .map(|line| (line * 7919 % 300, line % 11, 1))
                .collect();
            let chunk = Chunk {
                epoch: first / 1000,
                alone: first / 1000 % 3 == 1,
                ..chunk(first, &groups)
            };
            window.push(&sender, chunk, stop, || {}).unwrap();
        }
        drop(sender);
    });
    sent.into_inner()
}

#[test]
fn threads_send_everything_once() {
    for (recorders, fronts) in [(1, 1), (2, 1), (3, 1), (8, 1), (16, 1), (3, 3), (8, 3)] {
        let sent = run_threads(recorders, fronts, 6000);
        assert_eq!(sent, 6000, "{recorders} recorders, {fronts} front ends");
    }
}

#[test]
fn waits_end_on_shutdown() {
    let (window, _sender) = window_of(false, &[(1, 1, 1)]);
    let stop = Shutdown::default();
    let _in_flight = take(&window, limits(1000, 2)).unwrap();
    stop.halt(crate::error::Error::stopped("test"));
    assert!(!window.wait(0, || limits(1000, 2), &stop));
    assert!(window.reserve(&stop).is_none());
}
