//! The player of a listener, from the user agent (guide/listening.md, "Players").

use std::sync::LazyLock;

use aho_corasick::automaton::Automaton;
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, PatternID};
use memchr::memmem::Finder;

/// A kind of player. All user agents belong to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Player {
    Vlc,
    Winamp,
    Foobar2000,
    WindowsMedia,
    Itunes,
    ApplePodcasts,
    IPhone,
    IPad,
    Mac,
    HomePod,
    AppleTv,
    AppleWatch,
    AppleApp,
    QuickTime,
    Android,
    Chrome,
    Firefox,
    Safari,
    Edge,
    Opera,
    SamsungInternet,
    InternetExplorer,
    TuneIn,
    RadioNet,
    RadioApp,
    Alexa,
    GoogleCast,
    Sonos,
    Bose,
    Roku,
    Squeezebox,
    InternetRadio,
    SmartTv,
    Kodi,
    Mpv,
    MusicPlayerDaemon,
    LinuxDesktop,
    Gstreamer,
    Bass,
    StreamingServer,
    Tool,
    Other,
    Unknown,
}

/// All players in the order of their declaration, each with its name in reports.
const PLAYERS: [(Player, &str); 43] = [
    (Player::Vlc, "VLC"),
    (Player::Winamp, "Winamp"),
    (Player::Foobar2000, "foobar2000"),
    (Player::WindowsMedia, "Windows Media Player"),
    (Player::Itunes, "iTunes, Apple Music"),
    (Player::ApplePodcasts, "Apple Podcasts"),
    (Player::IPhone, "iPhone"),
    (Player::IPad, "iPad"),
    (Player::Mac, "Mac"),
    (Player::HomePod, "HomePod"),
    (Player::AppleTv, "Apple TV"),
    (Player::AppleWatch, "Apple Watch"),
    (Player::AppleApp, "Apple, other apps"),
    (Player::QuickTime, "QuickTime"),
    (Player::Android, "Android"),
    (Player::Chrome, "Chrome"),
    (Player::Firefox, "Firefox"),
    (Player::Safari, "Safari"),
    (Player::Edge, "Edge"),
    (Player::Opera, "Opera"),
    (Player::SamsungInternet, "Samsung Internet"),
    (Player::InternetExplorer, "Internet Explorer"),
    (Player::TuneIn, "TuneIn"),
    (Player::RadioNet, "radio.net"),
    (Player::RadioApp, "Other radio apps"),
    (Player::Alexa, "Amazon Alexa"),
    (Player::GoogleCast, "Google Cast"),
    (Player::Sonos, "Sonos"),
    (Player::Bose, "Bose"),
    (Player::Roku, "Roku"),
    (Player::Squeezebox, "Squeezebox"),
    (Player::InternetRadio, "Internet radios and receivers"),
    (Player::SmartTv, "Smart TVs"),
    (Player::Kodi, "Kodi"),
    (Player::Mpv, "mpv, MPlayer, FFmpeg"),
    (Player::MusicPlayerDaemon, "Music Player Daemon"),
    (Player::LinuxDesktop, "Other Linux players"),
    (Player::Gstreamer, "GStreamer"),
    (Player::Bass, "BASS"),
    (Player::StreamingServer, "Streaming servers"),
    (Player::Tool, "Bots and tools"),
    (Player::Other, "Other"),
    (Player::Unknown, "Unknown"),
];

