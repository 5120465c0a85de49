//! Every measure of every period equals a count in SQL over the sandbox: an autumn in Berlin, in
//! which the clocks are changed, with sessions over midnight and over the ends of months.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::Value;

use super::{DAY, icecast};
use crate::support::{Folder, Program};

/// 2025-08-25 00:00:00 UTC.
const START: i64 = 1_756_080_000;

/// Seconds from [`START`] to 2025-11-04.
const SPAN: i64 = 71 * 86_400;

/// The sessions by mount point and, with an empty one, of all; and each hour with its periods.
const TABLES: &str = "
CREATE TEMP TABLE l AS SELECT row_number() OVER () AS id, mount, start, start + seconds AS end,
  seconds, listener FROM listening;
INSERT INTO l SELECT -id, '', start, end, seconds, listener FROM l;
CREATE INDEX temp.l_mount ON l (mount, start);
CREATE TEMP TABLE slots AS
  WITH RECURSIVE hours(s) AS (
    -- Midnight in Berlin.
    SELECT (min(start) + 7200) / 86400 * 86400 - 7200 FROM l
    UNION ALL SELECT s + 3600 FROM hours WHERE s + 3600 < (SELECT max(end) FROM l)),
  -- The clocks are changed on 2025-10-26 at 01:00 UTC.
  clock(s, local) AS (SELECT s, s + iif(s < 1761440400, 7200, 3600) FROM hours)
  SELECT s, s + 3600 AS e, 'total' AS total,
    strftime('month %Y-%m', local, 'unixepoch') AS month,
    strftime('day %Y-%m-%d', local, 'unixepoch') AS day,
    strftime('hour %H', local, 'unixepoch') AS hour,
    strftime('weekday_hour %u %H', local, 'unixepoch') AS weekday_hour FROM clock;
-- The last day is whole.
WITH RECURSIVE more(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM more WHERE n < 24)
  INSERT INTO slots SELECT last + n * 3600, last + n * 3600 + 3600, 'total',
    strftime('month %Y-%m', last + n * 3600 + 3600, 'unixepoch'), day,
    strftime('hour %H', last + n * 3600 + 3600, 'unixepoch'),
    strftime('weekday_hour %u %H', last + n * 3600 + 3600, 'unixepoch')
  FROM more, (SELECT max(s) AS last, day FROM slots)
  WHERE strftime('day %Y-%m-%d', last + n * 3600 + 3600, 'unixepoch') = day;
CREATE UNIQUE INDEX temp.slots_s ON slots (s);
-- How many listeners there are at each moment that may be a peak.
CREATE TEMP TABLE loads AS
  WITH moments(mount, t) AS (SELECT mount, start FROM l
    UNION SELECT mount, s FROM slots, (SELECT DISTINCT mount FROM l))
  SELECT mount, t, t - t % 3600 AS s,
    (SELECT count(*) FROM l WHERE l.mount = moments.mount AND start <= t AND t < end) AS load
  FROM moments WHERE t < (SELECT max(end) FROM l);
";

/// The measures of a kind of period, by mount point and period. `{}` is the column of the kind.
const MEASURES: &str = "
WITH pieces AS (SELECT mount, {} AS period, listener, min(end, e) - max(start, s) AS seconds
    FROM l JOIN slots ON s < end AND e > start),
  listened AS (SELECT mount, period, sum(seconds) AS seconds FROM pieces GROUP BY 1, 2),
  started AS (SELECT mount, {} AS period, listener, seconds FROM l JOIN slots ON s = start - start % 3600),
  ranked AS (SELECT *, row_number() OVER (PARTITION BY mount, period ORDER BY seconds) AS place,
    count(*) OVER (PARTITION BY mount, period) AS n FROM started),
  sessions AS (SELECT mount, period, count(*) AS n, sum(seconds >= 60) AS long,
    sum(seconds) AS seconds, avg(iif(place IN ((n + 1) / 2, n / 2 + 1), seconds, NULL)) AS median
    FROM ranked GROUP BY 1, 2),
  listeners AS (SELECT mount, period, count(DISTINCT listener) AS n FROM
    (SELECT mount, period, listener FROM pieces UNION SELECT mount, period, listener FROM started)
    GROUP BY 1, 2),
  lengths AS (SELECT {} AS period, sum(e - s) AS seconds FROM slots GROUP BY 1),
  peaks AS (SELECT mount, {} AS period, load, min(t) AS t, row_number() OVER
    (PARTITION BY mount, {} ORDER BY load DESC) AS place
    FROM loads JOIN slots USING (s) WHERE load > 0 GROUP BY 1, 2, 3)
