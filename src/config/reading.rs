//! How logs are read: their format, what a line's fields mean, which hits are kept.

use std::collections::HashSet;

use chrono_tz::Tz;

use super::values::{moment, named, number, patterns, refuse_empty};
use crate::cli::{Cli, ListeningTime, LogFormatArgs};
use crate::error::{Error, Result};
use crate::filter::{Bots, Extensions, Filters, Hosts, Paths};
use crate::format::strptime::Strptime;
use crate::format::w3c::{self, W3cOptions};
use crate::format::{Fields, Wanted};
use crate::hit::HitOptions;
use crate::import::RadioOptions;
use crate::import::format_selector::FormatChoice;
use crate::input::pattern::Pattern;
use crate::radio::Audience;

pub(super) fn choice(format: &LogFormatArgs) -> Result<FormatChoice> {
    Ok(match (&format.log_format_regex, &format.log_format_name) {
        (Some(regex), _) => FormatChoice::Regex {
            regex: regex.clone(),
            dates: Strptime::new(&format.log_date_format)?,
            date_format: format.log_date_format.clone(),
        },
        (None, Some(name)) => FormatChoice::Named(name.clone()),
        (None, None) => FormatChoice::Detect,
    })
}

pub(super) fn hit_options(cli: &Cli) -> Result<HitOptions> {
    let Cli {
        sites,
        log_format,
        sent,
        ..
    } = cli;
    if sent.query_string_delimiter.is_empty() {
        return Err(Error::usage(
            "--query-string-delimiter is empty: name the text where the query begins",
        ));
    }
    let timezone = match &log_format.log_timezone {
        Some(name) => Some(name.parse::<Tz>().map_err(|_| {
            Error::usage(format!(
                "--log-timezone={name}: there is no such time zone; write it as in Europe/Berlin"
            ))
        })?),
        None => None,
    };
    Ok(HitOptions {
        query_delimiter: sent.query_string_delimiter.clone().into_bytes(),
        lowercase_path: sent.force_lowercase_path,
        add_to_date: number("--add-to-date", &sent.add_to_date)?,
        timezone,
        forced_host: named("--log-hostname", &sites.log_hostname)?,
        ignored: Fields::default(),
    })
}

pub(super) fn filters(cli: &Cli) -> Result<Filters> {
    let Cli {
        sites,
        imported,
        sent,
        ..
    } = cli;
    for (option, values) in [
        ("--useragent-exclude", &imported.useragent_exclude),
        ("--include-path", &imported.include_path),
    ] {
        values
            .iter()
            .try_for_each(|value| refuse_empty(option, value))?;
    }
    let exact = |hosts: &[String]| {
        hosts
            .iter()
            .map(|host| host.clone().into_bytes())
            .collect::<HashSet<_>>()
    };
    Ok(Filters {
        extensions: Extensions::new(
            sent.download_extensions.as_deref(),
            &sent.add_download_extensions,
        ),
        hosts: Hosts {
            patterns: imported.hostname.iter().map(Pattern::new).collect(),
            included: exact(&imported.include_host),
            excluded: exact(&imported.exclude_host),
            empty_is_none: sites.idsite.is_some(),
        },
        paths: Paths {
            excluded: patterns(
                "--exclude-path-from",
                &imported.exclude_path,
                &imported.exclude_path_from,
            )?,
            included: patterns(
                "--include-path-from",
                &imported.include_path,
                &imported.include_path_from,
            )?,
        },
        bots: Bots::new(&imported.useragent_exclude)?,
        keep_errors: imported.enable_http_errors || sent.replay_tracking,
        keep_redirects: imported.enable_http_redirects,
        keep_static: imported.enable_static,
        keep_bots: imported.enable_bots,
        oldest: imported
            .exclude_older_than
            .as_deref()
            .map(|date| moment("--exclude-older-than", date))
            .transpose()?,
        newest: imported
            .exclude_newer_than
            .as_deref()
            .map(|date| moment("--exclude-newer-than", date))
            .transpose()?,
    })
}

pub(super) fn w3c_options(format: &LogFormatArgs, wanted: &Wanted) -> Result<W3cOptions> {
    let mut map = Vec::new();
    for text in &format.w3c_map_field {
        map.extend(w3c::parse_map_field(text)?);
    }
    let mut regexes = Vec::new();
    for text in &format.w3c_field_regex {
        regexes.extend(w3c::parse_field_regex(text)?);
    }
    Ok(W3cOptions {
        fields: format.w3c_fields.clone(),
        map,
        regexes,
        time_taken_millisecs: format.w3c_time_taken_millisecs,
        iis_time_taken_secs: format.iis_time_taken_secs,
        wanted: wanted.clone(),
    })
}

pub(super) fn radio(cli: &Cli) -> Result<Option<RadioOptions>> {
    let Cli { sent, radio, .. } = cli;
    refuse_empty("--listening-category", &radio.listening_category)?;
    let audience = Audience {
        relays: radio.relay.clone(),
        minimum: number("--minimum-listening", &radio.minimum_listening)?,
        keep_admin: radio.enable_icecast_admin,
    };
    Ok(match radio.listening_time {
        // A replayed log is Matomo's own.
        _ if sent.replay_tracking => None,
        ListeningTime::Off => None,
        when => Some(RadioOptions {
            also_detected: when == ListeningTime::Events,
            audience,
        }),
    })
}

/// Names of fields to forget; whether a log's format has them shows when the log is opened.
pub(super) fn ignored_groups(format: &LogFormatArgs) -> Result<Vec<String>> {
    let names = format
        .ignore_groups
        .iter()
        .flat_map(|list| list.split(','))
        .map(str::trim);
    let names: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    match names
        .iter()
        .find(|name| ["ip", "path", "status", "date"].contains(&name.as_str()))
    {
        Some(name) => Err(Error::usage(format!(
            "--ignore-groups={name}: no hit can be made without it"
        ))),
        None => Ok(names),
    }
}
