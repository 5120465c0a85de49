//! Tests of the counters.

use super::*;
use crate::report::Reason;

#[test]
fn each_count_has_its_own_counter() {
    let file = FileAccount::new("access.log".into());
    for (i, count) in Count::all().enumerate() {
        assert_eq!(count as usize, i);
        file.add(count, i as u64 + 1);
    }
    for (i, count) in Count::all().enumerate() {
        assert_eq!(file.get(count), i as u64 + 1);
    }
}

#[test]
fn a_counter_puts_in_all_that_was_added() {
    let account = Account::new();
    let (_, file) = account.open("access.log");
    let counter = Counter::new(Arc::clone(&file));
    for _ in 0..5000 {
        counter.add(Count::Read, 1);
        counter.add(Count::Bots, 2);
    }
    assert!(file.get(Count::Read) > 4000, "on the way");
    assert_eq!(counter.file().get(Count::Bots), 10_000);
    counter.add(Count::Read, 1);
    drop(counter);
    assert_eq!(file.get(Count::Read), 5001);
    assert_eq!(file.get(Count::Bots), 10_000);
}

#[test]
fn a_dropped_line_counts_under_its_reason_and_its_count() {
    let account = Account::new();
    let (_, file) = account.open("access.log");
    let counter = Counter::new(Arc::clone(&file));
    for (i, reason) in Reason::all().enumerate() {
        assert_eq!(reason as usize, i);
        (0..=i).for_each(|_| counter.add_dropped(reason));
    }
    drop(counter);
    for (i, reason) in Reason::all().enumerate() {
        assert_eq!(account.dropped(reason), i as u64 + 1, "{reason:?}");
    }
    let dropped = sum(Reason::all().map(|reason| file.dropped(reason)));
    assert_eq!(dropped, file.ignored());
}

#[test]
fn the_name_of_a_reason_is_that_of_its_variant() {
    for reason in Reason::all() {
        let mut name = String::new();
        for letter in format!("{reason:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        assert_eq!(reason.name(), name);
    }
}

#[test]
fn every_end_balances_one_line_read_and_nothing_else_does() {
    for count in Count::all() {
        let account = Account::new();
        let (_, file) = account.open("access.log");
        file.add(Count::Read, 1);
        assert!(account.balance().is_err());
        file.add(count, 1);
        let beside = matches!(
            count,
            Count::Read | Count::Resent | Count::Downloads | Count::NoAddress | Count::Assistants
        );
        assert_eq!(account.balance().is_err(), beside, "{count:?}");
    }
}

#[test]
fn a_line_counted_twice_does_not_hide_one_lost_in_another_file() {
    let account = Account::new();
    let (_, one) = account.open("one.log");
    let (_, two) = account.open("two.log");
    one.add(Count::Read, 10);
    one.add(Count::Imported, 10);
    two.add(Count::Read, 5);
    two.add(Count::Imported, 2);
    two.add(Count::Bots, 1);
    two.add(Count::Unsent, 1);
    let message = account.balance().unwrap_err();
    assert!(
        message.starts_with("two.log: 5 lines read, but 4 counted: 0 header lines,"),
        "{message}"
    );
    for figure in [
        "2 imported",
        "1 by bots",
        "1 not yet sent",
        "0 refused by the server",
    ] {
        assert!(message.contains(figure), "{message}");
    }
    one.add(Count::Bots, 1);
    assert!(
        account
            .balance()
            .unwrap_err()
            .starts_with("one.log: 10 lines read, but 11")
    );
}

#[test]
fn totals_are_over_all_files_and_files_keep_their_index() {
    let account = Account::new();
    let (first, one) = account.open("one.log");
    let (second, two) = account.open("two.log");
    one.add(Count::Imported, 3);
    two.add(Count::Imported, 4);
    assert_eq!(account.total(Count::Imported), 7);
    assert_eq!(account.file(first).unwrap().name(), "one.log");
    assert_eq!(account.file(second).unwrap().get(Count::Imported), 4);
    assert!(account.file(2).is_none());
}

#[test]
fn nothing_is_lost_when_threads_count_while_files_are_opened() {
    let account = Account::new();
    let (index, _) = account.open("one.log");
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let file = account.file(index).unwrap();
                for _ in 0..10_000 {
                    file.add(Count::Read, 1);
                    file.add(Count::Imported, 1);
                }
            });
        }
        for i in 0..100 {
            account.open(format!("{i}.log")).1.add(Count::Read, 0);
        }
    });
    assert_eq!(account.total(Count::Read), 40_000);
    assert_eq!(account.balance(), Ok(()));
}

#[test]
fn only_what_the_server_did_not_take_as_sent_makes_a_run_incomplete() {
    for count in Count::all() {
        let account = Account::new();
        account.open("access.log").1.add(count, 1);
        let expected = matches!(
            count,
            Count::Refused | Count::Lost | Count::InDoubt | Count::Resent
        );
        assert_eq!(account.is_incomplete(), expected, "{count:?}");
    }
}

#[test]
fn a_sum_does_not_wrap_around() {
    let file = FileAccount::new("access.log".into());
    file.add(Count::Bots, u64::MAX);
    file.add(Count::Static, 2);
    assert_eq!(file.ignored(), u64::MAX);
}

#[test]
fn every_reason_is_counted_as_ignored_and_every_ignored_end_has_a_reason() {
    let reasons = [
        Reason::Misfit,
        Reason::Field,
        Reason::Date,
        Reason::NotTracking,
        Reason::AddressExcluded,
        Reason::PathExcluded,
        Reason::PathNotIncluded,
        Reason::HostExcluded,
        Reason::HostNotIncluded,
        Reason::TooOld,
        Reason::TooNew,
        Reason::HttpError,
        Reason::HttpRedirect,
        Reason::NoSite,
        Reason::Hostname,
        Reason::Bot,
        Reason::Static,
        Reason::Download,
    ];
    let ignored = Count::IGNORED.map(|(count, _)| count);
    assert!(
        reasons
            .iter()
            .all(|reason| ignored.contains(&reason.count()))
    );
    assert!(
        ignored
            .iter()
            .all(|&count| reasons.iter().any(|reason| reason.count() == count))
    );
}
