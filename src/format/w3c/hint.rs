//! A warning where `time-taken` of an IIS log seems to be read in the wrong unit (SPEC section 3, "Detection").

use bumpalo::Bump;

use super::dialects;
use super::options::W3cOptions;
use crate::format::{Field, Fit, Format, Record};

/// A warning for the user, if the dialect `name` reads `time-taken` otherwise than a log with these `header` lines and
/// first `lines` likely means it: IIS writes whole milliseconds, whatever columns it was set up to write.
pub fn iis_hint(
    name: &str,
    options: &W3cOptions,
    header: &[&[u8]],
    lines: &[&[u8]],
) -> Option<String> {
    let dialect = dialects().iter().find(|dialect| dialect.name == name)?;
    let mut format = dialect.open(options).ok()?;
    for line in header {
        // One that cannot be used says nothing.
        let _ = format.header(line);
    }
    match name {
        "w3c_extended"
            if format.has(Field::GenerationTimeSecs) && header.iter().any(|line| is_iis(line)) =>
        {
            Some(
                "the header is that of IIS, which writes time-taken in milliseconds, but it is read as seconds: \
                 give --w3c-time-taken-millisecs (or --log-format-name=iis) if the times come out too long"
                    .to_owned(),
            )
        }
        "iis" if !options.time_taken_millisecs && has_fractions(&format, lines) => Some(
            "time-taken has fractions, as if it were in seconds, but the iis format reads it as milliseconds: \
             give --iis-time-taken-secs if it is in seconds, or --w3c-time-taken-millisecs to say that it is not"
                .to_owned(),
        ),
        _ => None,
    }
}

fn is_iis(line: &[u8]) -> bool {
    const SOFTWARE: &[u8] = b"#Software: Microsoft Internet Information";
    line.get(..SOFTWARE.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SOFTWARE))
}

fn has_fractions(format: &dyn Format, lines: &[&[u8]]) -> bool {
    let arena = Bump::new();
    lines.iter().any(|line| {
        let mut record = Record::default();
        // A line that does not fit may still have left a value behind.
        let fit = format.parse(line, &arena, &mut record) == Fit::Record;
        let time = record.get(Field::GenerationTimeMilli);
        fit && time.is_some_and(|time| time.contains(&b'.'))
    })
}
