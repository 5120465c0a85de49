//! Tells from the first lines of a log whether a streaming server wrote it. Many web servers end
//! their lines with a number, too: the seconds or microseconds of a request, bytes or a port
//! (guide/listening.md, "Which logs").

use super::mount::{StreamServer, page};
use super::session::{ListenerLine, MAX_SESSION_SECONDS};
use crate::format::whole_number;

/// Seconds of a session that is long.
const LONG_SECONDS: u64 = 60;

/// Bytes a second of the slowest stream, 8 kbit/s.
const MIN_RATE: u64 = 1000;

/// Bytes a second of the fastest stream, lossless audio.
const MAX_RATE: u64 = 400_000;

/// One line in so many must be a streaming client's.
const MIN_SHARE: usize = 10;

/// Beginnings of words in the user agents of programs that play, record or pass on streams, in
/// lower case.
const PLAYERS: [&str; 46] = [
    "applecoremedia",
    "audacious",
    "banshee",
    "bass/",
    "clementine",
    "exoplayer",
    "ffmpeg",
    "foobar2000",
    "freeamp",
    "gstreamer",
    "icecast",
    "icy",
    "itunes",
    "kodi",
    "lavf",
    "libmpv",
    "libshout",
    "libvlc",
    "liquidsoap",
    "mpg123",
    "mplayer",
    "mpv",
    "music player daemon",
    "mytuner",
    "nsplayer",
    "nullsoft",
    "quicktime",
    "radio",
    "rhythmbox",
    "roku",
    "shoutcast",
    "sonos",
    "souphttpsrc",
    "squeezebox",
    "squeezeplay",
    "stagefright",
    "steamcast",
    "streamripper",
    "streamtheworld",
    "tunein",
    "vlc",
    "winamp",
    "windows-media-player",
    "wmplayer",
    "xbmc",
    "xmms",
];

/// A line of a log whose format has a duration.
#[derive(Clone, Copy, Debug)]
pub struct SampleLine<'a> {
    pub method: Option<&'a [u8]>,
    /// Without the query.
    pub path: &'a [u8],
    pub status: &'a [u8],
    pub user_agent: &'a [u8],
    /// Bytes, as in the log.
    pub length: &'a [u8],
    /// Seconds, as in the log. `None` if the line has no number at its end.
    pub session_time: Option<&'a [u8]>,
}

/// What the first lines of a log show.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamSample {
    /// Lines that may be those of listeners or source clients.
    candidates: usize,
    /// Those of clients that stream.
    streaming: usize,
}

impl StreamSample {
    pub fn add(&mut self, line: &SampleLine) {
        let is_source = line.method == Some(b"SOURCE");
        let is_listener = line.session_time.is_some()
            && page(StreamServer::Icecast, line.path).is_none()
            && ListenerLine::read(0, None, line.method, line.status) != ListenerLine::NotListening;
        if is_source || is_listener {
            let is_streaming = is_source
                || is_player(line.user_agent)
                || is_long_stream(line.length, line.session_time);
            self.candidates += 1;
            self.streaming += usize::from(is_streaming);
        }
    }

    /// Whether the lines are those of a streaming server.
    pub fn shows_streaming(&self) -> bool {
        self.streaming > 0 && self.streaming * MIN_SHARE >= self.candidates
    }
}

fn is_player(user_agent: &[u8]) -> bool {
    let user_agent = user_agent.to_ascii_lowercase();
    let begins_word = |place: usize| place == 0 || !user_agent[place - 1].is_ascii_alphanumeric();
    PLAYERS.iter().any(|player| {
        let mut places = memchr::memmem::find_iter(&user_agent, player.as_bytes());
        places.any(begins_word)
    })
}