SELECT mount, period, lengths.seconds, coalesce(listened.seconds, 0), coalesce(sessions.n, 0),
  coalesce(long, 0), coalesce(sessions.seconds, 0), coalesce(median, 0), listeners.n,
  coalesce(load, 0), t
FROM listeners LEFT JOIN listened USING (mount, period) LEFT JOIN sessions USING (mount, period)
  LEFT JOIN (SELECT * FROM peaks WHERE place = 1) USING (mount, period) JOIN lengths USING (period)
";

/// By mount point and period: `period_seconds`, `seconds`, `sessions`, `long_sessions`,
/// `session_seconds`, `median_session_seconds`, `unique_listeners`, `peak_listeners`, and the time
/// of the peak.
type Measures = BTreeMap<(String, String), ([f64; 8], Option<i64>)>;

const NAMES: [&str; 8] = [
    "period_seconds",
    "seconds",
    "sessions",
    "long_sessions",
    "session_seconds",
    "median_session_seconds",
    "unique_listeners",
    "peak_listeners",
];

fn counted(folder: &Folder) -> Measures {
    let db = Connection::open(folder.file("kept.db")).unwrap();
    db.execute_batch(TABLES).unwrap();
    let mut measures = Measures::new();
    for kind in ["total", "month", "day", "hour", "weekday_hour"] {
        let mut query = db.prepare(&MEASURES.replace("{}", kind)).unwrap();
        let rows = query.query_map([], |row| {
            let number = |index: usize| row.get::<_, f64>(index + 2).unwrap();
            let numbers = std::array::from_fn(number);
            Ok(((row.get(0)?, row.get(1)?), (numbers, row.get(10)?)))
        });
        measures.extend(rows.unwrap().map(Result::unwrap));
    }
    measures
}

fn epoch(text: &str) -> i64 {
    let time = chrono::DateTime::parse_from_rfc3339(text);
    time.unwrap().timestamp()
}

fn in_json(folder: &Folder) -> Measures {
    let report = super::report(folder);
    let mut measures = Measures::new();
    for group in report["groups"].as_array().unwrap() {
        if group["kind"] != "all" && group["kind"] != "mount" {
            continue;
        }
        let name = group["name"].as_str().unwrap();
        let mut add = |period: String, row: &Value| {
            let numbers = NAMES.map(|name| row[name].as_f64().unwrap());
            check_ratios(&numbers, |name| row[name].as_f64().unwrap());
            let peak_at = row["peak_at"].as_str().map(epoch);
            measures.insert((name.to_owned(), period), (numbers, peak_at));
        };
        add("total".to_owned(), &group["total"]);
        let mut add_all = |list: &str, period: &dyn Fn(&Value) -> String| {
            for row in group[list].as_array().unwrap() {
                add(period(row), row);
            }
        };
        add_all("months", &|row| {
            format!("month {}", row["month"].as_str().unwrap())
        });
        add_all("days", &|row| {
            format!("day {}", row["day"].as_str().unwrap())
        });
        add_all("hours", &|row| {
            format!("hour {:02}", row["hour"].as_u64().unwrap())
        });
        add_all("weekday_hours", &|row| {
            format!(
                "weekday_hour {} {:02}",
                row["weekday"],
                row["hour"].as_u64().unwrap()
            )
        });
    }
    measures
}

