//! The tables, made for being queried by hand: `sqlite3 FILE "SELECT url, count(*) FROM hits GROUP BY url"`.

/// Marks a database as a sandbox's ("mtmo").
pub(super) const APPLICATION: i32 = 0x6d74_6d6f;
/// Of the tables below; a file of another version is refused.
pub(super) const VERSION: i32 = 1;

/// Times are UTC. A visit ends after 30 minutes without an action and at midnight; `new_visit` opens one.
/// Listening at a mount point is told by its events of listened seconds where there are any, else by the connections
/// that the importer noted. A listener is an address (or what stands for a hidden one) and an agent.
pub(super) const TABLES: &str = "
CREATE TABLE sites (
  idsite INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  main_url TEXT NOT NULL
);
CREATE TABLE hosts (
  host TEXT PRIMARY KEY,
  idsite INTEGER NOT NULL REFERENCES sites (idsite)
);
CREATE TABLE hits (
  id INTEGER PRIMARY KEY,
  batch INTEGER NOT NULL,
  time TEXT NOT NULL,
  day TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  idsite INTEGER NOT NULL,
  kind TEXT NOT NULL,
  visitor TEXT NOT NULL,
  address TEXT NOT NULL,
  uid TEXT,
  agent TEXT,
  url TEXT,
  referrer TEXT,
  referrer_host TEXT,
  status INTEGER,
  bytes INTEGER,
  pf_srv INTEGER,
  download TEXT,
  action_name TEXT,
  e_c TEXT,
  e_a TEXT,
  e_n TEXT,
  e_v REAL,
  new_visit INTEGER NOT NULL,
  pv_id TEXT,
  json TEXT NOT NULL
);
CREATE INDEX hits_by_day ON hits (idsite, day);
CREATE TABLE connections (
  id INTEGER PRIMARY KEY,
  mount TEXT NOT NULL,
  start INTEGER NOT NULL,
  seconds INTEGER NOT NULL,
  listener TEXT NOT NULL
);
CREATE VIEW visit_hits AS
  SELECT *, sum(opens) OVER (PARTITION BY idsite, day, visitor ORDER BY epoch, id) AS visit
  FROM (
    SELECT *, new_visit OR coalesce(
      epoch - lag(epoch) OVER (PARTITION BY idsite, day, visitor ORDER BY epoch, id) > 1800, 1) AS opens
    FROM hits WHERE kind <> 'assistant'
  );
CREATE VIEW visits AS
  SELECT idsite, day, visitor, min(address) AS address, min(uid) AS uid, min(agent) AS agent,
    min(time) AS start, max(time) AS end, max(epoch) - min(epoch) AS seconds, count(*) AS actions
  FROM visit_hits GROUP BY idsite, day, visitor, visit;
CREATE VIEW listened AS
  SELECT coalesce(e_n, '') AS mount, CAST(e_v AS INTEGER) AS seconds, epoch AS end,
    coalesce(json ->> 'cid', address) || ' ' || coalesce(agent, '') AS listener
  FROM hits WHERE e_a = 'listened' AND e_v IS NOT NULL;
CREATE VIEW listening AS
  SELECT mount, end - seconds AS start, seconds, listener FROM listened
  UNION ALL
  SELECT mount, start, seconds, listener FROM connections
  WHERE mount NOT IN (SELECT mount FROM listened);
";