/// Texts that show a player, in lower case. The first row that fits decides: many user agents
/// contain those of other players.
///
/// A text begins a word, except after `*`. A text with `&` needs both of its parts; the case of the
/// second one matters.
const RULES: [(Player, &[&str]); 43] = [
    (
        Player::StreamingServer,
        &[
            "icecast",
            "liquidsoap",
            "libshout",
            "shoutcast distributed",
            "shoutcast dnas",
            "shoutcast/&DNAS",
            "steamcast",
        ],
    ),
    (Player::Sonos, &["sonos"]),
    (
        Player::Alexa,
        &["alexa/", "alexa media", "alexamedia", "echo/"],
    ),
    (
        Player::GoogleCast,
        &["crkey", "chromecast", "googlehome", "google-home"],
    ),
    (Player::Bose, &["bose/", "bose_", "soundtouch"]),
    (Player::Roku, &["roku"]),
    (
        Player::Squeezebox,
        &[
            "logitech media server",
            "lyrion",
            "slimserver",
            "squeezebox",
            "squeezecenter",
            "squeezelite",
            "squeezeplay",
        ],
    ),
    (
        Player::InternetRadio,
        &[
            "denon",
            "frontier silicon",
            "frontiersilicon",
            "heos",
            "marantz",
            "musiccast",
            "onkyo",
            "reciva",
            "technisat",
            "undok",
            "vtuner",
            "yamaha",
        ],
    ),
    (
        Player::SmartTv,
        &[
            "android tv",
            "bravia",
            "googletv",
            "hbbtv",
            "lg netcast",
            "netcast.tv",
            "smart-tv",
            "smarttv",
            "viera",
            "web0s",
            "webos.tv",
        ],
    ),
    (Player::TuneIn, &["tunein"]),
    (
        Player::RadioNet,
        &["radio.at", "radio.de", "radio.fr", "radio.net"],
    ),
    (
        Player::RadioApp,
        &[
            "audials",
            "broadcasts/",
            "iheartradio",
            "mytuner",
            "onlineradiobox",
            "radio garden",
            "radiodroid",
            "radiogarden",
            "radioplayer",
            "replaio",
            "simple radio",
            "simpleradio",
            "streema",
            "triode",
        ],
    ),
    (Player::Winamp, &["nullsoft", "wacup", "winamp"]),
    (Player::Foobar2000, &["foobar2000"]),
    (Player::Vlc, &["libvlc", "vlc"]),
    (Player::Kodi, &["kodi", "xbmc"]),
    (
        Player::WindowsMedia,
        &[
            "nsplayer",
            "windows media player",
            "windows-media-player",
            "wmfsdk",
            "wmplayer",
        ],
    ),
    (Player::Android, &["lavf&Android"]),
    (
        Player::Mpv,
        &["ffmpeg", "lavf", "libmpv", "mplayer", "mpv", "smplayer"],
    ),
    (Player::MusicPlayerDaemon, &["music player daemon"]),
    (
        Player::LinuxDesktop,
        &[
            "amarok",
            "audacious",
            "banshee",
            "clementine",
            "exaile",
            "mpg123",
            "quod libet",
            "quodlibet",
            "rhythmbox",
            "shortwave",
            "strawberry",
            "xmms",
        ],
    ),
    (Player::Gstreamer, &["gstreamer", "souphttpsrc"]),
    (Player::Bass, &["bass/"]),
    (Player::ApplePodcasts, &["podcasts/"]),
    (Player::Itunes, &["itunes", "music/"]),
    (Player::HomePod, &["applecoremedia&HomePod"]),
    (Player::AppleTv, &["applecoremedia&Apple TV", "appletv"]),
    (Player::AppleWatch, &["applecoremedia&Watch"]),
    (Player::IPad, &["applecoremedia&iPad"]),
    (
        Player::IPhone,
        &["applecoremedia&iPhone", "applecoremedia&iPod"],
    ),
    (Player::Mac, &["applecoremedia&Macintosh"]),
    (Player::AppleApp, &["applecoremedia", "cfnetwork"]),
    (Player::QuickTime, &["quicktime"]),
    (
        Player::Tool,
        &[
            "*bot ",
            "*bot)",
            "*bot-",
            "*bot/",
            "*bot;",
            "*crawl",
            "*monitor",
            "*spider",
            "*uptime",
            "aiohttp",
            "apache-httpclient",
            "check_http",
            "curl",
            "facebookexternalhit",
            "go-http-client",
            "headlesschrome",
            "ia_archiver",
            "java/",
            "libcurl",
            "libwww",
            "nagios",
            "pingdom",
            "python",
            "streamripper",
            "wget",
            "zabbix",
        ],
    ),
    (
        Player::Android,
        &[
            "*; wv)",
            "androidxmedia3",
            "dalvik",
            "exoplayer",
            "okhttp",
            "stagefright",
        ],
    ),
    (Player::Edge, &["edg/", "edga/", "edge/", "edgios/"]),
    (Player::Opera, &["opera", "opios/", "opr/", "opt/"]),
    (Player::SamsungInternet, &["samsungbrowser"]),
    (Player::Firefox, &["firefox/", "fxios/"]),
    (Player::InternetExplorer, &["msie ", "trident/"]),
    (Player::Chrome, &["chrome/", "chromium/", "crios/"]),
    (Player::Safari, &["applewebkit/", "safari/"]),
    (Player::Android, &["android"]),
];

