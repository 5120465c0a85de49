//! Channels: mount points that a station adds up (guide/listening.md, "Channels").

use std::str::FromStr;

use super::mount::mount_point;
use crate::error::{Error, Result};
use crate::input::pattern::Pattern;

/// One `--channel=NAME=MOUNT[,MOUNT...]`. A mount point may belong to several channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// As given by the user, without blanks around it. No two channels share it.
    pub name: String,
    /// At least one.
    mounts: Vec<Pattern>,
}

impl Channel {
    /// Reads the values of all `--channel` options.
    ///
    /// # Errors
    ///
    /// A usage error if a value is no channel, or two channels have the same name.
    pub fn read_all(values: &[String]) -> Result<Vec<Self>> {
        let mut channels: Vec<Self> = Vec::with_capacity(values.len());
        for value in values {
            let wrong = |what: &str| Error::usage(format!("--channel={value}: {what}"));
            let channel: Self = value.parse().map_err(|what: String| wrong(&what))?;
            if channels.iter().any(|other| other.name == channel.name) {
                return Err(wrong(&format!(
                    "there is already a channel '{}': give all its mount points in one option, \
                     separated by commas",
                    channel.name
                )));
            }
            channels.push(channel);
        }
        Ok(channels)
    }

    /// Whether the channel has a mount point, given by the name that [`mount_point`] returns.
    pub fn contains(&self, mount: &[u8]) -> bool {
        self.mounts.iter().any(|pattern| pattern.matches(mount))
    }
}

impl FromStr for Channel {
    type Err = String;

    /// Reads `NAME=MOUNT[,MOUNT...]`. The first `=` ends the name, so a name has none, but a mount
    /// point may. A comma always separates mount points; the pattern `?` matches one.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        const EXAMPLE: &str = "such as Jazz=/jazz.mp3,/jazz.ogg";
        let Some((name, mounts)) = text.split_once('=') else {
            return Err(format!("expected a name, '=' and mount points, {EXAMPLE}"));
        };
        let name = name.trim();
        if name.is_empty() {
            return Err(format!("the name is empty: write NAME=MOUNT, {EXAMPLE}"));
        }
        if mounts.trim().is_empty() {
            return Err(format!(
                "the channel has no mount point: write NAME=MOUNT, {EXAMPLE}"
            ));
        }
        let mounts = mounts.split(',').map(|mount| {
            let mount = mount.trim();
            if mount.is_empty() {
                return Err(
                    "a mount point is empty: separate mount points by single commas".into(),
                );
            }
            if !mount.starts_with(['/', '*', '?', '[']) {
                return Err(format!(
                    "'{mount}' is no mount point, since these begin with a slash: write '/{mount}' \
                     or '*/{mount}'"
                ));
            }
            Ok(Pattern::new(mount_point(mount.as_bytes())))
        });
        Ok(Self {
            name: name.to_owned(),
            mounts: mounts.collect::<std::result::Result<_, String>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    fn channel(text: &str) -> Channel {
        text.parse().unwrap()
    }

    fn error(text: &str) -> String {
        text.parse::<Channel>().unwrap_err()
    }

    #[test]
    fn a_channel_adds_mount_points_up() {
        let jazz = channel("Night Jazz=/jazz.mp3,/jazz.ogg");
        assert_eq!(jazz.name, "Night Jazz");
        assert!(jazz.contains(b"/jazz.mp3") && jazz.contains(b"/jazz.ogg"));
        for other in ["/jazz", "/jazz.mp3x", "/JAZZ.mp3", "/", "", "/news"] {
            assert!(!jazz.contains(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn mount_points_may_be_patterns() {
        let jazz = channel("Jazz=/jazz*,/swing.*");
        for mount in [&b"/jazz"[..], b"/jazz.mp3", b"/jazz/hd\xff", b"/swing.ogg"] {
            assert!(jazz.contains(mount));
        }
        assert!(!jazz.contains(b"/swing") && !jazz.contains(b"/a/jazz"));
        let all = channel("All=*");
        assert!(all.contains(b"/") && all.contains(b"/live"));
        assert!(channel("A=?live").contains(b"/live"));
        assert!(channel("A=[/]live").contains(b"/live"));
    }

    #[test]
    fn mount_points_are_spelled_as_players_do() {
        for text in [
            "A=/live",
            "A=/live/",
            "A=//live",
            "A=/live;stream.mp3",
            " A = /live ",
        ] {
            assert_eq!(channel(text), channel("A=/live"), "{text}");
        }
        assert!(channel("A=/;").contains(b"/"));
        assert!(channel("A=/*/").contains(b"/live"));
    }

    #[test]
    fn the_first_equals_sign_ends_the_name_and_a_comma_a_mount_point() {
        let channel = channel("A=/b=c,/d?e");
        assert_eq!(channel.name, "A");
        assert!(channel.contains(b"/b=c") && channel.contains(b"/d,e"));
    }

    #[test]
    fn incomplete_channels_are_refused_with_a_reason() {
        for text in ["", "Jazz", "/jazz.mp3", "Jazz,/jazz.mp3"] {
            assert!(error(text).contains("expected a name, '='"), "{text}");
        }
        for text in ["=/jazz", "  =/jazz", "="] {
            assert!(error(text).contains("the name is empty"), "{text}");
        }
        for text in ["Jazz=", "Jazz= "] {
            assert!(error(text).contains("has no mount point"), "{text}");
        }
        for text in ["Jazz=/a,", "Jazz=,/a", "Jazz=/a, ,/b"] {
            assert!(error(text).contains("a mount point is empty"), "{text}");
        }
        assert!(error("Jazz=/a,jazz").contains("write '/jazz' or '*/jazz'"));
    }

    #[test]
    fn names_are_distinct() {
        let read = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
            Channel::read_all(&values)
        };
        assert_eq!(read(&[]).unwrap(), []);
        let two = read(&["A=/a", "B=/a"]).unwrap();
        assert_eq!(two, [channel("A=/a"), channel("B=/a")]);
        for (values, part) in [
            (["A=/a", " A=/b"], "--channel= A=/b: there is already"),
            (["A=/a", "B"], "--channel=B: expected"),
        ] {
            let error = read(&values).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().starts_with(part), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_channel_or_an_error(text in "\\PC{0,20}|[ab=,/*\\[;]{0,12}", mount in "[/a-z,=]{0,8}") {
            if let Ok(channel) = text.parse::<Channel>() {
                prop_assert!(!channel.name.is_empty() && !channel.mounts.is_empty());
                channel.contains(mount.as_bytes());
            }
        }

        #[test]
        fn a_plain_mount_point_contains_itself(mount in "/[a-z0-9._=-]{1,12}") {
            let channel = channel(&format!("A={mount}"));
            prop_assert!(channel.contains(mount_point(mount.as_bytes())));
        }
    }
}
