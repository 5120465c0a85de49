//! Batch size, concurrency and controller against simulated servers, with a clock of their own.

use proptest::prelude::*;

use super::*;

const BYTES_PER_HIT: usize = 430;

mod batch_size {
    use super::*;

    fn load(hits: usize, seconds: f64) -> RequestLoad {
        RequestLoad {
            hits,
            bytes: hits * BYTES_PER_HIT,
            elapsed: Duration::from_secs_f64(seconds),
            signal: LoadSignal::Accepted,
            is_new: true,
        }
    }

    /// Sends full batches that take this long. Returns the sizes on the way.
    fn grow(size: &mut BatchSize, batches: usize, seconds: f64) -> Vec<usize> {
        let mut sizes = vec![size.limits.hits];
        for _ in 0..batches {
            size.accept(&load(size.limits.hits, seconds));
            if sizes.last() != Some(&size.limits.hits) {
                sizes.push(size.limits.hits);
            }
        }
        sizes
    }

    #[test]
    fn it_starts_at_a_thousand_hits_and_900_kilobytes() {
        let limits = BatchSize::new(None).limits();
        let expected = BatchLimits {
            hits: 1000,
            bytes: 900_000,
            exact: false,
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn it_halves_down_to_200_hits_and_grows_back() {
        let mut size = BatchSize::new(None);
        for (failed, next) in [(1000, 500), (500, 250), (250, 200), (200, 200)] {
            size.shrink(failed);
            assert_eq!(size.limits.hits, next);
        }
        assert_eq!(grow(&mut size, 1000, 1.0), [200, 400, 800, 1000]);
    }

    #[test]
    fn after_each_failure_it_grows_more_slowly() {
        let mut size = BatchSize::new(None);
        let mut failures = 0;
        for _ in 0..1000 {
            match size.limits.hits {
                1000 => {
                    size.shrink(1000);
                    failures += 1;
                }
                hits => size.accept(&load(hits, 1.0)),
            }
        }
        assert!((5..15).contains(&failures), "{failures}");
    }

    #[test]
    fn slow_batches_halve_and_half_as_slow_ones_do_not_grow() {
        let mut size = BatchSize::new(None);
        size.accept(&load(1000, 10.1));
        assert_eq!(size.limits.hits, 500);
        assert_eq!(grow(&mut size, 100, 5.1), [500]);
        assert_eq!(grow(&mut size, 100, 5.0), [500, 1000]);
    }

    #[test]
    fn a_rejected_body_halves_the_bytes_for_the_rest_of_the_run() {
        let mut size = BatchSize::new(None);
        size.reject_body(430_000);
        size.reject_body(430_000);
        assert_eq!((size.limits.hits, size.limits.bytes), (1000, 215_000));
        size.reject_body(215_000);
        size.accept_body(107_000);
        assert_eq!(grow(&mut size, 1000, 0.1), [1000]);
        assert_eq!(size.limits.bytes, 107_500);
    }

    #[test]
    fn a_body_no_larger_than_an_accepted_one_was_rejected_for_another_reason() {
        let mut size = BatchSize::new(None);
        size.accept_body(400_000);
        size.reject_body(400_000);
        assert_eq!(size.limits.bytes, 900_000);
        size.reject_body(410_000);
        assert_eq!(size.limits.bytes, 400_000);
    }

    #[test]
    fn the_number_of_the_user_is_the_maximum() {
        let mut size = BatchSize::new(Some(5));
        assert_eq!(grow(&mut size, 1000, 0.1), [5]);
        size.shrink(5);
        assert_eq!((size.limits.hits, size.limits.exact), (5, true));
        let mut size = BatchSize::new(Some(3000));
        assert_eq!(grow(&mut size, 1000, 0.1), [3000]);
        size.shrink(3000);
        assert_eq!(grow(&mut size, 1000, 0.1), [1500, 3000]);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Accept(usize, f64),
        Shrink(usize),
        Reject(usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let hits = 0usize..5000;
        let event = prop_oneof![
            8 => (hits.clone(), 0.0..20.0).prop_map(|(hits, seconds)| Event::Accept(hits, seconds)),
            1 => hits.prop_map(Event::Shrink),
            1 => (0usize..2_000_000).prop_map(Event::Reject),
        ];
        proptest::collection::vec(event, 0..300)
    }

    proptest! {
        #[test]
        fn whatever_happens_it_stays_within_its_bounds(
            hits in proptest::option::of(0usize..5000),
            events in events(),
        ) {
            let mut size = BatchSize::new(hits);
            for event in events {
                match event {
                    Event::Accept(hits, seconds) => {
                        size.accept_body(hits * BYTES_PER_HIT);
                        size.accept(&load(hits, seconds));
                    }
                    Event::Shrink(hits) => size.shrink(hits),
                    Event::Reject(bytes) => size.reject_body(bytes),
                }
                let limits = size.limits();
                let max = hits.unwrap_or(DEFAULT_BATCH_HITS).max(1);
                prop_assert!((1..=max).contains(&limits.hits));
                prop_assert!((1..=MAX_BODY_BYTES).contains(&limits.bytes));
            }
        }
    }
}

mod concurrency {
    use super::*;

    /// Takes samples from a server on which a batch takes `millis` with so many in flight. Returns
    /// the limits on the way.
    fn run(
        concurrency: &mut ConcurrencyLimit,
        samples: usize,
        mut millis: impl FnMut(usize) -> f64,
    ) -> Vec<usize> {
        concurrency.start();
        let mut limits = vec![concurrency.limit()];
        for _ in 0..samples {
            let mut sample = LoadSample::default();
            for _ in 0..concurrency.sample_requests() {
                let elapsed = Duration::from_secs_f64(millis(concurrency.limit()) / 1000.0);
                sample.add(100, elapsed, true);
            }
            concurrency.update(&sample);
            limits.push(concurrency.limit());
        }
        limits
    }

    fn doubles_above_four(in_flight: usize) -> f64 {
        40.0 * f64::from(1 << ((in_flight - 1) / 4))
    }

    /// A server with so many cores, on which further requests wait.
    fn cores(cores: usize) -> impl Fn(usize) -> f64 {
        move |in_flight| 500.0 * (in_flight as f64 / cores as f64).max(1.0)
    }

    /// A factor between 0.7 and 1.3.
    fn noise() -> impl FnMut() -> f64 {
        let mut seed = 1u32;
        move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            0.7 + 0.6 * f64::from(seed >> 8) / f64::from(1u32 << 24)
        }
    }

    #[test]
    fn auto_begins_with_one_small_request_and_then_two() {
        let mut concurrency = ConcurrencyLimit::new(Concurrency::Auto(8));
        assert!(concurrency.is_starting());
        assert_eq!(concurrency.limit(), 1);
        concurrency.start();
        assert!(!concurrency.is_starting());
        assert_eq!(concurrency.limit(), 2);
    }

    #[test]
    fn auto_stays_below_the_number_that_slows_the_server_down() {
        let mut concurrency = ConcurrencyLimit::new(Concurrency::Auto(16));
        let limits = run(&mut concurrency, 5, doubles_above_four);
        assert_eq!(limits, [2, 3, 4, 6, 4, 4]);
        let limits = run(&mut concurrency, 200, doubles_above_four);
        assert!(limits.iter().all(|limit| (3..=5).contains(limit)));
        assert!(limits.iter().filter(|limit| **limit == 4).count() > 150);
        assert_eq!(concurrency.settled(), 4);
    }

    #[test]
    fn auto_uses_all_cores_of_the_server_and_little_more() {
        for number in 1..=12 {
            let mut concurrency = ConcurrencyLimit::new(Concurrency::Auto(16));
            run(&mut concurrency, 300, cores(number));
            let settled = concurrency.settled();
            let expected = number.max(MIN_AUTO_LIMIT);
            assert!(
                (expected..=expected + 1).contains(&settled),
                "{number} cores, {settled} requests"
            );
        }
    }

    #[test]
    fn auto_ends_at_its_maximum() {
        let mut concurrency = ConcurrencyLimit::new(Concurrency::Auto(8));
        let limits = run(&mut concurrency, 5, |_| 300.0);
        assert_eq!(limits, [2, 3, 4, 6, 8, 8]);
        run(&mut concurrency, 100, |_| 300.0);
        assert_eq!(concurrency.settled(), 8);
        let mut single = ConcurrencyLimit::new(Concurrency::Auto(1));
        assert_eq!(run(&mut single, 20, |_| 300.0), [1; 21]);
    }

    #[test]
    fn noise_neither_keeps_auto_down_nor_lets_it_rise() {
        for (number, range) in [(2, 2..=4), (4, 3..=6), (8, 6..=11)] {
            let mut noise = noise();
            let mut concurrency = ConcurrencyLimit::new(Concurrency::Auto(16));
            let limits = run(&mut concurrency, 400, |n| noise() * cores(number)(n));
            let mean = limits[100..].iter().sum::<usize>() / 300;
            assert!(range.contains(&mean), "{number} cores, {mean}: {limits:?}");
        }
    }

    #[test]
    fn auto_never_goes_below_two_because_the_server_is_slow() {
        let mut concurrency = ConcurrencyLimit::new(Concurrency::Auto(8));
        let mut slower = 100.0;
        let limits = run(&mut concurrency, 200, |n| {
            slower *= 1.01;
            slower * n as f64
        });
        assert!(limits.iter().all(|limit| *limit >= 2), "{limits:?}");
    }

    #[test]
    fn a_limit_that_holds_nothing_back_does_not_rise() {
        let mut concurrency = ConcurrencyLimit::new(Concurrency::Auto(8));
        concurrency.start();
        let mut sample = LoadSample::default();
        for _ in 0..8 {
            sample.add(100, Duration::from_millis(50), false);
        }
        concurrency.update(&sample);
        assert_eq!(concurrency.limit(), 2);
    }

    #[test]
    fn errors_halve_it_at_once_and_it_recovers_step_by_step() {
        let mut concurrency = ConcurrencyLimit::new(Concurrency::Fixed(8));
        concurrency.halve();
        assert_eq!(run(&mut concurrency, 5, |_| 300.0), [4, 5, 6, 7, 8, 8]);
        for _ in 0..6 {
            concurrency.halve();
        }
        assert_eq!(concurrency.limit(), 1);
        assert_eq!(run(&mut concurrency, 100, |_| 300.0).last(), Some(&8));
    }

    #[test]
    fn two_recorders_are_soon_two_again_after_an_error() {
        let mut concurrency = ConcurrencyLimit::new(Concurrency::Fixed(2));
        concurrency.halve();
        assert_eq!(run(&mut concurrency, 3, |_| 300.0), [1, 1, 2, 2]);
    }

    #[test]
    fn a_limit_that_keeps_failing_is_tried_less_and_less_often() {
        for concurrency in [Concurrency::Fixed(8), Concurrency::Auto(8)] {
            let mut concurrency = ConcurrencyLimit::new(concurrency);
            let mut tries = Vec::new();
            for sample in 0..400 {
                if concurrency.limit() > 4 {
                    concurrency.halve();
                    tries.push(sample);
                }
                run(&mut concurrency, 1, |_| 300.0);
            }
            assert!((4..16).contains(&tries.len()), "{tries:?}");
        }
    }

    #[test]
    fn a_fixed_number_is_not_reduced_because_the_server_is_slow() {
        let mut concurrency = ConcurrencyLimit::new(Concurrency::Fixed(8));
        assert_eq!(run(&mut concurrency, 5, |_| 200.0), [8; 6]);
        assert_eq!(run(&mut concurrency, 50, |_| 2000.0), [8; 51]);
    }

    proptest! {
        #[test]
        fn whatever_happens_the_limit_stays_within_its_bounds(
            max in 0usize..40,
            auto: bool,
            events in proptest::collection::vec((0u8..4, any::<u64>(), 0usize..2000), 0..300),
        ) {
            let mut concurrency = ConcurrencyLimit::new(match auto {
                true => Concurrency::Auto(max),
                false => Concurrency::Fixed(max),
            });
            for (event, nanos, hits) in events {
                if event == 0 {
                    concurrency.halve();
                } else {
                    concurrency.start();
                    let mut sample = LoadSample::default();
                    sample.add(hits, Duration::from_nanos(nanos), event == 1);
                    concurrency.update(&sample);
                }
                for number in [concurrency.limit(), concurrency.settled()] {
                    prop_assert!((1..=max.max(1)).contains(&number));
                }
            }
        }
    }
}

mod controller {
    use super::*;

    /// A simulated server, and recorders that send to it.
    struct Simulation {
        controller: Controller,
        recorders: usize,
        /// Response time of a request, given its hits and the requests in flight with it.
        seconds: fn(usize, usize) -> f64,
        signal: fn(usize, usize) -> LoadSignal,
        now: f64,
        in_flight: Vec<InFlight>,
        /// Most requests at once.
        peak: usize,
        failed: usize,
    }

    struct InFlight {
        ends: f64,
        load: RequestLoad,
        generation: u64,
        saturated: bool,
    }

    impl Simulation {
        fn new(
            concurrency: Concurrency,
            hits: Option<usize>,
            seconds: fn(usize, usize) -> f64,
        ) -> Self {
            let (Concurrency::Fixed(recorders) | Concurrency::Auto(recorders)) = concurrency;
            Self {
                controller: Controller::new(concurrency, BatchSize::new(hits)),
                recorders,
                seconds,
                signal: |_, _| LoadSignal::Accepted,
                now: 0.0,
                in_flight: Vec::new(),
                peak: 0,
                failed: 0,
            }
        }

        /// Runs until so many more requests have ended.
        fn run(&mut self, requests: usize) {
            for _ in 0..requests {
                while self.in_flight.len() < self.recorders.min(self.controller.limit()) {
                    self.send();
                }
                let ends = |index: &usize| self.in_flight[*index].ends;
                let next = (0..self.in_flight.len())
                    .min_by(|one, other| ends(one).total_cmp(&ends(other)))
                    .unwrap();
                let ended = self.in_flight.swap_remove(next);
                self.now = ended.ends;
                self.controller
                    .record(&ended.load, ended.generation, ended.saturated);
            }
        }

        fn send(&mut self) {
            let hits = self.hits();
            let busy = self.in_flight.len() + 1;
            self.peak = self.peak.max(busy);
            let signal = (self.signal)(hits, busy);
            self.failed += usize::from(signal == LoadSignal::Failed);
            let seconds = (self.seconds)(hits, busy);
            self.in_flight.push(InFlight {
                // No two end at the same moment.
                ends: self.now + seconds + 0.0001 * busy as f64,
                load: RequestLoad {
                    hits,
                    bytes: hits * BYTES_PER_HIT,
                    elapsed: Duration::from_secs_f64(seconds),
                    signal,
                    is_new: true,
                },
                generation: self.controller.generation,
                saturated: busy >= self.controller.limit(),
            });
        }

        fn hits(&self) -> usize {
            self.controller.batch_limits().hits
        }
    }

    /// A cost for each request and each hit, doubled by each four further requests in flight.
    fn doubles_above_four(hits: usize, busy: usize) -> f64 {
        (0.05 + hits as f64 * 0.0005) * f64::from(1 << ((busy - 1) / 4))
    }

    /// The same with a cost for each request only.
    fn per_request(_: usize, busy: usize) -> f64 {
        0.05 * f64::from(1 << ((busy - 1) / 4))
    }

    #[test]
    fn auto_finds_the_number_of_requests_that_suits_the_server() {
        for (hits, seconds) in [
            (Some(5), per_request as fn(usize, usize) -> f64),
            (None, per_request),
            (None, doubles_above_four),
        ] {
            for recorders in [8, 16] {
                let mut simulation = Simulation::new(Concurrency::Auto(recorders), hits, seconds);
                simulation.run(50);
                let settled = |simulation: &Simulation| simulation.controller.concurrency.settled();
                assert!((3..=6).contains(&settled(&simulation)));
                for _ in 0..20 {
                    simulation.run(100);
                    assert!((3..=6).contains(&settled(&simulation)));
                    assert!((3..=6).contains(&simulation.controller.limit()));
                }
            }
        }
    }

    #[test]
    fn batches_are_full_from_the_start() {
        for concurrency in [
            Concurrency::Fixed(1),
            Concurrency::Fixed(4),
            Concurrency::Auto(8),
        ] {
            let mut simulation = Simulation::new(concurrency, None, doubles_above_four);
            if let Concurrency::Auto(_) = concurrency {
                assert_eq!(simulation.hits(), FIRST_AUTO_HITS);
                simulation.run(1);
            }
            for _ in 0..40 {
                assert_eq!(simulation.hits(), 1000, "{concurrency:?}");
                simulation.run(10);
            }
        }
    }

    #[test]
    fn a_fixed_number_is_used_from_the_start() {
        let mut simulation = Simulation::new(Concurrency::Fixed(8), Some(5), per_request);
        simulation.run(1);
        assert_eq!(simulation.peak, 8);
    }

    #[test]
    fn a_server_that_fails_above_four_at_once_soon_gets_no_more() {
        let mut simulation = Simulation::new(Concurrency::Fixed(8), None, doubles_above_four);
        simulation.signal = |_, busy| match busy {
            5.. => LoadSignal::Failed,
            _ => LoadSignal::Accepted,
        };
        simulation.run(100);
        let failed = simulation.failed;
        simulation.run(1000);
        let share = (simulation.failed - failed) as f64 / 1000.0;
        assert!(share < 0.02, "{share} of the requests fail");
    }

    #[test]
    fn requests_that_fail_at_the_same_time_count_once() {
        let mut simulation = Simulation::new(Concurrency::Fixed(8), None, per_request);
        simulation.signal = |_, _| LoadSignal::Failed;
        simulation.run(8);
        assert_eq!(simulation.controller.limit(), 4);
        assert_eq!(simulation.hits(), 500);
    }

    #[test]
    fn slow_batches_shrink_to_200_hits() {
        let mut simulation = Simulation::new(Concurrency::Fixed(1), None, per_request);
        simulation.run(60);
        assert_eq!(simulation.hits(), 1000);
        simulation.seconds = |hits, _| hits as f64 * 0.02;
        simulation.run(5);
        assert_eq!(simulation.hits(), 500);
        // Even smaller batches would not be faster.
        simulation.seconds = |_, _| 12.0;
        simulation.run(5);
        assert_eq!(simulation.hits(), 200);
    }

    fn controller(recorders: usize) -> Controller {
        let batch_size = BatchSize::new(None);
        Controller::new(Concurrency::Fixed(recorders), batch_size)
    }

    fn load(hits: usize, signal: LoadSignal, is_new: bool) -> RequestLoad {
        RequestLoad {
            hits,
            bytes: hits * BYTES_PER_HIT,
            elapsed: Duration::from_secs(1),
            signal,
            is_new,
        }
    }

    #[test]
    fn small_and_repeated_batches_are_not_compared() {
        let mut controller = controller(4);
        controller.batch_size.shrink(1000);
        for _ in 0..50 {
            for (hits, is_new) in [(3, true), (500, false)] {
                let load = load(hits, LoadSignal::Accepted, is_new);
                assert!(!controller.record(&load, 0, true));
            }
        }
        assert_eq!(controller.limit(), 4);
        let load = load(500, LoadSignal::Accepted, true);
        let changes = (0..20)
            .filter(|_| controller.record(&load, 0, true))
            .count();
        assert_eq!((changes, controller.batch_limits().hits), (1, 1000));
    }

    #[test]
    fn a_small_batch_that_fails_says_nothing_about_the_size() {
        let mut controller = controller(1);
        controller.record(&load(3, LoadSignal::Failed, true), 0, true);
        controller.record(&load(1000, LoadSignal::TimedOut, false), 0, true);
        assert_eq!(controller.batch_limits().hits, 1000);
    }

    /// Sends batches one by one to a server that does not accept more than `max` hits. Rejected
    /// batches go again in halves. Returns the hits of each request.
    fn send_to_limited(
        controller: &mut Controller,
        rejection: LoadSignal,
        max: usize,
        batches: usize,
    ) -> Vec<usize> {
        let mut sent = Vec::new();
        for _ in 0..batches {
            let limits = controller.batch_limits();
            let hits = limits.hits.min(limits.bytes / BYTES_PER_HIT);
            let mut stack = vec![(hits, true)];
            while let Some((hits, is_new)) = stack.pop() {
                // As the sender splits them before sending.
                if !is_new && hits * BYTES_PER_HIT > controller.batch_limits().bytes * 3 / 2 {
                    stack.extend([(hits / 2, false), (hits.div_ceil(2), false)]);
                    continue;
                }
                let is_rejected = hits > max;
                let signal = match is_rejected {
                    true => rejection,
                    false => LoadSignal::Accepted,
                };
                controller.record(&load(hits, signal, is_new), controller.generation, true);
                sent.push(hits);
                if is_rejected {
                    stack.extend([(hits / 2, false), (hits.div_ceil(2), false)]);
                }
            }
        }
        sent
    }

    #[test]
    fn a_server_with_a_size_limit_gets_what_it_accepts() {
        for rejection in [LoadSignal::TooLarge, LoadSignal::ConnectionLost] {
            for (max, rejected) in [(100, 4), (60, 5)] {
                let mut controller = controller(1);
                let sent = send_to_limited(&mut controller, rejection, max, 200);
                let too_large = sent.iter().filter(|hits| **hits > max).count();
                assert_eq!(too_large, rejected, "{rejection:?}: {sent:?}");
                let last = *sent.last().unwrap();
                assert!(last > max / 2, "{rejection:?}: {sent:?}");
            }
        }
    }

    #[test]
    fn a_lost_connection_limits_no_size_that_was_accepted() {
        let mut controller = controller(1);
        let bytes = controller.batch_limits().bytes;
        for signal in [LoadSignal::Accepted, LoadSignal::ConnectionLost] {
            controller.record(&load(1000, signal, true), 0, true);
        }
        assert_eq!(controller.batch_limits().bytes, bytes);
        assert_eq!(controller.batch_limits().hits, 500, "but it may be load");
    }
}

mod semaphore {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;

    fn semaphore(concurrency: Concurrency) -> Semaphore {
        let batch_size = BatchSize::new(Some(5));
        Semaphore::new(Controller::new(concurrency, batch_size))
    }

    fn load(signal: LoadSignal) -> RequestLoad {
        RequestLoad {
            hits: 5,
            bytes: 2000,
            elapsed: Duration::from_millis(1),
            signal,
            is_new: false,
        }
    }

    #[test]
    fn it_keeps_to_the_limit_and_serves_all() {
        let semaphore = semaphore(Concurrency::Auto(8));
        let stop = Shutdown::new();
        let (busy, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    for _ in 0..20 {
                        let permit = semaphore.acquire(&stop).unwrap();
                        let now = busy.fetch_add(1, Ordering::SeqCst) + 1;
                        peak.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        busy.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(peak.into_inner(), 1, "no request has ended");
        let state = semaphore.state.lock();
        assert_eq!((state.arrived, state.left), (160, 160));
    }

    #[test]
    fn after_a_failure_it_has_fewer_permits() {
        let semaphore = semaphore(Concurrency::Fixed(4));
        let stop = Shutdown::new();
        assert_eq!(semaphore.settled(), None);
        let mut permits: Vec<Permit> = (0..4).map(|_| semaphore.acquire(&stop).unwrap()).collect();
        let message = permits.pop().unwrap().release(&load(LoadSignal::Failed));
        let message = message.unwrap();
        assert!(message.contains("2 requests at once"), "{message}");
        stop.halt(Error::stopped("x"));
        assert!(semaphore.acquire(&stop).is_none(), "three are in flight");
        permits.truncate(1);
        assert!(semaphore.acquire(&stop).is_some());
        assert_eq!(semaphore.settled(), Some(2));
    }

    #[test]
    fn a_shutdown_ends_the_wait_for_a_permit() {
        let semaphore = semaphore(Concurrency::Fixed(1));
        let stop = Shutdown::new();
        let _permit = semaphore.acquire(&stop);
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| semaphore.acquire(&stop).is_none());
            stop.halt(Error::stopped("x"));
            assert!(waiting.join().unwrap());
        });
    }
}