/// What follows from a text of [`RULES`].
#[derive(Debug)]
struct Rule {
    player: Player,
    begins_word: bool,
    also: Option<Finder<'static>>,
}

/// All texts of [`RULES`], to be found in one pass.
struct Matcher {
    texts: DFA,
    /// In the order of the texts, which is that of precedence.
    rules: Vec<Rule>,
}

/// `None` if the texts are too many for an automaton, which a test rules out.
static MATCHER: LazyLock<Option<Matcher>> = LazyLock::new(Matcher::new);

impl Matcher {
    fn new() -> Option<Self> {
        let mut texts = Vec::new();
        let mut rules = Vec::new();
        for (player, rule) in RULES {
            for text in rule {
                let (text, also) = match text.split_once('&') {
                    Some((text, also)) => (text, Some(Finder::new(also))),
                    None => (*text, None),
                };
                let anywhere = text.strip_prefix('*');
                texts.push(anywhere.unwrap_or(text));
                rules.push(Rule {
                    player,
                    begins_word: anywhere.is_none(),
                    also,
                });
            }
        }
        let texts = DFA::builder().ascii_case_insensitive(true).build(texts);
        Some(Self {
            texts: texts.ok()?,
            rules,
        })
    }

    /// Steps through the automaton here, since its iterator over overlapping matches takes several
    /// times as long.
    fn player(&self, agent: &[u8]) -> Option<Player> {
        let mut best = self.rules.len();
        let mut state = self.texts.start_state(Anchored::No).ok()?;
        for (at, byte) in agent.iter().enumerate() {
            state = self.texts.next_state(Anchored::No, state, *byte);
            if !self.texts.is_special(state) || !self.texts.is_match(state) {
                continue;
            }
            for index in 0..self.texts.match_len(state) {
                let text = self.texts.match_pattern(state, index);
                if text.as_usize() < best && self.fits(text, agent, at + 1) {
                    best = text.as_usize();
                }
            }
        }
        self.rules.get(best).map(|rule| rule.player)
    }

    /// Whether the rule applies to a text that was found in the user agent up to `end`.
    fn fits(&self, text: PatternID, agent: &[u8], end: usize) -> bool {
        let rule = &self.rules[text.as_usize()];
        let before = (end - self.texts.pattern_len(text)).checked_sub(1);
        let is_within = before.is_some_and(|before| agent[before].is_ascii_alphanumeric());
        let lacks = |also: &Finder| also.find(agent).is_none();
        !(rule.begins_word && is_within || rule.also.as_ref().is_some_and(lacks))
    }
}

impl Player {
    /// The player of a user agent. Takes time proportional to its length.
    pub fn of(agent: &[u8]) -> Self {
        if matches!(agent, b"" | b"-") {
            return Self::Unknown;
        }
        let matcher = MATCHER.as_ref();
        let player = matcher.and_then(|matcher| matcher.player(agent));
        player.unwrap_or(Self::Other)
    }

