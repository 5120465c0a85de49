//! Integration tests: the real binary with real HTTP, files, pipes, threads and signals.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod account; // each line is counted once
mod bad_logs; // missing, unreadable, damaged and empty logs
mod bots; // --bots, --bot-list and --bot-ranges
mod command_lines; // command lines from cron tables and pipes
mod concurrency; // several recorders
mod connection; // errors that keep the program from reaching Matomo
mod dates; // dates that Matomo would replace
mod defaults; // options from the environment and from a file
mod explain; // --explain
mod fake_matomo; // tests of the fake Matomo
mod follow; // --follow
mod front_ends; // --tracker-url
mod hosts; // hosts without a site
mod listening; // listening sessions of radio logs
mod manual; // --generate and --guide
mod memory; // memory use of a long import
mod objects; // objects in buckets
mod output; // stdout, stderr and --output
mod past_days; // requests that may be in flight together
mod pipe; // pipes that stay open
mod privacy; // --anonymize-ip and --privacy
mod queue; // --sqs-queue
mod queued; // --queued-tracking
mod read_back; // hits that Matomo acknowledged and lost
mod readme; // the README and the guide
mod recorded; // cases recorded with Matomo's own importer
mod refusals; // refused sites, tokens and hits
mod rejects; // --rejects
mod reliability; // nothing lost, nothing doubled
mod reports; // --report
mod retry; // transient failures
mod sandbox; // --sandbox
mod server_load; // order of hits, batch size, concurrency
mod shards; // --shard
mod signals; // SIGINT, SIGTERM, SIGHUP
mod support; // the harness
mod token; // sources of the token, and where it never appears
mod unconfirmed; // lost and unusable responses
mod verify; // --verify and --repair
mod versions; // what depends on Matomo's version and plugins
mod wrong_use; // invalid command lines