/// Whether the number is the seconds of a stream of so many bytes. Microseconds of a web server
/// are far too many for the bytes of a page.
fn is_long_stream(length: &[u8], session_time: Option<&[u8]>) -> bool {
    let (Some(length), Some(seconds)) = (whole_number(length), session_time.and_then(whole_number))
    else {
        return false;
    };
    (LONG_SECONDS..=MAX_SESSION_SECONDS).contains(&seconds)
        && (MIN_RATE..=MAX_RATE).contains(&(length / seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";

    fn line<'a>(path: &'a str, agent: &'a str, length: &'a str, number: &'a str) -> SampleLine<'a> {
        SampleLine {
            method: Some(b"GET"),
            path: path.as_bytes(),
            status: b"200",
            user_agent: agent.as_bytes(),
            length: length.as_bytes(),
            session_time: Some(number.as_bytes()),
        }
    }

    fn shows_streaming(lines: &[SampleLine]) -> bool {
        let mut sample = StreamSample::default();
        lines.iter().for_each(|line| sample.add(line));
        sample.shows_streaming()
    }

    #[test]
    fn players_show_a_streaming_server() {
        for agent in [
            "VLC/3.0.20 LibVLC/3.0.20",
            "WinampMPEG/5.9",
            "iTunes/12.12 (Windows; N)",
            "NSPlayer/12.0",
            "Lavf/60.16.100",
            "icy-client",
            "ICY/1.0",
            "Icecast 2.4.4",
            "TuneIn Radio/25.7",
            "foobar2000/1.6.16",
            "AppleCoreMedia/1.0.0.21E219 (iPhone; U; CPU OS 17_4 like Mac OS X; en_us)",
        ] {
            assert!(
                shows_streaming(&[line("/live", agent, "0", "0")]),
                "{agent}"
            );
        }
        for agent in [BROWSER, "", "-", "Policy/1.0", "bicycle"] {
            assert!(
                !shows_streaming(&[line("/live", agent, "0", "0")]),
                "{agent}"
            );
        }
    }

    #[test]
    fn a_source_client_shows_a_streaming_server() {
        let source = SampleLine {
            method: Some(b"SOURCE"),
            ..line("/live", "-", "0", "0")
        };
        assert!(shows_streaming(&[source]));
    }

    #[test]
    fn long_sessions_with_the_bytes_of_a_stream_show_a_streaming_server() {
        for (length, number) in [
            ("28912000", "1807"),
            ("60000", "60"),
            ("24000000", "60"),
            ("2592000000", "2592000"),
        ] {
            let line = line("/live", BROWSER, length, number);
            assert!(shows_streaming(&[line]), "{length} {number}");
        }
        for (length, number) in [
            ("59000", "59"),
            ("59999", "60"),
            ("24000060", "60"),
            ("2592001000", "2592001"),
            ("-", "3600"),
            ("28912000", "-"),
            ("28912000", "0"),
            ("28912000", ""),
        ] {
            let line = line("/live", BROWSER, length, number);
            assert!(!shows_streaming(&[line]), "{length} {number}");
        }
    }

    /// Seconds (Apache's %T), milliseconds, microseconds (Apache's %D), bytes and ports.
    #[test]
    fn numbers_of_web_logs_do_not_show_a_streaming_server() {
        for numbers in [
            ["0", "1", "0", "3"],
            ["12", "240", "65", "1200"],
            ["1503", "250123", "88412", "4021876"],
            ["512", "734", "1022", "498"],
            ["51234", "443", "8080", "60999"],
        ] {
            let lines: Vec<_> = numbers
                .iter()
                .zip(["5120", "18211", "312", "48123"])
                .zip(["/about", "/blog/a", "/search", "/shop/cart"])
                .map(|((number, length), path)| line(path, BROWSER, length, number))
                .collect();
            assert!(!shows_streaming(&lines), "{numbers:?}");
        }
    }

    #[test]
    fn one_player_among_many_browsers_does_not_show_a_streaming_server() {
        let browser = line("/about", BROWSER, "5120", "1503");
        let player = line("/podcast", "VLC/3.0.20", "5120", "1503");
        let with_browsers = |count| [vec![player], vec![browser; count]].concat();
        assert!(!shows_streaming(&with_browsers(10)));
        assert!(shows_streaming(&with_browsers(9)));
    }

    #[test]
    fn lines_that_are_no_listeners_have_no_say() {
        let not_found = SampleLine {
            status: b"404",
            ..line("/live", BROWSER, "0", "0")
        };
        let poll = line("/admin/stats", BROWSER, "5120", "0");
        let player = line("/live", "VLC/3.0.20", "0", "0");
        let no_number = SampleLine {
            session_time: None,
            ..player
        };
        let lines = [[poll, not_found].repeat(50), vec![player]].concat();
        assert!(shows_streaming(&lines));
        assert!(!shows_streaming(&[line(
            "/live.m3u",
            "VLC/3.0.20",
            "0",
            "0"
        )]));
        assert!(!shows_streaming(&[no_number]));
        assert!(!shows_streaming(&[]));
    }
}