    /// The name in reports, distinct for each player.
    pub fn name(self) -> &'static str {
        PLAYERS[self as usize].1
    }

    /// A number below 64.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// All players in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        PLAYERS.into_iter().map(|(player, _)| player)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// User agents as in the logs of stations.
    const AGENTS: [(Player, &str); 108] = [
        (Player::Vlc, "VLC/3.0.20 LibVLC/3.0.20"),
        (Player::Vlc, "VLC/2.2.2 LibVLC/2.2.2"),
        (Player::Vlc, "vlc 1.1.12"),
        (Player::Vlc, "VLC%20media%20player/3.0.18"),
        (Player::Vlc, "LibVLC/3.0.12"),
        (Player::Winamp, "WinampMPEG/5.66, Ultravox/2.1"),
        (Player::Winamp, "WinampMPEG/2.9"),
        (Player::Winamp, "Winamp/5.9.2 (Windows)"),
        (Player::Winamp, "Nullsoft Winamp3 version 3.0 (compatible)"),
        (Player::Winamp, "WACUP/1.9.20 (gen_ml)"),
        (Player::Foobar2000, "foobar2000/1.6.16"),
        (Player::Foobar2000, "foobar2000/2.1"),
        (
            Player::WindowsMedia,
            "NSPlayer/12.00.19041.1288 WMFSDK/12.00.19041.1288",
        ),
        (Player::WindowsMedia, "Windows-Media-Player/12.0.17763.1"),
        (Player::WindowsMedia, "NSPlayer/4.1.0.3856"),
        (
            Player::Itunes,
            "iTunes/12.12.4 (Windows; Microsoft Windows 10 x64) AppleWebKit/7613.2007",
        ),
        (
            Player::Itunes,
            "iTunes/12.9.5 (Macintosh; OS X 10.14.6) AppleWebKit/607.3.9",
        ),
        (
            Player::Itunes,
            "Music/1.2.5 (Macintosh; OS X 12.6.1) AppleWebKit/613.3.9",
        ),
        (
            Player::ApplePodcasts,
            "Podcasts/1650.20 CFNetwork/1390 Darwin/22.0.0",
        ),
        (
            Player::IPhone,
            "AppleCoreMedia/1.0.0.20G75 (iPhone; U; CPU OS 16_6 like Mac OS X; en_us)",
        ),
        (
            Player::IPhone,
            "AppleCoreMedia/1.0.0.13G36 (iPod touch; U; CPU OS 9_3_5 like Mac OS X; de_de)",
        ),
        (
            Player::IPad,
            "AppleCoreMedia/1.0.0.19H12 (iPad; U; CPU OS 15_7 like Mac OS X; de_de)",
        ),
        (
            Player::Mac,
            "AppleCoreMedia/1.0.0.22G74 (Macintosh; U; Intel Mac OS X 13_5; en_gb)",
        ),
        (
            Player::HomePod,
            "AppleCoreMedia/1.0.0.20K80 (HomePod; U; CPU OS 16_1 like Mac OS X; en_us)",
        ),
        (
            Player::AppleTv,
            "AppleCoreMedia/1.0.0.19K53 (Apple TV; U; CPU OS 15_2 like Mac OS X; en_us)",
        ),
        (
            Player::AppleWatch,
            "AppleCoreMedia/1.0.0.20R361 (Apple Watch; U; CPU OS 9_0 like Mac OS X; en_us)",
        ),
        (Player::AppleApp, "AppleCoreMedia/1.0.0 (Windows; U; en_us)"),
        (
            Player::AppleApp,
            "MyStation/214 CFNetwork/1410.0.3 Darwin/22.6.0",
        ),
        (
            Player::QuickTime,
            "QuickTime/7.7.1 (qtver=7.7.1;os=Windows NT 6.1Service Pack 1)",
        ),
        (Player::Android, "stagefright/1.2 (Linux;Android 9)"),
        (Player::Android, "stagefright/1.1 (Linux; Android 4.4.2)"),
        (
            Player::Android,
            "MyRadio/3.1 (Linux;Android 13) ExoPlayerLib/2.18.1",
        ),
        (
            Player::Android,
            "AndroidXMedia3/1.2.0 (Linux;Android 14) AndroidXMedia3/1.2.0",
        ),
        (
            Player::Android,
            "Dalvik/2.1.0 (Linux; U; Android 11; SM-A515F Build/RP1A.200720.012)",
        ),
        (Player::Android, "okhttp/4.9.3"),
        (Player::Android, "MyStation/2.0 (Android 12; Pixel 6)"),
        (
            Player::Android,
            "Mozilla/5.0 (Linux; Android 12; SM-G991B; wv) AppleWebKit/537.36 (KHTML, like Gecko) \
             Version/4.0 Chrome/110.0.5481.65 Mobile Safari/537.36",
        ),
        (Player::Android, "Lavf/58.12.100 (Linux;Android 10)"),
        (
            Player::Chrome,
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/120.0.0.0 Safari/537.36",
        ),
        (
            Player::Chrome,
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/121.0.0.0 Mobile Safari/537.36",
        ),
        (
            Player::Chrome,
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
             like Gecko) CriOS/120.0.6099.119 Mobile/15E148 Safari/604.1",
        ),
        (
            Player::Chrome,
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Ubuntu \
             Chromium/80.0.3987.87 Chrome/80.0.3987.87 Safari/537.36",
        ),
        (
            Player::Firefox,
            "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
        ),
        (
            Player::Firefox,
            "Mozilla/5.0 (Android 13; Mobile; rv:120.0) Gecko/120.0 Firefox/120.0",
        ),
        (
            Player::Firefox,
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
             like Gecko) FxiOS/120.0 Mobile/15E148 Safari/605.1.15",
        ),
        (
            Player::Safari,
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like \
             Gecko) Version/17.1 Safari/605.1.15",
        ),
        (
            Player::Safari,
            "Mozilla/5.0 (iPhone; CPU iPhone OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
             like Gecko) Version/16.6 Mobile/15E148 Safari/604.1",
        ),
        (
            Player::Safari,
            "Mozilla/5.0 (iPad; CPU OS 15_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             Mobile/15E148",
        ),
        (
            Player::Edge,
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/120.0.0.0 Safari/537.36 Edg/120.0.2210.91",
        ),
        (
            Player::Edge,
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/64.0.3282.140 Safari/537.36 Edge/17.17134",
        ),
        (
            Player::Edge,
            "Mozilla/5.0 (Linux; Android 10; Pixel 3 XL) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/120.0.6099.43 Mobile Safari/537.36 EdgA/120.0.2210.61",
        ),
        (
            Player::Opera,
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/119.0.0.0 Safari/537.36 OPR/105.0.0.0",
        ),
        (
            Player::Opera,
            "Opera/9.80 (Windows NT 6.1) Presto/2.12.388 Version/12.18",
        ),
        (
            Player::SamsungInternet,
            "Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-S908B) AppleWebKit/537.36 (KHTML, like \
             Gecko) SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile Safari/537.36",
        ),
        (
            Player::InternetExplorer,
            "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
        ),
        (
            Player::InternetExplorer,
            "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1)",
        ),
        (
            Player::TuneIn,
            "TuneIn Radio/27.3.1; iPhone15,2; iOS/16.6 CFNetwork/1410.0.3 Darwin/22.6.0",
        ),
        (
            Player::TuneIn,
            "TuneIn Radio Pro/24.2 (Android 11) ExoPlayerLib/2.11",
        ),
        (
            Player::RadioNet,
            "radio.net/5.3.0 (Linux;Android 10) ExoPlayerLib/2.11.8",
        ),
        (Player::RadioNet, "radio.de 5.0.1 (iOS 15)"),
        (Player::RadioApp, "RadioDroid2/0.84"),
        (Player::RadioApp, "myTuner Radio/9.0 (Android 12)"),
        (
            Player::RadioApp,
            "Radio Garden/3.0 CFNetwork/1335 Darwin/21.6.0",
        ),
        (Player::RadioApp, "Replaio/3.1.2 (Android 13)"),
        (Player::RadioApp, "iHeartRadio/10.20.0 (Android 11)"),
        (Player::Alexa, "AlexaMediaPlayer/2.1.15 ExoPlayerLib/1.5.9"),
        (Player::Alexa, "Alexa/1.0 (Echo)"),
        (Player::Alexa, "Echo/1.0 (APNG)"),
        (
            Player::GoogleCast,
            "Mozilla/5.0 (X11; Linux armv7l) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/90.0.4430.225 Safari/537.36 CrKey/1.56.500000 DeviceType/Chromecast",
        ),
        (
            Player::GoogleCast,
            "Mozilla/5.0 (Fuchsia) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 \
             Safari/537.36 CrKey/1.56.500000 DeviceType/SmartSpeaker",
        ),
        (Player::Sonos, "Linux UPnP/1.0 Sonos/57.3-77280 (ZPS1)"),
        (Player::Sonos, "Linux UPnP/1.0 Sonos/70.3-35220 (ZPS13)"),
        (Player::Bose, "Bose/27.0.6.46330.5043500"),
        (Player::Bose, "Bose_Lisa/27.0.6"),
        (Player::Roku, "Roku/DVP-9.10 (519.10E04111A)"),
        (Player::Roku, "Roku/DVP-12.5 (12.5.0.4178-88)"),
        (
            Player::Squeezebox,
            "iTunes/4.7.1 (Linux; N; Linux; x86_64-linux; EN; utf8) SqueezeCenter, Squeezebox \
             Server, Logitech Media Server/7.9.1/1522157629",
        ),
        (
            Player::Squeezebox,
            "SqueezePlay-squeezeplay/7.8.0-r1225 (linux)",
        ),
        (Player::Squeezebox, "Lyrion Music Server/9.0.0"),
        (Player::InternetRadio, "Reciva/257-a-869-000-042"),
        (Player::InternetRadio, "vTuner"),
        (Player::InternetRadio, "UNDOK/4.1 (Android 9)"),
        (Player::InternetRadio, "Frontier Silicon FS2026"),
        (Player::InternetRadio, "Denon AVR-X2400H"),
        (Player::InternetRadio, "HEOS/1.583.147"),
        (
            Player::SmartTv,
            "Mozilla/5.0 (SMART-TV; LINUX; Tizen 5.0) AppleWebKit/537.36 (KHTML, like Gecko) \
             Version/5.0 TV Safari/537.36",
        ),
        (
            Player::SmartTv,
            "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/79.0.3945.79 Safari/537.36 WebAppManager",
        ),
        (
            Player::SmartTv,
            "GStreamer souphttpsrc (compatible; LG NetCast.TV-2013) libsoup/2.34.2",
        ),
        (
            Player::Kodi,
            "Kodi/19.4 (X11; Linux x86_64) Ubuntu/22.04 App_Bitness/64 Version/19.4-Git:unknown",
        ),
        (Player::Kodi, "XBMC/12.2 Git:20130502-32b1a5e (Linux; U)"),
        (Player::Mpv, "Lavf/58.76.100"),
        (Player::Mpv, "Lavf53.32.100"),
        (Player::Mpv, "mpv 0.34.1"),
        (Player::Mpv, "libmpv"),
        (Player::Mpv, "MPlayer/1.4-10"),
        (Player::Mpv, "MPlayer SVN-r36265-snapshot-4.8.1"),
        (Player::MusicPlayerDaemon, "Music Player Daemon 0.23.5"),
        (Player::LinuxDesktop, "Audacious/4.1 neon/0.31.2"),
        (Player::LinuxDesktop, "Clementine 1.3.1"),
        (
            Player::LinuxDesktop,
            "Rhythmbox/3.4.4 GStreamer souphttpsrc libsoup/2.70.0",
        ),
        (Player::LinuxDesktop, "mpg123/1.29.3"),
        (
            Player::Gstreamer,
            "GStreamer souphttpsrc 1.20.3 libsoup/3.0.7",
        ),
        (Player::Bass, "BASS/2.4"),
        (Player::StreamingServer, "Icecast 2.4.4"),
        (
            Player::StreamingServer,
            "Liquidsoap/2.1.4 (Unix; OCaml 4.14.0)",
        ),
        (
            Player::Tool,
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/120.0 Mobile Safari/537.36 (compatible; Googlebot/2.1)",
        ),
        (Player::Tool, "curl/7.81.0"),
        (
            Player::Tool,
            "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        ),
    ];

    #[test]
    fn numbers_are_below_64() {
        assert!(Player::all().all(|player| player.number() < 64));
    }

    #[test]
    fn the_user_agents_of_players_are_known() {
        for (player, agent) in AGENTS {
            assert_eq!(Player::of(agent.as_bytes()), player, "{agent}");
            let upper = agent.to_uppercase();
            // The devices of AppleCoreMedia are in mixed case.
            if !agent.contains("AppleCoreMedia") && !agent.contains("Lavf/58.12") {
                assert_eq!(Player::of(upper.as_bytes()), player, "{upper}");
            }
        }
    }

    #[test]
    fn other_user_agents_are_of_other_or_unknown_players() {
        for agent in ["", "-"] {
            assert_eq!(Player::of(agent.as_bytes()), Player::Unknown);
        }
        for agent in [
            "Mozilla/5.0",
            "Mozilla/4.0 (compatible)",
            "--",
            " ",
            "Ultravox/2.0",
            // Texts of players within words.
            "Verbose/1.0",
            "Techecho/2",
            "AmazonMusic/9.4",
            "Contrabass/1",
        ] {
            assert_eq!(Player::of(agent.as_bytes()), Player::Other, "{agent}");
        }
        assert_eq!(Player::of(b"\xff\xfeVLC/3"), Player::Vlc);
        assert_eq!(Player::of(b"\xff\x00"), Player::Other);
    }

    #[test]
    fn every_player_is_listed_once_and_has_a_name_of_its_own() {
        let all: Vec<Player> = Player::all().collect();
        let distinct: BTreeSet<Player> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
        let mut numbers: Vec<usize> = all.iter().map(|player| *player as usize).collect();
        numbers.sort_unstable();
        // The last one of the enumeration.
        let expected: Vec<usize> = (0..=Player::Unknown as usize).collect();
        assert_eq!(numbers, expected);
        let names: BTreeSet<&str> = all.iter().map(|player| player.name()).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn every_text_of_the_rules_can_decide() {
        let mut earlier = Vec::new();
        for (player, texts) in RULES {
            for text in texts {
                assert_eq!(
                    text.split('&').next(),
                    Some(&*text.split('&').next().unwrap().to_lowercase())
                );
                let agent = text.trim_start_matches('*').replace('&', " ");
                assert_eq!(Player::of(agent.as_bytes()), player, "{text}");
                assert!(!earlier.contains(text), "{text}");
                earlier.push(text);
            }
        }
    }

    #[test]
    fn every_player_has_a_user_agent_in_the_test() {
        let tested: BTreeSet<Player> = AGENTS.iter().map(|(player, _)| *player).collect();
        let all: BTreeSet<Player> = Player::all().collect();
        let untested: Vec<&Player> = all.difference(&tested).collect();
        assert_eq!(untested, [&Player::Other, &Player::Unknown]);
    }

    /// The rules without the automaton, as a slow reference.
    fn by_definition(agent: &str) -> Player {
        let lower = agent.to_ascii_lowercase();
        let contains = |text: &str, begins_word: bool| {
            lower.match_indices(text).any(|(at, _)| {
                !begins_word || at == 0 || !lower.as_bytes()[at - 1].is_ascii_alphanumeric()
            })
        };
        let fits = |text: &&str| {
            let (text, also) = text.split_once('&').unwrap_or((text, ""));
            let anywhere = text.strip_prefix('*');
            contains(anywhere.unwrap_or(text), anywhere.is_none()) && agent.contains(also)
        };
        let found = RULES.iter().find(|(_, texts)| texts.iter().any(&fits));
        found.map_or(Player::Other, |(player, _)| *player)
    }

    proptest! {
        #[test]
        fn the_automaton_agrees_with_the_rules(
            parts in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize), 1..5),
        ) {
            let texts: Vec<&str> = RULES.iter().flat_map(|(_, texts)| texts.iter().copied()).collect();
            let agent: String = parts
                .iter()
                .map(|(index, end)| {
                    let text = texts[index.index(texts.len())].trim_start_matches('*');
                    text.replace('&', " ") + ["", " ", "/1.0 (", "x"][*end]
                })
                .collect();
            prop_assert_eq!(Player::of(agent.as_bytes()), by_definition(&agent), "{}", agent);
        }

        #[test]
        fn any_bytes_are_a_user_agent(agent in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(!Player::of(&agent).name().is_empty());
        }
    }
}