fn in_csv(folder: &Folder) -> Measures {
    let text = folder.read("report.csv");
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let titles = lines.next().unwrap();
    let rows = lines.map(|cells| {
        let rows = titles.iter().copied().zip(cells);
        rows.collect::<BTreeMap<_, _>>()
    });
    let rows = rows.filter(|row| matches!(row["kind"], "all" | "mount"));
    rows.map(|row| {
        let hour = || row["hour"].parse::<u32>().unwrap();
        let period = match row["period"] {
            "month" => format!("month {}", &row["first_day"][..7]),
            "day" => format!("day {}", row["first_day"]),
            "hour" => format!("hour {:02}", hour()),
            "weekday_hour" => format!("weekday_hour {} {:02}", row["weekday"], hour()),
            other => other.to_owned(),
        };
        let number = |name: &str| row[name].parse::<f64>().unwrap();
        let numbers = NAMES.map(number);
        check_ratios(&numbers, number);
        let peak_at = Some(row["peak_at"])
            .filter(|text| !text.is_empty())
            .map(epoch);
        ((row["name"].to_owned(), period), (numbers, peak_at))
    })
    .collect()
}

/// Checks the measures that follow from the others.
fn check_ratios(numbers: &[f64; 8], value: impl Fn(&str) -> f64) {
    let [
        length,
        seconds,
        sessions,
        _,
        session_seconds,
        _,
        listeners,
        _,
    ] = *numbers;
    let ratio = |number: f64, by: f64| if by == 0.0 { 0.0 } else { number / by };
    for (name, expected) in [
        ("listening_hours", seconds / 3600.0),
        ("average_session_seconds", ratio(session_seconds, sessions)),
        ("average_listeners", ratio(seconds, length)),
        ("hours_per_listener", ratio(seconds / 3600.0, listeners)),
    ] {
        let found = value(name);
        assert!(
            (found - expected).abs() < 1e-5,
            "{name}: {found}, not {expected}"
        );
    }
}

/// Writes sessions of all lengths. Some end or begin exactly at a midnight in Berlin.
fn log() -> String {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |most: i64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % most.unsigned_abs()).cast_signed()
    };
    let mut sessions: Vec<(i64, i64, i64, i64)> = (0..700)
        .map(|number| {
            let longest = [61, 900, 8000, 200_000][below(4) as usize];
            let (mut end, seconds) = (START + 250_000 + below(SPAN - 250_000), below(longest));
            if number % 10 == 0 {
                // To midnight in summer, or an hour after that in winter.
                end = end / 86_400 * 86_400 - 7200;
            }
            (end, seconds, below(3), below(150))
        })
        .collect();
    sessions.sort_unstable();
    let lines = sessions.iter().map(|(end, seconds, mount, listener)| {
        let mount = ["/live.mp3", "/jazz", "/talk"][*mount as usize];
        icecast(&format!("192.0.2.{listener}"), end - DAY, mount, seconds)
    });
    lines.collect()
}

#[test]
fn every_measure_of_every_period_equals_a_count_in_sql() {
    let folder = Folder::with_log(log());
    Program::new(&folder)
        .args("--sandbox=kept.db --report-timezone=Europe/Berlin --log-format-name=icecast2")
        .args("--report=report.json --report=report.csv access.log")
        .run()
        .exits(0);
    let counted = counted(&folder);
    // All, and three mount points: total, months, and most days, hours and hours of the week.
    assert!(
        counted.len() > 4 * (1 + 4 + 60 + 24 + 150),
        "{}",
        counted.len()
    );
    for found in [in_json(&folder), in_csv(&folder)] {
        let unexpected = found.keys().filter(|key| !counted.contains_key(key));
        assert_eq!(unexpected.collect::<Vec<_>>(), [] as [&(String, String); 0]);
        for (key, expected) in &counted {
            assert_eq!(found.get(key), Some(expected), "{key:?}");
        }
    }
    // The day of the change has 25 hours, and its third hour two.
    let day = &counted[&(String::new(), "day 2025-10-26".to_owned())];
    assert_eq!(day.0[0], 90_000.0);
}
